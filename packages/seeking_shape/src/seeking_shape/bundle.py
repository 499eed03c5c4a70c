"""Small weights for distribution.

The bundled weights were made by

    seeking_shape demo --preset standard --out runs/standard
    python -m seeking_shape.bundle runs/standard/main --out src/seeking_shape/weights/population.safetensors
"""

from collections.abc import Sequence

from voiceface.checkpoints.export_compact import command


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m seeking_shape.bundle`."""
    return command("seeking_shape", argv, computed_keys=["V.model.torchfb.*"])


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("seeking_shape.bundle", None))
