"""Small weights for distribution: half precision, without what is computed anew on loading."""

from collections.abc import Sequence
from pathlib import Path

__all__ = ["export_compact"]


def export_compact(
    run: str | Path, out: str | Path, *, system: str, computed_keys: Sequence[str] = ()
) -> Path:
    """Write a model's weights in half precision.

    Args:
        run: run folder or weights file.
        out: a name that ends in .safetensors.
        system: whose model it is.
        computed_keys: shell patterns of keys that are left out, such as those of the log-mel window and bank:
            they are computed with the model, and half precision would spoil them.

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
