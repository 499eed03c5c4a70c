"""Experts for photographs: their weights, and the square of a picture that they look at.

Letters: H rows and W columns of a photograph.
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from voiceface.checkpoints.paths import MODEL_FILE
from voiceface.checkpoints.published import CheckpointError
from voiceface.faces.crops import CROP_CONVENTIONS, upright_square
from voiceface.faces.own_pictures import PictureReader

from perceptionist.face_models.io import resolve_face_model
from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.image_expert_model import ImageExpert
from perceptionist.models import (
    config_from_checkpoint,
    face_model_from_checkpoint,
    load_checkpoint,
    load_expert,
    require_current_head,
)

__all__ = [
    "BUNDLED_EXPERT",
    "TRAIN_COMMAND",
    "CropBox",
    "ImageExpert",
    "find_bundled_expert",
    "find_face_box",
    "is_expert",
    "load_image_expert",
]


BUNDLED_EXPERT = "weights/population_expert.safetensors"
TRAIN_COMMAND = "perceptionist train --cfg quick_expert --data DATA --out RUN"


@dataclass(frozen=True)
class CropBox:
    """Square part of a photograph that an expert looks at, and that poses are stated for.

    Attributes:
        left, top: corner in pixels of the photograph; may lie outside of it.
        side: length in pixels, above 0.
    """

    left: float
    top: float
    side: float

    def __post_init__(self) -> None:
        numbers = (self.left, self.top, self.side)
        if not np.isfinite(numbers).all() or self.side <= 0:
            raise ValueError(f"box is {numbers}, expected left, top and a side above 0, in pixels")

    @classmethod
    def centred(cls, height: int, width: int) -> "CropBox":
        """The largest square in the centre of an image; all of a square image."""
        side = min(height, width)
        return cls((width - side) // 2, (height - side) // 2, side)

    def crop(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cut the box out of an image (H, W, 3), to whole pixels; black outside of the image.

        Raises:
            ValueError: the box and the image do not overlap.
        """
        height, width = image.shape[:2]
        left, top, side = (round(value) for value in (self.left, self.top, max(self.side, 1)))
        x, y = (np.clip([first, first + side], 0, end) for first, end in ((left, width), (top, height)))
        if x[0] == x[1] or y[0] == y[1]:
            raise ValueError(
                f"the box {self.left:g} {self.top:g} {self.side:g} lies outside of the image, which has "
                f"{width} x {height} pixels; pass another --box"
            )
        part = image[y[0] : y[1], x[0] : x[1]]
        if part.shape[:2] == (side, side):
            return np.ascontiguousarray(part)
        whole: NDArray[np.uint8] = np.zeros((side, side, 3), np.uint8)
        whole[y[0] - top : y[1] - top, x[0] - left : x[1] - left] = part
        return whole


def load_image_expert(
    source: str | Path | None = None,
    face_model: "LinearFaceModel | str | Path | None" = None,
    *,
    device: str = "cpu",
) -> ImageExpert:
    """Load an expert for photographs.

    Args:
        source: run folder or checkpoint of kind expert (or unsupervised, which contains one), or the
            published `2D-to-3D-pretrained.tar`; None: the bundled expert, trained on synthetic identities.
        face_model: model, folder or file; None: the embedded head, if the expert was trained with it.
        device: "cpu" or "cuda".

    Raises:
        FileNotFoundError, CheckpointError: missing, corrupt, or without an expert.
        ValueError: the face model is missing or of other sizes.
    """
    from voiceface.runtime.devices import choose_device

    path = find_bundled_expert() if source is None else Path(source)
    if not path.exists():
        raise FileNotFoundError(f"The expert {path} does not exist. To train one: {TRAIN_COMMAND}")
    model = face_model if isinstance(face_model, LinearFaceModel) else None
    if model is None and face_model is not None:
        model = resolve_face_model(face_model)  # type: ignore[arg-type]
    options: dict[str, Any] = {"source": path.name}
    if path.is_dir() or path.suffix == ".safetensors":
        loaded = load_checkpoint(path)
        data = config_from_checkpoint(loaded).data
        model = model or face_model_from_checkpoint(loaded, path)
        require_current_head(loaded, path, model)
        options |= {"input_size": data.expert_image_size, "published_input": data.expert_input == "published"}
        options["disclaimer"] = loaded.extra.get("disclaimer", "")
        options["face_crop"] = "population" if options["disclaimer"] else "vggface_frontal"
    elif model is None:
        raise ValueError(f"The published expert {path} needs its face model. Pass its files as --face-model.")
    network = load_expert(path)
    if "input_size" not in options:
        options |= {"input_size": network.config.image_size, "published_input": True}
    sizes = (network.config.shape, network.config.expression)
    if sizes != (model.num_shape, model.num_expression):
        raise CheckpointError(
            f"{path} predicts {sizes[0]} shape and {sizes[1]} expression coefficients, the face model "
            f"{model.name} has {model.num_shape} and {model.num_expression}. "
            "Pass the face model of its training."
        )
    options["disclaimer"] = options.get("disclaimer") or model.disclaimer
    where = choose_device(device)
    return ImageExpert(network.eval().requires_grad_(False).to(where), model.to(where), **options)


def is_expert(source: str | Path) -> bool:
    """Whether a file or run folder holds an expert alone, which takes no voice.

    Args:
        source: run folder, checkpoint or published file or folder.

    Raises:
        CheckpointError: a corrupt checkpoint.
    """
    path = Path(source)
    if path.suffix == ".tar":  # as the published archive
        return path.is_file()
    is_checkpoint = (path / MODEL_FILE).is_file() or path.is_file()
    return is_checkpoint and load_checkpoint(path).kind == "expert"


def find_face_box(path: Path, pictures: PictureReader) -> CropBox | None:
    """The square of a person's own picture in which its largest face lies as in the expert's training.

    Args:
        path: the picture.
        pictures: finds the face; with the expert's crop convention.

    Returns:
        None where the picture is used as it is.

    Raises:
        FileNotFoundError, ImageError: no readable picture, or no face in it.
    """
    face = pictures.read_faces(path)[0].facts.face
    if face is None or not face.crop:
        return None
    return CropBox(*upright_square(face.points, CROP_CONVENTIONS[face.crop]))


def find_bundled_expert() -> Path:
    """Path of the expert that is installed with this package.

    Raises:
        FileNotFoundError: this installation has none.
    """
    path = Path(str(files("perceptionist").joinpath(BUNDLED_EXPERT)))
    if not path.is_file():
        raise FileNotFoundError(
            f"This installation of perceptionist has no {BUNDLED_EXPERT}. Train an expert ({TRAIN_COMMAND}) "
            "and pass it with --expert RUN."
        )
    return path
