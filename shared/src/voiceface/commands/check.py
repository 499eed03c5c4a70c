"""`voiceface check`: validate a dataset before training; exit code 0 or 1."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from voiceface.commandline import arguments
from voiceface.datasets.dataset_arguments import add_voice_folder_argument
from voiceface.datasets.layouts import PUBLISHED_AUDIO_SUFFIXES, PUBLISHED_IMAGE_SUFFIXES, is_voxceleb3d
from voiceface.datasets.validation.checker import check_corpus
from voiceface.datasets.validation.report import DatasetReport, PartSummary
from voiceface.datasets.validation.voxceleb3d import check_voxceleb3d
from voiceface.io.atomic import write_json

__all__ = [
    "format_report",
    "main",
]


def format_report(report: DatasetReport) -> str:
    """Format a validation report as text."""
    lines = [
        "Data check "
        f"({'all files decoded' if report.decoded else 'headers only; --decode decodes all files'})",
        "",
    ]
    if report.parts:
        lines += [f"layout     {report.layout}", "", *_format_parts(report.parts), ""]
    lines.append(
        f"{'split':<10}{'identities':>10}{'classes':>9}{'m':>7}{'f':>7}{'?':>5}{'clips':>10}{'hours':>9}{'images':>10}"
    )
    order = {"train": 0, "val": 1, "test": 2}
    for split in sorted(report.splits, key=lambda name: order.get(name, 3)):
        count = report.splits[split]
        lines.append(
            f"{split:<10}{count.identities:>10}{count.classes:>9}{count.male:>7}{count.female:>7}{count.unknown_gender:>5}"
            f"{count.voices:>10}{count.hours:>9.2f}{count.faces:>10}"
        )
    lines.append("")
    if report.sample_rates or not report.voice_formats:
        lines.append(
            f"clips      {_format_counts(report.sample_rates, ' Hz')}; "
            f"{_format_counts(report.channels, ' channel(s)')}"
        )
    lines.append(
        f"{'           ' if report.sample_rates else 'clips      '}{_format_counts(report.voice_formats)}"
    )
    lines.append(f"images     {_format_counts(report.face_formats)}")
    lines.append(f"           {_format_counts(report.image_sizes)}")
    for title, counts in {"durations": report.durations, **report.acoustics}.items():
        most = max(counts.values(), default=0)
        lines += ["", title] if most else []
        for label, clips in counts.items():
            lines += [f"  {label:>14} {clips:>8} {'#' * round(40 * clips / most)}".rstrip()] if clips else []
    if report.trial_lists:
        lines += ["", f"lists      {len(report.trial_lists)}"]
        for cover in report.trial_lists:
            state = cover.error or (
                f"{cover.missing} of {cover.items} files missing" if cover.missing else "complete"
            )
            origin = "generated, " if cover.generated else ""
            lines.append(f"  {cover.name:<40} {cover.trials:>7} trials, {origin}{state}")
    lines += _format_section("unreadable", [f"{item}: {why}" for item, why in report.unreadable.items()])
    lines += _format_section("missing folders", report.missing_folders)
    lines += _format_section("identities without clips", report.without_voices)
    lines += _format_section("identities without images", report.without_faces)
    lines += ["", f"warnings   {len(report.warnings)}", *(f"  - {text}" for text in report.warnings)]
    lines += ["", f"errors     {len(report.errors)}", *(f"  - {text}" for text in report.errors)]
    lines += [
        "",
        "Training can start." if report.trainable else "Training cannot start: see the errors above.",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Check a data folder; exit code 0 training can start, 1 it cannot, 2 bad usage."""
    parser = argparse.ArgumentParser(prog="voiceface check", description=__doc__)
    parser.add_argument("data", type=arguments.data_folder, help="data folder (see docs/data.md)")
    parser.add_argument(
        "--decode", action="store_true", help="decode every file instead of reading headers only"
    )
    parser.add_argument(
        "--acoustics",
        action="store_true",
        help="also analyse pitch, bandwidth, level and clipping of all recordings (needs librosa)",
    )
    parser.add_argument("--cache", type=Path, help="folder of the journal (default: DATA/.voiceface)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the validation report as JSON")
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument("--voice-root", type=Path, help="folder of the recordings, if not below DATA")
    parser.add_argument("--face-root", type=Path, help="folder of the images, if not below DATA")
    add_voice_folder_argument(parser)
    parser.add_argument(
        "--audio-suffix", action="append", default=[], metavar=".EXT", help="additional suffix of recordings"
    )
    parser.add_argument(
        "--image-suffix", action="append", default=[], metavar=".EXT", help="additional suffix of images"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    try:
        options = parser.parse_args(argv)
        if not options.data.is_dir():
            parser.error(f"no data folder at {options.data}")
        if options.workers is not None and options.workers < 1:
            parser.error("--workers must be at least 1")
        own_roots = options.voice_root or options.face_root
        published_arrays = not own_roots and is_voxceleb3d(options.data)
        if published_arrays and options.acoustics:
            parser.error("--acoustics analyses recordings; the layout Voxceleb-3D has stored features")
        from voiceface.datasets.mavceleb.layout import is_mavceleb  # numpy

        two_languages = not own_roots and not published_arrays and is_mavceleb(options.data)
        if two_languages and options.acoustics:
            parser.error("--acoustics is not available for the layout of MAV-Celeb")
    except SystemExit as stop:
        return int(stop.code or 0)
    from voiceface.datasets.validation.mavceleb import check_mavceleb

    try:
        if published_arrays or two_languages:
            check = check_voxceleb3d if published_arrays else check_mavceleb
            found = check(
                options.data,
                decode=options.decode,
                cache_dir=options.cache,
                workers=options.workers,
                progress=not options.quiet,
            )
        else:
            found = check_corpus(
                options.data,
                decode=options.decode,
                acoustics=options.acoustics,
                cache_dir=options.cache,
                workers=options.workers,
                voice_root=options.voice_root,
                face_root=options.face_root,
                voice_folder=options.voice_folder,
                audio_suffixes=(*PUBLISHED_AUDIO_SUFFIXES, *options.audio_suffix),
                image_suffixes=(*PUBLISHED_IMAGE_SUFFIXES, *options.image_suffix),
                progress=not options.quiet,
            )
        if options.json:
            write_json(options.json, {"trainable": found.trainable, **asdict(found)})
    except ModuleNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"Training cannot start: {error}", file=sys.stderr)
        return 1
    print(format_report(found))
    return 0 if found.trainable else 1


def _format_parts(parts: Sequence[PartSummary]) -> list[str]:
    """Format the parts of a published layout as a table."""
    lines = [f"{'part':<38}{'needed for':<16}{'identities':>10}{'files':>9}{'invalid':>9}"]
    for part in parts:
        counts = (
            f"{part.identities or '-':>10}{part.files:>9}{part.invalid:>9}"
            if part.present
            else f"{'missing':>10}"
        )
        lines.append(f"{part.name:<38}{part.needed_for:<16}{counts}")
    return lines


def _format_counts(counts: dict[str, int], unit: str = "", max_shown: int = 6) -> str:
    """Format the first counts in one line."""
    shown = [f"{count} x {value}{unit}" for value, count in list(counts.items())[:max_shown]]
    return (
        ", ".join(shown + ([f"{len(counts) - max_shown} other kinds"] if len(counts) > max_shown else []))
        or "none"
    )


def _format_section(title: str, names: Sequence[str], max_shown: int = 10) -> list[str]:
    """Format the first names under a title; nothing without names."""
    if not names:
        return []
    more = (
        [f"  and {len(names) - max_shown} more (all of them with --json)"] if len(names) > max_shown else []
    )
    return ["", f"{title}  {len(names)}", *(f"  {name}" for name in names[:max_shown]), *more]


if __name__ == "__main__":
    raise SystemExit(main())
