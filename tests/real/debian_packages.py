"""Real speakers, music and landscapes from packages of Debian: fetched and unpacked, never installed."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["LANDSCAPES", "MUSIC", "SPEECH", "PackagesUnavailableError", "fetch_packages", "find_speakers"]

SPEECH = (
    *("klettres-data", "ktuberling-data", "pocketsphinx-testdata"),
    *(f"asterisk-core-sounds-{language}-wav" for language in ("en", "es", "fr", "it", "ru")),
    *("asterisk-prompt-it-menardi-wav", "asterisk-prompt-fr-armelle", "asterisk-prompt-es-co"),
)
"""Packages of speech; their licences (CC-BY-SA, GPL, mixed) allow to use, and forbid to mix, them."""
MUSIC = ("asterisk-moh-opsound-wav",)
LANDSCAPES = ("lomiri-wallpapers-20.04", "lomiri-wallpapers-16.04")
SAME_SPEAKER = {"sr@ijekavian", "sr@ijekavianlatin", "sr@latin"}  # of ktuberling: the clips of `sr` again
MIN_BYTES = 4000
_fetching = threading.Lock()
_failed: dict[Path, str] = {}  # folder -> why nothing more can be fetched


class PackagesUnavailableError(Exception):
    """There is no apt-get, or its archive does not have the packages."""


def fetch_packages(folder: Path, packages: tuple[str, ...]) -> dict[str, Path]:
    """Fetch and unpack packages; nothing of the system changes, and no rights are needed.

    Args:
        folder: keeps what was unpacked; a package that is there is not fetched again.
        packages: names.

    Returns:
        Package -> folder of its files.

    Raises:
        PackagesUnavailableError: see there.
    """
    with _fetching:  # a thread may have begun with it
        missing = tuple(name for name in packages if not (folder / name).is_dir())
        if missing and folder not in _failed:
            try:
                _fetch(folder, missing)
            except PackagesUnavailableError as error:
                _failed[folder] = str(error)
        if missing and folder in _failed:
            raise PackagesUnavailableError(_failed[folder])
    return {name: folder / name for name in packages}


def _fetch(folder: Path, missing: tuple[str, ...]) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise PackagesUnavailableError("there is no apt-get here, expected Debian or one of its kin")
    state, downloads = folder / "apt" / "lists", folder / "apt" / "archives"
    for each in (state / "partial", downloads / "partial"):
        each.mkdir(parents=True, exist_ok=True)
    options = [f"Dir::State::Lists={state}", f"Dir::Cache={folder / 'apt'}", "Debug::NoLocking=1"]
    options += [f"APT::Sandbox::User={os.environ.get('USER', 'root')}"]
    apt = ["apt-get", "-qq", *(part for option in options for part in ("-o", option))]
    try:
        subprocess.run([*apt, "update"], check=True, capture_output=True, timeout=120)
        subprocess.run(
            [*apt, "download", *missing], check=True, capture_output=True, timeout=300, cwd=downloads
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "stderr", None) or b""
        raise PackagesUnavailableError(
            f"apt-get cannot fetch them: {reason.decode(errors='replace').strip()[-200:] or error}"
        ) from error
    for name in missing:
        archive = next(downloads.glob(f"{name}_*.deb"))
        part = folder / f".{name}.part"
        subprocess.run(["dpkg-deb", "-x", archive, part], check=True, capture_output=True)
        part.rename(folder / name)
        archive.unlink()


def find_speakers(packages: dict[str, Path]) -> dict[str, list[Path]]:
    """List the recordings of every speaker: one folder of a package is one speaker.

    Args:
        packages: of `fetch_packages(folder, SPEECH)`.

    Returns:
        Speaker -> recordings, sorted.
    """
    found = {}
    for name, folder in _speaker_folders(packages):
        files = [path for pattern in ("*.wav", "*.ogg", "*.gsm") for path in folder.rglob(pattern)]
        # Files of `silence` hold none, as their name says.
        files = [path for path in files if path.parent.name != "silence" and path.stat().st_size > MIN_BYTES]
        if files:
            found[name] = sorted(files)
    return found


def _speaker_folders(packages: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    for package, root in sorted(packages.items()):
        share = root / "usr" / "share"
        if package.startswith("asterisk-core-sounds") or "menardi" in package:
            for folder in sorted((share / "asterisk" / "sounds").glob("*_*_*")):
                yield f"asterisk/{folder.name}", folder
        elif package.startswith("asterisk-prompt"):
            yield f"asterisk/{package.removeprefix('asterisk-prompt-')}", share / "asterisk" / "sounds"
        elif package == "klettres-data":
            for folder in sorted(
                path for path in (share / "klettres").glob("*/") if (path / "alpha").is_dir()
            ):
                yield f"klettres/{folder.name}", folder
        elif package == "ktuberling-data":
            for folder in sorted((share / "ktuberling" / "sounds").glob("*/")):
                if folder.name not in SAME_SPEAKER:
                    yield f"ktuberling/{folder.name}", folder
        elif package == "pocketsphinx-testdata":
            yield "librivox", share / "pocketsphinx" / "test" / "data" / "librivox"
