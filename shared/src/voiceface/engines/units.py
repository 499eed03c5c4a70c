"""Units of work, and the queue that repeats and divides those that fail.

A unit is a shard: hundreds of items. What fails as a whole is divided until the item is found that cannot be
processed, so that one item costs itself and not its unit.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

__all__ = [
    "HOW_TO_GET_RAY",
    "EngineError",
    "Factory",
    "Failure",
    "StoreError",
    "Task",
    "Unit",
    "WorkQueue",
    "describe_error",
]

HOW_TO_GET_RAY = "pip install 'voiceface-shared[ray]'"
Factory = Callable[[str], Callable[[Any], Any]]
"""Device ("cpu", "cuda") -> function of a unit, built once in every process; it can be pickled."""

MAX_DEATHS = 2  # of the processes that work on one unit, before it is divided
MAX_FAILURES = 20  # items that fail before one succeeds


class EngineError(ValueError):
    """The work cannot go on: no worker starts, or none of the items can be processed."""


class StoreError(OSError):
    """Results cannot be stored, whichever items they are of."""


class Unit(Protocol):
    """A part of the work; it is sent to other processes."""

    @property
    def key(self) -> str:
        """Text that states the items and their content; equal for equal work."""

    def split(self) -> Sequence[Self]:
        """Two halves; nothing if there is one item."""


@dataclass(frozen=True)
class Failure:
    """Why a unit of one item has no result.

    Attributes:
        reason: in words.
    """

    reason: str


@dataclass(frozen=True)
class Task:
    """A unit or a piece of one.

    Attributes:
        number: of the unit, from 0.
        place: halves taken to reach the piece, 0 or 1 each; () is the unit. Pieces of a unit are in the order
            of their places.
        unit: the piece.
        deaths: processes that ended while they worked on it.
    """

    number: int
    place: tuple[int, ...]
    unit: Unit
    deaths: int = 0


class WorkQueue:
    """Units that are to be done.

    Args:
        units: all of them.
    """

    def __init__(self, units: Sequence[Unit]) -> None:
        self._tasks = deque(Task(number, (), unit) for number, unit in enumerate(units))
        self._failures = 0
        self._succeeded = False

    def __len__(self) -> int:
        """Number of tasks that nobody works on."""
        return len(self._tasks)

    def take(self) -> Task:
        """The next task."""
        return self._tasks.popleft()

    def put_back(self, task: Task) -> None:
        """Return a task that was not begun."""
        self._tasks.appendleft(task)

    def succeed(self) -> None:
        """Note that a task has a result."""
        self._succeeded = True

    def fail(self, task: Task, reason: str, *, died: bool = False) -> Failure | None:
        """Note that a task failed: it is repeated or divided, or, of one item, given up.

        Args:
            task: the task.
            reason: in words.
            died: the process that worked on it ended.

        Returns:
            The failure if the task is given up.

        Raises:
            EngineError: so many items failed, and none succeeded, that the reason is none of the items.
        """
        if died and task.deaths + 1 < MAX_DEATHS:
            self._tasks.appendleft(Task(task.number, task.place, task.unit, task.deaths + 1))
            return None
        halves = task.unit.split()
        if halves:
            pieces = [Task(task.number, (*task.place, half), unit) for half, unit in enumerate(halves)]
            self._tasks.extendleft(reversed(pieces))
            return None
        self._failures += 1
        if self._failures >= MAX_FAILURES and not self._succeeded:
            raise EngineError(f"{self._failures} items failed and none succeeded, the last one: {reason}")
        return Failure(reason)


def describe_error(error: BaseException) -> str:
    """Text of an unexpected error, with its kind."""
    return f"{type(error).__name__}: {error}".split("\n", 1)[0]
