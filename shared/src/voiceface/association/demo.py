"""Demo of a system: generate synthetic identities, train, evaluate on unseen ones, write a report."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.association.loading import load_embedder
from voiceface.association.system import SystemSpec
from voiceface.checkpoints.paths import MODEL_FILE
from voiceface.io.file_facts import FileFacts

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder
    from voiceface.datasets.corpus import Corpus
    from voiceface.evaluation.all_pairs import AllPairsMetric
    from voiceface.faces.own_pictures import PictureReader
    from voiceface.report import RetrievalExamples

__all__ = [
    "DemoStep",
    "build_training_steps",
    "run_demo",
    "run_training_steps",
    "summary_table",
    "train_if_needed",
]

log = logging.getLogger(__name__)
USER_MEDIA_NOTE = (
    "Real utterances and images, ranked by a model that was trained on synthetic identities only. This shows "
    "that real files can be processed; the ranking is meaningless, and no accuracy is reported."
)


@dataclass(frozen=True)
class DemoStep:
    """Step between generating identities and evaluating.

    Attributes:
        description: for the console; ``{identities}`` is replaced by the number of training identities.
        run: called with the training identities and the disclaimer of their models. A finished step does
            nothing; a stopped one is resumed.
    """

    description: str
    run: "Callable[[Corpus, str], Any]"


def run_demo(
    spec: SystemSpec,
    out: Path,
    *,
    preset: str = "quick",
    real: Path | None = None,
    pictures: "PictureReader | None" = None,
    seed: int | None = None,
    workers: int | None = None,
    device: str = "cpu",
) -> Path:
    """Train and evaluate a system on a synthetic population.

    Args:
        spec: the system.
        out: folder for population, runs, results and report; finished parts are kept.
        preset: population preset, and name of the configuration: "quick" or "standard".
        real: folder with real utterances and images, to be ranked as well.
        pictures: finds the faces of these images; None: with the networks that are installed.
        seed: seed of the training runs; None: as in the configuration.
        workers: processes that generate the population; None: one per core.
        device: "cpu", "cuda" or "auto".

    Returns:
        Path of the report.

    Raises:
        FileNotFoundError, ValueError: what the system needs besides its package is missing.
    """
    from voiceface.association.data import load_split, load_trial_lists
    from voiceface.association.evaluation import evaluate, read_identity_weights, write_evaluation
    from voiceface.datasets.disclaimers import get_disclaimer
    from voiceface.synthetic.layout import build_settings
    from voiceface.synthetic.writer import write_population

    if spec.requirements is not None:
        spec.resolve("requirements")()
    root = out / "population"
    steps, runs = build_training_steps(spec, out, root, preset=preset, seed=seed, device=device)

    def print_step(number: int, description: str) -> None:
        print(f"[{number}/{len(steps) + 2}] {description}", flush=True)

    print_step(1, "generating identities")
    write_population(root, build_settings(preset), workers=workers)
    corpus, disclaimer = load_split(root, "train"), get_disclaimer(root)
    for number, step in enumerate(steps, 2):
        print_step(number, step.description.format(identities=len(corpus)))
        step.run(corpus, disclaimer)
    print_step(len(steps) + 2, "evaluating on unseen identities")
    model = load_embedder(spec, list(runs.values())[-1], device=device)
    if pictures is not None:
        model.pictures = pictures.with_convention(model.face_crop)
    unseen = load_split(root, "test")
    lists = load_trial_lists(root, model.config.evaluation.lists, unseen)
    evaluation = evaluate(
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
        evaluation,
        system=spec.name,
        title=f"{spec.name} on synthetic identities",
        subtitle=spec.subtitle,
        identity_weights=read_identity_weights(spec, model),
        runs=runs,
        commands=[f"{spec.name} demo --preset {preset} --out {out.name}"],
        galleries=[rank_user_media(model, real)] if real else [],
    )
    print(evaluation.results.table())
    print(summary_table(evaluation.all_pairs))
    return report


def build_training_steps(
    spec: SystemSpec,
    out: Path,
    population: Path,
    *,
    preset: str = "quick",
    seed: int | None = None,
    device: str = "cpu",
) -> tuple[list[DemoStep], dict[str, Path]]:
    """Build the training steps of a system; the last step leaves its model in the last run folder.

    Args:
        spec: the system.
        out: folder for the runs.
        population: folder of the synthetic identities.
        preset, seed, device: see `run_demo`.

    Returns:
        The steps, and the run folders by name.
    """
    if spec.training_steps:
        steps, runs = spec.resolve("training_steps")(out, population, preset=preset, seed=seed, device=device)
        return steps, runs
    from voiceface.runtime.config import load_config

    override = [] if seed is None else [f"training.seed={seed}"]
    config = load_config(preset, spec.resolve("config"), spec.name, override)
    run = out / "main"

    def train_main(corpus: "Corpus", disclaimer: str) -> None:
        if not (run / MODEL_FILE).is_file():
            dataset: Any = corpus
            options: dict[str, Any] = {"device": device, "disclaimer": disclaimer}
            cache = out / "training_cache"
            if spec.training_set:
                dataset = spec.resolve("training_set")(corpus, population, config, cache=cache)
            if spec.validation_set:
                options["validation"] = spec.resolve("validation_set")(population, config, cache=cache)
            train_if_needed(spec.resolve("train"), run, config, dataset, **options)

    return [DemoStep(spec.training_description, train_main)], {"main": run}


def run_training_steps(population: Path, steps: Sequence[DemoStep]) -> None:
    """Run the steps of a training on the training identities of a population folder.

    Args:
        population: folder that `voiceface population` wrote.
        steps: the steps; a finished step does nothing.
    """
    from voiceface.association.data import load_split
    from voiceface.datasets.disclaimers import get_disclaimer

    corpus, disclaimer = load_split(population, "train"), get_disclaimer(population)
    for step in steps:
        print(step.description.format(identities=len(corpus)), flush=True)
        step.run(corpus, disclaimer)


def train_if_needed(train: Callable[..., Path], out: Path, *arguments: Any, **options: Any) -> Path:
    """Call a system's `train` unless the run is complete; a stopped run is resumed.

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
    """Format a table of all-pairs metrics: chance level, gender-only baseline, model, oracle upper bound."""
    rows = [f"{'all pairs of unseen identities':60}{'chance':>8}{'gender':>8}{'model':>16}{'bound':>8}"]
    labels = {
        "g_v2f": "same-gender 1:2 matching, voice to face (G)",
        "g_f2v": "same-gender 1:2 matching, face to voice (G)",
        "u_v2f": "unrestricted 1:2 matching, voice to face (U)",
        "u_f2v": "unrestricted 1:2 matching, face to voice (U)",
        "auc": "unrestricted verification AUC (U)",
        "map100_v2f": "retrieval mAP, voice to face, gallery of 100 identities",
    }
    for setting, metrics in all_pairs.items():
        suffix = "" if setting == "single" else f" ({setting.replace('avg', 'mean of ')})"
        for key, label in labels.items():
            metric = metrics[key]
            bound = "" if metric.upper_bound is None else f"{metric.upper_bound:8.3f}"
            value = f"{metric.value:.3f} ± {metric.standard_error:.3f}"
            references = f"{metric.chance:8.3f}{metric.gender_baseline:8.3f}"
            rows.append(f"{label + suffix:60}{references}{value:>16}{bound}")
    return "\n".join(rows)


def rank_user_media(model: "Embedder", folder: Path) -> "RetrievalExamples":
    """Rank the images of a folder for each utterance in it."""
    from voiceface.association.embedding import find_files
    from voiceface.association.retrieval import build_gallery, rank_gallery

    voices, _ = find_files([folder])
    facts: dict[str, FileFacts] = {}
    rankings, failed = rank_gallery(model, voices, [folder], facts=facts)
    for item, reason in failed.items():
        log.warning("skipped %s: %s", item, reason)
    for query, ranking in rankings.items():
        print(f"{query}: best of {len(ranking)} images is {ranking[0].name} ({ranking[0].score:+.3f})")
    return build_gallery(rankings, title="Real utterances and images", note=USER_MEDIA_NOTE, facts=facts)
