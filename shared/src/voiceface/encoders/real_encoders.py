"""The encoders of `voiceface models get real`: voices to 256 numbers, faces to 128."""

import importlib.util
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voiceface.audio.loading import repeat_to_length
from voiceface.audio.vad import SpeechError
from voiceface.encoders.interface import Encoder, EncoderInfo
from voiceface.faces.crops import CROP_CONVENTIONS, ENCODER_CHIP, crop_face
from voiceface.faces.own_face import OwnFace
from voiceface.faces.own_pictures import PictureReader
from voiceface.images.loading import ImageError
from voiceface.images.photographs import read_photograph
from voiceface.real.backends import Backend
from voiceface.real.catalogue import MODELS
from voiceface.real.installation import MissingModelError, find_installed
from voiceface.real.networks import CHIP_SIDE, NUM_MELS, PARTIAL_FRAMES

if TYPE_CHECKING:
    from torch import Tensor

    from voiceface.faces.finding import FaceFinder, FoundFace

__all__ = ["RealFaceEncoder", "RealVoiceEncoder", "load_real", "require_finder"]

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
FINDER_NETWORKS = ("face_detector", "face_mesh")
MAX_REMEMBERED = 20_000
MIN_SAMPLES = 1600  # what is shorter is repeated; the network hears 1.6 s at a time


def load_real(modality: str, device: str = "cpu") -> Encoder:
    """Load one of the two encoders.

    Args:
        modality: "voice" or "face".
        device: "cpu" (by onnxruntime where it is installed, which is faster), "cuda" or "auto".

    Raises:
        voiceface.real.installation.MissingModelError: it was not fetched; the message names the command.
    """
    backend = _choose_backend(device)
    if modality == "voice":
        return RealVoiceEncoder(backend, device)
    require_finder()
    return RealFaceEncoder(backend, device)


class RealVoiceEncoder(Encoder):
    """Voice encoder GE2E: the normalised mean of partial utterances of 1.6 s (Wan et al., 2018, section 3.2).

    Long silences are removed first; in files of data folders without any speech found they stay. Network
    input: (P, 160, 40), mel power of P partial utterances.

    Args:
        backend: "torch" or "onnxruntime".
        device: for PyTorch.
    """

    def __init__(self, backend: Backend = "torch", device: str = "cpu") -> None:
        from voiceface.real.voice_encoder import load_voice_encoder

        self.encoder = load_voice_encoder(backend, device)
        super().__init__(_describe("voice_encoder", 256, self.encoder.network.fingerprint), batch_size=16)

    def prepare(self, array: NDArray[Any]) -> Array:
        """Convert a waveform (T,), 16 kHz, -1...1, to (P, 160, 40)."""
        from voiceface.real.voice_encoder import normalise_volume

        wave = np.asarray(array, np.float32)
        try:
            return self.prepare_own(wave)
        except SpeechError:
            if not wave.any():
                raise
            return _partial_bands(normalise_volume(wave))

    def prepare_own(self, waveform: Array) -> Array:
        """Convert the waveform (T,) of a person's own recording.

        Raises:
            SpeechError: no voice is found.
        """
        from voiceface.real.voice_encoder import prepare_voice

        return _partial_bands(prepare_voice(waveform))

    def encode_batch(self, inputs: "Tensor") -> "Tensor":
        """Encode (B, P, 160, 40) as features (B, 256) of unit length."""
        import torch

        parts = inputs.reshape(-1, PARTIAL_FRAMES, NUM_MELS).cpu().numpy()
        means = self.encoder.network(parts)[0].reshape(len(inputs), -1, self.dimension).mean(1)
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        return torch.from_numpy(means / np.maximum(lengths, np.finfo(np.float32).tiny))


class RealFaceEncoder(Encoder):
    """Face encoder of dlib: chips of 150 pixels, aligned by corners of the eyes and bottom of the nose.

    In files of data folders the largest face is found; where none is found, the five points are taken to lie
    where they lie on average in such folders (`CROP_CONVENTIONS`). Network input: (3, 150, 150), 0...255.

    Args:
        backend: "torch" or "onnxruntime".
        device: for PyTorch.

    Raises:
        MissingModelError: it was not fetched, or the networks that find faces were not.
    """

    def __init__(self, backend: Backend = "torch", device: str = "cpu") -> None:
        from voiceface.real.face_encoder import load_face_encoder

        self.encoder = load_face_encoder(backend, device)
        super().__init__(_describe("face_encoder", 128, self.encoder.network.fingerprint), batch_size=32)
        self.pictures: ChipReader = ChipReader(PictureReader())

    def use_pictures(self, reader: PictureReader) -> None:
        """Read people's own pictures with the settings and the finder of a reader."""
        self.pictures = ChipReader(reader)

    def load_file(self, path: str | Path) -> Array:
        """Load a picture of a data folder; errors as `Encoder.load_file`."""
        from voiceface.images.loading import load_image

        image = load_image(path)
        return self.prepare_crop(self.pictures.align(image, _folder_convention(path)))

    def prepare(self, array: NDArray[Any]) -> Array:
        """Find the largest face of an RGB picture (H, W, 3) uint8 and align it, (3, 150, 150)."""
        return self.prepare_crop(self.pictures.align(_check_picture(array), self.face_crop))

    def prepare_crop(self, image: NDArray[np.uint8]) -> Array:
        """Convert an aligned chip to network input; another picture is scaled to 150 pixels."""
        import cv2

        chip = _check_picture(image)
        if chip.shape != (CHIP_SIDE, CHIP_SIDE, 3):
            chip = np.asarray(
                cv2.resize(chip, (CHIP_SIDE, CHIP_SIDE), interpolation=cv2.INTER_AREA), np.uint8
            )
        return np.ascontiguousarray(chip.transpose(2, 0, 1), np.float32)

    def encode_batch(self, inputs: "Tensor") -> "Tensor":
        """Encode (B, 3, 150, 150), 0...255, as features (B, 128), to be compared by Euclidean distance."""
        import torch

        return torch.from_numpy(self.encoder.network(inputs.cpu().numpy())[0])


class ChipReader(PictureReader):
    """Reads people's own pictures and cuts faces out as the face encoder expects them, (150, 150, 3).

    Args:
        settings: reader whose settings and finder are used.
    """

    def __init__(self, settings: PictureReader) -> None:
        super().__init__(
            settings.crop, settings.convention, every_face=settings.every_face, finder=settings._finder
        )
        self._points = _PointMemory()

    @property
    def identity(self) -> str:
        """Names all that decides which pixels a network sees; keys caches."""
        return f"{super().identity} chip" if self.finds_faces else ""

    @property
    def finder(self) -> "FaceFinder":
        """What finds faces; it remembers by which points faces are aligned."""
        self._points.finder = super().finder
        return self._points

    def with_convention(self, convention: str) -> "ChipReader":
        """The same settings; chips have no other convention."""
        return ChipReader(self)

    def load(self, face: OwnFace) -> Image:
        """Chip of a face; with "never" the picture as it is.

        Raises:
            FileNotFoundError, ImageError: the file cannot be read any more.
        """
        image = read_photograph(face.path)[0]
        seen = face.facts.face
        if seen is None:
            return image if self.crop == "never" else self.align(image, _folder_convention(face.path))
        points = np.array(seen.points)
        aligned = self._points.recall(image, points)
        return crop_face(image, points, ENCODER_CHIP) if aligned is None else aligned

    def align(self, image: Image, convention: str) -> Image:
        """Chip of the largest face of a picture; without one, of the mean points of a convention."""
        faces = self.finder.find([image])[0]
        if faces:
            return faces[0].encoder_chip(image)
        height, width = image.shape[:2]
        points = np.array(CROP_CONVENTIONS[convention].points) * (width, height) - 0.5
        return crop_face(image, points, ENCODER_CHIP)

    def _keep(self, item: str, pixels: Image) -> None:
        """Keep nothing: `load` cuts otherwise."""


class _PointMemory:
    """A face finder that remembers the points by which the encoder aligns the faces that it found."""

    finder: "FaceFinder"

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[float, ...], NDArray[Any]] = OrderedDict()

    @property
    def identity(self) -> str:
        """Identity of the finder."""
        return self.finder.identity

    def find(self, images: Sequence[Image]) -> "list[list[FoundFace]]":
        """Find faces, and remember their points."""
        found = self.finder.find(images)
        for face in (face for faces in found for face in faces):
            if face.encoder_points is not None:
                self._known[_point_key(face.points)] = np.array(face.encoder_points)
        while len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return found

    def recall(self, image: Image, points: NDArray[Any]) -> Image | None:
        """Chip of a face of a picture, found again if it is not remembered; None: it has no mesh."""
        from voiceface.real.face_encoder import align_faces

        key = _point_key(points)
        if key not in self._known:
            self.find([image])
        wanted = self._known.get(key)
        return None if wanted is None else align_faces(image, wanted[None]).chips[0]


def _point_key(points: NDArray[Any]) -> tuple[float, ...]:
    """Points as `voiceface.faces.own_face.describe_face` rounds them."""
    return tuple(round(float(value), 2) for value in np.asarray(points).reshape(-1))


def _describe(name: str, dimension: int, fingerprint: str) -> EncoderInfo:
    model = MODELS[name]
    voice = name == "voice_encoder"
    return EncoderInfo(
        "real",
        "voice" if voice else "face",
        dimension,
        licence=model.licence,
        wants="recordings of any length, from 1.6 s of speech" if voice else "pictures; the face is aligned",
        trained_on=model.trained_on,
        fingerprint=fingerprint,
    )


def _partial_bands(wave: Array) -> Array:
    from voiceface.real.voice_encoder import compute_partial_bands

    return compute_partial_bands(repeat_to_length(wave, MIN_SAMPLES) if len(wave) < MIN_SAMPLES else wave)


def _check_picture(array: NDArray[Any]) -> Image:
    image = np.asarray(array)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ImageError(f"expected an RGB picture (H, W, 3) of bytes, found {image.dtype} of {image.shape}")
    return image


def _folder_convention(path: str | Path) -> str:
    """Crop convention of a data folder: of populations, or of VGG_ALL_FRONTAL."""
    for folder in Path(path).absolute().parents:
        if (folder / "truth" / "population.json").is_file():
            return "population"
    return "vggface_frontal"


def _choose_backend(device: str) -> Backend:
    fast = all(importlib.util.find_spec(package) is not None for package in ("onnx", "onnxruntime"))
    return "onnxruntime" if device == "cpu" and fast else "torch"


def require_finder() -> None:
    """Check that faces can be found.

    Raises:
        MissingModelError: a network is not installed.
    """
    for name in FINDER_NETWORKS:
        if find_installed(name) is None:
            raise MissingModelError(
                "the face encoder needs the networks that find faces; `voiceface models get real` fetches "
                "them"
            )
