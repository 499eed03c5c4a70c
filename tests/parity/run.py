"""Compare this repository with stored values of the published implementations.

    python tests/parity/run.py --cases ../shared/golden/seeking_shape

Prints one line per case with its largest error relative to the tolerance, then the counts.
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
NAMES = ("archetype_agnostic", "fop", "perceptionist", "seeking_shape", "sf2f", "voicestyle")
SYSTEMS = {name: f"parity.{name}" for name in NAMES}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cases of one directory; the exit status is 1 if one fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", type=Path, required=True, help="directory of NAME.json and NAME.npz")
    parser.add_argument(
        "--system", choices=sorted(SYSTEMS), help="default: detected from the directory or the cases"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="CASE", help="run these cases only")
    parser.add_argument("--fill", type=Path, help="fill rule; default: fill.py beside the directory of cases")
    parser.add_argument(
        "--lists", type=Path, help="directory of published lists; default: lists, two levels up"
    )
    parser.add_argument("--threads", type=int, default=1, help="processor threads (default 1)")
    parser.add_argument("--verbose", action="store_true", help="print every comparison, and tracebacks")
    args = parser.parse_args(argv)

    folder = args.cases.resolve()
    paths = sorted(path for path in folder.glob("*.json") if is_case(path))
    if not paths:
        parser.error(f"no cases (NAME.json with a `layout`) in {args.cases}")
    missing = sorted(set(args.only) - {path.stem for path in paths})
    if missing:
        parser.error(f"no such case: {', '.join(missing)}; there are {', '.join(p.stem for p in paths)}")

    import torch

    torch.set_num_threads(args.threads)
    from parity.case import Case, CaseInputs, ComparisonLog, SkipCase

    inputs = CaseInputs(
        args.fill.resolve() if args.fill else find_fill_rule(folder),
        args.lists.resolve() if args.lists else folder.parents[1] / "lists",
    )
    system = args.system or detect_system(folder, [Case(path, inputs) for path in paths])
    if system is None:
        parser.error(f"cannot detect the system of {args.cases}: give --system")
    find_check = importlib.import_module(SYSTEMS[system]).CHECKS.find_check
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    width = max(len(path.stem) for path in paths)
    for path in paths:
        if args.only and path.stem not in args.only:
            continue
        log, start = ComparisonLog(), time.perf_counter()
        case = Case(path, inputs)
        try:
            check: Callable[[Case, ComparisonLog], None] | None = find_check(case)
            if check is None:
                verdict, text = "failed", f"{system} has no check for a case of this kind"
            else:
                check(case, log)
                verdict, text = "passed" if log.passed else "failed", log.summary()
        except SkipCase as reason:
            verdict, text = "skipped", str(reason)
        except Exception as error:
            verdict, text = "failed", f"{type(error).__name__}: {error}"
            if args.verbose:
                traceback.print_exc()
        counts[verdict] += 1
        print(f"{verdict:7} {path.stem:{width}}  {text}  [{time.perf_counter() - start:.1f} s]", flush=True)
        if args.verbose:
            for ratio, name, text in sorted(log.comparisons, reverse=True):
                print(f"        {ratio:8.3g}  {name}: {text}")
    skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
    print(f"{counts['passed']} passed, {counts['failed']} failed{skipped}")
    return int(counts["failed"] > 0)


def is_case(path: Path) -> bool:
    """Return whether a JSON file is a case: an object with the fields of one."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "layout" in content and bool({"outputs", "config"} & set(content))


def detect_system(folder: Path, cases: "Sequence[Case]") -> str | None:
    """Return the system that the directory is named after, else the one that has checks for most cases.

    Cases are recognised by their contents; their names break ties.
    """
    named = [name for name in SYSTEMS if name in folder.name]
    if named:
        return named[0]
    counts = {}
    for name, module in SYSTEMS.items():
        checks = importlib.import_module(module).CHECKS
        by_contents = sum(bool(checks.kinds_from_contents(case)) for case in cases)
        counts[name] = (by_contents, sum(checks.kind_from_name(case.name) is not None for case in cases))
    best = max(counts, key=lambda name: counts[name])
    return best if any(counts[best]) else None


def find_fill_rule(folder: Path) -> Path:
    """Find the rule beside the directory of cases, in it, or in the customary place."""
    directories = (folder.parent, folder, REPO.parent / "shared" / "golden")
    paths = [directory / "fill.py" for directory in directories]
    return next((path for path in paths if path.is_file()), paths[0])


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path[0] = str(
        HERE.parent
    )  # the parent of `parity`; this directory would hide the packages of the same names
    sys.exit(main())
