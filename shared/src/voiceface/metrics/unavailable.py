"""Results that were asked for and cannot be computed: a list or a metric with its reason."""

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["NOT_COMPUTED_YET", "UnavailableResult", "describe_unavailable"]

NOT_COMPUTED_YET = "not computed yet: the evaluation is running, or was stopped"
"""Reason of the results that are still due in a file that is written while they are computed."""


@dataclass(frozen=True)
class UnavailableResult:
    """A result that cannot be computed (docs/metrics.md).

    Attributes:
        name: trial list, metric or part of an evaluation, as in the table of results.
        reason: what was found and what is needed.

    Example:
        >>> UnavailableResult.from_error("FID", ValueError("FID: expected 2 images, found 1")).reason
        'expected 2 images, found 1'
    """

    name: str
    reason: str

    @classmethod
    def from_error(cls, name: str, error: Exception) -> "UnavailableResult":
        """Take the message of an error as the reason, without the name that it may begin with."""
        return cls(name, str(error).removeprefix(f"{name}: ") or type(error).__name__)

    def to_dict(self) -> dict[str, str]:
        """Plain values for JSON."""
        return {"name": self.name, "reason": self.reason}

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def describe_unavailable(unavailable: Iterable[UnavailableResult], *, indent: str = "") -> str:
    """Lines `not computed: NAME: REASON`; empty without any."""
    return "\n".join(f"{indent}not computed: {each}" for each in unavailable)
