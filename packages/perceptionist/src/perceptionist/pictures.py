"""Pictures that the mesh of a voice is laid over where the weights generate none.

The published demo generates a picture from the voice and lays the mesh over it. Supervised weights generate
none; here the picture is one that the user gives, or one of the synthetic population.
"""

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from voiceface.faces.own_pictures import PictureReader
from voiceface.images.loading import load_image
from voiceface.io.foreign_files import read_file_text

from perceptionist.face_models.pose import POSE_IMAGE_SIZE, PUBLISHED_Y_FLIP, Y_FLIP
from perceptionist.face_models.synthetic_head import (
    EMBEDDED_HEAD,
    PopulationHead,
    classify_gender,
    find_head,
    semantic_coefficients,
)
from perceptionist.image_expert import CropBox, load_image_expert
from perceptionist.image_expert_model import ImageExpert

if TYPE_CHECKING:
    from perceptionist.voice_to_mesh import GeneratedFace, VoiceToMesh

__all__ = [
    "PicturePainter",
    "find_population_picture",
    "render_head",
]


IMAGE_SIZE = POSE_IMAGE_SIZE


class PicturePainter:
    """Completes generated faces by a picture and the mesh over it, where the weights generate none.

    Args:
        model: that generates the faces.
        image: file of a face image for all of them; None: those described in `complete`.
        expert: predicts the pose: run folder, checkpoint or published file; None: that of the weights, else
            the bundled one.
        published: overlay six pixels low and drawn with the coverage rule "inclusive", as in the published
            program.
        device: "cpu" or "cuda".
        pictures: finds the face of the image; None: with the networks that are installed.

    Raises:
        FileNotFoundError, ImageError, CheckpointError, ValueError: image or expert cannot be used.
    """

    def __init__(
        self,
        model: "VoiceToMesh",
        image: Path | None = None,
        expert: Path | None = None,
        *,
        published: bool = False,
        device: str = "cpu",
        pictures: PictureReader | None = None,
    ) -> None:
        self.model, self.published = model, published
        self.given_name = "" if image is None else image.name
        self.expert: ImageExpert | None = None
        is_needed = image is not None or model.generator is None
        if expert is not None:
            self.expert = load_image_expert(expert, model.face_model, device=device)
        elif is_needed and model.image_expert is not None:
            self.expert = model.image_expert
        elif is_needed and model.face_model.name == "population":
            self.expert = load_image_expert(None, model.face_model, device=device)
        elif image is not None:
            raise ValueError(
                f"--image needs an expert for the face model {model.face_model.name}; pass it as --expert"
            )
        self.given: NDArray[np.uint8] | None = None
        if image is not None and self.expert is not None:
            reader = (pictures or PictureReader()).with_convention(self.expert.face_crop)
            self.given = _square(reader.read(image))

    def complete(self, face: "GeneratedFace", recording: Path | None = None) -> "GeneratedFace":
        """Add picture and overlay to a face.

        The picture is, in this order: the given image; the one that the weights generated; the speaker's
        first image, if the recording lies in a folder of the synthetic population; the generated head,
        drawn by the renderer of the population. Other face models have no picture of their own:
        their faces are returned unchanged.

        Args:
            face: from `VoiceToMesh.generate`.
            recording: its file.
        """
        if self.given is None and (face.image is not None or self.expert is None):
            return face
        if self.given is not None:
            picture, origin = self.given, self.given_name
        else:
            own = None if recording is None else find_population_picture(recording)
            if own is not None:
                picture, origin = _square(load_image(own)), "the speaker's image in the population"
            elif head := find_head(self.model.face_model.name):
                picture, origin = (
                    render_head(face.shape, head=head),
                    "the generated head, drawn by the population's renderer",
                )
            else:
                return face
        return replace(face, image=picture, overlay=self._overlay(face, picture), picture_origin=origin)

    def _overlay(self, face: "GeneratedFace", picture: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """The mesh over a picture (120, 120, 3), in the expert's pose; None if it cannot be drawn."""
        import torch

        from perceptionist.visualisation import overlay_mesh, pose_mesh

        assert self.expert is not None
        parameters = self.expert.predict([picture])
        frontal = torch.from_numpy(np.ascontiguousarray(face.vertices.T))[None].to(parameters.device)
        y_flip = PUBLISHED_Y_FLIP if self.published else Y_FLIP
        posed, _ = pose_mesh(self.expert.face_model, frontal, parameters, y_flip)
        if not torch.isfinite(posed).all() or not len(self.expert.face_model.triangles):
            return None
        coverage = "inclusive" if self.published else "top_left"
        return overlay_mesh(picture, posed[0], self.expert.face_model, coverage=coverage)


def find_population_picture(recording: str | Path) -> Path | None:
    """First image of the speaker of a recording `ROOT/wav/<voice id>/...` of a synthetic population.

    Returns:
        None if the recording is not in a population, or its speaker has no images.

    Raises:
        GroundTruthError: the table of the population cannot be read.
    """
    from voiceface.synthetic.ground_truth import GroundTruthError

    path = Path(recording).resolve()
    for root in path.parents:
        table = root / "truth" / "identities.csv"
        if not (root / "truth" / "population.json").is_file() or not table.is_file():
            continue
        parts = path.relative_to(root).parts
        text = read_file_text(table, GroundTruthError, "the identities of a population")
        rows = csv.DictReader(io.StringIO(text, newline=""))
        names = {row.get("voice_id", ""): row.get("name", "") for row in rows}
        name = names.get(parts[1]) if len(parts) > 2 and parts[0] == "wav" else None
        images = sorted((root / "faces" / name).glob("*.jpg")) if name else []
        return images[0] if images else None
    return None


def render_head(
    shape: NDArray[np.float32], image_size: int = IMAGE_SIZE, head: PopulationHead = EMBEDDED_HEAD
) -> NDArray[np.uint8]:
    """Draw a head of the population's face model, frontal, with average appearance of its gender.

    Args:
        shape: (40,) un-whitened shape coefficients.
        image_size: side in pixels.
        head: that the coefficients belong to.

    Returns:
        (image_size, image_size, 3) uint8 RGB. Skin, hair and clothes say nothing about the voice; there
        are no glasses.
    """
    from voiceface.synthetic.head import shape_space
    from voiceface.synthetic.head.render import prepare_face, render_image
    from voiceface.synthetic.identities import sample_identities

    alpha = semantic_coefficients(np.asarray(shape, float)[None], head)[0]
    is_male = classify_gender(shape, head) == "male"
    rest = alpha - (1 if is_male else -1) * shape_space.sex_shift()
    gender, identity = np.array([int(is_male)]), sample_identities([0])
    identity = replace(
        identity,
        sex=gender,
        face_sex=gender,
        face_factors=np.zeros_like(identity.face_factors),
        shape_nuisance=(rest / shape_space.residual_scale())[None],
    )
    face = prepare_face(identity, 0, face_gain=head.face_gain)
    face = replace(face, traits=replace(face.traits, glasses=None))  # of which no voice tells anything
    options: dict[str, Any] = {"image_size": image_size, "nuisance": 0.0, "face_gain": head.face_gain}
    return render_image(identity, 0, 0, face=face, **options).image


def _square(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest square in the centre of an image (H, W, 3), (120, 120, 3)."""
    from PIL import Image

    square = CropBox.centred(*image.shape[:2]).crop(image)
    resized = Image.fromarray(square).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    return np.array(resized)
