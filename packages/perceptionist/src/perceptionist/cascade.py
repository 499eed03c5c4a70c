"""The unsupervised cascade, voice to image to mesh, and the losses of both sides of an adversarial step.

Letters: B batch, M mel bands, T frames, D embedding length, S image side, N vertices.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from voiceface.models.contexts import parameters_frozen
from voiceface.runtime.config import Config

from perceptionist.face_network import Classifier, Discriminator, FaceNetwork
from perceptionist.generator import Generator, resize_bilinear
from perceptionist.image_to_3d import ImageTo3D, Regression
from perceptionist.losses import discriminator_terms, distillation_terms, generator_terms, triplet_term
from perceptionist.network_config import (
    DistillationConfig,
    FaceNetworkConfig,
    GeneratorConfig,
    GeneratorLossConfig,
    ImageTo3DConfig,
    TripletConfig,
    VoiceNetworkConfig,
)
from perceptionist.voice_network import VoiceNetwork

__all__ = [
    "Cascade",
    "CascadeConfig",
    "ExpertViews",
    "MeshFunction",
    "compute_classifier_losses",
    "compute_discriminator_losses",
    "compute_generator_losses",
    "run_expert_and_student",
]


MeshFunction = Callable[[Tensor], Tensor]
"""Whitened parameters (B, K) to frontal meshes (B, 3, N) in pixels: `LinearFaceModel.frontal_vertices`."""


class CascadeConfig(Config):
    """Sizes of all networks; the defaults are the published ones."""

    voice: VoiceNetworkConfig = VoiceNetworkConfig()
    generator: GeneratorConfig = GeneratorConfig()
    face: FaceNetworkConfig = FaceNetworkConfig()
    student: ImageTo3DConfig = ImageTo3DConfig()
    expert: ImageTo3DConfig | None = Field(default=None, description="null: sizes of the student")


class ExpertViews(NamedTuple):
    """Outputs of student and expert for the generated images of one batch.

    Attributes:
        student: regression from the anchors' images.
        expert: regression from the same images.
        student_vertices: the student's frontal meshes of anchors, positives and negatives, each (B, 3, N).
        expert_vertices: the expert's frontal meshes of the anchors.
    """

    student: Regression
    expert: Regression
    student_vertices: tuple[Tensor, ...]
    expert_vertices: Tensor


class Cascade(nn.Module):
    """All networks of the unsupervised training, under the paper's short names.

    `e` voice, `g` generator, `f` face embedding, `d` discriminator, `c` classifier, `student`, `expert`. The
    voice network and the expert are never optimised: their parameters require no gradient, although the
    expert passes a gradient on to the generator, and they stay in evaluation mode (the published code leaves
    the voice network in training mode after its first validation).

    Args:
        config: sizes of the networks.
        num_identities: training identities.
    """

    def __init__(self, config: CascadeConfig | None, num_identities: int) -> None:
        super().__init__()
        self.config = config = config or CascadeConfig()
        if not config.voice.embedding_dim == config.generator.embedding_dim:
            raise ValueError(
                f"networks.voice.embedding_dim is {config.voice.embedding_dim}, "
                "networks.generator.embedding_dim "
                f"is {config.generator.embedding_dim}; expected equal values"
            )
        if config.generator.image_size != config.face.image_size:
            raise ValueError(
                f"the generator outputs images of {config.generator.image_size} pixels, the face network "
                "expects "
                f"{config.face.image_size}; change networks.generator.channels or networks.face.channels"
            )
        self.e = VoiceNetwork(config.voice)
        self.g = Generator(config.generator)
        self.f = FaceNetwork(config.face)
        self.d = Discriminator(config.face.embedding_dim)
        self.c = Classifier(config.face.embedding_dim, num_identities)
        self.student = ImageTo3D(config.student)
        self.expert = ImageTo3D(config.expert or config.student)
        for frozen in (self.e, self.expert):
            frozen.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of every module but the voice network and the expert."""
        super().train(mode)
        self.e.eval()
        self.expert.eval()
        return self

    def embed(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """Features (B, M, T) to unit embeddings (B, D); noise (B, D) is added and normalized again."""
        with torch.no_grad():
            embedding = self.e.encode(features)
            return embedding if noise is None else F.normalize(embedding + noise)

    def generate_images(self, feature_batches: Sequence[Tensor], noise: Tensor | None = None) -> list[Tensor]:
        """Images (B, 3, S, S) of each batch of features, all with the same noise."""
        return [self.g(self.embed(features, noise)) for features in feature_batches]

    def forward(self, features: Tensor) -> Regression:
        """Features (B, M, T) to the student's regression from the generated image."""
        return self.student(resize_bilinear(self.g(self.embed(features)), self.student.config.image_size))


def compute_classifier_losses(cascade: Cascade, faces: Tensor, face_labels: Tensor) -> dict[str, Tensor]:
    """Loss term of `f` and `c` for real images only: the pretraining on faces."""
    return {"C_real": F.cross_entropy(cascade.c(cascade.f(faces)), face_labels)}


def compute_discriminator_losses(
    cascade: Cascade, faces: Tensor, generated: Tensor, face_labels: Tensor
) -> dict[str, Tensor]:
    """Loss terms of `f`, `d`, `c` for real and detached generated images, by `losses.discriminator_terms`."""
    real, fake = cascade.f(faces), cascade.f(generated.detach())
    return discriminator_terms(cascade.d(real), cascade.d(fake), cascade.c(real), face_labels)


def run_expert_and_student(
    cascade: Cascade, images: Sequence[Tensor], mesh_function: MeshFunction
) -> ExpertViews:
    """Run the expert on the anchors' images, and the student on those of anchors, positives and negatives.

    The student's passes are separate, as published: batch norms see anchors, positives and negatives
    separately, in this order.

    Args:
        cascade: the networks.
        images: anchors first, (B, 3, S, S) each.
        mesh_function: of the face model.
    """
    expert = cascade.expert(resize_bilinear(images[0], cascade.expert.config.image_size))
    regressions = [
        cascade.student(resize_bilinear(each, cascade.student.config.image_size)) for each in images
    ]
    meshes = tuple(mesh_function(each.parameters) for each in regressions)
    return ExpertViews(regressions[0], expert, meshes, mesh_function(expert.parameters))


def compute_generator_losses(
    cascade: Cascade,
    generated: Tensor,
    views: ExpertViews | None,
    voice_labels: Tensor,
    distillation: DistillationConfig | None = None,
    triplet: TripletConfig | None = None,
    generator_loss: GeneratorLossConfig | None = None,
    faces: Tensor | None = None,
) -> dict[str, Tensor]:
    """Loss terms of `g` and the student; their sum is minimised.

    Args:
        cascade: the networks.
        generated: the anchors' images.
        views: outputs of student and expert, with those of positives and negatives for the triplet loss;
            None while the student is not trained yet.
        voice_labels: identities of the anchors, (B,).
        distillation: weights and order of the distillation.
        triplet: weight, margin and distance.
        generator_loss: weights of the adversarial, identity and pixel terms.
        faces: real images of the anchors' identities, required by `generator_loss.pixel_weight`.

    Returns:
        `G_D_fake`, `G_C_fake`, with a pixel weight `G_pixels`; with `views` the three `Distill_...`, and with
        three batches of meshes `Triplet`.
    """
    with parameters_frozen(cascade.f, cascade.d, cascade.c):
        embedding = cascade.f(generated)
        terms = generator_terms(cascade.d(embedding), cascade.c(embedding), voice_labels)
    if generator_loss:
        terms["G_D_fake"] = generator_loss.adversarial_weight * terms["G_D_fake"]
        terms["G_C_fake"] = generator_loss.identity_weight * terms["G_C_fake"]
        if generator_loss.pixel_weight:
            if faces is None:
                raise ValueError(
                    "losses.generator.pixel_weight requires real images of the anchors' identities"
                )
            terms["G_pixels"] = generator_loss.pixel_weight * (generated - faces).abs().mean()
    if views is None:
        return terms
    terms |= distillation_terms(
        views.student, views.expert, views.student_vertices[0], views.expert_vertices, distillation
    )
    if len(views.student_vertices) == 3:
        terms["Triplet"] = triplet_term(*views.student_vertices, config=triplet)
    return terms
