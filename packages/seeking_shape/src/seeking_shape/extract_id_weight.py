"""Step 2: extract the identity weights of a re-weighting run to a file for the main run."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["extract_identity_weights", "main", "read_identity_weights"]


def extract_identity_weights(run: str | Path, out: str | Path, step: int | None = None) -> Path:
    """Extract the identity weights from a checkpoint of a run.

    Args:
        run: run folder, or a native or published checkpoint.
        out: file to write: .safetensors keeps the identity names; .pth is the published format.
        step: completed steps of the checkpoint; None: the last checkpoint.

    Returns:
        The written file.

    Raises:
        CheckpointError: no such checkpoint, or no identity weights in it.
    """
    from voiceface.checkpoints.native import load_model, save_model

    from seeking_shape import published

    source, out = _find_checkpoint(Path(run), step), Path(out)
    if source.suffix == ".safetensors":
        loaded = load_model(source, system="seeking_shape", kind="model")
        weight, names, config = loaded.state["center.weight"], loaded.extra.get("names"), loaded.config
    else:
        weight, names, config = published.read_id_weight(source), None, {}
    if out.suffix == ".safetensors":
        extra = {"names": names, "source": source.name}
        state = {"center.weight": weight}
        save_model(out, state, system="seeking_shape", kind="id_weight", config=config, extra=extra)
    else:
        published.save_id_weight(out, weight)
    return out


def read_identity_weights(path: str | Path, identity_names: Sequence[str]) -> "Tensor":
    """Read identity weights and check that they belong to the training identities.

    Args:
        path: file of `extract_identity_weights`, or the published id_weight.pth (it has no names: only the
            number of identities is checked).
        identity_names: the training identities in class order.

    Returns:
        Weights, shape (C,).

    Raises:
        CheckpointError: other identities, or another order.
    """
    from voiceface.checkpoints.native import load_model
    from voiceface.checkpoints.published import CheckpointError

    from seeking_shape import published

    path = Path(path)
    if path.suffix == ".safetensors":
        loaded = load_model(path, system="seeking_shape", kind="id_weight")
        weight, stored = loaded.state["center.weight"], loaded.extra.get("names")
    else:
        weight, stored = published.read_id_weight(path), None
    if len(weight) != len(identity_names):
        raise CheckpointError(
            f"{path} holds weights of {len(weight)} identities, the training set has {len(identity_names)}: "
            "use the weights of a re-weighting run on the same identities"
        )
    if stored is not None and list(stored) != list(identity_names):
        index = next(i for i, pair in enumerate(zip(stored, identity_names)) if pair[0] != pair[1])
        raise CheckpointError(
            f"{path} belongs to other identities, or to another order: identity {index} is {stored[index]} "
            f"in the file and {identity_names[index]} in the training set; use the weights of a re-weighting "
            "run on the same identities"
        )
    return weight


def _find_checkpoint(run: Path, step: int | None) -> Path:
    from voiceface.checkpoints.published import CheckpointError

    if run.is_file():
        return run
    name = "step_*" if step is None else f"step_{step:06d}"
    folder = run / "checkpoints"
    checkpoints = sorted(folder.glob(f"{name}.safetensors"))
    if not checkpoints:
        available = ", ".join(sorted(path.stem for path in folder.glob("step_*.safetensors"))) or "none"
        expected = "checkpoints" if step is None else f"a checkpoint of step {step}"
        raise CheckpointError(f"{run} holds no {expected}; available: {available}")
    return checkpoints[-1]


def main(argv: Sequence[str] | None = None) -> int:
    """`seeking_shape extract_id_weight`."""
    parser = argparse.ArgumentParser(
        prog="seeking_shape extract_id_weight",
        description="Extract the identity weights of a re-weighting run, for `train --id-weights FILE`.",
    )
    parser.add_argument(
        "run", type=Path, help="run folder of the re-weighting run, or one of its checkpoints"
    )
    parser.add_argument(
        "--out", type=Path, help="file to write (default: RUN/id_weight.safetensors); .pth: published format"
    )
    parser.add_argument("--step", type=int, help="completed steps of the checkpoint (default: the last)")
    args = parser.parse_args(argv)
    folder = args.run if args.run.is_dir() else args.run.parent
    out = args.out or folder / "id_weight.safetensors"
    print(f"identity weights: {extract_identity_weights(args.run, out, args.step)}")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("seeking_shape.extract_id_weight", None))
