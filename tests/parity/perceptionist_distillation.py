"""Distillation losses that are published with perceptionist's code and that its training does not use.

The published code takes them from the knowledge distillation benchmark RepDistiller (Tian et al., ICLR 2020).
Letters: B batch, C channels, H and W of a feature map.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Attention transfer (AT): mean squared difference of normalized squared features.

    Args:
        student: (B, C), or (B, C, H, W), of which the channels are averaged.
        teacher: the same but for the channels of maps.
    """
    ours, theirs = (_normalized_energy(each) for each in (student, teacher))
    return functional.mse_loss(ours, theirs)


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Similarity preserving (SP): squared differences of normalized Gram matrices, over B squared."""
    ours, theirs = (functional.normalize(_gram_matrix(each), dim=1) for each in (student, teacher))
    return (ours - theirs).square().sum() / len(student) ** 2


def correlation(student: Tensor, teacher: Tensor) -> Tensor:
    """Correlation: mean of the products of absolute errors of neighbours, summed over features (B, C).

    Raises:
        ValueError: fewer than two items.
    """
    if len(student) < 2:
        raise ValueError(f"expected at least 2 items, whose neighbours are compared, found {len(student)}")
    error = (student - teacher).abs()
    return (error[:-1] * error[1:]).sum(1).mean()


def neuron_selectivity(student: Tensor, teacher: Tensor) -> Tensor:
    """Neuron selectivity (NST): squared maximum mean discrepancy of unit channel maps, kernel (a b)^2.

    Args:
        student: (B, C, H, W).
        teacher: (B, C', H, W), no gradient through its own term.
    """
    ours, theirs = (functional.normalize(each.flatten(2), dim=2) for each in (student, teacher))
    kernel = lambda a, b: torch.bmm(a, b.transpose(1, 2)).square().mean()  # noqa: E731
    return kernel(theirs, theirs).detach() + kernel(ours, ours) - 2 * kernel(ours, theirs)


def relational_distillation(
    student: Tensor, teacher: Tensor, distance_weight: float = 25.0, angle_weight: float = 50.0
) -> Tensor:
    """Relational distillation (RKD): distances between items and angles at items, compared by smooth L1.

    Args:
        student: features (B, ...), flattened.
        teacher: of the same items; no gradient.
        distance_weight: of the table of distances, each divided by the mean of its positive entries.
        angle_weight: of the table of cosines at every item.
    """
    ours, theirs = student.flatten(1), teacher.flatten(1).detach()
    apart = functional.smooth_l1_loss(_normalized_distances(ours), _normalized_distances(theirs))
    angles = functional.smooth_l1_loss(_pairwise_cosines(ours), _pairwise_cosines(theirs))
    return distance_weight * apart + angle_weight * angles


class VariationalInformationDistillation(nn.Module):
    """VID: negative log likelihood of the teacher's features under a regression from the student's.

    Args:
        student_channels: of the student.
        hidden_channels: of the regression.
        teacher_channels: of the teacher.
        initial_variance: of every channel.
        min_variance: added to the variance.
    """

    def __init__(
        self,
        student_channels: int,
        hidden_channels: int,
        teacher_channels: int,
        initial_variance: float = 5.0,
        min_variance: float = 1e-5,
    ) -> None:
        super().__init__()
        if initial_variance <= min_variance:
            raise ValueError(f"initial_variance must be above {min_variance:g}, found {initial_variance:g}")
        self.min_variance = min_variance
        self.regressor = nn.Sequential(
            nn.Conv2d(student_channels, hidden_channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(hidden_channels, hidden_channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(hidden_channels, teacher_channels, 1, bias=False),
        )
        self.log_scale = nn.Parameter(
            torch.full((teacher_channels,), math.log(math.expm1(initial_variance - min_variance)))
        )

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Features (B, C) or (B, C, H, W); larger maps of the student are averaged down."""
        ours, theirs = (each[:, :, None, None] if each.ndim == 2 else each for each in (student, teacher))
        if ours.shape[2:] != theirs.shape[2:]:
            ours = functional.adaptive_avg_pool2d(ours, (theirs.shape[2], theirs.shape[3]))
        variance = (functional.softplus(self.log_scale) + self.min_variance)[:, None, None]
        error = (self.regressor(ours) - theirs).square()
        return 0.5 * (error / variance + variance.log()).mean()


def _normalized_energy(features: Tensor) -> Tensor:
    energy = features.square()
    return functional.normalize(energy.mean(1).flatten(1) if energy.ndim == 4 else energy, dim=1)


def _gram_matrix(features: Tensor) -> Tensor:
    rows = features.flatten(1)
    return rows @ rows.T


def _normalized_distances(rows: Tensor) -> Tensor:
    """Euclidean distances (B, B), diagonal 0, divided by the mean of the positive ones."""
    squares = rows.square().sum(1)
    apart = (squares[:, None] + squares - 2 * rows @ rows.T).clamp_min(1e-12).sqrt()
    apart = apart.masked_fill(torch.eye(len(rows), dtype=torch.bool, device=rows.device), 0)
    positive = apart > 0
    return apart / (apart.sum() / positive.sum().clamp_min(1))


def _pairwise_cosines(rows: Tensor) -> Tensor:
    """Cosines at item i between the directions to j and to k, (B, B, B); 0 for directions without length."""
    directions = functional.normalize(rows - rows[:, None], dim=2)
    return torch.bmm(directions, directions.transpose(1, 2))
