"""Laws of the identity weights."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seeking_shape.reweighting import IdentityWeights


def weights(hardness: list[float], **options: float) -> IdentityWeights:
    center = IdentityWeights(len(hardness), **{"update_interval": 100, **options})  # type: ignore[arg-type]
    center.loss_mean.copy_(torch.tensor(hardness))
    return center


def test_first_update_admits_the_easier_half() -> None:
    center = weights([5, 1, 4, 2, 3, 6])
    assert center.active_fraction == 1.0
    assert center.update(500)
    assert center.weight.tolist() == [0, 1, 0, 1, 1, 0]
    assert center.active_fraction == 0.5


def test_later_updates_admit_the_next_easiest_and_decay_the_rest() -> None:
    center = weights([5, 1, 4, 2, 3, 6], fraction_step=0.34, decay=0.9)
    center.update(500)
    center.update(600)
    assert torch.allclose(center.weight, torch.tensor([1, 0.9, 1, 0.9, 0.9, 0]))


def test_nothing_changes_beyond_the_stop_fraction() -> None:
    center = weights(list(range(10)), final_fraction=0.6)
    for step in range(500, 2000, 100):
        center.update(step)
    assert center.active_fraction == 0.6
    assert center.weight[5] == 1  # admitted by the last change, never decayed


@pytest.mark.parametrize("step", [0, 100, 400, 499, 501, 550])
def test_other_iterations_are_not_due(step: int) -> None:
    center = weights([1, 2, 3, 4])
    assert center.update(step) is False
    assert center.weight.tolist() == [1, 1, 1, 1]


def test_fixed_weights_never_change() -> None:
    center = weights([1, 2, 3, 4], update_interval=None)
    assert not any(center.update(step) for step in range(0, 3000, 100))


def test_ties_go_by_index() -> None:
    center = weights([2, 2, 2, 2, 2])
    center.update(500)
    assert center.weight.tolist() == [1, 1, 0, 0, 0]
    center.update(600)
    assert center.weight[2] == 1 and center.weight[3] == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 45), st.floats(0.05, 1), st.floats(0.001, 0.3), st.floats(0.3, 1), st.integers(0, 99))
def test_every_run_reaches_its_stop_fraction(
    identities: int, initial: float, added: float, stop: float, seed: int
) -> None:
    hardness = torch.rand(identities, generator=torch.Generator().manual_seed(seed)).tolist()
    options = {"initial_fraction": initial, "fraction_step": added, "final_fraction": stop, "decay": 0.99}
    center = weights(hardness, **options)
    before = 0.0
    for step in range(500, 500 + 100 * (identities + 3), 100):
        center.update(step)
        assert center.active_fraction >= before
        assert center.weight.min() >= 0 and center.weight.max() == 1
        before = center.active_fraction
    assert before >= stop
    active = center.weight > 0
    if not active.all():  # the easier ones are in
        assert center.loss_mean[active].max() <= center.loss_mean[~active].min()


def test_hardness_moves_a_tenth_of_the_way_for_the_batch_only() -> None:
    center = weights([14, 14, 14])
    center.update_hardness(torch.tensor([2, 0]), torch.tensor([4.0, 24.0]))
    assert torch.allclose(center.loss_mean, torch.tensor([15.0, 14.0, 13.0]))


def test_repeated_identity_counts_by_its_mean() -> None:
    center = weights([10, 10])
    center.update_hardness(torch.tensor([1, 1]), torch.tensor([0.0, 10.0]))
    assert torch.allclose(center.loss_mean, torch.tensor([10.0, 9.5]))


def test_batch_weights_have_mean_one_over_all_identities() -> None:
    center = weights([1, 2, 3, 4])
    center.weight.copy_(torch.tensor([1, 0.5, 0, 0]))
    everybody = center.batch_weights(torch.arange(4))
    assert everybody.mean().item() == pytest.approx(1)
    assert torch.allclose(everybody, torch.tensor([8, 4, 0, 0]) / 3)


def test_batch_without_active_identities_counts_fully() -> None:
    center = weights([1, 2, 3, 4])
    center.update(500)
    assert center.batch_weights(torch.tensor([2, 3])).tolist() == [1, 1]


def test_restored_state_continues_identically() -> None:
    whole, half = weights(list(range(20))), weights(list(range(20)))
    for step in range(500, 900, 100):
        whole.update(step)
        half.update(step)
    resumed = IdentityWeights(20, update_interval=100)
    resumed.load_state_dict(half.state_dict())
    for step in range(900, 3000, 100):
        whole.update(step)
        resumed.update(step)
        assert torch.equal(whole.weight, resumed.weight), step


def test_full_admission_without_decay_is_not_the_initial_state() -> None:
    center = weights([1, 2], decay=1.0)
    for step in (500, 600, 700):
        center.update(step)
    assert center.weight.tolist() == [1, 1]


def test_state_has_the_published_keys_and_initial_values() -> None:
    center = IdentityWeights(924)
    assert {key: tuple(value.shape) for key, value in center.state_dict().items()} == {
        "loss_mean": (924,),
        "weight": (924,),
    }
    assert center.loss_mean.unique().tolist() == [14.0] and center.weight.unique().tolist() == [1.0]
    assert IdentityWeights(924, initial_loss="chance").loss_mean[0].item() == pytest.approx(2 * math.log(924))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_identities": 1}, "at least 2"),
        ({"num_identities": 3, "identity_names": ["a", "b"]}, "2 names for 3"),
        ({"num_identities": 3, "decay": 0.0}, "decay"),
        ({"num_identities": 3, "momentum": 1.0}, "momentum"),
    ],
)
def test_invalid_arguments_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        IdentityWeights(**options)  # type: ignore[arg-type]
