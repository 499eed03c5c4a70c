"""`voiceface demo`: every installed system on the same invented people, and one page of what they make.

No model has met the people of the page. A stopped demo goes on where it was.
"""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voiceface.suite.plugins import SystemSet

DEFAULT_OUT = "runs/demo"


def run_demo(
    out: Path,
    *,
    pretrained: bool = False,
    systems: "SystemSet | None" = None,
    num_identities: int | None = None,
    jobs: int | None = None,
    workers: int | None = None,
    device: str = "cpu",
) -> Path:
    """Run all systems on one synthetic population and write the page.

    Args:
        out: folder for population, runs and page; what is done there already is kept.
        pretrained: no training, the bundled weights of all.
        systems: who takes part; None: whoever is installed.
        num_identities: test people; None: those of the preset, 100.
        jobs: trainings at a time; None: as many as there are cores.
        workers: processes that invent people; None takes every core.
        device: where the networks run.

    Returns:
        The page.

    Raises:
        ValueError: no system is there.
    """
    from voiceface.association.data import load_split
    from voiceface.suite.demo_data import generate_demo_data
    from voiceface.suite.demo_page import embed_and_compare, write_demo_page
    from voiceface.suite.inference import load_systems
    from voiceface.suite.plugins import find_systems
    from voiceface.suite.sections import format_unavailable

    chosen = find_systems() if systems is None else systems
    if not chosen.found:
        raise ValueError("no system is installed that could be shown: pip install ./packages/seeking_shape")
    total, begin = (4, time.monotonic()) if pretrained else (5, time.monotonic())

    def say(number: int, what: str) -> None:
        print(f"[{number}/{total}] {what}", flush=True)

    for name, why in chosen.unavailable.items():
        print(format_unavailable(name, why))
    say(1, "inventing people")
    material = generate_demo_data(
        out / "population", pretrained=pretrained, num_identities=num_identities, workers=workers
    )
    runs: dict[str, Path] = {}
    if not pretrained:
        names = [system.name for system in chosen.association_systems if system.train]
        say(2, f"training {', '.join(names) or 'nothing'}, by their quick configurations")
        if names:
            from voiceface.suite.parallel_training import train_systems

            runs = train_systems(names, material.root, out, jobs=jobs or available_cores(), device=device)
    say(total - 2, f"comparing on {len(material.corpus)} people whom they have never met")
    bank = load_split(material.root, "val")
    pictures = [bank.face_path(item) for item in bank.faces]
    models, chosen = load_systems(chosen, runs, device=device, bank=pictures)
    answers, comparison = embed_and_compare(out, chosen, models, material, pretrained=pretrained)
    say(total - 1, "making pictures and heads of their voices")
    page = write_demo_page(out, chosen, models, material, answers, comparison, runs, pretrained=pretrained)
    print(f"{time.monotonic() - begin:.0f} s in all")
    return page


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; the exit code is 0."""
    args = build_parser().parse_args(argv)
    if (args.identities is not None and args.identities < 4) or (args.jobs is not None and args.jobs < 1):
        raise ValueError(f"--identities {args.identities} --jobs {args.jobs}: expected at least 4 people and 1 job")
    from voiceface.io.input_files import make_writable_directory
    from voiceface.suite.plugins import find_systems

    systems = find_systems()
    systems = systems.select(args.systems) if args.systems else systems
    out = make_writable_directory(args.out)
    try:
        page = run_demo(
            out,
            pretrained=args.pretrained,
            systems=systems,
            num_identities=args.identities,
            jobs=args.jobs,
            workers=args.workers,
            device=args.device,
        )
    except KeyboardInterrupt:
        words = sys.argv[1:] if argv is None else argv
        again = shlex.join(["voiceface", "demo", *[word for word in words if word != "demo"]])
        print(
            f"stopped; what is done is kept in {out}, and the same command goes on: {again}", file=sys.stderr
        )
        return 130
    print(f"report: {page}")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The command line of `voiceface demo`."""
    parser = argparse.ArgumentParser(
        prog="voiceface demo",
        description="Invent people, train the association systems on them, and show on one page what every "
        "installed system makes of the voices of others: ranked faces, pictures, heads that can be turned, "
        "figures with intervals. Run it again to finish a stopped demo.",
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path(DEFAULT_OUT), help="folder (default: %(default)s)")
    add("--pretrained", action="store_true", help="no training: the bundled weights of all systems, some lists")
    add("--systems", nargs="+", metavar="NAME", help="only these (default: all that are installed)")
    add("--identities", type=int, help="people to judge by (default: the 100 test people)")
    add("--jobs", type=int, help="trainings at a time (default: one a core)")
    add("--workers", type=int, help="processes that invent people (default: every core)")
    add("--device", default="cpu", help="cpu, cuda or auto (default: %(default)s)")
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voiceface.suite.demo", None))
