"""Arguments that have one name and one meaning in the commands of every system; imports nothing heavy.

Flags say where and how, the configuration says what.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from voiceface.io.long_recordings import DEFAULT_LONG_RECORDINGS, LongRecordings

__all__ = [
    "CHECKPOINT_HELP",
    "COMPARISON_SAMPLES",
    "CORPUS_HELP",
    "add_checkpoint_argument",
    "add_crop_arguments",
    "add_data_source_arguments",
    "add_device_argument",
    "add_engine_arguments",
    "add_long_recordings_argument",
    "add_missing_argument",
    "add_on_corrupt_argument",
    "add_override_argument",
    "add_resample_argument",
    "add_run_arguments",
    "add_strict_argument",
    "add_training_arguments",
    "add_weights_argument",
    "add_workers_argument",
    "check_engine_arguments",
    "data_folder",
    "require_existing_paths",
    "split_overrides",
]

CORPUS_HELP = "data folder, packed or not, or the address of a packed one; see docs/data.md"
CHECKPOINT_HELP = "checkpoint or run folder"
# Bootstrap samples of a comparison: with fewer, no p-value corrected for many tests can be below 0.05.
COMPARISON_SAMPLES = 5000
OVERRIDE_PATTERN = re.compile(r"[A-Za-z_]\w*(\.\w+)*=")


def add_training_arguments(
    parser: argparse.ArgumentParser, *, configurations: str, data: str = CORPUS_HELP
) -> None:
    """Add the arguments of `train`: --cfg, --data or --population, --out, --resume, --device, --threads.

    Args:
        parser: parser of the command.
        configurations: some names of bundled configurations, for the help.
        data: description of --data, for the help.
    """
    add_data_source_arguments(parser, data)
    add_run_arguments(parser, configurations=configurations)


def add_run_arguments(parser: argparse.ArgumentParser, *, configurations: str) -> None:
    """Add the arguments of a training run but those of its data; see `add_training_arguments`."""
    parser.add_argument(
        "--cfg", required=True, help=f"name of a bundled configuration ({configurations}), or a .yaml file"
    )
    parser.add_argument("--out", type=Path, required=True, help="run folder, new or empty")
    parser.add_argument("--resume", action="store_true", help="resume the run in --out from its last state")
    add_device_argument(parser, "auto")
    parser.add_argument("--threads", type=int, help="CPU threads (use the same number to resume)")
    add_override_argument(parser)


def add_data_source_arguments(parser: argparse.ArgumentParser, data: str = CORPUS_HELP) -> None:
    """Add --data and its alternative --population."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=data_folder, help=data)
    source.add_argument(
        "--population",
        metavar="PRESET",
        help="synthetic identities of this preset, generated in memory, in place of --data",
    )


def data_folder(text: str) -> Path:
    """Type of --data: a folder, an address of a packed one (its copy in a cache), or a generated population.

    Raises:
        FileNotFoundError: nothing packed is at the address.
    """
    if "://" not in text and not text.startswith("population:"):
        return Path(text)
    from voiceface.io.mirrored_folders import local_folder

    try:
        return local_folder(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_checkpoint_argument(parser: argparse.ArgumentParser, accepts: str) -> None:
    """Add --checkpoint: the model that a training run starts from."""
    parser.add_argument("--checkpoint", type=Path, help=f"model to start from: {accepts}")


def add_weights_argument(parser: argparse._ActionsContainer, accepts: str = CHECKPOINT_HELP) -> None:
    """Add --weights: the trained model that a command uses (default: None, the bundled one)."""
    parser.add_argument("--weights", type=Path, help=f"{accepts} (default: the bundled checkpoint)")


def add_device_argument(parser: argparse.ArgumentParser, default: str = "cpu", note: str = "") -> None:
    """Add --device: see `voiceface.runtime.devices.choose_device`."""
    text = f"cpu, cuda or auto{note} (default: %(default)s)"
    parser.add_argument("--device", default=default, help=text)


def add_workers_argument(parser: argparse.ArgumentParser) -> None:
    """Add --workers: threads that load files while the networks run."""
    parser.add_argument("--workers", type=int, default=2, help="file-loading threads (default: %(default)s)")


def add_engine_arguments(parser: argparse.ArgumentParser, work: str) -> None:
    """Add --engine, --ray-address and --actors; see `voiceface.engines.interface.open_engine`.

    Args:
        parser: parser of the command.
        work: what an actor does, for the help.
    """
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="where the work is done: by this process, or by the actors of a Ray cluster, with the same "
        "results (default: %(default)s)",
    )
    parser.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="cluster of --engine ray: auto, ray://HOST:PORT or HOST:PORT (default: RAY_ADDRESS, else one of "
        "this machine, for this command)",
    )
    parser.add_argument(
        "--actors",
        type=int,
        metavar="N",
        help=f"processes of --engine ray that {work} (default: one for each GPU; on the CPU, cores divided "
        "by --workers)",
    )


def check_engine_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Check the arguments of `add_engine_arguments`, before any import.

    Raises:
        SystemExit: they contradict, with a message of the parser.
        ModuleNotFoundError: the engine is not installed; says how to get it.
    """
    if args.actors is not None and args.actors < 1:
        parser.error(f"--actors {args.actors}: expected at least 1")
    given = [flag for flag in ("ray_address", "actors") if getattr(args, flag) is not None]
    if given and args.engine != "ray":
        parser.error(f"--{given[0].replace('_', '-')}: only with --engine ray")
    if args.engine == "ray" and find_spec("ray") is None:
        raise ModuleNotFoundError(
            "--engine ray needs the package ray: pip install 'voiceface-shared[ray]'", name="ray"
        )


def add_missing_argument(parser: argparse.ArgumentParser, description: str) -> None:
    """Add --missing: whether missing data is an error, or skipped."""
    parser.add_argument(
        "--missing", choices=("error", "skip"), default="error", help=f"{description} (default: %(default)s)"
    )


def add_on_corrupt_argument(parser: argparse._ActionsContainer) -> None:
    """Add --on-corrupt: whether a corrupt recording is an error, or its decodable part is used."""
    parser.add_argument(
        "--on-corrupt",
        choices=("error", "salvage"),
        help="corrupt recordings: an error, or use the part that can be decoded (default: as in training)",
    )


def add_resample_argument(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add --resample: whether a recording that is not at 16 kHz is resampled, or an error."""
    parser.add_argument(
        "--resample",
        choices=("never", "auto"),
        default=default,
        help=f"recordings not at 16 kHz: an error, or resample (default: {default or 'as in training'})",
    )


def add_long_recordings_argument(parser: argparse._ActionsContainer) -> None:
    """Add --long-recordings: what is used of long recordings, a `LongRecordings`."""

    def parse(text: str) -> LongRecordings:
        try:
            return LongRecordings.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    parser.add_argument(
        "--long-recordings",
        type=parse,
        default=DEFAULT_LONG_RECORDINGS,
        metavar="best|all[:SECONDS]",
        help="of recordings longer than SECONDS (60), the best SECONDS of speech, or all (default: best)",
    )


def add_crop_arguments(parser: argparse._ActionsContainer, *, every_face: bool = False) -> None:
    """Add --crop, --face-finder and, where pictures are compared, --every-face.

    See `voiceface.faces.PictureReader`.

    Args:
        parser: parser of the command.
        every_face: add --every-face.
    """
    parser.add_argument(
        "--crop",
        choices=("auto", "always", "never"),
        default="auto",
        help="find the face of a picture and cut it out as in the training pictures of the weights; auto: "
        "unless the picture is such a crop already, where networks that find faces are installed "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--face-finder",
        type=Path,
        metavar="FILE.onnx",
        help="find faces by YuNet or SCRFD in place of the networks of `voiceface models get real`",
    )
    if every_face:
        parser.add_argument(
            "--every-face",
            action="store_true",
            help="each face of a picture counts: photo.jpg#1, photo.jpg#2 (default: the largest alone)",
        )


def add_strict_argument(parser: argparse._ActionsContainer) -> None:
    """Add --strict: input files that are left out are an error; see `voiceface.commandline.messages`."""
    parser.add_argument(
        "--strict",
        action="store_true",
        help="exit status 1 if an input file is left out; the results of the others are written",
    )


def add_override_argument(parser: argparse.ArgumentParser) -> None:
    """Add the positional overrides ``section.key=value``."""
    parser.add_argument(
        "override", nargs="*", metavar="section.key=value", help="override values of the configuration"
    )


def split_overrides(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Separate file names from ``section.key=value`` among the positional arguments of a command.

    A word that names an existing file counts as a file.

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
    """Check, before any work, that the files and folders given by flags exist.

    Args:
        paths: flag without dashes -> path, or None where the flag was not given.

    Raises:
        FileNotFoundError: paths do not exist; the message names all of them with their flags.
    """
    absent = [
        f"--{flag.replace('_', '-')}: nothing at {path}"
        for flag, path in paths.items()
        if path and not path.exists()
    ]
    if absent:
        raise FileNotFoundError("; ".join(absent))
