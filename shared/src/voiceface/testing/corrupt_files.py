"""Files that no program may trust, and what it has to say of them.

Pickles that run a command, weights with a piece missing or changed, identities of whom a test damages a copy.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


class MaliciousPickle:
    """Unpickling it makes the file `marker`."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def write_truncated(source: Path, target: Path) -> Path:
    """The first half of a file."""
    target.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    return target


def write_bit_flipped(source: Path, target: Path) -> Path:
    """A file with one bit changed in the middle."""
    data = bytearray(source.read_bytes())
    data[len(data) // 2] ^= 4
    target.write_bytes(data)
    return target


def first_utterance_path(data: Path) -> Path:
    """The first clip of the first training identity."""
    from voiceface.association.data import load_split

    corpus = load_split(data, "train")
    return corpus.voice_path(corpus.records[0].voices[0])


def first_image_path(data: Path) -> Path:
    """The first image of the first training identity."""
    from voiceface.association.data import load_split

    corpus = load_split(data, "train")
    return corpus.face_path(corpus.records[0].faces[0])


def training_failure_checker(
    train: Callable[..., int], out: Path, data: Path, capsys: Any
) -> Callable[..., str]:
    """A function that trains on corrupt identities, which must fail: it gives the one message.

    Args:
        train: from `voiceface.testing.runs.training_runner`.
        out: run folder.
        data: the corrupt identities.
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
    """Every part stands in the message.

    Raises:
        AssertionError: names those that do not, and the message.
    """
    missing = [str(part) for part in parts if str(part) not in message]
    assert not missing, f"{missing} not in: {message}"
