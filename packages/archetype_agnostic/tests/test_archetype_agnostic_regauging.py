"""Laws of the re-gauging: which pairs are loose, what they cost, and who feels it."""

from collections.abc import Callable

import pytest
import reference_objective as reference
import torch
from archetype_agnostic.losses import PAIRINGS, Similarities, compute_similarities
from archetype_agnostic.regauging import TERMS, Margins, bilateral_scores, compute_row_scores, regauging_terms
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

NAMES = ("face", "voice", "face_second", "voice_second")


def table(cross: list[list[float]], within: list[list[float]] | None = None) -> Similarities:
    """The same cosines in all six directions; candidates are unlike each other unless said otherwise."""
    s = torch.tensor(cross, dtype=torch.float64)
    q = (
        torch.eye(len(s), dtype=torch.float64)
        if within is None
        else torch.tensor(within, dtype=torch.float64)
    )
    same = torch.eye(len(s), dtype=torch.bool)
    s, q = s.expand(6, -1, -1).clone(), q.expand(6, -1, -1).clone()
    return Similarities(s.requires_grad_(), q.requires_grad_(), torch.ones(6, len(s)), same, None)


def draw(rows: int, seed: int = 0, likeness: float = 0.8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    identities = torch.randn(rows, 5, generator=generator, dtype=torch.float64)
    noise = torch.randn(4, rows, 5, generator=generator, dtype=torch.float64)
    return {name: (likeness * identities + each).requires_grad_() for name, each in zip(NAMES, noise)}


# row scores


def test_hinge_by_hand() -> None:
    # Row 0: p 0.5; t = 0.4 - 0.5 + 0.2 = 0.1 against 1 and 0.2 - 0.5 + 0.2 < 0 against 2. Refinements of 1:
    # [Q + g - p] = [0.45 + 0.15 - 0.5] = 0.1 and [S - Q + g] = [0.4 - 0.45 + 0.15] = 0.1. In all 0.3.
    # Row 1: p 0.6; t = 0.5 - 0.6 + 0.2 = 0.1 against 0, 0.7 - 0.6 + 0.2 = 0.3 against 2. Refinements of 0:
    # [0.45 + 0.15 - 0.6] = 0 and [0.5 - 0.45 + 0.15] = 0.2; of 2: 0 and [0.7 + 0.15] = 0.85. Mean 1.45 / 2.
    # Row 2: p 0.9, nothing within 0.2.
    result = table(
        [[0.5, 0.4, 0.2], [0.5, 0.6, 0.7], [0.1, 0.2, 0.9]], [[1, 0.45, 0], [0.45, 1, 0], [0, 0, 1]]
    )
    expected = torch.tensor([0.3, 0.725, 0], dtype=torch.float64)
    assert torch.allclose(compute_row_scores(result), expected.expand(6, 3))


def test_circle_by_hand() -> None:
    # Row 0: p 0.5, factor of the pair [1.2 - 0.5] = 0.7, pair (0.5 - 0.8) = -0.3, its share 0.21.
    # Against 1: S 0.4, factor 0.6, 0.6 * (0.4 - 0.2) = 0.12: t = 0.33; refinements 0 and [0.4 + 0.15] = 0.55.
    # Row 1: p 1.0: factor 0.2, pair 0.2, share -0.04; S -0.9: factor 0: t = -0.04.
    result = table([[0.5, 0.4], [-0.9, 1.0]])
    expected = torch.tensor([0.88, 0], dtype=torch.float64)
    assert torch.allclose(compute_row_scores(result, "circle"), expected.expand(6, 2))


def test_pair_at_or_below_the_trusted_margin_is_screened_out() -> None:
    def score(own: float) -> float:
        return float(compute_row_scores(table([[own, 0.9], [0.0, 1.0]]))[0, 0].detach())

    assert score(0.15) == score(0.1) == score(-0.5) == 0
    assert score(0.151) > 1  # 0.9 - 0.151 + 0.2, and more


def test_negative_exactly_at_the_margin_does_not_violate_it() -> None:
    margins = Margins(margin=0.25)
    assert float(compute_row_scores(table([[0.75, 0.5], [0, 1]]), margins=margins)[0, 0].detach()) == 0
    assert float(compute_row_scores(table([[0.75, 0.501], [0, 1]]), margins=margins)[0, 0].detach()) > 0


def test_every_margin_acts() -> None:
    result = table([[0.5, 0.4, 0.2], [0.5, 0.6, 0.7], [0.1, 0.2, 0.9]])
    plain = compute_row_scores(result)
    for margins in (Margins(trust_threshold=0.55), Margins(margin=0.3), Margins(inner_margin=0.5)):
        assert not torch.allclose(compute_row_scores(result, margins=margins), plain), margins
    assert torch.equal(compute_row_scores(result, margins=Margins(0.15, 0.2, 0.15)), plain)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=5), st.integers(0, 9999), st.booleans())
def test_row_scores_are_the_formula_with_any_labels(labels: list[int], seed: int, circle: bool) -> None:
    form = "circle" if circle else "hinge"
    sets = {name: rows.detach() for name, rows in draw(len(labels), seed).items()}
    computed = bilateral_scores(
        compute_row_scores(compute_similarities(**sets, labels=torch.tensor(labels)), form)
    )  # type: ignore[arg-type]
    other = reference.bilateral_scores(sets, labels, form)
    for place, name in enumerate(PAIRINGS):
        assert torch.allclose(computed[place], torch.stack(other[name]), atol=1e-12), name


def test_which_violate_how_many_and_the_circle_factors_are_constants() -> None:
    result = table([[0.5, 0.4, 0.45], [0.0, 0.9, 0.0], [0.0, 0.0, 0.9]])
    # Hinge: both violate, with t + [S - Q + g] each: 2 from each negative, -1 from the pair, halved
    gradient = torch.autograd.grad(compute_row_scores(result)[0, 0], result.cross)[0][0]
    assert torch.allclose(gradient[0], torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    assert gradient[1:].abs().max() == 0
    # Circle: the factors 0.7 of the pair, 0.6 and 0.65 of the negatives are numbers
    gradient = torch.autograd.grad(compute_row_scores(result, "circle")[0, 0], result.cross)[0][0]
    expected = torch.tensor([-0.7, (0.6 + 1) / 2, (0.65 + 1) / 2], dtype=torch.float64)
    assert torch.allclose(gradient[0], expected)


def test_gradients_agree_with_differences_for_the_hinge() -> None:
    sets = draw(3, seed=3)
    scores = compute_row_scores(compute_similarities(**sets))
    assert (scores > 0).sum() >= 4  # else there would be nothing to differentiate
    assert torch.autograd.gradcheck(
        lambda *rows: compute_row_scores(compute_similarities(*rows)), tuple(sets.values())
    )


def test_repeated_identities_are_no_negatives() -> None:
    sets = {name: rows.detach() for name, rows in draw(4, seed=1).items()}
    nobody = compute_row_scores(compute_similarities(**sets, labels=torch.zeros(4, dtype=torch.long)))
    assert (nobody == 0).all()
    assert (compute_row_scores(compute_similarities(**sets)) > 0).any()


# both ways together


def test_both_directions_are_averaged() -> None:
    scores = torch.zeros(6, 3)
    scores[0], scores[3] = torch.tensor([0.2, 0.0, 0.0]), torch.tensor([0.4, 0.6, 0.0])
    assert torch.allclose(bilateral_scores(scores)[0], torch.tensor([0.3, 0.6, 0.0]))


def test_each_pairing_is_combined_with_its_own_reverse() -> None:
    scores = torch.arange(1.0, 7.0)[:, None]
    assert bilateral_scores(scores)[:, 0].tolist() == [2.5, 3.5, 4.5]


# terms


def terms_by_hand(**options: object) -> dict[str, float]:
    scores = torch.tensor([[0.1, 0.0, 0.3], [0.0, 0.0, 0.0], [0.2, 0.2, 0.2]])
    result = regauging_terms(scores, **options)  # type: ignore[arg-type]
    assert tuple(result) == TERMS
    return {name: float(value) for name, value in result.items()}


def test_weights_multiply_their_own_rows() -> None:
    weights = torch.tensor([2.0, 5.0, 0.5])
    assert terms_by_hand(weights=weights) == pytest.approx(
        {"trip_cross": (2 + 1.5) / 2, "trip_intra_v": 0.0, "trip_intra_a": (4 + 10 + 1) / 3}
    )


def test_row_of_weight_zero_is_not_counted() -> None:
    result = terms_by_hand(weights=torch.tensor([0.0, 5.0, 0.5]))
    assert result == pytest.approx({"trip_cross": 1.5, "trip_intra_v": 0.0, "trip_intra_a": (10 + 1) / 2})


def test_published_weighting_is_the_mean_of_an_outer_product() -> None:
    weights = torch.tensor([2.0, 0.0, 0.5])
    result = terms_by_hand(weights=weights, weighting="outer_product")
    scores = torch.tensor([0.1, 0.0, 0.3])
    outer = 10 * scores[:, None] * weights
    assert result["trip_cross"] == pytest.approx(float(outer[outer != 0].mean()))  # of four entries
    assert result["trip_cross"] == pytest.approx(2 * 1.25)
    assert result["trip_intra_v"] == 0


def test_without_weights_the_mean_is_over_loose_rows_or_as_published_over_all() -> None:
    assert terms_by_hand() == pytest.approx({"trip_cross": 2, "trip_intra_v": 0, "trip_intra_a": 2})
    every = terms_by_hand(mean_over="all")
    assert every == pytest.approx({"trip_cross": 4 / 3, "trip_intra_v": 0, "trip_intra_a": 2})


def test_mean_over_all_concerns_unweighted_rows_only() -> None:
    weights = torch.tensor([2.0, 5.0, 0.5])
    assert terms_by_hand(weights=weights, mean_over="all") == terms_by_hand(weights=weights)


def test_scale_is_a_factor() -> None:
    plain = terms_by_hand()
    assert terms_by_hand(scale=3) == pytest.approx({name: 0.3 * value for name, value in plain.items()})


def test_equal_weights_are_a_factor_in_either_weighting() -> None:
    plain, weights = terms_by_hand(), torch.full((3,), 1.5)
    for weighting in ("per_row", "outer_product"):
        result = terms_by_hand(weights=weights, weighting=weighting)
        assert result == pytest.approx({name: 1.5 * value for name, value in plain.items()})


@pytest.mark.parametrize("weights", [None, torch.ones(3)])
@pytest.mark.parametrize("form", ["hinge", "circle"])
def test_without_loose_pairs_the_loss_is_zero(weights: Tensor | None, form: str) -> None:
    sets = {name: torch.eye(3, 4).requires_grad_() for name in NAMES}
    scores = bilateral_scores(compute_row_scores(compute_similarities(**sets), form))  # type: ignore[arg-type]
    for mean_over in ("loose", "all"):
        terms = regauging_terms(scores, weights, mean_over=mean_over)  # type: ignore[arg-type]
        total = torch.stack(list(terms.values())).sum()
        assert float(total.detach()) == 0
        result = torch.autograd.grad(total, list(sets.values()), retain_graph=True)
        assert all((gradient == 0).all() for gradient in result)


@pytest.mark.parametrize("weighting", ["per_row", "outer_product"])
@pytest.mark.parametrize("form", ["hinge", "circle"])
def test_terms_train_by_default_and_not_as_published(weighting: str, form: str) -> None:
    sets, weights = draw(6, seed=2), torch.linspace(0.5, 2, 6)
    scores = bilateral_scores(compute_row_scores(compute_similarities(**sets), form))  # type: ignore[arg-type]
    terms = regauging_terms(scores, weights, weighting=weighting)  # type: ignore[arg-type]
    touched = {
        "trip_cross": {"face", "voice"},
        "trip_intra_v": {"face", "face_second"},
        "trip_intra_a": {"voice", "voice_second"},
    }
    for name, term in terms.items():
        result = torch.autograd.grad(term, list(sets.values()), retain_graph=True)
        felt = {which for which, gradient in zip(NAMES, result) if gradient.abs().max() > 1e-3}
        assert felt == touched[name], name
    constant = regauging_terms(scores, weights, weighting=weighting, differentiable=False)  # type: ignore[arg-type]
    for name, term in constant.items():
        assert torch.equal(term, terms[name]) and not term.requires_grad


def test_gradient_step_tightens_loose_pairs() -> None:
    sets = draw(6, seed=4)

    def total() -> Tensor:
        return torch.stack(
            [*regauging_terms(bilateral_scores(compute_row_scores(compute_similarities(**sets)))).values()]
        ).sum()

    before = total()
    for rows, gradient in zip(sets.values(), torch.autograd.grad(before, list(sets.values()))):
        rows.data -= 1e-3 * gradient
    assert float(total().detach()) < float(before.detach())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda scores: compute_row_scores(table([[1.0]]), "square"), "'hinge' or 'circle'.*'square'"),  # type: ignore[arg-type]
        (lambda scores: regauging_terms(scores, weighting="none"), "'none'"),  # type: ignore[arg-type]
        (lambda scores: regauging_terms(scores, mean_over="none"), "'none'"),  # type: ignore[arg-type]
        (lambda scores: regauging_terms(scores, torch.ones(2)), r"one weight per row.*\(2,\) for 3"),
        (lambda scores: regauging_terms(scores, torch.ones(3, 1)), r"\(3, 1\) for 3"),
    ],
)
def test_invalid_arguments_are_refused(call: Callable[[Tensor], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(torch.ones(3, 3))
