"""Laws of both losses and their weighting."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seeking_shape.losses import (
    TERMS,
    PerSampleLosses,
    apply_identity_weights,
    compute_sample_losses,
    directional_alignment_loss,
    explicit_alignment_loss,
    implicit_alignment_loss,
)


def slow_contrast(
    anchors: torch.Tensor, candidates: torch.Tensor, labels: list[int], c: float
) -> list[float]:
    """The formula, term by term."""
    unit = [row / max(float(row.norm()), 1e-12) for row in candidates]
    result = []
    for i, anchor in enumerate(anchors):
        right = float(anchor @ unit[i])
        others = [j for j in range(len(anchors)) if labels[j] != labels[i]]
        result.append(math.log(c + sum(math.exp(float(anchor @ unit[j]) - right) for j in others)))
    return result


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=7), st.integers(0, 10_000))
def test_explicit_loss_is_its_formula_for_any_labels(labels: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    face, voice = torch.randn(2, len(labels), 6, dtype=torch.float64, generator=generator)
    computed = explicit_alignment_loss(face, voice, torch.tensor(labels))
    reference = zip(slow_contrast(voice, face, labels, 5.4), slow_contrast(face, voice, labels, 5.4))
    assert torch.allclose(computed, torch.tensor([(a + b) / 2 for a, b in reference], dtype=torch.float64))


def test_distinct_labels_equal_no_labels() -> None:
    face, voice = torch.randn(2, 6, 8)
    assert torch.equal(
        explicit_alignment_loss(face, voice), explicit_alignment_loss(face, voice, torch.arange(6) * 3)
    )


def test_batch_order_does_not_matter() -> None:
    face, voice = torch.randn(2, 6, 8, dtype=torch.float64)
    order = torch.randperm(6)
    assert torch.allclose(
        explicit_alignment_loss(face, voice)[order], explicit_alignment_loss(face[order], voice[order])
    )


def test_loss_of_one_pair_is_the_constant() -> None:
    face, voice = torch.randn(2, 1, 8)
    assert explicit_alignment_loss(face, voice).item() == pytest.approx(math.log(5.4))
    assert explicit_alignment_loss(face, voice, constant=2.0).item() == pytest.approx(math.log(2.0))


def test_huge_embeddings_stay_finite_with_their_gradients() -> None:
    face, voice = (1e4 * torch.randn(2, 5, 8)).requires_grad_().unbind()
    loss = explicit_alignment_loss(face, voice).sum()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, (face, voice)))


def test_zero_embedding_is_no_error() -> None:
    face, voice = torch.zeros(2, 3, 4).requires_grad_().unbind()
    loss = explicit_alignment_loss(face, voice)
    assert torch.allclose(loss, torch.full((3,), math.log(5.4 + 2)))
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss.sum(), (face, voice)))


def test_only_the_anchor_keeps_its_norm() -> None:
    face, voice = torch.randn(2, 4, 8, dtype=torch.float64)
    same = torch.eye(4, dtype=torch.bool)
    assert torch.allclose(
        directional_alignment_loss(voice, 7 * face, same), directional_alignment_loss(voice, face, same)
    )
    assert not torch.allclose(
        directional_alignment_loss(7 * voice, face, same), directional_alignment_loss(voice, face, same)
    )


def test_gradients_agree_with_differences() -> None:
    face, voice = torch.randn(2, 4, 3, dtype=torch.float64).requires_grad_().unbind()
    labels = torch.tensor([0, 1, 1, 2])
    assert torch.autograd.gradcheck(lambda f, v: explicit_alignment_loss(f, v, labels), (face, voice))


def test_uniform_classifier_has_the_loss_of_chance() -> None:
    loss = implicit_alignment_loss(torch.zeros(3, 924), torch.tensor([0, 5, 923]))
    assert torch.allclose(loss, torch.full((3,), math.log(924)))


def test_margin_lowers_the_target_logit_only() -> None:
    logits, labels = torch.randn(4, 6), torch.tensor([0, 1, 2, 3])
    shifted = logits.clone()
    shifted[torch.arange(4), labels] -= 0.3
    assert torch.allclose(
        implicit_alignment_loss(logits, labels, 0.3), implicit_alignment_loss(shifted, labels)
    )


def random_losses() -> PerSampleLosses:
    return PerSampleLosses(*(torch.rand(5) for _ in range(3)))


def test_equal_weights_give_the_unweighted_mean_in_both_weightings() -> None:
    losses = random_losses()
    plain = apply_identity_weights(losses)
    for weighting in ("per_sample", "batch_mean"):
        computed = apply_identity_weights(losses, torch.ones(5), weighting=weighting)  # type: ignore[arg-type]
        assert all(torch.allclose(computed[name], plain[name]) for name in TERMS)


def test_weightings_by_hand() -> None:
    losses = PerSampleLosses(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 4.0]), torch.tensor([5.0, 7.0]))
    weights = torch.tensor([0.0, 2.0])
    meant = apply_identity_weights(losses, weights)
    assert [float(meant[name]) for name in TERMS] == [3.0, 4.0, 7.0]
    published = apply_identity_weights(losses, weights, weighting="batch_mean")
    assert [float(published[name]) for name in TERMS] == [2.0, 3.0, 7.0]
    scaled = apply_identity_weights(losses, weights, loss_weights=(2, 0, 0.5))
    assert [float(scaled[name]) for name in TERMS] == [6.0, 0.0, 3.5]


def test_identity_of_weight_zero_has_no_gradient_when_weighted_per_sample() -> None:
    face, voice, classes = torch.randn(4, 3).requires_grad_(), torch.randn(4, 3), torch.randn(6, 3)
    losses = compute_sample_losses(
        face, voice, face @ classes.T, voice @ classes.T, torch.arange(4), explicit=False
    )
    assert losses.explicit is None
    terms = apply_identity_weights(losses, torch.tensor([1.0, 0.0, 1.0, 1.0]))
    assert set(terms) == {"face_ce_loss", "voice_ce_loss"}
    (gradient,) = torch.autograd.grad(terms["face_ce_loss"], face)
    assert gradient[1].abs().max() == 0 and gradient[0].abs().max() > 0


def test_hardness_is_detached_and_unweighted() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    losses = compute_sample_losses(torch.randn(3, 2), torch.randn(3, 2), logits, logits, torch.arange(3))
    assert not losses.hardness.requires_grad
    assert torch.equal(losses.hardness, (losses.face + losses.voice).detach())


def test_half_precision_inputs_are_computed_in_float32() -> None:
    face, voice = torch.randn(2, 4, 8)
    computed = explicit_alignment_loss(face.bfloat16(), voice.bfloat16())
    assert computed.dtype == torch.float32
    assert torch.allclose(computed, explicit_alignment_loss(face, voice), atol=0.1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: explicit_alignment_loss(torch.ones(2, 3), torch.ones(3, 3)), "one voice per face"),
        (
            lambda: explicit_alignment_loss(torch.ones(2, 3), torch.ones(2, 3), constant=0),
            "positive constant",
        ),
        (lambda: apply_identity_weights(random_losses(), weighting="mean"), "per_sample"),  # type: ignore[arg-type]
        (lambda: apply_identity_weights(random_losses(), loss_weights=(1, 1)), "three loss weights"),
    ],
)
def test_invalid_arguments_are_refused(call: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()  # type: ignore[operator]
