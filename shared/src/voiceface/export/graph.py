"""What is exported: a module with its front end, named inputs and outputs, and what is known about it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "NUM_EXAMPLES",
    "SAMPLE_RATE",
    "Graph",
    "Port",
    "example_lengths",
    "example_pictures",
    "example_voices",
    "fixed_lengths",
    "graph_path",
    "silence_facts",
]

Array = NDArray[Any]
NUM_EXAMPLES = 10
"""Inputs on which a graph is compared with PyTorch."""
SAMPLE_RATE = 16000


@dataclass(frozen=True)
class Port:
    """One input or output of a graph.

    Attributes:
        name: of the value.
        shape: sizes; a name is a size that is free.
        meaning: what it holds, with unit and range.
    """

    name: str
    shape: tuple[int | str, ...]
    meaning: str

    def to_values(self) -> dict[str, Any]:
        """Values for the metadata."""
        return {"name": self.name, "shape": list(self.shape), "meaning": self.meaning}


@dataclass(frozen=True)
class Graph:
    """A network that can be exported.

    Attributes:
        kind: what it is, such as "voice", "face" or "generator"; part of the file's name.
        module: from the inputs to the output, or to a tuple of outputs, in evaluation mode.
        inputs: in the order of the module's arguments.
        outputs: in the order of the module's results.
        examples: ten lists of inputs, of different lengths; the first one traces the module.
        reference: computes the outputs for an example as the program does it without a graph.
        facts: further metadata: name, notice, licence, digest of the weights, configuration and so on.
        tolerance: largest accepted error, see `voiceface.export.writing.output_error`.
        inner: named values between inputs and outputs, where `voiceface.export.running.open_parts` cuts the
            graph; the module returns them after its outputs.
    """

    kind: str
    module: "nn.Module"
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    examples: Sequence[Sequence[Array]]
    reference: Callable[..., Sequence[Array]]
    facts: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-3
    inner: tuple[Port, ...] = ()


def graph_path(out: str | Path, name: str) -> Path:
    """File of a graph: FILE_voice.onnx and FILE_face.onnx for FILE.onnx, FILE_voice_5s.onnx for 5 s."""
    path = Path(out)
    return path.with_name(f"{path.stem}_{name}.onnx")


def fixed_lengths(seconds: Sequence[float]) -> dict[str, int | None]:
    """Names of voice graphs, and their fixed number of samples; "voice" has none.

    Raises:
        ValueError: a length without a sample.
    """
    found: dict[str, int | None] = {"voice": None}
    for each in seconds:
        samples = round(each * SAMPLE_RATE)
        if samples < 1:
            raise ValueError(f"--seconds must be above 0, found {each:g}")
        found[f"voice_{each:g}s"] = samples
    return found


def silence_facts(config: Any, *, every_frame_once: bool) -> dict[str, Any]:
    """How silence is removed before a voice graph, for its metadata.

    Args:
        config: with `detector`, `aggressiveness`, `frame_ms`, `ring_size` and `voiced_fraction`; see
            `voiceface.audio.vad`.
        every_frame_once: `collect_segments`; otherwise `collect_segments_requerying`.
    """
    names = ("detector", "aggressiveness", "frame_ms", "ring_size", "voiced_fraction")
    return {name: getattr(config, name) for name in names} | {"every_frame_once": every_frame_once}


def example_lengths(usual: int, shortest: int = 1) -> list[int]:
    """Ten lengths in samples, from the shortest to three times the usual one; the usual one is the first.

    Args:
        usual: number of samples that the network hears.
        shortest: least number that it accepts.

    Example:
        >>> example_lengths(64000)[:4]
        [64000, 1, 21334, 63999]
    """
    others = (usual // 3 + 1, usual - 1, usual + 1, usual // 2, usual * 2 - 7, usual * 3, usual // 5, 24001)
    return [usual, shortest, *(max(shortest, each) for each in others)]


def example_voices(lengths: Sequence[int]) -> list[NDArray[np.float32]]:
    """Make one buzz with noise per length, (1, T), float32, whole numbers in the 16-bit range.

    Args:
        lengths: numbers of samples at 16 kHz.
    """
    voices = []
    for seed, length in enumerate(lengths):
        rng = np.random.default_rng(seed)
        time = np.arange(length) / SAMPLE_RATE
        pitch = (90 + 17 * seed) * (time + 0.02 * np.sin(2 * np.pi * 0.7 * time))
        harmonics = np.arange(1, 24)[:, None]
        buzz = (np.sin(2 * np.pi * harmonics * pitch) / harmonics**0.7).sum(0)
        loudness = 0.25 + np.abs(np.sin(2 * np.pi * (1.5 + 0.1 * seed) * time + seed + 0.3))
        wave = 1500 * buzz * loudness + rng.normal(0, 200, length)
        voices.append(np.clip(np.rint(wave), -32768, 32767).astype(np.float32)[None])
    return voices


def example_pictures(side: int, count: int = NUM_EXAMPLES) -> list[NDArray[np.float32]]:
    """Make pictures of smooth colours with noise, (1, 3, side, side), 0...255, whole numbers."""
    pictures = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:side, :side] / side
        waves = rng.uniform(1, 9, (3, 2, 1, 1))
        smooth = np.sin(waves[:, 0] * x + seed) + np.cos(waves[:, 1] * y)
        picture = 127 + 50 * smooth + rng.normal(0, 12, (3, side, side))
        pictures.append(np.clip(np.rint(picture), 0, 255).astype(np.float32)[None])
    return pictures
