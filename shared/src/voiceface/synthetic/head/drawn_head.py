"""The head as it is drawn: mesh in two resolutions with what light and paint need, once per process."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.head.brows import BrowWindow, find_brow_windows
from voiceface.synthetic.head.bundle import HeadBundle, load_head_bundle
from voiceface.synthetic.head.hair_hull import HairHull, build_hull
from voiceface.synthetic.head.shading import tint_occlusion
from voiceface.synthetic.head.skin_masks import Anchors, SkinMap, SkinMasks, build_skin_masks
from voiceface.synthetic.head.subdivision import subdivide
from voiceface.synthetic.head.unrolling import MAP_SIZE, find_sources, skin_coordinates
from voiceface.synthetic.head.visibility import measure_visibility

__all__ = [
    "EYE_LEFT",
    "EYE_RIGHT",
    "SKIN",
    "TEETH",
    "TONGUE",
    "DrawnHead",
    "DrawnMesh",
    "EyeBall",
    "find_middle",
    "load_drawn_head",
]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

SKIN, EYE_LEFT, EYE_RIGHT, TEETH, TONGUE = range(5)
_MATERIALS = {
    **{"skin": SKIN, "eye_left": EYE_LEFT, "eye_right": EYE_RIGHT},
    **{"teeth_upper": TEETH, "teeth_lower": TEETH, "tongue": TONGUE},
}
_OCCLUSION_INSIDE = 0.40  # of teeth and tongue at the front


@dataclass(frozen=True)
class EyeBall:
    """One eye.

    Attributes:
        vertices: of the head.
        radius: mm.
        rim: vertices of the loop where the lids touch the ball.
        upper, lower: positions in `rim` of the upper and lower lid.
    """

    vertices: slice
    radius: float
    rim: NDArray[np.int64]
    upper: NDArray[np.intp]
    lower: NDArray[np.intp]


@dataclass(frozen=True)
class DrawnMesh:
    """Mesh in one resolution. V points, of which the first are the head's vertices; C corners.

    Attributes:
        operator: sparse (V, head's vertices) map; None: the head's own vertices.
        surface: (T, 3) triangles of all drawn parts, points.
        source: (C,) point of each corner: points behind the head are there twice, for the texture's seam.
        triangles: (T, 3) corners.
        material: (T,) of each triangle.
        is_ear: (T,) bool.
        texels: (C, 2) float32: skin texel; for eyes x and y from the middle in radii.
        occlusion: (V,) float32 ambient light, 1 = open.
        sky: (V, 3) float32, its colour.
        transfer: (V, 16) float32 visibility by direction.
        expressions: (10, V, 3) float32 mm at coefficient 1.
    """

    operator: Any
    surface: NDArray[np.int32]
    source: NDArray[np.intp]
    triangles: NDArray[np.int32]
    material: NDArray[np.uint8]
    is_ear: NDArray[np.bool_]
    texels: Floats
    occlusion: Floats
    sky: Floats
    transfer: Floats
    expressions: Floats

    def refine(self, values: NDArray[Any]) -> Floats:
        """Values (head's vertices, C) at the points, (V, C) float32."""
        return np.asarray(values if self.operator is None else self.operator @ values, np.float32)


@dataclass(frozen=True)
class DrawnHead:
    """All that does not depend on a person.

    Attributes:
        bundle: the head.
        coarse, fine: its mesh, and the same subdivided once.
        skin, masks, brows, anchors: of the texture.
        hull: of the hair.
        eyes: the viewer's left and right.
        neck: vertices around the neck, and around its middle.
    """

    bundle: HeadBundle
    coarse: DrawnMesh
    fine: DrawnMesh
    skin: SkinMap
    masks: SkinMasks
    brows: tuple[BrowWindow, BrowWindow]
    anchors: Anchors
    hull: HairHull
    eyes: tuple[EyeBall, EyeBall]
    neck: tuple[NDArray[np.intp], NDArray[np.intp]]


@lru_cache(maxsize=1)
def load_drawn_head() -> DrawnHead:
    """Build everything from the bundle, about a second; cached per process."""
    bundle = load_head_bundle()
    triangles, material = _select_triangles(bundle)
    mean = bundle.mean[: _num_vertices(bundle)]
    occlusion, transfer = measure_visibility(mean, triangles[material <= EYE_RIGHT])
    inside = np.zeros(len(mean), bool)
    inside[triangles[material >= TEETH]] = True
    # Behind closed lips the baked occlusion is 0: teeth are lit from the front, less towards the corners.
    in_front = np.exp(-((mean[:, 0] / 17.0) ** 2)) * np.where(mean[:, 2] > 74.0, 1.0, 0.4)
    occlusion = np.where(inside, _OCCLUSION_INSIDE * in_front, occlusion)
    occlusion = occlusion * (1.0 - 0.8 * bundle.regions["mouth"][: len(mean)])
    eyes = _find_eyes(bundle)
    values = np.concatenate([occlusion[:, None], transfer], axis=1)
    coarse = _build_mesh(bundle, eyes, None, triangles, material, values)
    finer = subdivide(triangles, len(mean))
    fine = _build_mesh(bundle, eyes, finer.matrix, finer.triangles, np.repeat(material, 4), values)
    points = fine.refine(mean).astype(float)
    on_skin = fine.surface[fine.material == SKIN]
    found = find_sources(points, on_skin, skin_coordinates, MAP_SIZE, MAP_SIZE, MAP_SIZE)
    lips, ears = (fine.refine(bundle.regions[name][: len(mean)]) for name in ("lips", "ears"))
    x, y, z, lips, ears = np.moveaxis(found.sample(np.column_stack([points, lips, ears])), -1, 0)
    skin = SkinMap(x, y, z, np.arctan2(x, z), lips, ears)
    anchors = _find_anchors(bundle)
    masks = build_skin_masks(skin, anchors, bundle.mean[bundle.loops["lid_edge_right"], :2])
    head_skin = bundle.triangles[bundle.triangles_of("skin")]
    aside = np.abs(bundle.mean[:, 0]) > 66
    no_ear = ~((bundle.regions["ears"] > 0.25) & aside)[head_skin].any(axis=1)
    hull = build_hull(mean, head_skin[no_ear])
    return DrawnHead(
        bundle,
        coarse,
        fine,
        skin,
        masks,
        find_brow_windows(skin, anchors),
        anchors,
        hull,
        eyes,
        _find_neck(bundle),
    )


def _num_vertices(bundle: HeadBundle) -> int:
    """Vertices of the head model: all parts but the lashes, which come last."""
    return bundle.part_vertices["lashes"][0]


def _select_triangles(bundle: HeadBundle) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Drawn triangles and their materials: no lashes, no shoulders, which the clothes hide."""
    parts = [bundle.triangles[bundle.triangles_of(part)] for part in _MATERIALS]
    material = np.repeat(np.array(list(_MATERIALS.values()), np.uint8), [len(part) for part in parts])
    triangles = np.concatenate(parts)
    corner = bundle.mean[triangles]
    low = corner[..., 1].min(axis=1)
    wide = np.abs(corner[..., 0]).max(axis=1)
    hidden = (material == SKIN) & ((low < -152) | ((low < -126) & (wide > 61)))
    hidden |= (material == TEETH) & (wide > 17)  # molars would shine through the corners of the mouth
    return np.ascontiguousarray(triangles[~hidden]), material[~hidden]


def _build_mesh(
    bundle: HeadBundle,
    eyes: tuple[EyeBall, EyeBall],
    operator: Any,
    triangles: NDArray[np.int32],
    material: NDArray[np.uint8],
    values: NDArray[Any],
) -> DrawnMesh:
    """Build the mesh of one resolution; `values` are occlusion and transfer at the head's vertices."""
    count = _num_vertices(bundle)

    def refine(each: NDArray[Any]) -> NDArray[Any]:
        return each[:count] if operator is None else operator @ each[:count]

    mean = refine(bundle.mean)
    texels = skin_coordinates(mean)
    for ball, number in zip(eyes, (EYE_LEFT, EYE_RIGHT)):
        points = np.unique(triangles[material == number])
        texels[points] = (mean[points, :2] - find_middle(bundle.mean[ball.vertices])[:2]) / ball.radius
    # The seam of the skin texture lies behind the head: a triangle across it takes copies of its points.
    column = texels[triangles, 0]
    crossing = (material == SKIN) & (np.ptp(column, axis=1) > 0.5 * MAP_SIZE)
    moved = crossing[:, None] & (column < 0.5 * MAP_SIZE)
    copied, copy = np.unique(triangles[moved], return_inverse=True)
    corners = triangles.copy()
    corners[moved] = len(mean) + copy.ravel()
    texels = np.concatenate([texels, texels[copied] + [MAP_SIZE, 0.0]])
    baked = refine(values).astype(np.float32)
    occlusion = np.clip(baked[:, 0], 0.0, 1.3)
    fields = np.stack([refine(field) for field in bundle.expression_basis]).astype(np.float32)
    ears = refine(bundle.regions["ears"].astype(float))
    return DrawnMesh(
        operator=operator,
        surface=np.ascontiguousarray(triangles, np.int32),
        source=np.concatenate([np.arange(len(mean)), copied]).astype(np.intp),
        triangles=np.ascontiguousarray(corners, np.int32),
        material=material,
        is_ear=(material == SKIN)
        & (ears[triangles] > 0.04).any(axis=1)
        & (np.abs(mean[triangles, 0]) > 64).all(axis=1),
        texels=texels.astype(np.float32),
        occlusion=occlusion,
        sky=tint_occlusion(occlusion),
        transfer=np.ascontiguousarray(baked[:, 1:]),
        expressions=fields,
    )


def find_middle(points: NDArray[np.floating]) -> NDArray[Any]:
    """Middle (3,) of the bounding box of points (N, 3)."""
    return np.asarray(0.5 * (points.min(axis=0) + points.max(axis=0)))


def _find_eyes(bundle: HeadBundle) -> tuple[EyeBall, EyeBall]:
    found = []
    for side in ("left", "right"):
        vertices, rim = bundle.vertices_of(f"eye_{side}"), bundle.loops[f"lid_rim_{side}"]
        x, y = bundle.mean[rim, 0], bundle.mean[rim, 1]
        ends = np.array([x.argmin(), x.argmax()])
        corner = np.interp(x, x[ends], y[ends])
        radius = 0.5 * float(np.ptp(bundle.mean[vertices, 0]))
        upper, lower = np.flatnonzero(y > corner - 0.1), np.flatnonzero(y < corner + 0.1)
        found.append(EyeBall(vertices, radius, rim, upper, lower))
    return found[0], found[1]


def _find_anchors(bundle: HeadBundle) -> Anchors:
    """Places of the features from landmarks and loops of the mean head."""
    marks = bundle.mean[bundle.landmarks]
    edge = bundle.mean[bundle.loops["lid_edge_right"]]
    rim = bundle.mean[bundle.loops["lid_rim_right"]]
    return Anchors(
        eye=(float(rim[:, 0].mean()), float(find_middle(rim)[1]) + 0.4),
        eye_inner=float(rim[:, 0].min()),
        eye_outer=float(edge[:, 0].max()) - 0.5,
        nose_tip=float(marks[30, 1]),
        wing=(float(marks[35, 0]), float(marks[35, 1])),
        mouth=(float(marks[54, 0]) - 1.3, float(marks[62, 1] + marks[66, 1]) / 2 - 0.5),
        mouth_corner=float(marks[54, 1]),
        chin=float(marks[8, 1]) + 5.6,
        brow=float(marks[22:27, 1].mean()) - 1.7,
        brow_inner=float(marks[22, 0]) - 3.8,
        brow_outer=float(marks[26, 0]) + 2.1,
    )


def _find_neck(bundle: HeadBundle) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    x, y, z = bundle.mean[bundle.vertices_of("skin")].T
    sides = np.flatnonzero((y < -106) & (y > -116) & (z < 0))
    return sides, np.flatnonzero((y < -118) & (y > -140) & (np.abs(x) < 25))
