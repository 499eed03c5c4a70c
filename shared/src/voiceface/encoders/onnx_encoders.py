"""Encoders of others by path: any ONNX speaker network on Kaldi's filter bank, any ArcFace network."""

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voiceface.audio.loading import repeat_to_length
from voiceface.encoders.alignment import AlignedFaceEncoder
from voiceface.encoders.interface import Encoder, EncoderError, EncoderInfo, Modality
from voiceface.faces.arcface import ArcFaceEncoder, load_arcface
from voiceface.faces.crops import CROP_CONVENTIONS
from voiceface.faces.onnx_files import FaceModelFileError, OnnxFile, open_onnx, wrong_file
from voiceface.io.file_kinds import printable

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FRONT_ENDS", "OnnxFaceEncoder", "OnnxSpeakerEncoder", "compute_kaldi_bands", "load_onnx"]

Array = NDArray[np.float32]
FRONT_ENDS: dict[str, Modality] = {"kaldi80": "voice", "kaldi80_povey": "voice", "arcface112": "face"}
"""Front ends that a name states behind "#", and their modality; the first of each is its default.

kaldi80: 80 bands of Kaldi, Hamming window, as WeSpeaker has it; kaldi80_povey: Kaldi's own window, as
3D-Speaker has it; arcface112: RGB of 112 pixels, (x - 127.5) / 127.5."""
NUM_BANDS = 80
MIN_SAMPLES = 16000
INT16_SCALE = 32768.0
WINDOWS = {"kaldi80": "hamming", "kaldi80_povey": "povey"}
SPEAKER = "a speaker encoder"


def load_onnx(name: str, modality: Modality) -> Encoder:
    """Load an encoder from an ONNX file.

    Args:
        name: the file, or "FILE#FRONT_END" with a key of `FRONT_ENDS`.
        modality: "voice" or "face".

    Raises:
        EncoderError: no such file or front end, or another graph; states its inputs and outputs.
        ModuleNotFoundError: onnxruntime is missing, or torchaudio for Kaldi's filter bank; names the extra.
    """
    path, _, front_end = name.partition("#")
    suitable = [each for each, of in FRONT_ENDS.items() if of == modality]
    front_end = front_end or suitable[0]
    if front_end not in suitable:
        known = "of the other modality" if front_end in FRONT_ENDS else "unknown"
        raise EncoderError(
            f"onnx:{name}: the front end {front_end!r} is {known}, expected {' or '.join(suitable)} for "
            f"{modality}s"
        )
    if not Path(path).is_file():
        raise EncoderError(f"{printable(path)} does not exist, expected an ONNX file; check the path")
    if modality == "voice":
        _require_torchaudio()
    try:
        if modality == "face":
            return OnnxFaceEncoder(load_arcface(path), f"onnx:{name}")
        return OnnxSpeakerEncoder(open_onnx(path, SPEAKER), f"onnx:{name}", front_end)
    except FaceModelFileError as error:
        raise EncoderError(str(error)) from None


class OnnxSpeakerEncoder(Encoder):
    """A speaker network: bands (B, T, 80) to features (B, D).

    Args:
        graph: the opened file.
        name: for `EncoderInfo.name`.
        front_end: "kaldi80" or "kaldi80_povey".

    Raises:
        FaceModelFileError: the graph has no input (N, T, 80) or no output (N, D).
    """

    def __init__(self, graph: OnnxFile, name: str, front_end: str) -> None:
        self.graph, self.window = graph, WINDOWS[front_end]
        (shape,) = graph.inputs.values()
        if len(shape) != 3 or shape[2] not in (NUM_BANDS, None) or shape[1] is not None:
            raise wrong_file(graph, SPEAKER, f"one input N x frames x {NUM_BANDS}, frames free")
        self._one_at_a_time = shape[0] == 1
        self._output = _embedding_output(graph)
        dimension = self._run(np.zeros((1, 200, NUM_BANDS), np.float32)).shape[1]
        mark = hashlib.sha256(f"{graph.digest} {front_end}".encode()).hexdigest()
        info = _describe(name, "voice", dimension, "recordings of any length, repeated up to 1 s", mark)
        super().__init__(info, batch_size=16)

    def prepare(self, array: NDArray[Any]) -> Array:
        """Convert a waveform (T,), 16 kHz, -1...1, to bands (frames, 80); see `compute_kaldi_bands`."""
        wave = np.asarray(array, np.float32)
        if len(wave) < MIN_SAMPLES:
            wave = repeat_to_length(wave, MIN_SAMPLES)
        return compute_kaldi_bands(wave, self.window)

    def encode_batch(self, inputs: "Tensor") -> "Tensor":
        """Encode (B, frames, 80) as features (B, D), to be compared by cosine.

        Raises:
            EncoderError: the graph cannot be computed, or gives no (B, D).
        """
        import torch

        bands = inputs.cpu().numpy()
        step = 1 if self._one_at_a_time else len(bands)
        try:
            parts = [self._run(bands[start : start + step]) for start in range(0, len(bands), step)]
        except FaceModelFileError as error:
            raise EncoderError(str(error)) from None
        return torch.from_numpy(np.concatenate(parts))

    def _run(self, bands: Array) -> Array:
        values = self.graph.run(bands)[self._output]
        if values.ndim != 2 or len(values) != len(bands):
            raise wrong_file(self.graph, SPEAKER, "embeddings N x D")
        return values.astype(np.float32)


class OnnxFaceEncoder(AlignedFaceEncoder):
    """An ArcFace network (Deng et al., 2019): faces of 112 pixels, aligned by five points.

    Network input: (3, 112, 112), 0...255.

    Args:
        encoder: the opened network.
        name: for `EncoderInfo.name`.
    """

    def __init__(self, encoder: ArcFaceEncoder, name: str) -> None:
        self.encoder = encoder
        wants = "pictures in which a face is found, or faces aligned as for ArcFace"
        info = _describe(name, "face", encoder.embedding_dim, wants, encoder.fingerprint)
        super().__init__(info, CROP_CONVENTIONS["arcface"])

    def encode_batch(self, inputs: "Tensor") -> "Tensor":
        """Encode (B, 3, 112, 112), 0...255, as features (B, D), to be compared by cosine.

        Raises:
            EncoderError: the graph cannot be computed.
        """
        import torch

        try:
            return torch.from_numpy(
                self.encoder.embed(inputs.cpu().numpy().astype(np.uint8).transpose(0, 2, 3, 1))
            )
        except FaceModelFileError as error:
            raise EncoderError(str(error)) from None


def compute_kaldi_bands(waveform: Array, window: str = "hamming") -> Array:
    """Kaldi's logarithmic filter bank: 80 bands, frames of 25 ms every 10 ms, no dither, mean-normalised.

    Args:
        waveform: (T,), 16 kHz, -1...1, 25 ms at least.
        window: "hamming" or "povey".

    Returns:
        (frames, 80).

    Raises:
        ModuleNotFoundError: torchaudio is missing.
    """
    import torch

    _require_torchaudio()
    from torchaudio.compliance import kaldi

    bands = kaldi.fbank(
        torch.from_numpy(np.ascontiguousarray(waveform, np.float32))[None] * INT16_SCALE,
        num_mel_bins=NUM_BANDS,
        frame_length=25.0,
        frame_shift=10.0,
        sample_frequency=16000.0,
        dither=0.0,
        window_type=window,
    )
    return np.asarray((bands - bands.mean(dim=0)).numpy(), np.float32)


def _require_torchaudio() -> None:
    if importlib.util.find_spec("torchaudio") is None:
        raise ModuleNotFoundError(
            "speaker encoders by path need torchaudio for Kaldi's filter bank: pip install "
            "'voiceface-shared[augmentation]'"
        )


def _embedding_output(graph: OnnxFile) -> int:
    """Index of the output (N, D): the only one, or the one of several."""
    flat = [index for index, shape in enumerate(graph.outputs.values()) if len(shape) == 2]
    if len(flat) != 1:
        raise wrong_file(graph, SPEAKER, "one output N x D")
    return flat[0]


def _describe(name: str, modality: Modality, dimension: int, wants: str, fingerprint: str) -> EncoderInfo:
    return EncoderInfo(
        name, modality, dimension, licence="as its makers state", wants=wants, fingerprint=fingerprint
    )
