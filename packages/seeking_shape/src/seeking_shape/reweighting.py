"""Identity re-weighting: a moving average of each identity's loss determines its weight.

Training starts with the easier part of the identities, admits the next-easiest ones step by step, and
excludes the hardest ones permanently (docs/seeking_shape.md).
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["IdentityWeights"]


class IdentityWeights(nn.Module):
    """Identity re-weighting: hardness and weight of every training identity.

    Buffers, named as in published checkpoints: `loss_mean` (hardness H, nats) and `weight` (s, 0...1), both
    of shape (C,). The share of active identities follows from `weight`, so a resumed run continues exactly.

    Args:
        num_identities: number of classes C, at least 2.
        update_interval: iterations between updates; None keeps the weights fixed.
        warm_up: iterations before the first update.
        initial_fraction: share of identities that the first update admits, above 0 to 1.
        fraction_step: share of identities that each later update admits, above 0 to 1.
        final_fraction: active share from which on nothing changes.
        decay: factor on all weights at each later update, above 0 to 1.
        momentum: share of the previous hardness, 0 to below 1.
        initial_loss: hardness before the first batch, nats; "chance": that of a classifier at chance level,
            2 ln C.
        identity_names: identity of every class, in class order; stored weights are checked against them.

    Raises:
        ValueError: fewer than two identities, a value out of its range, or not one name per class.
    """

    loss_mean: Tensor
    weight: Tensor

    def __init__(
        self,
        num_identities: int,
        *,
        update_interval: int | None = None,
        warm_up: int = 500,
        initial_fraction: float = 0.5,
        fraction_step: float = 0.024,
        final_fraction: float = 0.9,
        decay: float = 0.99,
        momentum: float = 0.9,
        initial_loss: float | Literal["chance"] = 14.0,
        identity_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if num_identities < 2:
            raise ValueError(f"identity weights need at least 2 identities, found {num_identities}")
        if identity_names is not None and len(identity_names) != num_identities:
            raise ValueError(
                f"one name per identity: found {len(identity_names)} names for {num_identities} identities"
            )
        for name, value in (
            ("initial_fraction", initial_fraction),
            ("fraction_step", fraction_step),
            ("final_fraction", final_fraction),
            ("decay", decay),
        ):
            if not 0 < value <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, found {value:g}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, found {momentum:g}")
        self.update_interval, self.warm_up = update_interval, warm_up
        self.initial_fraction = initial_fraction
        self.fraction_step = fraction_step
        self.final_fraction = final_fraction
        self.decay, self.momentum = decay, momentum
        self.identity_names = None if identity_names is None else tuple(identity_names)
        loss = 2 * math.log(num_identities) if initial_loss == "chance" else initial_loss
        self.register_buffer("loss_mean", torch.full((num_identities,), float(loss)))
        self.register_buffer("weight", torch.ones(num_identities))

    @property
    def active_fraction(self) -> float:
        """Fraction of identities with a weight above zero, 0...1."""
        return int((self.weight > 0).sum()) / len(self.weight)

    def is_due(self, step: int) -> bool:
        """Whether the weights are updated before the forward pass of iteration `step`, counted from 0."""
        interval = self.update_interval
        return interval is not None and step >= self.warm_up and step % interval == 0

    @torch.no_grad()
    def update_hardness(self, labels: Tensor, losses: Tensor) -> None:
        """Update the hardness of the identities in a batch, a moving average of their loss (equation 7).

        Args:
            labels: classes, shape (N,); of one that occurs repeatedly the mean loss counts.
            losses: unweighted classification loss of both modalities, nats, shape (N,).
        """
        losses = losses.detach().to(self.loss_mean.dtype)
        total = torch.zeros_like(self.loss_mean).index_add_(0, labels, losses)
        count = torch.zeros_like(self.loss_mean).index_add_(0, labels, torch.ones_like(losses))
        momentum = self.momentum
        updated = momentum * self.loss_mean + (1 - momentum) * total / count.clamp_min(1)
        self.loss_mean.copy_(torch.where(count > 0, updated, self.loss_mean))

    @torch.no_grad()
    def update(self, step: int) -> bool:
        """Update the weights if iteration `step` is due; call it before the forward pass.

        Ties in hardness are decided by class index. Nothing changes once `final_fraction` is reached.

        Returns:
            Whether an update was due.
        """
        if not self.is_due(step):
            return False
        if self._is_first_update(step):
            self.weight.zero_()
            self.weight[self._select_easiest(self.initial_fraction)] = 1
        elif self.active_fraction < self.final_fraction:
            admitted = self._select_easiest(self.fraction_step)
            self.weight.mul_(self.decay)
            self.weight[admitted] = 1
        return True

    def batch_weights(self, labels: Tensor) -> Tensor:
        """Compute the weights of a batch, scaled to a mean of one over all identities.

        Args:
            labels: classes of the complete batch (of all processes), shape (N,).

        Returns:
            Shape (N,), no gradient; one is added to all if their sum is below 1e-3 (no identity is active).
        """
        weights = self.weight[labels] * (len(self.weight) / self.weight.sum())
        return weights + (weights.sum() < 1e-3)

    def _is_first_update(self, step: int) -> bool:
        """Whether this is the first update: by the iteration, or because all weights are still one.

        Without decay, all weights are also one once all identities are admitted: the iteration decides.
        """
        interval = self.update_interval
        assert interval is not None  # an update was due
        first = -(-self.warm_up // interval) * interval
        return step <= first or (self.decay < 1 and bool((self.weight == 1).all()))

    def _select_easiest(self, fraction: float) -> Tensor:
        """Select the easiest classes of weight zero (at first, of all): a fraction of C, at least one."""
        num_identities = len(self.weight)
        candidates = (self.weight == 0).nonzero().flatten()
        order = torch.argsort(self.loss_mean[candidates], stable=True)
        return candidates[order[: max(1, int(fraction * num_identities))]]
