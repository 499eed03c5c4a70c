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
        max_steps: iterations of the run; iteration ``max_steps`` (one past the last) would have the rate `final`.
        warmup_steps: iterations of the rise; the first one uses ``lr / (warmup + 1)``.
        final_lr: rate at the end.

    Returns:
        Iteration (from 0) -> rate of its step.

    Raises:
        ValueError: the warm-up does not end before the run.
    """
    if not 0 <= warmup_steps < max_steps:
        raise ValueError(
            f"a warm-up of {warmup_steps} iterations does not fit into {max_steps}; expected 0..{max_steps - 1}"
        )

    def rate(iteration: int) -> float:
        if iteration < warmup_steps:
            return lr * (iteration + 1) / (warmup_steps + 1)
        done = min(1.0, (iteration - warmup_steps) / (max_steps - warmup_steps))
        return final_lr + (lr - final_lr) * (1 + math.cos(math.pi * done)) / 2

    return rate


def set_learning_rate(optimiser: "Optimizer", lr: float) -> None:
    """Give every parameter group of an optimiser the rate `lr`, times its own ``lr_scale`` if it has one."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
