"""Rendering of face images: the identity once, then any number of its images."""

from voiceface.synthetic.camera import RenderedImage, sample_render_params
from voiceface.synthetic.head.drawing import draw_image
from voiceface.synthetic.head.model import build_head_model
from voiceface.synthetic.head.prepared import PreparedHead, prepare_head
from voiceface.synthetic.head.shape_space import shape_coefficients
from voiceface.synthetic.identities import Identities
from voiceface.synthetic.layout import DEFAULT_FACE_GAIN

__all__ = ["prepare_face", "render_image"]


def prepare_face(identities: Identities, index: int, *, face_gain: float = DEFAULT_FACE_GAIN) -> PreparedHead:
    """Compute shape and textures of row `index` of `identities`, once for all its images.

    Args:
        identities: the population.
        index: row.
        face_gain: factor on all shape bases, above 0; 1 is life-like.

    Raises:
        ValueError: `face_gain` is not above 0.
    """
    alpha = shape_coefficients(identities.take([index]))[0]
    return prepare_head(identities, index, alpha, build_head_model(face_gain).compute_vertices(alpha))


def render_image(
    identities: Identities,
    index: int,
    image_index: int,
    *,
    seed: int | None = None,
    image_size: int = 128,
    nuisance: float = 1.0,
    face: PreparedHead | None = None,
    face_gain: float = DEFAULT_FACE_GAIN,
) -> RenderedImage:
    """Render image number `image_index` of row `index` of `identities`.

    Args:
        identities: the population.
        index: row.
        image_index: number of the image, at least 0.
        seed: population seed; default: that of `identities`.
        image_size: width and height in pixels, at least 8.
        nuisance: factor on everything that differs between images of one identity, at least 0.
        face: result of `prepare_face` with the same `face_gain`, which saves time for several images.
        face_gain: factor on all shape bases, above 0; 1 is life-like.

    Raises:
        ValueError: a value out of range.
    """
    if image_size < 8 or nuisance < 0 or image_index < 0:
        raise ValueError(
            "expected image_size >= 8, nuisance >= 0 and image_index >= 0, got "
            f"{image_size}, {nuisance} and {image_index}"
        )
    seed = identities.seed if seed is None else seed
    face = prepare_face(identities, index, face_gain=face_gain) if face is None else face
    params = sample_render_params(
        identities, index, image_index, seed=seed, nuisance=nuisance, shape=face.shape, face_gain=face_gain
    )
    return draw_image(
        identities, index, image_index, params, face, seed=seed, image_size=image_size, nuisance=nuisance
    )
