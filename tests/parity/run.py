"""Compare this repository with stored values of the published implementations.

    python tests/parity/run.py --cases ../shared/golden/seeking_shape

One line per case with its largest error against the tolerance, then a closing line with the counts.
Exit status 1 when a case fails.
"""

import argparse
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parity.case import Case

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
NAMES = ("archetype_agnostic", "perceptionist", "seeking_shape", "sf2f", "voicestyle")
SYSTEMS = {name: f"parity.{name}" for name in NAMES}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cases of one folder; see the module's text."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", type=Path, required=True, help="folder of NAME.json and NAME.npz")
    parser.add_argument(
        "--system", choices=sorted(SYSTEMS), help="default: told from the folder or the cases"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="CASE", help="run these cases only")
    parser.add_argument("--fill", type=Path, help="fill rule; default: fill.py beside the folder of cases")
    parser.add_argument("--lists", type=Path, help="lists folder; default: lists/SYSTEM two folders up")
    parser.add_argument("--threads", type=int, default=1, help="processor threads (default 1)")
    parser.add_argument("--verbose", action="store_true", help="every comparison, and where errors arose")
    args = parser.parse_args(argv)

    folder = args.cases.resolve()
    paths = sorted(path for path in folder.glob("*.json") if is_case(path))
    if not paths:
        parser.error(f"no cases (NAME.json with a `layout`) in {args.cases}")
    absent = sorted(set(args.only) - {path.stem for path in paths})
    if absent:
        parser.error(f"no such case: {', '.join(absent)}; there are {', '.join(p.stem for p in paths)}")

    import torch

    torch.set_num_threads(args.threads)
    from parity.case import Case, CaseInputs, ComparisonLog, SkipCase

    inputs = CaseInputs(
        args.fill.resolve() if args.fill else find_fill_rule(folder),
        args.lists.resolve() if args.lists else folder.parents[1] / "lists",
    )
    system = args.system or detect_system(folder, [Case(path, inputs) for path in paths])
    if system is None:
        parser.error(f"cannot tell the system of {args.cases}: give --system")
    check_for = importlib.import_module(SYSTEMS[system]).CHOICE.check_for
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    width = max(len(path.stem) for path in paths)
    for path in paths:
        if args.only and path.stem not in args.only:
            continue
        book, began = ComparisonLog(), time.perf_counter()
        case = Case(path, inputs)
        try:
            check: Callable[[Case, ComparisonLog], None] | None = check_for(case)
            if check is None:
                verdict, text = "failed", f"{system} has no check for a case of this kind"
            else:
                check(case, book)
                verdict, text = "passed" if book.passed else "failed", book.summary()
        except SkipCase as reason:
            verdict, text = "skipped", str(reason)
        except Exception as error:
            verdict, text = "failed", f"{type(error).__name__}: {error}"
            if args.verbose:
                traceback.print_exc()
        counts[verdict] += 1
        print(f"{verdict:7} {path.stem:{width}}  {text}  [{time.perf_counter() - began:.1f} s]", flush=True)
        if args.verbose:
            for share, name, words in sorted(book.comparisons, reverse=True):
                print(f"        {share:8.3g}  {name}: {words}")
    skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
    print(f"{counts['passed']} passed, {counts['failed']} failed{skipped}")
    return int(counts["failed"] > 0)


def is_case(path: Path) -> bool:
    """Whether a JSON file is a case: an object with the fields of one."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "layout" in content and bool({"outputs", "config"} & set(content))


def detect_system(folder: Path, cases: "Sequence[Case]") -> str | None:
    """The system that the folder is named after, else the one that knows most of its cases.

    A case is known by its contents; its name counts where the contents leave it open.
    """
    named = [name for name in SYSTEMS if name in folder.name]
    if named:
        return named[0]
    known = {}
    for name, module in SYSTEMS.items():
        choice = importlib.import_module(module).CHOICE
        alike = sum(bool(choice.alike(case)) for case in cases)
        known[name] = (alike, sum(choice.named(case.name) is not None for case in cases))
    best = max(known, key=lambda name: known[name])
    return best if any(known[best]) else None


def find_fill_rule(folder: Path) -> Path:
    """The rule beside the folder of cases, in it, or where the cases lie by custom."""
    places = [place / "fill.py" for place in (folder.parent, folder, REPO.parent / "shared" / "golden")]
    return next((place for place in places if place.is_file()), places[0])


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path[0] = str(
        HERE.parent
    )  # the folder of `parity`; our own would hide the packages of the same names
    sys.exit(main())
