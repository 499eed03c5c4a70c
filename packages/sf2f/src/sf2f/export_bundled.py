"""Export a compact checkpoint for distribution.

The bundled checkpoint was created by

    voiceface population data/people --preset quick --identities 1500 --no-lists
    sf2f train --cfg population_1st_stage --data data/people --threads 1 --out runs/first
    sf2f train --cfg population_fuser --data data/people --threads 1 --out runs/second --checkpoint runs/first
    python -m sf2f.export_bundled runs/second --out src/sf2f/weights/population.safetensors
"""

from collections.abc import Sequence

from voiceface.checkpoints.export_compact import command

__all__ = [
    "main",
]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m sf2f.export_bundled`."""
    return command("python -m sf2f.export_bundled", "sf2f", argv)


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("sf2f.export_bundled", None))
