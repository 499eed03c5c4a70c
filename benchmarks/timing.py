"""Timers that the benchmarks share."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["Times", "min_times", "min_times_alternating"]


class Times(NamedTuple):
    """Seconds of one call.

    Attributes:
        cpu: processor time.
        wall: elapsed time.
    """

    cpu: float
    wall: float


def min_times(call: Callable[[], Any], repeats: int, *, warm_up: bool = True) -> Times:
    """Return the smallest processor time and the smallest elapsed time of several calls.

    Args:
        call: what to time.
        repeats: number of timed calls.
        warm_up: call once more before, untimed.
    """
    return min_times_alternating({"call": call}, repeats, warm_up=warm_up)["call"]


def min_times_alternating(
    calls: Mapping[str, Callable[[], Any]], repeats: int, *, warm_up: bool = True
) -> dict[str, Times]:
    """Time several calls alternately, so that a change of load affects all of them; see `min_times`."""
    if warm_up:
        for call in calls.values():
            call()
    times: dict[str, list[Times]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            cpu, wall = time.process_time(), time.perf_counter()
            call()
            times[name].append(Times(time.process_time() - cpu, time.perf_counter() - wall))
    return {
        name: Times(min(each.cpu for each in measured), min(each.wall for each in measured))
        for name, measured in times.items()
    }
