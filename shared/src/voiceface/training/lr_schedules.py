"""Learning-rate schedules as functions of the iteration, so that a resumed run needs no schedule state."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.optim import Optimizer

__all__ = ["cosine_warmup", "cosine_warmup_cycles", "set_learning_rate", "step_decay"]


def step_decay(lr: float, milestones: Sequence[int], factor: float) -> Callable[[int], float]:
    """Piecewise constant schedule: after iteration ``milestones[i]`` the rate is ``lr * factor**(i + 1)``.

    Args:
        lr: initial learning rate, above 0.
        milestones: iterations counted from 0, ascending; a milestone itself still uses the old rate.
        factor: multiplies the rate at each milestone.

    Returns:
        Iteration (from 0) -> rate of its step.

    Raises:
        ValueError: the milestones do not ascend.

    Example:
        >>> rate = step_decay(0.1, [2], 0.5)
        >>> [rate(iteration) for iteration in range(5)]
        [0.1, 0.1, 0.1, 0.05, 0.05]
    """
    if any(later <= earlier for earlier, later in pairwise(milestones)):
        raise ValueError(f"learning-rate milestones {list(milestones)} do not ascend")
    return lambda iteration: lr * factor ** sum(milestone < iteration for milestone in milestones)


def cosine_warmup(
    lr: float, max_steps: int, warmup_steps: int = 0, final_lr: float = 0.0
) -> Callable[[int], float]:
    """Linear warm-up followed by half a cosine.

    Args:
        lr: peak learning rate, reached in iteration `warmup_steps`.
        max_steps: iterations of the run; iteration `max_steps`, one past the last, would have `final_lr`.
        warmup_steps: iterations of the warm-up; the first one uses ``lr / (warmup_steps + 1)``.
        final_lr: learning rate at the end.

    Returns:
        Iteration (from 0) -> rate of its step.

    Raises:
        ValueError: the warm-up does not end before the run.

    Example:
        >>> rate = cosine_warmup(1.0, 4, 2)
        >>> [round(rate(iteration), 3) for iteration in range(5)]
        [0.333, 0.667, 1.0, 0.5, 0.0]
    """
    if not 0 <= warmup_steps < max_steps:
        raise ValueError(
            f"a warm-up of {warmup_steps} iterations does not fit into {max_steps}; expected "
            f"0..{max_steps - 1}"
        )

    def rate(iteration: int) -> float:
        if iteration < warmup_steps:
            return lr * (iteration + 1) / (warmup_steps + 1)
        progress = min(1.0, (iteration - warmup_steps) / (max_steps - warmup_steps))
        return final_lr + (lr - final_lr) * (1 + math.cos(math.pi * progress)) / 2

    return rate


def cosine_warmup_cycles(
    max_lr: float, min_lr: float, cycle_steps: int, warmup_steps: int
) -> Callable[[int], float]:
    """Repeated cycles of linear warm-up and half a cosine, as published for CMPC.

    Step `cycle_steps` is step 0 of the next, identical cycle.

    Args:
        max_lr: learning rate at step `warmup_steps`.
        min_lr: learning rate at step 0; the end of a cycle approaches it.
        cycle_steps: steps of one cycle.
        warmup_steps: steps of the warm-up, fewer than `cycle_steps`.

    Returns:
        Step (from 0) -> learning rate.

    Raises:
        ValueError: the warm-up does not end before the cycle.
    """
    if not 0 <= warmup_steps < cycle_steps:
        raise ValueError(f"a warm-up of {warmup_steps} steps does not fit into a cycle of {cycle_steps}")

    def rate(step: int) -> float:
        position = step % cycle_steps
        if position < warmup_steps:
            return min_lr + (max_lr - min_lr) * position / warmup_steps
        progress = (position - warmup_steps) / (cycle_steps - warmup_steps)
        return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2

    return rate


def set_learning_rate(optimiser: "Optimizer", lr: float) -> None:
    """Set the learning rate of every parameter group to `lr` times the group's ``lr_scale`` (default: 1)."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
