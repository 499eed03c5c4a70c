"""Small checkpoints for distribution: half precision, without keys that loading computes."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["build_parser", "command", "export_compact", "require_run"]


def export_compact(
    run: str | Path,
    out: str | Path,
    *,
    system: str,
    kind: str | None = None,
    computed_keys: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write a checkpoint in half precision.

    Args:
        run: run folder or checkpoint.
        out: a name that ends in .safetensors.
        system: system of the model.
        kind: the only kind of model that is taken; None: any.
        computed_keys: shell patterns of keys to omit, such as the window and filter bank of the log-mel front
            end: the model computes them, and half precision would degrade them.
        extra: further entries of the metadata.

    Returns:
        The written file.

    Raises:
        CheckpointError, FileNotFoundError: no readable model at `run`.
    """
    import fnmatch

    import torch

    from voiceface.checkpoints.native import load_model, save_model
    from voiceface.checkpoints.paths import find_model_file

    out = Path(out)
    loaded = load_model(find_model_file(run), system=system, kind=kind)
    state = {
        key: value
        for key, value in loaded.state.items()
        if not any(fnmatch.fnmatchcase(key, pattern) for pattern in computed_keys)
    }
    save_model(
        out,
        state,
        system=system,
        kind=loaded.kind,
        config=loaded.config,
        extra={**loaded.extra, **(extra or {})},
        dtype=torch.float16,
    )
    return out


def build_parser(program: str, *, onnx: str = "") -> argparse.ArgumentParser:
    """Build the parser of a command that exports a checkpoint.

    Args:
        program: its name, for the help.
        onnx: what it writes to a name that ends in .onnx, as a sentence; "": it does not.
    """
    text = "Write a checkpoint in half precision, for distribution."
    parser = argparse.ArgumentParser(prog=program, description=f"{text} {onnx}".strip())
    if onnx:
        parser.add_argument(
            "run",
            type=Path,
            nargs="?",
            help="checkpoint or run folder; for *.onnx the bundled checkpoint if left out",
        )
    else:
        parser.add_argument("run", type=Path, help="checkpoint or run folder")
    endings = ".safetensors or .onnx" if onnx else ".safetensors"
    parser.add_argument("--out", type=Path, required=True, help=f"file to write, {endings}")
    return parser


def require_run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Stop with a message if no checkpoint is named; see `build_parser`."""
    if args.run is None:
        parser.error("the following arguments are required: run (left out for *.onnx only)")


def command(
    program: str, system: str, argv: Sequence[str] | None, *, computed_keys: Sequence[str] = ()
) -> int:
    """Run a command that exports a checkpoint.

    Args:
        program: name of the command, for its help.
        system: the system of the checkpoint.
        argv: words of the command line.
        computed_keys: see `export_compact`.
    """
    args = build_parser(program).parse_args(argv)
    out = export_compact(args.run, args.out, system=system, computed_keys=computed_keys)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")
    return 0
