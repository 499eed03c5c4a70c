"""Losses against slow twins by loops, their laws, and gradients."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from cmpc2.losses import (
    Clusterings,
    cmpc_terms,
    compute_credibility,
    instance_contrast,
    prototype_contrast,
    recalibration_weights,
)
from cmpc2.prototypes import Clustering
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

COUNT, LENGTH, BANK = 7, 6, 20
COUNTS = (3, 5)


def drawn(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Clusterings]:
    """A batch with clusterings of both banks, double precision."""
    torch.manual_seed(seed)
    voice, face = torch.randn(2, COUNT, LENGTH, dtype=torch.float64)
    index = torch.randperm(BANK)[:COUNT]

    def one(clusters: int) -> Clustering:
        assignment = torch.randint(clusters, (BANK,))
        return Clustering(
            assignment,
            torch.randn(clusters, LENGTH, dtype=torch.float64),
            torch.rand(BANK, dtype=torch.float64),
            torch.rand(clusters, dtype=torch.float64) + 0.1,
        )

    return voice, face, index, Clusterings([one(k) for k in COUNTS], [one(k) for k in COUNTS])


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def test_instance_contrast_by_loops() -> None:
    voice, face, *_ = drawn()
    result = instance_contrast(voice, face, 0.3)
    for i in range(COUNT):
        for computed, anchor, others in ((result[0], voice[i], face), (result[1], face[i], voice)):
            scores = [math.exp(cosine(anchor, other) / 0.3) for other in others]
            assert computed[i].item() == pytest.approx(-math.log(scores[i] / sum(scores)))


def test_loss_of_equal_embeddings_is_the_log_of_the_batch_size() -> None:
    same = torch.ones(COUNT, LENGTH)
    for losses in instance_contrast(same, same * 3):
        assert torch.allclose(losses, torch.full((COUNT,), math.log(COUNT)))


def test_prototype_contrast_by_loops() -> None:
    voice, _, index, result = drawn()
    computed = prototype_contrast(voice, index, result.face)
    for i in range(COUNT):
        losses = []
        for each in result.face:
            scores = [
                math.exp(cosine(voice[i], c) / float(phi)) for c, phi in zip(each.centroids, each.density)
            ]
            losses.append(-math.log(scores[int(each.assignment[index[i]])] / sum(scores)))
        assert computed[i].item() == pytest.approx(sum(losses) / len(losses))


def test_published_form_by_loops() -> None:
    voice, _, index, result = drawn(1)
    computed = prototype_contrast(voice, index, result.face, "published")
    for i in range(COUNT):
        running = 0.0
        for each in result.face:
            own = [int(each.assignment[row]) for row in index]
            order = [i, *(j for j in range(COUNT) if j != i)]
            scores = [
                cosine(voice[i], each.centroids[own[j]]) / float(each.density[own[m]])
                for m, j in enumerate(order)
            ]
            loss = math.log(sum(math.exp(score) for score in scores)) - scores[0]
            running = (running + loss) / 4
        assert computed[i].item() == pytest.approx(running)


def test_both_forms_differ_and_need_clusterings() -> None:
    voice, face, index, result = drawn()
    assert not torch.allclose(
        prototype_contrast(voice, index, result.face),
        prototype_contrast(voice, index, result.face, "published"),
    )
    assert (prototype_contrast(voice, index, []) == 0).all()
    terms = cmpc_terms(voice, face, index)
    assert (terms.weight == 1).all() and (terms.prototype_face == 0).all()
    both = sum(loss.mean() for loss in instance_contrast(voice, face))
    assert float(terms.total) == pytest.approx(float(both))
    with pytest.raises(ValueError, match="all or published"):
        prototype_contrast(voice, index, result.face, "half")  # type: ignore[arg-type]


@pytest.mark.parametrize("centroids", ["raw", "unit"])
@pytest.mark.parametrize("over", ["sum", "mean"])
@pytest.mark.parametrize("use", ["subtracted", "added", "ignored"])
def test_credibility_by_loops(centroids: Any, over: Any, use: Any) -> None:
    voice, face, index, result = drawn(2)
    computed = compute_credibility(voice, face, index, result, centroids=centroids, over=over, agreement=use)
    for i, row in enumerate(index):
        agreement = []
        for left, right in zip(result.voice, result.face):
            a, b = left.centroids[left.assignment[row]], right.centroids[right.assignment[row]]
            agreement.append(float(a @ b) if centroids == "raw" else cosine(a, b))
        together = sum(agreement) if over == "sum" else sum(agreement) / len(agreement)
        sign = {"subtracted": -1, "added": 1, "ignored": 0}[use]
        assert computed[i].item() == pytest.approx(cosine(voice[i], face[i]) + sign * together)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=9), st.floats(-2, 2), st.floats(0.02, 2))
def test_cumulative_weights_by_ranks(values: list[float], delta: float, kappa: float) -> None:
    rho = np.array(values)
    if not rho.std() > 1e-6:
        return
    law = scipy.stats.norm(rho.mean() + delta * rho.std(), rho.std() * math.sqrt(kappa))
    height = np.cumsum(law.pdf(np.sort(rho)))
    if not height[-1] > 1e-290:  # the plain sum underflows where ours does not
        return
    ranks = np.argsort(np.argsort(rho, kind="stable"), kind="stable")
    result = recalibration_weights(torch.from_numpy(rho), delta=delta, kappa=kappa)
    assert np.allclose(result.numpy(), (height / height[-1])[ranks], rtol=1e-6, atol=1e-9)
    assert float(result.max()) == 1.0


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=9), st.floats(-2, 2), st.floats(0.02, 2))
def test_cdf_weights_are_the_normal_distribution(values: list[float], delta: float, kappa: float) -> None:
    rho = np.array(values)
    if not rho.std() > 1e-6:
        return
    law = scipy.stats.norm(rho.mean() + delta * rho.std(), rho.std() * math.sqrt(kappa))
    result = recalibration_weights(torch.from_numpy(rho), delta=delta, kappa=kappa, rule="cdf")
    assert np.allclose(result.numpy(), law.cdf(rho), atol=1e-12)


@pytest.mark.parametrize("rule", ["cumulative", "cdf"])
def test_weights_rise_with_credibility_and_equal_pairs_weigh_one(rule: Any) -> None:
    rho = torch.tensor([0.3, -0.2, 0.9, 0.1])
    weight = recalibration_weights(rho, rule=rule)
    assert weight.dtype == torch.float64
    assert (weight[rho.argsort()].diff() > 0).all()
    assert (recalibration_weights(torch.full((4,), 0.5), rule=rule) == 1).all()


def test_total_is_a_weighted_mean_and_weights_carry_no_gradient() -> None:
    voice, face, index, result = drawn(3)
    voice.requires_grad_()
    terms = cmpc_terms(voice, face, index, result)
    assert not terms.weight.requires_grad
    w = terms.weight
    parts = [(w * (terms.instance_voice + terms.prototype_voice)).sum() / w.sum()]
    parts += [(w * (terms.instance_face + terms.prototype_face)).sum() / w.sum()]
    assert terms.total.item() == pytest.approx(sum(part.item() for part in parts))
    constant = terms.weight.detach()
    (whole,) = torch.autograd.grad(terms.total, voice)
    again = cmpc_terms(voice, face, index, result, recalibrate=False)
    kept = again._replace(weight=constant).total
    (other,) = torch.autograd.grad(kept, voice)
    assert torch.allclose(whole, other)


@pytest.mark.parametrize("form", ["all", "published"])
def test_gradients_are_those_of_the_loss(form: Any) -> None:
    voice, face, index, result = drawn(4)

    def total(voice: Tensor, face: Tensor) -> Tensor:
        terms = cmpc_terms(voice, face, index, result, form=form, temperature=0.3, recalibrate=False)
        return terms.total

    assert torch.autograd.gradcheck(total, (voice.requires_grad_(), face.requires_grad_()))


def test_loss_does_not_depend_on_the_order_of_the_batch() -> None:
    voice, face, index, result = drawn(5)
    order = torch.randperm(COUNT)
    one = cmpc_terms(voice, face, index, result).total
    other = cmpc_terms(voice[order], face[order], index[order], result).total
    assert float(one) == pytest.approx(float(other))


def test_terms_can_be_switched_off() -> None:
    voice, face, index, result = drawn(6)
    assert (cmpc_terms(voice, face, index, result, prototypes=False).prototype_voice == 0).all()
    assert (cmpc_terms(voice, face, index, result, recalibrate=False).weight == 1).all()


def test_norms_of_embeddings_do_not_matter() -> None:
    voice, face, index, result = drawn(7)
    scale = torch.rand(COUNT, 1) + 0.5
    one = cmpc_terms(voice, face, index, result).total
    assert float(one) == pytest.approx(float(cmpc_terms(voice * scale, normalize(face), index, result).total))


@pytest.mark.parametrize(
    ("credibility", "weighting"),
    [
        ({"centroids": "unit"}, {}),
        ({"over": "mean"}, {}),
        ({"agreement": "added"}, {}),
        ({}, {"delta": 0.5}),
        ({}, {"kappa": 0.4}),
        ({}, {"rule": "cdf"}),
    ],
)
def test_every_option_of_the_weights_has_an_effect(
    credibility: dict[str, Any], weighting: dict[str, Any]
) -> None:
    voice, face, index, result = drawn(8)
    rho = compute_credibility(voice, face, index, result, **credibility)
    weight = cmpc_terms(voice, face, index, result, **credibility, **weighting).weight
    assert torch.equal(weight, recalibration_weights(rho, **weighting))
    assert not torch.allclose(weight, cmpc_terms(voice, face, index, result).weight)


def test_temperature_and_form_reach_their_contrasts() -> None:
    voice, face, index, result = drawn(9)
    terms = cmpc_terms(voice, face, index, result, temperature=0.3, form="published")
    assert torch.equal(terms.instance_voice, instance_contrast(voice, face, 0.3)[0])
    assert torch.equal(terms.instance_face, instance_contrast(voice, face, 0.3)[1])
    assert torch.equal(terms.prototype_voice, prototype_contrast(voice, index, result.face, "published"))
    assert torch.equal(terms.prototype_face, prototype_contrast(face, index, result.voice, "published"))
