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
from voiceface.audio.loading import OnCorrupt, load_audio, repeat_to_length
from voiceface.checkpoints.native import fingerprint, load_into, load_model
from voiceface.checkpoints.paths import MODEL_FILE
from voiceface.checkpoints.published import CheckpointError
from voiceface.datasets.corpus import Corpus
from voiceface.images import transforms
from voiceface.images.loading import load_image
from voiceface.runtime.config import validate_config
from voiceface.runtime.devices import choose_device

BUNDLED_MODEL_DISCLAIMER = (
    "These weights were trained on invented people (the synthetic population). They show that the software "
    "works; what they say about real voices and faces means nothing. "
    "Train on real data before you rely on a figure."
)


@dataclass(frozen=True)
class SystemSpec:
    """What `load_weights` must know of a system.

    Attributes:
        name: of the package and of the system in weights files.
        config_type: type of its experiments.
        build_model: (configuration, tensors by key, names of the classes or None) -> a model that they fit,
            into which `load_weights` copies them; raises CheckpointError where they are of no whole model.
        read_published: path of a published checkpoint -> (tensors by key, configuration).
        computed_keys: shell patterns of keys that are computed with the model and may be absent.
        bundled_checkpoint: weights inside the package, such as "weights/population.safetensors".
    """

    name: str
    config_type: type[AssociationConfig]
    build_model: Callable[[Any, Mapping[str, Tensor], tuple[str, ...] | None], Encoders]
    read_published: Callable[[Path], tuple[Mapping[str, Tensor], AssociationConfig]]
    computed_keys: tuple[str, ...] = ()
    bundled_checkpoint: str = "weights/population.safetensors"


class Embedder:
    """Voices and faces to embeddings that can be compared by cosine.

    Args:
        model: the network; put into evaluation mode.
        config: the experiment it was trained by.
        identity_names: identity of every class, in class order, where known.
        source: where the weights come from, for messages.
        disclaimer: what a reader of its output must be told, or empty.
        device: where it runs, such as "cpu" or "cuda".

    Attributes:
        fingerprint: hash of weights and of everything else that decides an embedding; keys embedding caches.
        embedding_dim: length D of an embedding.
    """

    def __init__(
        self,
        model: Encoders,
        config: AssociationConfig,
        *,
        identity_names: Sequence[str] | None = None,
        source: str = "",
        disclaimer: str = "",
        device: str | torch.device = "cpu",
    ) -> None:
        self.model, self.config, self.source, self.disclaimer = (
            model.eval().to(device),
            config,
            source,
            disclaimer,
        )
        self.identity_names = None if identity_names is None else tuple(identity_names)
        self.device = torch.device(device)
        self.embedding_dim = config.model.embedding_dim
        self.voice_batch_size, self.face_batch_size = (
            config.evaluation.voice_batch_size,
            config.evaluation.face_batch_size,
        )
        front = _frontend_signature(config)
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
        wave = load_audio(
            path, scale=data.sample_scale, resample=data.resample, on_corrupt=data.corrupt_audio
        )
        return repeat_to_length(wave, data.clip_samples)

    def load_face(self, path: str | Path) -> NDArray[np.float32]:
        """One picture as the network takes it: its channel order, 0...255, (3, S, S).

        Raises:
            ImageError: no readable picture.
        """
        return self._preprocess_image(load_image(path))

    @torch.inference_mode()
    def encode_voices(self, waves: Tensor) -> Tensor:
        """Waves (B, T), as `load_voice` gives them, to embeddings (B, D), not of unit length."""
        return self.model.encode_voices(waves.to(self.device)).float()

    @torch.inference_mode()
    def encode_faces(self, faces: Tensor) -> Tensor:
        """Pictures (B, 3, S, S), as `load_face` gives them, to embeddings (B, D), not of unit length."""
        return self.model.encode_faces(faces.to(self.device)).float()

    def embed_voices(self, voices: str | Path | NDArray | Sequence[Any]) -> Tensor:
        """Embeddings of recordings.

        Args:
            voices: paths, or waves (T,) of any length at 16 kHz in the scale of the training, or one of
                either.

        Returns:
            Shape (number of recordings, D), on the CPU.
        """
        return self._embed(voices, 1, self._prepare_voice, self.encode_voices, self.voice_batch_size)

    def embed_faces(self, faces: str | Path | NDArray | Sequence[Any]) -> Tensor:
        """Embeddings of pictures.

        Args:
            faces: paths, or RGB pictures (H, W, 3) of bytes, or one of either.

        Returns:
            Shape (number of pictures, D), on the CPU.
        """
        return self._embed(faces, 3, self._prepare_face, self.encode_faces, self.face_batch_size)

    def _prepare_voice(self, voice: str | Path | NDArray) -> NDArray[np.float32]:
        if isinstance(voice, str | Path):
            return self.load_voice(voice)
        return repeat_to_length(np.asarray(voice, np.float32), self.config.data.clip_samples)

    def _prepare_face(self, face: str | Path | NDArray) -> NDArray[np.float32]:
        if isinstance(face, str | Path):
            return self.load_face(face)
        return self._preprocess_image(np.asarray(face))

    def _preprocess_image(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """An RGB picture (H, W, 3) as the network takes it."""
        data = self.config.data
        planes = transforms.evaluation_transform(
            transforms.to_bgr(image), self.config.model.face.image_size, resize_mode=data.resize_mode
        )
        return planes if data.channels == "bgr" else np.ascontiguousarray(planes[::-1])

    def _embed(self, items: Any, ndim: int, load: Any, encode: Any, batch_size: int) -> Tensor:
        """Embed many items, or one: a path, or an array of numbers with `ndim` axes.

        Items of different shapes pass the network in groups of one shape.
        """
        one = isinstance(items, np.ndarray) and items.ndim == ndim and items.dtype.kind in "biuf"
        if one or isinstance(items, str | Path):
            items = [items]
        found = torch.empty(len(items), self.embedding_dim)
        for start in range(0, len(items), batch_size):
            groups: dict[tuple[int, ...], list[tuple[int, NDArray]]] = {}
            for row, item in enumerate(items[start : start + batch_size], start):
                array = load(item)
                groups.setdefault(array.shape, []).append((row, array))
            for group in groups.values():
                rows = encode(torch.from_numpy(np.stack([array for _, array in group])))
                found[[row for row, _ in group]] = rows.cpu()
        return found

    def modality_io(self, modality: str, corpus: Corpus) -> tuple[Any, Any, int, Any]:
        """Loader, encoder, batch size and path lookup for the voices ("v") or faces ("f") of a corpus."""
        if modality == "v":
            return self.load_voice, self.encode_voices, self.voice_batch_size, corpus.voice_path
        return self.load_face, self.encode_faces, self.face_batch_size, corpus.face_path

    @staticmethod
    def score(voices: Tensor, faces: Tensor) -> Tensor:
        """Cosine of every voice embedding with every face embedding, shape (voices, faces), -1...1."""
        return torch.nn.functional.normalize(voices, dim=1) @ torch.nn.functional.normalize(faces, dim=1).T


def _frontend_signature(config: AssociationConfig) -> str:
    """What decides an embedding besides the weights, for the fingerprint; later options only where chosen."""
    data = config.data
    words = [f"{data.clip_samples} {config.model.face.image_size} {data.resample}"]
    words += ["salvage"] if data.corrupt_audio == "salvage" else []
    usual = DataConfig.model_fields
    for key in ("resize_mode", "channels", "sample_scale"):
        value = getattr(data, key)
        words += [f"{key}={value}"] if value != usual[key].default else []
    return " ".join(words)


def load_embedder(
    system: SystemSpec,
    weights: str | Path | None = None,
    *,
    device: str = "cpu",
    resample: bool | None = True,
    on_corrupt: OnCorrupt | None = None,
) -> Embedder:
    """Read a trained model.

    Args:
        system: whose model it is.
        weights: a file that `train` wrote (.safetensors), a run folder, or a published checkpoint. None: the
            bundled weights, trained on invented people.
        device: "cpu", "cuda" or "auto" (a GPU if there is one).
        resample: bring recordings of another rate to 16 kHz; off, they are an error. None: as in the model's
            training.
        on_corrupt: "error" refuses corrupt recordings, "salvage" uses what can be decoded and logs what is
            lost.
            None: as in the model's training.

    Raises:
        CheckpointError: absent, damaged, or of another system.
        ValueError: no such device.
    """
    device = str(choose_device(device))
    front = {"resample": resample, "corrupt_audio": on_corrupt}
    if weights is None:
        place = resources.files(system.name) / system.bundled_checkpoint
        if not place.is_file():
            raise CheckpointError("this installation brings no weights: name a weights file")
        with resources.as_file(place) as path:
            return _load_native(system, path, device, front, BUNDLED_MODEL_DISCLAIMER)
    path = Path(weights)
    if path.is_dir():
        path = path / MODEL_FILE
    if not path.is_file():
        raise CheckpointError(
            f"no weights at {path}: give a .safetensors file that `{system.name} train` wrote, its run "
            "folder, or a published checkpoint"
        )
    if path.suffix == ".safetensors":
        return _load_native(system, path, device, front)
    state, config = system.read_published(path)
    model = _with_weights(system, config, state, None, path)
    return Embedder(model, _override_frontend(config, front), source=path.name, device=device)


def _load_native(
    system: SystemSpec, path: Path, device: str, frontend_options: dict[str, Any], disclaimer: str = ""
) -> Embedder:
    """A model from a file of ours."""
    loaded = load_model(path, system=system.name, kind="model")
    config = validate_config(loaded.config, system.config_type, f"configuration in {path}")
    names = loaded.extra.get("names")
    return Embedder(
        _with_weights(system, config, loaded.state, None if names is None else tuple(names), path),
        _override_frontend(config, frontend_options),
        identity_names=names,
        source=path.name,
        disclaimer=loaded.extra.get("disclaimer") or disclaimer,
        device=device,
    )


def _with_weights(
    system: SystemSpec,
    config: AssociationConfig,
    state: Mapping[str, Tensor],
    identity_names: tuple[str, ...] | None,
    path: Path,
) -> Encoders:
    """A model with the weights of a file."""
    model = system.build_model(config, state, identity_names)
    load_into(model, state, ignore=system.computed_keys, source=str(path))
    return model


def _override_frontend(config: AssociationConfig, frontend_options: dict[str, Any]) -> AssociationConfig:
    """The configuration with what is asked for recordings; None leaves a value as it is."""
    asked = {key: value for key, value in frontend_options.items() if value is not None}
    return config.model_copy(update={"data": config.data.model_copy(update=asked)})
