"""A trained model from voice to mesh: prediction of coefficients, images and whole faces.

Letters: B batch, D embedding length, M mel bands, T frames, N vertices, S image side.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from voiceface.io.file_facts import FileFacts
from voiceface.real.voice_samples import is_path

from perceptionist.config import PerceptionistConfig
from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.face_models.pose import NUM_POSE_PARAMETERS, PUBLISHED_Y_FLIP, Y_FLIP, split_pose
from perceptionist.features import load_features, load_voice
from perceptionist.generator import Generator, resize_bilinear
from perceptionist.image_to_3d import ImageTo3D
from perceptionist.supervised_head import SupervisedHead
from perceptionist.voice_network import VoiceNetwork

if TYPE_CHECKING:
    from perceptionist.image_expert_model import ImageExpert

__all__ = [
    "IMAGE_SIZE",
    "FaceCoefficients",
    "FacePrediction",
    "GeneratedFace",
    "VoiceToMesh",
    "coefficients_from_parameters",
    "coefficients_from_supervised",
]


IMAGE_SIZE = 120  # pixels of the images that meshes are stated for


class FaceCoefficients(NamedTuple):
    """Un-whitened coefficients of faces: scale (B,) in pixels per unit, shape (B, S), expression (B, E)."""

    scale: Tensor
    shape: Tensor
    expression: Tensor


class FacePrediction(NamedTuple):
    """Prediction for a batch of utterances.

    Attributes:
        embeddings: (B, D) unit voice embeddings.
        coefficients: of the faces.
        images: (B, 3, S, S) generated images of the unsupervised kind, else None.
    """

    embeddings: Tensor
    coefficients: FaceCoefficients
    images: Tensor | None


@dataclass(frozen=True)
class GeneratedFace:
    """The face generated from one utterance.

    Attributes:
        source: file that it came from.
        vertices: (N, 3) float32, frontal, pixels of a 120-pixel image, y up.
        embedding: (D,) unit voice embedding.
        shape: un-whitened shape coefficients.
        image: (120, 120, 3) uint8 RGB of the unsupervised kind, else None.
        overlay: the mesh over that image, where an expert predicts its pose, else None.
        picture_origin: what the image is if it was not generated from the voice
            (`perceptionist.pictures.PicturePainter`); else empty.
        facts: what is known about a person's own recording: notes and measures.
    """

    source: str
    vertices: NDArray[np.float32]
    embedding: NDArray[np.float32]
    shape: NDArray[np.float32]
    image: NDArray[np.uint8] | None = None
    overlay: NDArray[np.uint8] | None = None
    picture_origin: str = ""
    facts: FileFacts | None = None


@dataclass(frozen=True)
class VoiceToMesh:
    """A trained model from voice to mesh, in evaluation mode.

    Attributes:
        kind: "supervised" or "unsupervised".
        voice: voice network.
        face_model: linear face model of the coefficients.
        head: of the supervised kind, else None.
        generator, student: of the unsupervised kind, else None.
        expert: predicts the pose of the face in a generated image; None if the checkpoint has none.
        disclaimer: to show with every result.
        config: of the training run; None for published files.
        identity_names: training identities; empty if unknown.
    """

    kind: str
    voice: VoiceNetwork
    face_model: LinearFaceModel
    head: SupervisedHead | None = None
    generator: Generator | None = None
    student: ImageTo3D | None = None
    expert: ImageTo3D | None = None
    disclaimer: str = ""
    config: PerceptionistConfig | None = None
    identity_names: tuple[str, ...] = ()

    @property
    def front_end(self) -> Callable[[Tensor], Tensor] | None:
        """Of recordings, see `perceptionist.speech.extract_features`; None: that of this package."""
        return None

    @property
    def n_mels(self) -> int:
        """Mel bands of the features."""
        return self.voice.config.n_mels

    @property
    def image_expert(self) -> "ImageExpert | None":
        """The expert of these weights, for pictures of faces; None: they contain none."""
        from perceptionist.image_expert_model import ImageExpert

        if self.expert is None:
            return None
        data = None if self.config is None else self.config.data
        return ImageExpert(
            self.expert,
            self.face_model,
            self.expert.config.image_size if data is None else data.expert_image_size,
            # Published files; trained on photographs in this form.
            published_input=data is None or data.expert_input == "published",
            disclaimer=self.disclaimer or self.face_model.disclaimer,
            source="of the weights",
            face_crop="population" if self.disclaimer else "vggface_frontal",
        )

    def to(self, device: torch.device | str) -> "VoiceToMesh":
        """Move every module, in place."""
        for part in (self.voice, self.face_model, self.head, self.generator, self.student, self.expert):
            if part is not None:
                part.to(device)
        return self

    def generate(self, voice: Any, **options: Any) -> GeneratedFace:
        """Generate the face of a person's own recording, samples, or stored feature file (.npy).

        Args:
            voice, options: see `perceptionist.features.load_voice`.

        Raises:
            AudioError, SpeechError, OSError: as `load_voice`: silence, noise, too little speech, unreadable.
            ValueError: as `generate_from_features`.
        """
        features, facts = load_voice(voice, self.n_mels, self.front_end, **options)
        source = str(voice) if is_path(voice) else "the recording"
        return replace(self.generate_from_features(features, source), facts=facts)

    def generate_from_data(self, path: str | Path) -> GeneratedFace:
        """Generate the face of an utterance of a data folder: first channel, no measurements.

        Raises:
            SpeechError, OSError: as `perceptionist.features.load_features`.
            ValueError: as `generate_from_features`.
        """
        return self.generate_from_features(load_features(path, n_mels=self.n_mels), str(path))

    @torch.inference_mode()
    def generate_from_features(
        self, features: NDArray[Any], source: str = "", *, published: bool = False
    ) -> GeneratedFace:
        """Generate the face of one utterance.

        Args:
            features: (T, M), from `perceptionist.features.load_features`.
            source: name of the utterance, for the record and for messages.
            published: image half a level brighter, overlay six pixels low and drawn with the coverage rule
                "inclusive", as in the published program.

        Raises:
            ValueError: features of another width, or a mesh that is not finite.
        """
        batch = torch.from_numpy(np.ascontiguousarray(features.T))[None].to(self.face_model.mean.device)
        embeddings, coefficients, images = self.predict(batch)
        vertices = self.vertices_from_coefficients(coefficients)
        if not torch.isfinite(vertices).all():
            raise ValueError(f"{source or 'the utterance'}: the model predicts a mesh that is not finite")
        image = overlay = None
        if images is not None:
            image, overlay = self._render_image(images, vertices, published)
        return GeneratedFace(
            source,
            np.ascontiguousarray(vertices[0].T.float().cpu().numpy()),
            embeddings[0].float().cpu().numpy(),
            coefficients.shape[0].float().cpu().numpy(),
            image,
            overlay,
        )

    @torch.no_grad()
    def predict(self, features: Tensor) -> FacePrediction:
        """Predict embeddings, coefficients and images from features (B, M, T); every network runs once."""
        embeddings = self.voice.encode(features)
        if self.head is not None:
            coefficients = coefficients_from_supervised(self.face_model, self.head(embeddings))
            return FacePrediction(embeddings, coefficients, None)
        images = self._generate_images(embeddings)
        assert self.student is not None
        parameters = self.student(resize_bilinear(images, self.student.config.image_size)).parameters
        return FacePrediction(embeddings, coefficients_from_parameters(self.face_model, parameters), images)

    def predict_coefficients(self, features: Tensor) -> FaceCoefficients:
        """Features (B, M, T) to scale, shape and expression."""
        return self.predict(features).coefficients

    def predict_vertices(self, features: Tensor) -> Tensor:
        """Features (B, M, T) to frontal meshes (B, 3, N), pixels of a 120-pixel image, y up."""
        return self.vertices_from_coefficients(self.predict(features).coefficients)

    @torch.no_grad()
    def vertices_from_coefficients(self, coefficients: FaceCoefficients) -> Tensor:
        """Frontal meshes (B, 3, N), pixels of a 120-pixel image, y up."""
        scale, shape, expression = coefficients
        return scale[:, None, None] * self.face_model.vertices(shape, expression)

    @torch.no_grad()
    def generate_images(self, features: Tensor) -> Tensor:
        """Features (B, M, T) to images (B, 3, S, S): RGB, nominally -1...1, not bounded.

        Raises:
            ValueError: the supervised kind generates no images.
        """
        return self._generate_images(self.voice.encode(features))

    @torch.no_grad()
    def predict_expert_parameters(self, images: Tensor) -> Tensor:
        """Whitened parameters (B, 62 or 102) that the expert predicts from images (B, 3, S, S).

        Raises:
            ValueError: there is no expert.
        """
        if self.expert is None:
            raise ValueError("These weights contain no expert, so no pose can be predicted from an image.")
        return self.expert(resize_bilinear(images, self.expert.config.image_size)).parameters

    def _generate_images(self, embeddings: Tensor) -> Tensor:
        if self.generator is None:
            raise ValueError(
                f"A model of kind {self.kind} generates no images. Pass the weights of an unsupervised one."
            )
        return self.generator(embeddings)

    def _render_image(
        self, images: Tensor, vertices: Tensor, published: bool
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """The first image as bytes, and with the mesh over it if it can be drawn and an expert
        predicts a finite pose.
        """
        from perceptionist.visualisation import images_to_uint8, overlay_mesh, pose_mesh

        y_flip = PUBLISHED_Y_FLIP if published else Y_FLIP
        resized = resize_bilinear(images, IMAGE_SIZE)
        image = images_to_uint8(resized, "published" if published else "even")[0]
        if self.image_expert is None or not len(self.face_model.triangles):
            return image, None
        expert_parameters = self.predict_expert_parameters(images)
        posed, _ = pose_mesh(self.face_model, vertices, expert_parameters, y_flip)
        if not torch.isfinite(posed).all():
            return image, None
        coverage = "inclusive" if published else "top_left"
        return image, overlay_mesh(image, posed[0], self.face_model, coverage=coverage)


def coefficients_from_supervised(model: LinearFaceModel, parameters: Tensor) -> FaceCoefficients:
    """Scale, shape and expression from the supervised head's whitened numbers (B, 1 + S + E)."""
    pose = model.parameter_mean[:NUM_POSE_PARAMETERS].expand(parameters.shape[0], -1)
    rest = parameters[:, 1:].to(model.mean.dtype)
    unwhitened = model.unwhiten(torch.cat([torch.zeros_like(pose), rest], 1))
    scale = model.scale[1] * parameters[:, 0].to(model.mean.dtype) + model.scale[0]
    return FaceCoefficients(scale, unwhitened.shape, unwhitened.expression)


def coefficients_from_parameters(model: LinearFaceModel, parameters: Tensor) -> FaceCoefficients:
    """Scale, shape and expression from an image-to-3D network's whitened parameters (B, 62 or 102)."""
    unwhitened = model.unwhiten(parameters)
    return FaceCoefficients(split_pose(unwhitened.pose).scale, unwhitened.shape, unwhitened.expression)
