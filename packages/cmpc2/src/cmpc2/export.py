"""Export for distribution: model, prototype memory and its videos, in half precision.

The bundled files were written by

    cmpc2 demo --preset quick --out runs/demo_cmpc2
    cmpc2 export runs/demo_cmpc2/main --out population.safetensors

and are in the folder `weights` of the package.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from voiceface.checkpoints.export_compact import build_parser

__all__ = ["export_bundled", "main"]


def export_bundled(run: Path, out: Path) -> list[Path]:
    """Write `out`, and beside it `<name>_memory.safetensors` and `<name>_videos.csv`.

    Args:
        run: run folder.
        out: file name that ends in .safetensors.

    Raises:
        CheckpointError, FileNotFoundError: no finished run.
    """
    import torch
    from voiceface.checkpoints import export_compact
    from voiceface.checkpoints.native import load_model, save_model

    weights = export_compact.export_compact(run, out, system="cmpc2")
    memory, table = (out.with_name(f"{out.stem}_{rest}") for rest in ("memory.safetensors", "videos.csv"))
    loaded = load_model(run / "memory.safetensors", system="cmpc2", kind="memory")
    state = {}
    for key, value in loaded.state.items():
        if key.startswith("face/"):
            state[key] = value if value.is_floating_point() else value.to(torch.int16)
    save_model(
        memory,
        state,
        system="cmpc2",
        kind="memory",
        config=loaded.config,
        extra=loaded.extra,
        dtype=torch.float16,
    )
    shutil.copyfile(run / "training.csv", table)
    return [weights, memory, table]


def main(argv: Sequence[str] | None = None) -> int:
    """`cmpc2 export`."""
    args = build_parser("cmpc2 export").parse_args(argv)
    for path in export_bundled(args.run, args.out):
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("cmpc2.export", None))
