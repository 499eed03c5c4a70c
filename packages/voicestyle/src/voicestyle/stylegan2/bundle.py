"""Small weights for distribution, and the bundled generator of invented faces.

The bundled weights were made by

    voicestyle train-stylegan --cfg population --population --threads 1 --device cpu --out runs/population
    python -m voicestyle.stylegan2.bundle runs/population --out src/voicestyle/weights/NAME

where NAME is `BUNDLED`.
"""

import argparse
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voicestyle.stylegan2.generator import Generator

BUNDLED = "stylegan2_population.safetensors"


def bundled_weights() -> Path:
    """The bundled file."""
    return Path(str(resources.files("voicestyle") / "weights" / BUNDLED))


def bundled_generator() -> "Generator":
    """The bundled generator: invented faces of 64 pixels, frozen, with its `latent_avg`."""
    from voicestyle.stylegan2.readers import load_generator

    return load_generator(bundled_weights())


def bundle(run: str | Path, out: str | Path) -> Path:
    """Write a generator of ours in half precision.

    Args:
        run: run folder or weights file.
        out: a name that ends in .safetensors.

    Raises:
        CheckpointError: no generator of ours at `run`.
    """
    import torch
    from voiceface.checkpoint import load_model, save_model

    from voicestyle.stylegan2.readers import SYSTEM

    source, out = Path(run), Path(out)
    loaded = load_model(source / "model.safetensors" if source.is_dir() else source, system=SYSTEM)
    save_model(
        out,
        loaded.state,
        system=SYSTEM,
        kind="generator",
        config=loaded.config,
        extra=loaded.extra,
        dtype=torch.float16,
    )
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m voicestyle.stylegan2.bundle`."""
    parser = argparse.ArgumentParser(
        prog="python -m voicestyle.stylegan2.bundle", description="Write a generator in half precision."
    )
    parser.add_argument("run", type=Path, help="run folder or weights file")
    parser.add_argument("--out", type=Path, required=True, help="file to write, .safetensors")
    args = parser.parse_args(argv)
    out = bundle(args.run, args.out)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    from voiceface.cli import run_main

    raise SystemExit(run_main("voicestyle.stylegan2.bundle", None))
