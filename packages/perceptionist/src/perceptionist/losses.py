"""The objective of the unsupervised cascade: real or made, whose face, distillation, triplets.

Every function gives scalars, means over the batch; the terms keep the names of the published log. Letters: B
batch, C identities, N vertices, P pooled features (specification, section 6).
"""

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from voiceface.runtime.config import Config

from perceptionist.image_to_3d import Regression

PktOrder = Literal["learner_first", "target_first"]
TripletDistance = Literal["vertex", "axis"]


class DistillationConfig(Config):
    """What the student learns from the expert."""

    vertex_weight: float = Field(default=0.5, ge=0, description="weight of the squared distance of vertices")
    pkt_weight: float = Field(default=10000.0, ge=0, description="weight of the transfer of inner features")
    update_generator: bool = Field(
        default=True,
        description="whether the comparison reaches the generator, as published; it is least where all "
        "pictures are alike",
    )
    pkt_order: PktOrder = Field(
        default="learner_first",
        description="of the arguments of the transfer, not alike: learner_first as its method means "
        "it; target_first as the published code calls it",
    )


class GeneratorLossConfig(Config):
    """What makes a picture a face, and whose: weights on the generator's side.

    The two published terms reach the generator through networks that know a few pictures by heart; with
    hundreds of people in place of a thousand, and minutes in place of days, it learns little from them.
    `pixel_weight` is ours and needs `data.face_sampling: same`.
    """

    adversarial_weight: float = Field(default=1.0, ge=0, description="real or made")
    identity_weight: float = Field(default=1.0, ge=0, description="whose face")
    pixel_weight: float = Field(
        default=0.0,
        ge=0,
        description="mean absolute difference from a picture of the same person, in units of half the "
        "range; 0: as published",
    )


class TripletConfig(Config):
    """Meshes of one speaker are to be nearer than those of two."""

    weight: float = Field(default=1.5, ge=0)
    margin: float = Field(default=1.0, ge=0, description="pixels")
    distance: TripletDistance = Field(
        default="vertex",
        description="vertex: mean distance of a vertex; axis: over all vertices, for x, y and z each by "
        "itself, as published",
    )


def discriminator_terms(
    real_logits: Tensor, generated_logits: Tensor, identity_logits: Tensor, face_labels: Tensor
) -> dict[str, Tensor]:
    """Terms of the discriminator's side.

    Args:
        real_logits: discriminator's logits for real pictures, (B, 1).
        generated_logits: for made ones, (B, 1).
        identity_logits: classifier's logits for the real ones, (B, C); it learns from these only.
        face_labels: identities of the real pictures, (B,).
    """
    return {
        "D_real": _bce_with_constant_label(real_logits, 1.0),
        "D_fake": _bce_with_constant_label(generated_logits, 0.0),
        "C_real": functional.cross_entropy(identity_logits, face_labels),
    }


def generator_terms(
    generated_logits: Tensor, identity_logits: Tensor, voice_labels: Tensor
) -> dict[str, Tensor]:
    """Adversarial terms of the generator's side.

    Args:
        generated_logits: discriminator's logits for made pictures, (B, 1).
        identity_logits: classifier's logits for them, (B, C).
        voice_labels: whose voices they were made from, (B,).
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
    """What student and expert make of the same pictures, compared; weighted, their sum is the distillation.

    Args:
        student: its parameters, pooled and inner features.
        expert: the same of the expert.
        student_vertices: frontal meshes, (B, 3, N), pixels.
        expert_vertices: the same of the expert.
        config: weights and order.
    """
    config = config or DistillationConfig()
    moved = functional.mse_loss(student_vertices, expert_vertices)
    terms = {"Distill_vertices": config.vertex_weight * moved}
    for name, ours, theirs in (
        ("Distill_pooled", student.pooled, expert.pooled),
        ("Distill_inter", student.inter, expert.inter),
    ):
        pair = (ours, theirs) if config.pkt_order == "learner_first" else (theirs, ours)
        terms[name] = config.pkt_weight * probabilistic_transfer(*pair)
    return terms


def probabilistic_transfer(student: Tensor, teacher: Tensor, epsilon: float = 1e-7) -> Tensor:
    """Divergence of the learner's table of similarities in the batch from the target's (PKT).

    Args:
        student: features (B, ...), flattened per item. The published code passes the expert here.
        teacher: features of the same items, of any length.
        epsilon: added to lengths and inside the logarithm.

    Returns:
        Mean over the B x B pairs of P_t ln((P_t + epsilon) / (P_l + epsilon)); at least about 0.

    Raises:
        ValueError: the two have another number of items.
    """
    if len(student) != len(teacher):
        raise ValueError(f"the same items needed on both sides, found {len(student)} and {len(teacher)}")
    ours, theirs = (_affinity_matrix(each, epsilon) for each in (student, teacher))
    return (theirs * torch.log((theirs + epsilon) / (ours + epsilon))).mean()


def triplet_term(
    anchor: Tensor, positive: Tensor, negative: Tensor, config: TripletConfig | None = None
) -> Tensor:
    """Weighted triplet loss of meshes, max(0, d(anchor, positive) - d(anchor, negative) + margin).

    Args:
        anchor: frontal meshes (B, 3, N), pixels.
        positive: of other recordings of the same speakers.
        negative: of other speakers.
        config: weight, margin and distance.

    Raises:
        ValueError: the shapes differ.
    """
    config = config or TripletConfig()
    shapes = {tuple(each.shape) for each in (anchor, positive, negative)}
    if len(shapes) != 1 or anchor.ndim != 3:
        raise ValueError(f"three sets of meshes of one shape (B, 3, N) needed, found {sorted(shapes)}")
    if config.distance not in get_args(TripletDistance):
        raise ValueError(f"unknown form {config.distance!r} of the triplet loss")
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
    """Binary cross entropy of the logits' sigmoid against one label for all."""
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def _affinity_matrix(features: Tensor, epsilon: float) -> Tensor:
    """Cosines between the items, moved to 0...1, rows summing to one: (B, ...) to (B, B)."""
    with torch.autocast(features.device.type, enabled=False):
        rows = features.flatten(1)
        rows = rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows
        rows = rows / (torch.linalg.vector_norm(rows, dim=1, keepdim=True) + epsilon)
        rows = torch.where(rows.isnan(), 0, rows)
        alike = (rows @ rows.T + 1) / 2
        return alike / alike.sum(1, keepdim=True)
