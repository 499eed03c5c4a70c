"""`sf2f prepare SOURCE --out DATA`: convert recordings to feature files in the HQ-VoxCeleb layout.

Running the same command again resumes an interrupted run; existing files are kept.
"""

import argparse
import csv
import io
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from sf2f.network_config import SpeechConfig
    from sf2f.recording_sources import RecordingSource

__all__ = [
    "FAILURES_FILE",
    "MEL_FOLDER",
    "RECORD_FILE",
    "STORED_DTYPES",
    "ConversionJob",
    "PrepareError",
    "StoredDtype",
    "main",
    "prepare",
]

RECORD_FILE, FAILURES_FILE, MEL_FOLDER = "prepare.json", "failures.csv", "mel_spectrograms"
StoredDtype = Literal["float16", "float32", "float64"]
STORED_DTYPES = ("float16", "float32", "float64")


class PrepareError(ValueError):
    """An output folder that cannot take the features; the message names the remedy."""


class ConversionJob(NamedTuple):
    """One recording to convert."""

    source: str
    output: str
    ids: tuple[str, str, str]
    config: "SpeechConfig"
    dtype: StoredDtype


def prepare(
    source: str | Path,
    out: str | Path,
    config: "SpeechConfig | None" = None,
    *,
    dtype: StoredDtype = "float32",
    include_faces: bool = True,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Compute a feature file for every recording, and write what `sf2f.data.open_speakers` needs.

    Features are `OUT/vox1|vox2/mel_spectrograms/NAME/SPKID_CLIPID_WAVID.npz`. Images of the source (a
    manifest or a population) are linked or copied to `OUT/vox1/masked_faces/NAME`; metadata tables and split
    are copied. Files that fail are listed in `OUT/failures.csv` with the reason.

    Args:
        source: see `sf2f.recording_sources.detect_source`.
        out: data folder; may be the source itself.
        config: how features are computed; None: the published way.
        dtype: dtype of the stored values.
        include_faces: link or copy the images.
        workers: processes; None uses every core. The result does not depend on it.
        progress: show a progress bar on standard error.

    Returns:
        Content of `OUT/prepare.json`: settings and counts; `complete` is False after failures.

    Raises:
        PrepareError: `out` was prepared with other settings.
        ValueError, OSError: the source is unusable, or the disk is full.
    """
    from voiceface.io.atomic import write_json
    from voiceface.runtime.config import to_dict
    from voiceface.runtime.process_pool import map_unordered

    from sf2f.network_config import DEFAULT_CONFIG
    from sf2f.recording_sources import detect_source

    root, config = Path(out), config or DEFAULT_CONFIG
    record: dict[str, Any] = {"complete": False, "dtype": dtype, "speech": to_dict(config)}
    _require_same_settings(root / RECORD_FILE, record)
    data_source = detect_source(source)
    for leftover in root.glob(f"*/{MEL_FOLDER}/*/.*.part*"):
        leftover.unlink(missing_ok=True)
    jobs, skipped, failures = _plan_jobs(data_source, root, config, dtype)
    write_json(root / RECORD_FILE, record)
    _write_tables(data_source, root)
    written = 0
    try:
        failures += _link_images(data_source, root) if include_faces else []
        for job, reason in map_unordered(
            _convert_recording, jobs, workers, "features", "clip", progress=progress
        ):
            if reason:
                failures.append((job.source, reason))
            written += not reason
        record["complete"] = not failures
    finally:
        _write_failures(root / FAILURES_FILE, sorted(failures))
        record["counts"] = {"written": written, "skipped": skipped, "failed": len(failures)}
        write_json(root / RECORD_FILE, record)
    return record


def _convert_recording(job: ConversionJob) -> str:
    """Convert one recording; return the reason of a failure, or ""."""
    from sf2f.speech import compute_log_mel_from_file, write_mel

    try:
        mel = compute_log_mel_from_file(job.source, job.config)
    except (ValueError, OSError) as error:
        return str(error).replace(f"{job.source}: ", "", 1)
    write_mel(job.output, mel, *job.ids, job.dtype)
    return ""


def _plan_jobs(
    data_source: "RecordingSource", root: Path, config: "SpeechConfig", dtype: StoredDtype
) -> tuple[list[ConversionJob], int, list[tuple[str, str]]]:
    """Jobs to run, number of existing feature files, and failures known beforehand."""
    from voiceface.datasets.layouts import find_files

    existing = {
        f"{corpus}/{item.rpartition('.')[0]}"
        for corpus in {each.corpus for each in data_source.recordings}
        for item in find_files(root / corpus / MEL_FOLDER, "", (".npz", ".pickle")) or ()
    }
    jobs: list[ConversionJob] = []
    failures = [(str(path), reason) for path, reason in data_source.unidentified]
    taken: dict[str, Path] = {}
    skipped = 0
    for each in data_source.recordings:
        stem = f"{each.corpus}/{each.relative_stem}"
        if (other := taken.setdefault(stem, each.path)) != each.path:
            failures.append((str(each.path), f"its feature file would have the same name as that of {other}"))
        elif stem in existing:
            skipped += 1
        else:
            target = root / each.corpus / MEL_FOLDER / f"{each.relative_stem}.npz"
            ids = each.spkid, each.clipid, each.wavid
            jobs.append(ConversionJob(str(each.path), str(target), ids, config, dtype))
    return jobs, skipped, failures


def _write_tables(data_source: "RecordingSource", root: Path) -> None:
    """Write metadata tables, split and ground truth that do not exist yet."""
    from voiceface.io.atomic import write_text

    from sf2f.split import SPLIT_FILE, write_split

    for relative_path, text in data_source.metadata_tables.items():
        if not (root / relative_path).exists():
            write_text(root / relative_path, text)
    if data_source.split and not (root / SPLIT_FILE).exists():
        write_split(root / SPLIT_FILE, data_source.split)
    if data_source.ground_truth_folder and not (root / "truth").exists():
        for name in ("identities.csv", "population.json"):
            write_text(root / "truth" / name, (data_source.ground_truth_folder / name).read_text("utf-8"))


def _link_images(data_source: "RecordingSource", root: Path) -> list[tuple[str, str]]:
    """Link images, or copy them where linking fails; return missing images with the reason."""
    from voiceface.io.atomic import atomic_path

    missing = []
    for path, relative_path in data_source.images.items():
        target = root / relative_path
        if target.exists():
            continue
        if not path.is_file():
            missing.append((str(path), "no such image"))
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except OSError:
            with atomic_path(target) as temporary:
                shutil.copyfile(path, temporary)
    return missing


def _require_same_settings(path: Path, record: dict[str, Any]) -> None:
    """Refuse to mix features of different settings in one folder."""
    if not path.is_file():
        return
    from voiceface.io.foreign_files import read_file_text

    try:
        state = json.loads(read_file_text(path, PrepareError, "a record of settings"))
        previous = {"dtype": state["dtype"], **state["speech"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PrepareError(f"{path} cannot be read ({error!r}); remove it or choose another --out") from None
    requested = {"dtype": record["dtype"], **record["speech"]}
    differing = [key for key in requested if previous.get(key) != requested[key]]
    if differing:
        details = "; ".join(f"{key} is {previous.get(key)} there, {requested[key]} now" for key in differing)
        raise PrepareError(f"{path.parent} was prepared with other settings: {details}; choose another --out")


def _write_failures(path: Path, failures: Sequence[tuple[str, str]]) -> None:
    """Write the list of failures, or remove that of an earlier run."""
    from voiceface.io.atomic import write_text

    if not failures:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("file", "reason"), *failures])
    write_text(path, text.getvalue())


def main(argv: Sequence[str] | None = None) -> int:
    """Run `sf2f prepare`."""
    parser = argparse.ArgumentParser(
        prog="sf2f prepare",
        description="Compute log-mel features of recordings (wav, flac, mp3, m4a, ogg) in the layout that "
        "training reads. Run the same command again to resume an interrupted run.",
    )
    add = parser.add_argument
    add(
        "source",
        type=Path,
        help="manifest (.csv), or a folder with manifest.csv, raw_wav/vox{1,2}/{dev,test}, or wav/ with "
        "vox1_meta.csv (VoxCeleb1, a population)",
    )
    add("--out", type=Path, required=True, help="data folder; may be SOURCE")
    add("--workers", type=int, help="processes (default: one per core)")
    add(
        "--dtype",
        choices=STORED_DTYPES,
        default="float32",
        help="dtype of the stored values (default: %(default)s)",
    )
    add("--no-faces", action="store_true", help="do not link the images")
    add("--quiet", action="store_true", help="no progress bar")
    add(
        "override",
        nargs="*",
        metavar="key=value",
        help="feature settings, such as remove_silence=false, sample_rates=published or channel=first",
    )
    args = parser.parse_intermixed_args(argv)
    if args.workers is not None and args.workers < 1:
        parser.error("--workers must be at least 1")

    record = prepare(
        args.source,
        args.out,
        _parse_speech_config(args.override),
        dtype=args.dtype,
        include_faces=not args.no_faces,
        workers=args.workers,
        progress=not args.quiet,
    )
    counts = record["counts"]
    print(f"{args.out}: {counts['written']} written, {counts['skipped']} skipped, {counts['failed']} failed")
    if counts["failed"]:
        print(f"failed recordings, with reasons: {args.out / FAILURES_FILE}", file=sys.stderr)
    return 0 if record["complete"] else 1


def _parse_speech_config(overrides: Sequence[str]) -> "SpeechConfig":
    """The published settings with overrides."""
    import yaml
    from voiceface.runtime.config import ConfigError, validate_config
    from voiceface.runtime.yaml_values import load_yaml

    from sf2f.network_config import SpeechConfig

    values = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"override {override!r}: expected key=value, such as remove_silence=false")
        try:
            values[key] = load_yaml(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"override {override!r}: the value is not readable YAML: {error}") from None
    return validate_config(values, SpeechConfig, "speech")


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("sf2f.prepare", None))
