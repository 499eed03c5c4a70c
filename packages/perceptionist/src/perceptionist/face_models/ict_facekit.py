"""Read ICT-FaceKit's light model (MIT licence) as a linear face model.

The folder contains whole meshes: a neutral face, identity modes and expressions, all with the same vertices
in centimetres. A mode's basis vector is its mesh minus the neutral one; the artist-made expressions, which
overlap, are reduced to their principal directions.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from voiceface.io.foreign_files import read_file_bytes, read_file_text

if TYPE_CHECKING:
    from perceptionist.face_models.linear import LinearFaceModel

__all__ = [
    "AREA_NUM_VERTICES",
    "DISCLAIMER",
    "NAME",
    "NUM_LANDMARKS",
    "read_ict_facekit",
]


Array = NDArray[Any]

AREA_NUM_VERTICES = {"narrow": 6706, "face": 9409}  # leading vertices of the light model

NAME = "ict-facekit"

DISCLAIMER = "Face model derived from ICT-FaceKit (USC Institute for Creative Technologies, MIT licence)."

NUM_LANDMARKS = 68


def read_ict_facekit(
    folder: str | Path,
    area: str | int = "face",
    num_shape: int = 40,
    num_expression: int = 10,
    landmarks: Sequence[int] | None = None,
) -> "LinearFaceModel":
    """Read a folder of ICT-FaceKit's light model.

    Args:
        folder: with `generic_neutral_mesh.obj`, `identity000.obj`, …, expression meshes and
            `vertex_indices.json` (list `expressions`; without it all other meshes are expressions).
        area: "face" (9,409 vertices), "narrow" (6,706), "all", or a number of leading vertices.
        num_shape: identity modes to keep; their coefficients have variance 1.
        num_expression: principal directions of the expressions to keep, most motion first; 1 = the
            root mean square of the given expressions along it.
        landmarks: 68 vertex indices in iBUG order; None: from the README.md in the folder or its parent.

    Returns:
        A model in centimetres with measuring pairs between landmarks and a default whitening. It has no
        reference shapes, because the files name no genders and face types.

    Raises:
        FileNotFoundError: a file is missing.
        FaceModelError, MeshError: files that do not fit together.
    """
    from perceptionist.face_models.landmarks import default_pose_whitening, pairs_from_landmarks
    from perceptionist.face_models.linear import FaceModelError, LinearFaceModel
    from perceptionist.meshio.obj import read_obj

    folder = Path(folder)
    neutral_path = _find_neutral_mesh(folder)
    neutral = read_obj(neutral_path)
    count = _resolve_area(area, len(neutral.vertices))
    modes = sorted(path for path in folder.glob("*.obj") if re.fullmatch(r"identity_?\d+", path.stem))
    if len(modes) < num_shape:
        raise FaceModelError(f"{folder} has {len(modes)} identity meshes, expected at least {num_shape}")
    faces = [path for path in _find_expression_meshes(folder, neutral_path) if path not in modes]
    if len(faces) < num_expression:
        raise FaceModelError(
            f"{folder} has {len(faces)} expression meshes, expected at least {num_expression}"
        )
    indices = np.array(landmarks if landmarks is not None else _read_readme_landmarks(folder))
    if indices.shape != (NUM_LANDMARKS,) or indices.min() < 0 or indices.max() >= count:
        raise FaceModelError(
            f"{indices.size} landmarks up to {indices.max()}, expected {NUM_LANDMARKS} below {count} (area "
            f"{area!r})"
        )
    mean = neutral.vertices[:count]

    def displacement(path: Path) -> Array:
        vertices = read_obj(path).vertices
        if len(vertices) != len(neutral.vertices):
            raise FaceModelError(
                f"{path} has {len(vertices)} vertices, the neutral mesh {len(neutral.vertices)}"
            )
        return (vertices[:count] - mean).ravel()

    shape_basis = np.stack([displacement(path) for path in modes[:num_shape]], axis=1)
    expression_basis = _principal_directions(
        np.stack([displacement(path) for path in faces], axis=1), num_expression
    )
    inside = (neutral.triangles < count).all(axis=1)
    pose_mean, pose_std = default_pose_whitening(mean, indices)
    return LinearFaceModel(
        NAME,
        mean.ravel(),
        shape_basis,
        expression_basis,
        neutral.triangles[inside][:, ::-1],
        indices,
        pairs=pairs_from_landmarks(indices),
        parameter_mean=np.concatenate([pose_mean, np.zeros(num_shape + num_expression)]),
        parameter_std=np.concatenate([pose_std, np.ones(num_shape + num_expression)]),
        unit_mm=10.0,
        disclaimer=DISCLAIMER,
    )


def _find_neutral_mesh(folder: Path) -> Path:
    found = sorted(folder.glob("*neutral*.obj"))
    if len(found) != 1:
        names = [path.name for path in found]
        raise FileNotFoundError(f"{folder}: neutral meshes {names}, expected one, generic_neutral_mesh.obj")
    return found[0]


def _resolve_area(area: str | int, num_vertices: int) -> int:
    """Number of leading vertices of an area."""
    from perceptionist.face_models.linear import FaceModelError

    text = str(area)
    count = (
        num_vertices if text == "all" else AREA_NUM_VERTICES.get(text, int(text) if text.isdecimal() else 0)
    )
    if not 0 < count <= num_vertices:
        known = ", ".join([*AREA_NUM_VERTICES, "all"])
        raise FaceModelError(f"area {area!r}, expected {known} or a number of vertices up to {num_vertices}")
    return count


def _find_expression_meshes(folder: Path, neutral: Path) -> list[Path]:
    """Find the expression meshes, in the order of the list."""
    from perceptionist.face_models.linear import FaceModelError

    table = folder / "vertex_indices.json"
    if not table.is_file():
        return sorted(path for path in folder.glob("*.obj") if path != neutral)
    try:
        names = json.loads(read_file_text(table, FaceModelError, "a table of expressions"))["expressions"]
        paths = [folder / f"{Path(str(name)).name.removesuffix('.obj')}.obj" for name in names]
    except FaceModelError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FaceModelError(f"{table}: expected a list `expressions` ({error!r})") from None
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {len(missing)} of the listed expressions, first {missing[0]}"
        )
    return paths


def _read_readme_landmarks(folder: Path) -> list[int]:
    """Read the list of 68 integers from a README.md."""
    from perceptionist.face_models.linear import FaceModelError

    for path in (folder / "README.md", folder.parent / "README.md"):
        if path.is_file():
            text = read_file_bytes(path, FaceModelError, "a README.md").decode("utf-8", "replace")
            for numbers in re.findall(r"\[(\s*\d{1,9}(?:[,\s]+\d{1,9})*[,\s]*)\]", text):
                found = [int(number) for number in numbers.replace(",", " ").split()]
                if len(found) == NUM_LANDMARKS:
                    return found
    raise FileNotFoundError(
        f"No README.md in or above {folder} has a list of {NUM_LANDMARKS} landmarks. Pass them as "
        "`landmarks`."
    )


def _principal_directions(displacements: Array, count: int) -> Array:
    """Principal directions (3N, count) of displacements (3N, K), scaled to their RMS."""
    u, size, _ = np.linalg.svd(displacements, full_matrices=False)
    directions = u[:, :count] * size[:count] / np.sqrt(displacements.shape[1])
    return directions * np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(count)])
