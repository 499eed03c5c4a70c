"""`voiceface report`: what every installed system makes of one's own recordings and pictures, one page."""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voiceface.suite.inference import SystemOutputs
    from voiceface.suite.plugins import SystemSet
    from voiceface.suite.user_media import MediaSet

DEFAULT_MAX_CARDS = 8


def run_report(
    voice_folder: Path,
    face_folder: Path | None,
    out: Path,
    *,
    systems: "SystemSet | None" = None,
    checkpoints: Mapping[str, Path] | None = None,
    max_cards: int = DEFAULT_MAX_CARDS,
    per_image: bool = False,
    device: str = "cpu",
    commands: Sequence[str] = (),
) -> "tuple[Path, MediaSet, SystemOutputs]":
    """Rank faces, make pictures and heads of all voices, and write page and numbers.

    Args:
        voice_folder: folder of recordings, to any depth.
        face_folder: folder of pictures, to any depth; None: nothing is ranked.
        out: FILE.html (numbers go to FILE.json), or a folder.
        systems: who takes part; None: whoever is installed.
        checkpoints: system -> weights file or run folder; the bundled ones of the others.
        max_cards: voices with a card on the page; the file of numbers holds all.
        per_image: every picture is a candidate of its own, in place of every person's folder.
        device: where the networks run.
        commands: how to make the page again.

    Returns:
        The page, what was read, what was made.

    Raises:
        FileNotFoundError, ValueError: nothing that can be used, or weights that cannot.
    """
    from voiceface.suite.cards import output_paths
    from voiceface.suite.inference import (
        SystemOutputs,
        generate_images,
        generate_meshes,
        load_systems,
        rank_gallery,
    )
    from voiceface.suite.plugins import find_systems
    from voiceface.suite.report_page import write_report_page
    from voiceface.suite.user_media import collect_media, select_spread

    chosen = find_systems() if systems is None else systems
    if not chosen.found:
        raise ValueError("no system is installed that could be shown: pip install ./packages/seeking_shape")
    unknown = set(checkpoints or {}) - {system.name for system in chosen.found}
    if unknown:
        raise ValueError(f"--weights names {', '.join(sorted(unknown))}, which does not take part")
    material = collect_media(voice_folder, face_folder, per_image=per_image)
    speakers = {voice.identity for voice in material.utterances if voice.identity}
    bank = [file for face in material.gallery if face.identity not in speakers for file in face.files]
    models, chosen = load_systems(chosen, checkpoints or {}, device=device, bank=bank)
    answers = SystemOutputs()
    rows = select_spread(material.utterances, max_cards)
    for system in chosen.association_systems:
        if material.gallery:
            rank_gallery(answers, system, models[system.name], material.utterances, material.gallery)
    for drawer in chosen.image_systems:
        generate_images(answers, drawer.name, models[drawer.name], material.utterances, rows)
    for modeller in chosen.mesh_systems:
        generate_meshes(answers, modeller.name, models[modeller.name], material.utterances, rows)
    if not answers.processed_rows:
        why = "; ".join(
            f"{name}: {text}" for each in answers.failures.values() for name, text in each.items()
        )
        raise ValueError(f"no system could use any recording in {voice_folder}: {why[:600]}")
    page, numbers = output_paths(out)
    write_report_page(
        page,
        numbers,
        material,
        answers,
        chosen,
        rows,
        bundled=set(models) - set(checkpoints or {}),
        commands=commands,
    )
    return page, material, answers


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page; the exit code is 1 where a file could not be used, else 0."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    args = parser.parse_args(words)
    if args.max_cards < 1:
        parser.error(f"--max-cards {args.max_cards}: expected at least 1")
    weights = parse_checkpoints(args.weights)
    from voiceface.io.input_files import make_writable_directory
    from voiceface.suite.cards import output_paths
    from voiceface.suite.plugins import find_systems
    from voiceface.suite.sections import format_reasons, format_unavailable

    systems = find_systems()
    systems = systems.select(args.systems) if args.systems else systems
    for name, why in systems.unavailable.items():
        print(format_unavailable(name, why), file=sys.stderr)
    make_writable_directory(output_paths(args.out)[0].parent)
    page, material, answers = run_report(
        args.voices,
        args.faces,
        args.out,
        systems=systems,
        checkpoints=weights,
        max_cards=args.max_cards,
        per_image=args.per_image,
        device=args.device,
        commands=[shlex.join(["voiceface", "report", *words])],
    )
    for text in answers.disclaimers:
        print(text, file=sys.stderr)
    lost = {
        **{file: "all" for file in material.failures},
        **{file: ", ".join(e) for file, e in answers.failures.items()},
    }
    for file, who in lost.items():
        reasons = [material.failures[file]] if file in material.failures else answers.failures[file].values()
        print(
            f"left out {material.relative_paths.get(file, file)} ({who}): {format_reasons(file, reasons)}",
            file=sys.stderr,
        )
    print(f"{len(material.utterances)} recordings, {len(material.gallery)} candidates\nreport: {page}")
    return 1 if lost else 0


def parse_checkpoints(arguments: Sequence[str]) -> dict[str, Path]:
    """NAME=PATH of the command line.

    Raises:
        ValueError: another form, or a name twice. FileNotFoundError: nothing at the path.
    """
    found: dict[str, Path] = {}
    for word in arguments:
        name, equals, path = word.partition("=")
        if not (name and equals and path) or name in found:
            raise ValueError(f"--weights: expected NAME=PATH, every name once; got {word!r}")
        if not Path(path).exists():
            raise FileNotFoundError(f"--weights {name}: nothing at {path}")
        found[name] = Path(path)
    return found


def build_parser() -> argparse.ArgumentParser:
    """The command line of `voiceface report`."""
    parser = argparse.ArgumentParser(
        prog="voiceface report",
        description="What every installed system makes of recordings and pictures of your own, on one page: "
        "ranked faces, pictures, heads. Where the first folder below --voices and --faces has the same name, "
        "it is taken for one person: right answers are marked and counted.",
    )
    add = parser.add_argument
    add("--voices", type=Path, required=True, help="folder of recordings (wav, flac, mp3, m4a, ...)")
    add("--faces", type=Path, help="folder of pictures; without it nothing is ranked")
    add("--out", type=Path, required=True, help="FILE.html (numbers go to FILE.json), or a folder")
    add(
        "--weights",
        nargs="+",
        default=[],
        metavar="NAME=PATH",
        help="weights file or run folder of a system (default: the bundled weights)",
    )
    add("--systems", nargs="+", metavar="NAME", help="only these (default: all that are installed)")
    add(
        "--max-cards",
        type=int,
        default=DEFAULT_MAX_CARDS,
        help="recordings with a card on the page (default: %(default)s)",
    )
    add("--per-image", action="store_true", help="rank pictures one by one, not folders")
    add("--device", default="cpu", help="cpu, cuda or auto (default: %(default)s)")
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voiceface.suite.report", None))
