"""Export for distribution: model, prototype memory and its videos, in half precision.

The bundled files were written by

    cmpc2 demo --preset quick --out runs/demo_cmpc2
    cmpc2 export runs/demo_cmpc2/main --out population.safetensors

and are in the folder `weights` of the package. To a name that ends in .onnx, the command writes both branches
with their front ends (`cmpc2.onnx_export`).
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voiceface.association import onnx_command
from voiceface.association.commands import add_impostor_argument, impostor_metadata
from voiceface.checkpoints.export_compact import build_parser, require_run
from voiceface.commandline.arguments import require_existing_paths

from cmpc2.system import SPEC

__all__ = ["export_bundled", "main"]


def export_bundled(run: Path, out: Path, extra: Mapping[str, Any] | None = None) -> list[Path]:
    """Write `out`, and beside it `<name>_memory.safetensors` and `<name>_videos.csv`.

    Args:
        run: run folder.
        out: file name that ends in .safetensors.
        extra: further entries of the model's metadata.

    Raises:
        CheckpointError, FileNotFoundError: no finished run.
    """
    import torch
    from voiceface.checkpoints import export_compact
    from voiceface.checkpoints.native import load_model, save_model

    weights = export_compact.export_compact(run, out, system="cmpc2", kind="model", extra=extra)
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
    parser = build_parser("cmpc2 export", onnx=onnx_command.DESCRIPTION)
    add_impostor_argument(parser)
    onnx_command.add_export_arguments(parser)
    args = parser.parse_args(argv)
    if args.out.suffix == ".onnx":
        return onnx_command.run_onnx_export(SPEC, args)
    require_run(parser, args)
    require_existing_paths({"impostor_scores": args.impostor_scores})
    for path in export_bundled(args.run, args.out, impostor_metadata(SPEC, args.run, args.impostor_scores)):
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("cmpc2.export", None))
