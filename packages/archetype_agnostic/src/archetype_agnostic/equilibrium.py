"""Instance equilibrium: identities that are somewhat harder than average get the largest weights.

Every iteration counts how many negatives each voice ranks below its own face; at intervals, the hit rates
become weights of the re-gauging terms (docs/archetype_agnostic.md).
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["MIN_RATE_SPREAD", "Equilibrium", "HitCounting", "Normalisation"]

MIN_RATE_SPREAD = 1e-9  # standard deviation of rates that are equal up to rounding
HitCounting = Literal["always", "last_window", "never"]
Normalisation = Literal["none", "mean_one"]


class Equilibrium(nn.Module):
    """Instance equilibrium: hit counters and weight of every training identity.

    Buffers, named as in published checkpoints, all of shape (C,): `corr_num` (hits since the last refresh),
    `compare_sum` (comparisons since then) and `weight` (1 before the first refresh).

    Args:
        num_identities: number of classes C, at least 1.
        update_interval: iterations between refreshes; None: never.
        warm_up: no refresh before this iteration.
        hit_counting: "always" counts from the first iteration on; "last_window" counts only the
            `update_interval` iterations before each refresh; "never" reproduces the published code, which
            never calls its counting (its weights stay one).
        normalise: "none" keeps the density (as published; it rises as the spread of the rates falls);
            "mean_one" scales the refreshed weights to a mean of one.
        identity_names: identity of every class, in class order.

    Raises:
        ValueError: no identity, unknown options, or not one name per class.
    """

    corr_num: Tensor
    compare_sum: Tensor
    weight: Tensor

    def __init__(
        self,
        num_identities: int,
        *,
        update_interval: int | None = 920,
        warm_up: int = 6440,
        hit_counting: HitCounting = "always",
        normalise: Normalisation = "none",
        identity_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if num_identities < 1:
            raise ValueError(f"expected at least one training identity, found {num_identities}")
        if hit_counting not in ("always", "last_window", "never"):
            raise ValueError(
                f"hit_counting must be 'always', 'last_window' or 'never', found {hit_counting!r}"
            )
        if normalise not in ("none", "mean_one"):
            raise ValueError(f"normalise must be 'none' or 'mean_one', found {normalise!r}")
        if identity_names is not None and len(identity_names) != num_identities:
            raise ValueError(
                f"one name per identity: found {len(identity_names)} names for {num_identities} identities"
            )
        self.update_interval = update_interval
        self.warm_up = warm_up
        self.hit_counting = hit_counting
        self.normalise = normalise
        self.identity_names = None if identity_names is None else tuple(identity_names)
        self.register_buffer("corr_num", torch.zeros(num_identities))
        self.register_buffer("compare_sum", torch.zeros(num_identities))
        self.register_buffer("weight", torch.ones(num_identities))

    def is_due(self, step: int) -> bool:
        """Whether the weights are refreshed before the forward pass of iteration `step`, counted from 0."""
        interval = self.update_interval
        return interval is not None and step >= self.warm_up and step % interval == 0

    def is_counting(self, step: int) -> bool:
        """Whether the hits of iteration `step` are counted."""
        if self.hit_counting != "last_window" or self.update_interval is None:
            return self.hit_counting != "never"
        first_refresh = -(-self.warm_up // self.update_interval) * self.update_interval
        return step >= first_refresh - self.update_interval

    @torch.no_grad()
    def add_counts(self, labels: Tensor, hits: Tensor, comparisons: Tensor) -> None:
        """Add the counts of a batch; an identity that occurs repeatedly is counted every time.

        Args:
            labels: classes, shape (B,).
            hits: negatives ranked below the positive, shape (B,).
            comparisons: number of negatives, shape (B,).
        """
        self.corr_num.index_add_(0, labels, hits.to(self.corr_num.dtype))
        self.compare_sum.index_add_(0, labels, comparisons.to(self.compare_sum.dtype))

    @torch.no_grad()
    def refresh(self) -> None:
        """Compute the weights from the counts, and reset the counts.

        With rate r of each identity, and mean m and standard deviation s (n - 1) of all rates, the weight is
        the density of N(m - s, s) at r. Identities without comparisons keep their weight and are excluded
        from m and s. If fewer than two identities have comparisons, or all rates are equal, no weight
        changes.
        """
        compared = self.compare_sum > 0
        count = compared.sum()
        rate = torch.where(compared, self.corr_num.double() / self.compare_sum, 0.0)
        mean = rate.sum() / count
        squares = torch.where(compared, (rate - mean).square(), 0.0)
        spread = (squares.sum() / (count - 1)).sqrt()
        density = torch.exp(-0.5 * ((rate - mean) / spread + 1).square()) / (spread * math.sqrt(2 * math.pi))
        if self.normalise == "mean_one":
            density = density * (count / torch.where(compared, density, 0.0).sum())
        if count >= 2 and spread > MIN_RATE_SPREAD:
            self.weight.copy_(torch.where(compared, density.to(self.weight.dtype), self.weight))
        self.corr_num.zero_()
        self.compare_sum.zero_()

    def update(self, step: int) -> bool:
        """Refresh the weights if iteration `step` is due; call it before the forward pass.

        Returns:
            Whether a refresh was due.
        """
        if not self.is_due(step):
            return False
        self.refresh()
        return True

    def batch_weights(self, labels: Tensor) -> Tensor:
        """Look up the weights of a batch, shape (B,), no gradient."""
        return self.weight[labels]
