"""Layers of FOP in training as single operations with hand-written gradients, for small batches on a CPU.

Numbers are those of the layers one by one, up to rounding. With the small matrices of this model (128 x 128)
the calls, and memory for what lies between, cost as much as the matrix products with the features.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm
from voiceface.runtime import distributed

__all__ = ["GlobalMask", "can_fuse", "feature_branch", "gated_fusion", "projection_loss"]

SHORTEST = 1e-12  # length below which `torch.nn.functional.normalize` does not divide by it
aten = torch.ops.aten


class GlobalMask(nn.Module):
    """Dropout whose mask is drawn for the rows of all processes, from one uniform number per element.

    Args:
        p: probability of a zero, 0 or more and below 1.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def draw(self, rows: Tensor) -> Tensor | None:
        """Mask of `rows` (B, D), 0 or 1 / (1 - p); None where nothing is dropped."""
        if not self.training or self.p == 0:
            return None
        count, first = len(rows), distributed.rank() * len(rows)
        shape = (count * distributed.world_size(), rows.shape[1])
        kept = torch.rand(shape, device=rows.device)[first : first + count] >= self.p
        return kept.to(rows.dtype).mul_(1 / (1 - self.p))

    def forward(self, rows: Tensor) -> Tensor:
        """Map (B, D) to (B, D)."""
        mask = self.draw(rows)
        return rows if mask is None else rows * mask

    def extra_repr(self) -> str:
        """Describe the layer."""
        return f"p={self.p}"


def can_fuse(rows: Tensor, norm: _BatchNorm) -> bool:
    """Whether the operations of this module replace the layers: training of one process on a CPU."""
    return (
        norm.training
        and torch.is_grad_enabled()
        and rows.device.type == "cpu"
        and len(rows) > 1
        and norm.momentum is not None
        and distributed.world_size() == 1
        and not torch.is_autocast_enabled("cpu")
    )


def feature_branch(rows: Tensor, linear: nn.Linear, norm: _BatchNorm, dropout: GlobalMask) -> Tensor:
    """Linear layer, batch norm, ReLU, dropout, unit length: (B, F) to (B, D), without gradient for `rows`."""
    return _Branch.apply(rows, linear.weight, linear.bias, *_count(norm), dropout)


def gated_fusion(
    face: Tensor, voice: Tensor, hidden: nn.Linear, norm: _BatchNorm, last: nn.Linear
) -> tuple[Tensor, Tensor, Tensor]:
    """Fuse unit embeddings (B, D) as `fop.model.GatedFusion`: fused, tanh of the face, tanh of the voice."""
    layers = (hidden.weight, hidden.bias, *_count(norm), last.weight, last.bias)
    return _Gate.apply(face, voice, *layers)


def projection_loss(features: Tensor, labels: Tensor, other_weight: float, epsilon: float) -> Tensor:
    """Compute `fop.losses.orthogonal_projection_loss` and, with it, its gradient."""
    return _Projection.apply(features, labels, other_weight, epsilon)


def _count(norm: _BatchNorm) -> tuple[Tensor, Tensor, _BatchNorm]:
    """Count a batch, as the layer does."""
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    return norm.weight, norm.bias, norm


def _normalise(rows: Tensor, weight: Tensor, bias: Tensor, norm: _BatchNorm) -> Any:
    """Batch norm: result, mean, reciprocal deviation; running statistics are updated."""
    momentum, eps = norm.momentum, norm.eps
    return aten.native_batch_norm(
        rows, weight, bias, norm.running_mean, norm.running_var, True, momentum, eps
    )


def _normalise_backward(gradient: Tensor, rows: Tensor, saved: tuple[Tensor, ...], eps: float) -> Any:
    """Gradients of rows, weight and bias of a batch norm; `saved`: weight, mean, reciprocal deviation."""
    weight, mean, inverse = saved
    wanted = [True, True, True]
    return aten.native_batch_norm_backward(
        gradient, rows, weight, None, None, mean, inverse, True, eps, wanted
    )


class _Branch(Function):
    @staticmethod
    def forward(
        context: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor,
        shift: Tensor,
        norm: _BatchNorm,
        dropout: GlobalMask,
    ) -> Tensor:
        rows = torch.addmm(bias, features, weight.t())
        embedding, mean, inverse = _normalise(rows, scale, shift, norm)
        embedding.relu_()
        mask = dropout.draw(embedding)
        if mask is not None:
            embedding.mul_(mask)
        length = torch.linalg.vector_norm(embedding, dim=1, keepdim=True).clamp_min_(SHORTEST)
        unit = embedding.div_(length)
        context.save_for_backward(features, rows, scale, mean, inverse, unit, length)
        context.eps, context.factor = norm.eps, 1 if mask is None else 1 / (1 - dropout.p)
        return unit

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, rows, scale, mean, inverse, unit, length = context.saved_tensors
        along = torch.linalg.vecdot(gradient, unit, dim=1)[:, None]
        gradient = torch.addcmul(gradient, unit, along, value=-1).mul_(context.factor / length)
        gradient = aten.threshold_backward(gradient, unit, 0)  # zero where ReLU or dropout gave zero
        gradient, of_scale, of_shift = _normalise_backward(
            gradient, rows, (scale, mean, inverse), context.eps
        )
        of_weight, of_bias = gradient.t().mm(features), gradient.sum(0)
        return None, of_weight, of_bias, of_scale, of_shift, None, None


class _Gate(Function):
    @staticmethod
    def forward(
        context: Any,
        face: Tensor,
        voice: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor,
        shift: Tensor,
        norm: _BatchNorm,
        last_weight: Tensor,
        last_bias: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        both = torch.cat([face, voice], dim=1)
        rows = torch.addmm(bias, both, weight.t())
        hidden, mean, inverse = _normalise(rows, scale, shift, norm)
        hidden.relu_()
        share = torch.addmm(last_bias, hidden, last_weight.t()).sigmoid_()
        face, voice = both.tanh().chunk(2, dim=1)
        face, voice = face.contiguous(), voice.contiguous()
        context.save_for_backward(
            both, weight, rows, scale, mean, inverse, hidden, share, last_weight, face, voice
        )
        context.eps = norm.eps
        return torch.lerp(voice, face, share), face, voice

    @staticmethod
    @once_differentiable
    def backward(context: Any, fused: Tensor, face: Tensor, voice: Tensor) -> tuple[Tensor | None, ...]:
        both, weight, rows, scale, mean, inverse, hidden, share, last_weight, f, v = context.saved_tensors
        of_face = fused * share
        of_voice = fused - of_face + voice
        of_face += face
        of_share = aten.sigmoid_backward(fused * (f - v), share)
        of_last_weight, of_last_bias = of_share.t().mm(hidden), of_share.sum(0)
        gradient = aten.threshold_backward(of_share.mm(last_weight), hidden, 0)
        gradient, of_scale, of_shift = _normalise_backward(
            gradient, rows, (scale, mean, inverse), context.eps
        )
        of_weight, of_bias = gradient.t().mm(both), gradient.sum(0)
        of_both = gradient.mm(weight)
        size = f.shape[1]
        of_face = aten.tanh_backward(of_face, f).add_(of_both[:, :size])
        of_voice = aten.tanh_backward(of_voice, v).add_(of_both[:, size:])
        layers = (of_weight, of_bias, of_scale, of_shift, None, of_last_weight, of_last_bias)
        return of_face, of_voice, *layers


class _Projection(Function):
    @staticmethod
    def forward(
        context: Any, features: Tensor, labels: Tensor, other_weight: float, epsilon: float
    ) -> Tensor:
        length = torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp_min_(SHORTEST)
        unit = features / length
        cosine = unit @ unit.t()
        equal = (labels[:, None] == labels).to(cosine.dtype)
        count = equal.sum()
        same = count - len(labels) + epsilon  # ordered pairs of different rows
        other = labels.numel() ** 2 - count + epsilon
        # Weight of every cosine in the loss; a row with itself has none.
        weights = cosine.sign().mul_(1 - equal).mul_(other_weight / other)
        weights.sub_(equal.fill_diagonal_(0).div_(same))
        loss = (weights * cosine).sum() + 1
        gradient = weights.mm(unit).mul_(2)
        along = torch.linalg.vecdot(gradient, unit, dim=1)[:, None]
        context.save_for_backward(gradient.addcmul_(unit, along, value=-1).div_(length))
        return loss

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (saved,) = context.saved_tensors
        return saved * gradient, None, None, None
