"""What is used of a long recording: an option of every command that reads people's own recordings."""

from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["DEFAULT_LONG_RECORDINGS", "LongPolicy", "LongRecordings"]

LongPolicy = Literal["best", "all"]
DEFAULT_SECONDS = 60.0
MIN_SECONDS, MAX_SECONDS = 1.0, 86400.0


@dataclass(frozen=True)
class LongRecordings:
    """What is used of a recording longer than some seconds; shorter ones are used whole.

    Attributes:
        policy: "best": the seconds with the most speech, of good level and not clipped; "all": everything.
            Association systems embed windows of everything and average their embeddings.
        seconds: a longer recording is long; with "best", as many are used.
    """

    policy: LongPolicy = "best"
    seconds: float = DEFAULT_SECONDS

    def __post_init__(self) -> None:
        if self.policy not in get_args(LongPolicy):
            raise ValueError(f'expected "best" or "all", found {self.policy!r}')
        if not MIN_SECONDS <= self.seconds <= MAX_SECONDS:
            raise ValueError(f"expected {MIN_SECONDS:g} to {MAX_SECONDS:g} seconds, found {self.seconds:g}")

    @classmethod
    def parse(cls, text: str) -> "LongRecordings":
        """Read `best`, `all`, `best:SECONDS` or `all:SECONDS`.

        Raises:
            ValueError: another text.

        Example:
            >>> LongRecordings.parse("best:30")
            LongRecordings(policy='best', seconds=30.0)
        """
        policy, colon, seconds = text.partition(":")
        try:
            return cls(policy, float(seconds) if colon else DEFAULT_SECONDS)  # type: ignore[arg-type]
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}; write best, all or best:SECONDS") from None

    def __str__(self) -> str:
        """The text that `parse` reads."""
        return f"{self.policy}:{self.seconds:g}"


DEFAULT_LONG_RECORDINGS = LongRecordings()
"""The best 60 s."""
