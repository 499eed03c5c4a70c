"""Two Gloo processes against one: processor time and elapsed time of a training step of every system.

    python benchmarks/training_processes.py                             all systems
    python benchmarks/training_processes.py --systems sf2f cmpc2 --steps 20 --batch 128
    python benchmarks/training_processes.py --full --steps 3 --batch 8  networks of the papers

The `train` command of each system runs with its quick configuration, or that of the paper, on the same small
population (fop: made features), on one thread a process: with the whole batch in one process; with half of it
in each of two that train together; and with half of it in each of two that run beside each other and know
nothing of each other.
The efficiency is the processor time of a step of the one divided by the sum of the two that train together:
what communication, steps on half a batch and two busy cores cost. The efficiency of the loop divides the sum
of the unrelated two by that of the related two: what training together alone costs. Processor time does not
count waiting; the speed-up of elapsed time does, and means something only where nothing else runs.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from timing import Times, add_report_arguments

GOAL = 0.9
IDENTITIES = 40
WARM_UP = 2
WAYS = {"one": (1, True), "two": (2, True), "apart": (2, False)}  # processes, whether they train together


class Task(NamedTuple):
    """Run of a system.

    Attributes:
        module: whose `main` trains.
        cfg: bundled configuration.
        settings: flags and overrides; the batch size is that of all processes.
        full: that of the paper.
        data: flag of the data.
    """

    module: str
    cfg: str
    settings: tuple[str, ...]
    full: str = "main"
    data: str = "--data"


BATCH = 32
FOP_BATCH = 1024  # whose steps are short
COMMON = ("training.log_interval=1", "training.num_workers=0")
UNVALIDATED = ("training.validation_interval=null",)
TASKS = {
    "seeking_shape": Task("seeking_shape.train", "quick", ("schedule.warm_up=0", *UNVALIDATED)),
    "archetype_agnostic": Task("archetype_agnostic.train", "quick", ("schedule.warm_up=0", *UNVALIDATED)),
    "cmpc2": Task(
        "cmpc2.train",
        "quick",
        (
            *("--splits", "train", "optimiser.warm_up=0", "optimiser.cycle=null"),
            *("clustering.num_clusters=[4,8]", *UNVALIDATED),
        ),
    ),
    "fop": Task(
        "fop.train",
        "quick",
        (
            "training.last_batch=drop",
            "training.best_checkpoint=none",
            *UNVALIDATED,
        ),
        data="--features",
    ),
    "sf2f": Task(
        "sf2f.train",
        "quick_1st_stage",
        ("perceptual.network=population", *UNVALIDATED),
        "sf2f_1st_stage",
    ),
    "perceptionist": Task("perceptionist.train", "quick_expert", UNVALIDATED, "expert"),
    "voicestyle (StyleGAN2)": Task(
        "voicestyle.train_stylegan",
        "quick_stylegan",
        ("training.preview_interval=1000",),
        "stylegan2_256",
    ),
}


def train(task: Task, source: Path, out: Path, steps: int, together: bool) -> None:
    """Train in this process of a group, or by itself, and write the times of its steps."""
    import torch
    from voiceface.commandline.dispatch import run_main
    from voiceface.runtime import distributed
    from voiceface.training.run import Run

    torch.set_num_threads(1)
    rank = distributed.rank_in_environment()
    times = out.with_name(f"{out.name}-{rank}.npy")
    if not together:
        os.environ.update(RANK="0", WORLD_SIZE="1")
        out = out.with_name(f"{out.name}-of-{rank}")
    moments: list[Times] = []
    iterate = Run.steps

    def timed(run: Run, *values: Any, **options: Any) -> Iterator[int]:
        for step in iterate(run, *values, **options):
            moments.append(Times(time.process_time(), time.perf_counter()))
            yield step

    Run.steps = timed  # type: ignore[method-assign]
    limit = "training.max_steps"
    words = [
        "--cfg",
        task.cfg,
        task.data,
        str(source),
        "--out",
        str(out),
        "--device",
        "cpu",
        "--threads",
        "1",
    ]
    flags = [word for word in task.settings if "=" not in word]
    values = [*COMMON, *(word for word in task.settings if "=" in word), f"{limit}={steps + WARM_UP + 1}"]
    status = run_main(task.module, [*words, *flags, *values])
    np.save(times, np.array(moments[WARM_UP:]))
    raise SystemExit(status)


def measure(
    task: Task, source: Path, folder: Path, steps: int, processes: int, together: bool
) -> tuple[float, float]:
    """Seconds of a step: processor time of all processes, elapsed time of the first; medians of the steps."""
    from voiceface.testing.processes import in_processes

    out = folder / "run"
    in_processes(processes, partial(quietly, train), task, source, out, steps, together, seconds=600)
    times = [np.diff(np.load(folder / f"run-{rank}.npy"), axis=0) for rank in range(processes)]
    return float(sum(np.median(each[:, 0]) for each in times)), float(np.median(times[0][:, 1]))


def quietly(function: Callable[..., None], *arguments: Any) -> None:
    """Call a function with the terminal's output in the null device."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    if not os.environ.get("VOICEFACE_BENCHMARK_ERRORS"):  # shows messages and progress bars
        os.dup2(sink, 2)
    function(*arguments)


def make_sources(folder: Path, identities: int) -> dict[str, Path]:
    """Write the population and the features that all runs use."""
    from fop_training import make_features
    from voiceface.synthetic.writer import write_population

    sizes: dict[str, Any] = {"train": identities, "val": 0, "test": 0, "clips": 2, "images": 2}
    population = write_population(
        folder / "people", "quick", workers=1, progress=False, lists=False, **sizes, clip_seconds=4.0
    )
    make_features(4096, 64).save(folder / "features")
    return {"--data": population, "--features": folder / "features"}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; the exit status is 1 if an efficiency is below the goal and --strict is given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--systems", nargs="+", choices=list(TASKS), default=list(TASKS), metavar="SYSTEM")
    parser.add_argument("--steps", type=int, default=8, help="timed steps of a run (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=BATCH, help="of both together (default: %(default)s)")
    parser.add_argument("--full", action="store_true", help="networks of the papers")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each; the quickest counts")
    add_report_arguments(parser)
    args = parser.parse_args(argv)
    import json
    from importlib import import_module

    rows = []
    with tempfile.TemporaryDirectory() as place:
        sources = make_sources(Path(place), max(IDENTITIES, args.batch + 8))
        for system in args.systems:
            task = TASKS[system]
            if args.full:
                task = task._replace(cfg=task.full)
            batch = FOP_BATCH if system == "fop" else args.batch
            import_module(task.module)
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
            for _ in range(args.repeats):
                for name, (processes, together) in WAYS.items():
                    size = batch if together else batch // processes
                    run = task._replace(settings=(*task.settings, f"training.batch_size={size}"))
                    with tempfile.TemporaryDirectory() as folder:
                        found[name].append(
                            measure(run, sources[task.data], Path(folder), args.steps, processes, together)
                        )
            seconds = {name: min(each[0] for each in measured) for name, measured in found.items()}
            elapsed = {name: min(each[1] for each in measured) for name, measured in found.items()}
            rows.append(
                {
                    "system": system,
                    **{f"seconds_{name}": round(value, 3) for name, value in seconds.items()},
                    "efficiency": round(seconds["one"] / seconds["two"], 3),
                    "efficiency_of_loop": round(seconds["apart"] / seconds["two"], 3),
                    "elapsed_speed_up": round(elapsed["one"] / elapsed["two"], 2),
                    "load": round(os.getloadavg()[0], 1),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    if args.out:
        args.out.write_text(json.dumps(rows, indent=2) + "\n")
    return int(args.strict and any(float(str(row["efficiency_of_loop"])) < GOAL for row in rows))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
