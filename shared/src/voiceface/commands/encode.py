"""`voiceface encode`: features of own files, or of a data folder, by a frozen encoder."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.association.shard_command import (
    TABLE_SUFFIXES,
    absolute_place,
    keeps_parts,
    needs_units,
    open_engine_of,
    parts_place,
    report_table,
    require_writable_output,
    save_table,
)
from voiceface.commandline import arguments
from voiceface.commandline.exit_status import ERROR
from voiceface.commandline.messages import print_disclaimers, report_left_out, report_notes
from voiceface.datasets import dataset_arguments
from voiceface.engines.file_sources import as_location, find_sources
from voiceface.io.input_files import output_directory, require_writable_files
from voiceface.io.own_files import LeftOut
from voiceface.io.wording import counted

if TYPE_CHECKING:
    from voiceface.embeddings.table import EmbeddingTable
    from voiceface.encoders.interface import Encoder, Modality

__all__ = ["main"]

SPLITS = (*dataset_arguments.SPLITS, "all")
OF_DATA = ("split", "voice_encoder", "face_encoder", "voice_root", "face_root", "voice_folder", "missing")
OF_OWN_FILES = ("encoder", "relative_to", "long_recordings", "crop", "face_finder", "every_face")


def main(argv: Sequence[str] | None = None) -> int:
    """Encode own files into a table, or a data folder into a folder of features."""
    parser = _parser()
    args = parser.parse_args(argv)
    arguments.check_engine_arguments(parser, args)
    own = bool(args.voices or args.faces)
    if own == bool(args.data):
        parser.error("give own files with --voices and --faces, or a data folder with --data")
    others = OF_DATA if own else OF_OWN_FILES
    changed = [name for name in others if getattr(args, name) != parser.get_default(name)]
    if changed:
        wrong = [f"--{name.replace('_', '-')}" for name in changed]
        parser.error(f"{', '.join(wrong)}: only with {'--data' if own else '--voices and --faces'}")
    if own:
        if args.encoder is None:
            parser.error("--encoder is required: a name of `voiceface encoders`")
        if keeps_parts(args.out) and args.engine == "local":
            parser.error(
                f"--out {args.out}: expected a name that ends in .npz, .parquet, .arrow or .feather; a "
                "folder of parts needs --engine ray"
            )
        if needs_units(args, [*(args.voices or ()), *(args.faces or ())]):
            return _encode_by_units(args)
        return _encode_own_files(args)
    if args.voice_encoder is None or args.face_encoder is None:
        parser.error("--voice-encoder and --face-encoder are required: names of `voiceface encoders`")
    if args.out.suffix in TABLE_SUFFIXES:
        parser.error(f"--out {args.out}: expected a folder for voices.npz, faces.npz and identities.csv")
    arguments.require_existing_paths(
        {"data": args.data, "voice_root": args.voice_root, "face_root": args.face_root}
    )
    return _encode_data(args)


def _encode_own_files(args: argparse.Namespace) -> int:
    from voiceface.encoders.own_files import encode_own_files
    from voiceface.faces.own_pictures import PictureReader
    from voiceface.io.own_files import find_own_files

    found = {name: find_own_files(getattr(args, name) or ()) for name in ("voices", "faces")}
    left_out = [each for files in found.values() for each in files.left_out]
    voices, faces = found["voices"].sounds, list(found["faces"].pictures)
    require_writable_files({"out": args.out})
    pictures = PictureReader.from_arguments(args)
    if pictures.finds_faces:
        from voiceface.videos.own_videos import is_video

        faces += [path for path in found["faces"].sounds if is_video(path)]
    for what, given, usable in (
        ("--voices", args.voices, voices),
        ("--faces", args.faces, faces),
    ):
        if given and not usable:
            kind = "recordings" if what == "--voices" else "pictures"
            raise FileNotFoundError(f"{what}: no {kind} in {', '.join(map(str, given))}")
    encoders = {
        "voice": _load(args, args.encoder, "voice") if voices else None,
        "face": _load(args, args.encoder, "face") if faces else None,
    }
    for encoder in encoders.values():
        if encoder is not None:
            encoder.long_recordings = args.long_recordings
            if not encoder.is_voice:
                encoder.use_pictures(pictures)
    print_disclaimers(*(encoder.info.disclaimer for encoder in encoders.values() if encoder is not None))
    table = encode_own_files(
        voices,
        faces,
        encoders["voice"],
        encoders["face"],
        relative_to=args.relative_to,
        cache=args.cache or args.out.with_name(args.out.name + ".cache"),
        workers=args.workers,
    )
    table.save(args.out)
    print(
        f"{args.out}: {len(table)} features of length {table.vectors.shape[1]} by {args.encoder}, of "
        f"{len(voices)} recordings and {len(faces)} pictures"
    )
    report_notes(table.facts.values())
    left_out += [LeftOut.from_error(item, reason) for item, reason in table.failed.items()]
    return report_left_out(left_out, strict=args.strict)


def _encode_by_units(args: argparse.Namespace) -> int:
    """Encode own files with another engine, or files at addresses."""
    from voiceface.encoders.shard_encoding import EncoderLoader, encode_sources, encode_to_parts

    kinds: tuple[tuple[Modality, Any], ...] = (("voice", args.voices), ("face", args.faces))
    found = [(kind, find_sources(paths, args.relative_to)) for kind, paths in kinds if paths]
    require_writable_output(args.out)
    loaders = []
    for kind, sources in found:
        usable = sources.sounds if kind == "voice" else [*sources.pictures, *sources.sounds]
        if not usable and not sources.archives:
            what = "recordings" if kind == "voice" else "pictures"
            shown = ", ".join(map(as_location, getattr(args, f"{kind}s")))
            raise FileNotFoundError(f"--{kind}s: no {what} in {shown}")
        loader = EncoderLoader.from_arguments(args, args.encoder, kind, own_files=True)
        loaders.append((loader, loader.open("cpu"), sources))
    print_disclaimers(*(encoder.info.disclaimer for _, encoder, _ in loaders))
    left_out = [each for _, sources in found for each in sources.left_out]
    if keeps_parts(args.out):
        count = encode_to_parts(open_engine_of(args), loaders, absolute_place(args.out))
        length = loaders[0][1].dimension
        print(f"{as_location(args.out)}: {counted(count, 'part')} with features of length {length}")
        return report_left_out(left_out, strict=args.strict)
    table = encode_sources(open_engine_of(args), loaders, parts_place(args))
    save_table(table, args.out)
    print(
        f"{as_location(args.out)}: {len(table)} features of length {table.vectors.shape[1]} by {args.encoder}"
    )
    return report_table(table, left_out, strict=args.strict)


def _encode_data(args: argparse.Namespace) -> int:
    from voiceface.datasets.corpus import open_corpus
    from voiceface.encoders.overlap import training_overlap
    from voiceface.encoders.tables import FeatureSet

    split = args.split or "all"
    corpus = open_corpus(
        args.data,
        None if split == "all" else split,
        voice_root=args.voice_root,
        face_root=args.face_root,
        on_missing=args.missing,
        voice_folder=args.voice_folder,
    )
    voice_encoder = _load(args, args.voice_encoder, "voice")
    face_encoder = _load(args, args.face_encoder, "face")
    print_disclaimers(voice_encoder.info.disclaimer, face_encoder.info.disclaimer)
    with output_directory(args.out) as out:
        features = FeatureSet.from_corpus(
            corpus,
            voice_encoder,
            face_encoder,
            cache=args.cache or out / "cache",
            workers=args.workers,
            on_error=args.missing,
            encode=_encode_items_by_units(args, out) if needs_units(args, ()) else None,
        )
    features.save(out)
    print(
        f"{out}: {len(features.voices)} voices of length {features.voices.shape[1]} by {args.voice_encoder}, "
        f"{len(features.faces)} faces of length {features.faces.shape[1]} by {args.face_encoder}, "
        f"of {len(features.people)} people"
    )
    infos = (voice_encoder.info, face_encoder.info)
    for sentence in training_overlap(infos, args.data.resolve().name, features.people):
        print(f"warning: {sentence}", file=sys.stderr)
    failed = features.failed or {}
    status = report_left_out(
        [LeftOut.from_error(item, reason) for item, reason in failed.items()], strict=args.strict
    )
    return status if len(features.voices) and len(features.faces) else ERROR


def _encode_items_by_units(args: argparse.Namespace, out: Path) -> "Callable[..., EmbeddingTable]":
    """What encodes the files of a data folder with another engine."""
    from voiceface.encoders.shard_encoding import EncoderLoader, encode_corpus_items

    place = parts_place(argparse.Namespace(cache=args.cache or out / "cache"))
    names = {"voice": args.voice_encoder, "face": args.face_encoder}
    engine = open_engine_of(args)

    def encode(encoder: "Encoder", items: Sequence[str], resolve_path: Any) -> "EmbeddingTable":
        modality = encoder.info.modality
        loader = EncoderLoader.from_arguments(args, names[modality], modality, own_files=False)
        options: dict[str, Any] = {"engine": engine, "loader": loader, "place": place}
        return encode_corpus_items(encoder, items, resolve_path, on_error=args.missing, **options)

    return encode


def _load(args: argparse.Namespace, name: str, modality: "Modality") -> "Encoder":
    from voiceface.encoders.registry import load_encoder

    encoder = load_encoder(name, modality, device=args.device)
    if encoder.is_voice and args.on_corrupt is not None:
        encoder.on_corrupt = args.on_corrupt
    if encoder.is_voice and args.resample is not None:
        encoder.resample = args.resample == "auto"
    return encoder


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="voiceface encode",
        description="Write the features that a frozen encoder gives for your own files (--voices, --faces, "
        "--encoder: one table) or for a data folder (--data, --voice-encoder, --face-encoder: a folder with "
        "voices.npz, faces.npz and identities.csv, which `fop train --features` reads). Encoders are those "
        "of `voiceface encoders`. Run the same command again to resume a stopped run.",
    )
    add = parser.add_argument
    places = "files and folders, packed or not, here and at addresses (s3://...)"
    add("--voices", nargs="+", type=Path, metavar="PATH", help=f"own recordings: {places}")
    add("--faces", nargs="+", type=Path, metavar="PATH", help=f"own pictures and videos: {places}")
    add("--encoder", metavar="NAME", help="encoder of --voices and --faces")
    add("--data", type=arguments.data_folder, help=arguments.CORPUS_HELP)
    add("--split", choices=SPLITS, help="identities of --data (default: all)")
    add("--voice-encoder", metavar="NAME", help="encoder of the voices of --data")
    add("--face-encoder", metavar="NAME", help="encoder of the faces of --data")
    add(
        "--out",
        type=Path,
        required=True,
        help="table (.npz, .parquet, .arrow, .feather); of --data a folder; with --engine ray also a folder "
        "for the parts of a table that is too large for one file",
    )
    add("--relative-to", type=Path, help="name own files relative to this folder")
    add("--cache", type=Path, help="folder for finished features (default: OUT.cache, with --data OUT/cache)")
    arguments.add_missing_argument(parser, "folders and files of --data that are missing or unreadable")
    dataset_arguments.add_root_arguments(parser)
    dataset_arguments.add_voice_folder_argument(parser)
    arguments.add_resample_argument(parser)
    arguments.add_on_corrupt_argument(parser)
    arguments.add_long_recordings_argument(parser)
    arguments.add_crop_arguments(parser, every_face=True)
    arguments.add_strict_argument(parser)
    arguments.add_workers_argument(parser)
    arguments.add_device_argument(parser)
    arguments.add_engine_arguments(parser, "encode files, each with the encoder loaded once")
    return parser
