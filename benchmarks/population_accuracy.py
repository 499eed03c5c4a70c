"""Accuracy of seeking_shape on a synthetic population: the three-step method, judged on unseen people.

For every figure: chance, knowing the sex only, the model with its standard error, the oracle, and where the
model stands between sex only and oracle; and the processor seconds that training took, data loading included.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before the numerical libraries load: seconds are of one core

import numpy as np
from voiceface.metrics.all_pairs import PairsFigure, evaluate_population, pairs_json, pairs_table

Figures = dict[str, dict[str, PairsFigure]]


@dataclass(frozen=True)
class Trial:
    """One training seed.

    Attributes:
        seed: of both training runs.
        seconds: processor time of the re-weighting run and of the main run, data loading included.
        figures: "single" and "avg4" -> figures over all pairs of test people.
    """

    seed: int
    seconds: tuple[float, float]
    figures: Figures


def train(
    data: Path, out: Path, preset: str, seed: int, overrides: Sequence[str] = ()
) -> tuple[float, float]:
    """The three steps of the method; returns the processor seconds of the two runs.

    Args:
        data: population folder.
        out: new folder for both runs; the model ends up in `out/main`.
        preset: names the pair of configurations: PRESET_reweight and PRESET.
        seed: of both runs.
        overrides: of both configurations, "section.key=value".
    """
    from seeking_shape.config import SeekingShapeConfig
    from seeking_shape.extract_id_weight import extract
    from seeking_shape.train import Start
    from seeking_shape.train import train as run
    from voiceface.association.data import notice_of, open_split
    from voiceface.config import load_config

    given = [f"training.seed={seed}", *overrides]
    seconds, start = [], None
    for step, name in (("reweight", f"{preset}_reweight"), ("main", preset)):
        config = load_config(name, SeekingShapeConfig, "seeking_shape", given)
        began = time.process_time()
        corpus = open_split(data, "train")
        run(config, corpus, out / step, start=start, device="cpu", threads=1, notice=notice_of(data))
        seconds.append(time.process_time() - began)
        if step == "reweight":
            start = Start(id_weights=extract(out / step, out / "id_weight.safetensors"))
    return seconds[0], seconds[1]


def judge(data: Path, model: Path, average: int = 4) -> Figures:
    """Figures of a trained model over all pairs of test people.

    "single" is the mean over clip 0 with picture 0, clip 1 with picture 1, and so on, each judged alone: one
    clip and one picture, with less noise than a single choice of files.
    """
    from seeking_shape.embedder import load
    from voiceface.association.data import open_split
    from voiceface.association.evaluation import embed_corpus
    from voiceface.population.truth import read_truth

    corpus = open_split(data, "test")
    voices, faces = embed_corpus(load(model), corpus, workers=1)
    truth = read_truth(data).of([person.identity.face_id for person in corpus.people])
    count = min(min(len(person.voices), len(person.faces)) for person in corpus.people)
    voice = np.stack([voices.vectors[voices.rows(person.voices[:count])] for person in corpus.people])
    face = np.stack([faces.vectors[faces.rows(person.faces[:count])] for person in corpus.people])
    rule: dict[str, Any] = {"oracle_scores": truth.scores}
    singles = [
        evaluate_population(voice[:, k], face[:, k], truth.sex, **rule)["single"] for k in range(count)
    ]
    several = evaluate_population(voice, face, truth.sex, average=[min(average, count)], **rule)
    return {**several, "single": mean(singles)}


def mean(tables: Sequence[dict[str, PairsFigure]]) -> dict[str, PairsFigure]:
    """Mean value and mean error of the same figures measured several times on the same people."""
    result = {}
    for name, first in tables[0].items():
        value = float(np.mean([table[name].value for table in tables]))
        error = float(np.mean([table[name].error for table in tables]))
        position = None
        if first.oracle is not None and first.oracle != first.sex_only:
            position = (value - first.sex_only) / (first.oracle - first.sex_only)
        result[name] = replace(first, value=value, error=error, position=position)
    return result


def headline(figures: Figures) -> str:
    """G and U, both directions averaged, of one trial."""
    words = []
    for setting, table in figures.items():
        for letter in "gu":
            value = (table[f"{letter}_v2f"].value + table[f"{letter}_f2v"].value) / 2
            words.append(f"{setting} {letter.upper()} {value:.3f}")
    return ", ".join(words)


def measure(
    data: Path, out: Path, preset: str, seeds: Sequence[int], overrides: Sequence[str] = ()
) -> list[Trial]:
    """Train and judge once per seed; prints a line for each."""
    trials = []
    for seed in seeds:
        folder = out / f"seed{seed}"
        seconds = train(data, folder, preset, seed, overrides)
        trials.append(Trial(seed, seconds, judge(data, folder / "main")))
        print(
            f"seed {seed}: {headline(trials[-1].figures)}; processor seconds {seconds[0]:.0f} (re-weighting) "
            f"+ {seconds[1]:.0f} (main)",
            flush=True,
        )
    return trials


@contextlib.contextmanager
def folder_or_temporary(path: Path | None) -> Iterator[Path]:
    """The given folder, or one that goes when the work is done."""
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table, means over the seeds."""
    parser = argparse.ArgumentParser(prog="population_accuracy", description=__doc__)
    parser.add_argument("--preset", default="quick", choices=["quick", "standard"], help="default quick")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="training seeds (default 1)")
    parser.add_argument("--rho", type=float, help="coupling of voice and face, instead of the preset's")
    parser.add_argument(
        "--data", type=Path, help="population folder, made if it is not there (default temporary)"
    )
    parser.add_argument("--out", type=Path, help="keep the runs here (default temporary)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("override", nargs="*", help="section.key=value, of both configurations")
    options = parser.parse_args(argv)

    from voiceface.files import write_json
    from voiceface.population.write import settings_of, write_population

    with folder_or_temporary(options.out) as out:
        data = options.data or out / "population"
        if not (data / "truth" / "population.json").is_file():
            coupling = {} if options.rho is None else {"rho": options.rho}
            write_population(data, settings_of(options.preset, **coupling))
        trials = measure(data, out, options.preset, options.seeds, options.override)
    settings = trials[0].figures
    table = {setting: mean([trial.figures[setting] for trial in trials]) for setting in settings}
    print(pairs_table(table))
    print(f"mean of {len(trials)} seeds: {headline(table)}")
    if options.json:
        each = [{"seed": t.seed, "seconds": t.seconds, "figures": pairs_json(t.figures)} for t in trials]
        write_json(options.json, {"preset": options.preset, "trials": each, "mean": pairs_json(table)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
