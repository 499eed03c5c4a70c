"""The project-owned head: a linear 3D face model made of formulas (6,400 vertices, 40 + 10 coefficients).

Two forms of the same model: raw semantic bases, which the population uses (coefficient 1 = one standard
deviation within a sex), and orthonormal bases in the file arrangement of 3DDFA-like models, which consumers
of such models read unchanged. Nothing is stored: it is computed on first use and kept for the process.
"""

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voiceface.io.atomic import atomic_path, write_bytes, write_text
from voiceface.synthetic.face import head_bases

Array = NDArray[np.float64]

# Landmark pairs (iBUG numbers, 0-based) behind named distances. The first table stands for the measuring
# pairs that other models give as vertex numbers, the second has the usual anthropometric names.
RATIO_LANDMARK_PAIRS = {
    "OICD": (36, 45),
    "FR": (17, 26),
    "CR": (4, 12),
    "ER": (0, 16),
    "MR": (2, 14),
}
ANTHROPOMETRIC_PAIRS = {
    "n-gn": (27, 8),
    "n-sn": (27, 33),
    "sn-gn": (33, 8),
    "al-al": (31, 35),
    "en-en": (39, 42),
    "ex-ex": (36, 45),
    "ch-ch": (48, 54),
    "zy-zy": (0, 16),
    "go-go": (3, 13),
}
MICROMETRES_PER_MM = 1000.0


class FaceFactors(Protocol):
    """What the head needs of identities: face_sex (N,), g (N, 8), q (N, 40)."""

    @property
    def face_sex(self) -> Any: ...
    @property
    def face_factors(self) -> Any: ...
    @property
    def shape_nuisance(self) -> Any: ...


@dataclass(frozen=True)
class OrthonormalBases:
    """The model in the 3DDFA arrangement: micrometres, rows interleaved x0, y0, z0, x1, …

    Attributes:
        w_shp: (3V, 40) float32, orthonormal columns ordered by variance over the whole population.
        w_exp: (3V, 10) float32, likewise for expressions.
        u_shp, u_exp: (3V, 1) float32, mean shape and mean expression (zero).
        keypoints: (204,) int64, flat indices 3i, 3i+1, 3i+2 of the 68 landmarks.
        tri: (3, T) int32, 1-based, wound to face the viewer where y points down.
        param_mean, param_std: (102,) float32: pose 3 x 4, 40 shape, 10 expression, 40 texture (unused).
        shape_from_semantic, expression_from_semantic: (40, 40) and (10, 10), semantic to orthonormal numbers.
    """

    w_shp: NDArray[np.float32]
    w_exp: NDArray[np.float32]
    u_shp: NDArray[np.float32]
    u_exp: NDArray[np.float32]
    keypoints: NDArray[np.int64]
    tri: NDArray[np.int32]
    param_mean: NDArray[np.float32]
    param_std: NDArray[np.float32]
    shape_from_semantic: Array
    expression_from_semantic: Array

    def save(self, folder: str | Path, version: str = "_sim") -> None:
        """Write the files: `w_shp{version}.npy`, …, `param_whitening{version}.pkl`, `tri.mat`."""
        from scipy.io import savemat

        folder = Path(folder)
        names: dict[str, NDArray[Any]] = {
            "w_shp" + version: self.w_shp,
            "w_exp" + version: self.w_exp,
            "u_shp": self.u_shp,
        }
        names |= {"u_exp": self.u_exp, "keypoints_sim": self.keypoints}
        for name, array in names.items():
            save_npy(folder / f"{name}.npy", array)
        whitening = {"param_mean": self.param_mean, "param_std": self.param_std}
        write_bytes(folder / f"param_whitening{version}.pkl", pickle.dumps(whitening, protocol=4))
        with atomic_path(folder / "tri.mat") as path:
            savemat(path, {"tri": self.tri})


@dataclass(frozen=True)
class HeadModel:
    """Linear head: vertices = mean + gain · (alpha · shape + epsilon · expression), in mm.

    Attributes:
        mean: (V, 3) mean vertices in mm, grid row-major: rows from neck to crown, columns round the head.
        triangles: (T, 3) int32, 0-based, counter-clockwise seen from outside.
        shape: (40, V, 3) displacement in mm of +1 SD within a sex.
        expression: (10, V, 3) displacement in mm at coefficient 1.
        landmarks: (68,) vertex numbers in iBUG order.
        gain: factor on all bases; 1 is the deliberate caricature, 0.55 about life-size.
    """

    mean: Array
    triangles: NDArray[np.int32]
    shape_basis: Array
    expression_basis: Array
    landmarks: NDArray[np.int64]
    gain: float = 1.0

    def compute_vertices(self, shape: ArrayLike, expression: ArrayLike | None = None) -> Array:
        """Vertices of one head (V, 3) or a batch (..., V, 3), from coefficients (..., 40) and (..., 10)."""
        result = self.mean + self.gain * np.tensordot(
            _check_coefficients(shape, 40, "shape"), self.shape_basis, 1
        )
        if expression is not None:
            moved = np.tensordot(_check_coefficients(expression, 10, "expression"), self.expression_basis, 1)
            result = result + self.gain * moved
        return np.asarray(result)

    def fit_shape(self, vertices: ArrayLike) -> Array:
        """Shape coefficients (40,) of a neutral head (V, 3) by least squares."""
        flat = (np.asarray(vertices, float) - self.mean).ravel()
        design = self.gain * self.shape_basis.reshape(len(self.shape_basis), -1)
        return np.asarray(np.linalg.solve(design @ design.T, design @ flat), float)

    def compute_landmarks(self, shape: ArrayLike, expression: ArrayLike | None = None) -> Array:
        """The 68 landmarks, (..., 68, 3) in mm."""
        return self.landmark_model.compute_vertices(shape, expression)

    @cached_property
    def landmark_model(self) -> "HeadModel":
        """The same model restricted to its landmarks (no triangles)."""
        keep = self.landmarks
        none, order = np.zeros((0, 3), np.int32), np.arange(len(keep))
        return HeadModel(
            self.mean[keep], none, self.shape_basis[:, keep], self.expression_basis[:, keep], order, self.gain
        )

    @cached_property
    def orthonormal(self) -> OrthonormalBases:
        """The model over the whole population (both sexes) as orthonormal bases in micrometres."""
        mix, shift = head_bases.factor_loadings(), head_bases.sex_shift()
        covariance = mix @ mix.T + np.diag(head_bases.residual_scale() ** 2) + np.outer(shift, shift)
        w_shp, shape_sd, to_shape = _orthonormal_basis(
            self.shape_basis * self.gain * MICROMETRES_PER_MM, covariance
        )
        # |N|·scale with probability 1/2: mean scale/sqrt(2·pi), second moment scale²/2.
        mean_exp = head_bases.EXPRESSION_SD / np.sqrt(2.0 * np.pi)
        variance = head_bases.EXPRESSION_SD**2 * (0.5 - 1.0 / (2.0 * np.pi))
        w_exp, exp_sd, to_exp = _orthonormal_basis(
            self.expression_basis * self.gain * MICROMETRES_PER_MM, np.diag(variance)
        )
        scale = 120.0 / 235.0 / MICROMETRES_PER_MM  # a 120-pixel image shows about 235 mm
        pose_mean = np.array([scale, 0, 0, 60.0, 0, scale, 0, 74.0, 0, 0, scale, -66.0])
        turn = scale * np.array([0.05, 0.08, 0.24, 0, 0.08, 0.05, 0.11, 0, 0.24, 0.11, 0.05, 0])
        pose_std = turn + np.array([0, 0, 0, 6.0, 0, 0, 0, 6.0, 0, 0, 0, 20.0])
        mean = np.concatenate([pose_mean, np.zeros(40), to_exp @ mean_exp, np.zeros(40)])
        std = np.concatenate([pose_std, shape_sd, exp_sd, np.ones(40)])
        flat = (3 * self.landmarks[:, None] + np.arange(3)).ravel()
        return OrthonormalBases(
            w_shp=w_shp.astype(np.float32),
            w_exp=w_exp.astype(np.float32),
            u_shp=(self.mean.reshape(-1, 1) * MICROMETRES_PER_MM).astype(np.float32),
            u_exp=np.zeros((self.mean.size, 1), np.float32),
            keypoints=flat.astype(np.int64),
            tri=np.ascontiguousarray(self.triangles[:, ::-1].T) + np.int32(1),
            param_mean=mean.astype(np.float32),
            param_std=std.astype(np.float32),
            shape_from_semantic=to_shape,
            expression_from_semantic=to_exp,
        )


@lru_cache(maxsize=4)
def build_head_model(face_gain: float = 1.0) -> HeadModel:
    """The head model, computed once per process in a fraction of a second.

    Args:
        face_gain: factor on all bases, above 0.
    """
    if not face_gain > 0:
        raise ValueError(f"face_gain must be above 0, got {face_gain}")
    surface = head_bases.build_mean_surface()
    shape, expression = head_bases.build_shape_bases(surface), head_bases.build_expression_bases(surface)
    triangles = head_bases.grid_triangles(head_bases.GRID_ROWS, head_bases.GRID_COLUMNS)
    model = HeadModel(
        surface.points(), triangles, shape, expression, _nearest_landmark_vertices(surface), face_gain
    )
    for array in (model.mean, model.triangles, model.shape_basis, model.expression_basis, model.landmarks):
        array.setflags(write=False)
    return model


def shape_coefficients(identities: FaceFactors) -> Array:
    """Shape coefficients of identities: alpha = A g + D q ± 0.9 S, shape (N, 40), float64.

    Args:
        identities: face_sex (N,) with 1 = male; g (N, 8) coupled face factors; q (N, 40) uncoupled parts.
    """
    coupled = np.asarray(identities.face_factors, float) @ head_bases.factor_loadings().T
    sign = 2.0 * np.asarray(identities.face_sex, float) - 1.0
    return (
        coupled
        + np.asarray(identities.shape_nuisance, float) * head_bases.residual_scale()
        + sign[..., None] * head_bases.sex_shift()
    )


def max_factor_r2() -> Array:
    """Greatest R² with which the eight coupled factors can be read from the true 40 coefficients, (8,)."""
    mix = head_bases.factor_loadings()
    covariance = mix @ mix.T + np.diag(head_bases.residual_scale() ** 2)
    return np.diag(mix.T @ np.linalg.solve(covariance, mix)).copy()


def landmark_distances(
    landmarks: ArrayLike, pairs: Mapping[str, tuple[int, int]] = ANTHROPOMETRIC_PAIRS
) -> dict[str, Array]:
    """Named distances between landmarks in the unit of the points.

    Args:
        landmarks: (..., 68, 3).
        pairs: name to two landmark numbers, for instance `ANTHROPOMETRIC_PAIRS` or `RATIO_LANDMARK_PAIRS`.

    Returns:
        name to distances, each (...).
    """
    points = np.asarray(landmarks, float)
    if points.shape[-2:] != (68, 3):
        raise ValueError(f"68 landmarks with 3 coordinates are needed: got shape {points.shape}")
    return {n: np.linalg.norm(points[..., a, :] - points[..., b, :], axis=-1) for n, (a, b) in pairs.items()}


def compute_vertex_normals(vertices: ArrayLike, triangles: ArrayLike) -> Array:
    """Unit normals (V, 3) by area-weighted means of the triangles' normals; zero where undefined."""
    points, corners = np.asarray(vertices, float), np.asarray(triangles)
    a, b, c = (points[corners[:, i]] for i in range(3))
    faces = np.cross(b - a, c - a)
    normals = np.stack(
        [np.bincount(corners.T.ravel(), np.tile(faces[:, axis], 3), len(points)) for axis in range(3)], axis=1
    )
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)


def write_obj(path: str | Path, vertices: ArrayLike, triangles: ArrayLike) -> None:
    """Write a mesh as Wavefront .obj: `v x y z` with 4 decimals, `f a b c` 1-based; atomic."""
    lines = ["v {:.4f} {:.4f} {:.4f}\n".format(*row) for row in np.asarray(vertices, float).tolist()]
    lines += ["f {} {} {}\n".format(*row) for row in (np.asarray(triangles) + 1).tolist()]
    write_text(path, "".join(lines))


def save_npy(path: str | Path, array: ArrayLike) -> None:
    """Write one .npy file atomically."""
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array))
    write_bytes(path, buffer.getvalue())


def _check_coefficients(values: ArrayLike, count: int, name: str) -> Array:
    array = np.asarray(values, float)
    if array.shape[-1:] != (count,):
        raise ValueError(f"{count} {name} coefficients are needed on the last axis: got shape {array.shape}")
    return array


def _nearest_landmark_vertices(surface: head_bases.MeanSurface) -> NDArray[np.int64]:
    """Nearest vertex of the mean face's front to each target, (68,), all distinct."""
    points, angle, front = surface.points(), surface.theta.ravel(), np.cos(surface.theta).ravel() > 0
    found = []
    for across, height, by_angle in head_bases.landmark_targets():
        here = 60.0 * (angle - across) if by_angle else points[:, 0] - across
        miss = here**2 + (points[:, 1] - height) ** 2
        found.append(int(np.argmin(np.where(front, miss, np.inf))))
    assert len(set(found)) == 68, "two landmarks share a vertex"
    return np.array(found, np.int64)


def _orthonormal_basis(fields: Array, covariance: Array) -> tuple[Array, Array, Array]:
    """Principal directions of the fields under a covariance of their coefficients.

    Args:
        fields: (K, V, 3) displacement of each coefficient.
        covariance: (K, K) of the coefficients.

    Returns:
        (3V, K) orthonormal columns by falling variance, (K,) standard deviations, (K, K) map of coefficients.
    """
    flat = fields.reshape(len(fields), -1).T
    q, r = np.linalg.qr(flat)
    root = np.linalg.cholesky(covariance)
    u, sd, _ = np.linalg.svd(r @ root)
    u *= np.sign(u[np.abs(u).argmax(axis=0), np.arange(u.shape[1])])
    return q @ u, sd, u.T @ r
