"""Path of a run's checkpoint: the file itself, or the run folder that contains it."""

from pathlib import Path

__all__ = ["MODEL_FILE", "find_model_file"]

MODEL_FILE = "model.safetensors"  # written by a finished run


def find_model_file(path: str | Path, name: str = MODEL_FILE) -> Path:
    """Return the checkpoint itself, or that of a finished run in its folder.

    Raises:
        FileNotFoundError: a folder without that file.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    if not (path / name).is_file():
        raise FileNotFoundError(f"{path} holds no {name}: the run is not finished, or is no run folder")
    return path / name
