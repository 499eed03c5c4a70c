"""Early stopping by the published rule: train until validation stops rising (docs/archetype_agnostic.md)."""

from collections.abc import MutableMapping, Sequence
from itertools import pairwise
from typing import Any


def has_stopped_rising(accuracies: Sequence[float]) -> bool:
    """Whether a run of accuracies never rises from one to the next (so that its first is its greatest)."""
    return all(after <= before for before, after in pairwise(accuracies))


class EarlyStopping:
    """Says when a run ends that does not end at `max_steps`.

    Args:
        values: where the last accuracies and the verdict are kept, so that a resumed run knows them.
        max_steps: validations before or at this many completed steps never end the run.
        steps_per_epoch: iterations of an epoch; the last one is finished.
        patience: accuracies that are looked at.
    """

    def __init__(
        self, state: MutableMapping[str, Any], min_steps: int, steps_per_epoch: int, patience: int = 5
    ) -> None:
        self.state, self.min_steps, self.steps_per_epoch, self.patience = (
            state,
            min_steps,
            steps_per_epoch,
            patience,
        )

    def record(self, step: int, accuracy: float) -> None:
        """Take note of a validation before iteration `step`."""
        last = [*self.state.get("last_accuracies", []), accuracy][-self.patience :]
        self.state["last_accuracies"] = last
        if step > self.min_steps and len(last) == self.patience and has_stopped_rising(last):
            self.state["out_of_patience"] = True

    def should_continue(self, step: int) -> bool:
        """Whether another iteration follows `step` completed ones."""
        return not (self.state.get("out_of_patience", False) and step % self.steps_per_epoch == 0)
