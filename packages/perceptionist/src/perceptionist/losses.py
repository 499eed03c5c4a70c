"""Losses of the unsupervised cascade: adversarial, identity, distillation and triplet terms.

Every function returns scalars, means over the batch; the terms keep the names of the published log. Letters:
B batch, C identities, N vertices, P pooled features.
"""

from collections.abc import Mapping
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional
from voiceface.runtime.distributed import all_gather_with_gradient

from perceptionist.image_to_3d import Regression
from perceptionist.network_config import DistillationConfig, TripletConfig, TripletDistance

__all__ = [
    "discriminator_terms",
    "distillation_terms",
    "generator_terms",
    "probabilistic_transfer",
    "sum_terms",
    "triplet_margin_loss",
    "triplet_term",
]


def discriminator_terms(
    real_logits: Tensor, generated_logits: Tensor, identity_logits: Tensor, face_labels: Tensor
) -> dict[str, Tensor]:
    """Loss terms of the discriminator's side.

    Args:
        real_logits: discriminator's logits for real images, (B, 1).
        generated_logits: for generated images, (B, 1).
        identity_logits: classifier's logits for the real images, (B, C); it is trained on these only.
        face_labels: identities of the real images, (B,).
    """
    return {
        "D_real": _bce_with_constant_label(real_logits, 1.0),
        "D_fake": _bce_with_constant_label(generated_logits, 0.0),
        "C_real": functional.cross_entropy(identity_logits, face_labels),
    }


def generator_terms(
    generated_logits: Tensor, identity_logits: Tensor, voice_labels: Tensor
) -> dict[str, Tensor]:
    """Adversarial and identity terms of the generator's side.

    Args:
        generated_logits: discriminator's logits for generated images, (B, 1).
        identity_logits: classifier's logits for them, (B, C).
        voice_labels: identities of the voices that they were generated from, (B,).
    """
    return {
        "G_D_fake": _bce_with_constant_label(generated_logits, 1.0),
        "G_C_fake": functional.cross_entropy(identity_logits, voice_labels),
    }


def distillation_terms(
    student: Regression,
    expert: Regression,
    student_vertices: Tensor,
    expert_vertices: Tensor,
    config: DistillationConfig | None = None,
) -> dict[str, Tensor]:
    """Knowledge distillation of the cascade: weighted terms of student and expert on the same images.

    Args:
        student: the student's parameters, pooled and inner features; of several processes, those of this
            process's images (affinities are taken between the images of all).
        expert: those of the expert.
        student_vertices: frontal meshes of the student, (B, 3, N), pixels.
        expert_vertices: those of the expert.
        config: weights and order of the arguments.
    """
    config = config or DistillationConfig()
    vertex_error = functional.mse_loss(student_vertices, expert_vertices)
    terms = {"Distill_vertices": config.vertex_weight * vertex_error}
    for name, student_features, expert_features in (
        ("Distill_pooled", student.pooled, expert.pooled),
        ("Distill_inter", student.inter, expert.inter),
    ):
        pair = student_features, expert_features
        if config.pkt_order == "teacher_first":
            pair = expert_features, student_features
        terms[name] = config.pkt_weight * probabilistic_transfer(*map(all_gather_with_gradient, pair))
    return terms


def probabilistic_transfer(student: Tensor, teacher: Tensor, epsilon: float = 1e-7) -> Tensor:
    """Probabilistic knowledge transfer (PKT, Passalis and Tefas, ECCV 2018): divergence of affinities.

    Args:
        student: features (B, ...), flattened per item. The published code passes the expert here.
        teacher: features of the same items, of any length.
        epsilon: added to lengths and inside the logarithm.

    Returns:
        Mean over the B x B pairs of P_t ln((P_t + epsilon) / (P_s + epsilon)); at least about 0.

    Raises:
        ValueError: the numbers of items differ.
    """
    if len(student) != len(teacher):
        raise ValueError(
            f"student and teacher must have the same items, found {len(student)} and {len(teacher)}"
        )
    p_student, p_teacher = (_affinity_matrix(each, epsilon) for each in (student, teacher))
    return (p_teacher * torch.log((p_teacher + epsilon) / (p_student + epsilon))).mean()


def triplet_term(
    anchor: Tensor, positive: Tensor, negative: Tensor, config: TripletConfig | None = None
) -> Tensor:
    """Weighted triplet loss of meshes, max(0, d(anchor, positive) - d(anchor, negative) + margin).

    Args:
        anchor: frontal meshes (B, 3, N), pixels.
        positive: of other utterances of the same identities.
        negative: of other identities.
        config: weight, margin and distance.

    Raises:
        ValueError: the shapes differ.
    """
    config = config or TripletConfig()
    shapes = {tuple(each.shape) for each in (anchor, positive, negative)}
    if len(shapes) != 1 or anchor.ndim != 3:
        raise ValueError(f"expected three batches of meshes of one shape (B, 3, N), found {sorted(shapes)}")
    if config.distance not in get_args(TripletDistance):
        raise ValueError(f"losses.triplet.distance is {config.distance!r}, expected vertex or axis")
    if config.distance == "axis":
        return config.weight * triplet_margin_loss(anchor, positive, negative, config.margin)
    near, far = ((anchor - other + 1e-6).norm(dim=1).mean(1) for other in (positive, negative))
    return config.weight * functional.relu(near - far + config.margin).mean()


def triplet_margin_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0) -> Tensor:
    """Triplet margin loss, Euclidean distance over the last axis, 1e-6 added to differences; the mean."""
    return functional.triplet_margin_loss(anchor, positive, negative, margin=margin, p=2, eps=1e-6)


def sum_terms(terms: Mapping[str, Tensor]) -> Tensor:
    """Sum of all terms."""
    return torch.stack(list(terms.values())).sum()


def _bce_with_constant_label(logits: Tensor, label: float) -> Tensor:
    """Binary cross entropy of logits with one label for all."""
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def _affinity_matrix(features: Tensor, epsilon: float) -> Tensor:
    """Cosines between the items, shifted to 0...1, with rows that sum to one: (B, ...) to (B, B)."""
    with torch.autocast(features.device.type, enabled=False):
        rows = features.flatten(1)
        rows = rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows
        rows = rows / (torch.linalg.vector_norm(rows, dim=1, keepdim=True) + epsilon)
        rows = torch.where(rows.isnan(), 0, rows)
        affinities = (rows @ rows.T + 1) / 2
        return affinities / affinities.sum(1, keepdim=True)
