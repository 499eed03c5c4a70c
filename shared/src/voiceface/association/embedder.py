"""A trained model with its front ends: recordings and pictures in, embeddings and scores out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voiceface.association.config import AssociationConfig, DataConfig
from voiceface.association.encoders import Encoders
from voiceface.audio import loading as audio
from voiceface.checkpoints.native import fingerprint, load_into, load_model
from voiceface.checkpoints.paths import MODEL_FILE
from voiceface.checkpoints.published import CheckpointError
from voiceface.datasets.corpus import Corpus
from voiceface.images import loading as images
from voiceface.images import transforms
from voiceface.runtime.config import check
from voiceface.runtime.devices import choose_device

BUNDLED_NOTICE = (
    "These weights were trained on invented people (the synthetic population). They show that the software "
    "works; what they say about real voices and faces means nothing. "
    "Train on real data before you rely on a figure."
)
_POLICIES = {False: "strict", True: "tolerant"}


@dataclass(frozen=True)
class System:
    """What `load_weights` must know of a system.

    Attributes:
        name: of the package and of the system in weights files.
        config: type of its experiments.
        restore: (configuration, tensors by key, names of the classes or None) -> a model that they fit, into
            which `load_weights` copies them; raises CheckpointError where they are of no whole model.
        read_published: path of a published checkpoint -> (tensors by key, configuration).
        constants: shell patterns of keys that are computed with the model and may be absent.
        bundled: weights inside the package, such as "weights/population.safetensors".
    """

    name: str
    config: type[AssociationConfig]
    restore: Callable[[Any, Mapping[str, Tensor], tuple[str, ...] | None], Encoders]
    read_published: Callable[[Path], tuple[Mapping[str, Tensor], AssociationConfig]]
    constants: tuple[str, ...] = ()
    bundled: str = "weights/population.safetensors"


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
        model: Encoders,
        config: AssociationConfig,
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
        front = _front_end(config)
        self.fingerprint = fingerprint(
            {**model.state_dict(), "front end": torch.tensor(list(front.encode()), dtype=torch.uint8)}
        )

    def to(self, device: str | torch.device) -> Self:
        """Move the network to another device."""
        self.device = torch.device(device)
        self.model.to(self.device)
        return self

    def load_voice(self, path: str | Path) -> NDArray[np.float32]:
        """One recording as the network takes it: 16 kHz, in its scale, repeated or cut to length, (T,).

        Raises:
            AudioError: unreadable or empty; damaged, unless the configuration is tolerant; or another sample
                rate, when it does not resample.
        """
        data = self.config.data
        wave = audio.load(path, scale=data.sample_scale, resample=data.resample, policy=data.damaged)
        return audio.repeat_to_length(wave, data.clip_samples)

    def load_face(self, path: str | Path) -> NDArray[np.float32]:
        """One picture as the network takes it: its channel order, 0...255, (3, S, S).

        Raises:
            ImageError: no readable picture.
        """
        return self._fitted(images.decode(path))

    @torch.inference_mode()
    def encode_voices(self, waves: Tensor) -> Tensor:
        """Waves (B, T), as `load_voice` gives them, to embeddings (B, D), not of unit length."""
        return self.model.encode_voices(waves.to(self.device)).float()

    @torch.inference_mode()
    def encode_faces(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, S, S), as `load_face` gives them, to embeddings (B, D), not of unit length."""
        return self.model.encode_faces(pictures.to(self.device)).float()

    def embed_voices(self, voices: str | Path | NDArray | Sequence[Any]) -> Tensor:
        """Embeddings of recordings.

        Args:
            voices: paths, or waves (T,) of any length at 16 kHz in the scale of the training, or one of
                either.

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
        return self._fitted(np.asarray(face))

    def _fitted(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """An RGB picture (H, W, 3) as the network takes it."""
        data = self.config.data
        planes = transforms.evaluation_transform(
            transforms.to_bgr(picture), self.config.model.face.side, fit=data.fit
        )
        return planes if data.channels == "bgr" else np.ascontiguousarray(planes[::-1])

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


def _front_end(config: AssociationConfig) -> str:
    """What decides an embedding besides the weights, for the fingerprint; later options only where chosen."""
    data = config.data
    words = [f"{data.clip_samples} {config.model.face.side} {data.resample}"]
    words += ["tolerant"] if data.damaged == "tolerant" else []
    usual = DataConfig.model_fields
    for key in ("fit", "channels", "sample_scale"):
        value = getattr(data, key)
        words += [f"{key}={value}"] if value != usual[key].default else []
    return " ".join(words)


def load_weights(
    system: System,
    weights: str | Path | None = None,
    *,
    device: str = "cpu",
    resample: bool | None = True,
    tolerant: bool | None = None,
) -> Embedder:
    """Read a trained model.

    Args:
        system: whose model it is.
        weights: a file that `train` wrote (.safetensors), a run folder, or a published checkpoint. None: the
            bundled weights, trained on invented people.
        device: "cpu", "cuda" or "auto" (a GPU if there is one).
        resample: bring recordings of another rate to 16 kHz; off, they are an error. None: as in the model's
            training.
        tolerant: use what is left of damaged recordings, and log what is lost; off, they are an error. None:
            as in the model's training.

    Raises:
        CheckpointError: absent, damaged, or of another system.
        ValueError: no such device.
    """
    device = str(choose_device(device))
    front = {"resample": resample, "damaged": None if tolerant is None else _POLICIES[tolerant]}
    if weights is None:
        place = resources.files(system.name) / system.bundled
        if not place.is_file():
            raise CheckpointError("this installation brings no weights: name a weights file")
        with resources.as_file(place) as path:
            return _load_ours(system, path, device, front, BUNDLED_NOTICE)
    path = Path(weights)
    if path.is_dir():
        path = path / MODEL_FILE
    if not path.is_file():
        raise CheckpointError(
            f"no weights at {path}: give a .safetensors file that `{system.name} train` wrote, its run "
            "folder, or a published checkpoint"
        )
    if path.suffix == ".safetensors":
        return _load_ours(system, path, device, front)
    state, config = system.read_published(path)
    model = _filled(system, config, state, None, path)
    return Embedder(model, _with_front_end(config, front), source=path.name, device=device)


def _load_ours(system: System, path: Path, device: str, front: dict[str, Any], notice: str = "") -> Embedder:
    """A model from a file of ours."""
    loaded = load_model(path, system=system.name, kind="model")
    config = check(loaded.config, system.config, f"configuration in {path}")
    names = loaded.extra.get("names")
    return Embedder(
        _filled(system, config, loaded.state, None if names is None else tuple(names), path),
        _with_front_end(config, front),
        names=names,
        source=path.name,
        notice=loaded.extra.get("notice") or notice,
        device=device,
    )


def _filled(
    system: System,
    config: AssociationConfig,
    state: Mapping[str, Tensor],
    names: tuple[str, ...] | None,
    path: Path,
) -> Encoders:
    """A model with the weights of a file."""
    model = system.restore(config, state, names)
    load_into(model, state, ignore=system.constants, source=str(path))
    return model


def _with_front_end(config: AssociationConfig, front: dict[str, Any]) -> AssociationConfig:
    """The configuration with what is asked for recordings; None leaves a value as it is."""
    asked = {key: value for key, value in front.items() if value is not None}
    return config.model_copy(update={"data": config.data.model_copy(update=asked)})
