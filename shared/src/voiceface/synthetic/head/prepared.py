"""Head of one identity, prepared once for all its images: textures, hair, and where clothes begin."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.head.beard import Beard, build_beard
from voiceface.synthetic.head.clothes import Collar
from voiceface.synthetic.head.drawn_head import EyeBall, find_middle, load_drawn_head
from voiceface.synthetic.head.eyes import paint_eye
from voiceface.synthetic.head.glasses import build_frame
from voiceface.synthetic.head.hair import Hair, build_hair
from voiceface.synthetic.head.hair_styles import HairStyle, choose_hair_style
from voiceface.synthetic.head.skin_texture import paint_skin
from voiceface.synthetic.head.traits import Traits, sample_traits
from voiceface.synthetic.identities import Identities

__all__ = ["PreparedHead", "prepare_head"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class PreparedHead:
    """Head of one identity, shared by all its images.

    Attributes:
        shape: (40,) shape coefficients.
        vertices: (V, 3) neutral head in mm.
        fine_vertices: the same of the subdivided mesh.
        lids: per eye, maps (3, N) from the heights of the rim's vertices to the polynomials of both lids.
        traits, style: looks.
        skin: (512, 512, 4) texture.
        eye: texture of an eye ball.
        hair: its shells.
        collar: where the clothes begin.
        frame: (P, 3) glasses in head coordinates; no points without.
        beard: None without, or for stubble, which belongs to the skin.
    """

    shape: Array
    vertices: Floats
    fine_vertices: Floats
    lids: tuple[tuple[Array, Array], tuple[Array, Array]]
    traits: Traits
    style: HairStyle
    skin: Floats
    eye: Floats
    hair: Hair
    collar: Collar
    frame: Floats
    beard: Beard | None


def prepare_head(identities: Identities, index: int, shape: Array, vertices: Array) -> PreparedHead:
    """Compute textures and hair of row `index` of `identities`; shape and vertices are those of its head."""
    head, traits = load_drawn_head(), sample_traits(identities, index)
    style = choose_hair_style(traits)
    skin = paint_skin(head.skin, head.masks, head.brows, head.anchors, traits)
    sides, around = (vertices[which] for which in head.neck)
    collar = Collar(
        half_width=1.03 * float(np.abs(sides[:, 0]).max()),
        front=float(around[:, 2].max()),
        back=float(around[:, 2].min()),
        height=float(around[:, 1].mean()),
        neckline=14.0 + 12.0 * float(traits.clothes[0]),
        slope=10.0 * float(traits.clothes[1]),
    )
    points = vertices.astype(np.float32)
    hair = build_hair(head.hull, points, style, traits)
    lids = _fit_lids(head.eyes[0], points), _fit_lids(head.eyes[1], points)
    fine = head.fine.refine(points)
    return PreparedHead(
        shape=shape,
        vertices=points,
        fine_vertices=fine,
        lids=lids,
        traits=traits,
        style=style,
        skin=skin,
        eye=paint_eye(traits),
        hair=hair,
        collar=collar,
        frame=_fit_glasses(traits, points),
        beard=build_beard(traits),
    )


def _fit_glasses(traits: Traits, points: Floats) -> Floats:
    """Frame of the glasses on a head, (P, 3) mm."""
    if traits.glasses is None:
        return np.zeros((0, 3), np.float32)
    head = load_drawn_head()
    marks = points[head.bundle.landmarks].astype(float)
    balls = [points[eye.vertices] for eye in head.eyes]
    middles = np.stack([find_middle(ball) for ball in balls]).astype(float)
    front = max(float(marks[17:27, 2].max()), *(float(ball[:, 2].max()) + 4.0 for ball in balls))
    bridge = marks[27] + np.array([0.0, 0.0, 1.0])
    temples = marks[[0, 16]] + np.array([[-1.0, 0.0, -14.0], [1.0, 0.0, -14.0]])
    temples[:, 1] = middles[:, 1].mean() + 4.0
    return build_frame(traits.glasses, middles, bridge, front, temples)


def _fit_lids(eye: EyeBall, points: Floats) -> tuple[Array, Array]:
    """Least-squares maps from the heights of upper and lower lid to quadratic polynomials of x, in radii."""
    x = (points[eye.rim, 0] - find_middle(points[eye.vertices])[0]).astype(float) / eye.radius
    upper, lower = (
        np.linalg.pinv(np.stack([x[lid] ** 2, x[lid], np.ones(len(lid))], axis=1))
        for lid in (eye.upper, eye.lower)
    )
    return upper, lower
