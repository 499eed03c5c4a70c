"""Losses: agreement with slow forms, their properties, and invalid input."""

import math

import pytest
import torch
from perceptionist import expert_losses, losses
from perceptionist.image_to_3d import Regression
from perceptionist.network_config import DistillationConfig, TripletConfig
from torch import Tensor

torch.manual_seed(0)
A, B = torch.randn(5, 6, dtype=torch.float64), torch.randn(5, 6, dtype=torch.float64)
MAPS_A, MAPS_B = torch.randn(4, 3, 2, 2, dtype=torch.float64), torch.randn(4, 3, 2, 2, dtype=torch.float64)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def slow_transfer(learner: Tensor, target: Tensor) -> float:
    count, tables = len(learner), []
    for features in (learner, target):
        affinities = [[(cosine(a, b) + 1) / 2 for b in features] for a in features]
        tables.append([[value / sum(row) for value in row] for row in affinities])
    actual, expected = tables
    terms = [
        expected[i][j] * math.log((expected[i][j] + 1e-7) / (actual[i][j] + 1e-7))
        for i in range(count)
        for j in range(count)
    ]
    return sum(terms) / count**2


def test_probabilistic_transfer_agrees_with_a_slow_form_and_vanishes_for_equal_features() -> None:
    assert float(losses.probabilistic_transfer(A, B)) == pytest.approx(slow_transfer(A, B), rel=1e-5)
    assert float(losses.probabilistic_transfer(A, A)) == pytest.approx(0, abs=1e-12)
    learner = A.clone().requires_grad_()
    losses.probabilistic_transfer(learner, B).backward()
    assert learner.grad is not None and learner.grad.isfinite().all() and learner.grad.abs().max() > 0


def test_gradient_descent_reaches_the_target() -> None:
    learner = A.clone().requires_grad_()
    optimiser = torch.optim.Adam([learner], 0.05)
    for _ in range(300):
        optimiser.zero_grad()
        losses.probabilistic_transfer(learner, B).backward()
        optimiser.step()
    assert losses.probabilistic_transfer(learner, B) < 0.01 * losses.probabilistic_transfer(A, B)


def test_transfer_depends_on_directions_only_and_is_asymmetric() -> None:
    there = losses.probabilistic_transfer(A, B)
    assert there > 0
    torch.testing.assert_close(losses.probabilistic_transfer(3 * A, B), there, rtol=1e-6, atol=0)
    assert losses.probabilistic_transfer(B, A) != there
    assert losses.probabilistic_transfer(A.float().half(), B.half()).dtype == torch.float32
    with pytest.raises(ValueError, match="5 and 4"):
        losses.probabilistic_transfer(A, B[:4])


def test_a_zero_row_has_a_finite_loss_and_gradient() -> None:
    rows = A.clone()
    rows[2] = 0
    rows.requires_grad_()
    loss = losses.probabilistic_transfer(rows, B)
    loss.backward()
    assert loss.isfinite() and rows.grad.isfinite().all()


def test_adversarial_terms_by_hand() -> None:
    real, generated = torch.tensor([[2.0], [-1]]), torch.tensor([[0.5], [0]])
    classes = torch.tensor([[1.0, 0, 0], [0, 0, 2]])
    terms = losses.discriminator_terms(real, generated, classes, torch.tensor([0, 1]))
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    assert terms["D_real"].item() == pytest.approx(-(math.log(sigmoid(2)) + math.log(sigmoid(-1))) / 2)
    assert terms["D_fake"].item() == pytest.approx(-(math.log(1 - sigmoid(0.5)) + math.log(0.5)) / 2)
    surprise = math.log(math.e + 2) - 1, math.log(math.e**2 + 2)
    assert terms["C_real"].item() == pytest.approx(sum(surprise) / 2)
    actual = losses.generator_terms(generated, classes, torch.tensor([0, 1]))
    assert actual["G_D_fake"].item() == pytest.approx(-(math.log(sigmoid(0.5)) + math.log(0.5)) / 2)
    assert actual["G_C_fake"].item() == pytest.approx(sum(surprise) / 2)
    torch.testing.assert_close(losses.sum_terms(terms), sum(terms.values()))
    assert losses.generator_terms(torch.full((2, 1), -1e4), classes, torch.tensor([0, 1]))["G_D_fake"] == 1e4


def test_distillation_is_the_weighted_sum_in_either_order() -> None:
    maps = MAPS_A[[0, 1, 2, 3, 0]], MAPS_B[[0, 1, 2, 3, 1]]
    student, expert = (Regression(torch.empty(0), *each) for each in zip((A, B), maps))
    meshes = torch.randn(2, 5, 3, 9, dtype=torch.float64)
    for order, pairs in (("student_first", (0, 1)), ("teacher_first", (1, 0))):
        terms = losses.distillation_terms(student, expert, *meshes, DistillationConfig(pkt_order=order))
        vertex_error = (meshes[0] - meshes[1]).square().mean()
        torch.testing.assert_close(terms["Distill_vertices"], 0.5 * vertex_error)
        for name, features in (("pooled", (A, B)), ("inter", (student.inter, expert.inter))):
            expected = 1e4 * losses.probabilistic_transfer(*(features[i] for i in pairs))
            torch.testing.assert_close(terms[f"Distill_{name}"], expected)


def slow_triplet(anchor: Tensor, positive: Tensor, negative: Tensor, form: str) -> float:
    result = []
    for a, p, n in zip(anchor, positive, negative):
        if form == "axis":
            for axis in range(3):
                near, far = ((a[axis] - x[axis] + 1e-6).norm() for x in (p, n))
                result.append(max(0.0, float(near - far) + 1))
        else:
            near, far = (
                sum((a[:, k] - x[:, k] + 1e-6).norm() for k in range(a.shape[1])) / a.shape[1] for x in (p, n)
            )
            result.append(max(0.0, float(near - far) + 1))
    return 1.5 * sum(result) / len(result)


@pytest.mark.parametrize("form", ["axis", "vertex"])
def test_triplets_of_meshes(form: str) -> None:
    meshes = torch.randn(3, 4, 3, 7, dtype=torch.float64)
    config = TripletConfig(distance=form)
    assert losses.triplet_term(*meshes, config).item() == pytest.approx(slow_triplet(*meshes, form))
    far = meshes[0] + 100
    assert losses.triplet_term(meshes[0], meshes[0], far, config) == 0
    assert losses.triplet_term(meshes[0], meshes[0], meshes[0], config).item() == pytest.approx(1.5)
    anchor = meshes[0].clone().requires_grad_()
    losses.triplet_term(anchor, anchor.detach(), meshes[1], config).backward()
    assert anchor.grad.isfinite().all()


def test_triplets_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        losses.triplet_term(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4), torch.zeros(2, 3, 5))


def test_wing_is_continuous_and_has_the_stated_parts() -> None:
    zero = torch.zeros(1, dtype=torch.float64)
    at = lambda x: expert_losses.wing_loss(zero + x, zero).item()  # noqa: E731
    assert at(3) == pytest.approx(10 * math.log(2.5))
    assert at(-14) == pytest.approx(14 - (10 - 10 * math.log(6)))
    assert at(10 - 1e-9) == pytest.approx(at(10 + 1e-9), abs=1e-7)
    assert at(0) == 0
    steep = expert_losses.wing_loss(zero + 3, zero, width=1.0, curvature=0.5)
    assert steep.item() == pytest.approx(3 - (1 - math.log(3)))
    with pytest.raises(ValueError, match="one shape"):
        expert_losses.wing_loss(zero, torch.zeros(2))
    with pytest.raises(ValueError, match="above 0"):
        expert_losses.wing_loss(zero, zero, curvature=0)


def test_parameter_errors_by_loops() -> None:
    result, ground_truth = torch.randn(2, 3, 20, dtype=torch.float64)
    slow = [
        math.sqrt(
            sum(float(result[i, k] - ground_truth[i, k]) ** 2 for k in range(12)) / 12
            + sum(float(result[i, k] - ground_truth[i, k]) ** 2 for k in range(12, 20)) / 8
        )
        for i in range(3)
    ]
    assert expert_losses.parameter_error(result, ground_truth).item() == pytest.approx(sum(slow) / 3)
    for columns, shift in (("matching", 12), ("first", 0)):
        rows = [
            math.sqrt(sum(float(result[i, k + shift] - ground_truth[i, k + 12]) ** 2 for k in range(8)) / 8)
            for i in range(3)
        ]
        assert expert_losses.coefficient_error(result, ground_truth, columns).item() == pytest.approx(
            sum(rows) / 3
        )
    with pytest.raises(ValueError, match="columns"):
        expert_losses.coefficient_error(result, ground_truth, "last")
    for error in (expert_losses.parameter_error, expert_losses.coefficient_error):
        with pytest.raises(ValueError, match=r"\(3, 20\) and target \(3, 19\) must have one shape"):
            error(result, ground_truth[:, :19])


def test_a_perfect_expert_has_no_loss_and_a_finite_gradient() -> None:
    parameters = torch.randn(2, 20, requires_grad=True)
    texture = torch.cat([parameters, torch.randn(2, 5)], 1)
    landmarks = torch.randn(2, 3, 6, requires_grad=True)
    terms = expert_losses.expert_terms(
        landmarks, landmarks.detach(), texture, parameters.detach(), torch.zeros(2, 3, 6), parameters.detach()
    )
    loss = losses.sum_terms(terms)
    assert set(terms) == {"landmarks", "parameters", "refined", "reverse", "consistency"}
    assert loss.item() == pytest.approx(0, abs=1e-9)
    loss.backward()
    assert parameters.grad.isfinite().all() and landmarks.grad.isfinite().all()


def test_expert_terms_carry_their_weights() -> None:
    config = expert_losses.ExpertLossConfig()
    landmarks, ground_truth, residual = torch.randn(3, 2, 3, 6)
    result, true, reverse = torch.randn(3, 2, 20)
    terms = expert_losses.expert_terms(landmarks, ground_truth, result, true, residual, reverse, config)
    wing, code = expert_losses.wing_loss, expert_losses.coefficient_error
    expected = {
        "landmarks": 0.05 * wing(landmarks, ground_truth),
        "parameters": 0.02 * expert_losses.parameter_error(result, true),
        "refined": 0.05 * wing(landmarks + 0.05 * residual, ground_truth),
        "reverse": 0.02 * code(reverse, true),
        "consistency": 0.001 * code(reverse, result),
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)
