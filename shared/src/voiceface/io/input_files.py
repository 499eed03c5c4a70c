"""Input files of commands (audio and stored features, in folders or not), and their output folder."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from voiceface.io.file_kinds import printable
from voiceface.io.own_files import SOUND_SUFFIXES, LeftOut, classify, log_left_out, walk_folder

__all__ = [
    "AUDIO_FILE_SUFFIXES",
    "find_input_files",
    "make_writable_directory",
    "output_directory",
    "require_writable_files",
]

AUDIO_FILE_SUFFIXES = SOUND_SUFFIXES
"""Suffixes of audio files that `voiceface.audio.loading` reads."""


def find_input_files(
    paths: Iterable[str | Path],
    feature_suffixes: Sequence[str] = (),
    *,
    on_same_stem: Literal["features", "refuse"] = "features",
    left_out: list[LeftOut] | None = None,
) -> list[tuple[Path, Path]]:
    """Find recordings and feature files among files and, recursively, in folders.

    Recordings are told by their content (`voiceface.io.own_files`); a video is a recording of its sound.
    Other files of a folder are left out and logged, pictures excepted; hidden ones are skipped.

    Args:
        paths: files and folders.
        feature_suffixes: suffixes of stored features, with the dot, in order of preference.
        on_same_stem: files of a folder that differ only in their suffix: stored features take precedence
            over audio, or both are refused, like all files whose results would have the same name.
            Recordings that differ only in their suffix are all used; their results have the names `a_wav`
            and `a_mp3`.
        left_out: receives the files that are left out; None: they are logged.

    Returns:
        (file, relative path of its results: path below the given folder, without suffix), sorted in a folder.

    Raises:
        FileNotFoundError: a path is missing, or no file was found.
        ValueError: a file of another kind, or two files whose results would have the same name.
    """
    found: dict[Path, Path] = {}
    unused: list[LeftOut] = []
    for given in map(Path, paths):
        if given.is_dir():
            found |= _find_in_folder(given, feature_suffixes, on_same_stem, unused)
        elif given.exists():
            kind, title, remedy = classify(given)
            if kind != "sound" and given.suffix.lower() not in feature_suffixes:
                stored = f"a feature file ({', '.join(feature_suffixes)}) or " if feature_suffixes else ""
                raise ValueError(
                    f"{printable(given)}: suffix {given.suffix or 'none'}, expected {stored}a recording "
                    f"(wav, flac, mp3, m4a, ogg and others); it is {title}"
                    + (f"; {remedy}" if remedy else "")
                )
            found[given] = Path(given.stem)
        else:
            hint = f"; if its name begins with a dash, write ./{given}" if str(given).startswith("-") else ""
            raise FileNotFoundError(f"no file or folder at {printable(given)}{hint}")
    if left_out is None:
        log_left_out(unused)
    else:
        left_out += unused
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


def _find_in_folder(
    folder: Path,
    feature_suffixes: Sequence[str],
    on_same_stem: Literal["features", "refuse"],
    left_out: list[LeftOut],
) -> dict[Path, Path]:
    """Find the inputs in one folder: file -> relative path of its results."""
    rank = {suffix: place for place, suffix in enumerate(feature_suffixes)}
    sounds: list[Path] = []
    features: dict[Path, Path] = {}  # place -> file
    clashing: dict[Path, Path] = {}
    for path in walk_folder(folder):
        suffix, place = path.suffix.lower(), path.relative_to(folder).with_suffix("")
        if suffix in rank:
            known = features.setdefault(place, path)
            if on_same_stem == "refuse":
                clashing[path] = place
            elif rank[suffix] < rank[known.suffix.lower()]:
                features[place] = path
            continue
        kind, title, remedy = classify(path)
        if kind == "sound":
            sounds.append(path)
        elif not kind:
            left_out.append(LeftOut(path, f"is {title}, no recording", remedy))
    places = {path: path.relative_to(folder).with_suffix("") for path in sounds}
    count = Counter(places.values())
    result = {path: place for place, path in features.items()} | clashing
    for path, place in places.items():
        if place in features and on_same_stem == "features":
            continue
        several = count[place] > 1 and place not in features
        result[path] = place.with_name(f"{place.name}_{path.suffix[1:]}") if several else place
    return dict(sorted(result.items()))


def require_writable_files(paths: Mapping[str, Path | None]) -> None:
    """Check, before any work, that output files can be written; their folders are created.

    Args:
        paths: flag without dashes -> file, or None where the flag was not given.

    Raises:
        OSError: a path is a folder, or its folder cannot be written; the message names the flag.
    """
    for flag, path in paths.items():
        if path is None:
            continue
        if path.is_dir():
            raise OSError(f"--{flag} {printable(path)}: is a folder, expected the name of a file")
        try:
            make_writable_directory(path.parent)
        except OSError as error:
            text = str(error.strerror).replace("choose another --out", "choose another file")
            raise OSError(f"--{flag} {printable(path)}: {text}") from None


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


@contextmanager
def output_directory(path: str | Path) -> Iterator[Path]:
    """Yield a folder of `make_writable_directory`; where the block fails, empty folders made for it go.

    Raises:
        OSError: it is not writable; the message names the folder.
    """
    folder = Path(path)
    absent = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        yield make_writable_directory(folder)
    except BaseException:
        with suppress(OSError):  # the first that holds something ends it
            for each in absent:
                each.rmdir()
        raise
