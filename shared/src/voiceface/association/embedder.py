"""A trained model with its front ends: embeddings and scores from utterances and images."""

import copy
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voiceface.association.grouped_encoding import encode_grouped, encode_windows
from voiceface.audio.channels import is_one_recording, to_waveform
from voiceface.audio.loading import load_audio, repeat_to_length
from voiceface.audio.recordings import is_longer, require_sound, use_windows
from voiceface.audio.vad import SpeechError
from voiceface.checkpoints.native import fingerprint
from voiceface.datasets.corpus import Corpus
from voiceface.embeddings.encoder_info import Modality
from voiceface.embeddings.encoding import encode_files
from voiceface.embeddings.table import EmbeddingTable
from voiceface.faces.own_face import OwnFace
from voiceface.faces.own_pictures import PictureReader
from voiceface.images import transforms
from voiceface.images.loading import load_image
from voiceface.io.file_facts import FileFacts
from voiceface.io.file_kinds import printable
from voiceface.io.long_recordings import DEFAULT_LONG_RECORDINGS
from voiceface.metrics.impostor_scores import ImpostorScores
from voiceface.real.recordings import read_own_recording

__all__ = ["Embedder", "encode_grouped"]

log = logging.getLogger(__name__)


class Embedder:
    """Trained model that embeds voices and faces into one space, to be compared by cosine.

    Args:
        model: the network; set to evaluation mode.
        config: configuration it was trained with.
        identity_names: training identities, if known; in class order if the model has classes.
        source: origin of the weights, for messages.
        disclaimer: text to show with every output, or empty.
        device: device of the model, such as "cpu" or "cuda".
        impostor_scores: scores of impostor pairs stored with the weights; None: not stored.
        face_crop: convention of the faces that the weights were trained on, a key of
            `voiceface.faces.crops.CROP_CONVENTIONS`.

    Attributes:
        pictures: reads people's own pictures; replace it to crop otherwise (`PictureReader`).
        long_recordings: what is used of people's own long recordings; replace it to use all of them.
        embedding_dim: length D of an embedding.
        metadata: further entries of a native checkpoint.
        is_bundled: whether the weights came with the package.
    """

    is_bundled = False

    def __init__(
        self,
        model: Any,
        config: Any,
        *,
        identity_names: Sequence[str] | None = None,
        source: str = "",
        disclaimer: str = "",
        device: str | torch.device = "cpu",
        impostor_scores: ImpostorScores | None = None,
        face_crop: str = "population",
    ) -> None:
        self.model = model.eval().to(device)
        self.face_crop = face_crop
        self.pictures = PictureReader(convention=face_crop)
        self.long_recordings = DEFAULT_LONG_RECORDINGS
        self.impostor_scores = impostor_scores
        self.config = config
        self.source = source
        self.disclaimer = disclaimer
        self.metadata: Mapping[str, Any] = {}
        self.identity_names = None if identity_names is None else tuple(identity_names)
        self.device = torch.device(device)
        self.embedding_dim: int = config.model.embedding_dim
        self.voice_batch_size: int = config.evaluation.voice_batch_size
        self.face_batch_size: int = config.evaluation.face_batch_size

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights and of the front end; keys embedding caches."""
        signature = torch.tensor(list(self.config.frontend_signature().encode()), dtype=torch.uint8)
        return fingerprint({**self.model.state_dict(), "front end": signature})

    def comparable_fingerprints(self) -> tuple[str, ...]:
        """The fingerprint, and those of the same weights with other rules for unusual recordings.

        Whether corrupt recordings are salvaged and others resampled decides which files have an embedding,
        not whether two embeddings can be compared.
        """
        found = {self.fingerprint: None}
        twin = copy.copy(self)
        for resample in (False, True):
            for policy in ("error", "salvage"):
                twin.config = self.config.with_input_options(resample=resample, on_corrupt=policy)
                twin.__dict__.pop("fingerprint", None)
                found[twin.fingerprint] = None
        return tuple(found)

    def find_encoder_overlap(self, corpus: Corpus, name: str) -> tuple[str, ...]:
        """Sentences on people of a data set, called `name`, whom frozen encoders of the model know."""
        return ()

    def require(self) -> None:
        """Raise FileNotFoundError or ValueError, with the remedy, if something that it needs is missing."""

    def to(self, device: str | torch.device) -> Self:
        """Move the network to another device."""
        self.device = torch.device(device)
        self.model.to(self.device)
        return self

    def load_voice(self, path: str | Path) -> NDArray[np.float32]:
        """Load an utterance of a data folder as network input, (T,): 16 kHz, configured scale and length.

        It is repeated or cropped to its length; of several channels the first is used, as published.

        Raises:
            AudioError: unreadable or empty; corrupt, unless `data.corrupt_audio` is "salvage"; or of another
                sampling rate, unless `data.resample` is set.
        """
        data = self.config.data
        waveform = load_audio(
            path, scale=data.sample_scale, resample=data.resample, on_corrupt=data.corrupt_audio
        )
        return repeat_to_length(waveform, data.clip_samples)

    def read_recording(
        self, path: str | Path, **options: Any
    ) -> tuple[NDArray[np.float32], FileFacts | None]:
        """Read a person's own recording as network input, as `load_voice` does with data folders.

        Several channels are mixed, and silence and noise are refused: see
        `voiceface.real.recordings.read_own_recording`.

        Args:
            path: the file.
            options: further arguments of that function.

        Returns:
            The input, and what is known about the file: notes and measures.

        Raises:
            AudioError: as `load_voice`; silence, noise, or too little speech.
        """
        options = {"long": self.long_recordings} | self.recording_options | options
        recording = read_own_recording(path, **options)
        return self.prepare_recording(recording.waveform), recording.describe(path)

    @property
    def recording_options(self) -> dict[str, Any]:
        """Arguments of `read_own_recording` by the configuration."""
        data = self.config.data
        return {
            "scale": data.sample_scale,
            "resample": data.resample,
            "on_corrupt": data.corrupt_audio,
            "channel": data.own_channel,
            "best_seconds": self.window_seconds,
        }

    def describe_input(self, modality: Modality) -> str:
        """Describe the files of a modality that the model wants, in a sentence."""
        if modality == "voice":
            return f"recordings; {self.window_seconds:g} s of them are heard"
        side = self.config.model.face.image_size
        return f"pictures of faces, scaled to {side} pixels, cut out as in {self.face_crop}"

    @property
    def window_seconds(self) -> float:
        """Seconds of sound that an embedding is made of."""
        return self.config.data.clip_samples / 16000

    def prepare_recording(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert a waveform (T,) at 16 kHz, in the configured scale, to network input."""
        return repeat_to_length(waveform, self.config.data.clip_samples)

    def load_recording(self, path: str | Path) -> NDArray[np.float32]:
        """Do the same, log the notes, and return the input alone; errors as of `read_recording`."""
        samples, facts = self.read_recording(path)
        for note in facts.notes if facts else ():
            log.warning("%s: %s", printable(path), note)
        return samples

    def embed_recording(self, path: str | Path) -> tuple[NDArray[np.float32], FileFacts | None]:
        """Embed a person's own recording: a long one by the mean of its windows that hold speech.

        Memory does not grow with the length.

        Args:
            path: the file.

        Returns:
            Embedding (D,), and what is known about the file. That of a long recording is a mean of unit
            vectors.

        Raises:
            AudioError: as `read_recording`.
        """
        if not is_longer(path, self.long_recordings.seconds):
            samples, facts = self.read_recording(path)
            return self.encode_voices(torch.from_numpy(samples[None]))[0].cpu().numpy(), facts
        options = {key: value for key, value in self.recording_options.items() if key != "best_seconds"}
        total, count, refusal = torch.zeros(self.embedding_dim), 0, None

        def add(waveform: NDArray[np.float32]) -> None:
            nonlocal count, refusal
            try:
                inputs = torch.from_numpy(self.prepare_recording(waveform)[None])
            except SpeechError as error:  # of a system with its own voice activity detection
                refusal = error
                return
            total.add_(torch.nn.functional.normalize(self.encode_voices(inputs).cpu(), dim=1)[0])
            count += 1

        recording = use_windows(path, add, window_seconds=self.window_seconds, **options)
        if not count and refusal is not None:
            raise refusal
        return (total / count).numpy(), recording.describe(path)

    def load_face(self, path: str | Path) -> NDArray[np.float32]:
        """Load an image of a data folder as network input, (3, S, S), 0...255, in the configured order.

        Raises:
            ImageError: no readable image.
        """
        return self.prepare_picture(load_image(path))

    def load_photograph(self, path: str | Path) -> NDArray[np.float32]:
        """Load a picture of a person's own as network input, as `load_face` does with data folders.

        It is read as a viewer shows it, and its largest face is cut out as `pictures` says.

        Raises:
            ImageError: no readable image, or one without a face.
        """
        return self.prepare_picture(self.pictures.read(path))

    def read_photograph(self, path: str | Path) -> tuple[NDArray[np.float32], FileFacts | None]:
        """Do the same, and return what is known about the picture, too; errors as of `load_photograph`."""
        face = self.pictures.read_faces(Path(path))[0]
        return self.prepare_face(self.pictures.load(face), face), face.facts

    @torch.inference_mode()
    def encode_voices(self, voices: Tensor) -> Tensor:
        """Encode a batch of inputs of `load_voice`, (B, T), as embeddings (B, D), not of unit length."""
        return self.model.encode_voices(voices.to(self.device)).float()

    @torch.inference_mode()
    def encode_faces(self, faces: Tensor) -> Tensor:
        """Encode a batch of inputs of `load_face`, (B, 3, S, S), as embeddings (B, D), not of unit length."""
        return self.model.encode_faces(faces.to(self.device)).float()

    def embed_voices(self, voices: str | Path | NDArray | Sequence[Any]) -> Tensor:
        """Embed utterances.

        Args:
            voices: paths of a person's own recordings, or waveforms of any length at 16 kHz in the configured
                sample scale (16-bit range by default): (T,), or (T, channels) as `soundfile.read` gives them;
                a sequence or a single one.

        Returns:
            Embeddings (N, D), on the CPU, not of unit length.

        Raises:
            AudioError: see `load_recording` and `voiceface.audio.channels.to_waveform`.
        """
        if is_one_recording(voices):
            voices = [voices]
        if self.long_recordings.policy == "all":
            return encode_windows(self, [voices] if isinstance(voices, str | Path) else list(voices))
        return self._embed(voices, 1, self._prepare_voice, self.encode_voices, self.voice_batch_size)

    def embed_faces(self, faces: str | Path | NDArray | Sequence[Any]) -> Tensor:
        """Embed images.

        Args:
            faces: paths, or RGB images (H, W, 3) of bytes; a sequence or a single one. Files are read by
                `load_photograph`, arrays are used as they are.

        Returns:
            Embeddings (N, D), on the CPU, not of unit length.

        Raises:
            ImageError: see `load_photograph`.
        """
        return self._embed(faces, 3, self._prepare_face, self.encode_faces, self.face_batch_size)

    def _prepare_voice(self, voice: str | Path | NDArray) -> NDArray[np.float32]:
        if isinstance(voice, str | Path):
            return self.load_recording(voice)
        waveform = to_waveform(voice)
        require_sound(waveform)
        return repeat_to_length(waveform, self.config.data.clip_samples)

    def _prepare_face(self, face: str | Path | NDArray) -> NDArray[np.float32]:
        if isinstance(face, str | Path):
            return self.load_photograph(face)
        return self.prepare_picture(np.asarray(face))

    def prepare_picture(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Convert an RGB image (H, W, 3), uint8, to network input, (3, S, S)."""
        data = self.config.data
        planes = transforms.evaluation_transform(
            transforms.to_bgr(image), self.config.model.face.image_size, resize_mode=data.resize_mode
        )
        return planes if data.channels == "bgr" else np.ascontiguousarray(planes[::-1])

    def prepare_face(self, image: NDArray[np.uint8], face: OwnFace) -> NDArray[np.float32]:
        """Convert what `pictures` gives of a face, (H, W, 3) uint8, to network input."""
        return self.prepare_picture(image)

    def _embed(self, items: Any, ndim: int, load: Any, encode: Any, batch_size: int) -> Tensor:
        """Embed several items, or one: a path, or an array of numbers with `ndim` axes."""
        single = isinstance(items, np.ndarray) and items.ndim == ndim and items.dtype.kind in "biuf"
        if single or isinstance(items, str | Path):
            items = [items]
        return encode_grouped(items, load, encode, batch_size, torch.empty(len(items), self.embedding_dim))

    def modality_io(self, modality: str, corpus: Corpus) -> tuple[Any, Any, int, Any]:
        """Look up loader, encoder, batch size and path function of voices ("v") or faces ("f")."""
        if modality == "v":
            return self.load_voice, self.encode_voices, self.voice_batch_size, corpus.voice_path
        return self.load_face, self.encode_faces, self.face_batch_size, corpus.face_path

    def embed_items(
        self, modality: str, items: Sequence[str], corpus: Corpus, **options: Any
    ) -> EmbeddingTable:
        """Embed voices ("v") or faces ("f") of a data folder; options and errors as of `encode_files`."""
        load, encode, batch_size, get_path = self.modality_io(modality, corpus)
        known: dict[str, Any] = {"fingerprint": self.fingerprint, "batch_size": batch_size}
        return encode_files(items, get_path, load, encode, **(known | options))

    @staticmethod
    def score(voices: Tensor, faces: Tensor) -> Tensor:
        """Compute the cosine of every voice with every face embedding, shape (voices, faces), -1...1."""
        return torch.nn.functional.normalize(voices, dim=1) @ torch.nn.functional.normalize(faces, dim=1).T
