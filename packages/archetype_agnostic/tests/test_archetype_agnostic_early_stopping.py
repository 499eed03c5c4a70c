"""The rule that ends a run by its validations."""

import pytest
from archetype_agnostic.early_stopping import EarlyStopping, has_stopped_rising
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([0.9, 0.8, 0.8, 0.7, 0.6], True),
        ([0.5, 0.5, 0.5, 0.5, 0.5], True),
        ([0.9, 0.8, 0.81, 0.7, 0.6], False),
        ([0.6, 0.7, 0.65, 0.6, 0.5], False),
        ([0.9], True),
    ],
)
def test_stopped_rising(accuracies: list[float], expected: bool) -> None:
    assert has_stopped_rising(accuracies) is expected


@given(st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_rule_is_the_published_one(accuracies: list[int]) -> None:
    never_rises = not any(accuracies[k + 1] > accuracies[k] for k in range(4))
    assert has_stopped_rising(accuracies) == (never_rises and accuracies[0] == max(accuracies))


def simulate(accuracies: list[float], max_steps: int, every: int, per_epoch: int, window: int = 5) -> int:
    """Completed steps of a run that validates before its steps `every`, 2 `every`, ..."""
    patience = EarlyStopping({}, max_steps, per_epoch, window)
    judgements, step = iter(accuracies), 0
    while step < max_steps or patience.should_continue(step):
        if step and step % every == 0:
            patience.record(step, next(judgements))
        step += 1
    return step


def test_published_numbers_stop_with_the_fifth_validation_at_the_earliest() -> None:
    # Validations at 6888, 13776, ...: the fifth is 34440, and 32 of its epoch's 46 steps are done by then.
    assert simulate([0.8, 0.79, 0.78, 0.77, 0.76], 27000, 6888, 46) == 34440 - 32 + 46
    rising_once = [0.7, 0.8, 0.79, 0.78, 0.77, 0.76]
    assert simulate(rising_once, 27000, 6888, 46) == -(-6 * 6888 // 46) * 46


def test_no_validation_up_to_max_steps_ends_a_run() -> None:
    falling = [0.9 - 0.01 * k for k in range(30)]
    assert simulate(falling, 100, 10, 1) == 111  # judged before step 110, the first beyond 100
    assert simulate(falling, 100, 10, 7) == 112  # and the epoch is finished


def test_validation_at_the_first_step_of_an_epoch_still_finishes_that_epoch() -> None:
    assert simulate([0.5] * 30, 100, 10, 10) == 120


def test_window_is_configurable() -> None:
    up_and_down = [0.5, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0]
    assert simulate(up_and_down, 10, 10, 1, window=2) == 31  # 0.6, 0.5
    assert simulate(up_and_down, 10, 10, 1, window=4) == 51  # 0.6, 0.5, 0.4, 0.3


def test_state_is_kept_in_the_values_of_the_run() -> None:
    values: dict[str, object] = {}
    first = EarlyStopping(values, 10, 4, patience=3)
    for step, accuracy in ((8, 0.9), (12, 0.8)):
        first.record(step, accuracy)
    again = EarlyStopping(dict(values), 10, 4, patience=3)  # a resumed run
    again.record(16, 0.7)
    assert again.should_continue(17) and again.should_continue(19) and not again.should_continue(20)
    first.record(16, 0.85)
    assert first.should_continue(20)
