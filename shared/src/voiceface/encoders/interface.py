"""One interface of frozen encoders: what they are, how a file becomes a network input, and its feature."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voiceface.audio.channels import is_one_recording, to_waveform
from voiceface.audio.loading import OnCorrupt, load_audio
from voiceface.audio.recordings import is_longer, require_sound, use_windows
from voiceface.audio.vad import SpeechError
from voiceface.embeddings.encoder_info import POPULATION, EncoderInfo, Modality
from voiceface.faces.own_pictures import PictureReader
from voiceface.images.loading import load_image
from voiceface.io.file_facts import FileFacts
from voiceface.io.file_kinds import printable
from voiceface.io.long_recordings import DEFAULT_LONG_RECORDINGS, LongRecordings
from voiceface.real.recordings import read_own_recording

if TYPE_CHECKING:
    from torch import Tensor

    from voiceface.faces.own_face import OwnFace

__all__ = ["POPULATION", "Encoder", "EncoderError", "EncoderInfo", "Modality"]

log = logging.getLogger(__name__)

Array = NDArray[np.float32]
WINDOW_SECONDS = 10.0


class EncoderError(ValueError):
    """An encoder cannot be found, loaded or used; the message states the remedy."""


class Encoder:
    """A frozen encoder of one modality.

    A file becomes a network input (`load_file`, `load_own`; in any thread), and inputs of equal shapes become
    features (`encode_batch`), as with `voiceface.association.embedder.Embedder`.

    Args:
        info: what is known about it.
        batch_size: most inputs per batch.
        face_crop: of faces: how people's own pictures are cut out, a key of
            `voiceface.faces.crops.CROP_CONVENTIONS`.

    Attributes:
        info: what is known about it.
        batch_size: most inputs per batch.
        on_corrupt: of voices: "error" refuses corrupt recordings, "salvage" uses what can be decoded.
        resample: of voices: convert recordings of other rates to 16 kHz; if false, they are an error.
        long_recordings: of voices: what is used of people's own long recordings.
        pictures: of faces: reads people's own pictures; `use_pictures` replaces it.
    """

    on_corrupt: OnCorrupt = "error"
    resample: bool = True

    def __init__(self, info: EncoderInfo, *, batch_size: int = 32, face_crop: str = "population") -> None:
        self.info, self.batch_size, self.face_crop = info, batch_size, face_crop
        self.long_recordings: LongRecordings = DEFAULT_LONG_RECORDINGS
        self.pictures = PictureReader(convention=face_crop)

    @property
    def dimension(self) -> int:
        """Length D of a feature."""
        return self.info.dimension

    @property
    def fingerprint(self) -> str:
        """Hash of weights and front end."""
        return self.info.fingerprint

    @property
    def is_voice(self) -> bool:
        """Whether it encodes voices."""
        return self.info.modality == "voice"

    def use_pictures(self, reader: PictureReader) -> None:
        """Read people's own pictures with the settings and the finder of a reader."""
        self.pictures = reader.with_convention(self.face_crop)

    def load_file(self, path: str | Path) -> Array:
        """Load a file of a data folder as network input: nothing is measured, nothing refused.

        Raises:
            AudioError, ImageError: unreadable.
            FileNotFoundError: no such file.
        """
        if self.is_voice:
            wave = load_audio(path, scale="unit", resample=self.resample, on_corrupt=self.on_corrupt)
            return self.prepare(wave)
        return self.prepare(load_image(path))

    def load_own(self, path: str | Path) -> tuple[Array, FileFacts | None]:
        """Load a person's own file as network input; of a picture the largest face.

        Recordings without speech are refused (`voiceface.real.recordings.read_own_recording`); faces are
        found as `pictures` says.

        Returns:
            The input, and what is known about the file: notes and measures.

        Raises:
            AudioError: unreadable; silence, noise, or too little speech.
            ImageError: unreadable, or no face.
            FileNotFoundError: no such file.
        """
        if self.is_voice:
            options = self._recording_options() | {"best_seconds": self.window_seconds}
            recording = read_own_recording(path, long=self.long_recordings, **options)
            return self.prepare_own(recording.waveform), recording.describe(path)
        face = self.pictures.read_faces(Path(path))[0]
        return self.prepare_face(self.pictures.load(face), face), face.facts

    def prepare(self, array: NDArray[Any]) -> Array:
        """Convert an array to network input.

        Args:
            array: of voices: waveform (T,), 16 kHz, -1...1; of faces: RGB picture (H, W, 3) uint8.
        """
        raise NotImplementedError

    def prepare_own(self, waveform: Array) -> Array:
        """Convert the waveform (T,) of a person's own recording; like `prepare` unless speech is required.

        Raises:
            SpeechError: the encoder's own front end finds no speech.
        """
        return self.prepare(waveform)

    def prepare_crop(self, image: NDArray[np.uint8]) -> Array:
        """Convert a face (H, W, 3) that `pictures` cut out to network input."""
        return self.prepare(image)

    def prepare_face(self, image: NDArray[np.uint8], face: "OwnFace") -> Array:
        """Convert what `pictures` or a video gives of a face, (H, W, 3) uint8, to network input."""
        return self.prepare_crop(image)

    def encode_batch(self, inputs: "Tensor") -> "Tensor":
        """Encode inputs of one shape, (B, ...), as features (B, D), float32, on any device."""
        raise NotImplementedError

    @property
    def window_seconds(self) -> float | None:
        """Seconds of sound that a feature is made of; None: all that there is."""
        return None

    def encode_own(self, path: str | Path) -> tuple[Array, FileFacts | None]:
        """Encode a person's own file: of a long recording as `long_recordings` says.

        With "all", a long recording gets the mean of the features of its windows that hold speech, each
        scaled to unit length first; memory does not grow with the length.

        Returns:
            Feature (D,), and what is known about the file.

        Raises:
            AudioError, ImageError, FileNotFoundError: as `load_own`.
        """
        whole = self.is_voice and self.long_recordings.policy == "all"
        if not whole or not is_longer(path, self.long_recordings.seconds):
            inputs, facts = self.load_own(path)
            return self._encode_one(inputs), facts
        total, count, refusal = np.zeros(self.dimension, np.float32), 0, None

        def add(waveform: Array) -> None:
            nonlocal count, refusal
            try:
                feature = self._encode_one(self.prepare_own(waveform))
            except SpeechError as error:
                refusal = error
                return
            total[:] += feature / max(float(np.linalg.norm(feature)), 1e-12)
            count += 1

        seconds = self.window_seconds or WINDOW_SECONDS
        recording = use_windows(path, add, window_seconds=seconds, **self._recording_options())
        if not count and refusal is not None:
            raise refusal
        return total / np.float32(max(count, 1)), recording.describe(path)

    def encode(self, items: str | Path | NDArray[Any] | Sequence[Any]) -> Array:
        """Encode people's own files, or arrays, in batches.

        Args:
            items: paths, or arrays as of `prepare` (recordings also as `soundfile.read` gives them); a
                sequence or a single one. Arrays of whole numbers are samples of that range, such as int16.
                Notes about files are logged.

        Returns:
            (N, D) float32, not of unit length.

        Raises:
            AudioError, ImageError, FileNotFoundError: as `load_own`; arrays of another shape.
        """
        import torch

        from voiceface.association.embedder import encode_grouped

        if isinstance(items, str | Path) or self._is_single(items):
            items = [items]
        items = list(items)
        if self.is_voice and self.long_recordings.policy == "all":
            rows = [
                self._encode_one(self._load_item(each)) if not _is_path(each) else self._told(each)
                for each in items
            ]
            return np.stack(rows) if rows else np.zeros((0, self.dimension), np.float32)
        out = torch.empty(len(items), self.dimension)
        return encode_grouped(items, self._load_item, self.encode_batch, self.batch_size, out).numpy()

    def _is_single(self, items: Any) -> bool:
        if self.is_voice:
            return is_one_recording(items)
        return isinstance(items, np.ndarray) and items.ndim == 3

    def _load_item(self, item: Any) -> Array:
        if _is_path(item):
            inputs, facts = self.load_own(item)
            _log_notes(item, facts)
            return inputs
        if not self.is_voice:
            return self.prepare(np.asarray(item))
        given = np.asarray(item)
        wave = to_waveform(given)
        if given.dtype.kind in "iu":
            wave = wave / np.float32(np.iinfo(given.dtype).max + 1)
        require_sound(wave)
        return self.prepare(wave)

    def _told(self, path: str | Path) -> Array:
        feature, facts = self.encode_own(path)
        _log_notes(path, facts)
        return feature

    def _encode_one(self, inputs: Array) -> Array:
        import torch

        feature: Array = self.encode_batch(torch.from_numpy(inputs[None]))[0].cpu().numpy()
        return feature

    def _recording_options(self) -> dict[str, Any]:
        return {"scale": "unit", "resample": self.resample, "on_corrupt": self.on_corrupt}


def _is_path(item: Any) -> bool:
    return isinstance(item, str | Path)


def _log_notes(path: str | Path, facts: FileFacts | None) -> None:
    for note in facts.notes if facts else ():
        log.warning("%s: %s", printable(path), note)
