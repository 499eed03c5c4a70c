"""Learning rates as plain functions of the iteration, so that a resumed run needs no schedule state."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.optim import Optimizer


def step_decay(lr: float, milestones: Sequence[int], factor: float) -> Callable[[int], float]:
    """Constant pieces: after the step of iteration ``milestones[i]`` the rate is ``lr * factor**(i + 1)``.

    Args:
        lr: rate at the start, above 0.
        milestones: iterations counted from 0, ascending; the step of that iteration still uses the old rate.
        factor: what each milestone multiplies the rate by.

    Returns:
        Iteration (from 0) -> rate of its step.

    Raises:
        ValueError: the milestones do not ascend.
    """
    if any(later <= earlier for earlier, later in pairwise(milestones)):
        raise ValueError(f"learning rate milestones {list(milestones)} do not ascend")
    return lambda iteration: lr * factor ** sum(milestone < iteration for milestone in milestones)


def cosine_warmup(
    lr: float, max_steps: int, warmup_steps: int = 0, final_lr: float = 0.0
) -> Callable[[int], float]:
    """Rate that rises linearly and then falls along half a cosine.

    Args:
        lr: the highest rate, reached in iteration `warmup_steps`.
        max_steps: iterations of the run; iteration ``max_steps`` (one past the last) would have the rate
            `final`.
        warmup_steps: iterations of the rise; the first one uses ``lr / (warmup + 1)``.
        final_lr: rate at the end.

    Returns:
        Iteration (from 0) -> rate of its step.

    Raises:
        ValueError: the warm-up does not end before the run.
    """
    if not 0 <= warmup_steps < max_steps:
        raise ValueError(
            f"a warm-up of {warmup_steps} iterations does not fit into {max_steps}; expected "
            f"0..{max_steps - 1}"
        )

    def rate(iteration: int) -> float:
        if iteration < warmup_steps:
            return lr * (iteration + 1) / (warmup_steps + 1)
        done = min(1.0, (iteration - warmup_steps) / (max_steps - warmup_steps))
        return final_lr + (lr - final_lr) * (1 + math.cos(math.pi * done)) / 2

    return rate


def cosine_warmup_cycles(
    max_lr: float, min_lr: float, cycle_steps: int, warmup_steps: int
) -> Callable[[int], float]:
    """Linear rise and half a cosine, repeated, as published for CMPC.

    Step `cycle_steps` is step 0 of the next, identical cycle.

    Args:
        max_lr: rate at step `warmup_steps`.
        min_lr: rate at step 0 and, almost, at the end of a cycle.
        cycle_steps: steps of one cycle.
        warmup_steps: steps of the rise, fewer than `cycle_steps`.

    Returns:
        Step (from 0) -> rate.

    Raises:
        ValueError: the rise does not end before the cycle.
    """
    if not 0 <= warmup_steps < cycle_steps:
        raise ValueError(f"a warm-up of {warmup_steps} steps does not fit into a cycle of {cycle_steps}")

    def rate(step: int) -> float:
        place = step % cycle_steps
        if place < warmup_steps:
            return min_lr + (max_lr - min_lr) * place / warmup_steps
        done = (place - warmup_steps) / (cycle_steps - warmup_steps)
        return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * done)) / 2

    return rate


def set_learning_rate(optimiser: "Optimizer", lr: float) -> None:
    """Give every parameter group of an optimiser the rate `lr`, times its own ``lr_scale`` if it has one."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
