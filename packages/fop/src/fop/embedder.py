"""A trained model with its frozen encoders: files to embeddings, and features to embeddings."""

import copy
import logging
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from voiceface.association import embedder
from voiceface.audio.channels import to_waveform
from voiceface.audio.recordings import require_sound
from voiceface.checkpoints.native import fingerprint
from voiceface.datasets.corpus import Corpus
from voiceface.embeddings.encoder_info import Modality
from voiceface.embeddings.table import EmbeddingTable
from voiceface.encoders import Encoder, EncoderError, EncoderInfo, FeatureSet, load_encoder
from voiceface.encoders.records import is_same_encoder
from voiceface.faces.own_face import OwnFace
from voiceface.faces.own_pictures import PictureReader
from voiceface.io.file_facts import FileFacts

from fop.config import FopConfig
from fop.euclidean import EXTRA_DIMENSIONS, lift_faces, lift_voices
from fop.model import FopModel

__all__ = ["ENCODERS_KEY", "FopEmbedder"]

ENCODERS_KEY = "encoders"
"""Entry of a checkpoint's metadata: what is known about the voice and the face encoder, in this order."""
INT16_SCALE = 32768.0
WINDOW_SECONDS = 10.0
FEATURE_BATCH = 4096
log = logging.getLogger(__name__)


@cache
def _warn_once(sentence: str) -> None:
    log.warning("%s", sentence)


class FopEmbedder(embedder.Embedder):
    """Voices and faces to embeddings: file → frozen encoder → branch of the model.

    The encoders are those of `data.voice_encoder` and `data.face_encoder`, loaded on first use: features that
    exist already (`embed_features`) need neither. With `evaluation.score=euclidean` embeddings have four more
    components, by which their cosines rank as the published distance (`fop.euclidean`).

    Arguments and attributes are those of `voiceface.association.embedder.Embedder`.
    """

    config: FopConfig
    model: FopModel

    def __init__(self, model: FopModel, config: FopConfig, **options: Any) -> None:
        self._reader: PictureReader | None = None
        super().__init__(model, config, **options)
        self.is_euclidean = config.evaluation.score == "euclidean"
        if self.is_euclidean:
            self.embedding_dim += EXTRA_DIMENSIONS

    # Encoders.

    @cached_property
    def voice_encoder(self) -> Encoder:
        """The frozen encoder of voices.

        Raises:
            EncoderError: there is none of this name, or the weights were trained on features of another one.
            voiceface.real.installation.MissingModelError: it was not fetched; names the command.
        """
        encoder = load_encoder(self.config.data.voice_encoder, "voice", device=self.device.type)
        self._require_same(encoder.info, self.model.config.voice_dim)
        encoder.resample = self.config.data.resample
        encoder.on_corrupt = self.config.data.corrupt_audio
        return encoder

    @cached_property
    def face_encoder(self) -> Encoder:
        """The frozen encoder of faces; errors as of `voice_encoder`."""
        encoder = load_encoder(self.config.data.face_encoder, "face", device=self.device.type)
        self._require_same(encoder.info, self.model.config.face_dim)
        if self._reader is not None:
            encoder.use_pictures(self._reader)
        return encoder

    @property
    def encoder_infos(self) -> tuple[EncoderInfo, ...]:
        """What the checkpoint states about the two encoders; without a statement, that of the encoders."""
        stated = self.metadata.get(ENCODERS_KEY)
        if isinstance(stated, list):
            return tuple(EncoderInfo.from_values(each) for each in stated)
        return self.voice_encoder.info, self.face_encoder.info

    def find_encoder_overlap(self, corpus: Corpus, name: str) -> tuple[str, ...]:
        """Say which figures on these people are contaminated by the training of the frozen encoders.

        Args:
            corpus: the evaluated people.
            name: of the data set.

        Returns:
            Sentences of `voiceface.encoders.overlap.training_overlap`; none: no overlap is known.
        """
        from voiceface.encoders.overlap import training_overlap

        return tuple(training_overlap(self.encoder_infos, name, corpus.identities))

    def describe_input(self, modality: Modality) -> str:
        """Describe the files that the frozen encoder of a modality wants."""
        return next(info.wants for info in self.encoder_infos if info.modality == modality)

    def require(self) -> None:
        """Load both encoders; errors as of `voice_encoder`."""
        _ = self.voice_encoder, self.face_encoder

    def to(self, device: str | torch.device) -> Self:
        """Move the model to another device; encoders are loaded there when they are used next."""
        for name in ("voice_encoder", "face_encoder"):
            self.__dict__.pop(name, None)
        return super().to(device)

    def with_encoders(self, voice_encoder: str | None = None, face_encoder: str | None = None) -> Self:
        """Use encoders of other names, such as paths that have changed; None keeps one."""
        names = {"voice_encoder": voice_encoder, "face_encoder": face_encoder}
        update = {key: name for key, name in names.items() if name is not None}
        for key in update:
            self.__dict__.pop(key, None)
        data = self.config.data.model_copy(update=update)
        self.config = self.config.model_copy(update={"data": data})
        return self

    def _require_same(self, info: EncoderInfo, dimension: int | None) -> None:
        """Refuse an encoder whose features the weights do not know."""
        stated = self.metadata.get(ENCODERS_KEY) or ()
        known: dict[str, Any] = next((each for each in stated if each.get("modality") == info.modality), {})
        same = is_same_encoder(EncoderInfo.from_values(known), info) if known else None
        if same is None and info.dimension == dimension:
            _warn_once(
                f"{self.source or 'the model'}: nothing states that it was trained with {info.name}: "
                f"the length of the {info.modality} features agrees, the encoder was not checked"
            )
        elif not same:
            raise EncoderError(
                f"{self.source or 'the model'} was trained on {info.modality} features of length {dimension} "
                f"by {known.get('name', 'another encoder')}; {info.name} gives other features, of length "
                f"{info.dimension}: use that encoder, or train again"
            )

    # Fingerprint.

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights, encoders and front end; keys embedding caches."""
        return self.fingerprint_with(self.voice_encoder.fingerprint, self.face_encoder.fingerprint)

    def fingerprint_with(self, voice_encoder: str, face_encoder: str) -> str:
        """Hash of the weights and of two encoders, given by their fingerprints."""
        data, score = self.config.data, self.config.evaluation.score
        signature = f"{voice_encoder} {face_encoder} {score} {data.resample} {data.corrupt_audio}"
        values = torch.tensor(list(signature.encode()), dtype=torch.uint8)
        return fingerprint({**self.model.state_dict(), "front end": values})

    # Voices.

    def load_voice(self, path: str | Path) -> NDArray[np.float32]:
        """Load a recording of a data folder as input of the voice encoder; errors as `Encoder.load_file`."""
        return self.voice_encoder.load_file(path)

    def read_recording(
        self, path: str | Path, **options: Any
    ) -> tuple[NDArray[np.float32], FileFacts | None]:
        """Read a person's own recording as input of the voice encoder; errors as `Encoder.load_own`."""
        self.voice_encoder.long_recordings = options.pop("long", self.long_recordings)
        if options:
            return super().read_recording(path, **options)
        return self.voice_encoder.load_own(path)

    @property
    def recording_options(self) -> dict[str, Any]:
        """Arguments of `voiceface.real.recordings.read_own_recording`."""
        data = self.config.data
        return {
            "scale": "unit",
            "resample": data.resample,
            "on_corrupt": data.corrupt_audio,
            "best_seconds": self.voice_encoder.window_seconds,
        }

    @property
    def window_seconds(self) -> float:
        """Seconds of the windows of a long recording."""
        return self.voice_encoder.window_seconds or WINDOW_SECONDS

    def prepare_recording(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert the waveform (T,) of an own recording, 16 kHz, -1...1, to input of the voice encoder.

        Raises:
            SpeechError: the encoder's front end finds no speech.
        """
        return self.voice_encoder.prepare_own(waveform)

    @torch.inference_mode()
    def encode_voices(self, voices: Tensor) -> Tensor:
        """Encode a batch of inputs of `load_voice`, (B, ...), as embeddings (B, D)."""
        return self.embed_voice_features(self.voice_encoder.encode_batch(voices))

    @torch.inference_mode()
    def embed_voice_features(self, features: Tensor) -> Tensor:
        """Embed features of the voice encoder, (B, Dv), as (B, D), on the model's device."""
        embeddings = self.model.encode_voices(features.to(self.device, torch.float32)).float()
        return lift_voices(embeddings) if self.is_euclidean else embeddings

    def _prepare_voice(self, voice: str | Path | NDArray[Any]) -> NDArray[np.float32]:
        if isinstance(voice, str | Path):
            return self.load_recording(voice)
        waveform = to_waveform(voice)
        require_sound(waveform)
        return self.voice_encoder.prepare(waveform / np.float32(INT16_SCALE))

    # Faces.

    @property
    def pictures(self) -> PictureReader:
        """Reads people's own pictures as the face encoder wants them; replace it to crop otherwise."""
        return self.face_encoder.pictures

    @pictures.setter
    def pictures(self, reader: PictureReader) -> None:
        self._reader = reader
        if "face_encoder" in self.__dict__:
            self.face_encoder = copy.copy(self.face_encoder)  # others may have the same one
            self.face_encoder.use_pictures(reader)

    def load_face(self, path: str | Path) -> NDArray[np.float32]:
        """Load an image of a data folder as input of the face encoder; errors as `Encoder.load_file`."""
        return self.face_encoder.load_file(path)

    def load_photograph(self, path: str | Path) -> NDArray[np.float32]:
        """Load a picture of a person's own as input of the face encoder; of several faces the largest.

        Raises:
            ImageError: no readable image, or one without a face.
        """
        return self.face_encoder.load_own(path)[0]

    def read_photograph(self, path: str | Path) -> tuple[NDArray[np.float32], FileFacts | None]:
        """Do the same, and return what is known about the picture, too; errors as of `load_photograph`."""
        return self.face_encoder.load_own(path)

    def prepare_face(self, image: NDArray[np.uint8], face: OwnFace) -> NDArray[np.float32]:
        """Convert what `pictures` gives of a face, (H, W, 3) uint8, to input of the face encoder."""
        return self.face_encoder.prepare_face(image, face)

    def prepare_picture(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Convert an RGB image (H, W, 3), uint8, to input of the face encoder."""
        return self.face_encoder.prepare(image)

    @torch.inference_mode()
    def encode_faces(self, faces: Tensor) -> Tensor:
        """Encode a batch of inputs of `load_face`, (B, ...), as embeddings (B, D)."""
        return self.embed_face_features(self.face_encoder.encode_batch(faces))

    @torch.inference_mode()
    def embed_face_features(self, features: Tensor) -> Tensor:
        """Embed features of the face encoder, (B, Df), as (B, D), on the model's device."""
        embeddings = self.model.encode_faces(features.to(self.device, torch.float32)).float()
        return lift_faces(embeddings) if self.is_euclidean else embeddings

    # Data folders and feature tables.

    def embed_items(
        self, modality: str, items: Sequence[str], corpus: Corpus, **options: Any
    ) -> EmbeddingTable:
        """Embed voices ("v") or faces ("f") of a data folder; the cache holds features of the encoder.

        Args:
            modality: "v" or "f".
            items: names; repeated ones are encoded once.
            corpus: finds their files.
            options: `cache_dir`, `workers`, `on_error`, `progress` of `voiceface.embeddings.encoding`.

        Raises:
            EncoderError: files failed, with on_error="error", or none is left.
        """
        from voiceface.encoders.corpus_features import encode_items

        encoder = self.voice_encoder if modality == "v" else self.face_encoder
        get_path = corpus.voice_path if modality == "v" else corpus.face_path
        options = {key: value for key, value in options.items() if key != "label"}
        options["cache"] = options.pop("cache_dir", None)
        table = encode_items(encoder, list(dict.fromkeys(items)), get_path, **options)
        return self._table(modality, table.items, table.vectors, self.fingerprint, table.failed)

    def embed_features(self, features: FeatureSet) -> tuple[EmbeddingTable, EmbeddingTable]:
        """Embed a feature table; neither encoder is loaded.

        Args:
            features: voices (N, Dv) and faces (M, Df) of the encoders that the model was trained on.

        Returns:
            Tables of the voices (N, D) and of the faces (M, D), by the names of their files.

        Raises:
            EncoderError: features of other encoders.
        """
        self._require_same(features.voice_encoder, self.model.config.voice_dim)
        self._require_same(features.face_encoder, self.model.config.face_dim)
        digest = self.fingerprint_with(features.voice_encoder.fingerprint, features.face_encoder.fingerprint)
        return (
            self._table("v", list(features.voice_files), features.voices, digest),
            self._table("f", list(features.face_files), features.faces, digest),
        )

    def _table(
        self,
        modality: str,
        items: list[str],
        features: NDArray[np.float32],
        digest: str,
        failed: dict[str, str] | None = None,
    ) -> EmbeddingTable:
        """Embeddings of features (N, Dv or Df), as a table."""
        embed = self.embed_voice_features if modality == "v" else self.embed_face_features
        parts = [
            embed(torch.from_numpy(features[start : start + FEATURE_BATCH])).cpu()
            for start in range(0, len(features), FEATURE_BATCH)
        ]
        vectors = torch.cat(parts).numpy() if parts else np.zeros((0, self.embedding_dim), np.float32)
        return EmbeddingTable(items, vectors, digest, failed or {})
