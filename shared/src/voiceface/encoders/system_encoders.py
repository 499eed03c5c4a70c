"""Branches of our own association systems as encoders: bundled weights, or any of their checkpoints."""

import copy
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from voiceface.association.branches import describe_branch
from voiceface.association.loading import load_embedder
from voiceface.association.system import SystemSpec
from voiceface.audio.samples import OnCorrupt
from voiceface.encoders.interface import Encoder, EncoderError, EncoderInfo, Modality
from voiceface.faces.own_pictures import PictureReader
from voiceface.io.file_facts import FileFacts

if TYPE_CHECKING:
    from torch import Tensor

    from voiceface.association.embedder import Embedder
    from voiceface.faces.own_face import OwnFace

__all__ = ["KNOWN_SYSTEMS", "SystemEncoder", "explain_unusable", "find_association_systems", "load_system"]

Array = NDArray[np.float32]
ENTRY_POINT_GROUP = "voiceface.systems"
INT16_SCALE = 32768.0
KNOWN_SYSTEMS = ("seeking_shape", "archetype_agnostic", "cmpc2", "fop")
"""Association systems of this project."""


class SystemEncoder(Encoder):
    """One branch of a trained association system; its front end is the system's own.

    Args:
        embedder: the trained model.
        info: what is known about the branch.
    """

    def __init__(self, embedder: "Embedder", info: EncoderInfo) -> None:
        self.embedder = embedder
        size = embedder.voice_batch_size if info.modality == "voice" else embedder.face_batch_size
        super().__init__(info, batch_size=size, face_crop=embedder.face_crop)
        if info.modality == "face":
            self.pictures = embedder.pictures

    @property
    def on_corrupt(self) -> OnCorrupt:  # type: ignore[override]
        """Whether corrupt recordings are refused; set it to change it."""
        return cast("OnCorrupt", self.embedder.recording_options["on_corrupt"])

    @on_corrupt.setter
    def on_corrupt(self, value: OnCorrupt) -> None:
        self._set_input_options(on_corrupt=value)

    @property
    def resample(self) -> bool:  # type: ignore[override]
        """Whether recordings of other rates are converted; set it to change it."""
        return bool(self.embedder.recording_options["resample"])

    @resample.setter
    def resample(self, value: bool) -> None:
        self._set_input_options(resample=value)

    def _set_input_options(self, **options: Any) -> None:
        """Change options of the front end, not of the other branch or of encoders loaded later."""
        self.embedder = copy.copy(self.embedder)
        self.embedder.config = self.embedder.config.with_input_options(**options)

    def use_pictures(self, reader: PictureReader) -> None:
        """Read people's own pictures with the settings and the finder of a reader."""
        self.embedder = copy.copy(self.embedder)
        self.embedder.pictures = reader.with_convention(self.pictures.convention)
        self.pictures = self.embedder.pictures

    @property
    def window_seconds(self) -> float | None:
        """Seconds of sound that a feature is made of."""
        return self.embedder.window_seconds

    def load_file(self, path: str | Path) -> Array:
        """Load a file of a data folder as the system does; errors as `Embedder.load_voice`, `load_face`."""
        return self.embedder.load_voice(path) if self.is_voice else self.embedder.load_face(path)

    def load_own(self, path: str | Path) -> tuple[Array, FileFacts | None]:
        """Load a person's own file as the system does; errors as `Encoder.load_own`."""
        if not self.is_voice:
            return self.embedder.read_photograph(path)
        return self.embedder.read_recording(path, long=self.long_recordings)

    def prepare(self, array: NDArray[Any]) -> Array:
        """Convert a waveform (T,), 16 kHz, -1...1, or an RGB picture (H, W, 3) uint8, to network input."""
        if not self.is_voice:
            return self.embedder.prepare_picture(array)
        scale = 1.0 if self.embedder.recording_options["scale"] == "unit" else INT16_SCALE
        return self.embedder.prepare_recording(np.asarray(array, np.float32) * np.float32(scale))

    def prepare_face(self, image: NDArray[np.uint8], face: "OwnFace") -> Array:
        """Convert what `pictures` gives of a face, (H, W, 3) uint8, to network input, as the system does."""
        return self.embedder.prepare_face(image, face)

    def encode_batch(self, inputs: "Tensor") -> "Tensor":
        """Encode inputs of `load_file`, (B, ...), as features (B, D)."""
        return self.embedder.encode_voices(inputs) if self.is_voice else self.embedder.encode_faces(inputs)


def find_association_systems() -> dict[str, str]:
    """Association systems that are installed: name -> place of their record `SystemSpec`.

    They are found by the entry points of `voiceface.suite.plugins`.
    """
    modules = {entry.name: entry.module for entry in metadata.entry_points(group=ENTRY_POINT_GROUP)}
    return {name: f"{module}:SPEC" for name, module in sorted(modules.items()) if module.endswith(".system")}


def explain_unusable(place: str) -> str:
    """Say why the bundled weights of a system, given by the place of its record, cannot be used.

    Returns:
        A sentence with the remedy; "": they can be used.
    """
    spec: SystemSpec = resolve_name(place)
    if not (resources.files(spec.name) / spec.bundled_checkpoint).is_file():
        return f"no bundled weights: name a checkpoint, {spec.name}:CHECKPOINT"
    try:
        if spec.requirements:
            spec.resolve("requirements")()
    except (ValueError, OSError) as error:
        return str(error)
    return ""


def load_system(name: str, modality: Modality, weights: str = "", device: str = "cpu") -> Encoder:
    """Load a branch of an association system.

    Args:
        name: of the system, a key of `find_association_systems`.
        modality: "voice" or "face".
        weights: checkpoint or run folder; "": the bundled weights.
        device: "cpu", "cuda" or "auto".

    Raises:
        EncoderError: the system is not installed, or has no such branch.
        voiceface.checkpoints.published.CheckpointError: no usable checkpoint.
    """
    embedder = _load_embedder(name, weights, device)
    info = describe_branch(embedder, modality, name, weights)
    return SystemEncoder(embedder, info)


@lru_cache(maxsize=2)
def _load_embedder(name: str, weights: str, device: str) -> "Embedder":
    """Load a model once for both of its branches."""
    places = find_association_systems()
    spec = resolve_name(places[name]) if name in places else None
    if not isinstance(spec, SystemSpec):
        raise EncoderError(
            f"no association system {name!r} is installed (found: {', '.join(places) or 'none'}); "
            f"`pip install ./packages/{name}` installs one of this project"
        )
    embedder: Embedder = load_embedder(spec, weights or None, device=device)
    return embedder
