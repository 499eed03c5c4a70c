"""Trained models of this system, read from run folders, our files or the published ones: voice to mesh.

Letters: B batch, M mel bands, T frames, N vertices, S picture side.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from voiceface.checkpoints.native import LoadedModel, load_into, load_model
from voiceface.checkpoints.paths import MODEL_FILE, find_model_file
from voiceface.checkpoints.published import CheckpointError
from voiceface.runtime.config import validate_config

from perceptionist import published
from perceptionist.config import PerceptionistConfig
from perceptionist.face_models.io import resolve_face_model
from perceptionist.face_models.linear import LinearFaceModel, split_pose
from perceptionist.face_network import Classifier
from perceptionist.generator import Generator, resize_bilinear
from perceptionist.image_to_3d import ImageTo3D, ImageTo3DConfig
from perceptionist.refiners import ForwardDirection, RefinerConfig, ReverseDirection
from perceptionist.supervised_head import SupervisedHead, SupervisedHeadConfig
from perceptionist.voice_network import VoiceNetwork, VoiceNetworkConfig

SYSTEM = "perceptionist"
PUBLISHED_FOLDER = "pretrained_models"


class FaceCoefficients(NamedTuple):
    """What a voice says of a face, un-whitened: scale (B,), pixels per unit; shape (B, S); expression."""

    scale: Tensor
    shape: Tensor
    expression: Tensor


class SupervisedModel(nn.Module):
    """Voice network `e` and the supervised head on its unit embedding."""

    def __init__(self, voice: VoiceNetworkConfig, head: SupervisedHeadConfig) -> None:
        super().__init__()
        if voice.embedding_dim != head.embedding_dim:
            raise ValueError(
                f"the voice network gives {voice.embedding_dim} numbers, the head takes {head.embedding_dim}"
            )
        self.e = VoiceNetwork(voice)
        self.head = SupervisedHead(head)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, M, T) to whitened scale, shape and expression (B, 1 + S + E)."""
        return self.head(self.e.encode(features))


class SpeakerClassifier(nn.Module):
    """Voice network `e` in training and the classifier `c` of the training's people on its embedding."""

    def __init__(self, voice: VoiceNetworkConfig, num_identities: int) -> None:
        super().__init__()
        self.e = VoiceNetwork(voice)
        self.c = Classifier(voice.embedding_dim, num_identities)


class ExpertWithRefiners(nn.Module):
    """An expert in training and, where configured, the two networks that serve its training."""

    def __init__(self, expert: ImageTo3DConfig, refiners: RefinerConfig | None = None) -> None:
        super().__init__()
        self.expert = ImageTo3D(expert)
        self.forward_direction = ForwardDirection(refiners) if refiners else None
        self.reverse_direction = ReverseDirection(refiners) if refiners else None


@dataclass(frozen=True)
class VoiceToMesh:
    """A trained way from voices to meshes, in evaluation mode.

    Attributes:
        kind: "supervised" or "unsupervised".
        voice: voice network.
        face_model: what its numbers are numbers of.
        head: of the supervised kind, else None.
        generator, student: of the unsupervised kind, else None.
        expert: finds the pose of the face in a made picture; None where it is not at hand.
        disclaimer: what must be said beside every result.
        config: of the run that made it; None for published files.
        identity_names: people that it was trained on; empty where not known.
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

    def to(self, device: torch.device | str) -> "VoiceToMesh":
        """Move every part, in place."""
        for part in (self.voice, self.face_model, self.head, self.generator, self.student, self.expert):
            if part is not None:
                part.to(device)
        return self

    @torch.no_grad()
    def predict_coefficients(self, features: Tensor) -> FaceCoefficients:
        """Features (B, M, T) to scale, shape and expression."""
        embedding = self.voice.encode(features)
        model = self.face_model
        if self.head is not None:
            return coefficients_from_supervised(model, self.head(embedding))
        return coefficients_from_parameters(
            model, self._predict_student_parameters(self._generate_images(embedding))
        )

    @torch.no_grad()
    def predict_vertices(self, features: Tensor) -> Tensor:
        """Features (B, M, T) to frontal meshes (B, 3, N), pixels of a picture of 120, y up."""
        scale, shape, expression = self.predict_coefficients(features)
        return scale[:, None, None] * self.face_model.vertices(shape, expression)

    @torch.no_grad()
    def generate_images(self, features: Tensor) -> Tensor:
        """Features (B, M, T) to pictures (B, 3, S, S): RGB, nominally -1...1, not bounded.

        Raises:
            ValueError: the supervised kind makes no pictures.
        """
        return self._generate_images(self.voice.encode(features))

    @torch.no_grad()
    def predict_expert_parameters(self, images: Tensor) -> Tensor:
        """Whitened parameters (B, 62 or 102) that the expert finds in pictures (B, 3, S, S).

        Raises:
            ValueError: there is no expert.
        """
        if self.expert is None:
            raise ValueError("these weights hold no expert: no pose can be found in the picture")
        return self.expert(resize_bilinear(images, self.expert.config.image_size)).parameters

    def _generate_images(self, embedding: Tensor) -> Tensor:
        if self.generator is None:
            raise ValueError(f"a model of kind {self.kind} makes no pictures; give an unsupervised one")
        return self.generator(embedding)

    def _predict_student_parameters(self, images: Tensor) -> Tensor:
        assert self.student is not None
        return self.student(resize_bilinear(images, self.student.config.image_size)).parameters


def coefficients_from_supervised(model: LinearFaceModel, parameters: Tensor) -> FaceCoefficients:
    """Scale, shape and expression of the supervised head's whitened numbers (B, 1 + S + E)."""
    pose = model.parameter_mean[:12].expand(len(parameters), -1)
    rest = parameters[:, 1:].to(model.mean.dtype)
    whole = model.unwhiten(torch.cat([torch.zeros_like(pose), rest], 1))
    scale = model.scale[1] * parameters[:, 0].to(model.mean.dtype) + model.scale[0]
    return FaceCoefficients(scale, whole.shape, whole.expression)


def coefficients_from_parameters(model: LinearFaceModel, parameters: Tensor) -> FaceCoefficients:
    """Scale, shape and expression of an image-to-3D network's whitened parameters (B, 62 or 102)."""
    known = model.unwhiten(parameters)
    return FaceCoefficients(split_pose(known.pose).scale, known.shape, known.expression)


def load_voice_to_mesh(
    source: str | Path, face_model: LinearFaceModel | None = None, *, device: torch.device | str = "cpu"
) -> VoiceToMesh:
    """Read a trained model.

    Args:
        source: a run folder (its `model.safetensors`), a weights file of ours, or a published
            `pretrained_models` folder (its `supervised_64` folder for the supervised kind).
        face_model: needed unless the model was trained on the embedded population head.
        device: where it goes.

    Raises:
        FileNotFoundError: there is no such model.
        CheckpointError: damaged, of another system, or an expert (which hears nothing).
        ValueError: the face model is not at hand or of other sizes.
    """
    path = Path(source)
    if path.is_dir() and not (path / MODEL_FILE).is_file():
        return _load_published(path, face_model).to(device)
    loaded = load_checkpoint(path)
    if loaded.kind == "expert":
        raise CheckpointError(f"{path} is an image-to-3D expert, which hears nothing; give another model")
    if loaded.kind == "speaker":
        raise CheckpointError(f"{path} is a voice network, which makes no face; give another model")
    config = config_from_checkpoint(loaded)
    model = face_model or face_model_from_checkpoint(loaded, path)
    networks, extra = config.networks, loaded.extra
    assert networks.voice is not None
    parts: dict[str, nn.Module] = {"e": VoiceNetwork(networks.voice)}
    if config.kind == "supervised":
        parts["head"] = SupervisedHead(networks.head)
    else:
        parts["g"] = Generator(networks.generator)
        parts["student"] = ImageTo3D(networks.student)
        if "expert" in extra and any(key.startswith("expert.") for key in loaded.state):
            parts["expert"] = ImageTo3D(validate_config(extra["expert"], ImageTo3DConfig, f"{path}: expert"))
    for name, part in parts.items():
        load_into(part, sub_state_dict(name, loaded.state), source=str(path))
        part.eval().requires_grad_(False)
    names = {"e": "voice", "head": "head", "g": "generator", "student": "student", "expert": "expert"}
    found: dict = {names[name]: part for name, part in parts.items()}
    notice = extra.get("notice", "")
    result = VoiceToMesh(
        config.kind,
        face_model=model,
        disclaimer=notice,
        config=config,
        identity_names=tuple(extra["names"]),
        **found,
    )
    _check_sizes(result, path)
    return result.to(device)


def load_checkpoint(source: str | Path) -> LoadedModel:
    """Read our own checkpoint or a run folder; raises as `voiceface.checkpoints.native.load_model`."""
    return load_model(find_model_file(source), system=SYSTEM)


def config_from_checkpoint(loaded: LoadedModel) -> PerceptionistConfig:
    """The configuration of the run that made a model."""
    return validate_config(loaded.config, PerceptionistConfig, "the configuration in the weights file")


def face_model_from_checkpoint(loaded: LoadedModel, path: str | Path) -> LinearFaceModel:
    """The face model of a weights file, where it is the embedded one.

    Raises:
        ValueError: it is another one.
    """
    name = loaded.extra.get("face_model", "population")
    if name != "population":
        raise ValueError(f"{path} was trained with the face model {name!r}: give its files (--face-model)")
    return resolve_face_model()


def load_voice_network(source: str | Path) -> VoiceNetwork:
    """A voice network from a run or weights file of ours that holds one, or `voice_embedding.pth`.

    Raises:
        FileNotFoundError, CheckpointError: absent, damaged, or without a voice network.
    """
    path = Path(source)
    if not (path.is_dir() or path.suffix == ".safetensors"):
        return published.load_voice_network(path)
    loaded = load_checkpoint(path)
    state, config = sub_state_dict("e", loaded.state), config_from_checkpoint(loaded).networks.voice
    if not state or config is None:
        raise CheckpointError(f"{path} is of kind {loaded.kind} and holds no voice network")
    network = VoiceNetwork(config)
    load_into(network, state, source=str(path))
    return network.eval()


def load_expert(source: str | Path) -> ImageTo3D:
    """An image-to-3D expert from a run or weights file of ours, or `2D-to-3D-pretrained.tar`.

    Raises:
        FileNotFoundError, CheckpointError: absent, damaged, or without an expert.
    """
    path = Path(source)
    if not (path.is_dir() or path.suffix == ".safetensors"):
        return published.load_expert(path).network.eval()
    loaded = load_checkpoint(path)
    state = sub_state_dict("expert", loaded.state)
    if not state or not (loaded.kind == "expert" or "expert" in loaded.extra):
        raise CheckpointError(f"{path} is of kind {loaded.kind} and holds no expert")
    sizes = config_from_checkpoint(loaded).networks.expert
    network = ImageTo3D(sizes or validate_config(loaded.extra["expert"], ImageTo3DConfig, f"{path}: expert"))
    load_into(network, state, source=str(path))
    return network.eval()


def sub_state_dict(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one part, by their own keys."""
    return {key.removeprefix(f"{prefix}."): v for key, v in state.items() if key.startswith(f"{prefix}.")}


def _load_published(folder: Path, face_model: LinearFaceModel | None) -> VoiceToMesh:
    """Published files of a `pretrained_models` folder, or of its `supervised_64` folder."""
    supervised = folder.name == "supervised_64"
    root = folder.parent if supervised else folder
    voice = published.load_voice_network(published.find_checkpoint(root, "voice network"))
    if face_model is None:
        raise ValueError(f"published weights ({folder}) need their face model: give its files (--face-model)")
    if supervised:
        head = published.load_supervised_head(published.find_checkpoint(root, "supervised head"))
        result = VoiceToMesh("supervised", voice, face_model, head=head, disclaimer=face_model.disclaimer)
    else:
        expert = root / published.FILES["expert"]
        result = VoiceToMesh(
            "unsupervised",
            voice,
            face_model,
            generator=published.load_generator(published.find_checkpoint(root, "generator")),
            student=published.load_student(published.find_checkpoint(root, "student")),
            expert=published.load_expert(expert).network if expert.is_file() else None,
            disclaimer=face_model.disclaimer,
        )
    _check_sizes(result, folder)
    return result


def _check_sizes(model: VoiceToMesh, source: Path) -> None:
    """Refuse a face model of other sizes than the weights were trained for."""
    sizes = (model.head or model.student).config  # type: ignore[union-attr]
    face = model.face_model
    if (sizes.shape, sizes.expression) != (face.num_shape, face.num_expression):
        raise ValueError(
            f"{source} gives {sizes.shape} shape and {sizes.expression} expression numbers, the face model "
            f"{face.name} takes {face.num_shape} and {face.num_expression}: give the one that it was "
            "trained with"
        )
