"""Small weights for distribution: half precision, without what is computed anew on loading.

The bundled weights were made by

    seeking_shape demo --preset standard --out runs/standard
    python -m seeking_shape.bundle runs/standard/main --out src/seeking_shape/weights/population.safetensors
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

FRONT_END = "V.model.torchfb."


def bundle(run: str | Path, out: str | Path) -> Path:
    """Write a model's weights in half precision.

    The log-mel window and bank are left out: they are constants, and half precision would spoil them.

    Args:
        run: run folder or weights file.
        out: a name that ends in .safetensors.

    Returns:
        The written file.

    Raises:
        CheckpointError: no readable model at `run`.
    """
    import torch
    from voiceface.checkpoint import load_model, save_model

    source = Path(run)
    loaded = load_model(source / "model.safetensors" if source.is_dir() else source, system="seeking_shape")
    state = {key: value for key, value in loaded.state.items() if not key.startswith(FRONT_END)}
    out = Path(out)
    save_model(
        out,
        state,
        system="seeking_shape",
        kind="model",
        config=loaded.config,
        extra=loaded.extra,
        dtype=torch.float16,
    )
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m seeking_shape.bundle`."""
    parser = argparse.ArgumentParser(
        prog="python -m seeking_shape.bundle", description="Write a model's weights small, in half precision."
    )
    parser.add_argument("run", type=Path, help="run folder or weights file")
    parser.add_argument("--out", type=Path, required=True, help="file to write, .safetensors")
    args = parser.parse_args(argv)
    out = bundle(args.run, args.out)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    from voiceface.cli import run_main

    raise SystemExit(run_main("seeking_shape.bundle", None))
