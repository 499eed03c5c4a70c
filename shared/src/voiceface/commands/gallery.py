"""`voiceface gallery build|add|remove|search|info`: embeddings that are kept and searched by cosine."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.io.file_kinds import printable
from voiceface.io.wording import counted

if TYPE_CHECKING:
    from voiceface.embeddings.table import EmbeddingTable
    from voiceface.gallery.interface import Gallery, Modality

__all__ = ["main"]

PLACE_HELP = "folder of the gallery, or its address on a server"
TABLES_HELP = "tables of embeddings, or folders of their parts, of `SYSTEM embed` or `voiceface encode`"
ENGINES = ("exact", "faiss", "chroma", "milvus")


def main(argv: Sequence[str] | None = None) -> int:
    """Build, extend, search or describe a gallery."""
    parser = _parser()
    args = parser.parse_args(argv)
    run: Callable[[argparse.Namespace], int] = args.run
    return run(args)


def _build(args: argparse.Namespace) -> int:
    from voiceface.gallery import create_gallery
    from voiceface.gallery.tables import select_modality

    path, first = _find_first(args)
    _, modality = select_modality(first, _modality(args), printable(path))
    with create_gallery(
        args.out,
        first.vectors.shape[1],
        engine=args.engine,
        fingerprint=first.fingerprint,
        modality=modality,
        encoder=first.encoder,
    ) as gallery:
        return _add_tables(gallery, args, {path: first})


def _add(args: argparse.Namespace) -> int:
    from voiceface.gallery import open_gallery

    with open_gallery(args.gallery) as gallery:
        return _add_tables(gallery, args, {})


def _add_tables(gallery: "Gallery", args: argparse.Namespace, loaded: "dict[Path, EmbeddingTable]") -> int:
    """Add tables one after the other; what is there stays when one of them cannot be added."""
    from voiceface.gallery.tables import add_rows, rows_of_table, select_modality

    added = 0
    for path, is_part in _list_tables(args):
        try:
            table = loaded.pop(path, None) or _load(path)
            if is_part and not _is_usable(table, _modality(args)):
                continue
            gallery.require_model(table.fingerprint, dimension=table.vectors.shape[1])
            table, modality = select_modality(
                table, _modality(args) or gallery.facts.modality, printable(path)
            )
            gallery.require_model(table.fingerprint, modality=modality)
            rows = rows_of_table(table, by_folder=args.by_folder)
            added += add_rows(gallery, rows, skip_existing=args.existing == "skip")
        except (ValueError, OSError) as error:
            raise ValueError(
                f"{printable(path)}: {error}. {gallery.place} holds {counted(len(gallery), 'item')}; go on "
                f"with `voiceface gallery add {gallery.place} TABLE ... --existing skip`"
            ) from error
    gallery.save()
    print(f"{gallery.place}: {counted(added, 'item')} added, {counted(len(gallery), 'item')} in all")
    return 0


def _remove(args: argparse.Namespace) -> int:
    from voiceface.gallery import open_gallery
    from voiceface.gallery.interface import GalleryError
    from voiceface.io.foreign_files import read_file_text

    items = list(args.items)
    if args.items_from is not None:
        items += read_file_text(args.items_from, GalleryError, "a list of names").splitlines()
    if not (items := [item for item in items if item]):
        raise GalleryError("no items to remove: name them, or a file of names with --items-from")
    with open_gallery(args.gallery) as gallery:
        gallery.remove(items)
        gallery.save()
        print(f"{gallery.place}: {counted(len(gallery), 'item')} left")
    return 0


def _search(args: argparse.Namespace) -> int:
    from voiceface.gallery import open_gallery
    from voiceface.io.atomic import write_json
    from voiceface.io.input_files import require_writable_files

    require_writable_files({"json": args.json})
    table = _load(args.table)
    with open_gallery(args.gallery) as gallery:
        gallery.require_model(table.fingerprint, dimension=table.vectors.shape[1])
        results = gallery.search(table.vectors, args.top)
    for item, found in zip(table.items, results):
        print(printable(item))
        for rank, each in enumerate(found, 1):
            print(f"{rank:4d}  {each.score:+.4f}  {printable(each.item)}")
    if args.json:
        values = {
            item: [{"item": each.item, "score": each.score} for each in found]
            for item, found in zip(table.items, results)
        }
        write_json(args.json, {"gallery": str(args.gallery), "results": values})
    return 0


def _info(args: argparse.Namespace) -> int:
    from voiceface.gallery import open_gallery
    from voiceface.gallery.tables import format_source

    with open_gallery(args.gallery) as gallery:
        for line in format_source(gallery):
            print(line)
        for name, value in gallery.describe().items():
            print(f"{name}: {value}")
        if args.verify:
            gallery.verify()
            print("verified: all files are as they were written")
    return 0


def _load(path: Path) -> "EmbeddingTable":
    from voiceface.embeddings.table import EmbeddingTable

    return EmbeddingTable.load(path)


def _list_tables(args: argparse.Namespace) -> list[tuple[Path, bool]]:
    """Tables of a command, with the parts of folders, and whether each is a part."""
    from voiceface.embeddings.parts import is_folder_of_parts, list_parts
    from voiceface.gallery.interface import GalleryError

    found: list[tuple[Path, bool]] = []
    for path in args.tables:
        if not is_folder_of_parts(path):
            found.append((path, False))
            continue
        if args.by_folder:
            raise GalleryError(
                f"--by-folder: a folder is in several parts of {printable(path)}: embed into a table"
            )
        found += [(part, True) for part in list_parts(path)]
    return found


def _is_usable(table: "EmbeddingTable", wanted: "Modality") -> bool:
    """Whether a part has rows, which are of one kind, and of the wanted one."""
    from voiceface.gallery.tables import find_modality

    return len(table) > 0 and (not wanted or find_modality(table, table.items[0]) in ("", wanted))


def _find_first(args: argparse.Namespace) -> "tuple[Path, EmbeddingTable]":
    """The first table that has rows for the gallery."""
    from voiceface.gallery.interface import GalleryError

    for path, is_part in _list_tables(args):
        table = _load(path)
        if not is_part or _is_usable(table, _modality(args)):
            return path, table
    raise GalleryError(f"{printable(args.tables[0])}: no part has such rows")


def _modality(args: argparse.Namespace) -> "Modality":
    chosen: dict[str | None, Modality] = {"voices": "voice", "faces": "face"}
    return chosen.get(args.only, "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="voiceface gallery",
        description="Keep embeddings in a gallery, and search it by cosine. A gallery is a folder, or "
        "ENGINE://HOST[:PORT]/NAME on a server (chroma, milvus). `SYSTEM match --gallery` and `voiceface "
        "report --gallery` rank it. See docs/scaling.md.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="build|add|remove|search|info")

    build = commands.add_parser("build", help="make a gallery from tables of embeddings")
    build.add_argument("tables", nargs="+", type=Path, metavar="TABLE", help=TABLES_HELP)
    build.add_argument("--out", type=Path, required=True, help=f"{PLACE_HELP}; new or empty")
    build.add_argument(
        "--engine",
        choices=ENGINES,
        help="what searches it (default: exact in a folder; that of the address on a server)",
    )
    _add_table_arguments(build)
    build.set_defaults(run=_build)

    add = commands.add_parser("add", help="add tables to a gallery")
    add.add_argument("gallery", type=Path, help=PLACE_HELP)
    add.add_argument("tables", nargs="+", type=Path, metavar="TABLE", help=TABLES_HELP)
    _add_table_arguments(add)
    add.set_defaults(run=_add)

    remove = commands.add_parser("remove", help="remove items, and erase them on disk")
    remove.add_argument("gallery", type=Path, help=PLACE_HELP)
    remove.add_argument("items", nargs="*", metavar="ITEM", help="names of items")
    remove.add_argument("--items-from", type=Path, metavar="FILE", help="text file, one name per line")
    remove.set_defaults(run=_remove)

    search = commands.add_parser("search", help="find the items that are most alike those of a table")
    search.add_argument("gallery", type=Path, help=PLACE_HELP)
    search.add_argument("table", type=Path, metavar="TABLE", help="table of queries, by the same model")
    search.add_argument("--top", type=int, default=10, help="results for each query (default: 10)")
    search.add_argument("--json", type=Path, help="also write all results")
    search.set_defaults(run=_search)

    info = commands.add_parser("info", help="what a gallery holds, who made it, how it is kept")
    info.add_argument("gallery", type=Path, help=PLACE_HELP)
    info.add_argument("--verify", action="store_true", help="compare the digests of all files")
    info.set_defaults(run=_info)
    return parser


def _add_table_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", choices=("voices", "faces"), help="of tables that hold both")
    parser.add_argument(
        "--by-folder", action="store_true", help="one item per folder: the mean of its files' embeddings"
    )
    parser.add_argument(
        "--existing",
        choices=("error", "skip"),
        default="error",
        help="items that are in the gallery already (default: %(default)s)",
    )
