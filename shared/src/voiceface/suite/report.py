"""`voiceface report`: run every installed system on user recordings and images, and write one page."""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline.arguments import (
    add_crop_arguments,
    add_long_recordings_argument,
    add_strict_argument,
)
from voiceface.commandline.messages import report_left_out, report_notes
from voiceface.io.decoding_worker import decoding_in_workers
from voiceface.io.file_kinds import printable
from voiceface.io.long_recordings import DEFAULT_LONG_RECORDINGS, LongRecordings

if TYPE_CHECKING:
    from voiceface.faces.own_pictures import PictureReader
    from voiceface.io.own_files import LeftOut
    from voiceface.suite.inference import SystemOutputs
    from voiceface.suite.plugins import SystemSet
    from voiceface.suite.user_media import MediaSet

__all__ = ["build_parser", "list_left_out", "main", "parse_checkpoints", "parse_galleries", "run_report"]

DEFAULT_MAX_CARDS = 8


@decoding_in_workers(2)
def run_report(
    voice_folder: Path,
    face_folder: Path | None,
    out: Path,
    *,
    systems: "SystemSet | None" = None,
    checkpoints: Mapping[str, Path] | None = None,
    galleries: Mapping[str, Path] | None = None,
    max_cards: int = DEFAULT_MAX_CARDS,
    per_image: bool = False,
    pictures: "PictureReader | None" = None,
    long: LongRecordings = DEFAULT_LONG_RECORDINGS,
    device: str = "cpu",
    commands: Sequence[str] = (),
) -> "tuple[Path, MediaSet, SystemOutputs]":
    """Rank faces, generate images and heads for all voices, and write the page and its JSON file.

    Args:
        voice_folder: folder of recordings, to any depth.
        face_folder: folder of images, to any depth; None: nothing is ranked.
        out: FILE.html (metrics go to FILE.json), or a folder.
        systems: the systems to run (default: all installed ones).
        checkpoints: system -> checkpoint or run folder; the other systems use their bundled ones.
        galleries: association system -> folder or address of a stored gallery of faces, in place of
            `face_folder`.
        max_cards: number of voices with a card on the page; the JSON file holds all.
        per_image: rank images individually instead of one folder per identity.
        pictures: finds the faces of the images; None: with the networks that are installed.
        long: what is used of long recordings.
        device: device of the networks.
        commands: shell lines that reproduce the page.

    Returns:
        The page, the media and the outputs.

    Raises:
        FileNotFoundError, ValueError: no usable file, or an unusable checkpoint.
    """
    from voiceface.faces.own_pictures import PictureReader
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
    from voiceface.suite.stored_galleries import rank_stored_galleries
    from voiceface.suite.user_media import collect_media, select_spread

    chosen = find_systems() if systems is None else systems
    if not chosen.found:
        raise ValueError(
            "No system is installed. Install one, for example: pip install ./packages/seeking_shape"
        )
    unknown = set(checkpoints or {}) - {system.name for system in chosen.found}
    if unknown:
        raise ValueError(
            f"--weights names {', '.join(sorted(unknown))}, which is not among the selected systems"
        )
    ranking = {system.name for system in chosen.association_systems}
    if unknown := set(galleries or {}) - ranking:
        raise ValueError(
            f"--gallery names {', '.join(sorted(unknown))}, which is not among the selected systems that "
            f"rank faces ({', '.join(sorted(ranking))})"
        )
    if pictures is None:
        pictures = PictureReader()
    media = collect_media(voice_folder, face_folder, per_image=per_image, pictures=pictures, long=long)
    speakers = {voice.identity for voice in media.utterances if voice.identity}
    bank = [file for face in media.gallery if face.identity not in speakers for file in face.files]
    models, chosen = load_systems(
        chosen,
        checkpoints or {},
        device=device,
        bank=list(dict.fromkeys(bank)),
        pictures=pictures,
        long=long,
    )
    outputs = SystemOutputs(recordings=media.recordings)
    rows = select_spread(media.utterances, max_cards)
    for system in chosen.association_systems:
        if media.gallery:
            rank_gallery(outputs, system, models[system.name], media.utterances, media.gallery)
    if galleries:
        media.gallery = rank_stored_galleries(outputs, models, galleries, media.utterances)
    for image_system in chosen.image_systems:
        generate_images(outputs, image_system.name, models[image_system.name], media.utterances, rows)
    for mesh_system in chosen.mesh_systems:
        generate_meshes(outputs, mesh_system.name, models[mesh_system.name], media.utterances, rows)
    if not outputs.processed_rows:
        reasons = "; ".join(
            f"{name}: {text}" for each in outputs.failures.values() for name, text in each.items()
        )
        raise ValueError(f"No system could process any recording in {voice_folder}: {reasons[:600]}")
    html_file, json_file = output_paths(out)
    write_report_page(
        html_file,
        json_file,
        media,
        outputs,
        chosen,
        rows,
        bundled=set(models) - set(checkpoints or {}),
        commands=commands,
    )
    return html_file, media, outputs


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page; files that a system cannot use are listed."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    args = parser.parse_args(arguments)
    if args.max_cards < 1:
        parser.error(f"--max-cards {args.max_cards}: expected at least 1")
    checkpoints = parse_checkpoints(args.weights)
    galleries = parse_galleries(args.gallery)
    if galleries and args.faces is not None:
        parser.error("--faces and --gallery: give one of them")
    for flag, folder in (("--voices", args.voices), ("--faces", args.faces)):
        if folder is not None and not folder.is_dir():
            raise FileNotFoundError(f"{flag}: no folder at {printable(folder)}")
    from voiceface.faces.own_pictures import PictureReader
    from voiceface.io.input_files import make_writable_directory
    from voiceface.suite.cards import output_paths
    from voiceface.suite.plugins import find_systems
    from voiceface.suite.sections import format_unavailable

    systems = find_systems()
    systems = systems.select(args.systems) if args.systems else systems
    for name, reason in systems.unavailable.items():
        print(format_unavailable(name, reason), file=sys.stderr)
    pictures = PictureReader.from_arguments(args)
    make_writable_directory(output_paths(args.out)[0].parent)
    page, media, outputs = run_report(
        args.voices,
        args.faces,
        args.out,
        systems=systems,
        checkpoints=checkpoints,
        galleries=galleries,
        max_cards=args.max_cards,
        per_image=args.per_image,
        pictures=pictures,
        long=args.long_recordings,
        device=args.device,
        commands=[shlex.join(["voiceface", "report", *arguments])],
    )
    for text in outputs.disclaimers:
        print(text, file=sys.stderr)
    sizes = [f"gallery of {name}: {size:,}" for name, size in outputs.gallery_sizes.items()]
    entries = ", ".join(sizes) or f"{len(media.gallery)} gallery entries"
    print(f"{len(media.utterances)} recordings, {entries}\nreport: {page}")
    items = [
        *(voice.file.as_posix() for voice in media.utterances),
        *(item for entry in media.gallery for item in entry.items),
    ]
    report_notes(known for item in items if (known := outputs.find_facts(item)) is not None)
    return report_left_out(list_left_out(media, outputs), strict=args.strict)


def list_left_out(media: "MediaSet", outputs: "SystemOutputs") -> "list[LeftOut]":
    """List the files that were not used, or not by every system; the reason then names the systems."""
    from voiceface.io.own_files import LeftOut

    left_out = [*media.left_out]
    left_out += [LeftOut.from_error(file, reason) for file, reason in media.failures.items()]
    for file, reasons in outputs.failures.items():
        if file in media.failures:
            continue
        found = [LeftOut.from_error(file, reason) for reason in reasons.values()]
        causes = "; ".join(dict.fromkeys(item.reason for item in found))
        remedies = "; ".join(dict.fromkeys(item.remedy for item in found if item.remedy))
        left_out.append(LeftOut(Path(file), f"not used by {', '.join(reasons)}: {causes}", remedies))
    return left_out


def parse_checkpoints(arguments: Sequence[str]) -> dict[str, Path]:
    """Parse the NAME=PATH arguments of --weights.

    Raises:
        ValueError: an argument is not NAME=PATH, or a name occurs twice.
        FileNotFoundError: a path does not exist.
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


def parse_galleries(arguments: Sequence[str]) -> dict[str, Path]:
    """Parse the NAME=PATH_OR_URL arguments of --gallery.

    Raises:
        ValueError: an argument is not NAME=PATH_OR_URL, or a name occurs twice.
        FileNotFoundError: no gallery is there.
    """
    from voiceface.gallery.places import is_gallery

    found: dict[str, Path] = {}
    for word in arguments:
        name, equals, place = word.partition("=")
        if not (name and equals and place) or name in found:
            raise ValueError(f"--gallery: expected NAME=PATH_OR_URL, every name once; got {word!r}")
        if not is_gallery(place):
            raise FileNotFoundError(f"--gallery {name}: no gallery at {printable(place)}")
        found[name] = Path(place)
    return found


def build_parser() -> argparse.ArgumentParser:
    """Build the argument parser of `voiceface report`."""
    parser = argparse.ArgumentParser(
        prog="voiceface report",
        description="Run every installed system on your own recordings and images, and write one page: "
        "ranked faces, images, heads. A top-level folder name that occurs below both --voices and --faces "
        "is an identity label: correct matches are then marked and counted.",
    )
    add = parser.add_argument
    add("--voices", type=Path, required=True, help="folder of recordings (wav, flac, mp3, m4a, ...)")
    add("--faces", type=Path, help="folder of images to rank (default: no ranking)")
    add(
        "--gallery",
        nargs="+",
        default=[],
        metavar="NAME=PATH_OR_URL",
        help="stored gallery of faces of a system, ranked in place of --faces; see `voiceface gallery`",
    )
    add("--out", type=Path, required=True, help="FILE.html (metrics: FILE.json), or a folder")
    add(
        "--weights",
        nargs="+",
        default=[],
        metavar="NAME=PATH",
        help="checkpoint or run folder of a system (default: the bundled checkpoint)",
    )
    add("--systems", nargs="+", metavar="NAME", help="systems to run (default: all installed ones)")
    add(
        "--max-cards",
        type=int,
        default=DEFAULT_MAX_CARDS,
        help="number of recordings with a card on the page (default: %(default)s)",
    )
    add("--per-image", action="store_true", help="rank single images instead of folders")
    add_long_recordings_argument(parser)
    add_crop_arguments(parser, every_face=True)
    add_strict_argument(parser)
    add("--device", default="cpu", help="cpu, cuda or auto (default: %(default)s)")
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voiceface.suite.report", None))
