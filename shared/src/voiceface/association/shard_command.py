"""`PROGRAM embed` by units: with the engine Ray, and of files at addresses."""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from voiceface.association.model_loader import ModelLoader
from voiceface.association.system import SystemSpec
from voiceface.commandline.messages import print_disclaimers, report_left_out, report_notes
from voiceface.engines.file_sources import as_location, find_sources, is_address
from voiceface.io.input_files import require_writable_files
from voiceface.io.locations import is_url, join_location, write_file
from voiceface.io.own_files import LeftOut
from voiceface.io.wording import counted

if TYPE_CHECKING:
    from voiceface.embeddings.table import EmbeddingTable
    from voiceface.engines.interface import Engine

__all__ = [
    "TABLE_SUFFIXES",
    "absolute_place",
    "embed_by_units",
    "keeps_parts",
    "needs_units",
    "open_engine_of",
    "parts_place",
    "report_table",
    "require_writable_output",
    "save_table",
]

PARTS = "parts"
TABLE_SUFFIXES = (".npz", ".parquet", ".arrow", ".feather")


def needs_units(args: argparse.Namespace, paths: Sequence[Path]) -> bool:
    """Whether a command works by units: another engine, or addresses."""
    places = [args.out, args.cache]
    remote = any(place is not None and is_url(as_location(place)) for place in places)
    return args.engine != "local" or remote or any(map(is_address, paths))


def embed_by_units(spec: SystemSpec, args: argparse.Namespace) -> int:
    """Run `embed` with these arguments."""
    from voiceface.association.branches import describe_branch
    from voiceface.association.shard_embedding import ShardWork, join_shards, make_parts, make_units
    from voiceface.audio.recording_quality import choose_speech_finder
    from voiceface.embeddings.encoder_info import Modality, format_encoders

    sources = find_sources(args.paths, args.relative_to)
    require_writable_output(args.out)
    loader = ModelLoader.from_arguments(spec, args)
    model = loader.open("cpu", sources.sounds, sources.pictures)
    print_disclaimers(model.disclaimer)
    weights = "" if model.is_bundled else str(args.onnx[0] if args.onnx else args.weights)
    branches = (describe_branch(model, modality, spec.name, weights) for modality in get_args(Modality))
    encoder = format_encoders(branches)
    work = ShardWork(
        loader.for_workers(),
        model.embedding_dim,
        model.fingerprint,
        f"{model.long_recordings} {model.pictures.identity}",
        encoder,
        choose_speech_finder(),
    )
    units = make_units(
        sources,
        batch_sizes=(model.voice_batch_size, model.face_batch_size),
        finds_faces=model.pictures.finds_faces,
    )
    if keeps_parts(args.out):
        count = make_parts(open_engine_of(args), [(work, units)], absolute_place(args.out), encoder)
        print(f"{as_location(args.out)}: {counted(count, 'part')} with embeddings of length {work.dimension}")
        return report_left_out(sources.left_out, strict=args.strict)
    table = join_shards(open_engine_of(args), [(work, units)], parts_place(args))
    save_table(replace(table, encoder=encoder), args.out)
    rows = counted(len(table), "embedding")
    print(
        f"{as_location(args.out)}: {rows} of length {model.embedding_dim}, in {counted(len(units), 'shard')}"
    )
    return report_table(table, sources.left_out, strict=args.strict)


def report_table(table: "EmbeddingTable", left_out: list[LeftOut], *, strict: bool) -> int:
    """Print notes and files that were left out; return the exit status."""
    report_notes(table.facts.values())
    left_out = left_out + [LeftOut.from_error(item, reason) for item, reason in table.failed.items()]
    return report_left_out(left_out, strict=strict)


def open_engine_of(args: argparse.Namespace) -> "Engine":
    """The engine that the arguments ask for."""
    from voiceface.engines.interface import open_engine

    return open_engine(
        args.engine,
        device=args.device,
        address=args.ray_address,
        actors=args.actors,
        threads=max(1, args.workers),
    )


def parts_place(args: argparse.Namespace) -> str:
    """Where the parts are: below --cache, by default OUT.cache."""
    cache = as_location(args.cache) if args.cache else f"{as_location(args.out)}.cache"
    return absolute_place(join_location(cache, PARTS))


def absolute_place(place: str | Path) -> str:
    """An address as it is, a path made absolute."""
    text = as_location(Path(place))
    return text if is_url(text) else str(Path(text).absolute())


def keeps_parts(out: Path) -> bool:
    """Whether a table stays in its parts: `--out` is a folder."""
    return out.suffix not in TABLE_SUFFIXES


def require_writable_output(out: Path) -> None:
    """Check that a table, or a folder of parts, can be written; addresses are not checked.

    Raises:
        OSError: it cannot.
    """
    from voiceface.embeddings.parts import INDEX_FILE

    if not is_url(as_location(out)):
        require_writable_files({"out": out / INDEX_FILE if keeps_parts(out) else out})


def save_table(table: "EmbeddingTable", out: Path) -> None:
    """Write a table to a path or address."""
    place = as_location(out)
    if not is_url(place):
        table.save(out)
        return
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / out.name
        table.save(local)
        write_file(local, place)
