"""Laws of AaSM: contrast inside the batch over three pairings."""

import math
from collections.abc import Callable

import pytest
import reference_objective as reference
import torch
from archetype_agnostic.losses import (
    DIRECTIONS,
    Similarities,
    aasm_losses,
    compute_similarities,
    count_hits,
    mean_terms,
)
from archetype_agnostic.regauging import bilateral_scores, compute_row_scores, regauging_terms
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

NAMES = ("face", "voice", "face_second", "voice_second")
LABELS = st.lists(st.integers(0, 9), min_size=2, max_size=5)


def draw(rows: int, length: int = 5, seed: int = 0, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Four sets of embeddings in which a person resembles themselves, as after some training."""
    generator = torch.Generator().manual_seed(seed)
    identities = torch.randn(rows, length, generator=generator, dtype=dtype)
    return {
        name: (
            0.6 * identities + torch.randn(rows, length, generator=generator, dtype=dtype)
        ).requires_grad_()
        for name in NAMES
    }


def gradients(total: Tensor, sets: dict[str, Tensor]) -> list[Tensor]:
    """By every set; zero where there is no way back."""
    if not total.requires_grad:
        return [torch.zeros_like(rows) for rows in sets.values()]
    result = torch.autograd.grad(total, list(sets.values()), allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(result, sets.values())]


def numbers(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in terms.items()}


def terms_of(sets: dict[str, Tensor], **options: float) -> dict[str, Tensor]:
    return mean_terms(aasm_losses(compute_similarities(**sets), **options))


@settings(max_examples=15, deadline=None)
@given(LABELS, st.integers(0, 10_000))
def test_similarities_are_cosines_of_the_named_sets(labels: list[int], seed: int) -> None:
    sets = {name: rows.detach() for name, rows in draw(len(labels), seed=seed).items()}
    result = compute_similarities(**sets, labels=torch.tensor(labels))
    for place, (anchors, candidates) in enumerate(DIRECTIONS):
        for i in range(len(labels)):
            assert result.anchor_norm[place, i] == pytest.approx(float(sets[anchors][i].norm()))
            for j in range(len(labels)):
                cosine = reference.l2_normalize(sets[candidates][j]) @ reference.l2_normalize(
                    sets[anchors][i]
                )
                within = reference.l2_normalize(sets[candidates][j]) @ reference.l2_normalize(
                    sets[candidates][i]
                )
                assert float(result.cross[place, i, j]) == pytest.approx(float(cosine), abs=1e-12)
                assert float(result.intra_candidate[place, i, j]) == pytest.approx(float(within), abs=1e-12)
                assert bool(result.same_identity[i, j]) == (labels[i] == labels[j])


@settings(max_examples=25, deadline=None)
@given(LABELS, st.integers(0, 10_000))
def test_both_terms_and_gradients_are_the_formula_for_any_labels(labels: list[int], seed: int) -> None:
    sets = draw(len(labels), seed=seed)
    computed = mean_terms(
        aasm_losses(compute_similarities(**sets, labels=torch.tensor(labels)), 0.3, 4.0, 7.0)
    )
    theirs = reference.aasm_terms(sets, labels, 0.3, 4.0, 7.0)
    assert numbers(computed) == pytest.approx(numbers(theirs), rel=1e-12)
    own, other = (
        gradients(terms["crosssp_loss"] + 2 * terms["sim_loss"], sets) for terms in (computed, theirs)
    )
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(own, other))


@settings(max_examples=25, deadline=None)
@given(LABELS, st.integers(0, 10_000), st.sampled_from(["hinge", "circle"]))
def test_total_objective_and_gradient_are_the_formulas(labels: list[int], seed: int, form: str) -> None:
    sets = draw(len(labels), seed=seed)
    weights = torch.linspace(0.2, 3.0, 10, dtype=torch.float64)[torch.tensor(labels)]
    result = compute_similarities(**sets, labels=torch.tensor(labels))
    scores = bilateral_scores(compute_row_scores(result, form))  # type: ignore[arg-type]
    computed = mean_terms(aasm_losses(result)) | regauging_terms(scores, weights)
    theirs = reference.aasm_terms(sets, labels) | reference.regauging_terms(
        sets, labels, weights.tolist(), form
    )
    assert numbers(computed) == pytest.approx(numbers(theirs), rel=1e-10, abs=1e-12)
    own, other = (gradients(torch.stack(list(terms.values())).sum(), sets) for terms in (computed, theirs))
    assert all(torch.allclose(a, b, rtol=1e-8, atol=1e-11) for a, b in zip(own, other))


def test_both_terms_by_hand() -> None:
    # Two identities, all embeddings of length 3 along the axes.
    axes = 3 * torch.eye(2, dtype=torch.float64)
    terms = terms_of(dict.fromkeys(NAMES, axes))
    # d_ii = 3, d_ij = 0: one negative at (0 - 3) / 0.5 = -6
    assert float(terms["crosssp_loss"]) == pytest.approx(math.log(5.4 + math.exp(-6)))
    assert float(terms["sim_loss"]) == pytest.approx(2 * math.log(6 + math.exp(-6)))


def test_gradients_agree_with_differences() -> None:
    sets = draw(3, 2)
    labels = torch.tensor([0, 1, 1])

    def total(*rows: Tensor) -> Tensor:
        return aasm_losses(compute_similarities(*rows, labels=labels)).sum(1)

    assert torch.autograd.gradcheck(total, tuple(sets.values()))


def test_published_constants_are_the_defaults() -> None:
    sets = draw(5)
    assert torch.equal(
        aasm_losses(compute_similarities(**sets)), aasm_losses(compute_similarities(**sets), 0.5, 5.4, 6.0)
    )


def test_perfect_separation_has_the_minimal_loss() -> None:
    losses = aasm_losses(
        compute_similarities(**dict.fromkeys(NAMES, 1e4 * torch.eye(6, dtype=torch.float64)))
    )
    floor = torch.tensor([5.4, 6, 6] * 2, dtype=torch.float64).log()[:, None]
    assert torch.allclose(losses, floor.expand(6, 6), atol=1e-12)
    assert (aasm_losses(compute_similarities(**draw(7, seed=3))) > floor).all()


def test_long_anchors_do_not_overflow() -> None:
    sets = {name: (1e3 * rows.detach().float()).requires_grad_() for name, rows in draw(6, seed=1).items()}
    result = compute_similarities(**sets)
    plain = torch.log(
        5.4
        + torch.exp(
            (result.cross[0] - result.positives[0][:, None]) * result.anchor_norm[0][:, None] / 0.5
        ).sum(1)
    )
    assert torch.isinf(plain).any()
    losses = aasm_losses(result)
    assert torch.isfinite(losses).all()
    assert all(torch.isfinite(gradient).all() for gradient in gradients(losses.sum(), sets))
    double = compute_similarities(**{name: rows.detach().double() for name, rows in sets.items()})
    assert torch.allclose(losses.double(), aasm_losses(double), rtol=1e-4)
    worst = int(plain.argmax())  # far from zero the loss is the largest gap
    gap = (double.cross[0, worst].max() - double.positives[0, worst]) * double.anchor_norm[0, worst] / 0.5
    assert losses[0, worst].item() == pytest.approx(float(gap), rel=1e-3)


def test_only_anchors_keep_their_norm() -> None:
    sets = {name: rows.detach() for name, rows in draw(5).items()}
    plain = aasm_losses(compute_similarities(**sets))
    for name in NAMES:
        longer = aasm_losses(compute_similarities(**(sets | {name: 7 * sets[name]})))
        for place, (anchors, _) in enumerate(DIRECTIONS):
            assert torch.allclose(longer[place], plain[place]) == (anchors != name), (name, place)


def test_permuted_identities_permute_the_rows() -> None:
    sets = {name: rows.detach() for name, rows in draw(6).items()}
    order, labels = torch.tensor([3, 1, 5, 0, 4, 2]), torch.tensor([0, 1, 2, 2, 3, 4])
    plain = compute_similarities(**sets, labels=labels)
    moved = compute_similarities(**{name: rows[order] for name, rows in sets.items()}, labels=labels[order])
    assert torch.allclose(aasm_losses(moved), aasm_losses(plain)[:, order])
    assert torch.allclose(compute_row_scores(moved), compute_row_scores(plain)[:, order])
    assert torch.equal(torch.stack(count_hits(moved)), torch.stack(count_hits(plain))[:, order])


def test_exchanging_modalities_exchanges_the_directions() -> None:
    sets = {name: rows.detach() for name, rows in draw(5).items()}
    swapped = dict(zip(NAMES, (sets[name] for name in ("voice", "face", "voice_second", "face_second"))))
    computed, reference = (
        aasm_losses(compute_similarities(**sets)),
        aasm_losses(compute_similarities(**swapped)),
    )
    assert torch.allclose(reference, computed[[3, 2, 1, 0, 5, 4]])


def test_distinct_labels_equal_no_labels() -> None:
    sets = draw(6)
    computed, reference = (
        compute_similarities(**sets),
        compute_similarities(**sets, labels=torch.tensor([7, 5, 3, 11, 2, 0])),
    )
    for function in (aasm_losses, compute_row_scores, lambda found: torch.stack(count_hits(found))):
        assert torch.equal(function(computed), function(reference))  # type: ignore[operator]


def test_single_identity_has_the_constant_loss_and_no_gradient() -> None:
    sets = draw(3)
    losses = aasm_losses(compute_similarities(**sets, labels=torch.tensor([4, 4, 4])))
    assert torch.allclose(losses[0::3], torch.tensor(5.4, dtype=torch.float64).log())
    assert all(gradient.abs().max() == 0 for gradient in gradients(losses.sum(), sets))


def test_zero_embeddings_are_no_error() -> None:
    sets = {name: torch.zeros(3, 4, requires_grad=True) for name in NAMES}
    result = compute_similarities(**sets)
    losses, scores = aasm_losses(result), compute_row_scores(result)
    assert torch.allclose(losses[0], torch.full((3,), math.log(5.4 + 2)))
    assert (scores == 0).all()  # own similarity 0 is not trusted
    assert all(torch.isfinite(g).all() for g in gradients(losses.sum() + scores.sum(), sets))


def test_zero_row_does_not_affect_others() -> None:
    sets = {name: rows.detach().clone() for name, rows in draw(4).items()}
    sets["voice"][1] = 0
    sets = {name: rows.requires_grad_() for name, rows in sets.items()}
    result = compute_similarities(**sets)
    total = aasm_losses(result).sum() + bilateral_scores(compute_row_scores(result)).sum()
    assert torch.isfinite(total)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(total, sets))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_are_computed_in_float32(dtype: torch.dtype) -> None:
    sets = {name: rows.detach().to(dtype) for name, rows in draw(6, 16).items()}
    with torch.autocast("cpu", torch.bfloat16):
        result = compute_similarities(**sets)
        losses, scores = aasm_losses(result), compute_row_scores(result)
        terms = mean_terms(losses) | regauging_terms(bilateral_scores(scores), torch.ones(6))
    assert {value.dtype for value in (losses, scores, *terms.values())} == {torch.float32}
    single = compute_similarities(**{name: rows.float() for name, rows in sets.items()})
    assert torch.allclose(losses, aasm_losses(single), atol=1e-5)
    assert torch.allclose(scores, compute_row_scores(single), atol=1e-5)


def test_two_identities_suffice() -> None:
    sets = draw(2, seed=5)
    result = compute_similarities(**sets)
    other = reference.aasm_terms(sets, [0, 1]) | reference.regauging_terms(sets, [0, 1], [1, 1])
    computed = mean_terms(aasm_losses(result)) | regauging_terms(bilateral_scores(compute_row_scores(result)))
    assert numbers(computed) == pytest.approx(numbers(other))


@settings(max_examples=25, deadline=None)
@given(LABELS, st.integers(0, 10_000))
def test_hits_are_counted_by_comparison(labels: list[int], seed: int) -> None:
    sets = draw(len(labels), seed=seed)
    right, compared = count_hits(compute_similarities(**sets, labels=torch.tensor(labels)))
    assert list(zip(right.tolist(), compared.tolist())) == reference.count_hits(sets, labels)


def test_ties_are_no_hits_and_hits_have_no_gradient() -> None:
    same = torch.ones(3, 4, requires_grad=True)
    right, compared = count_hits(compute_similarities(same, same, same, same))
    assert right.tolist() == [0, 0, 0] and compared.tolist() == [2, 2, 2]
    assert not right.requires_grad and not compared.requires_grad


def ones(*shape: int) -> Tensor:
    return torch.ones(*shape)


def some() -> Similarities:
    return compute_similarities(**draw(3))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: compute_similarities(ones(2, 3), ones(2, 3), ones(3, 3), ones(2, 3)),
            r"one shape .* \(3, 3\)",
        ),
        (lambda: compute_similarities(ones(3), ones(3), ones(3), ones(3)), r"\(B, D\)"),
        (
            lambda: compute_similarities(*[ones(2, 3)] * 4, labels=torch.arange(3)),
            r"one label per row.*\(3,\) for 2",
        ),
        (lambda: aasm_losses(some(), temperature=0), "above 0, found 0"),
        (lambda: aasm_losses(some(), intra_constant=-1), "above 0.*-1"),
    ],
)
def test_invalid_arguments_are_refused(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
