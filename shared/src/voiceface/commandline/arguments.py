"""Flags that have one name and one meaning in the commands of every system; imports nothing heavy.

A flag says where and how, a configuration says what.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

CORPUS_HELP = "corpus folder: see docs/data.md"

CHECKPOINT_HELP = "weights file or run folder"
# Bootstrap samples of a comparison: with fewer, no p-value corrected for many tests can be below 0.05.
COMPARISON_SAMPLES = 5000
OVERRIDE_PATTERN = re.compile(r"[A-Za-z_]\w*(\.\w+)*=")


def add_training_arguments(
    parser: argparse.ArgumentParser, *, configurations: str, data: str = CORPUS_HELP
) -> None:
    """What `train` of every system has: --cfg, --data or --population, --out, --resume, --device, --threads.

    Args:
        parser: of the command.
        configurations: some bundled names, for the help.
        data: what --data names, for the help.
    """
    parser.add_argument("--cfg", required=True, help=f"bundled name ({configurations}) or a .yaml file")
    add_data_source_arguments(parser, data)
    parser.add_argument("--out", type=Path, required=True, help="run folder, new or empty")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    add_device_argument(parser, "auto")
    parser.add_argument("--threads", type=int, help="CPU threads (a resumed run needs the same number)")
    add_override_argument(parser)


def add_data_source_arguments(parser: argparse.ArgumentParser, data: str = CORPUS_HELP) -> None:
    """--data, or --population in its place."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help=data)
    source.add_argument(
        "--population", metavar="PRESET", help="generate the identities of this preset in memory instead"
    )


def add_checkpoint_argument(parser: argparse.ArgumentParser, accepts: str) -> None:
    """--checkpoint: the whole model that a training run starts from."""
    parser.add_argument("--checkpoint", type=Path, help=f"a whole model to start from: {accepts}")


def add_weights_argument(parser: argparse._ActionsContainer, accepts: str = CHECKPOINT_HELP) -> None:
    """--weights: the trained model that a command works with; None: the bundled one."""
    parser.add_argument("--weights", type=Path, help=f"{accepts} (default: the bundled weights)")


def add_device_argument(parser: argparse.ArgumentParser, default: str = "cpu", note: str = "") -> None:
    """--device: as `voiceface.runtime.devices.choose_device` takes it."""
    text = f"cpu, cuda or auto{note} (default: %(default)s)"
    parser.add_argument("--device", default=default, help=text)


def add_workers_argument(parser: argparse.ArgumentParser) -> None:
    """--workers: threads that load files while the networks run."""
    parser.add_argument("--workers", type=int, default=2, help="loading threads (default: %(default)s)")


def add_missing_argument(parser: argparse.ArgumentParser, what: str) -> None:
    """--missing: whether data that is not there is an error, or skipped."""
    parser.add_argument(
        "--missing", choices=("error", "skip"), default="error", help=f"{what} (default: %(default)s)"
    )


def add_on_corrupt_argument(parser: argparse._ActionsContainer) -> None:
    """--on-corrupt: whether corrupt recordings are refused, or used as far as they can be decoded."""
    parser.add_argument(
        "--on-corrupt",
        choices=("error", "salvage"),
        help="refuse corrupt recordings, or use what can be decoded (default: as in training)",
    )


def add_resample_argument(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """--resample: whether recordings of another sample rate are resampled to 16 kHz, or refused."""
    parser.add_argument(
        "--resample",
        choices=("never", "auto"),
        default=default,
        help=f"recordings not at 16 kHz: an error, or resampled (default: {default or 'as in training'})",
    )


def add_override_argument(parser: argparse.ArgumentParser) -> None:
    """Positional ``section.key=value``: changes of the configuration."""
    parser.add_argument("override", nargs="*", metavar="section.key=value", help="change the configuration")


def split_overrides(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Separate file names from ``section.key=value`` among the positional words of a command.

    A word that names an existing file is a file, whatever it looks like.

    Returns:
        (paths, overrides), each in the order given.
    """
    paths: list[Path] = []
    overrides: list[str] = []
    for word in words:
        if OVERRIDE_PATTERN.match(word) and not Path(word).exists():
            overrides.append(word)
        else:
            paths.append(Path(word))
    return paths, overrides


def require_existing_paths(paths: Mapping[str, Path | None]) -> None:
    """Refuse, before any work, files and folders that flags name and that are not there.

    Args:
        paths: flag without dashes -> what it names; None where it was left out.

    Raises:
        FileNotFoundError: names the flag.
    """
    for flag, path in paths.items():
        if path and not path.exists():
            raise FileNotFoundError(f"--{flag.replace('_', '-')}: nothing at {path}")
