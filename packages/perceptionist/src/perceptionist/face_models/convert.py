"""Convert ICT-FaceKit's light model: `python -m perceptionist.face_models.convert DIR --out FILE`.

The identity modes become the shape basis; the expressions are reduced to their principal directions.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from perceptionist.face_models.ict_facekit import read_ict_facekit

__all__ = [
    "main",
]


def main(argv: Sequence[str] | None = None) -> int:
    """Convert a folder into one file; the exit status is 1 if that fails, else 0."""
    parser = argparse.ArgumentParser(prog="python -m perceptionist.face_models.convert", description=__doc__)
    parser.add_argument("folder", type=Path, help="FaceXModel folder of ICT-FaceKit")
    parser.add_argument("--out", type=Path, required=True, help="face model to write, .safetensors")
    parser.add_argument(
        "--area", default="face", help="face, narrow, all, or a number of vertices (default: %(default)s)"
    )
    parser.add_argument("--shapes", type=int, default=40, help="identity modes (default 40)")
    parser.add_argument("--expressions", type=int, default=10, help="expression directions (default 10)")
    options = parser.parse_args(argv)
    from perceptionist.face_models.io import save_face_model

    try:
        model = read_ict_facekit(options.folder, options.area, options.shapes, options.expressions)
        save_face_model(options.out, model)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    size = f"{model.num_vertices:,} vertices, {len(model.triangles):,} triangles"
    print(f"{options.out}: {size}, {model.num_shape} + {model.num_expression} coefficients")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
