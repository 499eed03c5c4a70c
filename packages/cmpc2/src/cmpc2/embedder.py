"""Load a trained model of this system, with its front ends: bundled, native or published."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from voiceface.association import embedder
from voiceface.association.loading import load_embedder as load_system_embedder
from voiceface.audio.loading import OnCorrupt
from voiceface.checkpoints.native import load_into, load_model
from voiceface.checkpoints.paths import find_model_file
from voiceface.checkpoints.published import CheckpointError
from voiceface.io.file_facts import FileFacts

from cmpc2.config import Cmpc2Config
from cmpc2.model import FV_Wrapper
from cmpc2.model_config import VoiceFrontendConfig
from cmpc2.published import PUBLISHED_MODELS, read_published_model
from cmpc2.resnet import ResNet
from cmpc2.system import SPEC

__all__ = [
    "BUNDLED_MEMORY",
    "BUNDLED_TABLE",
    "Embedder",
    "available_models",
    "load",
    "load_branch",
    "load_embedder",
    "load_model_file",
]

log = logging.getLogger(__name__)
BUNDLED_MEMORY = "weights/population_memory.safetensors"
BUNDLED_TABLE = "weights/population_videos.csv"


class Embedder(embedder.Embedder):
    """Voices and faces to embeddings that are compared by cosine, with the front ends of the model."""

    config: Cmpc2Config
    model: FV_Wrapper

    @property
    def voice_config(self) -> VoiceFrontendConfig:
        """Configuration of the voice front end."""
        return self.config.data.voice

    def load_voice(self, path: str | Path) -> NDArray[np.float32]:
        """Load an utterance or feature file as network input, (1, 64, T).

        Raises:
            AudioError, SpeechError, FileNotFoundError: it cannot be used.
        """
        return self.model.load_voice(path)

    def read_recording(
        self, path: str | Path, **options: Any
    ) -> tuple[NDArray[np.float32], FileFacts | None]:
        """Read a person's own recording as network input, (1, 64, T); see `FV_Wrapper.read_recording`.

        Raises:
            AudioError, SpeechError, FileNotFoundError: it cannot be used, or holds no speech.
        """
        return self.model.read_recording(path, **({"long": self.long_recordings} | options))

    @property
    def recording_options(self) -> dict[str, Any]:
        """Arguments of `voiceface.real.recordings.read_own_recording` by the configuration."""
        voice = self.voice_config
        resample = voice.sample_rates == "resample"
        return {"scale": "int16", "resample": resample, "on_corrupt": voice.corrupt_audio}

    @property
    def window_seconds(self) -> float:
        """Seconds of the windows of a long recording: those of `num_frames` frames."""
        return self.voice_config.num_frames / 100

    def prepare_recording(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert a waveform (T,) at 16 kHz, 16-bit range, to network input, (1, 64, T').

        Raises:
            SpeechError: no voice is found in it.
        """
        return self.model.prepare_recording(waveform)

    def embed_recording(self, path: str | Path) -> tuple[NDArray[np.float32], FileFacts | None]:
        """Embed a person's own recording; feature files, and `sample_rates=published`: in one piece."""
        if self.model.is_read_as_published(path):
            samples, facts = self.read_recording(path)
            return self.encode_voices(torch.from_numpy(samples[None]))[0].cpu().numpy(), facts
        return super().embed_recording(path)

    def load_face(self, path: str | Path) -> NDArray[np.float32]:
        """Load an image as network input, (3, S, S) in -1...1.

        Raises:
            ImageError: no readable image.
        """
        return self.model.load_face(path)

    def _prepare_voice(self, voice: str | Path | NDArray) -> NDArray[np.float32]:
        if isinstance(voice, str | Path):
            return self.load_recording(voice)
        return self.model.load_recording(voice)

    def prepare_picture(self, image: Any) -> NDArray[np.float32]:
        """Convert a Pillow image, or RGB bytes (H, W, 3), to network input, (3, S, S) in -1...1."""
        return self.model.load_face(image)

    def _prepare_face(self, face: Any) -> NDArray[np.float32]:
        return self.load_photograph(face) if isinstance(face, str | Path) else self.prepare_picture(face)


def load_embedder(
    weights: str | Path | None = None,
    *,
    device: str = "cpu",
    resample: bool | None = True,
    on_corrupt: OnCorrupt | None = None,
    image_size: int | None = None,
    frontend: Literal["sphinx", "decibels"] | None = None,
) -> Embedder:
    """Load a trained model with its front ends.

    Args:
        weights: checkpoint that `train` wrote (.safetensors), run folder, or published checkpoint (.pth.tar).
            None or "population": the bundled checkpoint, trained on a synthetic population.
        device: "cpu", "cuda" or "auto" (a GPU if there is one).
        resample: convert utterances of another sampling rate to 16 kHz; if false, they are an error. None: as
            in training.
        on_corrupt: "error" refuses corrupt utterances, "salvage" uses what can be decoded; None: as in
            training.
        image_size: image side of a published model in pixels; None: by its file name (256 if that says so,
            else 224).
        frontend: voice front end of a published model; None: by its file name.

    Raises:
        CheckpointError: missing, corrupt, or of another system.
        ValueError: no such device.
    """
    if str(weights) == "population":
        weights = None
    known = PUBLISHED_MODELS.get(str(weights))
    if known and not Path(str(weights)).exists():
        raise CheckpointError(
            f"no checkpoint at {weights}: the published model {weights} is the file {known.filename}; "
            "download it (third_party/README.md) and give its path"
        )
    loaded = load_system_embedder(
        SPEC,
        weights,
        device=device,
        resample=resample,
        on_corrupt=on_corrupt,
        image_size=image_size,
        frontend=frontend,
    )
    assert isinstance(loaded, Embedder)
    loaded.model.pictures = loaded.pictures
    return loaded


def available_models() -> list[str]:
    """List the models that `load` knows by name: the bundled one, and published ones (not included)."""
    return ["population", *PUBLISHED_MODELS]


def load(
    path: str | Path | None = None,
    *,
    mode: Literal["eval", "train"] = "eval",
    device: str = "cpu",
    image_size: int | None = None,
    frontend: Literal["sphinx", "decibels"] | None = None,
) -> FV_Wrapper:
    """Load a model as `FV_Wrapper`.

    Args:
        path: see `load_embedder`.
        mode: "eval" or "train"; the published function returns a model in "train" mode.
        device: see `load_embedder`.
        image_size: see `load_embedder`.
        frontend: see `load_embedder`.

    Raises:
        CheckpointError: missing, corrupt, or of another system.
        ValueError: unknown mode.
    """
    if mode not in ("eval", "train"):
        raise ValueError(f"mode must be eval or train, found {mode!r}")
    loaded = load_embedder(path, device=device, image_size=image_size, frontend=frontend)
    log.info("weights: %s", loaded.source)
    if loaded.disclaimer:
        log.warning("%s", loaded.disclaimer)
    return loaded.model.train(mode == "train")


def load_model_file(model: FV_Wrapper, checkpoint_fn: str | Path) -> FV_Wrapper:
    """Copy the weights of a checkpoint, published or native, into a model of the same shapes; return it.

    Raises:
        CheckpointError: corrupt, of another system or architecture.
    """
    load_into(model, _read_state(checkpoint_fn), source=str(checkpoint_fn))
    return model


def load_branch(branch: ResNet, checkpoint_fn: str | Path, branch_name: str) -> ResNet:
    """Copy the weights of one branch of a complete model: "voice_subnet" or "face_subnet"."""
    prefix = f"{branch_name}."
    state = _read_state(checkpoint_fn)
    part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    load_into(branch, part, source=str(checkpoint_fn))
    return branch


def _read_state(checkpoint_fn: str | Path) -> Mapping[str, Tensor]:
    """Read the tensors of a published or native checkpoint."""
    path = find_model_file(checkpoint_fn)
    native = path.suffix == ".safetensors"
    return load_model(path, system="cmpc2").state if native else read_published_model(path)
