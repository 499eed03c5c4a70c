"""Where the checkpoint of a run lies: a file, or a run folder that holds it."""

from pathlib import Path

__all__ = ["MODEL_FILE", "find_model_file"]

MODEL_FILE = "model.safetensors"  # what a finished run leaves


def find_model_file(path: str | Path, name: str = MODEL_FILE) -> Path:
    """The weights file itself, or the one that a finished run left in its folder.

    Raises:
        FileNotFoundError: a folder without that file.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    if not (path / name).is_file():
        raise FileNotFoundError(f"{path} holds no {name}: the run is not finished, or is no run folder")
    return path / name
