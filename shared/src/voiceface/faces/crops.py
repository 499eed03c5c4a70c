"""Crops of faces: where the five points lie in those that systems are trained on, and crops like them.

Points are the middle of the eye on the left of the picture, of the eye on its right, tip of the nose, corner
of the mouth on the left, corner on the right.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from voiceface.real.alignment import fit_similarity, warp_crop

__all__ = ["CROP_CONVENTIONS", "NUM_POINTS", "CropConvention", "crop_face", "is_tight_crop"]

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
            "synthetic population, on which the bundled weights are trained; mean of 240 images",
            ((0.359, 0.352), (0.634, 0.350), (0.494, 0.531), (0.377, 0.636), (0.616, 0.636)),
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
    )
}
"""Crop conventions by name."""


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
