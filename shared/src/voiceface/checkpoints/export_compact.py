"""Small checkpoints for distribution: half precision, without keys that loading computes."""

from collections.abc import Sequence
from pathlib import Path

__all__ = ["export_compact"]


def export_compact(
    run: str | Path, out: str | Path, *, system: str, computed_keys: Sequence[str] = ()
) -> Path:
    """Write a checkpoint in half precision.

    Args:
        run: run folder or checkpoint.
        out: a name that ends in .safetensors.
        system: system of the model.
        computed_keys: shell patterns of keys to omit, such as the window and filter bank of the log-mel front
            end: the model computes them, and half precision would degrade them.

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
    loaded = load_model(find_model_file(run), system=system)
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
        extra=loaded.extra,
        dtype=torch.float16,
    )
    return out
