"""The learning rate of CMPC: a linear rise and half a cosine, repeated (specification, section 9)."""

import math
from collections.abc import Callable


def warm_cosine_cycles(highest: float, lowest: float, cycle: int, warm_up: int) -> Callable[[int], float]:
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
    if not 0 <= warm_up < cycle:
        raise ValueError(f"a warm-up of {warm_up} steps does not fit into a cycle of {cycle}")

    def rate(step: int) -> float:
        place = step % cycle
        if place < warm_up:
            return lowest + (highest - lowest) * place / warm_up
        done = (place - warm_up) / (cycle - warm_up)
        return lowest + (highest - lowest) * (1 + math.cos(math.pi * done)) / 2

    return rate
