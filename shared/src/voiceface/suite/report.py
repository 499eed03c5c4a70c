"""`voiceface report`: what every installed system makes of one's own recordings and pictures, one page."""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voiceface.suite.inference import Answers
    from voiceface.suite.plugins import Systems
    from voiceface.suite.user_media import Material

SHOWN = 8


def report(
    voices: Path,
    faces: Path | None,
    out: Path,
    *,
    systems: "Systems | None" = None,
    weights: Mapping[str, Path] | None = None,
    shown: int = SHOWN,
    each_picture: bool = False,
    device: str = "cpu",
    commands: Sequence[str] = (),
) -> "tuple[Path, Material, Answers]":
    """Rank faces, make pictures and heads of all voices, and write page and numbers.

    Args:
        voices: folder of recordings, to any depth.
        faces: folder of pictures, to any depth; None: nothing is ranked.
        out: FILE.html (numbers go to FILE.json), or a folder.
        systems: who takes part; None: whoever is installed.
        weights: system -> weights file or run folder; the bundled ones of the others.
        shown: voices with a card on the page; the file of numbers holds all.
        each_picture: every picture is a candidate of its own, in place of every person's folder.
        device: where the networks run.
        commands: how to make the page again.

    Returns:
        The page, what was read, what was made.

    Raises:
        FileNotFoundError, ValueError: nothing that can be used, or weights that cannot.
    """
    from voiceface.suite.cards import places_of
    from voiceface.suite.inference import Answers, draw, load_systems, model_heads, rank
    from voiceface.suite.plugins import find_systems
    from voiceface.suite.report_page import write
    from voiceface.suite.user_media import collect, spread

    chosen = find_systems() if systems is None else systems
    if not chosen.found:
        raise ValueError("no system is installed that could be shown: pip install ./packages/seeking_shape")
    unknown = set(weights or {}) - {system.name for system in chosen.found}
    if unknown:
        raise ValueError(f"--weights names {', '.join(sorted(unknown))}, which does not take part")
    material = collect(voices, faces, each_picture=each_picture)
    speakers = {voice.person for voice in material.voices if voice.person}
    bank = [file for face in material.faces if face.person not in speakers for file in face.files]
    models, chosen = load_systems(chosen, weights or {}, device=device, bank=bank)
    answers = Answers()
    rows = spread(material.voices, shown)
    for system in chosen.associations:
        if material.faces:
            rank(answers, system, models[system.name], material.voices, material.faces)
    for drawer in chosen.pictures:
        draw(answers, drawer.name, models[drawer.name], material.voices, rows)
    for modeller in chosen.meshes:
        model_heads(answers, modeller.name, models[modeller.name], material.voices, rows)
    if not answers.heard:
        why = "; ".join(f"{name}: {text}" for each in answers.failed.values() for name, text in each.items())
        raise ValueError(f"no system could use any recording in {voices}: {why[:600]}")
    page, numbers = places_of(out)
    write(
        page,
        numbers,
        material,
        answers,
        chosen,
        rows,
        bundled=set(models) - set(weights or {}),
        commands=commands,
    )
    return page, material, answers


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page; the exit code is 1 where a file could not be used, else 0."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    args = parser.parse_args(words)
    if args.show < 1:
        parser.error(f"--show {args.show}: expected at least 1")
    weights = named_weights(args.weights)
    from voiceface.io.input_files import writable_folder
    from voiceface.suite.cards import places_of
    from voiceface.suite.plugins import find_systems
    from voiceface.suite.sections import absent_line, reasons_of

    systems = find_systems()
    systems = systems.only(args.systems) if args.systems else systems
    for name, why in systems.absent.items():
        print(absent_line(name, why), file=sys.stderr)
    writable_folder(places_of(args.out)[0].parent)
    page, material, answers = report(
        args.voices,
        args.faces,
        args.out,
        systems=systems,
        weights=weights,
        shown=args.show,
        each_picture=args.each_picture,
        device=args.device,
        commands=[shlex.join(["voiceface", "report", *words])],
    )
    for text in answers.notices:
        print(text, file=sys.stderr)
    lost = {
        **{file: "all" for file in material.failed},
        **{file: ", ".join(e) for file, e in answers.failed.items()},
    }
    for file, who in lost.items():
        reasons = [material.failed[file]] if file in material.failed else answers.failed[file].values()
        print(
            f"left out {material.labels.get(file, file)} ({who}): {reasons_of(file, reasons)}",
            file=sys.stderr,
        )
    print(f"{len(material.voices)} recordings, {len(material.faces)} candidates\nreport: {page}")
    return 1 if lost else 0


def named_weights(words: Sequence[str]) -> dict[str, Path]:
    """NAME=PATH of the command line.

    Raises:
        ValueError: another form, or a name twice. FileNotFoundError: nothing at the path.
    """
    found: dict[str, Path] = {}
    for word in words:
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
    add("--show", type=int, default=SHOWN, help="recordings with a card on the page (default: %(default)s)")
    add("--each-picture", action="store_true", help="rank pictures one by one, not folders")
    add("--device", default="cpu", help="cpu, cuda or auto (default: %(default)s)")
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voiceface.suite.report", None))
