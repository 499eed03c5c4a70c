"""Sections that the published configurations of the association systems share."""

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["shared_output_size", "solver_sections"]


def solver_sections(
    get: Callable[..., Any], solver: str, milestones: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """Translate the section of the solver to the sections "optimiser" and "schedule".

    Args:
        get: lookup by dotted key, with a default.
        solver: dotted key of the section.
        milestones: published default of the steps at which the learning rate falls.

    Returns:
        Values of the sections "optimiser" and "schedule".
    """
    return {
        "optimiser": {
            "method": get(f"{solver}.optim_method", "sgd"),
            "lr": get(f"{solver}.lr", 0.01),
            "momentum": get(f"{solver}.momentum", 0.9),
            "nesterov": get(f"{solver}.nesterov", False),
            "betas": get(f"{solver}.betas", [0.9, 0.999]),
            "weight_decay": get(f"{solver}.weight_decay", 1e-4),
        },
        "schedule": {
            "milestones": get(f"{solver}.lr_decay_iter", list(milestones)),
            "factor": get(f"{solver}.lr_decay", 0.1),
        },
    }


def shared_output_size(get: Callable[..., Any], branches: Sequence[str]) -> Any:
    """Read the embedding dimension, which both branches must share.

    Raises:
        ConfigError: they differ.
    """
    from voiceface.runtime.config import ConfigError

    sizes = {get(f"{branch}.output_channel", 128) for branch in branches}
    if len(sizes) > 1:
        raise ConfigError(f"both branches need one output_channel, found {sorted(sizes)}")
    return sizes.pop()
