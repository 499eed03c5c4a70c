"""The main job in one command: invent people, train in three steps, evaluate on others, write a report.

`seeking_shape demo --out runs/demo`; a stopped demo goes on where it was.
"""

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voiceface.datasets.corpus import Corpus
    from voiceface.metrics.all_pairs import PairsFigure
    from voiceface.report import Gallery

    from seeking_shape.config import SeekingShapeConfig
    from seeking_shape.embedder import Embedder

log = logging.getLogger(__name__)
REAL_NOTE = (
    "Real recordings and pictures, ranked by a model that knows invented people only. This shows that real "
    "input works; the order means nothing, and no accuracy is claimed."
)


def demo(
    out: Path,
    *,
    preset: str = "quick",
    real: Path | None = None,
    seed: int | None = None,
    workers: int | None = None,
    device: str = "cpu",
) -> Path:
    """Run the whole method on a synthetic population.

    Args:
        out: folder for population, runs and report; what is done there already is kept.
        preset: population preset and pair of configurations: "quick" or "standard".
        real: folder with recordings and pictures of one's own, to be ranked too.
        seed: of the training runs; None takes the configuration's.
        workers: processes that generate the population; None takes every core.
        device: where the networks run.

    Returns:
        The report.
    """
    from voiceface.config import load_config
    from voiceface.population.write import settings_of, write_population

    from seeking_shape.config import SeekingShapeConfig
    from seeking_shape.data import lists_of, notice_of, open_split
    from seeking_shape.embedder import load
    from seeking_shape.extract_id_weight import extract
    from seeking_shape.test import evaluate, write_evaluation
    from seeking_shape.train import Start

    root, runs = out / "population", {"re-weighting": out / "reweight", "main": out / "main"}
    _say(1, "inventing people")
    write_population(root, settings_of(preset), workers=workers)
    corpus, notice = open_split(root, "train"), notice_of(root)
    override = [] if seed is None else [f"training.seed={seed}"]
    configs = {
        key: load_config(name, SeekingShapeConfig, "seeking_shape", override)
        for key, name in (("re-weighting", f"{preset}_reweight"), ("main", preset))
    }
    _say(2, f"learning identity weights of {len(corpus)} people")
    _train(configs["re-weighting"], corpus, runs["re-weighting"], device=device, notice=notice)
    _say(3, "taking the identity weights out")
    weights = extract(runs["re-weighting"], out / "id_weight.safetensors")
    _say(4, "training the model with them")
    _train(
        configs["main"], corpus, runs["main"], device=device, notice=notice, start=Start(id_weights=weights)
    )
    _say(5, "evaluating on people it has never met")
    model = load(runs["main"], device=device)
    unseen = open_split(root, "test")
    lists = lists_of(root, model.config.evaluation.lists, unseen)
    found = evaluate(
        model, unseen, lists, name=f"{preset} population", ties="fair", cache=out / "cache", population=root
    )
    galleries = [_real_gallery(model, real)] if real else []
    report = write_evaluation(
        out,
        model,
        unseen,
        found,
        title="A voice finds its face",
        runs=runs,
        commands=[f"python -m seeking_shape.demo --preset {preset} --out {out.name}"],
        galleries=galleries,
    )
    print(found.results.table())
    print(headlines(found.population))
    return report


def headlines(population: "dict[str, dict[str, PairsFigure]]") -> str:
    """Chance, sex only, model and oracle over all pairs of unseen people, as a small table."""
    rows = [f"{'all pairs of unseen people':46}{'chance':>8}{'sex':>8}{'model':>16}{'oracle':>8}"]
    words = {
        "g_v2f": "voice to face, 1:2, same sex",
        "g_f2v": "face to voice, 1:2, same sex",
        "u_v2f": "voice to face, 1:2, anyone",
        "u_f2v": "face to voice, 1:2, anyone",
        "auc": "verification AUC, anyone",
        "map100_v2f": "retrieval mAP among 100, voice to face",
    }
    for setting, figures in population.items():
        how = "" if setting == "single" else f" ({setting})"
        for key, text in words.items():
            f = figures[key]
            oracle = "" if f.oracle is None else f"{f.oracle:8.3f}"
            value = f"{f.value:.3f} ± {f.error:.3f}"
            rows.append(f"{text + how:46}{f.chance:8.3f}{f.sex_only:8.3f}{value:>16}{oracle}")
    return "\n".join(rows)


def _train(config: "SeekingShapeConfig", corpus: "Corpus", out: Path, **options: Any) -> None:
    """Train unless it is done; go on where a stopped run was."""
    from seeking_shape.train import train

    if not (out / "model.safetensors").is_file():
        train(config, corpus, out, resume=out.is_dir() and any(out.iterdir()), **options)


def _real_gallery(model: "Embedder", folder: Path) -> "Gallery":
    """Rank the real pictures of a folder for each real voice in it."""
    from seeking_shape.embed import find_files
    from seeking_shape.match import gallery_of, match

    voices, _ = find_files([folder])
    answers, failed = match(model, voices, [folder])
    for item, why in failed.items():
        log.warning("left out %s: %s", item, why)
    for query, ranked in answers.items():
        print(f"{query}: best of {len(ranked)} pictures is {ranked[0].name} ({ranked[0].score:+.3f})")
    return gallery_of(answers, title="Real recordings and pictures", note=REAL_NOTE)


def _say(step: int, what: str) -> None:
    print(f"[{step}/5] {what}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """`seeking_shape demo`."""
    parser = argparse.ArgumentParser(
        prog="seeking_shape demo",
        description="Invent people, train in three steps, evaluate on unseen people, write a report. "
        "Run it again to finish a stopped demo.",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder (default runs/demo)")
    parser.add_argument(
        "--preset", default="quick", choices=["quick", "standard"], help="size (default quick)"
    )
    parser.add_argument(
        "--real", type=Path, help="folder with recordings and pictures of your own, to rank too"
    )
    parser.add_argument("--seed", type=int, help="seed of the training runs")
    parser.add_argument("--workers", type=int, help="processes that generate (default every core)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args(argv)
    if args.real and not args.real.is_dir():
        raise FileNotFoundError(f"--real: no folder at {args.real}")
    begin = time.monotonic()
    report = demo(
        args.out, preset=args.preset, real=args.real, seed=args.seed, workers=args.workers, device=args.device
    )
    print(f"{time.monotonic() - begin:.0f} s in all\nreport: {report}")
    return 0


if __name__ == "__main__":
    from voiceface.cli import run_main

    raise SystemExit(run_main("seeking_shape.demo", None))
