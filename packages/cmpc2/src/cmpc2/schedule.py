"""The learning rate of CMPC: a linear rise and half a cosine, repeated (specification, section 9)."""

import math
from collections.abc import Callable


def cosine_warmup_cycles(
    max_lr: float, min_lr: float, cycle_steps: int, warmup_steps: int
) -> Callable[[int], float]:
    """Rate that rises from `lowest` to `highest` over `warm_up` steps and falls back until the cycle ends.

    Step `cycle` is step 0 of the next, identical cycle.

    Args:
        highest: rate at step `warm_up`.
        lowest: rate at step 0 and, almost, at the end.
        cycle: steps of one cycle.
        warm_up: steps of the rise, fewer than `cycle`.

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
