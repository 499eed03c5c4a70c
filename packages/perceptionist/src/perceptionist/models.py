"""Trained models of this system, read from run folders, our files or the published ones: voice to mesh.

Letters: B batch, M mel bands, T frames, N vertices, S picture side.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from voiceface.checkpoints.native import LoadedModel, load_into, load_model
from voiceface.checkpoints.paths import MODEL_FILE, model_file
from voiceface.checkpoints.published import CheckpointError
from voiceface.runtime.config import check

from perceptionist import published
from perceptionist.config import PerceptionistConfig
from perceptionist.face_models.io import open_face_model
from perceptionist.face_models.linear import LinearFaceModel, split_pose
from perceptionist.face_network import Classifier
from perceptionist.generator import Generator, enlarge
from perceptionist.image_to_3d import ImageTo3D, ImageTo3DConfig
from perceptionist.refiners import ForwardDirection, RefinerConfig, ReverseDirection
from perceptionist.supervised_head import SupervisedHead, SupervisedHeadConfig
from perceptionist.voice_network import VoiceNetwork, VoiceNetworkConfig

SYSTEM = "perceptionist"
FOLDER = "pretrained_models"


class Codes(NamedTuple):
    """What a voice says of a face, un-whitened: scale (B,), pixels per unit; shape (B, S); expression."""

    scale: Tensor
    shape: Tensor
    expression: Tensor


class Supervised(nn.Module):
    """Voice network `e` and the supervised head on its unit embedding."""

    def __init__(self, voice: VoiceNetworkConfig, head: SupervisedHeadConfig) -> None:
        super().__init__()
        if voice.embedding != head.embedding:
            raise ValueError(
                f"the voice network gives {voice.embedding} numbers, the head takes {head.embedding}"
            )
        self.e = VoiceNetwork(voice)
        self.head = SupervisedHead(head)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, M, T) to whitened scale, shape and expression (B, 1 + S + E)."""
        return self.head(self.e.encode(features))


class Speaker(nn.Module):
    """Voice network `e` in training and the classifier `c` of the training's people on its embedding."""

    def __init__(self, voice: VoiceNetworkConfig, classes: int) -> None:
        super().__init__()
        self.e = VoiceNetwork(voice)
        self.c = Classifier(voice.embedding, classes)


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
        notice: what must be said beside every result.
        config: of the run that made it; None for published files.
        names: people that it was trained on; empty where not known.
    """

    kind: str
    voice: VoiceNetwork
    face_model: LinearFaceModel
    head: SupervisedHead | None = None
    generator: Generator | None = None
    student: ImageTo3D | None = None
    expert: ImageTo3D | None = None
    notice: str = ""
    config: PerceptionistConfig | None = None
    names: tuple[str, ...] = ()

    def to(self, device: torch.device | str) -> "VoiceToMesh":
        """Move every part, in place."""
        for part in (self.voice, self.face_model, self.head, self.generator, self.student, self.expert):
            if part is not None:
                part.to(device)
        return self

    @torch.no_grad()
    def codes(self, features: Tensor) -> Codes:
        """Features (B, M, T) to scale, shape and expression."""
        embedding = self.voice.encode(features)
        model = self.face_model
        if self.head is not None:
            return supervised_codes(model, self.head(embedding))
        return image_codes(model, self._find(self._make(embedding)))

    @torch.no_grad()
    def vertices(self, features: Tensor) -> Tensor:
        """Features (B, M, T) to frontal meshes (B, 3, N), pixels of a picture of 120, y up."""
        scale, shape, expression = self.codes(features)
        return scale[:, None, None] * self.face_model.vertices(shape, expression)

    @torch.no_grad()
    def pictures(self, features: Tensor) -> Tensor:
        """Features (B, M, T) to pictures (B, 3, S, S): RGB, nominally -1...1, not bounded.

        Raises:
            ValueError: the supervised kind makes no pictures.
        """
        return self._make(self.voice.encode(features))

    @torch.no_grad()
    def seen(self, pictures: Tensor) -> Tensor:
        """Whitened parameters (B, 62 or 102) that the expert finds in pictures (B, 3, S, S).

        Raises:
            ValueError: there is no expert.
        """
        if self.expert is None:
            raise ValueError("these weights hold no expert: no pose can be found in the picture")
        return self.expert(enlarge(pictures, self.expert.config.side)).parameters

    def _make(self, embedding: Tensor) -> Tensor:
        if self.generator is None:
            raise ValueError(f"a model of kind {self.kind} makes no pictures; give an unsupervised one")
        return self.generator(embedding)

    def _find(self, pictures: Tensor) -> Tensor:
        assert self.student is not None
        return self.student(enlarge(pictures, self.student.config.side)).parameters


def supervised_codes(model: LinearFaceModel, numbers: Tensor) -> Codes:
    """Scale, shape and expression of the supervised head's whitened numbers (B, 1 + S + E)."""
    pose = model.parameter_mean[:12].expand(len(numbers), -1)
    rest = numbers[:, 1:].to(model.mean.dtype)
    whole = model.unwhiten(torch.cat([torch.zeros_like(pose), rest], 1))
    scale = model.scale[1] * numbers[:, 0].to(model.mean.dtype) + model.scale[0]
    return Codes(scale, whole.shape, whole.expression)


def image_codes(model: LinearFaceModel, parameters: Tensor) -> Codes:
    """Scale, shape and expression of an image-to-3D network's whitened parameters (B, 62 or 102)."""
    known = model.unwhiten(parameters)
    return Codes(split_pose(known.pose).scale, known.shape, known.expression)


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
        return _published(path, face_model).to(device)
    loaded = read_weights(path)
    if loaded.kind == "expert":
        raise CheckpointError(f"{path} is an image-to-3D expert, which hears nothing; give another model")
    if loaded.kind == "speaker":
        raise CheckpointError(f"{path} is a voice network, which makes no face; give another model")
    config = config_of(loaded)
    model = face_model or face_model_of(loaded, path)
    networks, extra = config.networks, loaded.extra
    assert networks.voice is not None
    parts: dict[str, nn.Module] = {"e": VoiceNetwork(networks.voice)}
    if config.kind == "supervised":
        parts["head"] = SupervisedHead(networks.head)
    else:
        parts["g"] = Generator(networks.generator)
        parts["student"] = ImageTo3D(networks.student)
        if "expert" in extra and any(key.startswith("expert.") for key in loaded.state):
            parts["expert"] = ImageTo3D(check(extra["expert"], ImageTo3DConfig, f"{path}: expert"))
    for name, part in parts.items():
        load_into(part, below(name, loaded.state), source=str(path))
        part.eval().requires_grad_(False)
    names = {"e": "voice", "head": "head", "g": "generator", "student": "student", "expert": "expert"}
    found: dict = {names[name]: part for name, part in parts.items()}
    notice = extra.get("notice", "")
    result = VoiceToMesh(
        config.kind, face_model=model, notice=notice, config=config, names=tuple(extra["names"]), **found
    )
    _require_sizes(result, path)
    return result.to(device)


def read_weights(source: str | Path) -> LoadedModel:
    """Read our own checkpoint or a run folder; raises as `voiceface.checkpoints.native.load_model`."""
    return load_model(model_file(source), system=SYSTEM)


def config_of(loaded: LoadedModel) -> PerceptionistConfig:
    """The configuration of the run that made a model."""
    return check(loaded.config, PerceptionistConfig, "the configuration in the weights file")


def face_model_of(loaded: LoadedModel, path: str | Path) -> LinearFaceModel:
    """The face model of a weights file, where it is the embedded one.

    Raises:
        ValueError: it is another one.
    """
    name = loaded.extra.get("face_model", "population")
    if name != "population":
        raise ValueError(f"{path} was trained with the face model {name!r}: give its files (--face-model)")
    return open_face_model()


def load_voice_network_of(source: str | Path) -> VoiceNetwork:
    """A voice network from a run or weights file of ours that holds one, or `voice_embedding.pth`.

    Raises:
        FileNotFoundError, CheckpointError: absent, damaged, or without a voice network.
    """
    path = Path(source)
    if not (path.is_dir() or path.suffix == ".safetensors"):
        return published.load_voice_network(path)
    loaded = read_weights(path)
    state, config = below("e", loaded.state), config_of(loaded).networks.voice
    if not state or config is None:
        raise CheckpointError(f"{path} is of kind {loaded.kind} and holds no voice network")
    network = VoiceNetwork(config)
    load_into(network, state, source=str(path))
    return network.eval()


def load_expert_of(source: str | Path) -> ImageTo3D:
    """An image-to-3D expert from a run or weights file of ours, or `2D-to-3D-pretrained.tar`.

    Raises:
        FileNotFoundError, CheckpointError: absent, damaged, or without an expert.
    """
    path = Path(source)
    if not (path.is_dir() or path.suffix == ".safetensors"):
        return published.load_expert(path).network.eval()
    loaded = read_weights(path)
    state = below("expert", loaded.state)
    if not state or not (loaded.kind == "expert" or "expert" in loaded.extra):
        raise CheckpointError(f"{path} is of kind {loaded.kind} and holds no expert")
    sizes = config_of(loaded).networks.expert
    network = ImageTo3D(sizes or check(loaded.extra["expert"], ImageTo3DConfig, f"{path}: expert"))
    load_into(network, state, source=str(path))
    return network.eval()


def below(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one part, by their own keys."""
    return {key.removeprefix(f"{name}."): v for key, v in state.items() if key.startswith(f"{name}.")}


def _published(folder: Path, face_model: LinearFaceModel | None) -> VoiceToMesh:
    """Published files of a `pretrained_models` folder, or of its `supervised_64` folder."""
    supervised = folder.name == "supervised_64"
    root = folder.parent if supervised else folder
    voice = published.load_voice_network(published.find(root, "voice network"))
    if face_model is None:
        raise ValueError(f"published weights ({folder}) need their face model: give its files (--face-model)")
    if supervised:
        head = published.load_supervised_head(published.find(root, "supervised head"))
        result = VoiceToMesh("supervised", voice, face_model, head=head, notice=face_model.notice)
    else:
        expert = root / published.FILES["expert"]
        result = VoiceToMesh(
            "unsupervised",
            voice,
            face_model,
            generator=published.load_generator(published.find(root, "generator")),
            student=published.load_student(published.find(root, "student")),
            expert=published.load_expert(expert).network if expert.is_file() else None,
            notice=face_model.notice,
        )
    _require_sizes(result, folder)
    return result


def _require_sizes(model: VoiceToMesh, source: Path) -> None:
    """Refuse a face model of other sizes than the weights were trained for."""
    sizes = (model.head or model.student).config  # type: ignore[union-attr]
    face = model.face_model
    if (sizes.shape, sizes.expression) != (face.shape_count, face.expression_count):
        raise ValueError(
            f"{source} gives {sizes.shape} shape and {sizes.expression} expression numbers, the face model "
            f"{face.name} takes {face.shape_count} and {face.expression_count}: give the one that it was "
            "trained with"
        )
