"""The unsupervised cascade: voice to picture to mesh, and both sides of one adversarial iteration.

Letters: B batch, M mel bands, T frames, D embedding length, S picture side, N vertices (specification,
section 7).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from voiceface.models.contexts import parameters_frozen
from voiceface.runtime.config import Config

from perceptionist.face_network import Classifier, Discriminator, FaceNetwork, FaceNetworkConfig
from perceptionist.generator import Generator, GeneratorConfig, resize_bilinear
from perceptionist.image_to_3d import ImageTo3D, ImageTo3DConfig, Regression
from perceptionist.losses import (
    DistillationConfig,
    GeneratorLossConfig,
    TripletConfig,
    discriminator_terms,
    distillation_terms,
    generator_terms,
    triplet_term,
)
from perceptionist.voice_network import VoiceNetwork, VoiceNetworkConfig, l2_normalize

MeshFunction = Callable[[Tensor], Tensor]
"""Whitened parameters (B, K) to frontal meshes (B, 3, N) in pixels: `LinearFaceModel.frontal`."""


class CascadeConfig(Config):
    """Sizes of all networks; the defaults are the published ones."""

    voice: VoiceNetworkConfig = VoiceNetworkConfig()
    generator: GeneratorConfig = GeneratorConfig()
    face: FaceNetworkConfig = FaceNetworkConfig()
    student: ImageTo3DConfig = ImageTo3DConfig()
    expert: ImageTo3DConfig | None = Field(default=None, description="None: as the student")


class ExpertViews(NamedTuple):
    """What student and expert see in the pictures of one batch.

    Attributes:
        student: of the anchors' pictures.
        expert: of the same.
        student_vertices: the student's frontal meshes of anchors, positives and negatives, each (B, 3, N).
        expert_vertices: the expert's of the anchors.
    """

    student: Regression
    expert: Regression
    student_vertices: tuple[Tensor, ...]
    expert_vertices: Tensor


class Cascade(nn.Module):
    """All networks of the unsupervised training, under the short names of the paper.

    `e` voice, `g` generator, `f` face embedding, `d` discriminator, `c` classifier, `student`, `expert`. The
    voice network and the expert are never optimised: their parameters need no gradient, though the expert
    passes one on to the generator, and they stay in evaluation mode (the published code leaves the voice
    network in training mode after its first validation).

    Args:
        config: sizes.
        classes: identities of the training.
    """

    def __init__(self, config: CascadeConfig | None, num_identities: int) -> None:
        super().__init__()
        self.config = config = config or CascadeConfig()
        if not config.voice.embedding_dim == config.generator.embedding_dim:
            raise ValueError(
                f"the voice network gives {config.voice.embedding_dim} numbers, the generator takes "
                f"{config.generator.embedding_dim}"
            )
        if config.generator.image_size != config.face.image_size:
            raise ValueError(
                f"the generator makes pictures of {config.generator.image_size} pixels, the face network takes "
                f"{config.face.image_size}"
            )
        self.e = VoiceNetwork(config.voice)
        self.g = Generator(config.generator)
        self.f = FaceNetwork(config.face)
        self.d = Discriminator(config.face.embedding_dim)
        self.c = Classifier(config.face.embedding_dim, num_identities)
        self.student = ImageTo3D(config.student)
        self.expert = ImageTo3D(config.expert or config.student)
        for fixed in (self.e, self.expert):
            fixed.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of everything but the voice network and the expert."""
        super().train(mode)
        self.e.eval()
        self.expert.eval()
        return self

    def embed(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """Features (B, M, T) to unit embeddings (B, D); noise (B, D) is added before a second division."""
        with torch.no_grad():
            embedding = self.e.encode(features)
            return embedding if noise is None else l2_normalize(embedding + noise)

    def generate_images(self, feature_batches: Sequence[Tensor], noise: Tensor | None = None) -> list[Tensor]:
        """Pictures (B, 3, S, S) of each batch of features, all with the same noise."""
        return [self.g(self.embed(features, noise)) for features in feature_batches]

    def forward(self, features: Tensor) -> Regression:
        """Features (B, M, T) to what the student finds in the picture."""
        return self.student(resize_bilinear(self.g(self.embed(features)), self.student.config.image_size))


def compute_classifier_losses(cascade: Cascade, faces: Tensor, face_labels: Tensor) -> dict[str, Tensor]:
    """The term of `f` and `c` for real pictures alone, before there are made ones to tell them from."""
    return {"C_real": nn.functional.cross_entropy(cascade.c(cascade.f(faces)), face_labels)}


def compute_discriminator_losses(
    cascade: Cascade, faces: Tensor, generated: Tensor, face_labels: Tensor
) -> dict[str, Tensor]:
    """Terms of `f`, `d`, `c` for real pictures and detached made ones; see `losses.discriminator_terms`."""
    real, fake = cascade.f(faces), cascade.f(generated.detach())
    return discriminator_terms(cascade.d(real), cascade.d(fake), cascade.c(real), face_labels)


def run_expert_and_student(
    cascade: Cascade, images: Sequence[Tensor], mesh_function: MeshFunction
) -> ExpertViews:
    """Anchors' pictures before expert and student, those of positives and negatives before the student.

    The passes of the student are separate, as published: batch norms see anchors, positives and negatives by
    themselves, in this order.

    Args:
        cascade: the networks.
        images: anchors first, (B, 3, S, S) each.
        mesh_function: of the face model.
    """
    expert = cascade.expert(resize_bilinear(images[0], cascade.expert.config.image_size))
    found = [cascade.student(resize_bilinear(each, cascade.student.config.image_size)) for each in images]
    meshes = tuple(mesh_function(each.parameters) for each in found)
    return ExpertViews(found[0], expert, meshes, mesh_function(expert.parameters))


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
    """Terms of `g` and the student; their sum is what is minimised.

    Args:
        cascade: the networks.
        generated: the anchors' pictures.
        views: in them and, where triplets are wanted, in those of positives and negatives; None while the
            student does not learn yet.
        voice_labels: identities of the anchors, (B,).
        distillation: weights and order of the transfer.
        triplet: weight and form.
        generator_loss: weights of what makes a picture a face.
        faces: real pictures of the anchors' people, where `generator_loss.pixels` asks for them.

    Returns:
        `G_D_fake`, `G_C_fake`, with real pictures `G_pixels`; where something was seen the three
        `Distill_...`, where three batches were, `Triplet`.
    """
    with parameters_frozen(cascade.f, cascade.d, cascade.c):
        embedding = cascade.f(generated)
        terms = generator_terms(cascade.d(embedding), cascade.c(embedding), voice_labels)
    if generator_loss:
        terms["G_D_fake"] = generator_loss.adversarial_weight * terms["G_D_fake"]
        terms["G_C_fake"] = generator_loss.identity_weight * terms["G_C_fake"]
        if generator_loss.pixel_weight:
            if faces is None:
                raise ValueError("the difference of pixels needs real pictures of the people heard")
            terms["G_pixels"] = generator_loss.pixel_weight * (generated - faces).abs().mean()
    if views is None:
        return terms
    terms |= distillation_terms(
        views.student, views.expert, views.student_vertices[0], views.expert_vertices, distillation
    )
    if len(views.student_vertices) == 3:
        terms["Triplet"] = triplet_term(*views.student_vertices, config=triplet)
    return terms
