"""Loss and gradients of FOP in training, written out for one process on a CPU.

Numbers are those of the layers and of automatic differentiation, up to rounding. Matrices of this model are
small (128 x 128): a graph of layers, its bookkeeping and memory for what lies between cost as much as the
products with the features, which alone need 4 N (Dv + Df) D operations for a batch of N.

Saeed et al., "Fusion and Orthogonal Projection for Improved Face-Voice Association" (ICASSP 2022).
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from fop.losses import EPSILON
from fop.model import FopModel, GatedFusion
from fop.objectives.fop import FopObjective

if TYPE_CHECKING:
    from voiceface.training.run import Run

    from fop.objectives.objective import Objective

__all__ = ["FusedStep", "build_fused_step"]

sigmoid_backward = torch.ops.aten.sigmoid_backward
tanh_backward = torch.ops.aten.tanh_backward
threshold_backward = torch.ops.aten.threshold_backward
SHORTEST = 1e-12  # length below which `torch.nn.functional.normalize` does not divide by it


def build_fused_step(run: "Run", model: FopModel, objective: "Objective") -> "FusedStep | None":
    """Build the step of a run; None where layers and automatic differentiation are needed.

    It replaces them for the objective fop on published branches, in one process on a CPU, unless precision is
    mixed.
    """
    published = model.config.branch == "relu" and model.config.space == "shared"
    plain = run.precision == "float32" and run.world_size == 1 and run.device.type == "cpu"
    return (
        FusedStep(model, objective) if published and plain and isinstance(objective, FopObjective) else None
    )


class _Normalised(NamedTuple):
    """Rows (N, ..., D) of mean 0 and variance 1, and 1 / standard deviation before that (..., D)."""

    rows: Tensor
    inverse: Tensor


class FusedStep:
    """Computes the losses of a batch and writes the gradients of all parameters of a model.

    Args:
        model: with published branches. Its parameters get gradients that are used again in every batch.
        objective: of the model.
    """

    def __init__(self, model: FopModel, objective: FopObjective) -> None:
        self.objective = objective
        layers: Any = [model.face_branch.fc1, model.voice_branch.fc1]
        self.linear = [each[0] for each in layers]
        self.norms = [each[1] for each in layers]
        self.dropout = layers[0][3]
        self.logits: Any = model.logits_layer
        self.fusion: Any = model.fusion_layer
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)

    @torch.no_grad()
    def __call__(self, face: Tensor, voice: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Process a batch of two pairs or more.

        Args:
            face: features (N, Df).
            voice: features (N, Dv); row i of both is one person.
            labels: class of every pair, int64 (N,).

        Returns:
            "loss", "cross_entropy" and "projection", as `fop.objectives.fop.FopObjective`.
        """
        features = (face, voice)
        rows = face.new_empty(len(face), 2, self.linear[0].out_features)
        for each, layer, out in zip(features, self.linear, rows.unbind(1)):
            torch.addmm(layer.bias, each, layer.weight.t(), out=out)
        scale, shift = (
            torch.stack([getattr(norm, name) for norm in self.norms]) for name in ("weight", "bias")
        )
        normalised = _normalise(rows, *self.norms)
        unit = torch.addcmul(shift, normalised.rows, scale).relu_()
        factor = 1.0
        if self.dropout.p:
            # As drawn by one branch after the other. The factor of what is kept goes into the length.
            kept = torch.rand(2, len(face), rows.shape[2]).ge_(self.dropout.p).to(unit.dtype)
            unit.mul_(kept.transpose(0, 1))
            factor = 1 / (1 - self.dropout.p)
        length = torch.linalg.vector_norm(unit, dim=2, keepdim=True).clamp_min_(SHORTEST / factor)
        unit.div_(length)

        fuse = self._gated if isinstance(self.fusion, GatedFusion) else self._linear
        gradient, losses = fuse(unit, labels)

        along = torch.linalg.vecdot(gradient, unit, dim=2)[..., None]
        gradient.addcmul_(unit, along, value=-1).div_(length)
        gradient = threshold_backward(gradient, unit, 0)  # zero where ReLU or dropout gave zero
        of_scale, of_shift = _normalise_backward(gradient, normalised, scale)
        for index, (layer, norm) in enumerate(zip(self.linear, self.norms)):
            norm.weight.grad.copy_(of_scale[index])
            norm.bias.grad.copy_(of_shift[index])
            torch.mm(gradient[:, index].t(), features[index], out=layer.weight.grad)
        return losses

    def _gated(self, unit: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Gated fusion of unit embeddings (N, 2, D): their gradient, and the losses."""
        hidden_layer, norm, _ = self.fusion.attention[0].block
        last = self.fusion.attention[1]
        both = unit.flatten(1)
        normalised = _normalise(torch.addmm(hidden_layer.bias, both, hidden_layer.weight.t()), norm)
        hidden = torch.addcmul(norm.bias, normalised.rows, norm.weight).relu_()
        share = torch.addmm(last.bias, hidden, last.weight.t()).sigmoid_()
        compared = unit.tanh()
        difference = compared[:, 0] - compared[:, 1]
        of_fused, losses = self._classify(torch.addcmul(compared[:, 1], difference, share), labels)

        gradient = torch.empty_like(unit)
        torch.mul(of_fused, share, out=gradient[:, 0])
        torch.sub(of_fused, gradient[:, 0], out=gradient[:, 1])
        gradient = tanh_backward(gradient, compared)
        of_share = sigmoid_backward(difference.mul_(of_fused), share)
        torch.mm(of_share.t(), hidden, out=last.weight.grad)
        torch.sum(of_share, 0, out=last.bias.grad)
        of_rows = threshold_backward(torch.mm(of_share, last.weight), hidden, 0)
        of_scale, of_shift = _normalise_backward(of_rows, normalised, norm.weight)
        norm.weight.grad.copy_(of_scale)
        norm.bias.grad.copy_(of_shift)
        torch.mm(of_rows.t(), both, out=hidden_layer.weight.grad)
        gradient.flatten(1).addmm_(of_rows, hidden_layer.weight)
        return gradient, losses

    def _linear(self, unit: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Linear fusion of unit embeddings (N, 2, D): their gradient, and the losses."""
        weights = (self.fusion.weight1, self.fusion.weight2)
        face, voice = unit.unbind(1)
        of_fused, losses = self._classify(weights[0] * face + weights[1] * voice, labels)
        for weight, each in zip(weights, (face, voice)):
            weight.grad.copy_((of_fused * each).sum())
        return torch.stack([of_fused * weight for weight in weights], dim=1), losses

    def _classify(self, fused: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Classifier and projection loss of fused embeddings (N, D): their gradient, and the losses."""
        layer, alpha = self.logits, self.objective.alpha
        log_shares = torch.addmm(layer.bias, fused, layer.weight.t()).log_softmax(1)
        chosen = labels[:, None]
        entropy = log_shares.gather(1, chosen).mean().neg_()
        gradient = log_shares.exp_().scatter_add_(
            1, chosen, fused.new_full((1, 1), -1.0).expand(len(labels), 1)
        )
        gradient.div_(len(labels))
        torch.mm(gradient.t(), fused, out=layer.weight.grad)
        torch.sum(gradient, 0, out=layer.bias.grad)
        projection, of_projection = _project(fused, labels, self.objective.config.other_weight)
        of_fused = torch.addmm(of_projection, gradient, layer.weight, beta=alpha)
        losses = {"loss": entropy + alpha * projection, "cross_entropy": entropy, "projection": projection}
        return of_fused, losses


def _project(features: Tensor, labels: Tensor, other_weight: float) -> tuple[Tensor, Tensor]:
    """Compute `fop.losses.orthogonal_projection_loss` of features (N, D), and its gradient (N, D)."""
    length = torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp_min_(SHORTEST)
    unit = features / length
    cosine = unit @ unit.t()
    equal = (labels[:, None] == labels).to(cosine.dtype)
    count = equal.sum()
    same = count - len(labels) + EPSILON  # ordered pairs of different rows
    other = labels.numel() ** 2 - count + EPSILON
    # Weight of every cosine in the loss; a row with itself has none.
    weights = cosine.sign().mul_(1 - equal).mul_(other_weight / other)
    weights.sub_(equal.fill_diagonal_(0).div_(same))
    loss = (weights * cosine).sum() + 1
    gradient = weights.mm(unit).mul_(2)
    along = torch.linalg.vecdot(gradient, unit, dim=1)[:, None]
    return loss, gradient.addcmul_(unit, along, value=-1).div_(length)


def _normalise(rows: Tensor, *norms: Any) -> _Normalised:
    """Normalise rows (N, D) of one batch norm, or (N, K, D) of K, in place; update running statistics."""
    count, shape = len(rows), (len(norms), rows.shape[-1])
    mean = rows.mean(0)
    rows.sub_(mean)
    variance = (rows * rows).mean(0)
    for norm, each_mean, each_variance in zip(norms, mean.view(shape), variance.view(shape)):
        norm.running_mean.lerp_(each_mean, norm.momentum)
        norm.running_var.lerp_(each_variance * (count / (count - 1)), norm.momentum)
        norm.num_batches_tracked.add_(1)
    inverse = variance.add_(norms[0].eps).rsqrt_()
    return _Normalised(rows.mul_(inverse), inverse)


def _normalise_backward(gradient: Tensor, normalised: _Normalised, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Turn the gradient (N, ..., D) of a batch norm's result into that of its rows, in place.

    Returns:
        Gradients of its weight and bias, (..., D).
    """
    count = len(gradient)
    of_scale = (gradient * normalised.rows).sum(0)
    of_shift = gradient.sum(0)
    gradient.addcmul_(normalised.rows, of_scale, value=-1 / count).sub_(of_shift / count)
    gradient.mul_(normalised.inverse * scale)
    return of_scale, of_shift
