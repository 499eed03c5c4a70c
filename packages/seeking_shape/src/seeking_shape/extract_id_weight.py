"""Step 2: the identity weights of a re-weighting run, as a file that the main run reads."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def extract_identity_weights(run: str | Path, out: str | Path, step: int | None = None) -> Path:
    """Take the identity weights out of a run's checkpoint.

    Args:
        run: run folder, or one checkpoint (ours or published).
        out: file to write: .safetensors keeps the people's names; .pth is the published form.
        step: completed steps of the checkpoint; None takes the last one.

    Returns:
        The written file.

    Raises:
        CheckpointError: no such checkpoint, or one without identity weights.
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
    """Identity weights from a file, for these people in this order.

    Args:
        path: written by `extract_identity_weights`, or the published id_weight.pth (without names: only
            the count is checked).
        identity_names: the training identities in class order.

    Returns:
        Shape (C,).

    Raises:
        CheckpointError: other people, or another order of them.
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
            f"{path} holds weights of {len(weight)} people, the training set has {len(identity_names)}: "
            "use the weights of a re-weighting run on the same people"
        )
    if stored is not None and list(stored) != list(identity_names):
        differing = next(i for i, pair in enumerate(zip(stored, identity_names)) if pair[0] != pair[1])
        raise CheckpointError(
            f"{path} belongs to other people or another order of them: person {differing} is "
            f"{stored[differing]} there and {identity_names[differing]} here"
        )
    return weight


def _find_checkpoint(run: Path, step: int | None) -> Path:
    from voiceface.checkpoints.published import CheckpointError

    if run.is_file():
        return run
    name = "step_*" if step is None else f"step_{step:06d}"
    found = sorted((run / "checkpoints").glob(f"{name}.safetensors"))
    if not found:
        there = (
            ", ".join(sorted(path.stem for path in (run / "checkpoints").glob("step_*.safetensors")))
            or "none"
        )
        wanted = "checkpoints" if step is None else f"a checkpoint of step {step}"
        raise CheckpointError(f"{run} holds no {wanted}; there are: {there}")
    return found[-1]


def main(argv: Sequence[str] | None = None) -> int:
    """`seeking_shape extract_id_weight`."""
    parser = argparse.ArgumentParser(
        prog="seeking_shape extract_id_weight",
        description="Take the identity weights from a re-weighting run, for `train --id-weights FILE`.",
    )
    parser.add_argument(
        "run", type=Path, help="run folder of the re-weighting run, or one of its checkpoints"
    )
    parser.add_argument(
        "--out", type=Path, help="file to write (default RUN/id_weight.safetensors); .pth: as published"
    )
    parser.add_argument("--step", type=int, help="completed steps of the checkpoint (default the last)")
    args = parser.parse_args(argv)
    folder = args.run if args.run.is_dir() else args.run.parent
    out = args.out or folder / "id_weight.safetensors"
    print(f"identity weights: {extract_identity_weights(args.run, out, args.step)}")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("seeking_shape.extract_id_weight", None))
