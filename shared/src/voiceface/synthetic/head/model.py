"""The bundle as the population's linear head model."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from voiceface.synthetic.face.head import HeadModel
from voiceface.synthetic.head.bundle import load_head_bundle

__all__ = ["MODEL_PARTS", "build_anatomical_head"]

# Parts of the model, in the order of their vertices: all but the lashes, which need a picture to be lashes.
MODEL_PARTS = ("skin", "eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue")


@lru_cache(maxsize=4)
def build_anatomical_head(face_gain: float = 1.0, parts: Sequence[str] = MODEL_PARTS) -> HeadModel:
    """Build the head model from the bundle; cached per process.

    Names, loadings and residual scales of the 40 + 10 coefficients are those of
    `voiceface.synthetic.face.head_bases`.

    Args:
        face_gain: factor on the shape fields, above 0; 1 is life-size variation. Expressions are not
            exaggerated.
        parts: parts of the bundle that the model has, in this order.

    Raises:
        ValueError: `face_gain` is not above 0, or the skin, which has the landmarks, is not the first part.
        KeyError: a part is unknown.
    """
    if not face_gain > 0:
        raise ValueError(f"face_gain must be above 0, got {face_gain}")
    if parts[:1] != ("skin",):
        raise ValueError(f"the first part must be 'skin', got {parts}")
    bundle = load_head_bundle()
    keep = np.concatenate([np.arange(*bundle.part_vertices[part]) for part in parts])
    number = np.full(len(bundle.mean), -1)
    number[keep] = np.arange(len(keep))
    triangles = np.concatenate([bundle.triangles[bundle.triangles_of(part)] for part in parts])
    model = HeadModel(
        mean=bundle.mean[keep],
        triangles=number[triangles].astype(np.int32),
        shape_basis=bundle.shape_basis[:, keep],
        expression_basis=bundle.expression_basis[:, keep] / face_gain,
        landmarks=number[bundle.landmarks],
        gain=face_gain,
    )
    for array in (model.mean, model.triangles, model.shape_basis, model.expression_basis, model.landmarks):
        array.setflags(write=False)
    return model
