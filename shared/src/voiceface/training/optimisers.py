"""Optimisers and learning-rate schedules from their configuration."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from voiceface.training.lr_schedules import cosine_warmup, step_decay

if TYPE_CHECKING:
    import torch

    from voiceface.training.settings import OptimiserConfig, ScheduleConfig

__all__ = ["build_lr_schedule", "build_optimiser"]


def build_optimiser(
    config: "OptimiserConfig", groups: "Iterable[Mapping[str, Any]]", *, fused: bool = False
) -> "torch.optim.Optimizer":
    """Build the configured optimiser; weight decay applies to every parameter, as published.

    Args:
        config: method and its hyperparameters.
        groups: parameter groups, as `torch.optim` takes them.
        fused: Adam and AdamW update all parameters in one pass through memory; rounding differs.
    """
    import torch

    parameter_groups = [dict(group) for group in groups]
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.method == "sgd":
        return torch.optim.SGD(parameter_groups, momentum=config.momentum, nesterov=config.nesterov, **common)
    if config.method == "adagrad":
        return torch.optim.Adagrad(parameter_groups, **common)
    adam = torch.optim.AdamW if config.method == "adamw" else torch.optim.Adam
    return adam(parameter_groups, betas=config.betas, fused=fused or None, **common)


def build_lr_schedule(schedule: "ScheduleConfig", lr: float, steps: int) -> Callable[[int], float]:
    """Build the learning-rate schedule: iteration (from 0) -> learning rate of its step.

    Args:
        schedule: kind and its hyperparameters.
        lr: the optimiser's learning rate, above 0.
        steps: iterations of the run.
    """
    if schedule.kind == "cosine":
        return cosine_warmup(lr, steps, schedule.warm_up)
    decayed = step_decay(lr, schedule.milestones, schedule.factor)
    return lambda step: decayed(step) * min(1.0, (step + 1) / (schedule.warm_up + 1))
