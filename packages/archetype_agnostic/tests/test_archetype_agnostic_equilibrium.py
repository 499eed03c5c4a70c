"""Laws of the identity weights: what is counted, when they change, and to what."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import reference_objective as reference
import torch
from archetype_agnostic.equilibrium import Equilibrium
from hypothesis import given, settings
from hypothesis import strategies as st
from voiceface.checkpoints.native import load_model, save_model


def counted(right: list[float], compared: list[float], **options: object) -> Equilibrium:
    """As if these counts had been observed."""
    eqm = Equilibrium(len(right), **options)  # type: ignore[arg-type]
    eqm.add_counts(torch.arange(len(right)), torch.tensor(right), torch.tensor(compared))
    return eqm


# counting


def test_counts_accumulate_over_batches_and_within_one() -> None:
    eqm = Equilibrium(4)
    eqm.add_counts(torch.tensor([2, 0]), torch.tensor([3.0, 1.0]), torch.tensor([4.0, 4.0]))
    eqm.add_counts(torch.tensor([2, 3, 2]), torch.tensor([1.0, 0.0, 2.0]), torch.tensor([5.0, 5.0, 5.0]))
    assert eqm.corr_num.tolist() == [1, 0, 6, 0]
    assert eqm.compare_sum.tolist() == [4, 0, 14, 5]
    assert eqm.weight.tolist() == [1, 1, 1, 1]


def test_integer_counts_are_accepted() -> None:
    eqm = Equilibrium(2)
    eqm.add_counts(torch.tensor([1, 1]), torch.tensor([3, 4]), torch.tensor([5, 5]))
    assert eqm.corr_num.tolist() == [0, 7] and eqm.compare_sum.tolist() == [0, 10]


def counted_steps(count: str, last: int, **options: int) -> list[int]:
    eqm = Equilibrium(2, hit_counting=count, **options)  # type: ignore[arg-type]
    return [step for step in range(last) if eqm.is_counting(step)]


def test_counting_iterations() -> None:
    assert counted_steps("always", 8000) == list(range(8000))
    assert counted_steps("last_window", 8000) == list(range(5520, 8000))  # 920 before 6440, then all
    assert counted_steps("never", 8000) == []


def test_last_window_lies_before_the_first_refresh_that_happens() -> None:
    options = {"update_interval": 10, "warm_up": 25}
    eqm = Equilibrium(2, **options)  # type: ignore[arg-type]
    assert [step for step in range(60) if eqm.is_due(step)] == [30, 40, 50]
    assert counted_steps("last_window", 40, **options) == list(range(20, 40))
    assert counted_steps("last_window", 20, update_interval=10, warm_up=0) == list(range(20))
    assert counted_steps("last_window", 20, update_interval=None, warm_up=5) == list(range(20))


# when


def test_published_schedule() -> None:
    eqm = Equilibrium(2)
    assert [step for step in range(9500) if eqm.is_due(step)] == [6440, 7360, 8280, 9200]


def test_fixed_weights_are_never_due() -> None:
    assert not any(Equilibrium(2, update_interval=None, warm_up=0).is_due(step) for step in range(2000))


def test_update_refreshes_when_due_and_only_then() -> None:
    eqm = counted([1, 2, 3], [4, 4, 4], update_interval=5, warm_up=10)
    assert not any(eqm.update(step) for step in (0, 5, 9, 11, 12))
    assert eqm.compare_sum.tolist() == [4, 4, 4] and eqm.weight.tolist() == [1, 1, 1]
    assert eqm.update(15)
    assert eqm.compare_sum.tolist() == [0, 0, 0] and eqm.weight.min() != eqm.weight.max()


# to what


def test_refresh_by_hand() -> None:
    # Rates 0.2, 0.4, 0.6: mean 0.4, deviation 0.2, centre 0.2: at 0, 1 and 2 deviations
    eqm = counted([2, 8, 3], [10, 20, 5])
    eqm.refresh()
    peak = 1 / (0.2 * math.sqrt(2 * math.pi))
    expected = [peak, peak * math.exp(-0.5), peak * math.exp(-2)]
    assert eqm.weight.tolist() == pytest.approx(expected, rel=1e-6)
    assert not eqm.corr_num.any() and not eqm.compare_sum.any()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), min_size=2, max_size=12))
def test_refresh_is_the_normal_density_of_a_loop(counts: list[tuple[int, int]]) -> None:
    compared = [right + wrong for right, wrong in counts]
    rates = [right / both for (right, _), both in zip(counts, compared)]
    eqm = counted([float(right) for right, _ in counts], [float(both) for both in compared])
    eqm.refresh()
    if max(rates) - min(rates) < 1e-6:
        assert eqm.weight.tolist() == [1] * len(rates)
    else:
        assert eqm.weight.tolist() == pytest.approx(reference.normal_density(rates), rel=1e-5, abs=1e-30)


def test_refresh_is_the_density_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = torch.Generator().manual_seed(1)
    compared = torch.randint(1, 2000, (924,), generator=generator).float()
    right = (compared * torch.rand(924, generator=generator)).floor()
    eqm = counted(right.tolist(), compared.tolist())
    eqm.refresh()
    rates = (right.double() / compared).numpy()
    spread = rates.std(ddof=1)
    centre = rates.mean() - spread
    assert eqm.weight.tolist() == pytest.approx([stats.norm.pdf(rate, centre, spread) for rate in rates])


def test_identities_one_deviation_below_the_mean_weigh_most() -> None:
    rates = torch.linspace(0.3, 0.9, 61)
    eqm = counted((1000 * rates).round().tolist(), [1000.0] * 61)
    eqm.refresh()
    aim = rates.mean() - rates.std()
    assert (rates[eqm.weight.argmax()] - aim).abs() <= 0.01
    order = (rates - aim).abs().argsort()
    assert (eqm.weight[order].diff() <= 1e-3).all()  # the farther, the less


def test_identities_without_comparisons_keep_their_weight() -> None:
    eqm = counted([2, 0, 8, 0, 3], [10, 0, 20, 0, 5])
    eqm.weight[1] = 0.25
    eqm.refresh()
    alone = counted([2, 8, 3], [10, 20, 5])
    alone.refresh()
    assert torch.equal(eqm.weight[[0, 2, 4]], alone.weight)
    assert eqm.weight[[1, 3]].tolist() == [0.25, 1]


@pytest.mark.parametrize(
    ("right", "compared"),
    [
        ([0.0] * 7, [0.0] * 7),
        ([0.0] * 6 + [3.0], [0.0] * 6 + [7.0]),
        ([1.0] * 7, [10.0] * 7),  # rates whose mean differs from them by rounding
        ([1.0, 2, 3, 4, 5, 6, 7], [10.0, 20, 30, 40, 50, 60, 70]),
    ],
    ids=["nobody", "one", "equal counts", "equal rates"],
)
@pytest.mark.parametrize("normalise", ["none", "mean_one"])
def test_weights_stay_without_deviation(right: list[float], compared: list[float], normalise: str) -> None:
    eqm = counted(right, compared, normalise=normalise)
    before = torch.linspace(0.5, 3, 7)
    eqm.weight.copy_(before)
    eqm.refresh()
    assert torch.equal(eqm.weight, before)
    assert not eqm.compare_sum.any() and not eqm.corr_num.any()


def test_mean_one_scales_what_was_refreshed() -> None:
    counts = [2.0, 0, 8, 3], [10.0, 0, 20, 5]
    plain, scaled = counted(*counts), counted(*counts, normalise="mean_one")
    plain.refresh()
    scaled.refresh()
    assert scaled.weight[[0, 2, 3]].mean().item() == pytest.approx(1)
    assert torch.allclose(
        scaled.weight[[0, 2, 3]] / scaled.weight[0], plain.weight[[0, 2, 3]] / plain.weight[0]
    )
    assert scaled.weight[1] == 1


def test_counts_restart_after_a_refresh() -> None:
    eqm = counted([9, 1, 5], [10, 10, 10])
    eqm.refresh()
    eqm.add_counts(torch.arange(3), torch.tensor([2.0, 8.0, 3.0]), torch.tensor([10.0, 20.0, 5.0]))
    eqm.refresh()
    fresh = counted([2, 8, 3], [10, 20, 5])
    fresh.refresh()
    assert torch.equal(eqm.weight, fresh.weight)


# the module


def test_batch_weights_are_those_of_the_labels() -> None:
    eqm = Equilibrium(3)
    eqm.weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
    assert eqm.batch_weights(torch.tensor([2, 0, 2])).tolist() == [3, 1, 3]
    assert not eqm.batch_weights(torch.tensor([2])).requires_grad


def test_state_has_the_published_keys_and_no_parameters() -> None:
    eqm = Equilibrium(924)
    assert {key: tuple(value.shape) for key, value in eqm.state_dict().items()} == {
        "corr_num": (924,),
        "compare_sum": (924,),
        "weight": (924,),
    }
    assert not eqm.corr_num.any() and not eqm.compare_sum.any() and (eqm.weight == 1).all()
    assert not list(eqm.parameters())


def test_state_round_trip(tmp_path: Path) -> None:
    eqm = counted([2, 8, 3], [10, 20, 5])
    eqm.refresh()
    eqm.add_counts(torch.tensor([1, 1]), torch.tensor([3.0, 4.0]), torch.tensor([9.0, 9.0]))
    save_model(tmp_path / "w.safetensors", eqm.state_dict(), system="s", kind="model", config={})
    again = Equilibrium(3)
    again.load_state_dict(load_model(tmp_path / "w.safetensors").state)
    for one in (eqm, again):
        one.add_counts(torch.tensor([0, 2]), torch.tensor([1.0, 5.0]), torch.tensor([9.0, 9.0]))
        one.refresh()
    assert torch.equal(again.weight, eqm.weight) and eqm.weight.min() != eqm.weight.max()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Equilibrium(0), "at least one .* found 0"),
        (lambda: Equilibrium(3, hit_counting="once"), "'always', 'last_window' or 'never', found 'once'"),  # type: ignore[arg-type]
        (lambda: Equilibrium(3, normalise="sum"), "'none' or 'mean_one', found 'sum'"),  # type: ignore[arg-type]
        (lambda: Equilibrium(3, identity_names=["a", "b"]), "2 names for 3"),
    ],
)
def test_invalid_arguments_are_refused(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
