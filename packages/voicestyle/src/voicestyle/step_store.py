"""A result store that shows the way to a picture: what each part of the work has reached."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from voiceface.suite.plugins import GenerationStep

from voicestyle.config import VoiceStyleConfig
from voicestyle.latent_optimisation import LatentOptimiser
from voicestyle.models import PipelineModels
from voicestyle.result_store import MemoryStore, OptimisationStep
from voicestyle.stylegan2.images import to_uint8

__all__ = ["StepStore"]

SHOW_INTERVAL = 5  # optimisation steps between two pictures
INVERSION_SHARE = 0.7  # of the whole work, for the progress
STAGES = {"inversion": "looking up similar faces", "guidance": "following the voice"}


@dataclass
class StepStore(MemoryStore):
    """Keeps inverted images in memory, and calls `on_step` with pictures.

    Attributes:
        on_step: is called at the beginning of each optimisation and every few steps.
        models, config: of the run.
    """

    on_step: Callable[[GenerationStep], None] = lambda _: None
    models: PipelineModels | None = None
    config: VoiceStyleConfig | None = None

    def optimiser_options(
        self, step: OptimisationStep, keys: Sequence[str], targets: NDArray[np.uint8] | None = None
    ) -> dict[str, Any]:
        """Return the callback of one optimisation; its first picture comes at once."""
        if targets is not None and len(targets):
            mean = np.round(targets.astype(np.float32).mean(0)).astype(np.uint8)
            self.on_step(GenerationStep("mean of the similar faces", 0.02, mean))
        return {"callback": lambda optimiser: self._show(step, optimiser)}

    def save_initial_latent(self, name: str, latent: Tensor) -> None:
        """Show the picture that guidance starts from."""
        self.on_step(GenerationStep("face to start from", INVERSION_SHARE, self._draw(latent)))

    def _show(self, step: OptimisationStep, optimiser: LatentOptimiser) -> None:
        if optimiser.step % SHOW_INTERVAL == 0:
            latent = optimiser.latents.detach().mean(0, keepdim=True)
            self.on_step(GenerationStep(STAGES[step], self._fraction(step, optimiser), self._draw(latent)))

    def _fraction(self, step: OptimisationStep, optimiser: LatentOptimiser) -> float:
        share = optimiser.step / max(1, optimiser.config.num_steps)
        return (
            INVERSION_SHARE * share
            if step == "inversion"
            else INVERSION_SHARE + (1 - INVERSION_SHARE) * share
        )

    @torch.no_grad()
    def _draw(self, latent: Tensor) -> NDArray[np.uint8] | None:
        """Picture (S, S, 3) of a latent, (1, D) or (1, L, D)."""
        if self.models is None:
            return None
        generator = self.models.generator
        noise = [each.to(latent) for each in generator.stored_noise()]
        return to_uint8(generator.synthesise(generator.broadcast_latents(latent), noise))[0]
