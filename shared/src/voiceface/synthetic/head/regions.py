"""Region masks of the head: one weight in [0, 1] per vertex and region.

Lips, mouth cavity and lids follow edge loops of the base mesh; the other regions are smooth functions of the
mean head.
"""

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.curves import smoothstep
from voiceface.synthetic.head.topology import HeadTopology

__all__ = ["REGION_NAMES", "build_regions", "walk_edge_loop"]

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

REGION_NAMES = (
    *("skin", "scalp", "forehead", "temples", "brows", "lids", "sockets", "nose", "nostrils", "cheeks"),
    *("lips", "mouth", "philtrum", "chin", "beard", "moustache", "ears", "neck", "under_chin"),
)
# Two vertices that lie next to each other on an edge loop of the base mesh.
# (closed loops of the viewer's right half; those of the left half are their mirror images)
EDGE_LOOPS = {
    "lip_border": (455, 7214),
    "lip_line": (474, 7229),
    "lid_rim_right": (6785, 6784),  # touches the eyeball
    "lid_edge_right": (6788, 6789),  # where the lashes grow
}
_ON_UPPER_LIP, _IN_MOUTH = 466, 710
# Height of the hairline in mm by angle about the vertical axis in radians, 0 in front.
_HAIRLINE = (
    (0.0, 66.0), (0.35, 64.0), (0.6, 56.0), (0.8, 48.0), (0.95, 34.0), (1.1, 12.0), (1.3, -2.0), (1.5, -4.0),
    (1.75, 0.0), (1.95, -12.0), (2.15, -40.0), (2.5, -62.0), (3.15, -72.0),
)  # fmt: skip


def walk_edge_loop(quads: Indices, first: int, second: int) -> list[int]:
    """Walk along an edge loop of a quad mesh until it closes or ends."""
    loop = [first, second]
    while True:
        here, before = loop[-1], loop[-2]
        around = quads[(quads == here).any(axis=1)]
        position = np.argmax(around == here, axis=1)
        row = np.arange(len(around))
        neighbours = {*around[row, (position + 1) % 4].tolist(), *around[row, (position + 3) % 4].tolist()}
        beside = set(around[(around == before).any(axis=1)].ravel().tolist())
        ahead = neighbours - beside
        if len(neighbours) != 4 or len(ahead) != 1 or ahead == {first}:
            return loop
        loop.append(ahead.pop())


def find_loops(topology: HeadTopology, quads: Indices, mirror: Indices) -> dict[str, Indices]:
    """Find the edge loops of lips and lids as vertices of the head in order, closed, by name."""
    number = _number_of_base_vertex(topology, quads)
    loops = {name: number[walk_edge_loop(quads, *start)] for name, start in EDGE_LOOPS.items()}
    for name in [name for name in loops if name.endswith("_right")]:
        loops[name.replace("_right", "_left")] = mirror[loops[name]]
    return loops


def build_regions(
    topology: HeadTopology,
    quads: Indices,
    mean: Array,
    normals: Array,
    mirror: Indices,
    ear_field: Array,
    blink_field: Array,
) -> dict[str, Array]:
    """Build the masks of all regions, by name, each (V,) in [0, 1].

    Args:
        topology: the head.
        quads: (F, 4) skin of the base mesh.
        mean: (V, 3) mean head in mm.
        normals: (V, 3) unit normals.
        mirror: (V,) mirror image of each vertex.
        ear_field: (V, 3) a displacement in mm of the ears alone.
        blink_field: (V, 3) a displacement in mm that closes the lids.
    """
    start, end = topology.part_vertices["skin"]
    on_skin = np.zeros(len(mean))
    on_skin[start:end] = 1.0
    masks = _lips_and_mouth(topology, quads, mirror)
    masks["ears"] = smoothstep(np.linalg.norm(ear_field, axis=1), 0.6, 1.6) * smoothstep(
        mean[:, 2], 14.0, 8.0
    )
    masks["lids"] = np.linalg.norm(blink_field, axis=1) / 3.0
    masks.update(_smooth_masks(mean, normals, masks))
    visible = on_skin * (1.0 - masks["mouth"])
    result = {name: np.clip(mask, 0.0, 1.0) * visible for name, mask in masks.items()}
    result["mouth"], result["skin"] = masks["mouth"] * on_skin, visible
    return {name: 0.5 * (result[name] + result[name][mirror]) for name in REGION_NAMES}


def _number_of_base_vertex(topology: HeadTopology, quads: Indices) -> Indices:
    """Number in the head of each vertex of the base mesh's skin; -1 where it was cut off."""
    number = np.full(int(quads.max()) + 1, -1)
    start, end = topology.part_vertices["skin"]
    whole = start + np.nonzero(topology.share[start:end] == 0)[0]
    number[topology.first[whole]] = whole
    return number


def _lips_and_mouth(topology: HeadTopology, quads: Indices, mirror: Indices) -> dict[str, Array]:
    """Masks of the lips and of the mouth cavity, which end at edge loops."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count, number = len(topology.first), _number_of_base_vertex(topology, quads)
    loops = find_loops(topology, quads, mirror)
    corners = number[quads]
    edges = np.stack([corners, np.roll(corners, -1, axis=1)], -1).reshape(-1, 2)
    edges = edges[(edges >= 0).all(axis=1)]

    def piece(walls: list[str], seed: int) -> NDArray[np.bool_]:
        """Vertices that are connected with a vertex of the base mesh without crossing loops."""
        wall = np.zeros(count, bool)
        for name in walls:
            wall[loops[name]] = True
        free = edges[~wall[edges].any(axis=1)]
        graph = coo_array((np.ones(len(free)), (free[:, 0], free[:, 1])), shape=(count, count))
        label = connected_components(graph, directed=False)[1]
        return np.asarray(label == label[number[seed]])

    lips = piece(["lip_line", "lip_border"], _ON_UPPER_LIP).astype(float)
    lips[loops["lip_line"]], lips[loops["lip_border"]] = 1.0, 0.5
    return {"lips": lips, "mouth": piece(["lip_line"], _IN_MOUTH).astype(float)}


def _smooth_masks(mean: Array, normals: Array, known: dict[str, Array]) -> dict[str, Array]:
    """Masks that are functions of the mean head."""
    x, y, z = np.abs(mean[:, 0]), mean[:, 1], mean[:, 2]
    front = smoothstep(z, 10.0, 35.0)
    angle = np.arctan2(x, z)

    def bell(cx: float, cy: float, sx: float, sy: float) -> Array:
        return np.asarray(np.exp(-0.5 * (((x - cx) / sx) ** 2 + ((y - cy) / sy) ** 2)) * front)

    hairline = np.interp(angle, *np.array(_HAIRLINE).T)
    scalp = smoothstep(y - hairline, -4.0, 4.0) * (1.0 - known["ears"])
    no_lips = 1.0 - np.minimum(1.0, 1.5 * known["lips"])
    beard_edge = np.interp(x, [0, 20, 30, 42, 56, 64, 80], [-60, -62, -66, -70, -62, -10, -5])
    beard = (
        smoothstep(beard_edge - y, -3.0, 5.0)
        * smoothstep(y + 0.2 * z, -128.0, -108.0)
        * smoothstep(z, -14.0, 4.0)
    )
    moustache = smoothstep(y, -68.0, -64.0) * smoothstep(y, -50.0, -54.0) * smoothstep(x, 29.0, 23.0) * front
    brow_line = np.interp(x, [10, 15, 24, 32, 40, 47, 53], [12.5, 14.0, 16.0, 16.5, 15.0, 12.0, 8.5])
    brows = (
        np.exp(-0.5 * ((y - brow_line) / 3.2) ** 2)
        * smoothstep(x, 8.0, 13.0)
        * smoothstep(x, 54.0, 46.0)
        * front
    )
    below = -normals[:, 1]
    return {
        "scalp": scalp,
        "forehead": smoothstep(y, 16.0, 24.0) * smoothstep(angle, 0.95, 0.7) * (1.0 - scalp) * front,
        "temples": np.exp(-0.5 * (((x - 60) / 9) ** 2 + ((y - 24) / 14) ** 2)) * smoothstep(z, 0.0, 20.0),
        "brows": brows,
        "lids": np.maximum(known["lids"], 0.8 * bell(30, -10, 11, 3)),
        "sockets": np.maximum(bell(31, 2, 13, 10), 0.7 * bell(19, 2, 6, 8)),
        "nose": np.maximum(bell(0, -33, 12, 11), bell(0, -10, 6, 16)),
        "nostrils": np.exp(-0.5 * (((x - 7.5) / 3.2) ** 2 + ((y + 43.5) / 2.6) ** 2 + ((z - 95) / 8) ** 2)),
        "cheeks": bell(42, -32, 15, 14),
        "philtrum": bell(0, -53, 5, 5) * no_lips,
        "chin": bell(0, -97, 15, 10),
        "beard": np.maximum(beard * (1.0 - known["ears"]), moustache) * no_lips,
        "moustache": moustache * no_lips,
        "neck": smoothstep(y + 0.35 * np.minimum(z, 70.0), -82.0, -100.0)
        * smoothstep(known["ears"], 1.0, 0.0),
        "under_chin": smoothstep(below, 0.25, 0.7)
        * smoothstep(y, -88.0, -98.0)
        * smoothstep(y, -140.0, -125.0),
    }
