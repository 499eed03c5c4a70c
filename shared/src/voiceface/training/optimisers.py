"""Optimisers and learning-rate schedules from their configuration."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from voiceface.association.config import AssociationConfig


def make_optimiser(
    config: "AssociationConfig", groups: "Iterable[Mapping[str, Any]]"
) -> "torch.optim.Optimizer":
    """The configured optimiser over groups of parameters, weight decay on everything (as published)."""
    import torch

    chosen = config.optimiser
    given = [dict(group) for group in groups]
    common: dict[str, Any] = {"lr": chosen.lr, "weight_decay": chosen.weight_decay}
    if chosen.method == "sgd":
        return torch.optim.SGD(given, momentum=chosen.momentum, nesterov=chosen.nesterov, **common)
    if chosen.method == "adagrad":
        return torch.optim.Adagrad(given, **common)
    kind = torch.optim.AdamW if chosen.method == "adamw" else torch.optim.Adam
    return kind(given, betas=chosen.betas, **common)


def make_schedule(config: "AssociationConfig") -> Callable[[int], float]:
    """Iteration (from 0) -> learning rate of its step."""
    from voiceface.training.lr_schedules import cosine_warmup, step_decay

    schedule, lr = config.schedule, config.optimiser.lr
    if schedule.kind == "cosine":
        return cosine_warmup(lr, config.training.max_iter, schedule.warm_up)
    decayed = step_decay(lr, schedule.milestones, schedule.factor)
    return lambda step: decayed(step) * min(1.0, (step + 1) / (schedule.warm_up + 1))
