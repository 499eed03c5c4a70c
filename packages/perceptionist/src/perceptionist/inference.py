"""From recordings or stored features to faces: what the programs share.

Letters: B batch, T frames, N vertices.
"""

import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from perceptionist.face_models.linear import LinearFaceModel
    from perceptionist.models import VoiceToMesh
    from perceptionist.speech import SpeechConfig

Array = NDArray[Any]

BUNDLED_CHECKPOINT = "weights/population.safetensors"

TRAIN_COMMAND = "perceptionist train --cfg supervised --data DATA --out RUN"

FEATURE_SUFFIX = ".npy"

IMAGE_SIZE = 120  # pixels of the pictures that meshes are stated for

MIN_SPEECH_SECONDS = 0.5  # seconds of speech that are worth an answer


@dataclass(frozen=True)
class GeneratedFace:
    """What is made of one recording.

    Attributes:
        source: file it came from.
        vertices: (N, 3) float32, frontal, pixels of a picture of 120, y up.
        embedding: (D,) unit vector of the voice.
        shape: un-whitened shape numbers.
        image: (120, 120, 3) uint8 RGB, of the unsupervised kind, else None.
        overlay: the mesh over that picture, where an expert finds its pose, else None.
    """

    source: str
    vertices: NDArray[np.float32]
    embedding: NDArray[np.float32]
    shape: NDArray[np.float32]
    image: NDArray[np.uint8] | None = None
    overlay: NDArray[np.uint8] | None = None


def load(
    weights: str | os.PathLike[str] | None = None,
    face_model: "LinearFaceModel | str | Path | None" = None,
    *,
    references: str | Path | None = None,
    device: str = "cpu",
) -> "VoiceToMesh":
    """A trained model: `load().vertices(features)`.

    Args:
        weights: run folder, weights file or published folder; None: the bundled ones, which know invented
            people only.
        face_model: model, folder or file; None: the one that the weights belong to, if it is embedded.
        references: folder of reference shapes in place of the face model's own.
        device: "cpu" or "cuda".

    Raises:
        FileNotFoundError: no such weights; the message says how to make them.
        CheckpointError, FaceModelError, ValueError: they cannot be used.
    """
    from voiceface.runtime.devices import choose_device

    from perceptionist.face_models.io import resolve_face_model
    from perceptionist.face_models.linear import LinearFaceModel
    from perceptionist.models import load_voice_to_mesh

    source = find_bundled_checkpoint() if weights is None else Path(weights)
    if not source.exists():
        raise FileNotFoundError(f"weights {source} do not exist; train some: {TRAIN_COMMAND}")
    model = face_model if isinstance(face_model, LinearFaceModel) else None
    if model is None and (face_model is not None or references is not None):
        model = resolve_face_model(face_model, references)  # type: ignore[arg-type]
    return load_voice_to_mesh(source, model, device=choose_device(device))


def find_bundled_checkpoint() -> Path:
    """The weights that are installed with this package.

    Raises:
        FileNotFoundError: this copy has none.
    """
    path = Path(str(files("perceptionist").joinpath(BUNDLED_CHECKPOINT)))
    if not path.is_file():
        raise FileNotFoundError(
            f"this copy of perceptionist holds no {BUNDLED_CHECKPOINT}; train a model ({TRAIN_COMMAND}) "
            "and give it with --weights RUN"
        )
    return path


def load_features(path: str | Path, speech: "SpeechConfig | None" = None, n_mels: int = 64) -> Array:
    """Features (T, bands) of a feature file or a recording.

    Raises:
        SpeechError: no voice, less than half a second of it, features of another shape or not finite.
        FileNotFoundError, voiceface.audio.loading.AudioError: absent, or no sound file.
    """
    from perceptionist import speech as hearing

    if Path(path).suffix.lower() == FEATURE_SUFFIX:
        return hearing.read_features(path, n_mels)
    config = speech or hearing.DEFAULT_CONFIG
    samples, rate = hearing.read_recording(path, config)
    return extract_speech_features(samples, rate, config, str(path))


def extract_speech_features(
    samples: Array, rate: int, config: "SpeechConfig | None" = None, source: str = "the recording"
) -> Array:
    """As `speech.extract_features`, and at least half a second of speech must be there.

    Raises:
        SpeechError: it is not; the message says how much there is.
    """
    from perceptionist import speech as hearing

    config = config or hearing.DEFAULT_CONFIG
    spoken = samples
    if config.remove_silence:
        spoken = hearing.remove_silence(samples, rate, config, source)
    if len(spoken) < MIN_SPEECH_SECONDS * rate:
        raise hearing.SpeechError(
            f"{source}: {len(spoken) / rate:.2f} s of speech in {len(samples) / rate:.2f} s, expected at "
            f"least {MIN_SPEECH_SECONDS} s; record some seconds"
        )
    config = config.model_copy(update={"remove_silence": False})
    return hearing.extract_features(spoken, rate, config, source)


def generate_from_features(
    model: "VoiceToMesh", features: Array, source: str = "", *, published: bool = False
) -> GeneratedFace:
    """Everything that a model makes of one recording.

    Args:
        model: from `load`.
        features: (T, bands), from `load_features`.
        source: for the record.
        published: pictures half a level brighter and the overlay six pixels low, as the published program.

    Raises:
        ValueError: features of another width, or a mesh that is not finite.
    """
    import torch

    from perceptionist.face_models.linear import PUBLISHED_Y_FLIP, Y_FLIP
    from perceptionist.generator import resize_bilinear
    from perceptionist.visualisation import images_to_uint8, overlay_mesh, pose_mesh

    flip = PUBLISHED_Y_FLIP if published else Y_FLIP
    device = model.face_model.mean.device
    heard = torch.from_numpy(np.ascontiguousarray(features.T))[None].to(device)
    with torch.inference_mode():
        embedding = model.voice.encode(heard)
        codes = model.predict_coefficients(heard)
        mesh = codes.scale[:, None, None] * model.face_model.vertices(codes.shape, codes.expression)
        if not torch.isfinite(mesh).all():
            raise ValueError(f"{source or 'the recording'}: the weights give a mesh that is not finite")
        picture = over = None
        if model.generator is not None:
            made = model.generate_images(heard)
            picture = images_to_uint8(
                resize_bilinear(made, IMAGE_SIZE), "published" if published else "even"
            )[0]
            if model.expert is not None:
                placed, _ = pose_mesh(model.face_model, mesh, model.predict_expert_parameters(made), flip)
                if torch.isfinite(placed).all():
                    over = overlay_mesh(picture, placed[0], model.face_model)
    return GeneratedFace(
        source,
        np.ascontiguousarray(mesh[0].T.float().cpu().numpy()),
        embedding[0].float().cpu().numpy(),
        codes.shape[0].float().cpu().numpy(),
        picture,
        over,
    )


def generate(model: "VoiceToMesh", path: str | Path) -> GeneratedFace:
    """Everything that a model makes of a recording or feature file; errors as `load_features`, `generate_from_features`."""
    return generate_from_features(model, load_features(path, n_mels=model.voice.config.n_mels), str(path))
