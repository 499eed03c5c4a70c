"""Write the population's head as a face model for others: 3DDFA's arrays, named fields, regions, meshes."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from voiceface.synthetic.head.bundle import HeadBundle
    from voiceface.synthetic.head.linear_model import HeadModel

__all__ = [
    "STATEMENT",
    "coefficient_vector",
    "head_colours",
    "write_face_model",
    "write_head_meshes",
]

Array = NDArray[Any]

STATEMENT = (
    "Head of the synthetic population, made from the base mesh and morph targets of MakeHuman (CC0 1.0). "
    "Its statistics are chosen; they were not measured on people."
)
_SKIN, _LIPS, _MOUTH, _BROWS = (0.87, 0.72, 0.64), (0.74, 0.48, 0.45), (0.35, 0.13, 0.13), (0.42, 0.32, 0.27)
_EYE, _IRIS, _PUPIL = (0.94, 0.94, 0.93), (0.36, 0.42, 0.38), (0.05, 0.05, 0.05)
_PART_COLOURS = {
    "teeth_upper": (0.93, 0.91, 0.85),
    "teeth_lower": (0.93, 0.91, 0.85),
    "tongue": (0.72, 0.36, 0.36),
}
_IRIS_RADIUS, _PUPIL_RADIUS = 5.9, 2.4  # mm


def coefficient_vector(values: Mapping[str, float], names: Sequence[str]) -> NDArray[np.float64]:
    """Order named coefficients as `names`; those that are not given are 0."""
    vector = np.zeros(len(names))
    for name, value in values.items():
        vector[names.index(name)] = value
    return vector


def write_face_model(out: Path, face_gain: float = 1.0) -> list[Path]:
    """Write the face model into a folder that `--face-model` takes.

    Args:
        out: folder, which exists.
        face_gain: factor on the shape fields; 1 is life-size variation.

    Returns:
        The files written: arrays in the layout of 3DDFA (micrometres), `fields.npz` with the named fields in
        millimetres, `landmarks.csv`, `regions.npz`, `references/` and `face_model.json`.
    """
    from voiceface.io.atomic import write_bytes, write_text
    from voiceface.synthetic.head import shape_space
    from voiceface.synthetic.head.model import build_head_model

    head = build_head_model(face_gain)
    bases = head.orthonormal
    bases.save(out)
    fields: dict[str, Array] = {
        "mean": head.mean.astype(np.float32),
        "shape_basis": (head.gain * head.shape_basis).astype(np.float32),
        "expression_basis": (head.gain * head.expression_basis).astype(np.float32),
        "triangles": head.triangles,
        "landmarks": head.landmarks.astype(np.int32),
        "sex_shift": shape_space.sex_shift(),
        "factor_loadings": shape_space.factor_loadings(),
        "residual_scale": shape_space.residual_scale(),
        "expression_scale": shape_space.EXPRESSION_SD,
        "shape_from_semantic": bases.shape_from_semantic,
        "expression_from_semantic": bases.expression_from_semantic,
    }
    more, regions, parts = _surface(head)
    write_bytes(out / "regions.npz", _npz(regions))
    write_bytes(out / "fields.npz", _npz(fields | more))
    _write_landmarks(out / "landmarks.csv", head)
    _write_references(out / "references", head)
    facts = {
        "statement": STATEMENT,
        "licence": "CC0 1.0 (base mesh and targets of MakeHuman)",
        "face_gain": face_gain,
        "vertices": len(head.mean),
        "triangles": len(head.triangles),
        "parts": parts,
        "shape": list(shape_space.SHAPE_NAMES),
        "expression": list(shape_space.EXPRESSION_NAMES),
    }
    write_text(out / "face_model.json", json.dumps(facts, indent=2) + "\n")
    return sorted(path for path in out.rglob("*") if path.is_file())


def write_head_meshes(
    out: Path,
    shape: NDArray[np.float64],
    expression: NDArray[np.float64],
    *,
    name: str = "head",
    formats: Sequence[str] = ("obj", "ply", "glb"),
    face_gain: float = 1.0,
) -> list[Path]:
    """Write the mesh of coefficients (40,) and (10,), in millimetres, with a colour per vertex.

    Returns:
        The files written, `NAME.SUFFIX`.
    """
    from voiceface.synthetic.head.model import build_head_model

    from perceptionist.meshio.io import write_mesh
    from perceptionist.meshio.mesh import Mesh

    head = build_head_model(face_gain)
    vertices = head.compute_vertices(shape, expression).astype(np.float32)
    colours = _mesh_colours(head)
    files = [out / f"{name}.{suffix}" for suffix in formats]
    for file in files:
        write_mesh(file, Mesh(vertices, head.triangles, colours))
    return files


def head_colours(head: "HeadBundle") -> NDArray[np.float32]:
    """Plain colours (V, 3) in [0, 1] of the anatomical head: skin, lips, brows, eyes, teeth, tongue."""
    colours = np.empty((len(head.mean), 3))
    colours[:] = _SKIN
    for region, colour, strength in (("lips", _LIPS, 1.0), ("brows", _BROWS, 0.75), ("mouth", _MOUTH, 1.0)):
        weight = strength * head.regions[region][:, None]
        colours = (1.0 - weight) * colours + weight * np.array(colour)
    for part, colour in _PART_COLOURS.items():
        colours[head.vertices_of(part)] = colour
    for part in ("eye_left", "eye_right"):
        ball = head.mean[head.vertices_of(part)]
        distance = np.linalg.norm((ball - ball[ball[:, 2].argmax()])[:, :2], axis=1)[:, None]
        front = ball[:, 2:] > ball[:, 2].mean()
        tone = np.where(front & (distance < _IRIS_RADIUS), _IRIS, _EYE)
        colours[head.vertices_of(part)] = np.where(front & (distance < _PUPIL_RADIUS), _PUPIL, tone)
    return np.ascontiguousarray(colours, np.float32)


def _mesh_colours(head: "HeadModel") -> NDArray[np.float32]:
    from voiceface.synthetic.head import load_head_bundle

    return head_colours(load_head_bundle())[: len(head.mean)]


def _surface(head: "HeadModel") -> tuple[dict[str, Array], dict[str, Array], dict[str, list[int]]]:
    """Texture coordinates, occlusion and mirror image; region masks; first and last vertex of the parts."""
    from voiceface.synthetic.head import load_head_bundle
    from voiceface.synthetic.head.model import MODEL_PARTS

    bundle = load_head_bundle()
    count = len(head.mean)
    rows = np.concatenate([np.arange(*bundle.part_triangles[part]) for part in MODEL_PARTS])
    used, corners = np.unique(bundle.texture_triangles[rows], return_inverse=True)
    surface = {
        "texture": bundle.texture[used],
        "texture_triangles": corners.reshape(-1, 3).astype(np.int32),
        "occlusion": bundle.occlusion[:count],
        "mirror": bundle.mirror[:count].astype(np.int32),
    }
    regions = {name: weight[:count] for name, weight in bundle.regions.items()}
    parts = {part: list(bundle.part_vertices[part]) for part in MODEL_PARTS}
    return surface, regions, parts


def _write_landmarks(path: Path, head: "HeadModel") -> None:
    """Write number in the iBUG order, vertex and position in mm of the 68 landmarks."""
    from voiceface.io.atomic import write_text

    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["landmark", "vertex", "x", "y", "z"])
    for number, vertex in enumerate(head.landmarks.tolist()):
        writer.writerow([number, vertex, *(f"{value:.3f}" for value in head.mean[vertex])])
    write_text(path, table.getvalue())


def _write_references(folder: Path, head: "HeadModel") -> None:
    """Write the reference shapes male.obj ... slim.obj, frontal and in pixels."""
    from perceptionist.face_models.synthetic_head import reference_shapes
    from perceptionist.meshio.obj import write_obj

    folder.mkdir(exist_ok=True)
    colours = _mesh_colours(head)
    for name, vertices in reference_shapes(head).items():
        write_obj(folder / f"{name}.obj", vertices, head.triangles, colours)


def _npz(arrays: Mapping[str, Array]) -> bytes:
    """Bytes of a compressed .npz file; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
