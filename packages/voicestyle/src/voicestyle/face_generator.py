"""Python API: load the networks and a face bank once, then generate faces from voices."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from voiceface.faces.own_pictures import PictureReader
from voiceface.io.own_files import log_left_out

from voicestyle import pipeline
from voicestyle.bank_builders import BUNDLED_PRESET, load_bank
from voicestyle.config import VoiceStyleConfig
from voicestyle.face_bank import FaceBank
from voicestyle.models import PipelineModels, load_models
from voicestyle.pipeline_records import InvertedImage, PipelineResult, VoiceQuery
from voicestyle.pipeline_runner import run_pipeline
from voicestyle.result_store import MemoryStore
from voicestyle.step_store import StepStore
from voicestyle.stylegan2.images import write_png

if TYPE_CHECKING:
    from voiceface.audio.loading import OnCorrupt
    from voiceface.models.lpips import NetName
    from voiceface.suite.plugins import GenerationStep

__all__ = ["FaceGenerator", "load", "save_png"]


class FaceGenerator:
    """Generates faces from voices.

    Inverted bank images are kept in memory, so that later calls do not invert them again.

    Args:
        models: networks.
        bank: face bank.
        config: settings.
    """

    def __init__(self, models: PipelineModels, bank: FaceBank, config: VoiceStyleConfig) -> None:
        self.models, self.bank, self.config = models, bank, config
        self._inverted: dict[str, InvertedImage] = {}

    @property
    def disclaimer(self) -> str:
        """Text to show with every image, or empty."""
        return self.models.disclaimer or self.bank.disclaimer

    def generate(self, voice: str | Path | NDArray[Any], *, exclude: Sequence[str] = ()) -> PipelineResult:
        """Generate the face of one voice; see `generate_batch`."""
        return self.generate_batch([voice], exclude=exclude)[0]

    def generate_batch(
        self, voices: Sequence[str | Path | NDArray[Any]], *, exclude: Sequence[str] = ()
    ) -> list[PipelineResult]:
        """Generate one face per voice.

        Args:
            voices: recordings, or int16 samples at 16 kHz.
            exclude: identities of the bank whose images are skipped.

        Raises:
            AudioError, SpeechError, FileNotFoundError: a recording cannot be used.
            FaceBankError: the bank does not fit the configuration.
        """
        return self.generate_from_embeddings(pipeline.embed_voices(voices, self.models), exclude=exclude)

    def generate_from_utterances(
        self,
        voices: Sequence[str | Path | NDArray[Any]],
        *,
        exclude: Sequence[str] = (),
        on_step: "Callable[[GenerationStep], None] | None" = None,
    ) -> PipelineResult:
        """Generate one face from several recordings of one speaker: average their unit embeddings."""
        embeddings = torch.nn.functional.normalize(pipeline.embed_voices(voices, self.models), dim=1)
        mean = embeddings.mean(0, keepdim=True)
        return self.generate_from_embeddings(mean, exclude=exclude, on_step=on_step)[0]

    def generate_from_embeddings(
        self,
        voice_embeddings: Tensor,
        *,
        exclude: Sequence[str] = (),
        on_step: "Callable[[GenerationStep], None] | None" = None,
    ) -> list[PipelineResult]:
        """Generate faces from voice embeddings (V, E); see `generate_batch`.

        Args:
            voice_embeddings: (V, E).
            exclude: identities of the bank whose images are skipped.
            on_step: is called with pictures of the first voice on their way.
        """
        # One seed for all voices: a result depends neither on its row nor on the other voices.
        queries = [
            VoiceQuery(f"voice {row}", embedding[None], "voice")
            for row, embedding in enumerate(voice_embeddings)
        ]
        is_coupled = self.config.inversion.batching == "coupled"
        inverted: dict[str, InvertedImage] = {} if is_coupled else self._inverted
        store = MemoryStore(inverted)
        if on_step is not None:
            store = StepStore(inverted, on_step=on_step, models=self.models, config=self.config)
        results = run_pipeline(queries, self.bank, self.models, self.config, store=store, exclude=exclude)
        log_left_out(self.bank.left_out)
        return results


def load(
    weights: str | Path | None = None,
    *,
    bank: str | Path | Sequence[Path] | None = None,
    cfg: str | Path = "quick",
    overrides: Sequence[str] = (),
    device: str = "cpu",
    cmpc: str | Path | None = None,
    stylegan: str | Path | None = None,
    lpips: tuple[str | Path, str | Path] | None = None,
    lpips_net: "NetName" = "vgg",
    identity: str | Path | None = None,
    clip: str | Path | None = None,
    memory: str | Path | None = None,
    table: str | Path | None = None,
    frontal: str | Path | None = None,
    population: str = BUNDLED_PRESET,
    on_corrupt: "OnCorrupt | None" = None,
    pictures: PictureReader | None = None,
) -> FaceGenerator:
    """Load a face generator.

    Args:
        weights: run directory of `voicestyle train`; None for the bundled weights, which were trained on
            synthetic identities.
        bank: directory of face images, or image files; None for the synthetic identities that CMPC was
            trained on.
        cfg: bundled configuration ("default", "quick", "published") or a file.
        overrides: "section.key=value".
        device: "cpu", "cuda" or "auto".
        cmpc, stylegan, lpips, lpips_net, identity, clip, on_corrupt: networks in place of those of `weights`;
            see `voicestyle.models.load_models`.
        memory, table, frontal, population, pictures: prototypes and images of the bank, and how own ones are
            read; see `voicestyle.bank_builders.load_bank`.

    Raises:
        CheckpointError, FileNotFoundError: a file is missing or corrupt.
        FaceBankError, ConfigError, ValueError: the bank, the configuration or an option is invalid.
    """
    from voiceface.runtime.config import load_config

    config = load_config(cfg, VoiceStyleConfig, "voicestyle", overrides)
    models = load_models(
        config,
        weights=weights,
        cmpc=cmpc,
        stylegan=stylegan,
        lpips=lpips,
        lpips_net=lpips_net,
        identity=identity,
        clip=clip,
        on_corrupt=on_corrupt,
        device=device,
    )
    face_bank = load_bank(
        models,
        config,
        bank,
        weights=weights,
        cmpc=cmpc,
        memory=memory,
        table=table,
        frontal=frontal,
        population=population,
        pictures=pictures,
    )
    log_left_out(face_bank.left_out)
    return FaceGenerator(models, face_bank, config)


def save_png(image: NDArray[np.uint8], path: str | Path) -> None:
    """Write an image (S, S, 3) uint8 as PNG, atomically."""
    write_png(path, image)
