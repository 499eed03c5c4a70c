"""`sf2f prepare SOURCE --out DATA`: recordings to feature files in the HQ-VoxCeleb layout.

Running the same command again finishes an interrupted run: what is there stays.
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
    from sf2f.recording_sources import RecordingSource
    from sf2f.speech import SpeechConfig

RECORD_FILE, FAILURES_FILE, MEL_FOLDER = "prepare.json", "failures.csv", "mel_spectrograms"
StoredDtype = Literal["float16", "float32", "float64"]
STORED_DTYPES = ("float16", "float32", "float64")


class PrepareError(ValueError):
    """A folder that cannot take the features; the message names the way out."""


class ConversionJob(NamedTuple):
    """One recording to be converted."""

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
    """Make a feature file of every recording, and what else `sf2f.data.open_speakers` needs.

    Features are `OUT/vox1|vox2/mel_spectrograms/NAME/SPKID_CLIPID_WAVID.npz`. Where the source has pictures
    (a manifest, a population), these are linked or copied to `OUT/vox1/masked_faces/NAME`; its tables and its
    split come along. Files that give nothing are listed in `OUT/failures.csv` with the reason.

    Args:
        source: see `sf2f.recording_sources.detect_source`.
        out: data folder; may be the source itself.
        config: recordings to features; None takes the published way.
        dtype: type of the stored values.
        include_faces: bring the pictures along.
        workers: processes; None takes every core. The result does not depend on it.
        progress: show a bar on standard error.

    Returns:
        What `OUT/prepare.json` holds: settings and counts; `with_both_modalities` is False after failures.

    Raises:
        PrepareError: `out` was begun with other settings.
        ValueError, OSError: the source cannot be used, or the disk is full.
    """
    from voiceface.io.atomic import write_json
    from voiceface.runtime.config import to_dict
    from voiceface.runtime.process_pool import map_unordered

    from sf2f.recording_sources import detect_source
    from sf2f.speech import DEFAULT_CONFIG

    root, config = Path(out), config or DEFAULT_CONFIG
    record: dict[str, Any] = {"complete": False, "dtype": dtype, "speech": to_dict(config)}
    _require_same_settings(root / RECORD_FILE, record)
    found = detect_source(source)
    for leftover in root.glob(f"*/{MEL_FOLDER}/*/.*.part*"):
        leftover.unlink(missing_ok=True)
    jobs, skipped, failures = _plan_jobs(found, root, config, dtype)
    write_json(root / RECORD_FILE, record)
    _write_tables(found, root)
    written = 0
    try:
        failures += _link_images(found, root) if include_faces else []
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
    """Convert one recording; returns why it could not be done, "" when it is there."""
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
    """What is to be done, how much is there already, and what cannot be done."""
    from voiceface.datasets.layouts import find_files

    there = {
        f"{corpus}/{item.rpartition('.')[0]}"
        for corpus in {each.corpus for each in data_source.recordings}
        for item in find_files(root / corpus / MEL_FOLDER, "", (".npz", ".pickle")) or ()
    }
    jobs: list[ConversionJob] = []
    failures = [(str(path), reason) for path, reason in data_source.unidentified]
    taken: dict[str, Path] = {}
    skipped = 0
    for each in data_source.recordings:
        place = f"{each.corpus}/{each.relative_stem}"
        if (other := taken.setdefault(place, each.path)) != each.path:
            failures.append((str(each.path), f"its features would have the name of those of {other}"))
        elif place in there:
            skipped += 1
        else:
            target = root / each.corpus / MEL_FOLDER / f"{each.relative_stem}.npz"
            ids = each.spkid, each.clipid, each.wavid
            jobs.append(ConversionJob(str(each.path), str(target), ids, config, dtype))
    return jobs, skipped, failures


def _write_tables(data_source: "RecordingSource", root: Path) -> None:
    """Metadata tables, the split and the truth, as far as they are not there."""
    from voiceface.io.atomic import write_text

    from sf2f.split import SPLIT_FILE, write_split

    for place, text in data_source.metadata_tables.items():
        if not (root / place).exists():
            write_text(root / place, text)
    if data_source.split and not (root / SPLIT_FILE).exists():
        write_split(root / SPLIT_FILE, data_source.split)
    if data_source.ground_truth_folder and not (root / "truth").exists():
        for name in ("identities.csv", "population.json"):
            write_text(root / "truth" / name, (data_source.ground_truth_folder / name).read_text("utf-8"))


def _link_images(data_source: "RecordingSource", root: Path) -> list[tuple[str, str]]:
    """Link pictures, or copy them where links cannot be made; those that are not there, with the reason."""
    from voiceface.io.atomic import atomic_path

    absent = []
    for path, place in data_source.images.items():
        target = root / place
        if target.exists():
            continue
        if not path.is_file():
            absent.append((str(path), "no such picture"))
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except OSError:
            with atomic_path(target) as temporary:
                shutil.copyfile(path, temporary)
    return absent


def _require_same_settings(path: Path, record: dict[str, Any]) -> None:
    """Features of two kinds in one folder would be a trap."""
    if not path.is_file():
        return
    try:
        state = json.loads(path.read_text("utf-8"))
        before = {"dtype": state["dtype"], **state["speech"]}
    except (ValueError, KeyError, TypeError) as error:
        raise PrepareError(f"{path} cannot be read ({error!r}); remove it or use another folder") from None
    asked = {"dtype": record["dtype"], **record["speech"]}
    differ = [key for key in asked if before.get(key) != asked[key]]
    if differ:
        what = "; ".join(f"{key} is {before.get(key)} there and {asked[key]} here" for key in differ)
        raise PrepareError(f"{path.parent} was begun with other settings: {what}; use another folder")


def _write_failures(path: Path, failures: Sequence[tuple[str, str]]) -> None:
    """Write the list, or take away that of an earlier run."""
    from voiceface.io.atomic import write_text

    if not failures:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("file", "reason"), *failures])
    write_text(path, text.getvalue())


def main(argv: Sequence[str] | None = None) -> int:
    """`sf2f prepare`."""
    parser = argparse.ArgumentParser(
        prog="sf2f prepare",
        description="Make log-mel features of recordings (wav, flac, mp3, m4a, ogg) in the layout that "
        "training reads. Running the same command again finishes an interrupted run.",
    )
    add = parser.add_argument
    add(
        "source",
        type=Path,
        help="manifest (.csv), or a folder with manifest.csv, raw_wav/vox{1,2}/{dev,test}, or wav/ with "
        "vox1_meta.csv (VoxCeleb1, a population)",
    )
    add("--out", type=Path, required=True, help="data folder; may be SOURCE")
    add("--workers", type=int, help="processes (default: every core)")
    add(
        "--dtype",
        choices=STORED_DTYPES,
        default="float32",
        help="type of stored values (default: %(default)s)",
    )
    add("--no-faces", action="store_true", help="leave pictures where they are")
    add("--quiet", action="store_true", help="no progress bar")
    add(
        "override",
        nargs="*",
        metavar="key=value",
        help="how recordings become features, such as remove_silence=false, sample_rates=published, channel=first",
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
        print(f"what could not be used, with reasons: {args.out / FAILURES_FILE}", file=sys.stderr)
    return 0 if record["complete"] else 1


def _parse_speech_config(overrides: Sequence[str]) -> "SpeechConfig":
    """The published way with changes."""
    import yaml
    from voiceface.runtime.config import ConfigError, validate_config

    from sf2f.speech import SpeechConfig

    values = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"override {override!r}: expected key=value, such as remove_silence=false")
        values[key] = yaml.safe_load(text)
    return validate_config(values, SpeechConfig, "speech")


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("sf2f.prepare", None))
