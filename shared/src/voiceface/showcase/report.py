"""`voiceface report`: what every installed system makes of one's own recordings and pictures, one page."""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voiceface.showcase.files import Material
    from voiceface.showcase.hearing import Answers
    from voiceface.showcase.systems import Systems

SHOWN = 8
BUNDLED = (
    "The bundled weights know invented people only: what they make of real recordings shows that the way "
    "works and says nothing about anybody. Nobody may be identified, judged or treated by it."
)


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
    from voiceface.showcase.files import collect, spread
    from voiceface.showcase.hearing import Answers, draw, load_systems, model_heads, rank
    from voiceface.showcase.story import places_of
    from voiceface.showcase.systems import find_systems

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


def write(
    page: Path,
    numbers: Path,
    material: "Material",
    answers: "Answers",
    systems: "Systems",
    rows: Sequence[int],
    *,
    bundled: set[str],
    commands: Sequence[str] = (),
) -> None:
    """Write the page and its numbers.

    Args:
        page, numbers: files.
        material: what was read.
        answers: what was made of it.
        systems: who took part.
        rows: voices with a card.
        bundled: systems with bundled weights.
        commands: how to make the page again.
    """
    from voiceface.files import write_json
    from voiceface.report import build_report, environment
    from voiceface.showcase import page as parts
    from voiceface.showcase.figures import differences, matched
    from voiceface.showcase.story import stories_of

    people = [voice.person for voice in material.voices], [face.person for face in material.faces]
    known = {*people[0], *people[1]} - {""}
    found, gaps = {}, {}
    if material.known:
        found = {name: m for name, table in answers.scores.items() if (m := matched(table, *people))}
        usable = {name: answers.scores[name] for name in found}
        gaps = differences(usable, *people) if len(usable) > 1 else {}
    failed: dict[str, Mapping[str, str]] = {file: {"all": why} for file, why in material.failed.items()}
    failed |= {file: each for file, each in answers.failed.items() if file not in failed}
    lost = parts.left_out(failed, material.labels)
    said = list(parts.sentences_of_matched(found, gaps))
    if material.faces and not material.known:
        said = [parts.UNKNOWN]
    if lost:
        said.append(
            f"{len(lost.rows)} files could not be used by every system; the table “Left out” names them."
        )
    hint = f"{len(rows)} of {len(material.voices)} recordings; every system hears the one that you can play."
    if material.faces:
        several = any(len(face.files) > 1 for face in material.faces)
        kind = (
            "people, the mean of each one's pictures, of which the first is shown" if several else "pictures"
        )
        hint += f" Faces are ranked among {len(material.faces)} {kind}."
    notices = [BUNDLED] if bundled else []
    notices += [text for text in answers.notices if text not in notices]
    write_json(numbers, record_of(material, answers, found, gaps, failed))
    build_report(
        page,
        title="From these voices to faces",
        kicker="voiceface report",
        subtitle=f"What {len(systems.found)} systems make of {len(material.voices)} recordings"
        + (f" and {sum(len(face.files) for face in material.faces)} pictures." if material.faces else "."),
        facts={
            "recordings": len(material.voices),
            **({"candidates": len(material.faces)} if material.faces else {}),
            "who is who": "by the folders" if material.known else "not known",
        },
        notice=notices,
        summary=said,
        headlines=parts.matched_headlines(found),
        stories=stories_of(
            answers,
            material.voices,
            material.faces,
            rows,
            names=[system.name for system in systems.found],
            true_faces=true_faces(material) if material.known else None,
        ),
        stories_title="Voices",
        stories_hint=hint,
        cast=[parts.cast_of(systems, answers, sorted(known), dict.fromkeys(bundled, "bundled"))],
        differences=parts.matched_differences(found, gaps),
        tables=[lost] if lost else [],
        care=parts.CARE,
        environment=environment(),
        commands=commands,
        max_bytes=18_000_000,
    )


def true_faces(material: "Material") -> list[Path | None]:
    """A picture of who speaks, where the folders tell."""
    first: dict[str, Path] = {}
    for face in material.faces:
        if face.person:
            first.setdefault(face.person, face.files[0])
    return [first.get(voice.person) if voice.person else None for voice in material.voices]


def record_of(
    material: "Material",
    answers: "Answers",
    found: Mapping[str, Any],
    gaps: Mapping[str, Any],
    failed: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    """Every rank and figure as plain values."""
    import numpy as np

    ranks: dict[str, Any] = {}
    for name, table in answers.scores.items():
        ranks[name] = {}
        for voice, row in zip(material.voices, table):
            order = np.flatnonzero(np.isfinite(row))
            order = order[np.argsort(-row[order], kind="stable")]
            ranks[name][voice.name] = [
                {"name": material.faces[at].name, "score": round(float(row[at]), 6)} for at in order
            ]
    return {
        "format": "voiceface-report-1",
        "notices": answers.notices,
        "weights": answers.sources,
        "people_heard_and_seen": sorted(material.people),
        "figures": {name: asdict(each) for name, each in found.items()},
        "differences": {name: asdict(gap) for name, gap in gaps.items()},
        "ranks": ranks,
        "left_out": {material.labels.get(file, file): dict(each) for file, each in failed.items()},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page; the exit code is 1 where a file could not be used, else 0."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    args = parser.parse_args(words)
    if args.show < 1:
        parser.error(f"--show {args.show}: expected at least 1")
    weights = named_weights(args.weights)
    from voiceface.inputs import writable_folder
    from voiceface.showcase.page import absent_line, reasons_of
    from voiceface.showcase.story import places_of
    from voiceface.showcase.systems import find_systems

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
    print(f"{len(material.voices)} recordings, {len(material.faces)} candidates\nopen {page}")
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
    from voiceface.cli import run_main

    raise SystemExit(run_main("voiceface.showcase.report", None))
