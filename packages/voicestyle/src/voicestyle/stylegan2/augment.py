"""Adaptive discriminator augmentation (Karras et al., NeurIPS 2020).

Each transformation is applied to each image with the same probability: geometry as one affine map between an
upsampling and a downsampling by 2 with the wavelet filter SYM6, then colour as one affine map. All of it is
twice differentiable with respect to the images, as R1 needs. Letters: N images, H rows, W columns.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from voiceface.runtime.distributed import all_gather_with_gradient, draw_rows

from voicestyle.stylegan2.operators import upfirdn2d

__all__ = [
    "AdaptiveAugment",
    "QuarterTurns",
    "apply_colours",
    "augment",
    "hue_rotation",
    "sample_colours",
    "sample_geometry",
    "warp",
]

QuarterTurns = Literal["all", "published"]
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)


class AdaptiveAugment:
    """Augmentation probability, adapted to the overfitting of the discriminator.

    r_t is the mean sign of the real scores over `adaptation_interval` steps; p rises by n / length if r_t
    exceeds the target, else it falls by it, where n is the number of scores; it stays in 0...1.

    Attributes:
        p: probability.
        r_t: value at the last adaptation, initially 0.
    """

    def __init__(
        self, target: float = 0.6, adaptation_length: int = 500_000, adaptation_interval: int = 8
    ) -> None:
        self.target, self.adaptation_length, self.adaptation_interval = (
            target,
            adaptation_length,
            adaptation_interval,
        )
        self.p, self.r_t = 0.0, 0.0
        self._signs, self._count, self._calls = 0.0, 0, 0

    def tune(self, scores: Tensor) -> float:
        """Update p with the scores of a batch of real images, those of all processes, and return it."""
        scores = all_gather_with_gradient(scores.detach())
        self._signs += float(scores.sign().sum())
        self._count += scores.numel()
        self._calls += 1
        if self._calls == self.adaptation_interval:
            self.r_t = self._signs / self._count
            sign = 1 if self.r_t > self.target else -1
            self.p = min(1.0, max(0.0, self.p + sign * self._count / self.adaptation_length))
            self._signs, self._count, self._calls = 0.0, 0, 0
        return self.p

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers."""
        return {"p": self.p, "r_t": self.r_t, "sums": [self._signs, self._count, self._calls]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self.p, self.r_t = float(state["p"]), float(state["r_t"])
        self._signs, self._count, self._calls = state["sums"]


def augment(
    images: Tensor, p: float, generator: torch.Generator | None = None, *, quarter_turns: QuarterTurns = "all"
) -> Tensor:
    """Augment images (N, 3, H, W) at random; with p = 0 return them unchanged and use no random numbers.

    Args:
        images: in -1...1.
        p: probability of each transformation.
        generator: on the CPU; None for PyTorch's global generator.
        quarter_turns: see `sample_geometry`.
    """
    if p == 0:
        return images
    n, _, height, width = images.shape
    geometry = sample_geometry(n, p, height, width, generator, quarter_turns=quarter_turns)
    moved = warp(images, torch.linalg.inv(geometry).to(images))
    return apply_colours(moved, sample_colours(n, p, generator).to(images))


def sample_geometry(
    num_images: int,
    p: float,
    height: int,
    width: int,
    generator: torch.Generator | None = None,
    *,
    quarter_turns: QuarterTurns = "all",
) -> Tensor:
    """Sample affine maps (N, 3, 3) of positions in pixels from the centre, x right, y down.

    Mirror, quarter turns, integer shift, scale, rotation, anisotropic scale, rotation, shift; each multiplied
    from the left.

    Args:
        num_images: N.
        p: probability of each; of either rotation 1 - sqrt(1 - p), so that one of them happens with p.
        height, width: of the images.
        generator: on the CPU; None for PyTorch's global generator.
        quarter_turns: number of quarter turns: 0 to 3 ("all"), or 0 or 3 as published.
    """
    rng = _BatchRandom(num_images, generator)
    turning = 1 - math.sqrt(1 - p)
    sides = torch.tensor([width, height])
    total = torch.eye(3).repeat(num_images, 1, 1)

    def apply(step: Tensor, probability: float = p) -> None:
        nonlocal total
        chosen = rng.bernoulli(probability)
        total = torch.where(chosen[:, None, None], step, torch.eye(3)) @ total

    apply(_scaling(1.0 - 2.0 * rng.coin_flip(), torch.ones(num_images)))
    quarters = rng.integers(4).float() if quarter_turns == "all" else 3.0 * rng.coin_flip()
    apply(_rotation(-math.pi / 2 * quarters))
    apply(_shift((rng.uniform(-0.125, 0.125, 2) * sides).round()))
    scale = torch.exp2(0.2 * rng.normal())
    apply(_scaling(scale, scale))
    apply(_rotation(rng.uniform(-math.pi, math.pi)), turning)
    stretch = torch.exp2(0.2 * rng.normal())
    apply(_scaling(stretch, 1 / stretch))
    apply(_rotation(rng.uniform(-math.pi, math.pi)), turning)
    apply(_shift(0.125 * rng.normal(2) * sides))
    return total


def sample_colours(num_images: int, p: float, generator: torch.Generator | None = None) -> Tensor:
    """Sample affine maps (N, 4, 4) of (R, G, B, 1): brightness, contrast, luma flip, hue, saturation."""
    rng = _BatchRandom(num_images, generator)
    axis = torch.full((3,), 1 / math.sqrt(3.0))
    grey = torch.zeros(4, 4)
    grey[:3, :3] = torch.outer(axis, axis)
    colours, one = torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0])) - grey, torch.eye(4)
    total = one.repeat(num_images, 1, 1)

    def apply(step: Tensor) -> None:
        nonlocal total
        total = torch.where(rng.bernoulli(p)[:, None, None], step, one) @ total

    brightness = one.repeat(num_images, 1, 1)
    brightness[:, :3, 3] = (0.2 * rng.normal())[:, None]
    apply(brightness)
    contrast = torch.exp2(0.5 * rng.normal())
    apply(torch.diag_embed(torch.stack([contrast, contrast, contrast, torch.ones(num_images)], 1)))
    apply(one - 2 * grey * rng.coin_flip()[:, None, None])
    apply(hue_rotation(rng.uniform(-math.pi, math.pi)))
    saturation = torch.exp2(rng.normal())
    last = torch.diag(torch.tensor([0.0, 0.0, 0.0, 1.0]))
    apply(grey + last + colours * saturation[:, None, None])
    return total


def hue_rotation(angles: Tensor) -> Tensor:
    """Rotation matrices (N, 4, 4) about the grey axis by angles (N,) in radians."""
    v = 1 / math.sqrt(3.0)
    cross = torch.tensor([[0.0, -v, v], [v, 0.0, -v], [-v, v, 0.0]])
    cosine, sine = angles.cos()[:, None, None], angles.sin()[:, None, None]
    turned = cosine * torch.eye(3) + sine * cross + (1 - cosine) * v * v * torch.ones(3, 3)
    return F.pad(turned, (0, 1, 0, 1)) + torch.diag(torch.tensor([0.0, 0.0, 0.0, 1.0]))


def apply_colours(images: Tensor, colours: Tensor) -> Tensor:
    """Apply affine colour maps (N, 4, 4), acting on (R, G, B, 1), to images (N, 3, H, W)."""
    n, channels, height, width = images.shape
    flat = colours[:, :3, :3] @ images.reshape(n, channels, -1) + colours[:, :3, 3:]
    return flat.reshape(n, channels, height, width)


def warp(images: Tensor, inverse: Tensor, taps: Sequence[float] = SYM6) -> Tensor:
    """Transform images by affine maps, sampled at twice the resolution between two wavelet filters.

    Args:
        images: (N, C, H, W).
        inverse: (N, 3, 3), output to source position: pixels from the centre, x right, y down.
        taps: of the filter; their sum is sqrt(2).

    Returns:
        (N, C, H, W). Beyond one reflection the source is 0.
    """
    height, width = images.shape[2:]
    inverse = inverse.to(images)
    length, quarter = len(taps), len(taps) // 4
    left, right, top, bottom = _margins(inverse, height, width, quarter)
    x = F.pad(images, (left, right, top, bottom), mode="reflect")
    row = torch.tensor(taps, dtype=images.dtype, device=images.device)
    x = _upfirdn2d_separable(x, row, up=2, pad=((length + 1) // 2, (length - 2) // 2))
    grid = _sampling_grid(inverse, (height, width), (left, right, top, bottom), quarter, x.shape)
    x = _BilinearSample.apply(x, grid)
    cut = 2 * quarter
    return _upfirdn2d_separable(
        x, row.flip(0), down=2, pad=((length - 1) // 2 - cut, (length - 2) // 2 - cut)
    )


def _margins(inverse: Tensor, height: int, width: int, quarter: int) -> tuple[int, int, int, int]:
    """Largest extent beyond the source that any image of the batch needs: left, right, top, bottom."""
    x, y = (width - 1) / 2, (height - 1) / 2
    corners = torch.tensor([[-x, -y, 1], [x, -y, 1], [x, y, 1], [-x, y, 1]]).to(inverse)
    places = (inverse[:, :2] @ corners.T).transpose(0, 1).flatten(1)
    reach = torch.cat([places.amin(1).neg(), places.amax(1)]) + 2 * quarter
    reach = reach - torch.tensor([x, y, x, y]).to(reach)
    most = (width - 1, height - 1, width - 1, height - 1)
    left, top, right, bottom = (math.ceil(min(max(v, 0.0), m)) for v, m in zip(reach.tolist(), most))
    return left, right, top, bottom


def _sampling_grid(
    inverse: Tensor,
    size: tuple[int, int],
    margins: tuple[int, int, int, int],
    quarter: int,
    doubled: Sequence[int],
) -> Tensor:
    """Position in the upsampled image that each pixel of the canvas reads, in coordinates of `grid_sample`.

    Pixel u of the canvas, in upsampled pixels from its centre, reads 2 G((u + 1/2) / 2) - 1/2 from the centre
    of the image without its margins; the halves put the axis of rotation a quarter source pixel off it.
    """
    (height, width), (left, right, top, bottom) = size, margins
    rows, columns = 2 * (height + 2 * quarter), 2 * (width + 2 * quarter)
    u = (torch.arange(columns).to(inverse) - (columns - 1) / 2 + 0.5) / 2
    v = (torch.arange(rows).to(inverse) - (rows - 1) / 2 + 0.5) / 2
    matrix = inverse[:, :2, :2]
    place = (
        matrix[:, None, None, :, 0] * u[None, None, :, None]
        + matrix[:, None, None, :, 1] * v[None, :, None, None]
        + inverse[:, None, None, :2, 2]
    )
    offset = torch.tensor([left - right, top - bottom]).to(inverse)
    sides = torch.tensor([doubled[3], doubled[2]]).to(inverse)
    return (2 * place - 0.5 + offset) * 2 / sides


def _upfirdn2d_separable(
    x: Tensor, row: Tensor, *, up: int = 1, down: int = 1, pad: tuple[int, int]
) -> Tensor:
    """`upfirdn2d` with an outer product, axis by axis."""
    x = upfirdn2d(x, row[None], (up, 1), (down, 1), (*pad, 0, 0))
    return upfirdn2d(x, row[:, None], (1, up), (1, down), (0, 0, *pad))


class _BilinearSample(torch.autograd.Function):
    """Bilinear sampling that is differentiable any number of times by the image, in which it is linear."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.shape = x.shape
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (grid,) = ctx.saved_tensors
        return _BilinearSampleTranspose.apply(gradient, grid, ctx.shape), None


class _BilinearSampleTranspose(torch.autograd.Function):
    """Transpose of `_BilinearSample`."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        like = gradient.new_empty(1).expand(shape)  # only its shape is used
        gradients = torch.ops.aten.grid_sampler_2d_backward(gradient, like, grid, 0, 0, False, [True, False])
        return gradients[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (grid,) = ctx.saved_tensors
        return _BilinearSample.apply(gradient, grid), None, None


class _BatchRandom:
    """Random numbers for N images of this process, generated on the CPU."""

    def __init__(self, n: int, generator: torch.Generator | None) -> None:
        self.n, self.generator = n, generator

    def bernoulli(self, probability: float) -> Tensor:
        return self._uniform(0) < probability

    def coin_flip(self) -> Tensor:
        return self.integers(2).float()

    def integers(self, end: int) -> Tensor:
        return draw_rows(lambda shape: torch.randint(end, shape, generator=self.generator), (self.n,))

    def normal(self, columns: int = 0) -> Tensor:
        shape = self._shape(columns)
        return draw_rows(lambda shape: torch.randn(shape, generator=self.generator), shape)

    def uniform(self, low: float, high: float, columns: int = 0) -> Tensor:
        return low + (high - low) * self._uniform(columns)

    def _uniform(self, columns: int) -> Tensor:
        shape = self._shape(columns)
        return draw_rows(lambda shape: torch.rand(shape, generator=self.generator), shape)

    def _shape(self, columns: int) -> tuple[int, ...]:
        return (self.n, columns) if columns else (self.n,)


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], 1))


def _rotation(angles: Tensor) -> Tensor:
    zero, one = torch.zeros_like(angles), torch.ones_like(angles)
    cosine, sine = angles.cos(), angles.sin()
    rows = [cosine, -sine, zero, sine, cosine, zero, zero, zero, one]
    return torch.stack(rows, 1).reshape(-1, 3, 3)


def _shift(offsets: Tensor) -> Tensor:
    step = torch.eye(3).repeat(len(offsets), 1, 1)
    step[:, :2, 2] = offsets
    return step
