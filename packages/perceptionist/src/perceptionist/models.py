"""Modules that are trained together; loading of trained models.

Letters: B batch, M mel bands, T frames, S shape and E expression coefficients.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from voiceface.checkpoints.native import LoadedModel, load_into, load_model
from voiceface.checkpoints.paths import MODEL_FILE, find_model_file
from voiceface.checkpoints.published import CheckpointError
from voiceface.runtime.config import validate_config

from perceptionist import published
from perceptionist.config import PerceptionistConfig
from perceptionist.face_models.io import resolve_face_model
from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.face_network import Classifier
from perceptionist.generator import Generator
from perceptionist.image_to_3d import ImageTo3D
from perceptionist.network_config import (
    ImageTo3DConfig,
    RefinerConfig,
    SupervisedHeadConfig,
    VoiceNetworkConfig,
)
from perceptionist.refiners import ForwardDirection, ReverseDirection
from perceptionist.supervised_head import SupervisedHead
from perceptionist.voice_network import VoiceNetwork
from perceptionist.voice_to_mesh import VoiceToMesh

__all__ = [
    "SYSTEM",
    "ExpertWithRefiners",
    "SpeakerClassifier",
    "SupervisedModel",
    "config_from_checkpoint",
    "face_model_from_checkpoint",
    "load_checkpoint",
    "load_expert",
    "load_voice_network",
    "load_voice_to_mesh",
    "require_current_head",
    "sub_state_dict",
]


SYSTEM = "perceptionist"


class SupervisedModel(nn.Module):
    """Voice network `e` and the supervised head on its unit embedding."""

    def __init__(self, voice: VoiceNetworkConfig, head: SupervisedHeadConfig) -> None:
        super().__init__()
        if voice.embedding_dim != head.embedding_dim:
            raise ValueError(
                f"networks.voice.embedding_dim is {voice.embedding_dim}, networks.head.embedding_dim is "
                f"{head.embedding_dim}; expected equal values"
            )
        self.e = VoiceNetwork(voice)
        self.head = SupervisedHead(head)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, M, T) to whitened scale, shape and expression (B, 1 + S + E)."""
        return self.head(self.e.encode(features))


class SpeakerClassifier(nn.Module):
    """Voice network `e` and a classifier `c` of the training identities on its embedding."""

    def __init__(self, voice: VoiceNetworkConfig, num_identities: int) -> None:
        super().__init__()
        self.e = VoiceNetwork(voice)
        self.c = Classifier(voice.embedding_dim, num_identities)


class ExpertWithRefiners(nn.Module):
    """The image-to-3D expert and, where configured, the two refiners that are trained with it."""

    def __init__(self, expert: ImageTo3DConfig, refiners: RefinerConfig | None = None) -> None:
        super().__init__()
        self.expert = ImageTo3D(expert)
        self.forward_direction = ForwardDirection(refiners) if refiners else None
        self.reverse_direction = ReverseDirection(refiners) if refiners else None


def load_voice_to_mesh(
    source: str | Path, face_model: LinearFaceModel | None = None, *, device: torch.device | str = "cpu"
) -> VoiceToMesh:
    """Load a trained model.

    Args:
        source: a run folder (its `model.safetensors`), a checkpoint of this package, or a published
            `pretrained_models` folder (its `supervised_64` folder for the supervised kind).
        face_model: required unless the model was trained with the embedded synthetic head.
        device: of the model.

    Raises:
        FileNotFoundError: no such model.
        CheckpointError: corrupt, of another system, or of a kind without meshes from voices.
        ValueError: the face model is missing or of other sizes.
    """
    path = Path(source)
    if path.is_dir() and not (path / MODEL_FILE).is_file():
        return _load_published(path, face_model).to(device)
    loaded = load_checkpoint(path)
    if loaded.kind == "expert":
        raise CheckpointError(
            f"{path} is an image-to-3D expert, which takes no voice. Pass a supervised or unsupervised model."
        )
    if loaded.kind == "speaker":
        raise CheckpointError(
            f"{path} is a speaker classifier, which generates no face. Pass a supervised or unsupervised "
            "model."
        )
    config = config_from_checkpoint(loaded)
    model = face_model or face_model_from_checkpoint(loaded, path)
    require_current_head(loaded, path, model)
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
    modules: dict = {names[name]: part for name, part in parts.items()}
    result = VoiceToMesh(
        config.kind,
        face_model=model,
        disclaimer=extra.get("disclaimer", ""),
        config=config,
        identity_names=tuple(extra["names"]),
        **modules,
    )
    _check_sizes(result, path)
    return result.to(device)


def load_checkpoint(source: str | Path) -> LoadedModel:
    """Load a checkpoint or a run folder; raises as `voiceface.checkpoints.native.load_model`."""
    return load_model(find_model_file(source), system=SYSTEM)


def config_from_checkpoint(loaded: LoadedModel) -> PerceptionistConfig:
    """The configuration of the run that trained a model."""
    return validate_config(loaded.config, PerceptionistConfig, "the configuration in the checkpoint")


def face_model_from_checkpoint(loaded: LoadedModel, path: str | Path) -> LinearFaceModel:
    """The face model of a checkpoint, if it is the embedded synthetic head.

    Raises:
        ValueError: it is another model.
    """
    from perceptionist.face_models.synthetic_head import find_head

    name = loaded.extra.get("face_model", "population")
    if find_head(name) is None:
        raise ValueError(
            f"{path} was trained with the face model {name!r}, which is not embedded. Pass its files as "
            "--face-model."
        )
    return resolve_face_model(name)


def require_current_head(loaded: LoadedModel, path: str | Path, model: LinearFaceModel) -> None:
    """Check that a checkpoint whose face model is the population's head means the head of this version.

    Raises:
        ValueError: it was trained with another head of that name.
    """
    from perceptionist.face_models.synthetic_head import find_head

    names = loaded.extra.get("face_model", "population"), model.name
    found = loaded.extra.get("num_vertices")
    if all(find_head(name) is not None for name in names) and found != model.num_vertices:
        raise ValueError(
            f"{path} was trained with an earlier head of the population: found {found or 'no number of'} "
            f"vertices, expected {model.num_vertices}. Train it again with this version."
        )


def load_voice_network(source: str | Path) -> VoiceNetwork:
    """Load a voice network from a run folder or checkpoint that contains one, or from `voice_embedding.pth`.

    Raises:
        FileNotFoundError, CheckpointError: missing, corrupt, or without a voice network.
    """
    path = Path(source)
    if not (path.is_dir() or path.suffix == ".safetensors"):
        return published.load_voice_network(path)
    loaded = load_checkpoint(path)
    state, config = sub_state_dict("e", loaded.state), config_from_checkpoint(loaded).networks.voice
    if not state or config is None:
        raise CheckpointError(f"{path} is of kind {loaded.kind} and contains no voice network")
    network = VoiceNetwork(config)
    load_into(network, state, source=str(path))
    return network.eval()


def load_expert(source: str | Path) -> ImageTo3D:
    """Load an image-to-3D expert from a run folder or checkpoint, or from `2D-to-3D-pretrained.tar`.

    Raises:
        FileNotFoundError, CheckpointError: missing, corrupt, or without an expert.
    """
    path = Path(source)
    if not (path.is_dir() or path.suffix == ".safetensors"):
        return published.load_expert(path).network.eval()
    loaded = load_checkpoint(path)
    state = sub_state_dict("expert", loaded.state)
    if not state or not (loaded.kind == "expert" or "expert" in loaded.extra):
        raise CheckpointError(f"{path} is of kind {loaded.kind} and contains no expert")
    sizes = config_from_checkpoint(loaded).networks.expert
    network = ImageTo3D(sizes or validate_config(loaded.extra["expert"], ImageTo3DConfig, f"{path}: expert"))
    load_into(network, state, source=str(path))
    return network.eval()


def sub_state_dict(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one module, by their own keys."""
    return {key.removeprefix(f"{prefix}."): v for key, v in state.items() if key.startswith(f"{prefix}.")}


def _load_published(folder: Path, face_model: LinearFaceModel | None) -> VoiceToMesh:
    """Load the published files of a `pretrained_models` folder, or of its `supervised_64` folder."""
    supervised = folder.name == "supervised_64"
    root = folder.parent if supervised else folder
    voice = published.load_voice_network(published.find_checkpoint(root, "voice network"))
    if face_model is None:
        raise ValueError(
            f"Published weights ({folder}) need their face model. Pass its files as --face-model."
        )
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
            f"{source} predicts {sizes.shape} shape and {sizes.expression} expression coefficients, the face "
            "model "
            f"{face.name} has {face.num_shape} and {face.num_expression}. Pass the face model of the "
            "training."
        )
