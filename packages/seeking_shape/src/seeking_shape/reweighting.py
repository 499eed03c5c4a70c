"""Identity weights: a moving average of each identity's loss decides which identities count.

Training begins with the easier part of the identities, admits the next-easiest step by step, and leaves the
hardest ones out for good (docs/seeking_shape.md).
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn


class IdentityWeights(nn.Module):
    """Hardness and weight of every training identity.

    Buffers, named as in published checkpoints: `loss_mean` (hardness H, nats) and `weight` (s, 0...1), both
    of shape (C,). The share of active identities follows from `weight`: a resumed run goes on from there.

    Args:
        num_identities: number of classes C, at least 2.
        update_interval: iterations between updates; None keeps the weights fixed.
        warm_up: iterations before the first update.
        initial_fraction: share of identities that the first update admits, above 0 to 1.
        fraction_step: share of identities that each later update admits, above 0 to 1.
        final_fraction: from this active share on nothing changes.
        decay: factor on all weights at each later update, above 0 to 1.
        momentum: share of the old hardness that is kept, 0 to below 1.
        initial_loss: hardness before any loss was seen, nats; "chance": that of a classifier at chance level,
            2 ln C.
        identity_names: identity of every class, in class order; kept to check weight files against.

    Raises:
        ValueError: fewer than two identities, a number out of its range, or not one name per class.
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
        for name, share in (
            ("initial_fraction", initial_fraction),
            ("fraction_step", fraction_step),
            ("final_fraction", final_fraction),
            ("decay", decay),
        ):
            if not 0 < share <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, found {share:g}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, found {momentum:g}")
        self.update_interval, self.warm_up = update_interval, warm_up
        self.initial_fraction, self.fraction_step, self.final_fraction = (
            initial_fraction,
            fraction_step,
            final_fraction,
        )
        self.decay, self.momentum = decay, momentum
        self.identity_names = None if identity_names is None else tuple(identity_names)
        start = 2 * math.log(num_identities) if initial_loss == "chance" else initial_loss
        self.register_buffer("loss_mean", torch.full((num_identities,), float(start)))
        self.register_buffer("weight", torch.ones(num_identities))

    @property
    def active_fraction(self) -> float:
        """Share of identities with a weight above zero, 0...1."""
        return int((self.weight > 0).sum()) / len(self.weight)

    def is_due(self, step: int) -> bool:
        """Whether an update belongs before the forward pass of 0-based iteration `step`."""
        period = self.update_interval
        return period is not None and step >= self.warm_up and step % period == 0

    @torch.no_grad()
    def update_hardness(self, labels: Tensor, losses: Tensor) -> None:
        """Move the hardness of the batch's identities towards their present loss.

        Args:
            labels: classes, shape (N,); where one occurs repeatedly its mean loss counts.
            losses: unweighted classification loss of both modalities, nats, shape (N,).
        """
        losses = losses.detach().to(self.loss_mean.dtype)
        total = torch.zeros_like(self.loss_mean).index_add_(0, labels, losses)
        count = torch.zeros_like(self.loss_mean).index_add_(0, labels, torch.ones_like(losses))
        keep = self.momentum
        moved = keep * self.loss_mean + (1 - keep) * total / count.clamp_min(1)
        self.loss_mean.copy_(torch.where(count > 0, moved, self.loss_mean))

    @torch.no_grad()
    def update(self, step: int) -> bool:
        """Change the weights if iteration `step` is due for it; call it before the forward pass.

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
        """Weights of a batch, scaled to a mean of one over all identities.

        Args:
            labels: classes of the whole batch (of all processes), shape (N,).

        Returns:
            Shape (N,), no gradient; all raised by one when they sum to less than 1e-3 (nobody is active).
        """
        chosen = self.weight[labels] * (len(self.weight) / self.weight.sum())
        return chosen + (chosen.sum() < 1e-3)

    def _is_first_update(self, step: int) -> bool:
        """Whether this is the first update: by the iteration, or all weights still being one.

        Without decay all ones may also mean that everybody was admitted, so only the iteration tells.
        """
        period = self.update_interval
        assert period is not None  # an update was due
        first = -(-self.warm_up // period) * period
        return step <= first or (self.decay < 1 and bool((self.weight == 1).all()))

    def _select_easiest(self, fraction: float) -> Tensor:
        """Classes of least hardness among those of weight zero (at first, all), at least one of them."""
        identities = len(self.weight)
        candidates = (self.weight == 0).nonzero().flatten()
        order = torch.argsort(self.loss_mean[candidates], stable=True)
        return candidates[order[: max(1, int(fraction * identities))]]
