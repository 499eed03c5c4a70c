"""Step 6, guidance: codes whose pictures fit a voice. Specification, section 11."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voicestyle.config import GuidanceConfig
from voicestyle.descent import Descent, Draws, LatentStatistics, Path, Terms, averaged
from voicestyle.perception import resized
from voicestyle.stylegan2.generator import Generator

SHIFT, SCALE = 0.06, 0.06  # of a view: shares of the side, standard deviations


class FaceView:
    """The face branch of a voice-face model, as guidance asks it.

    Args:
        network: pictures (N, 3, s, s) in -1...1 to embeddings (N, D); frozen.
        side: s; pictures are brought to it, or shown as they are where None.
    """

    def __init__(self, network: nn.Module, side: int | None = None) -> None:
        self.network, self.side = network, side

    def __call__(self, pictures: Tensor) -> Tensor:
        """Unit embeddings (N, D) of pictures, cut to -1...1: no gradient comes from what is beyond."""
        pictures = averaged(pictures).clamp(-1, 1)
        return F.normalize(self.network(resized(pictures, self.side) if self.side else pictures), dim=1)


def shifted(pictures: Tensor, normals: Tensor) -> Tensor:
    """Each picture mirrored, moved and scaled a little, edges repeated.

    Args:
        pictures: (N, 3, S, S).
        normals: normal numbers (N, 4): mirrored where the first is above 0, shift in x and y, scale.
    """
    scale = torch.exp(SCALE * normals[:, 3])
    theta = pictures.new_zeros(len(pictures), 2, 3)
    theta[:, 0, 0] = scale * torch.where(normals[:, 0] > 0, -1.0, 1.0)
    theta[:, 1, 1] = scale
    theta[:, :, 2] = 2 * SHIFT * normals[:, 1:3]
    grid = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def guide(
    start: Tensor,
    voices: Tensor,
    faces: FaceView,
    generator: Generator,
    statistics: LatentStatistics,
    config: GuidanceConfig,
    draws: Draws,
    *,
    state: dict[str, Any] | None = None,
    after: Callable[[Descent], None] = lambda _: None,
    stop_at: int | None = None,
) -> Path:
    """Move codes until their pictures fit the voices; each row for itself.

    Args:
        start: codes (N, D), or (N, L, D) with the space w_plus.
        voices: embeddings of the voices (N, E); computed once, no gradient reaches their network.
        faces: face branch that belongs to them.
        generator: frozen.
        statistics: of w.
        config: schedule, regularisers, views.
        draws: see `voicestyle.descent`.
        state: of an earlier, stopped descent.
        after: called after every step.
        stop_at: see `Descent.run`.

    Returns:
        The path; its history has `similarity` = 1 - cosine.

    Raises:
        ValueError: shapes do not fit.
    """
    if voices.ndim != 2 or len(voices) != len(start):
        raise ValueError(f"one voice for each start: {tuple(voices.shape)} and {tuple(start.shape)}")
    aim = F.normalize(voices.detach(), dim=1)
    unit = 1 / max(statistics.deviation, 1e-12) ** 2
    descent = Descent.begin(generator, config, draws, statistics.deviation, start)
    begin = descent.codes.clone()

    def objective(pictures: Tensor, codes: Tensor, shaken: Tensor, at: Tensor) -> Terms:
        here = at.to(aim.device)
        cosine = (faces(pictures) * aim[here]).sum(1)
        if config.views > 1:
            normals = draws.normal("views", (config.views - 1, 4), at.tolist()).to(pictures)
            for view in normals.unbind(1):
                cosine = cosine + (faces(shifted(pictures, view)) * aim[here]).sum(1)
            cosine = cosine / config.views
        terms = {"similarity": 1 - cosine}
        for name, weight, centre in (
            ("start", config.start, begin[here]),
            ("prior", config.prior, statistics.mean),
        ):
            if weight:
                away = codes - (centre if centre.ndim == codes.ndim else centre[:, None])
                terms[name] = weight * unit * per_code(away)
        if config.published_regularise:
            added = (codes - shaken).detach()  # its gradient is 0; through autograd it would leave rounding
            terms["published"] = config.published_regularise * added.square().flatten(1).sum(1)
        return terms

    if state is not None:
        descent.load_state_dict(state)
    return descent.run(objective, after, stop_at)


def per_code(away: Tensor) -> Tensor:
    """Squared length of differences (N, D), (N,); of (N, L, D) the mean over layers."""
    return away.square().sum(-1) if away.ndim == 2 else away.square().sum(-1).mean(1)


@torch.no_grad()
def fit(
    codes: Tensor, noise: list[Tensor], voices: Tensor, faces: FaceView, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, S, S) of codes and how well they fit their voices, cosines (N,)."""
    layers = codes if codes.ndim == 3 else codes[:, None].expand(-1, generator.config.codes, -1)
    pictures = generator.synthesise(layers, noise)
    return pictures, (faces(pictures) * F.normalize(voices, dim=1)).sum(1)
