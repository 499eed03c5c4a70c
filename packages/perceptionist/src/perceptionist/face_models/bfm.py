"""Read BFM-2009 in its published layouts: folders of arrays, 3DDFA_V2's pack, and the expert archive."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from voiceface.io.safe_pickle import read_npy, read_npz, read_pickle

from perceptionist.face_models.landmarks import pairs_from_landmarks
from perceptionist.face_models.linear import FaceModelError, LinearFaceModel
from perceptionist.face_models.pose import NUM_POSE_PARAMETERS

__all__ = [
    "BFM_NUM_VERTICES",
    "BFM_PAIRS",
    "BFM_UNIT_MM",
    "PUBLISHED_SCALE",
    "VERSION_SUFFIXES",
    "WHITENING_KEYS",
    "BfmCoefficients",
    "read_3ddfa_pack",
    "read_bfm_coefficients",
    "read_expert_archive",
    "read_expert_arrays",
    "read_model_folder",
    "read_whitening",
]


Array = NDArray[Any]

# Constants of the published model, BFM-2009 with neck and ears.
BFM_NUM_VERTICES = 53215

BFM_PAIRS = {
    "oicd": (2217, 14607),
    "forehead": (1678, 42117),
    "cheek": (2294, 13635),
    "ear": (20636, 34153),
    "midline": (2130, 15003),
}

PUBLISHED_SCALE = (0.0005920184194110334, 1.538597731841497e-05)

BFM_UNIT_MM = 0.001

BFM_NUM_SHAPE, BFM_NUM_EXPRESSION = 199, 29

VERSION_SUFFIXES = ("_v201", "_sim", "")

WHITENING_KEYS = (("param_mean", "param_std"), ("mean", "std"))


@dataclass(frozen=True)
class BfmCoefficients:
    """Coefficients of the full BFM-2009 basis: shape (199,), expression (29,), float32."""

    shape: NDArray[np.float32]
    expression: NDArray[np.float32]


def read_model_folder(folder: str | Path, *, scale: tuple[float, float] | None = None) -> LinearFaceModel:
    """Read `train.configs` or `3dmm_data`: w_shp, w_exp, u_shp, u_exp, whitening, keypoints_sim, tri.mat.

    A model of the published size has the published measuring pairs and scale; another model in this layout is
    measured between its landmarks. Without `tri.mat` the model has no triangles: its meshes can be computed,
    measured and written, but not drawn.

    Args:
        folder: with the arrays; file names may end in _v201, _sim or neither.
        scale: see `LinearFaceModel`.

    Raises:
        FileNotFoundError: a file is missing; the message names it.
        FaceModelError: arrays that do not fit together.
    """
    folder = Path(folder)
    arrays = {word: np.asarray(read_npy(_find_file(folder, word, ".npy"))) for word in ("w_shp", "w_exp")}
    u_shp, u_exp = (np.asarray(read_npy(_find_file(folder, word, ".npy"))) for word in ("u_shp", "u_exp"))
    arrays["u"] = u_shp + u_exp
    mean, std = read_whitening(_find_file(folder, "param_whitening", ".pkl"))
    return _build_face_model(folder, arrays, mean, std, *_read_topology(folder), scale=scale)


def read_3ddfa_pack(
    path: str | Path, whitening: str | Path | None = None, triangles: str | Path | None = None
) -> LinearFaceModel:
    """Read 3DDFA_V2's pickle with u, w_shp, w_exp, tri, keypoints.

    Args:
        path: such as bfm_noneck_v3.pkl.
        whitening: such as param_mean_std_62d_120x120.pkl; None: `param_mean_std*.pkl` in the same folder.
        triangles: such as tri.pkl, if the pack has none.

    Raises:
        FileNotFoundError, FaceModelError: as `read_model_folder`.
    """
    path = Path(path)
    pack = _check_keys(read_pickle(path), path, "w_shp", "w_exp", "keypoints")
    beside = sorted(path.parent.glob("param_mean_std*.pkl"))
    if whitening is None and not beside:
        raise FileNotFoundError(
            f"{path.parent} has no whitening param_mean_std*.pkl for {path.name}; pass its path."
        )
    mean, std = read_whitening(whitening or beside[0])
    if "u" not in pack:
        pack = {**pack, "u": pack["u_shp"] + pack["u_exp"]} if {"u_shp", "u_exp"} <= pack.keys() else pack
    pack = _check_keys(pack, path, "u")
    corners = pack.get("tri") if triangles is None else read_pickle(triangles)
    if corners is None:
        raise FaceModelError(f"{path} has no `tri`; pass the path of the triangles (tri.pkl)")
    faces = np.asarray(corners)
    faces = faces.T if faces.ndim == 2 and faces.shape[0] == 3 != faces.shape[1] else faces
    last = np.asarray(pack["u"]).size // 3
    if faces.size and faces.min() == 1 and faces.max() == last:
        faces = faces - 1
    return _build_face_model(
        path, pack, mean, std, faces, _landmarks_from_flat(np.asarray(pack["keypoints"]), path)
    )


def read_expert_archive(
    path: str | Path, folder: str | Path, *, scale: tuple[float, float] | None = PUBLISHED_SCALE
) -> LinearFaceModel:
    """Read the face model of the published expert archive, which its networks were trained with.

    Args:
        path: `2D-to-3D-pretrained.tar`, a PyTorch file despite its suffix.
        folder: `train.configs`, for triangles and landmarks, which the archive lacks.
        scale: see `LinearFaceModel`.

    Raises:
        FileNotFoundError, CheckpointError, FaceModelError: missing, corrupt, or without the arrays.
    """
    arrays = read_expert_arrays(path)
    whitening = arrays["param_mean"], arrays["param_std"]
    return _build_face_model(Path(path), arrays, *whitening, *_read_topology(Path(folder)), scale=scale)


def read_expert_arrays(path: str | Path) -> dict[str, Array]:
    """Read the arrays w_shp, w_exp, u, param_mean, param_std inside the published expert archive."""
    from voiceface.checkpoints.published import extract_state_dict, read_published

    state = extract_state_dict(read_published(path), source=str(path))
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    wanted = ("w_shp", "w_exp", "u", "param_mean", "param_std")
    return {word: _check_keys(plain, Path(path), *wanted)[word].numpy() for word in wanted}


def read_whitening(path: str | Path) -> tuple[Array, Array]:
    """Read mean and deviation (62,) or (102,) of the parameters from a pickled dict.

    Raises:
        FileNotFoundError, ArrayFileError: missing or refused.
        FaceModelError: other keys or lengths.
    """
    path = Path(path)
    content = read_pickle(path)
    for names in WHITENING_KEYS:
        if isinstance(content, dict) and set(names) <= content.keys():
            mean, std = (np.asarray(content[name]).reshape(-1) for name in names)
            return mean, std
    keys = list(content) if isinstance(content, dict) else type(content).__name__
    raise FaceModelError(f"{path} contains {keys}, expected param_mean and param_std, or mean and std")


def read_bfm_coefficients(path: str | Path) -> BfmCoefficients:
    """Read the fitted coefficients of one image: one vector of 228 (shape first), or two arrays.

    Args:
        path: .npy with 228 numbers or with two arrays in it, or .npz with two arrays.

    Raises:
        FileNotFoundError, ArrayFileError: missing, corrupt or refused.
        FaceModelError: other lengths.
    """
    path = Path(path)
    if path.suffix == ".npz":
        content: Any = list(read_npz(path).values())
    else:
        content = read_npy(path)
    if isinstance(content, np.ndarray):
        content = [content]
    while isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict | list | tuple):
        content = content[0]
    parts = list(content.values()) if isinstance(content, dict) else list(content)
    vectors = [np.squeeze(np.asarray(part)) for part in parts]
    if len(vectors) == 1 and vectors[0].size == BFM_NUM_SHAPE + BFM_NUM_EXPRESSION:
        vectors = [vectors[0][:BFM_NUM_SHAPE], vectors[0][BFM_NUM_SHAPE:]]
    shapes = sorted(vector.shape for vector in vectors)
    if shapes != [(BFM_NUM_EXPRESSION,), (BFM_NUM_SHAPE,)] or any(v.dtype.kind not in "fiu" for v in vectors):
        raise FaceModelError(
            f"{path} contains arrays of shape {shapes}, expected {BFM_NUM_SHAPE} shape and "
            f"{BFM_NUM_EXPRESSION} "
            f"expression coefficients, separately or as one vector of {BFM_NUM_SHAPE + BFM_NUM_EXPRESSION}"
        )
    shape, expression = sorted((vector.astype(np.float32) for vector in vectors), key=len, reverse=True)
    if not (np.isfinite(shape).all() and np.isfinite(expression).all()):
        raise FaceModelError(f"{path} contains values that are not finite")
    return BfmCoefficients(shape, expression)


def _build_face_model(
    source: Path,
    arrays: Mapping[str, Any],
    mean: Array,
    std: Array,
    triangles: Array,
    landmarks: Array,
    scale: tuple[float, float] | None = None,
) -> LinearFaceModel:
    """Build a model of published arrays, with the published constants if it has the published size."""
    vertices = np.asarray(arrays["u"]).size // 3
    published = vertices == BFM_NUM_VERTICES
    shapes, expressions = np.asarray(arrays["w_shp"]), np.asarray(arrays["w_exp"])
    flat = shapes.ndim != 2 or expressions.ndim != 2
    if flat or shapes.shape[1] + expressions.shape[1] + NUM_POSE_PARAMETERS > len(mean):
        raise FaceModelError(
            f"{source}: bases of shape {shapes.shape} and {expressions.shape}, "
            f"whitening of {len(mean)} values, expected at least 12 + shape + expression"
        )
    try:
        return LinearFaceModel(
            "bfm" if published else source.stem,
            arrays["u"],
            shapes,
            expressions,
            triangles,
            landmarks,
            pairs=BFM_PAIRS if published else pairs_from_landmarks(landmarks),
            parameter_mean=mean,
            parameter_std=std,
            scale=scale or (PUBLISHED_SCALE if published else None),
            unit_mm=BFM_UNIT_MM,
        )
    except FaceModelError as error:
        raise FaceModelError(f"{source}: {error}") from None


def _read_topology(folder: Path) -> tuple[Array, Array]:
    """Read triangles (T, 3), 0-based, none without `tri.mat`, and the 68 landmarks of a folder."""
    from perceptionist.face_models.matlab import read_matlab_array

    landmarks = _landmarks_from_flat(np.asarray(read_npy(_find_file(folder, "keypoints", ".npy"))), folder)
    if not any((folder / f"tri{version}.mat").is_file() for version in VERSION_SUFFIXES):
        return np.zeros((0, 3), np.int64), landmarks
    path = _find_file(folder, "tri", ".mat")
    triangles = read_matlab_array(path, "tri", FaceModelError)
    if triangles.ndim != 2 or triangles.shape[0] != 3 or triangles.dtype.kind not in "iuf":
        raise FaceModelError(f"{path}: tri of shape {triangles.shape}, expected (3, T), 1-based")
    return triangles.T.astype(np.int64) - 1, landmarks


def _landmarks_from_flat(flat: Array, source: Path) -> Array:
    """Vertex indices (68,) of flat indices 3i, 3i+1, 3i+2."""
    numbers = flat.reshape(-1)
    first = numbers[::3] // 3 if numbers.dtype.kind in "iuf" else numbers[:0]
    if not np.array_equal(numbers, (3 * first[:, None] + np.arange(3)).ravel()):
        shown = f"{numbers[:6].tolist()}"
        raise FaceModelError(f"{source}: keypoints {shown}…, expected flat indices 3i, 3i+1, 3i+2")
    return first.astype(np.int64)


def _find_file(folder: Path, stem: str, suffix: str) -> Path:
    """Find the file of a stem in a folder, with any of the published suffixes."""
    names = [f"{stem}{version}{suffix}" for version in VERSION_SUFFIXES]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder} has none of {', '.join(names)}. Pass the folder of a face model.")


def _check_keys(content: Any, path: Path, *required: str) -> Mapping[str, Any]:
    """Validate that the content is a mapping with these keys."""
    keys = list(content) if isinstance(content, Mapping) else []
    missing = [word for word in required if word not in keys]
    if missing:
        found = ", ".join(map(str, keys[:8])) or "no dict"
        raise FaceModelError(f"{path} lacks {', '.join(missing)}; found {found}")
    return content
