"""Published distillation losses that training does not use: agreement with slow forms, and their laws."""

import math

import pytest
import torch
from parity import perceptionist_distillation
from torch import Tensor

torch.manual_seed(0)
A, B = torch.randn(5, 6, dtype=torch.float64), torch.randn(5, 6, dtype=torch.float64)
MAPS_A, MAPS_B = torch.randn(4, 3, 2, 2, dtype=torch.float64), torch.randn(4, 3, 2, 2, dtype=torch.float64)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def smooth(a: float, b: float) -> float:
    error = abs(a - b)
    return 0.5 * error**2 if error < 1 else error - 0.5


def slow_relation(student: Tensor, target: Tensor) -> float:
    count, distances, angles = len(student), [], []
    for rows in (student, target):
        apart = [[float((a - b).norm()) for b in rows] for a in rows]
        positive = [value for row in apart for value in row if value > 0]
        mean = sum(positive) / len(positive)
        distances.append([value / mean for row in apart for value in row])
        cosines = []
        for i in range(count):
            for j in range(count):
                for k in range(count):
                    zero = i in (j, k)
                    cosines.append(0.0 if zero else cosine(rows[j] - rows[i], rows[k] - rows[i]))
        angles.append(cosines)
    mean_of = lambda pair: sum(map(smooth, *pair)) / len(pair[0])  # noqa: E731
    return 25 * mean_of(distances) + 50 * mean_of(angles)


def slow_selectivity(student: Tensor, target: Tensor) -> float:
    unit = lambda maps: [[row / row.norm() for row in item.flatten(1)] for item in maps]  # noqa: E731

    def kernel(a: list, b: list) -> float:
        values = [float(x @ y) ** 2 for one, other in zip(a, b) for x in one for y in other]
        return sum(values) / len(values)

    ours, theirs = unit(student), unit(target)
    return kernel(theirs, theirs) + kernel(ours, ours) - 2 * kernel(ours, theirs)


def slow_similarity(student: Tensor, target: Tensor) -> float:
    tables = []
    for maps in (student, target):
        gram = torch.tensor([[float((a * b).sum()) for b in maps] for a in maps])
        tables.append(torch.stack([row / row.norm() for row in gram]))
    return float((tables[0] - tables[1]).square().sum()) / len(student) ** 2


def slow_attention(student: Tensor, target: Tensor) -> float:
    rows = []
    for maps in (student, target):
        energy = [sum(channel.square() for channel in item).flatten() / len(item) for item in maps]
        rows.append(torch.stack([row / row.norm() for row in energy]))
    return float((rows[0] - rows[1]).square().mean())


@pytest.mark.parametrize(
    ("fast", "slow", "first", "second"),
    [
        (perceptionist_distillation.relational_distillation, slow_relation, A, B),
        (perceptionist_distillation.neuron_selectivity, slow_selectivity, MAPS_A, MAPS_B),
        (perceptionist_distillation.similarity_preserving, slow_similarity, MAPS_A, MAPS_B),
        (perceptionist_distillation.attention_transfer, slow_attention, MAPS_A, MAPS_B),
    ],
)
def test_the_fast_form_is_the_slow_one_and_nothing_is_lost_on_equals(fast, slow, first, second) -> None:
    assert float(fast(first, second)) == pytest.approx(slow(first, second), rel=1e-5)
    assert float(fast(first, first)) == pytest.approx(0, abs=1e-12)
    learner = first.clone().requires_grad_()
    fast(learner, second).backward()
    assert learner.grad is not None and learner.grad.isfinite().all() and learner.grad.abs().max() > 0


def test_correlation_by_hand() -> None:
    student, target = torch.tensor([[1.0, 2], [0, 5], [3, 3]]), torch.tensor([[0.0, 0], [1, 1], [1, 1]])
    # errors (1, 2), (1, 4), (2, 2): products 1 + 8 and 2 + 8
    assert float(perceptionist_distillation.correlation(student, target)) == pytest.approx(9.5)
    with pytest.raises(ValueError, match="at least 2"):
        perceptionist_distillation.correlation(student[:1], target[:1])


def test_information_is_the_likelihood_of_a_regression() -> None:
    module = perceptionist_distillation.VariationalInformationDistillation(4, 3, 5, initial_variance=5.0)
    student, target = torch.randn(6, 4), torch.randn(6, 5)
    hidden = student
    for layer in module.regressor:
        hidden = hidden.relu() if isinstance(layer, torch.nn.ReLU) else hidden @ layer.weight[:, :, 0, 0].T
    normal = torch.distributions.Normal(hidden, 5.0**0.5)
    expected = -normal.log_prob(target).mean() - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(module(student, target), expected)
    maps = module(torch.randn(2, 4, 8, 8), torch.randn(2, 5, 4, 4))
    assert maps.isfinite()
    with pytest.raises(ValueError, match="above"):
        perceptionist_distillation.VariationalInformationDistillation(4, 3, 5, initial_variance=0)
