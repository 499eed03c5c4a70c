"""Pictures of the anatomical head: every shape coefficient at -2 and +2, every expression."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["draw_head", "write_coefficient_pictures"]

Picture = NDArray[np.uint8]

_SIZE = 112  # pixels of one head
_LABEL = 16  # pixels of the line above
_MM = 264.0  # height of a picture
_BACKGROUND, _INK = (255, 255, 255), (40, 40, 40)
_QUALITY = 74


def write_coefficient_pictures(out: Path, face_gain: float = 1.0) -> list[Path]:
    """Draw `mean.jpg`, `shape.jpg` and `expressions.jpg` into a folder.

    Args:
        out: folder; made if it does not exist.
        face_gain: factor on the shape fields.
    """
    from voiceface.synthetic.head.shape_space import EXPRESSION_NAMES, SHAPE_NAMES, sex_shift

    out.mkdir(parents=True, exist_ok=True)
    shift, neutral = sex_shift(), np.zeros(10)
    angles = (0.0, 40.0, 90.0)
    people = {"mean": 0.0 * shift, "mean man": shift, "mean woman": -shift}
    rows = [
        _strip([draw_head(shape, neutral, yaw, face_gain, size=200) for yaw in angles], name)
        for name, shape in people.items()
    ]
    shapes = [
        _strip(
            [draw_head(sign * 2.0 * row, neutral, yaw, face_gain) for sign in (-1, 1) for yaw in (0.0, 55.0)],
            f"{name}  -2 / +2",
        )
        for name, row in zip(SHAPE_NAMES, np.eye(40))
    ]
    expressions = [
        _strip(
            [draw_head(0.0 * shift, part * row, 20.0, face_gain, 160) for part in (0.5, 1.0)],
            f"{name}  0.5 / 1",
        )
        for name, row in zip(EXPRESSION_NAMES, np.eye(10))
    ]
    sheets = {"mean": (rows, 1), "shape": (shapes, 3), "expressions": (expressions, 5)}
    files = []
    for name, (pictures, columns) in sheets.items():
        files.append(out / f"{name}.jpg")
        _write_jpeg(files[-1], _sheet(pictures, columns))
    return files


def draw_head(
    shape: ArrayLike, expression: ArrayLike, yaw: float = 0.0, face_gain: float = 1.0, size: int = _SIZE
) -> Picture:
    """Draw the head of coefficients (40,) and (10,) plainly lit: one colour per vertex, one lamp.

    Args:
        shape, expression: coefficients.
        yaw: degrees about the vertical axis.
        face_gain: factor on the shape fields.
        size: of the picture in pixels.

    Returns:
        (size, size, 3) uint8 RGB.
    """
    from voiceface.synthetic.camera import rotation_matrix
    from voiceface.synthetic.head import load_subdivided_head

    from perceptionist.face_models.open_head import head_colours
    from perceptionist.sim3dr import Lighting, rasterize

    head = load_subdivided_head()
    vertices = head.mean + face_gain * np.tensordot(np.asarray(shape, float), head.shape_basis, 1)
    vertices = vertices + np.tensordot(np.asarray(expression, float), head.expression_basis, 1)
    turn = rotation_matrix(np.array([np.deg2rad(yaw), 0.0, 0.0]))
    scale = 2 * size / _MM
    points = (vertices @ turn.T - [0, -9.0, 0]) * scale * [1, -1, 1] + [size, size, 0]
    points = np.ascontiguousarray(points, np.float32)
    triangles = np.ascontiguousarray(head.triangles[: head.part_triangles["lashes"][0], ::-1])
    lighting = Lighting(
        intensity_ambient=0.34, intensity_directional=0.66, intensity_specular=0.0, light_pos=(-3, -3.2, 6)
    )
    shade = 0.35 + 0.65 * head.occlusion[:, None]
    lit = lighting.light(points, triangles) * head_colours(head) * shade
    canvas = np.empty((2 * size, 2 * size, 3), np.uint8)
    canvas[:] = _BACKGROUND
    drawn = rasterize(points, triangles, np.ascontiguousarray(lit, np.float32), canvas)
    return np.rint(drawn.reshape(size, 2, size, 2, 3).mean(axis=(1, 3))).astype(np.uint8)


def _strip(pictures: Sequence[Picture], label: str) -> Picture:
    """Join pictures side by side below a line of text."""
    from PIL import Image, ImageDraw

    heads = np.concatenate(list(pictures), axis=1)
    image = Image.new("RGB", (heads.shape[1], heads.shape[0] + _LABEL), _BACKGROUND)
    image.paste(Image.fromarray(heads), (0, _LABEL))
    ImageDraw.Draw(image).text((4, 2), label, fill=_INK)
    return np.asarray(image)


def _sheet(strips: Sequence[Picture], columns: int) -> Picture:
    """Lay strips of one size out in columns, row by row."""
    blank = np.full_like(strips[0], 255)
    padded = [*strips, *[blank] * (-len(strips) % columns)]
    rows = [np.concatenate(padded[i : i + columns], axis=1) for i in range(0, len(padded), columns)]
    return np.concatenate(rows)


def _write_jpeg(path: Path, picture: Picture) -> None:
    import io

    from PIL import Image
    from voiceface.io.atomic import write_bytes

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    write_bytes(path, buffer.getvalue())
