"""Reading a trained model of this system: bundled, ours or published."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from voiceface.association import embedder
from voiceface.association.embedder import BUNDLED_MODEL_DISCLAIMER
from voiceface.audio.loading import OnCorrupt
from voiceface.audio.vad import Int16Samples
from voiceface.checkpoints.native import fingerprint, load_into, load_model
from voiceface.checkpoints.paths import MODEL_FILE, find_model_file
from voiceface.checkpoints.published import CheckpointError
from voiceface.runtime.config import load_config, validate_config
from voiceface.runtime.devices import choose_device

from cmpc2.audio_frontend import compute_log_mel, prepare_voice
from cmpc2.config import Cmpc2Config
from cmpc2.image_frontend import prepare_face
from cmpc2.model import FV_Wrapper
from cmpc2.model_config import VoiceFrontendConfig
from cmpc2.published import PUBLISHED_MODELS, identify_published_model, read_published_model
from cmpc2.resnet import ResNet

log = logging.getLogger(__name__)
BUNDLED_CHECKPOINT = "weights/population.safetensors"
BUNDLED_MEMORY = "weights/population_memory.safetensors"
BUNDLED_TABLE = "weights/population_videos.csv"


class Embedder(embedder.Embedder):
    """Voices and faces to embeddings that can be compared by cosine, with the model's front ends.

    Args:
        model: the network; put into evaluation mode.
        config: the experiment it was trained by.
        identity_names: identities whose videos it was trained on, where known.
        source: where the weights come from, for messages.
        disclaimer: what a reader of its output must be told, or empty.
        device: where it runs.
    """

    config: Cmpc2Config  # type: ignore[assignment]
    model: FV_Wrapper

    def __init__(
        self,
        model: FV_Wrapper,
        config: Cmpc2Config,
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
        front = f"{config.data.voice.model_dump_json()} {config.model.face.image_size}"
        digest = torch.tensor(list(hashlib.sha256(front.encode()).digest()), dtype=torch.uint8)
        self.fingerprint = fingerprint({**model.state_dict(), "front end": digest})

    @property
    def voice_config(self) -> VoiceFrontendConfig:
        """The voice front end."""
        return self.config.data.voice

    def load_voice(self, path: str | Path) -> NDArray[np.float32]:
        """One recording or feature file as the network takes it, (1, 64, T).

        Raises:
            AudioError, SpeechError, FileNotFoundError: it cannot be used.
        """
        return self.model.load_voice(path)

    def load_face(self, path: str | Path) -> NDArray[np.float32]:
        """One picture as the network takes it, (3, S, S) in -1...1.

        Raises:
            ImageError: no readable picture.
        """
        return self.model.load_face(path)

    def _prepare_voice(self, voice: str | Path | NDArray) -> NDArray[np.float32]:
        """A file, or samples (T,) int16 at 16 kHz, as the network takes it."""
        if isinstance(voice, str | Path):
            return self.load_voice(voice)
        samples: Int16Samples = np.asarray(voice)
        return prepare_voice(compute_log_mel(samples, 16000, self.voice_config), self.voice_config)

    def _prepare_face(self, face: str | Path | NDArray) -> NDArray[np.float32]:
        return prepare_face(face, self.config.model.face.image_size)


def load_embedder(
    weights: str | Path | None = None,
    *,
    device: str = "cpu",
    resample: bool | None = True,
    on_corrupt: OnCorrupt | None = None,
    image_size: int | None = None,
    frontend: Literal["sphinx", "decibels"] | None = None,
) -> Embedder:
    """Read a trained model with its front ends.

    Args:
        weights: a file that `train` wrote (.safetensors), a run folder, or a published checkpoint (.pth.tar).
            None or "population": the bundled weights, trained on synthetic identities.
        device: "cpu", "cuda" or "auto" (a GPU if there is one).
        resample: bring recordings of another rate to 16 kHz; off, they are an error. None: as in training.
        on_corrupt: "error" refuses corrupt recordings, "salvage" uses what can be decoded; None: as in
            training.
        image_size: image size of a published model; None: by its file name (256 where that says so, else
            224).
        frontend: voice front end of a published model; None: by its file name.

    Raises:
        CheckpointError: absent, damaged, or of another system.
        ValueError: no such device.
    """
    device = str(choose_device(device))
    if weights is None or str(weights) == "population":
        place = resources.files("cmpc2") / BUNDLED_CHECKPOINT
        if not place.is_file():
            raise CheckpointError("this installation brings no weights: name a weights file")
        with resources.as_file(place) as path:
            return _load_native(path, device, resample, on_corrupt, BUNDLED_MODEL_DISCLAIMER)
    path = Path(weights)
    if path.is_dir():
        path = path / MODEL_FILE
    if not path.is_file():
        known = PUBLISHED_MODELS.get(str(weights))
        hint = (
            f"; {weights} is the file {known.filename}, which you must fetch (third_party)" if known else ""
        )
        raise CheckpointError(
            f"no weights at {path}{hint}: give a .safetensors file that `cmpc2 train` wrote, its run folder, "
            "or a published checkpoint (.pth.tar)"
        )
    if path.suffix == ".safetensors":
        return _load_native(path, device, resample, on_corrupt)
    return _load_published(path, device, resample, on_corrupt, image_size, frontend)


def available_models() -> list[str]:
    """Names that `load` knows: the bundled model, and published ones, whose files are fetched by the user."""
    return ["population", *PUBLISHED_MODELS]


def load(
    path: str | Path | None = None,
    *,
    mode: Literal["eval", "train"] = "eval",
    device: str = "cpu",
    image_size: int | None = None,
    frontend: Literal["sphinx", "decibels"] | None = None,
) -> FV_Wrapper:
    """Read a model as `FV_Wrapper`.

    Args:
        path: see `load_embedder`.
        mode: "eval"; the published function gives a model in "train" mode, whose batch norms then change.
        device: where it lies.
        image_size: see `load_embedder`.
        frontend: see `load_embedder`.

    Raises:
        CheckpointError: absent, damaged, or of another system.
    """
    if mode not in ("eval", "train"):
        raise ValueError(f"mode must be eval or train, found {mode!r}")
    found = load_embedder(path, device=device, image_size=image_size, frontend=frontend)
    log.info("weights: %s", found.source)
    if found.disclaimer:
        log.warning("%s", found.disclaimer)
    return found.model.train(mode == "train")


def load_model_file(model: FV_Wrapper, checkpoint_fn: str | Path) -> FV_Wrapper:
    """Copy a checkpoint's weights, published or ours, into a model that they fit exactly; gives the model.

    Raises:
        CheckpointError: damaged, of another system or architecture.
    """
    path = find_model_file(checkpoint_fn)
    ours = path.suffix == ".safetensors"
    state: Mapping[str, Tensor] = (
        load_model(path, system="cmpc2").state if ours else read_published_model(path)
    )
    load_into(model, state, source=str(path))
    return model


def load_branch(branch: ResNet, checkpoint_fn: str | Path, branch_name: str) -> ResNet:
    """Copy those weights of a whole model that belong to one branch: "voice_subnet" or "face_subnet"."""
    path = find_model_file(checkpoint_fn)
    ours = path.suffix == ".safetensors"
    state: Mapping[str, Tensor] = (
        load_model(path, system="cmpc2").state if ours else read_published_model(path)
    )
    prefix = f"{branch_name}."
    load_into(
        branch,
        {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)},
        source=str(path),
    )
    return branch


def _load_native(
    path: Path, device: str, resample: bool | None, on_corrupt: OnCorrupt | None, disclaimer: str = ""
) -> Embedder:
    """A model from a file of ours."""
    loaded = load_model(path, system="cmpc2", kind="model")
    config = _with_frontend_options(
        validate_config(loaded.config, Cmpc2Config, f"configuration in {path}"), resample, on_corrupt
    )
    model = FV_Wrapper(config=config.model, voice_frontend=config.data.voice)
    load_into(model, loaded.state, source=str(path))
    return Embedder(
        model,
        config,
        identity_names=loaded.extra.get("names"),
        source=path.name,
        disclaimer=loaded.extra.get("disclaimer") or disclaimer,
        device=device,
    )


def _load_published(
    path: Path,
    device: str,
    resample: bool | None,
    on_corrupt: OnCorrupt | None,
    image_size: int | None,
    frontend: str | None,
) -> Embedder:
    """A model from a published checkpoint; what its tensors do not tell comes from its name."""
    from cmpc2.architecture import infer_model_config

    state, known = read_published_model(path), identify_published_model(path)
    wide = "256" in path.name
    image_size = image_size or (known.image_size if known else 256 if wide else 224)
    frontend = frontend or (known.frontend if known else "sphinx" if wide else "decibels")
    config = load_config("published", Cmpc2Config, "cmpc2")
    voice = config.data.voice.model_copy(update={"frontend": frontend})
    config = config.model_copy(
        update={
            "model": infer_model_config(state, image_size),
            "data": config.data.model_copy(update={"voice": voice}),
        }
    )
    config = _with_frontend_options(config, resample, on_corrupt)
    model = FV_Wrapper(config=config.model, voice_frontend=config.data.voice)
    load_into(model, state, source=str(path))
    return Embedder(model, config, source=path.name, device=device)


def _with_frontend_options(
    config: Cmpc2Config, resample: bool | None, on_corrupt: OnCorrupt | None
) -> Cmpc2Config:
    """The configuration with what is asked for recordings; None leaves a value as it is."""
    asked: dict[str, str] = {}
    if resample is not None:
        asked["sample_rates"] = "resample" if resample else "error"
    if on_corrupt is not None:
        asked["corrupt_audio"] = on_corrupt
    voice = config.data.voice.model_copy(update=asked)
    return config.model_copy(update={"data": config.data.model_copy(update={"voice": voice})})
