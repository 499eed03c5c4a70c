"""Early stopping by the published rule: until validation stops improving (docs/archetype_agnostic.md)."""

from collections.abc import MutableMapping, Sequence
from itertools import pairwise
from typing import Any

__all__ = ["EarlyStopping", "has_stopped_rising"]


def has_stopped_rising(accuracies: Sequence[float]) -> bool:
    """Whether no accuracy exceeds its predecessor (so that the first one is the maximum)."""
    return all(after <= before for before, after in pairwise(accuracies))


class EarlyStopping:
    """Early stopping after a minimum number of steps.

    Args:
        state: stores the last accuracies and the decision, so that a resumed run continues exactly.
        min_steps: validations up to this number of completed steps never end the run.
        steps_per_epoch: iterations of an epoch; the current epoch is completed.
        patience: number of accuracies that are compared.
    """

    def __init__(
        self, state: MutableMapping[str, Any], min_steps: int, steps_per_epoch: int, patience: int = 5
    ) -> None:
        self.state = state
        self.min_steps = min_steps
        self.steps_per_epoch = steps_per_epoch
        self.patience = patience

    def record(self, step: int, accuracy: float) -> None:
        """Record the accuracy of a validation before iteration `step`."""
        last = [*self.state.get("last_accuracies", []), accuracy][-self.patience :]
        self.state["last_accuracies"] = last
        if step > self.min_steps and len(last) == self.patience and has_stopped_rising(last):
            self.state["out_of_patience"] = True

    def should_continue(self, step: int) -> bool:
        """Whether training continues after `step` completed iterations."""
        return not (self.state.get("out_of_patience", False) and step % self.steps_per_epoch == 0)
