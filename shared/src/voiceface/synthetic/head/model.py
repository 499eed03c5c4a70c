"""The bundle as the population's linear head model."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from voiceface.synthetic.head.bundle import load_head_bundle
from voiceface.synthetic.head.linear_model import HeadModel
from voiceface.synthetic.layout import DEFAULT_FACE_GAIN

__all__ = ["EMPHASIS", "MODEL_PARTS", "build_head_model"]

# How strongly a coefficient is exaggerated where the gain is above life-size; 1 where it is not listed. Small
# features are a few pixels of an image: without it, no network could read nose and lips.
EMPHASIS = {
    **{"nosew": 3.2, "nosep": 2.4, "noseb": 2.4, "noset": 2.2},
    **{"mouthw": 2.0, "ulip": 3.5, "llip": 3.5, "lipp": 2.6},
    **{"jaww": 2.8, "chinw": 2.3, "chinp": 1.8, "brow": 2.2, "eyesp": 2.4},
    **{"eyelen": 1.8, "eyesl": 1.8, "browt": 1.8, "sock": 1.6},
    **{"cheekf": 1.4, "neck": 1.2, "rbf0": 1.8, "rbf1": 1.8, "rbf2": 2.0, "rbf3": 2.0},
    **{
        "lowlen": 0.9,
        "forehead": 0.6,
        "headw": 0.6,
        "headd": 0.5,
        "jawsq": 0.8,
        "asj": 0.5,
        "asm": 0.5,
        "asn": 0.5,
    },
}
# Parts of the model, in the order of their vertices: all but the lashes, which need a picture to be lashes.
MODEL_PARTS = ("skin", "eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue")


def build_head_model(face_gain: float = DEFAULT_FACE_GAIN, parts: Sequence[str] = MODEL_PARTS) -> HeadModel:
    """Build the head model from the bundle; cached per process.

    Names, loadings and residual scales of the 40 + 10 coefficients are those of
    `voiceface.synthetic.head.shape_space`.

    Args:
        face_gain: factor on the shape fields, above 0; 1 is life-size variation. Above, a field is enlarged
            by 1 + (face_gain - 1) times its `EMPHASIS`. Expressions are not exaggerated.
        parts: parts of the bundle that the model has, in this order.

    Raises:
        ValueError: `face_gain` is not above 0, or the skin, which has the landmarks, is not the first part.
        KeyError: a part is unknown.
    """
    if not face_gain > 0:
        raise ValueError(f"face_gain must be above 0, got {face_gain}")
    parts = tuple(parts)
    if parts[:1] != ("skin",):
        raise ValueError(f"the first part must be 'skin', got {parts}")
    return _build_head_model(float(face_gain), parts)


@lru_cache(maxsize=4)
def _build_head_model(face_gain: float, parts: tuple[str, ...]) -> HeadModel:
    bundle = load_head_bundle()
    keep = np.concatenate([np.arange(*bundle.part_vertices[part]) for part in parts])
    emphasis = np.array([EMPHASIS.get(name, 1.0) for name in bundle.shape_names])
    scale = 1.0 + (face_gain - 1.0) * (emphasis if face_gain > 1 else 1.0)
    scale = scale * np.ones(len(emphasis))
    number = np.full(len(bundle.mean), -1)
    number[keep] = np.arange(len(keep))
    triangles = np.concatenate([bundle.triangles[bundle.triangles_of(part)] for part in parts])
    model = HeadModel(
        mean=bundle.mean[keep],
        triangles=number[triangles].astype(np.int32),
        shape_basis=(scale / face_gain)[:, None, None] * bundle.shape_basis[:, keep],
        expression_basis=bundle.expression_basis[:, keep] / face_gain,
        landmarks=number[bundle.landmarks],
        gain=face_gain,
    )
    for array in (model.mean, model.triangles, model.shape_basis, model.expression_basis, model.landmarks):
        array.setflags(write=False)
    return model
