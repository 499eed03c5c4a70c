"""The way from a voice to a face as an object: for notebooks and other programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voicestyle import steps
from voicestyle.bank import Bank, invented_bank, own_bank
from voicestyle.config import VoiceStyleConfig
from voicestyle.steps import Tools
from voicestyle.stylegan2.pictures import write_png

if TYPE_CHECKING:
    from voicestyle.selection import Chosen


@dataclass(frozen=True)
class Generated:
    """A face made of a voice.

    Attributes:
        picture: (S, S, 3) uint8, R G B.
        fit: cosine with the voice in CMPC's space, 0 to 1.
        start, start_fit: the same of the aggregated code that the guidance began with.
        code: (D,) or (L, D).
        chosen: pictures of the bank that the voice led to.
        notice: what must be said beside the picture, or empty.
    """

    picture: NDArray[np.uint8]
    fit: float
    start: NDArray[np.uint8]
    start_fit: float
    code: Tensor
    chosen: "list[Chosen]"
    notice: str = ""


class FaceMaker:
    """Voices to faces.

    Args:
        tools: networks.
        bank: faces.
        config: settings.
    """

    def __init__(self, tools: Tools, bank: Bank, config: VoiceStyleConfig) -> None:
        self.tools, self.bank, self.config = tools, bank, config
        self._codes: dict[str, Tensor] = {}

    @property
    def notice(self) -> str:
        """What must be said beside every picture, or empty."""
        return self.tools.notice or self.bank.notice

    def generate(self, voice: str | Path | NDArray[Any], *, exclude: Sequence[str] = ()) -> Generated:
        """The face of one voice; see `generate_all`."""
        return self.generate_all([voice], exclude=exclude)[0]

    def generate_all(
        self, voices: Sequence[str | Path | NDArray[Any]], *, exclude: Sequence[str] = ()
    ) -> list[Generated]:
        """Faces of voices; pictures that several lead to, also in later calls, are inverted once.

        Args:
            voices: recordings, or int16 samples of 16 kHz.
            exclude: people of the bank whose pictures are left out.

        Raises:
            AudioError, SpeechError, FileNotFoundError: a recording cannot be used.
            BankError: the bank does not do.
        """
        return self.from_embeddings(steps.embed_voices(voices, self.tools), exclude=exclude)

    def generate_together(
        self, voices: Sequence[str | Path | NDArray[Any]], *, exclude: Sequence[str] = ()
    ) -> Generated:
        """One face from several recordings of one person: their unit embeddings are averaged."""
        heard = torch.nn.functional.normalize(steps.embed_voices(voices, self.tools), dim=1)
        return self.from_embeddings(heard.mean(0, keepdim=True), exclude=exclude)[0]

    def from_embeddings(self, heard: Tensor, *, exclude: Sequence[str] = ()) -> list[Generated]:
        """Faces of voice embeddings (V, E); see `generate_all`."""
        tools, config = self.tools, self.config
        chosen = []
        for voice in heard:
            near = steps.nearest_prototypes(voice, self.bank, config)
            rows = steps.videos_of(near, self.bank, config, exclude)
            chosen.append(steps.select_faces(rows, self.bank, tools, config))
        codes = [self._invert(each) for each in chosen]
        starts = torch.cat([steps.starting_code(c, v, tools, config) for c, v in zip(codes, heard)])
        found, size = [], max(1, config.guidance.batch // config.guidance.restarts)
        for at in range(0, len(starts), size):
            part = slice(at, at + size)
            keys = ["voice"] * len(starts[part])  # the same noise for all, whatever their places
            path = steps.guide_by_voice(starts[part], heard[part], tools, config, keys)
            before = steps.beginning(path, starts[part])
            for number in range(len(path.codes)):
                alone, first = (steps.rows_of(each, [number]) for each in (path, before))
                voice = heard[at + number][None]
                found.append(
                    Generated(
                        steps.draw(alone, tools)[0],
                        float(steps.fits(alone, voice, tools, config)[0]),
                        steps.draw(first, tools)[0],
                        float(steps.fits(first, voice, tools, config)[0]),
                        alone.codes[0].cpu(),
                        chosen[at + number],
                        self.notice,
                    )
                )
        return found

    def _invert(self, chosen: "list[Chosen]") -> Tensor:
        """Codes of pictures, from earlier calls where they are known."""
        coupled = self.config.inversion.batching == "coupled"
        new = [each for each in chosen if coupled or each.picture.label not in self._codes]
        size = len(new) if coupled else self.config.inversion.batch
        found: dict[str, Tensor] = {}
        for at in range(0, len(new), size or 1):
            part = new[at : at + size]
            codes = steps.invert_faces(part, self.tools, self.config).codes
            found |= {each.picture.label: code for each, code in zip(part, codes)}
        if not coupled:
            self._codes |= found
            found = self._codes
        return torch.stack([found[each.picture.label] for each in chosen])


def load(
    weights: str | Path | None = None,
    *,
    bank: str | Path | Sequence[Path] | None = None,
    cfg: str | Path = "quick",
    overrides: Sequence[str] = (),
    device: str = "cpu",
) -> FaceMaker:
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

    from voicestyle.flags import add_networks, tools_of_flags

    config = load_config(cfg, VoiceStyleConfig, "voicestyle", overrides)
    parser = argparse.ArgumentParser()
    add_networks(parser)
    words = ["--device", device, *(["--weights", str(weights)] if weights is not None else [])]
    tools = tools_of_flags(parser.parse_args(words), config)
    if bank is None:
        run = Path(weights) / "cmpc2" if weights is not None else None
        return FaceMaker(tools, invented_bank(*open_memory(run, None, None)), config)
    found, _ = own_bank(
        Path(bank) if isinstance(bank, str) else bank,
        tools.embedder,
        clusters=config.lookup.clusters,
        least=config.lookup.prototypes,
        seed=config.seed,
    )
    return FaceMaker(tools, found, config)


def save_png(picture: NDArray[np.uint8], path: str | Path) -> None:
    """Write a picture (S, S, 3) uint8 as PNG, atomically."""
    write_png(path, picture)
