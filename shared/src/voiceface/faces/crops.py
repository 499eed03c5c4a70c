"""Crops of faces: where the five points lie in those that systems are trained on, and crops like them.

Points are the middle of the eye on the left of the picture, of the eye on its right, tip of the nose, corner
of the mouth on the left, corner on the right.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from voiceface.real.alignment import fit_similarity, warp_crop

__all__ = [
    "CROP_CONVENTIONS",
    "ENCODER_CHIP",
    "NUM_POINTS",
    "CropConvention",
    "crop_face",
    "is_tight_crop",
    "upright_square",
]

Image = NDArray[np.uint8]
Points = tuple[tuple[float, float], ...]
NUM_POINTS = 5
TIGHT_TOLERANCE = 0.08


@dataclass(frozen=True)
class CropConvention:
    """Mean places of the five points in square crops, as fractions of the side.

    Attributes:
        name: key of `CROP_CONVENTIONS`.
        title: which pictures have it.
        points: (5, 2), x and y.
        side: usual side in pixels.
    """

    name: str
    title: str
    points: Points
    side: int


CROP_CONVENTIONS: dict[str, CropConvention] = {
    each.name: each
    for each in (
        CropConvention(
            "population",
            "synthetic population, on which the bundled weights are trained; mean of 1,600 images",
            ((0.366, 0.391), (0.634, 0.391), (0.500, 0.563), (0.388, 0.673), (0.612, 0.673)),
            128,
        ),
        CropConvention(
            "vggface_frontal",
            "VGG_ALL_FRONTAL, on which published weights are trained; mean of 42 pictures, deviation .01",
            ((0.341, 0.471), (0.640, 0.466), (0.488, 0.660), (0.361, 0.758), (0.626, 0.755)),
            128,
        ),
        CropConvention(
            "arcface",
            "ArcFace networks of 112 pixels (Deng et al., 2019), such as IR-50 and IR-152 of face.evoLVe",
            (
                (38.2946 / 112, 51.6963 / 112),
                (73.5318 / 112, 51.5014 / 112),
                (56.0252 / 112, 71.7366 / 112),
                (41.5493 / 112, 92.3655 / 112),
                (70.7299 / 112, 92.2041 / 112),
            ),
            112,
        ),
        CropConvention(
            "ffhq",
            "FFHQ (Karras et al., 2019), such as StyleGAN2's published weights: its rule of alignment, for "
            "the mean points of VGG_ALL_FRONTAL",
            ((0.375, 0.476), (0.625, 0.476), (0.496, 0.636), (0.389, 0.716), (0.610, 0.717)),
            256,
        ),
    )
}
"""Crop conventions by name."""
ENCODER_CHIP = CropConvention(
    "encoder_chip",
    "chips of the face encoder (dlib), for faces without a mesh; mean of 48 pictures",
    ((0.321, 0.322), (0.673, 0.320), (0.493, 0.546), (0.342, 0.667), (0.650, 0.666)),
    150,
)
"""Where the five points lie in chips that are aligned by eye corners and bottom of the nose."""


def crop_face(
    image: Image,
    points: npt.ArrayLike,
    convention: CropConvention | str = "population",
    side: int | None = None,
) -> Image:
    """Cut a face out by the similarity that moves its points nearest to those of a convention.

    Args:
        image: RGB, (H, W, 3) uint8.
        points: (5, 2), pixels, such as `FoundFace.points`.
        convention: or its name.
        side: pixels; default: the convention's.

    Returns:
        (side, side, 3) uint8; black where it reaches beyond the picture.

    Raises:
        ValueError: an unknown convention, or points of another shape.
    """
    if isinstance(convention, str):
        if convention not in CROP_CONVENTIONS:
            raise ValueError(
                f"no crop convention {convention!r}; expected one of {', '.join(CROP_CONVENTIONS)}"
            )
        convention = CROP_CONVENTIONS[convention]
    pixels = convention.side if side is None else side
    places = np.asarray(points, float)
    if places.shape != (NUM_POINTS, 2):
        raise ValueError(f"points must be (5, 2), found {places.shape}")
    return warp_crop(image, fit_similarity(places, np.array(convention.points) * pixels - 0.5), pixels)


def is_tight_crop(
    points: npt.ArrayLike,
    image_size: tuple[int, int],
    convention: CropConvention,
    tolerance: float = TIGHT_TOLERANCE,
) -> bool:
    """Whether a picture is already a crop of a convention, so that cutting it again would only blur it.

    Args:
        points: (5, 2), pixels.
        image_size: (height, width).
        convention: the convention.
        tolerance: largest distance of a point from its place, as a fraction of the side.
    """
    height, width = image_size
    if height != width:
        return False
    away = (np.asarray(points, float) + 0.5) / width - np.array(convention.points)
    return bool(np.linalg.norm(away, axis=1).max() <= tolerance)


def upright_square(points: npt.ArrayLike, convention: CropConvention) -> tuple[float, float, float]:
    """The square of a picture in which a face lies as in a convention, without turning the picture.

    Args:
        points: (5, 2), pixels, such as `FoundFace.points`.
        convention: the convention.

    Returns:
        Left, top and side in pixels, of the scale and shift that move the points of the convention nearest to
        the given ones (least squares). The square may reach beyond the picture.

    Raises:
        ValueError: points of another shape, or points that coincide.
    """
    places = np.asarray(points, float)
    if places.shape != (NUM_POINTS, 2):
        raise ValueError(f"points must be (5, 2), found {places.shape}")
    wanted = np.array(convention.points)
    centred = wanted - wanted.mean(0)
    side = float((centred * (places - places.mean(0))).sum() / (centred**2).sum())
    if not side > 0:
        raise ValueError("the points of the face coincide, or it stands on its head")
    left, top = places.mean(0) + 0.5 - side * wanted.mean(0)
    return float(left), float(top), side
