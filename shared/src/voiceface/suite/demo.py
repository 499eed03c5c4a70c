"""`voiceface demo`: run every installed system on the same synthetic identities and write one page.

No model was trained on the test identities. A stopped demo resumes where it was.
"""

import argparse
import contextlib
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voiceface.suite.plugins import SystemSet

__all__ = ["available_cores", "build_parser", "main", "run_demo"]

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
        out: folder for population, runs and page; finished stages in it are kept.
        pretrained: use the bundled checkpoints of all systems instead of training.
        systems: the systems to run (default: all installed ones).
        num_identities: number of test identities (default: the 100 of the preset).
        jobs: concurrent trainings (default: one per core).
        workers: processes that generate identities (default: one per core).
        device: device of the networks.

    Returns:
        The page.

    Raises:
        ValueError: no system is installed.
    """
    from voiceface.association.data import load_split
    from voiceface.runtime.progress import write_line
    from voiceface.suite.demo_data import generate_demo_data
    from voiceface.suite.demo_generation import Generation
    from voiceface.suite.demo_page import embed_and_compare, summarise_results, write_demo_page
    from voiceface.suite.inference import load_systems
    from voiceface.suite.plugins import SystemSet, find_systems
    from voiceface.suite.sections import format_unavailable

    chosen = find_systems() if systems is None else systems
    if not chosen.found:
        raise ValueError(
            "No system is installed. Install one, for example: pip install ./packages/seeking_shape"
        )
    chosen = chosen.without_unready()
    if not chosen.found:
        raise ValueError("; ".join(format_unavailable(*each) for each in chosen.unavailable.items()))
    total, start = (4 if pretrained else 5), time.monotonic()

    def announce(number: int, stage: str) -> None:
        print(f"[{number}/{total}] {stage}", flush=True)

    for name, reason in chosen.unavailable.items():
        print(format_unavailable(name, reason))
    announce(1, "generating synthetic identities")
    data = generate_demo_data(
        out / "population", pretrained=pretrained, num_identities=num_identities, workers=workers
    )
    bank = load_split(data.root, "val")
    names = [system.name for system in chosen.association_systems if system.train and not pretrained]
    trained = tuple(system for system in chosen.found if system.name in names)
    generation = Generation(
        SystemSet(tuple(system for system in chosen.found if system.name not in names), {}),
        data,
        bank=[bank.face_path(item) for item in bank.faces],
        device=device,
    )
    runs: dict[str, Path] = {}
    if not pretrained:
        announce(2, f"training {', '.join(names) or 'nothing'} with the quick configurations")
    if names:
        from voiceface.suite.parallel_training import train_systems

        with contextlib.closing(generation.advance_on_one_thread()) as steps:
            runs = train_systems(
                names,
                data.root,
                out,
                jobs=jobs or available_cores(),
                device=device,
                on_progress=write_line,
                meanwhile=steps,
            )
    announce(total - 2, f"evaluating on {len(data.corpus)} unseen identities")
    generation.load()
    models = generation.models | load_systems(SystemSet(trained, {}), runs, device=device, required=False)[0]
    if not models:
        raise ValueError(
            f"no system can be used: {'; '.join(map(': '.join, generation.unavailable.items()))}"
        )
    chosen = SystemSet(
        tuple(system for system in chosen.found if system.name in models),
        {**chosen.unavailable, **generation.unavailable},
    )
    outputs = generation.outputs
    comparison = embed_and_compare(out, chosen, models, data, outputs, pretrained=pretrained)
    announce(total - 1, "generating images and heads from their voices")
    generated = generation.finish(one_thread=bool(names))
    announce(total, "writing the report")
    page = write_demo_page(
        out, chosen, models, data, outputs, comparison, runs, generated, pretrained=pretrained
    )
    print(
        f"\n{len(chosen.found)} systems, {len(data.corpus)} unseen identities, "
        f"{time.monotonic() - start:.0f} s"
    )
    for line in summarise_results(comparison, generated):
        print(line)
    return page


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; the exit code is 0."""
    args = build_parser().parse_args(argv)
    if (args.identities is not None and args.identities < 4) or (args.jobs is not None and args.jobs < 1):
        raise ValueError(
            f"--identities {args.identities} --jobs {args.jobs}: expected at least 4 identities and 1 job"
        )
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
        again = shlex.join(["voiceface", "demo", *(sys.argv[1:] if argv is None else argv)])
        print(f"stopped; finished work is kept in {out}. The same command resumes: {again}", file=sys.stderr)
        return 130
    print(f"report: {page}")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Build the argument parser of `voiceface demo`."""
    parser = argparse.ArgumentParser(
        prog="voiceface demo",
        description="Generate synthetic identities, train the association systems on them, and write one "
        "page with the outputs of every installed system for unseen voices: ranked faces, images, "
        "interactive heads, metrics with intervals. The same command resumes a stopped demo.",
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path(DEFAULT_OUT), help="output folder (default: %(default)s)")
    add(
        "--pretrained",
        action="store_true",
        help="use the bundled checkpoints instead of training, and fewer trial lists",
    )
    add("--systems", nargs="+", metavar="NAME", help="systems to run (default: all installed ones)")
    add("--identities", type=int, help="number of test identities (default: 100)")
    add("--jobs", type=int, help="concurrent trainings (default: one per core)")
    add("--workers", type=int, help="processes that generate identities (default: one per core)")
    add("--device", default="cpu", help="cpu, cuda or auto (default: %(default)s)")
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voiceface.suite.demo", None))
