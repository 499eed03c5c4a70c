"""The published rule for the end of training: on until validation stops rising (specification, section 8)."""

from collections.abc import MutableMapping, Sequence
from itertools import pairwise
from typing import Any


def stopped_rising(accuracies: Sequence[float]) -> bool:
    """Whether a run of accuracies never rises from one to the next (so that its first is its greatest)."""
    return all(after <= before for before, after in pairwise(accuracies))


class Patience:
    """Says when a run ends that does not end at `max_iter`.

    Args:
        values: where the last accuracies and the verdict are kept, so that a resumed run knows them.
        max_iter: validations before or at this many completed steps never end the run.
        per_epoch: iterations of an epoch; the last one is finished.
        window: accuracies that are looked at.
    """

    def __init__(
        self, values: MutableMapping[str, Any], max_iter: int, per_epoch: int, window: int = 5
    ) -> None:
        self.values, self.max_iter, self.per_epoch, self.window = values, max_iter, per_epoch, window

    def judge(self, step: int, accuracy: float) -> None:
        """Take note of a validation before iteration `step`."""
        last = [*self.values.get("last_accuracies", []), accuracy][-self.window :]
        self.values["last_accuracies"] = last
        if step > self.max_iter and len(last) == self.window and stopped_rising(last):
            self.values["out_of_patience"] = True

    def go_on(self, step: int) -> bool:
        """Whether another iteration follows `step` completed ones."""
        return not (self.values.get("out_of_patience", False) and step % self.per_epoch == 0)
