"""A trained model with its front ends: recordings and pictures in, embeddings and scores out."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from voiceface import audio, images
from voiceface.checkpoint import CheckpointError, fingerprint, load_into, load_model
from voiceface.config import check
from voiceface.datasets.corpus import Corpus
from voiceface.devices import choose_device

from seeking_shape.config import SeekingShapeConfig
from seeking_shape.model import Voice2Face

BUNDLED = "weights/population.safetensors"
_POLICIES = {False: "strict", True: "tolerant"}
FRONT_END_KEYS = ("V.model.torchfb.*",)  # constants, computed with the model
BUNDLED_NOTICE = (
    "These weights were trained on invented people (the synthetic population). They show that the software "
    "works; what they say about real voices and faces means nothing. "
    "Train on real data before you rely on a figure."
)


class Embedder:
    """Voices and faces to embeddings that can be compared by cosine.

    Args:
        model: the network; put into evaluation mode.
        config: the experiment it was trained by.
        names: identity of every class, in class order, where known.
        source: where the weights come from, for messages.
        notice: what a reader of its output must be told, or empty.
        device: where it runs, such as "cpu" or "cuda".

    Attributes:
        fingerprint: hash of weights and of everything else that decides an embedding; keys embedding caches.
        dimension: length D of an embedding.
    """

    def __init__(
        self,
        model: Voice2Face,
        config: SeekingShapeConfig,
        *,
        names: Sequence[str] | None = None,
        source: str = "",
        notice: str = "",
        device: str | torch.device = "cpu",
    ) -> None:
        self.model, self.config, self.source, self.notice = model.eval().to(device), config, source, notice
        self.names = None if names is None else tuple(names)
        self.device = torch.device(device)
        self.dimension = config.model.embedding
        self.voice_batch, self.face_batch = config.evaluation.voice_batch, config.evaluation.face_batch
        front = f"{config.data.clip_samples} {config.model.face.side} {config.data.resample}"
        front += " tolerant" if config.data.damaged == "tolerant" else ""
        self.fingerprint = fingerprint(
            {**model.state_dict(), "front end": torch.tensor(list(front.encode()), dtype=torch.uint8)}
        )

    def to(self, device: str | torch.device) -> Self:
        """Move the network to another device."""
        self.device = torch.device(device)
        self.model.to(self.device)
        return self

    def load_voice(self, path: str | Path) -> NDArray[np.float32]:
        """One recording as the network takes it: 16 kHz, 16-bit range, repeated or cut to length, (T,).

        Raises:
            AudioError: unreadable or empty; damaged, unless the configuration is tolerant; or another sample
                rate, when it does not resample.
        """
        data = self.config.data
        wave = audio.load(path, scale="int16", resample=data.resample, policy=data.damaged)
        return audio.repeat_to_length(wave, self.config.data.clip_samples)

    def load_face(self, path: str | Path) -> NDArray[np.float32]:
        """One picture as the network takes it: BGR 0...255, (3, S, S).

        Raises:
            ImageError: no readable picture.
        """
        return images.evaluation_transform(images.to_bgr(images.decode(path)), self.config.model.face.side)

    @torch.inference_mode()
    def encode_voices(self, waves: Tensor) -> Tensor:
        """Waves (B, T) in the 16-bit range to embeddings (B, D), float32, not of unit length."""
        return self.model.encode_voices(waves.to(self.device)).float()

    @torch.inference_mode()
    def encode_faces(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, S, S), BGR 0...255, to embeddings (B, D), float32, not of unit length."""
        return self.model.encode_faces(pictures.to(self.device)).float()

    def embed_voices(self, voices: str | Path | NDArray | Sequence[Any]) -> Tensor:
        """Embeddings of recordings.

        Args:
            voices: paths, or waves (T,) at 16 kHz in the 16-bit range (any length), or one of either.

        Returns:
            Shape (number of recordings, D), on the CPU.
        """
        return self._embed(voices, 1, self._voice, self.encode_voices, self.voice_batch)

    def embed_faces(self, faces: str | Path | NDArray | Sequence[Any]) -> Tensor:
        """Embeddings of pictures.

        Args:
            faces: paths, or RGB pictures (H, W, 3) of bytes, or one of either.

        Returns:
            Shape (number of pictures, D), on the CPU.
        """
        return self._embed(faces, 3, self._face, self.encode_faces, self.face_batch)

    def _voice(self, voice: str | Path | NDArray) -> NDArray[np.float32]:
        if isinstance(voice, str | Path):
            return self.load_voice(voice)
        return audio.repeat_to_length(np.asarray(voice, np.float32), self.config.data.clip_samples)

    def _face(self, face: str | Path | NDArray) -> NDArray[np.float32]:
        if isinstance(face, str | Path):
            return self.load_face(face)
        return images.evaluation_transform(images.to_bgr(np.asarray(face)), self.config.model.face.side)

    def _embed(self, items: Any, axes: int, load: Any, encode: Any, batch: int) -> Tensor:
        """Embeddings of many items, or of one: a path, or an array of numbers with `axes` axes."""
        one = isinstance(items, np.ndarray) and items.ndim == axes and items.dtype.kind in "biuf"
        if one or isinstance(items, str | Path):
            items = [items]
        rows = [
            encode(torch.from_numpy(np.stack([load(item) for item in items[start : start + batch]]))).cpu()
            for start in range(0, len(items), batch)
        ]
        return torch.cat(rows) if rows else torch.empty(0, self.dimension)

    def side_of(self, side: str, corpus: Corpus) -> tuple[Any, Any, int, Any]:
        """Loader, encoder, batch size and path lookup for the voices ("v") or faces ("f") of a corpus."""
        if side == "v":
            return self.load_voice, self.encode_voices, self.voice_batch, corpus.voice_path
        return self.load_face, self.encode_faces, self.face_batch, corpus.face_path

    @staticmethod
    def score(voices: Tensor, faces: Tensor) -> Tensor:
        """Cosine of every voice embedding with every face embedding, shape (voices, faces), -1...1."""
        return torch.nn.functional.normalize(voices, dim=1) @ torch.nn.functional.normalize(faces, dim=1).T


def load(
    weights: str | Path | None = None,
    *,
    device: str = "cpu",
    resample: bool | None = True,
    tolerant: bool | None = None,
) -> Embedder:
    """Read a trained model.

    Args:
        weights: a file that `train` wrote (.safetensors), a run folder, or a published checkpoint
            (.pth.tar, .pth, .model; full models only). None: the bundled weights, trained on invented people.
        device: "cpu", "cuda" or "auto" (a GPU if there is one).
        resample: bring recordings of another rate to 16 kHz; off, they are an error, as published. None: as
            in the model's training.
        tolerant: use what is left of damaged recordings, and log what is lost; off, they are an error. None:
            as in the model's training.

    Raises:
        CheckpointError: absent, damaged, or of another system.
        ValueError: no such device.
    """
    device = str(choose_device(device))
    front = {"resample": resample, "damaged": None if tolerant is None else _POLICIES[tolerant]}
    if weights is None:
        place = resources.files("seeking_shape") / BUNDLED
        if not place.is_file():
            raise CheckpointError("this installation brings no weights: name a weights file")
        with resources.as_file(place) as path:
            return _load_ours(path, device, front, BUNDLED_NOTICE)
    path = Path(weights)
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"no weights at {path}: give a .safetensors file that `seeking_shape train` wrote, its run "
            "folder, or a published checkpoint"
        )
    if path.suffix == ".safetensors":
        return _load_ours(path, device, front)
    return _load_published(path, device, front)


def _load_ours(path: Path, device: str, front: dict[str, Any], notice: str = "") -> Embedder:
    loaded = load_model(path, system="seeking_shape", kind="model")
    config = _with_front_end(check(loaded.config, SeekingShapeConfig, f"configuration in {path}"), front)
    names = loaded.extra.get("names")
    model = Voice2Face(config.model, _classes(loaded.state), names=None if names is None else tuple(names))
    load_into(model, loaded.state, ignore=FRONT_END_KEYS, source=str(path))
    return Embedder(
        model,
        config,
        names=names,
        source=path.name,
        notice=loaded.extra.get("notice") or notice,
        device=device,
    )


def _load_published(path: Path, device: str, front: dict[str, Any]) -> Embedder:
    from voiceface.config import load_config

    from seeking_shape.published import read_full_checkpoint

    state = read_full_checkpoint(path)
    config = _with_front_end(load_config("published_main", SeekingShapeConfig, "seeking_shape"), front)
    model = Voice2Face(config.model, _classes(state))
    load_into(model, state, ignore=FRONT_END_KEYS, source=str(path))
    return Embedder(model, config, source=path.name, device=device)


def _classes(state: dict[str, Tensor]) -> int:
    if "F.cls.weight" not in state:
        raise CheckpointError("the file holds no classifier F.cls.weight: it is no full seeking_shape model")
    return len(state["F.cls.weight"])


def _with_front_end(config: SeekingShapeConfig, front: dict[str, Any]) -> SeekingShapeConfig:
    """The configuration with what is asked for recordings; None leaves a value as it is."""
    asked = {key: value for key, value in front.items() if value is not None}
    return config.model_copy(update={"data": config.data.model_copy(update=asked)})
