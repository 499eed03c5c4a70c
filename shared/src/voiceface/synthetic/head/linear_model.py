"""Linear 3-D head models: 40 + 10 coefficients with names, and the same head in the format of 3DDFA.

A model has two forms: semantic bases, which the population uses (coefficient 1 = one standard deviation
within a sex), and orthonormal bases in the file format of 3DDFA, which readers of such models accept
unchanged.
"""

import io
import pickle
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voiceface.io.atomic import write_bytes, write_text
from voiceface.synthetic.head import shape_space

__all__ = [
    "MICROMETRES_PER_MM",
    "RATIO_LANDMARK_PAIRS",
    "HeadModel",
    "OrthonormalBases",
    "save_npy",
    "write_obj",
]

Array = NDArray[np.float64]

# Landmark pairs (iBUG numbers, 0-based) of the distances behind the face ratios (docs/perceptionist.md).
RATIO_LANDMARK_PAIRS = {"OICD": (36, 45), "FR": (17, 26), "CR": (4, 12), "ER": (0, 16), "MR": (2, 14)}
MICROMETRES_PER_MM = 1000.0


@dataclass(frozen=True)
class OrthonormalBases:
    """Head model in the format of 3DDFA: micrometres, rows interleaved x0, y0, z0, x1, …

    Attributes:
        w_shp: (3V, 40) float32, orthonormal columns by falling variance over both sexes.
        w_exp: (3V, 10) float32, likewise for expressions.
        u_shp, u_exp: (3V, 1) float32, mean shape and mean expression (zero).
        keypoints: (204,) int64, flat indices 3i, 3i+1, 3i+2 of the 68 landmarks.
        tri: (3, T) int32, 1-based, front-facing where y points down.
        param_mean, param_std: (102,) float32: pose 3 x 4, 40 shape, 10 expression, 40 texture (unused).
        shape_from_semantic, expression_from_semantic: (40, 40) and (10, 10), map semantic to orthonormal
            coefficients.
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
        """Write `w_shp{version}.npy`, …, `param_whitening{version}.pkl` and `tri.mat` into a folder."""
        from scipy.io import savemat

        folder = Path(folder)
        save_npy(folder / f"w_shp{version}.npy", self.w_shp)
        save_npy(folder / f"w_exp{version}.npy", self.w_exp)
        save_npy(folder / "u_shp.npy", self.u_shp)
        save_npy(folder / "u_exp.npy", self.u_exp)
        save_npy(folder / "keypoints_sim.npy", self.keypoints)
        whitening = {"param_mean": self.param_mean, "param_std": self.param_std}
        write_bytes(folder / f"param_whitening{version}.pkl", pickle.dumps(whitening, protocol=4))
        buffer = io.BytesIO()
        savemat(buffer, {"tri": self.tri})
        # The first 116 bytes are free text, into which SciPy writes the time.
        write_bytes(folder / "tri.mat", b"MATLAB 5.0 MAT-file".ljust(116) + buffer.getvalue()[116:])


@dataclass(frozen=True)
class HeadModel:
    """Linear head: vertices = mean + gain · (alpha · shape_basis + epsilon · expression_basis), in mm.

    Attributes:
        mean: (V, 3) mean vertices in mm.
        triangles: (T, 3) int32, 0-based, counter-clockwise seen from outside.
        shape_basis: (40, V, 3) displacement in mm per +1 SD within a sex.
        expression_basis: (10, V, 3) displacement in mm at coefficient 1.
        landmarks: (68,) vertex numbers in iBUG order.
        gain: factor on all bases.
    """

    mean: Array
    triangles: NDArray[np.int32]
    shape_basis: Array
    expression_basis: Array
    landmarks: NDArray[np.int64]
    gain: float = 1.0

    def compute_vertices(self, shape: ArrayLike, expression: ArrayLike | None = None) -> Array:
        """Compute vertices (..., V, 3) in mm from coefficients (..., 40) and (..., 10).

        Raises:
            ValueError: another number of coefficients.
        """
        alpha = _check_coefficients(shape, 40, "shape")
        vertices = self.mean + self.gain * np.tensordot(alpha, self.shape_basis, 1)
        if expression is not None:
            epsilon = _check_coefficients(expression, 10, "expression")
            vertices = vertices + self.gain * np.tensordot(epsilon, self.expression_basis, 1)
        return np.asarray(vertices)

    def compute_landmarks(self, shape: ArrayLike, expression: ArrayLike | None = None) -> Array:
        """Compute the 68 landmarks, (..., 68, 3) in mm; arguments as `compute_vertices`."""
        return self.landmark_model.compute_vertices(shape, expression)

    @cached_property
    def landmark_model(self) -> "HeadModel":
        """The model restricted to its landmarks, without triangles."""
        keep = self.landmarks
        none, order = np.zeros((0, 3), np.int32), np.arange(len(keep))
        return HeadModel(
            self.mean[keep], none, self.shape_basis[:, keep], self.expression_basis[:, keep], order, self.gain
        )

    @cached_property
    def orthonormal(self) -> OrthonormalBases:
        """Orthonormal bases in micrometres, over both sexes."""
        loadings, shift = shape_space.factor_loadings(), shape_space.sex_shift()
        covariance = (
            loadings @ loadings.T + np.diag(shape_space.residual_scale() ** 2) + np.outer(shift, shift)
        )
        w_shp, shape_sd, to_shape = _orthonormal_basis(
            self.shape_basis * self.gain * MICROMETRES_PER_MM, covariance
        )
        # |N|·scale with probability 1/2: mean scale/sqrt(2·pi), second moment scale²/2.
        mean_exp = shape_space.EXPRESSION_SD / np.sqrt(2.0 * np.pi)
        variance = shape_space.EXPRESSION_SD**2 * (0.5 - 1.0 / (2.0 * np.pi))
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
        raise ValueError(f"expected {count} {name} coefficients on the last axis, got shape {array.shape}")
    return array


def _orthonormal_basis(fields: Array, covariance: Array) -> tuple[Array, Array, Array]:
    """Compute principal directions of displacement fields for a covariance of their coefficients.

    Args:
        fields: (K, V, 3) displacement per coefficient.
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
