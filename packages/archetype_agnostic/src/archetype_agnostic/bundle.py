"""Small weights for distribution.

The bundled weights were made by

    archetype_agnostic demo --preset standard --out runs/standard
    python -m archetype_agnostic.bundle runs/standard/main --out population.safetensors

and stand in the package's folder `weights`.
"""

from collections.abc import Sequence

from voiceface.checkpoints.export_compact import command


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m archetype_agnostic.bundle`."""
    return command("archetype_agnostic", argv, computed_keys=["aNet.model.torchfb.*"])


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("archetype_agnostic.bundle", None))
