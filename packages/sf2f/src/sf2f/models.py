"""Trained generators: saving those of a run, loading native and published checkpoints.

Letters: B identities, S windows, M mel bands, W frames of a window, D embedding size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from voiceface.checkpoints.native import load_into, load_model
from voiceface.checkpoints.paths import find_model_file
from voiceface.checkpoints.published import CheckpointError
from voiceface.real.voice_samples import is_path, read_voice_samples
from voiceface.runtime.config import validate_config

from sf2f import speech
from sf2f.config import DataConfig, Sf2fConfig
from sf2f.discriminators import Discriminators
from sf2f.generator import EncoderDecoder
from sf2f.image_transforms import denormalise
from sf2f.inference import Model, VoiceFeatures, is_stored
from sf2f.windows import default_stride, extract_recording_windows

if TYPE_CHECKING:
    from voiceface.training.run import Run


__all__ = [
    "BUNDLED_CHECKPOINT",
    "DISCRIMINATORS_FILE",
    "FUSER_PREFIX",
    "SYSTEM",
    "TRAINING_COMMAND",
    "RecordingReader",
    "Sf2fModel",
    "find_bundled_checkpoint",
    "load",
    "load_initial_weights",
    "load_sf2f_model",
    "save_final_weights",
]

SYSTEM = "sf2f"
BUNDLED_CHECKPOINT = "weights/population.safetensors"
TRAINING_COMMAND = "sf2f train --cfg sf2f_1st_stage --data DATA --out RUN"
DISCRIMINATORS_FILE = "discriminators.safetensors"
FUSER_PREFIX = "encoder.attn_fuser."


class RecordingReader(Model):
    """Preprocessing of models whose configuration is known: recordings to windows.

    Attributes:
        data: preprocessing of recordings and images.
        front_end: waveforms (1, S) at 16 kHz to bands (1, M, T); None: that of `sf2f.speech`.
    """

    data: DataConfig
    front_end: Callable[[Tensor], Tensor] | None = None

    def load_features(self, source: Any, **options: Any) -> VoiceFeatures:
        """Load normalised features of a recording, an array of samples or a feature file.

        Recordings are read and checked as a person's own (`voiceface.real.voice_samples`), unless the model
        was configured by `speech.sample_rates=published`.
        """
        config, facts = self.data.speech, None
        name = str(source) if is_path(source) else "the recording"
        if is_path(source) and is_stored(source, speech.FEATURE_SUFFIXES):
            mel = speech.read_mel(source, config.n_mels)
        elif is_path(source) and config.sample_rates == "published":
            mel = speech.compute_log_mel_from_file(source, config)
        else:
            options.setdefault("channel", "first" if config.channel == "first" else "auto")
            samples, _, facts = read_voice_samples(source, **options)
            mel = speech.compute_log_mel(samples, speech.SAMPLE_RATE, config, name, self.front_end)
        seconds = mel.shape[1] / speech.FRAMES_PER_SECOND
        return VoiceFeatures(name, speech.normalise_mel(mel, self.data.mel), seconds, facts)

    def split_windows(self, mel: NDArray[np.float32], stride: int | None = None) -> NDArray[np.float32]:
        """Split normalised features (M, T) into overlapping windows (S, M, W)."""
        width = self.data.windows.width
        return extract_recording_windows(
            mel, self.data.mel.fill_value, width, stride or default_stride(width)
        )


@dataclass(frozen=True)
class Sf2fModel(RecordingReader):
    """A trained generator in evaluation mode, with its preprocessing.

    Attributes:
        generator: frozen.
        data: preprocessing of recordings and images.
        name: of the experiment.
        disclaimer: to show with every image.
        identity_names: training identities; empty if unknown.
    """

    generator: EncoderDecoder
    data: DataConfig
    name: str = ""
    disclaimer: str = ""
    identity_names: tuple[str, ...] = ()

    @property
    def has_fuser(self) -> bool:
        """Whether windows are fused by attention; else their embeddings are averaged."""
        return self.generator.config.fuser is not None

    @torch.no_grad()
    def embed(self, windows: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Encode normalised windows (N, M, W) to embeddings (N, D).

        Args:
            windows: normalised features.
            noise: source of embedding noise, used with `noise_in_evaluation` only (published v2f).
        """
        return self.generator.encode(windows, noise)

    @torch.no_grad()
    def pool_embeddings(self, embeddings: Tensor) -> Tensor:
        """Pool window embeddings (S, D) of one identity to one vector (1, D), by the fuser or their mean.

        The mean is not normalised, as published (`average_voice_embedding`).
        """
        if self.has_fuser:
            return self.generator.fuse(embeddings[None])
        return embeddings.mean(0, keepdim=True)

    @torch.no_grad()
    def decode_images(self, embeddings: Tensor) -> Tensor:
        """Decode embeddings (N, D) to the largest images, (N, 3, side, side), 0...1, RGB."""
        images = self.generator.decode(embeddings)[-1]
        return denormalise(images, self.data.images.statistics).clamp(0, 1)


def save_final_weights(run: "Run", generator: nn.Module, discriminators: nn.Module) -> Path:
    """Save the final generator of a run, and the discriminators beside it for a second stage.

    Returns:
        The checkpoint of the generator.
    """
    run.save_final_model(discriminators.state_dict(), kind="discriminators", name=DISCRIMINATORS_FILE)
    return run.save_final_model(generator.state_dict(), kind="generator")


def load_sf2f_model(source: str | Path, *, device: torch.device | str = "cpu") -> Sf2fModel:
    """Load a trained generator.

    Args:
        source: a run folder, a checkpoint of this package (.safetensors), or one of the published trainer.
        device: where to load it.

    Raises:
        FileNotFoundError: no such model.
        CheckpointError: corrupt, or not a generator of this system.
    """
    path = Path(source)
    if path.is_dir() or path.suffix == ".safetensors":
        loaded = load_model(find_model_file(path), system=SYSTEM, kind="generator")
        config = validate_config(loaded.config, Sf2fConfig, f"the configuration in {path}")
        generator = EncoderDecoder(config.generator)
        load_into(generator, loaded.state, source=str(path))
        extra = loaded.extra
        model = Sf2fModel(
            generator, config.data, config.name, extra.get("disclaimer", ""), tuple(extra.get("names", ()))
        )
    else:
        from sf2f.published import load_generator

        model = Sf2fModel(load_generator(path), DataConfig(), path.stem)
    model.generator.eval().requires_grad_(False).to(device)
    return model


def load(weights: str | PathLike[str] | None = None, *, device: str = "cpu") -> Sf2fModel:
    """Load a trained generator.

    Models that were trained with embedding noise are loaded without it; `generate` adds it on request. (The
    published program always adds it, so that every image differs.)

    Args:
        weights: run folder, checkpoint of this package, or checkpoint of the published trainer (.pt); None:
            the bundled one, which was trained on synthetic identities only.
        device: "cpu", "cuda" or "auto".

    Raises:
        FileNotFoundError: no such checkpoint; the message says how to train one.
        CheckpointError, ValueError: the checkpoint is unusable.
    """
    from voiceface.runtime.devices import choose_device

    source = find_bundled_checkpoint() if weights is None else Path(weights)
    if not source.exists():
        raise FileNotFoundError(f"checkpoint {source} does not exist; train a model: {TRAINING_COMMAND}")
    model = load_sf2f_model(source, device=choose_device(device))
    encoder = model.generator.encoder
    encoder.config = encoder.config.model_copy(update={"noise_in_evaluation": False})
    return model


def find_bundled_checkpoint() -> Path:
    """Path of the checkpoint that is installed with this package.

    Raises:
        FileNotFoundError: this installation has none.
    """
    path = Path(str(files("sf2f").joinpath(BUNDLED_CHECKPOINT)))
    if not path.is_file():
        raise FileNotFoundError(
            f"this installation of sf2f has no {BUNDLED_CHECKPOINT}; train a model ({TRAINING_COMMAND}) and "
            "pass it with --weights RUN or load(RUN)"
        )
    return path


def load_initial_weights(
    source: str | Path,
    generator: EncoderDecoder,
    discriminators: Discriminators,
    identity_names: Sequence[str],
) -> None:
    """Copy a model into networks for further training; a fuser that it lacks keeps its initial weights.

    From a checkpoint of this package, the discriminators beside the generator are loaded as well; they must
    have been trained on the same identities.

    Args:
        source: a run folder, a checkpoint of this package, or one of the published trainer.
        generator: receives the generator.
        discriminators: receive the discriminators.
        identity_names: training identities in class order.

    Raises:
        FileNotFoundError, CheckpointError: missing, corrupt, of another architecture or of other identities.
    """
    path = Path(source)
    if not (path.is_dir() or path.suffix == ".safetensors"):
        from sf2f.published import load_pretrained

        load_pretrained(path, generator, discriminators)
        return
    loaded = load_model(find_model_file(path), system=SYSTEM, kind="generator")
    has_fuser = any(key.startswith(FUSER_PREFIX) for key in loaded.state)
    load_into(generator, loaded.state, ignore=[] if has_fuser else [f"{FUSER_PREFIX}*"], source=str(path))
    discriminators_path = (
        find_model_file(path, DISCRIMINATORS_FILE) if path.is_dir() else path.with_name(DISCRIMINATORS_FILE)
    )
    if not discriminators_path.is_file():
        raise CheckpointError(
            f"no {DISCRIMINATORS_FILE} beside {path}, which training continues with; pass the run folder"
        )
    loaded_discriminators = load_model(discriminators_path, system=SYSTEM, kind="discriminators")
    trained_names = loaded_discriminators.extra.get("names")
    if trained_names is not None and list(trained_names) != list(identity_names):
        raise CheckpointError(
            f"{discriminators_path} was trained on {len(trained_names)} identities that differ from the "
            f"{len(identity_names)} given (or in another order). Use the same --data in both stages"
        )
    load_into(discriminators, loaded_discriminators.state, source=str(discriminators_path))
