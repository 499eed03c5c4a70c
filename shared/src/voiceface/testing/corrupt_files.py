"""Corrupt and malicious files, and checks of the messages about them.

Pickles that run a command, checkpoints that are truncated or changed, files of a corpus that a test damages.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = [
    "MaliciousPickle",
    "assert_mentions",
    "first_image_path",
    "first_utterance_path",
    "training_failure_checker",
    "write_bit_flipped",
    "write_malicious_checkpoints",
    "write_truncated",
]


class MaliciousPickle:
    """Object whose pickle creates the file `marker` when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def write_malicious_checkpoints(folder: Path, marker: Path, key: str) -> list[Path]:
    """Write checkpoints that create `marker` if their pickle is executed.

    Args:
        folder: receives the files.
        marker: file that the pickles create.
        key: key of the state dict that holds the malicious object.

    Returns:
        Checkpoints with the object inside the state dict, inside the optimiser state, alone in the file, and
        in a plain pickle.
    """
    import pickle

    import torch

    attack = MaliciousPickle(marker)
    weights = {key: torch.ones(2)}
    contents: dict[str, Any] = {
        "state_dict": {"state_dict": {key: attack}, "model": {key: attack}},
        "optimizer": {"state_dict": weights, "model": weights, "optimizer": attack},
        "bare": attack,
    }
    paths = []
    for name, content in contents.items():
        paths.append(folder / f"malicious_{name}.pth.tar")
        torch.save(content, paths[-1])
    paths.append(folder / "malicious.pth")
    paths[-1].write_bytes(pickle.dumps(attack))
    return paths


def write_truncated(source: Path, target: Path) -> Path:
    """Write the first half of a file."""
    target.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    return target


def write_bit_flipped(source: Path, target: Path) -> Path:
    """Write a file with one bit changed in the middle."""
    data = bytearray(source.read_bytes())
    data[len(data) // 2] ^= 4
    target.write_bytes(data)
    return target


def first_utterance_path(data: Path) -> Path:
    """Return the first utterance of the first training identity."""
    from voiceface.association.data import load_split

    corpus = load_split(data, "train")
    return corpus.voice_path(corpus.records[0].voices[0])


def first_image_path(data: Path, face_root: Path | None = None) -> Path:
    """Return the first image of the first training identity; `face_root` defaults to the corpus's own."""
    from voiceface.association.data import load_split

    corpus = load_split(data, "train", face_root=face_root)
    return corpus.face_path(corpus.records[0].faces[0])


def training_failure_checker(
    train: Callable[..., int], out: Path, data: Path, capsys: Any
) -> Callable[..., str]:
    """Build a function that trains on a corrupt corpus, which must fail, and returns the error message.

    Args:
        train: from `voiceface.testing.runs.training_runner`.
        out: run folder.
        data: the corrupt corpus.
        capsys: pytest's fixture.
    """

    def run(*words: str | Path) -> str:
        capsys.readouterr()
        assert train(out, *words, "training.max_steps=1", data=data) == 1
        message = capsys.readouterr().err
        assert "error: " in message and "Traceback" not in message
        return message[message.index("error: ") :]

    return run


def assert_mentions(message: str, *parts: str | Path) -> None:
    """Require that every part occurs in the message.

    Raises:
        AssertionError: names the parts that do not occur, and the message.
    """
    missing = [str(part) for part in parts if str(part) not in message]
    assert not missing, f"{missing} not in: {message}"
