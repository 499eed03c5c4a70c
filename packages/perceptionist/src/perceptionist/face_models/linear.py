"""Linear face models: meshes from shape, expression and pose coefficients, one interface for all models.

A model has everything that depends on its vertices: mean, bases, triangles, landmarks, measuring pairs,
reference shapes, whitening. No other module contains vertex indices. Letters: B faces, N vertices, T
triangles, S shape and E expression coefficients.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from perceptionist.face_models.landmarks import NUM_LANDMARKS, PAIR_NAMES, pairs_from_landmarks
from perceptionist.face_models.pose import NUM_POSE_PARAMETERS, Pose, RotationMode, split_pose

__all__ = [
    "REFERENCE_NAMES",
    "FaceModelError",
    "FaceParameters",
    "LinearFaceModel",
    "Reconstruction",
]


Array = NDArray[Any]

REFERENCE_NAMES = ("male", "female", "wide", "skinny", "regular", "slim")


class FaceModelError(ValueError):
    """A face model is invalid; the message states file or part, the found and the expected value."""


@dataclass(frozen=True)
class FaceParameters:
    """Un-whitened parameters of B faces: pose (B, 12), shape (B, S), expression (B, E)."""

    pose: Tensor
    shape: Tensor
    expression: Tensor


@dataclass(frozen=True)
class Reconstruction:
    """Faces of parameter vectors: frontal meshes (B, 3, N) in pixels, poses, un-whitened parameters."""

    vertices: Tensor
    pose: Pose
    parameters: FaceParameters


class LinearFaceModel(nn.Module):
    """Vertices = mean + shape basis · a + expression basis · e, in the model's own unit.

    Tensors move with `.to(...)`; they are not part of a state dict. Flat arrays run x0, y0, z0, x1, …

    Args:
        name: such as "population" or "bfm".
        mean: (3N,) or (3N, 1).
        shape_basis: (3N, S). expression_basis: (3N, E).
        triangles: (T, 3), 0-based, wound to face the viewer if y points down, as in the published files; may
            be empty (0, 3), then meshes can be computed and written but not drawn.
        landmarks: (68,) vertex indices in iBUG order.
        pairs: measuring pairs by `PAIR_NAMES`, two vertex indices each.
        parameter_mean, parameter_std: whitening of pose 12, shape S, expression E and anything after them.
        scale: mean and standard deviation by which the supervised head's first number becomes pixels per
            unit; None: from the whitening of the pose.
        references: (N, 3) by `REFERENCE_NAMES`: frontal meshes in pixels; may be empty or incomplete.
        unit_mm: length of the model's unit.
        disclaimer: to show with every result of this model.

    Attributes:
        mean (3N,), shape_basis (3N, S), expression_basis (3N, E), parameter_mean, parameter_std: buffers.
        triangles, landmarks, pairs, references, scale, unit_mm, name, disclaimer: as given, validated.

    Raises:
        FaceModelError: parts that do not fit together.
    """

    mean: Tensor
    shape_basis: Tensor
    expression_basis: Tensor
    parameter_mean: Tensor
    parameter_std: Tensor

    def __init__(
        self,
        name: str,
        mean: ArrayLike,
        shape_basis: ArrayLike,
        expression_basis: ArrayLike,
        triangles: ArrayLike,
        landmarks: ArrayLike,
        *,
        pairs: Mapping[str, Sequence[int]],
        parameter_mean: ArrayLike,
        parameter_std: ArrayLike,
        scale: tuple[float, float] | None = None,
        references: Mapping[str, ArrayLike] | None = None,
        unit_mm: float = 1.0,
        disclaimer: str = "",
    ) -> None:
        super().__init__()
        self.name, self.unit_mm, self.disclaimer = name, float(unit_mm), disclaimer
        flat = _check_finite(mean, "mean").reshape(-1)
        if not flat.size or flat.size % 3:
            raise FaceModelError(f"{name}: mean of {flat.size} values, expected x, y, z of each vertex")
        self.num_vertices = flat.size // 3
        bases = {"shape basis": shape_basis, "expression basis": expression_basis}
        tables = {word: _check_finite(basis, f"{name}: {word}") for word, basis in bases.items()}
        for word, table in tables.items():
            if table.ndim != 2 or len(table) != flat.size:
                raise FaceModelError(f"{name}: {word} of shape {table.shape}, expected ({flat.size}, K)")
        shape, expression = tables.values()
        self.num_shape, self.num_expression = shape.shape[1], expression.shape[1]
        self.triangles: NDArray[np.int32] = self._check_indices(triangles, "triangles", (-1, 3)).astype(
            np.int32
        )
        self.landmarks: NDArray[np.int64] = self._check_indices(landmarks, "landmarks", (NUM_LANDMARKS,))
        self.pairs = {word: self._check_pair(word, pair) for word, pair in pairs.items()}
        missing = [word for word in PAIR_NAMES if word not in self.pairs]
        if missing:
            raise FaceModelError(f"{name}: no measuring pair for {', '.join(missing)}")
        whitening = [
            _check_finite(v, f"{name}: whitening").reshape(-1) for v in (parameter_mean, parameter_std)
        ]
        if len(whitening[0]) != len(whitening[1]) or len(whitening[0]) < self.num_parameters:
            raise FaceModelError(
                f"{name}: whitening of {len(whitening[0])} means and {len(whitening[1])} deviations, "
                f"expected at least 12 + {self.num_shape} + {self.num_expression} of each"
            )
        for word, value in (
            *(("mean", flat), ("shape_basis", shape), ("expression_basis", expression)),
            *(("parameter_mean", whitening[0]), ("parameter_std", whitening[1])),
        ):
            self.register_buffer(word, torch.from_numpy(np.array(value, np.float32)), persistent=False)
        self.scale = scale or self._scale_from_whitening()
        self.references = {
            word: self._check_reference(word, points) for word, points in (references or {}).items()
        }

    @property
    def num_parameters(self) -> int:
        """Length of a parameter vector without texture: 12 + S + E."""
        return NUM_POSE_PARAMETERS + self.num_shape + self.num_expression

    @property
    def outward_triangles(self) -> NDArray[np.int32]:
        """(T, 3), wound outwards if y points up, as viewers of frontal meshes expect."""
        return np.ascontiguousarray(self.triangles[:, ::-1])

    def triangles_to_draw(self) -> NDArray[np.int32]:
        """`triangles`, for drawing.

        Raises:
            FaceModelError: the model has none.
        """
        if not len(self.triangles):
            raise FaceModelError(
                f"{self.name}: the face model has no triangles, so its meshes cannot be drawn; add tri.mat "
                "to its folder (perceptionist test writes meshes without triangles)"
            )
        return self.triangles

    def vertices(self, shape: Tensor, expression: Tensor | None = None) -> Tensor:
        """Meshes in the model's unit, y up.

        Args:
            shape: (B, S), un-whitened.
            expression: (B, E), un-whitened; None for the mean expression's zero.

        Returns:
            (B, 3, N), float32 or the precision of the model, also under mixed precision; differentiable.
        """
        self._check_width(shape, self.num_shape, "shape")
        with torch.autocast(shape.device.type, enabled=False):
            flat = torch.addmm(self.mean, shape.to(self.mean.dtype), self.shape_basis.T)
            if expression is not None:
                self._check_width(expression, self.num_expression, "expression")
                flat = torch.addmm(flat, expression.to(self.mean.dtype), self.expression_basis.T)
            return flat.reshape(-1, self.num_vertices, 3).transpose(1, 2)

    def whiten(self, parameters: FaceParameters) -> Tensor:
        """Whitened vector (B, 12 + S + E) of parameters; the inverse of `unwhiten`."""
        whole = torch.cat([parameters.pose, parameters.shape, parameters.expression], dim=1)
        self._check_width(whole, self.num_parameters, "parameters")
        mean, std = self._whitening(slice(0, self.num_parameters))
        return (whole.to(mean.dtype) - mean) / std

    def unwhiten(self, parameters: Tensor) -> FaceParameters:
        """Parameters from a network's whitened vector.

        Args:
            parameters: (B, 12 + S + E or more): 62, or 102, of which the texture coefficients are ignored.
        """
        count = self.num_parameters
        if parameters.ndim != 2 or parameters.shape[1] < count:
            raise ValueError(f"parameters of shape {tuple(parameters.shape)}, expected (B, {count} or more)")
        mean, std = self._whitening(slice(0, count))
        whole = parameters[:, :count].to(mean.dtype) * std + mean
        pose, shape, expression = whole.split(
            [NUM_POSE_PARAMETERS, self.num_shape, self.num_expression], dim=1
        )
        return FaceParameters(pose, shape, expression)

    def reconstruct(self, parameters: Tensor, rotation: RotationMode = "rows") -> Reconstruction:
        """Frontal meshes and poses from whitened vectors.

        Args:
            parameters: (B, 62) or (B, 102), as for `unwhiten`.
            rotation: see `split_pose`.
        """
        known = self.unwhiten(parameters)
        pose = split_pose(known.pose, rotation)
        vertices = pose.scale[:, None, None] * self.vertices(known.shape, known.expression)
        return Reconstruction(vertices, pose, known)

    def frontal_vertices(self, parameters: Tensor) -> Tensor:
        """Frontal meshes (B, 3, N) in pixels from whitened vectors: scale times vertices, not rotated."""
        return self.reconstruct(parameters).vertices

    def vertices_from_supervised(self, parameters: Tensor) -> Tensor:
        """Frontal meshes from the supervised head's whitened outputs.

        Args:
            parameters: (B, 1 + S + E): scale, shape, expression.

        Returns:
            (B, 3, N), pixels.
        """
        self._check_width(parameters, 1 + self.num_shape + self.num_expression, "supervised outputs")
        mean, std = self._whitening(slice(NUM_POSE_PARAMETERS, self.num_parameters))
        scale = self.scale[1] * parameters[:, 0].to(mean.dtype) + self.scale[0]
        rest = parameters[:, 1:].to(mean.dtype) * std + mean
        shape, expression = rest.split([self.num_shape, self.num_expression], dim=1)
        return scale[:, None, None] * self.vertices(shape, expression)

    def supervised_targets(self, scale: Tensor, shape: Tensor, expression: Tensor) -> Tensor:
        """Whitened training targets (B, 1 + S + E) of scales (B,), shapes (B, S), expressions (B, E)."""
        mean, std = self._whitening(slice(NUM_POSE_PARAMETERS, self.num_parameters))
        first = (scale.to(mean.dtype)[:, None] - self.scale[0]) / self.scale[1]
        rest = (torch.cat([shape, expression], dim=1).to(mean.dtype) - mean) / std
        return torch.cat([first, rest], dim=1)

    def subset(self, keep: ArrayLike, *, replace_pairs: bool = False) -> "LinearFaceModel":
        """The model restricted to some vertices, in the given order, without triangles of other vertices.

        For points without a model see `vertices_at`.

        Args:
            keep: vertex indices, such as the 38,365 of 3DDFA's face without neck.
            replace_pairs: replace a measuring pair that is removed by the one between landmarks.

        Raises:
            FaceModelError: indices out of range or repeated, or a landmark or pair is removed.
        """
        chosen = self._check_indices(keep, "vertices to keep", (-1,))
        place_of = np.full(self.num_vertices, -1)
        place_of[chosen] = np.arange(len(chosen))
        if len(np.unique(chosen)) != len(chosen):
            raise FaceModelError(f"{self.name}: a vertex to keep is repeated")
        pairs = pairs_from_landmarks(self.landmarks) if replace_pairs else {}
        pairs |= {word: pair for word, pair in self.pairs.items() if (place_of[list(pair)] >= 0).all()}
        lost = [word for word in self.pairs if word not in pairs]
        lost += ["landmarks"] if (place_of[self.landmarks] < 0).any() else []
        if lost:
            raise FaceModelError(f"{self.name}: the vertices to keep lack those of {', '.join(lost)}")
        rows = (3 * chosen[:, None] + np.arange(3)).ravel()
        corners = place_of[self.triangles]
        return LinearFaceModel(
            self.name,
            self.mean.cpu().numpy()[rows],
            self.shape_basis.cpu().numpy()[rows],
            self.expression_basis.cpu().numpy()[rows],
            corners[(corners >= 0).all(axis=1)],
            place_of[self.landmarks],
            pairs={word: place_of[list(pair)].tolist() for word, pair in pairs.items()},
            parameter_mean=self.parameter_mean.cpu().numpy(),
            parameter_std=self.parameter_std.cpu().numpy(),
            scale=self.scale,
            references={word: points[chosen] for word, points in self.references.items()},
            unit_mm=self.unit_mm,
            disclaimer=self.disclaimer,
        )

    def vertices_at(self, shape: Tensor, expression: Tensor, indices: ArrayLike | None = None) -> Tensor:
        """Meshes at some vertices, by default the landmarks: (B, 3, points); a subset of `vertices`."""
        chosen = self.landmarks if indices is None else self._check_indices(indices, "vertices", (-1,))
        rows = torch.as_tensor((3 * chosen[:, None] + np.arange(3)).ravel(), device=self.mean.device)
        with torch.autocast(shape.device.type, enabled=False):
            flat = torch.addmm(self.mean[rows], shape.to(self.mean.dtype), self.shape_basis[rows].T)
            flat = torch.addmm(flat, expression.to(self.mean.dtype), self.expression_basis[rows].T)
        return flat.reshape(len(shape), -1, 3).transpose(1, 2)

    def _whitening(self, part: slice) -> tuple[Tensor, Tensor]:
        return self.parameter_mean[part], self.parameter_std[part]

    def _check_width(self, value: Tensor, width: int, word: str) -> None:
        if value.ndim != 2 or value.shape[1] != width:
            raise ValueError(f"{word} of shape {tuple(value.shape)}, expected (B, {width}) for {self.name}")

    def _scale_from_whitening(self) -> tuple[float, float]:
        """Mean scale and its deviation, from the whitening of the pose."""
        pose = self.parameter_mean[None, :NUM_POSE_PARAMETERS]
        spread = self.parameter_std[:NUM_POSE_PARAMETERS].reshape(3, 4)
        return float(split_pose(pose).scale), float((spread[0, 0] + spread[1, 1]) / 2)

    def _check_indices(self, value: ArrayLike, word: str, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Validate vertex indices of a shape, in which -1 is any length."""
        array = np.asarray(value)
        if array.size == 0 and shape[0] == -1:
            return np.zeros((0, *shape[1:]), np.int64)
        fits = array.ndim == len(shape) and all(b in (-1, a) for a, b in zip(array.shape, shape))
        if not fits or array.dtype.kind not in "iu":
            raise FaceModelError(
                f"{self.name}: {word} of shape {array.shape} and type {array.dtype}, "
                f"expected integers of shape {shape}"
            )
        if array.min() < 0 or array.max() >= self.num_vertices:
            raise FaceModelError(
                f"{self.name}: {word} range from {array.min()} to {array.max()}, "
                f"expected vertex indices 0 to {self.num_vertices - 1}"
            )
        return array.astype(np.int64)

    def _check_pair(self, word: str, pair: Sequence[int]) -> tuple[int, int]:
        first, second = self._check_indices(np.asarray(pair), f"pair {word}", (2,)).tolist()
        return first, second

    def _check_reference(self, word: str, points: ArrayLike) -> NDArray[np.float32]:
        array = _check_finite(points, f"{self.name}: reference shape {word}")
        if array.shape != (self.num_vertices, 3):
            raise FaceModelError(
                f"{self.name}: reference {word} of shape {array.shape}, expected ({self.num_vertices}, 3)"
            )
        return array.astype(np.float32)


def _check_finite(value: ArrayLike, word: str) -> Array:
    """Validate a finite array of numbers."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise FaceModelError(f"{word}: type {array.dtype}, expected numbers")
    if not np.isfinite(array).all():
        raise FaceModelError(f"{word}: {int((~np.isfinite(array)).sum())} values are not finite")
    return array
