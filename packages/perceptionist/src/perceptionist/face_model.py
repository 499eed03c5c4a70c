"""`perceptionist face-model`: write the population's head as an open face model, or meshes of it."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["build_parser", "main", "parse_coefficients"]

FORMATS = ("obj", "ply", "glb", "off", "stl", "xyz")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the folder; the exit status is 0."""
    args = build_parser().parse_args(argv)
    if args.face_gain <= 0:
        raise ValueError(f"--face-gain is {args.face_gain:g}, expected a number above 0")
    shape, expression = parse_coefficients(args.coefficients, args.sex)
    from voiceface.io.input_files import make_writable_directory

    from perceptionist.face_models.open_head import STATEMENT, write_face_model, write_head_meshes

    out = make_writable_directory(args.out)
    files = [] if args.meshes_only else write_face_model(out, args.face_gain)
    files += write_head_meshes(
        out,
        shape,
        expression,
        name=args.name,
        formats=args.mesh,
        face_gain=args.face_gain,
    )
    if args.pictures:
        from perceptionist.face_models.coefficient_pictures import write_coefficient_pictures

        files += write_coefficient_pictures(out / "pictures", args.face_gain)
    print(STATEMENT)
    for file in files:
        print(file)
    return 0


def parse_coefficients(
    settings: Sequence[str], sex: str = "mean"
) -> tuple["NDArray[np.float64]", "NDArray[np.float64]"]:
    """Parse `NAME=VALUE` settings of coefficients.

    Args:
        settings: such as "nosew=2" and "smile=1".
        sex: "mean", "male" or "female": what the shape coefficients start from.

    Returns:
        (40,) shape and (10,) expression coefficients.

    Raises:
        ValueError: a name is unknown or given twice, or a value is no finite number.
    """
    import math

    from voiceface.synthetic.head.shape_space import EXPRESSION_NAMES, SHAPE_NAMES, sex_shift

    from perceptionist.face_models.open_head import coefficient_vector

    values: dict[str, float] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in (*SHAPE_NAMES, *EXPRESSION_NAMES):
            raise ValueError(
                f"{setting}: no coefficient {name!r}; expected one of "
                f"{', '.join((*SHAPE_NAMES, *EXPRESSION_NAMES))}"
            )
        if name in values:
            raise ValueError(f"{setting}: {name} is set twice")
        try:
            values[name] = float(text)
        except ValueError:
            values[name] = math.nan
        if not math.isfinite(values[name]):
            raise ValueError(f"{setting}: found {text!r}, expected a number, such as {name}=1.5")
    sign = {"mean": 0.0, "male": 1.0, "female": -1.0}[sex]
    shape = coefficient_vector({n: v for n, v in values.items() if n in SHAPE_NAMES}, SHAPE_NAMES)
    expression = coefficient_vector(
        {n: v for n, v in values.items() if n in EXPRESSION_NAMES}, EXPRESSION_NAMES
    )
    return sign * sex_shift() + shape, expression


def build_parser() -> argparse.ArgumentParser:
    """The command line of `perceptionist face-model`."""
    parser = argparse.ArgumentParser(
        prog="perceptionist face-model",
        description="Write the head of the population as an open face model: a folder in the layout "
        "of 3DDFA for --face-model, named fields, landmarks, region masks, reference shapes, and the mesh of "
        "any coefficients. See docs/face_model.md.",
    )
    add = parser.add_argument
    add("coefficients", nargs="*", metavar="NAME=VALUE",
        help="coefficients of the mesh, such as nosew=2 smile=1 (default: all 0)")  # fmt: skip
    add("--out", type=Path, required=True, help="folder to write")
    add("--face-gain", type=float, default=1.0, metavar="G",
        help="factor on the variation of shape (default: 1)")  # fmt: skip
    add("--sex", choices=("mean", "male", "female"), default="mean",
        help="head that the mesh starts from (default: %(default)s)")  # fmt: skip
    add("--mesh", nargs="+", choices=FORMATS, default=["obj", "ply", "glb"], metavar="FORMAT",
        help=f"formats of the mesh, of {', '.join(FORMATS)} (default: obj ply glb)")  # fmt: skip
    add("--name", default="head", help="name of the mesh files (default: %(default)s)")
    add("--meshes-only", action="store_true", help="write the mesh only")
    add("--pictures", action="store_true", help="also draw every coefficient at -2 and +2")
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("perceptionist.face_model", None))
