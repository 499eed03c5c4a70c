"""`voiceface check`: validate a dataset before training; exit code 0 or 1."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from voiceface.datasets.dataset_arguments import add_voice_folder_flag
from voiceface.datasets.layouts import PUBLISHED_AUDIO_SUFFIXES, PUBLISHED_IMAGE_SUFFIXES
from voiceface.datasets.validation.checker import check_corpus
from voiceface.datasets.validation.report import (
    Findings,
)
from voiceface.io.atomic import write_json


def as_text(found: Findings) -> str:
    """Put findings on one page."""
    lines = [
        f"Data check ({'every file decoded' if found.deep else 'headers only; --deep decodes every file'})",
        "",
    ]
    lines.append(
        f"{'split':<10}{'people':>8}{'classes':>9}{'m':>7}{'f':>7}{'?':>5}{'clips':>10}{'hours':>9}{'pictures':>10}"
    )
    order = {"train": 0, "val": 1, "test": 2}
    for split in sorted(found.splits, key=lambda name: order.get(name, 3)):
        count = found.splits[split]
        lines.append(
            f"{split:<10}{count.identities:>8}{count.classes:>9}{count.male:>7}{count.female:>7}{count.unknown:>5}"
            f"{count.voices:>10}{count.hours:>9.2f}{count.faces:>10}"
        )
    lines += ["", f"clips      {_counts(found.rates, ' Hz')}; {_counts(found.channels, ' channel(s)')}"]
    lines.append(f"           {_counts(found.voice_forms)}")
    lines.append(f"pictures   {_counts(found.face_forms)}")
    lines.append(f"           {_counts(found.face_sides)}")
    most = max(found.durations.values(), default=0)
    if most:
        lines += ["", "durations"]
        for label, clips in found.durations.items():
            lines += [f"  {label:>14} {clips:>8} {'#' * round(40 * clips / most)}".rstrip()] if clips else []
    if found.lists:
        lines += ["", f"lists      {len(found.lists)}"]
        for cover in found.lists:
            state = cover.error or (
                f"{cover.absent} of {cover.items} files absent" if cover.absent else "complete"
            )
            lines.append(
                f"  {cover.name:<40} {cover.lines:>7} questions, {'own, ' if cover.own else ''}{state}"
            )
    lines += _named("unreadable", [f"{item}: {why}" for item, why in found.unreadable.items()])
    lines += _named("absent folders", found.missing_folders)
    lines += _named("people without clips", found.without_voices)
    lines += _named("people without pictures", found.without_faces)
    lines += ["", f"warnings   {len(found.warnings)}", *(f"  - {text}" for text in found.warnings)]
    lines += ["", f"faults     {len(found.blockers)}", *(f"  - {text}" for text in found.blockers)]
    lines += [
        "",
        "Training can start." if found.can_train else "Training cannot start: see the faults above.",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Check a data folder; exit code 0 training can start, 1 it cannot, 2 bad usage."""
    parser = argparse.ArgumentParser(prog="voiceface check", description=__doc__)
    parser.add_argument("data", type=Path, help="data folder (see docs/data.md)")
    parser.add_argument("--deep", action="store_true", help="decode every file instead of reading its header")
    parser.add_argument("--cache", type=Path, help="folder of the journal; default DATA/.voiceface")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything found as JSON")
    parser.add_argument("--workers", type=int, help="processes; default one per core")
    parser.add_argument("--voice-root", type=Path, help="folder of the voice folders, when not the usual one")
    parser.add_argument("--face-root", type=Path, help="folder of the face folders, when not the usual one")
    add_voice_folder_flag(parser)
    parser.add_argument(
        "--audio-suffix", action="append", default=[], metavar=".EXT", help="also count these clips"
    )
    parser.add_argument(
        "--image-suffix", action="append", default=[], metavar=".EXT", help="also count these pictures"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    try:
        options = parser.parse_args(argv)
        if not options.data.is_dir():
            parser.error(f"no data folder at {options.data}")
        if options.workers is not None and options.workers < 1:
            parser.error("--workers must be at least 1")
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        found = check_corpus(
            options.data,
            deep=options.deep,
            cache=options.cache,
            workers=options.workers,
            voice_root=options.voice_root,
            face_root=options.face_root,
            voice_folder=options.voice_folder,
            audio_suffixes=(*PUBLISHED_AUDIO_SUFFIXES, *options.audio_suffix),
            image_suffixes=(*PUBLISHED_IMAGE_SUFFIXES, *options.image_suffix),
            progress=not options.quiet,
        )
        if options.json:
            write_json(options.json, {"can_train": found.can_train, **asdict(found)})
    except (ValueError, OSError) as error:
        print(f"Training cannot start: {error}", file=sys.stderr)
        return 1
    print(as_text(found))
    return 0 if found.can_train else 1


def _counts(counts: dict[str, int], unit: str = "", most: int = 6) -> str:
    """A few counts in one line."""
    shown = [f"{count} x {value}{unit}" for value, count in list(counts.items())[:most]]
    return ", ".join(shown + ([f"{len(counts) - most} other kinds"] if len(counts) > most else [])) or "none"


def _named(title: str, names: Sequence[str], most: int = 10) -> list[str]:
    """A short list under a title; nothing where there is nothing."""
    if not names:
        return []
    more = [f"  and {len(names) - most} more (all of them with --json)"] if len(names) > most else []
    return ["", f"{title}  {len(names)}", *(f"  {name}" for name in names[:most]), *more]


if __name__ == "__main__":
    raise SystemExit(main())
