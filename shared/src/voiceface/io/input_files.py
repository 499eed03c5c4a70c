"""Input files of commands (audio and stored features, in folders or not), and their output folder."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

__all__ = ["AUDIO_FILE_SUFFIXES", "find_input_files", "make_writable_directory"]

AUDIO_FILE_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".oga", ".aac", ".opus", ".mp4", ".webm")
"""Suffixes of audio files that `voiceface.audio.loading` reads."""


def find_input_files(
    paths: Iterable[str | Path],
    feature_suffixes: Sequence[str] = (),
    *,
    on_same_stem: Literal["features", "refuse"] = "features",
) -> list[tuple[Path, Path]]:
    """Find audio and feature files among files and, recursively, in folders; hidden files are skipped.

    Args:
        paths: files and folders.
        feature_suffixes: suffixes of stored features, with the dot, in order of preference.
        on_same_stem: files of a folder that differ only in their suffix: stored features take precedence
            over audio, or both are refused, like all files whose results would have the same name.

    Returns:
        (file, relative path of its results: path below the given folder, without suffix), sorted in a folder.

    Raises:
        FileNotFoundError: a path is missing, or no file was found.
        ValueError: a file of another kind, or two files whose results would have the same name.
    """
    rank = {suffix: place for place, suffix in enumerate((*feature_suffixes, *AUDIO_FILE_SUFFIXES))}
    found: dict[Path, Path] = {}
    for given in map(Path, paths):
        if given.is_dir():
            best: dict[Path, Path] = {}
            for path in sorted(given.rglob("*")):
                if path.suffix.lower() not in rank or path.name.startswith(".") or not path.is_file():
                    continue
                place = path.relative_to(given).with_suffix("")
                if on_same_stem == "refuse":
                    found[path] = place
                    continue
                known = best.setdefault(place, path)
                if rank[path.suffix.lower()] < rank[known.suffix.lower()]:
                    best[place] = path
            found |= {path: place for place, path in best.items()}
        elif given.is_file():
            if given.suffix.lower() not in rank:
                stored = f"a feature file ({', '.join(feature_suffixes)}) or " if feature_suffixes else ""
                raise ValueError(
                    f"{given}: suffix {given.suffix or 'none'}, expected {stored}a recording "
                    f"({', '.join(AUDIO_FILE_SUFFIXES)})"
                )
            found[given] = Path(given.stem)
        else:
            raise FileNotFoundError(f"no file or folder at {given}")
    if not found:
        raise FileNotFoundError(f"no recordings or feature files in {', '.join(map(str, paths))}")
    taken: dict[Path, Path] = {}
    for path, place in found.items():
        if place in taken:
            raise ValueError(
                f"{taken[place]} and {path} would both be written as {place}; give the folder above them"
            )
        taken[place] = path
    return list(found.items())


def make_writable_directory(path: str | Path) -> Path:
    """Create a folder and check that files can be written there.

    Raises:
        OSError: it is not writable; the message names the folder.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(
            error.errno, f"cannot write into {folder}: {error.strerror}; choose another --out"
        ) from None
    return folder
