"""Trained generators: writing those of a run, reading ours and published ones.

Letters: B people, S windows, M mel bands, W frames of a window, D embedding length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from voiceface.checkpoints.native import load_into, load_model
from voiceface.checkpoints.paths import find_model_file
from voiceface.checkpoints.published import CheckpointError
from voiceface.runtime.config import validate_config

from sf2f.config import DataConfig, Sf2fConfig
from sf2f.discriminators import Discriminators
from sf2f.generator import EncoderDecoder
from sf2f.image_transforms import denormalise

if TYPE_CHECKING:
    from voiceface.training.run import Run

    from sf2f.inference import GeneratedFace

SYSTEM = "sf2f"
DISCRIMINATORS_FILE = "discriminators.safetensors"
FUSER_PREFIX = "encoder.attn_fuser."


@dataclass(frozen=True)
class Sf2fModel:
    """A trained generator in evaluation mode, with what must be known to feed it.

    Attributes:
        generator: frozen.
        data: how recordings become windows, and what pictures were normalised with.
        name: of the experiment.
        disclaimer: what must be said beside every picture.
        identity_names: people that it was trained on; empty where not known.
    """

    generator: EncoderDecoder
    data: DataConfig
    name: str = ""
    disclaimer: str = ""
    identity_names: tuple[str, ...] = ()

    @property
    def has_fuser(self) -> bool:
        """Whether it joins windows by a fuser; else their embeddings are averaged."""
        return self.generator.config.fuser is not None

    @torch.no_grad()
    def embed(self, windows: Tensor) -> Tensor:
        """Windows (N, M, W), normalised, to embeddings (N, D)."""
        return self.generator.encode(windows)

    @torch.no_grad()
    def pool_embeddings(self, embeddings: Tensor) -> Tensor:
        """Embeddings (S, D) of one person's windows to one vector (1, D): by the fuser, else their mean.

        The mean is not brought to unit length, as published (`average_voice_embedding`).
        """
        if self.has_fuser:
            return self.generator.fuse(embeddings[None])
        return embeddings.mean(0, keepdim=True)

    @torch.no_grad()
    def decode_images(self, embeddings: Tensor) -> Tensor:
        """Embeddings (N, D) to the largest pictures, (N, 3, side, side), 0...1, R G B."""
        made = self.generator.decode(embeddings)[-1]
        return denormalise(made, self.data.images.statistics).clamp(0, 1)

    def generate(
        self,
        voices: "str | PathLike[str] | Sequence[str | PathLike[str]]",
        *,
        stride: int | None = None,
        window_images: bool = False,
        recording_images: bool = False,
        noise: torch.Generator | None = None,
    ) -> "GeneratedFace":
        """Generate a face from recordings of one identity; see `sf2f.inference.generate`."""
        from sf2f.inference import generate

        return generate(
            self,
            voices,
            stride=stride,
            window_images=window_images,
            recording_images=recording_images,
            noise=noise,
        )


def save_final_weights(run: "Run", generator: nn.Module, discriminators: nn.Module) -> Path:
    """Write the final weights of a run: the generator, and beside it the discriminators for a second stage.

    Returns:
        The generator's file.
    """
    run.save_final_model(discriminators.state_dict(), kind="discriminators", name=DISCRIMINATORS_FILE)
    return run.save_final_model(generator.state_dict(), kind="generator")


def load_sf2f_model(source: str | Path, *, device: torch.device | str = "cpu") -> Sf2fModel:
    """Read a trained generator.

    Args:
        source: a run folder, a weights file of ours (.safetensors), or a checkpoint of the published trainer.
        device: where it goes.

    Raises:
        FileNotFoundError: there is no such model.
        CheckpointError: damaged, or no generator of this system.
    """
    path = Path(source)
    if path.is_dir() or path.suffix == ".safetensors":
        loaded = load_model(find_model_file(path), system=SYSTEM, kind="generator")
        config = validate_config(loaded.config, Sf2fConfig, f"the configuration in {path}")
        generator = EncoderDecoder(config.generator)
        load_into(generator, loaded.state, source=str(path))
        extra = loaded.extra
        found = Sf2fModel(
            generator, config.data, config.name, extra.get("disclaimer", ""), tuple(extra.get("names", ()))
        )
    else:
        from sf2f.published import load_generator

        found = Sf2fModel(load_generator(path), DataConfig(), path.stem)
    found.generator.eval().requires_grad_(False).to(device)
    return found


def load_initial_weights(
    source: str | Path,
    generator: EncoderDecoder,
    discriminators: Discriminators,
    identity_names: Sequence[str],
) -> None:
    """Copy a model into networks that are to be trained further; a fuser that it lacks stays as it is.

    Of ours, the discriminators beside the generator are copied, too, where they know the same people.

    Args:
        source: a run folder, a weights file of ours, or a checkpoint of the published trainer.
        generator: receives the generator.
        discriminators: receive the discriminators.
        identity_names: the training people in class order.

    Raises:
        FileNotFoundError, CheckpointError: absent, damaged, of another architecture or of other people.
    """
    path = Path(source)
    if not (path.is_dir() or path.suffix == ".safetensors"):
        from sf2f.published import load_pretrained

        load_pretrained(path, generator, discriminators)
        return
    loaded = load_model(find_model_file(path), system=SYSTEM, kind="generator")
    fuser = any(key.startswith(FUSER_PREFIX) for key in loaded.state)
    load_into(generator, loaded.state, ignore=[] if fuser else [f"{FUSER_PREFIX}*"], source=str(path))
    beside = (
        find_model_file(path, DISCRIMINATORS_FILE) if path.is_dir() else path.with_name(DISCRIMINATORS_FILE)
    )
    if not beside.is_file():
        raise CheckpointError(
            f"{path} has no {DISCRIMINATORS_FILE} beside it, which training goes on with; give the run folder"
        )
    judges = load_model(beside, system=SYSTEM, kind="discriminators")
    known = judges.extra.get("names")
    if known is not None and list(known) != list(identity_names):
        raise CheckpointError(
            f"{beside} knows {len(known)} people, here are {len(identity_names)}, or another order of them: identity "
            "discriminators need the same --data in both stages"
        )
    load_into(discriminators, judges.state, source=str(beside))
