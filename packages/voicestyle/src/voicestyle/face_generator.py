"""The way from a voice to a face as an object: for notebooks and other programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voicestyle import pipeline as steps
from voicestyle.config import VoiceStyleConfig
from voicestyle.face_bank import FaceBank, build_bank, build_synthetic_bank
from voicestyle.pipeline import PipelineModels
from voicestyle.stylegan2.images import write_png

if TYPE_CHECKING:
    from voicestyle.selection import SelectedImage


@dataclass(frozen=True)
class GeneratedFace:
    """A face made of a voice.

    Attributes:
        image: (S, S, 3) uint8, R G B.
        similarity: cosine with the voice in CMPC's space, 0 to 1.
        initial_image, initial_similarity: the same of the aggregated code that the guidance began with.
        latent: (D,) or (L, D).
        selected: pictures of the bank that the voice led to.
        disclaimer: what must be said beside the picture, or empty.
    """

    image: NDArray[np.uint8]
    similarity: float
    initial_image: NDArray[np.uint8]
    initial_similarity: float
    latent: Tensor
    selected: "list[SelectedImage]"
    disclaimer: str = ""


class FaceGenerator:
    """Voices to faces.

    Args:
        models: networks.
        bank: faces.
        config: settings.
    """

    def __init__(self, models: PipelineModels, bank: FaceBank, config: VoiceStyleConfig) -> None:
        self.models, self.bank, self.config = models, bank, config
        self._latent_cache: dict[str, Tensor] = {}

    @property
    def disclaimer(self) -> str:
        """What must be said beside every picture, or empty."""
        return self.models.disclaimer or self.bank.disclaimer

    def generate(self, voice: str | Path | NDArray[Any], *, exclude: Sequence[str] = ()) -> GeneratedFace:
        """The face of one voice; see `generate_batch`."""
        return self.generate_batch([voice], exclude=exclude)[0]

    def generate_batch(
        self, voices: Sequence[str | Path | NDArray[Any]], *, exclude: Sequence[str] = ()
    ) -> list[GeneratedFace]:
        """Faces of voices; pictures that several lead to, also in later calls, are inverted once.

        Args:
            voices: recordings, or int16 samples of 16 kHz.
            exclude: people of the bank whose pictures are left out.

        Raises:
            AudioError, SpeechError, FileNotFoundError: a recording cannot be used.
            BankError: the bank does not do.
        """
        return self.generate_from_embeddings(steps.embed_voices(voices, self.models), exclude=exclude)

    def generate_from_utterances(
        self, voices: Sequence[str | Path | NDArray[Any]], *, exclude: Sequence[str] = ()
    ) -> GeneratedFace:
        """One face from several recordings of one person: their unit embeddings are averaged."""
        heard = torch.nn.functional.normalize(steps.embed_voices(voices, self.models), dim=1)
        return self.generate_from_embeddings(heard.mean(0, keepdim=True), exclude=exclude)[0]

    def generate_from_embeddings(
        self, voice_embeddings: Tensor, *, exclude: Sequence[str] = ()
    ) -> list[GeneratedFace]:
        """Faces of voice embeddings (V, E); see `generate_batch`."""
        tools, config = self.models, self.config
        chosen = []
        for voice in voice_embeddings:
            near = steps.find_nearest_prototypes(voice, self.bank, config)
            rows = steps.select_videos(near, self.bank, config, exclude)
            chosen.append(steps.select_bank_images(rows, self.bank, tools, config))
        codes = [self._invert(each) for each in chosen]
        starts = torch.cat(
            [steps.compute_initial_latent(c, v, tools, config) for c, v in zip(codes, voice_embeddings)]
        )
        found, size = [], max(1, config.guidance.batch_size // config.guidance.num_restarts)
        for at in range(0, len(starts), size):
            part = slice(at, at + size)
            keys = ["voice"] * len(starts[part])  # the same noise for all, whatever their places
            path = steps.guide_by_voice(starts[part], voice_embeddings[part], tools, config, keys)
            before = steps.with_initial_latents(path, starts[part])
            for number in range(len(path.latents)):
                alone, first = (steps.select_rows(each, [number]) for each in (path, before))
                voice = voice_embeddings[at + number][None]
                found.append(
                    GeneratedFace(
                        steps.synthesise_images(alone, tools)[0],
                        float(steps.compute_similarities(alone, voice, tools, config)[0]),
                        steps.synthesise_images(first, tools)[0],
                        float(steps.compute_similarities(first, voice, tools, config)[0]),
                        alone.latents[0].cpu(),
                        chosen[at + number],
                        self.disclaimer,
                    )
                )
        return found

    def _invert(self, selected: "list[SelectedImage]") -> Tensor:
        """Codes of pictures, from earlier calls where they are known."""
        coupled = self.config.inversion.batching == "coupled"
        new = [each for each in selected if coupled or each.image.label not in self._latent_cache]
        size = len(new) if coupled else self.config.inversion.batch_size
        found: dict[str, Tensor] = {}
        for at in range(0, len(new), size or 1):
            part = new[at : at + size]
            codes = steps.invert_images(part, self.models, self.config).latents
            found |= {each.image.label: code for each, code in zip(part, codes)}
        if not coupled:
            self._latent_cache |= found
            found = self._latent_cache
        return torch.stack([found[each.image.label] for each in selected])


def load(
    weights: str | Path | None = None,
    *,
    bank: str | Path | Sequence[Path] | None = None,
    cfg: str | Path = "quick",
    overrides: Sequence[str] = (),
    device: str = "cpu",
) -> FaceGenerator:
    """A maker of faces.

    Args:
        weights: run folder of `voicestyle train`; None: the bundled weights, which know invented people only.
        bank: folder of face pictures, or some files; None: the invented people that CMPC was trained on.
        cfg: bundled name ("default", "quick", "published") or a file.
        overrides: "section.key=value".
        device: "cpu", "cuda" or "auto".

    Raises:
        CheckpointError, FileNotFoundError, BankError, ConfigError: something does not do; see the message.
    """
    import argparse

    from cmpc2.nearest import open_memory
    from voiceface.runtime.config import load_config

    from voicestyle.arguments import add_model_arguments, models_from_args

    config = load_config(cfg, VoiceStyleConfig, "voicestyle", overrides)
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    words = ["--device", device, *(["--weights", str(weights)] if weights is not None else [])]
    tools = models_from_args(parser.parse_args(words), config)
    if bank is None:
        run = Path(weights) / "cmpc2" if weights is not None else None
        return FaceGenerator(tools, build_synthetic_bank(*open_memory(run, None, None)), config)
    found, _ = build_bank(
        Path(bank) if isinstance(bank, str) else bank,
        tools.embedder,
        num_clusters=config.retrieval.num_clusters,
        min_clusters=config.retrieval.num_prototypes,
        seed=config.seed,
    )
    return FaceGenerator(tools, found, config)


def save_png(image: NDArray[np.uint8], path: str | Path) -> None:
    """Write a picture (S, S, 3) uint8 as PNG, atomically."""
    write_png(path, image)
