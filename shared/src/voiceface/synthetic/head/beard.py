"""Beards that are longer than stubble: short shells over the skin, with the strands as their opacity."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.curves import smoothstep
from voiceface.synthetic.head.drawn_head import SKIN, load_drawn_head
from voiceface.synthetic.head.patterns import build_skin_noise
from voiceface.synthetic.head.shading import sample_texture
from voiceface.synthetic.head.traits import Traits
from voiceface.synthetic.head.unrolling import MAP_SIZE

__all__ = ["SHELLS", "Beard", "beard_region", "build_beard"]

Floats = NDArray[np.float32]

SHELLS = (0.4, 1.0)  # heights, relative
_LONG_FROM = 0.58  # of `Traits.beard`; below is the stubble of the skin texture
_SHORTEST_MM, _LONGEST_MM = 2.0, 9.0


@dataclass(frozen=True)
class Beard:
    """Beard of one identity.

    Attributes:
        length: mm of the outer shell over the chin.
        origin: texel x and y of the first texel of `texture` and `cover` in the skin texture.
        texture: (H, W, 4) float32: linear colour, and the jitter of the strands.
        cover: per shell (H, W) float32 in [0, 1].
    """

    length: float
    origin: tuple[int, int]
    texture: Floats
    cover: tuple[Floats, ...]


def build_beard(traits: Traits) -> Beard | None:
    """Build the beard of one identity; None for those who have none or stubble."""
    if not traits.male or traits.beard < _LONG_FROM:
        return None
    blends = load_drawn_head().masks.blends
    place = blends["beard"]
    weight = place.weight * (blends[f"beard_cut_{traits.beard_cut}"].weight if traits.beard_cut else 1.0)
    bands = [
        band[:, start : start + MAP_SIZE][place.window]
        for band, start in zip(build_skin_noise(), traits.noise_places.tolist())
    ]
    strands = 0.75 * bands[4] + 0.55 * bands[3] + 0.25 * bands[2]
    cover = tuple(
        (smoothstep(weight, 0.15, 0.75) * smoothstep(strands, 1.1 * height - 1.0, 1.1 * height + 0.1)).astype(
            np.float32
        )
        for height in SHELLS
    )
    texture = np.empty((*strands.shape, 4), np.float32)
    texture[..., :3] = traits.beard_hair * np.clip(1.0 + 0.22 * strands, 0.5, 1.6)[..., None]
    texture[..., 3] = 0.3 * np.clip(strands, -1.5, 1.5)
    share = float(np.clip((traits.beard - _LONG_FROM) / (1.0 - _LONG_FROM), 0.0, 1.0))
    size = share * (0.35 + 0.65 * float(traits.style[10]))
    length = _SHORTEST_MM + (_LONGEST_MM - _SHORTEST_MM) * size
    rows, columns = place.window
    return Beard(length, (columns.start, rows.start), texture, cover)


@lru_cache(maxsize=2)
def beard_region(coarse: bool) -> tuple[NDArray[np.int32], Floats]:
    """Triangles (T, 3) of the mesh on which beards grow, and relative length at its points (V,)."""
    head = load_drawn_head()
    mesh = head.coarse if coarse else head.fine
    count, place = len(mesh.transfer), head.masks.blends["beard"]
    rows, columns = place.window
    padded = np.pad(place.weight, 1)  # zero outside
    x, y = mesh.texels[:count, 0] - (columns.start - 1), mesh.texels[:count, 1] - (rows.start - 1)
    weight = sample_texture(padded, x, y)[:, 0]
    skin = np.zeros(count, bool)
    skin[mesh.surface[mesh.material == SKIN]] = True
    weight = np.where(skin, weight, 0.0)
    on_skin = mesh.surface[(mesh.material == SKIN) & ~mesh.is_ear]
    inside = mesh.refine(head.bundle.regions["mouth"][: len(head.coarse.transfer)])
    grown = (weight[on_skin] > 0.02).any(axis=1) & (inside[on_skin] < 0.2).all(axis=1)
    triangles = on_skin[grown]
    mean = mesh.refine(head.bundle.mean[: len(head.coarse.transfer)])
    chin = 0.35 + 0.65 * smoothstep(mean[:, 1], -45.0, -95.0) * smoothstep(mean[:, 2], 10.0, 55.0)
    return np.ascontiguousarray(triangles), (np.minimum(weight * 1.4, 1.0) * chin).astype(np.float32)
