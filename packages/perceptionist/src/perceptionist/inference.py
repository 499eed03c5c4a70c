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

BUNDLED = "weights/population.safetensors"

TRAINING = "perceptionist train --cfg supervised --data DATA --out RUN"

FEATURES = ".npy"

SIDE = 120  # pixels of the pictures that meshes are stated for

SHORTEST = 0.5  # seconds of speech that are worth an answer


@dataclass(frozen=True)
class Face:
    """What is made of one recording.

    Attributes:
        source: file it came from.
        vertices: (N, 3) float32, frontal, pixels of a picture of 120, y up.
        embedding: (D,) unit vector of the voice.
        shape: un-whitened shape numbers.
        picture: (120, 120, 3) uint8 RGB, of the unsupervised kind, else None.
        overlay: the mesh over that picture, where an expert finds its pose, else None.
    """

    source: str
    vertices: NDArray[np.float32]
    embedding: NDArray[np.float32]
    shape: NDArray[np.float32]
    picture: NDArray[np.uint8] | None = None
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

    from perceptionist.face_models.io import open_face_model
    from perceptionist.face_models.linear import LinearFaceModel
    from perceptionist.models import load_voice_to_mesh

    source = bundled() if weights is None else Path(weights)
    if not source.exists():
        raise FileNotFoundError(f"weights {source} do not exist; train some: {TRAINING}")
    model = face_model if isinstance(face_model, LinearFaceModel) else None
    if model is None and (face_model is not None or references is not None):
        model = open_face_model(face_model, references)  # type: ignore[arg-type]
    return load_voice_to_mesh(source, model, device=choose_device(device))


def bundled() -> Path:
    """The weights that are installed with this package.

    Raises:
        FileNotFoundError: this copy has none.
    """
    path = Path(str(files("perceptionist").joinpath(BUNDLED)))
    if not path.is_file():
        raise FileNotFoundError(
            f"this copy of perceptionist holds no {BUNDLED}; train a model ({TRAINING}) "
            "and give it with --weights RUN"
        )
    return path


def read_input(path: str | Path, speech: "SpeechConfig | None" = None, bands: int = 64) -> Array:
    """Features (T, bands) of a feature file or a recording.

    Raises:
        SpeechError: no voice, less than half a second of it, features of another shape or not finite.
        FileNotFoundError, voiceface.audio.loading.AudioError: absent, or no sound file.
    """
    from perceptionist import speech as hearing

    if Path(path).suffix.lower() == FEATURES:
        return hearing.read_features(path, bands)
    config = speech or hearing.DEFAULT
    samples, rate = hearing.read_recording(path, config)
    return features_of_speech(samples, rate, config, str(path))


def features_of_speech(
    samples: Array, rate: int, config: "SpeechConfig | None" = None, source: str = "the recording"
) -> Array:
    """As `speech.features_of`, and at least half a second of speech must be there.

    Raises:
        SpeechError: it is not; the message says how much there is.
    """
    from perceptionist import speech as hearing

    config = config or hearing.DEFAULT
    spoken = samples
    if config.remove_silence:
        spoken = hearing.without_silence(samples, rate, config, source)
    if len(spoken) < SHORTEST * rate:
        raise hearing.SpeechError(
            f"{source}: {len(spoken) / rate:.2f} s of speech in {len(samples) / rate:.2f} s, expected at "
            f"least {SHORTEST} s; record some seconds"
        )
    config = config.model_copy(update={"remove_silence": False})
    return hearing.features_of(spoken, rate, config, source)


def face_of(model: "VoiceToMesh", features: Array, source: str = "", *, published: bool = False) -> Face:
    """Everything that a model makes of one recording.

    Args:
        model: from `load`.
        features: (T, bands), from `read_input`.
        source: for the record.
        published: pictures half a level brighter and the overlay six pixels low, as the published program.

    Raises:
        ValueError: features of another width, or a mesh that is not finite.
    """
    import torch

    from perceptionist.face_models.linear import FLIP, PUBLISHED_FLIP
    from perceptionist.generator import enlarge
    from perceptionist.visualisation import laid_over, picture_bytes, placed_mesh

    flip = PUBLISHED_FLIP if published else FLIP
    device = model.face_model.mean.device
    heard = torch.from_numpy(np.ascontiguousarray(features.T))[None].to(device)
    with torch.inference_mode():
        embedding = model.voice.encode(heard)
        codes = model.codes(heard)
        mesh = codes.scale[:, None, None] * model.face_model.vertices(codes.shape, codes.expression)
        if not torch.isfinite(mesh).all():
            raise ValueError(f"{source or 'the recording'}: the weights give a mesh that is not finite")
        picture = over = None
        if model.generator is not None:
            made = model.pictures(heard)
            picture = picture_bytes(enlarge(made, SIDE), "published" if published else "even")[0]
            if model.expert is not None:
                placed, _ = placed_mesh(model.face_model, mesh, model.seen(made), flip)
                if torch.isfinite(placed).all():
                    over = laid_over(picture, placed[0], model.face_model)
    return Face(
        source,
        np.ascontiguousarray(mesh[0].T.float().cpu().numpy()),
        embedding[0].float().cpu().numpy(),
        codes.shape[0].float().cpu().numpy(),
        picture,
        over,
    )


def face(model: "VoiceToMesh", path: str | Path) -> Face:
    """Everything that a model makes of a recording or feature file; errors as `read_input`, `face_of`."""
    return face_of(model, read_input(path, bands=model.voice.config.bands), str(path))
