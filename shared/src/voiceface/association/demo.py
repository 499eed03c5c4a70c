"""The main job of a system in one go: invent people, train, evaluate on others, write a report."""

import argparse
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.association.embedding import EmbedderLoader
from voiceface.checkpoints.paths import MODEL_FILE
from voiceface.commandline import arguments as flags

if TYPE_CHECKING:
    import numpy as np

    from voiceface.association.embedder import Embedder
    from voiceface.datasets.corpus import Corpus
    from voiceface.evaluation.all_pairs import AllPairsMetric
    from voiceface.report import RetrievalExamples

log = logging.getLogger(__name__)
USER_MEDIA_NOTE = (
    "Real recordings and pictures, ranked by a model that knows invented people only. This shows that real "
    "input works; the order means nothing, and no accuracy is claimed."
)
PRESETS = ("quick", "standard")


@dataclass(frozen=True)
class DemoStep:
    """One step between inventing people and evaluating.

    Attributes:
        description: what it does, for the reader; ``{people}`` becomes the number of training people.
        run: called with the training people and the notice that their models carry. It does nothing where its
            work is done already, and goes on where it was stopped.
    """

    description: str
    run: "Callable[[Corpus, str], Any]"


def run_demo(
    out: Path,
    steps: Sequence[DemoStep],
    *,
    system: str,
    load: EmbedderLoader,
    runs: dict[str, Path],
    subtitle: str,
    identity_weights: "Callable[[Any], np.ndarray] | None" = None,
    preset: str = "quick",
    real: Path | None = None,
    workers: int | None = None,
    device: str = "cpu",
) -> Path:
    """Run a whole method on a synthetic population.

    Args:
        out: folder for population, results and report; what is done there already is kept.
        steps: of the training; the last of them leaves its model in the last of `runs`.
        system: name of the system's package.
        load: gives the model of a run folder.
        runs: name -> run folder, for the report.
        subtitle: of the report.
        identity_weights: the system's network -> identity weights to be shown, shape (C,).
        preset: population preset.
        real: folder with recordings and pictures of one's own, to be ranked too.
        workers: processes that generate the population; None takes every core.
        device: where the networks run.

    Returns:
        The report.
    """
    from voiceface.association.data import load_split, load_trial_lists
    from voiceface.association.evaluation import evaluate, write_evaluation
    from voiceface.datasets.disclaimers import get_disclaimer
    from voiceface.synthetic.layout import build_settings
    from voiceface.synthetic.writer import write_population

    def say(number: int, what: str) -> None:
        print(f"[{number}/{len(steps) + 2}] {what}", flush=True)

    root = out / "population"
    say(1, "inventing people")
    write_population(root, build_settings(preset), workers=workers)
    corpus, notice = load_split(root, "train"), get_disclaimer(root)
    for number, step in enumerate(steps, 2):
        say(number, step.description.format(people=len(corpus)))
        step.run(corpus, notice)
    say(len(steps) + 2, "evaluating on people it has never met")
    model = load(list(runs.values())[-1], device=device)
    unseen = load_split(root, "test")
    lists = load_trial_lists(root, model.config.evaluation.lists, unseen)
    found = evaluate(
        model,
        unseen,
        lists,
        name=f"{preset} population",
        tie_breaking="expected",
        cache=out / "cache",
        population=root,
    )
    report = write_evaluation(
        out,
        model,
        unseen,
        found,
        system=system,
        title="A voice finds its face",
        subtitle=subtitle,
        identity_weights=identity_weights(model.model) if identity_weights else None,
        runs=runs,
        commands=[f"python -m {system}.demo --preset {preset} --out {out.name}"],
        galleries=[rank_user_media(model, real)] if real else [],
    )
    print(found.results.table())
    print(summary_table(found.all_pairs))
    return report


def train_if_needed(train: Callable[..., Path], out: Path, *arguments: Any, **options: Any) -> Path:
    """Call a system's `train` unless it is done; a stopped run goes on.

    Args:
        train: called with `arguments`, the run folder, `resume` and `options`.
        out: run folder.
        arguments: of `train` before the folder.
        options: of `train`.

    Returns:
        The run folder.
    """
    if not (out / MODEL_FILE).is_file():
        train(*arguments, out, resume=out.is_dir() and any(out.iterdir()), **options)
    return out


def summary_table(all_pairs: "dict[str, dict[str, AllPairsMetric]]") -> str:
    """Chance level, gender-only baseline, model and oracle upper bound over all pairs of unseen
    identities.
    """
    rows = [f"{'all pairs of unseen identities':60}{'chance':>8}{'gender':>8}{'model':>16}{'bound':>8}"]
    words = {
        "g_v2f": "same-gender 1:2 matching, voice to face (G)",
        "g_f2v": "same-gender 1:2 matching, face to voice (G)",
        "u_v2f": "unrestricted 1:2 matching, voice to face (U)",
        "u_f2v": "unrestricted 1:2 matching, face to voice (U)",
        "auc": "unrestricted verification AUC (U)",
        "map100_v2f": "retrieval mAP, voice to face, gallery of 100 identities",
    }
    for setting, metrics in all_pairs.items():
        suffix = "" if setting == "single" else f" ({setting.replace('avg', 'mean of ')})"
        for key, text in words.items():
            f = metrics[key]
            oracle = "" if f.upper_bound is None else f"{f.upper_bound:8.3f}"
            value = f"{f.value:.3f} ± {f.standard_error:.3f}"
            rows.append(f"{text + suffix:60}{f.chance:8.3f}{f.gender_baseline:8.3f}{value:>16}{oracle}")
    return "\n".join(rows)


def rank_user_media(model: "Embedder", folder: Path) -> "RetrievalExamples":
    """Rank the real pictures of a folder for each real voice in it."""
    from voiceface.association.embedding import find_files
    from voiceface.association.retrieval import build_gallery, rank_gallery

    voices, _ = find_files([folder])
    answers, failed = rank_gallery(model, voices, [folder])
    for item, why in failed.items():
        log.warning("left out %s: %s", item, why)
    for query, ranked in answers.items():
        print(f"{query}: best of {len(ranked)} pictures is {ranked[0].name} ({ranked[0].score:+.3f})")
    return build_gallery(answers, title="Real recordings and pictures", note=USER_MEDIA_NOTE)


def command(
    program: str, demo: Callable[..., Path], argv: Sequence[str] | None, *, training_summary: str, out: str
) -> int:
    """`PROGRAM demo`.

    Args:
        program: name of the program, for its help.
        demo: called with the folder and preset, real, seed, workers and device by name; gives the report.
        argv: words of the command line.
        training_summary: what it does between, such as "train in three steps", for the help.
        out: folder unless --out names another.
    """
    parser = argparse.ArgumentParser(
        prog=f"{program} demo",
        description=f"Invent people, {training_summary}, evaluate on unseen people, write a report. "
        "Run it again to finish a stopped demo.",
    )
    parser.add_argument("--out", type=Path, default=Path(out), help=f"folder (default {out})")
    parser.add_argument("--preset", default="quick", choices=PRESETS, help="size (default quick)")
    parser.add_argument(
        "--real", type=Path, help="folder with recordings and pictures of your own, to rank too"
    )
    parser.add_argument("--seed", type=int, help="seed of the training runs")
    parser.add_argument("--workers", type=int, help="processes that generate (default every core)")
    flags.add_device_argument(parser)
    args = parser.parse_args(argv)
    if args.real and not args.real.is_dir():
        raise FileNotFoundError(f"--real: no folder at {args.real}")
    begin = time.monotonic()
    report = demo(
        args.out, preset=args.preset, real=args.real, seed=args.seed, workers=args.workers, device=args.device
    )
    print(f"{time.monotonic() - begin:.0f} s in all\nreport: {report}")
    return 0
