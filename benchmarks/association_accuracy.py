"""Accuracy of association systems on a synthetic population: trained per seed, scored on the same identities.

    python benchmarks/association_accuracy.py --variants seeking_shape archetype_agnostic --seeds 1 2 3
    python benchmarks/association_accuracy.py --variants archetype_agnostic "archetype_agnostic without
    re-gauging" ...

Metrics are means over the seeds with bootstrap intervals over identities, beside the chance level, a
gender-only baseline and the oracle; the difference of the first variant from each other one has its own
interval and p value, from the same bootstrap samples. `--evaluated-on` takes the training identities of
another population
instead: none of them had any part in training or in the choice of settings.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")  # set before the numerical libraries load: seconds of one core

import numpy as np
from voiceface.evaluation.all_pairs import score_matrix
from voiceface.evaluation.all_pairs_comparison import AllPairsComparison, compare_all_pairs
from voiceface.metrics.bootstrap import PairedDifference

if TYPE_CHECKING:
    from voiceface.datasets.corpus import Corpus
    from voiceface.embeddings.table import EmbeddingTable

NUM_AVERAGED = 4
AS_PUBLISHED = (
    "regauging.differentiable=false",
    "regauging.weighting=outer_product",
    "regauging.unweighted_mean=all",
    "equilibrium.hit_counting=never",
    "data.rotation=published",
    "data.second_sample=with_replacement",
    "data.pair_augmentation=shared",
)
MISMATCHED_PAIRS = (
    "data.mismatched_fraction=0.4"  # fraction of training videos with images of another identity
)
NOT_RECALIBRATED = ("loss.recalibration.enabled=false",)
RECALIBRATED_BY_AGREEMENT = (
    "loss.recalibration.agreement=added",
    "loss.recalibration.rule=cdf",
    "loss.recalibration.delta=0.0",
    "loss.recalibration.over=mean",
    "loss.recalibration.centroids=unit",
)
FOP_OBJECTIVES = (
    *("fop", "angular_margin", "xm_align", "identity_space"),
    *("seeking_shape", "archetype_agnostic", "cmpc2"),
)
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "seeking_shape": ("seeking_shape", ()),
    "archetype_agnostic": ("archetype_agnostic", ()),
    "archetype_agnostic without re-gauging": ("archetype_agnostic", ("regauging.enabled=false",)),
    "archetype_agnostic without equilibrium": ("archetype_agnostic", ("equilibrium.enabled=false",)),
    "archetype_agnostic, weights not normalised": ("archetype_agnostic", ("equilibrium.normalise=none",)),
    "archetype_agnostic, circle form": ("archetype_agnostic", ("regauging.form=circle",)),
    "archetype_agnostic as published": ("archetype_agnostic", AS_PUBLISHED),
    "cmpc2": ("cmpc2", ()),
    "cmpc2 without recalibration": ("cmpc2", NOT_RECALIBRATED),
    "cmpc2, instance contrast alone": ("cmpc2", ("loss.prototypes=false", *NOT_RECALIBRATED)),
    "cmpc2 on wrong pairs": ("cmpc2", (MISMATCHED_PAIRS, *RECALIBRATED_BY_AGREEMENT)),
    "cmpc2 on wrong pairs, not recalibrated": ("cmpc2", (MISMATCHED_PAIRS, *NOT_RECALIBRATED)),
    "cmpc2 on wrong pairs, recalibrated as published": ("cmpc2", (MISMATCHED_PAIRS,)),
    "fop": ("fop", ()),
    "fop, linear fusion": ("fop", ("loss.objective=fop", "model.fusion=linear")),
    **{f"fop, {name}": ("fop", (f"loss.objective={name}",)) for name in FOP_OBJECTIVES},
}
"""Name -> system and what differs from the preset's configuration."""


def train_seeking_shape(data: Path, out: Path, preset: str, overrides: Sequence[str]) -> Path:
    """Run the three steps of the method; return the directory of the last run."""
    from seeking_shape.config import SeekingShapeConfig
    from seeking_shape.extract_id_weight import extract_identity_weights
    from seeking_shape.train import InitialWeights, train
    from voiceface.association.data import load_split
    from voiceface.datasets.disclaimers import get_disclaimer
    from voiceface.runtime.config import load_config

    start = None
    for step, name in (("reweight", f"{preset}_reweight"), ("main", preset)):
        config = load_config(name, SeekingShapeConfig, "seeking_shape", overrides)
        corpus = load_split(data, "train")
        train(config, corpus, out / step, initial_weights=start, threads=1, disclaimer=get_disclaimer(data))
        if step == "reweight":
            start = InitialWeights(
                id_weights=extract_identity_weights(out / step, out / "id_weight.safetensors")
            )
    return out / "main"


def train_archetype_agnostic(data: Path, out: Path, preset: str, overrides: Sequence[str]) -> Path:
    """Train one run; return its directory."""
    from archetype_agnostic.config import ArchetypeAgnosticConfig
    from archetype_agnostic.train import train
    from voiceface.association.data import load_split
    from voiceface.datasets.disclaimers import get_disclaimer
    from voiceface.runtime.config import load_config

    config = load_config(preset, ArchetypeAgnosticConfig, "archetype_agnostic", overrides)
    train(config, load_split(data, "train"), out / "main", threads=1, disclaimer=get_disclaimer(data))
    return out / "main"


def train_cmpc2(data: Path, out: Path, preset: str, overrides: Sequence[str]) -> Path:
    """Train one run on the videos of the training identities, without names; return its directory."""
    from cmpc2.config import Cmpc2Config
    from cmpc2.train import train
    from cmpc2.training_data import load_training_data
    from voiceface.runtime.config import load_config

    config = load_config(preset, Cmpc2Config, "cmpc2", overrides)
    found = load_training_data(config, data=data, splits=["train"], progress=False)
    train(config, found.dataset, out / "main", threads=1, disclaimer=found.disclaimer)
    return out / "main"


def train_fop(data: Path, out: Path, preset: str, overrides: Sequence[str]) -> Path:
    """Train one run on features of the frozen encoders, which are computed once; return its directory."""
    from fop.config import FopConfig
    from fop.train import train
    from fop.training_data import load_encoded_data
    from voiceface.runtime.config import load_config

    config = load_config(preset, FopConfig, "fop", overrides)
    found = load_encoded_data(config, data, feature_cache(data))
    began = time.process_time()
    train(
        config,
        found.dataset,
        out / "main",
        validation=found.validation,
        threads=1,
        disclaimer=found.disclaimer,
    )
    print(f"{time.process_time() - began:.1f} processor seconds without features", file=sys.stderr)
    return out / "main"


def feature_cache(data: Path) -> Path:
    """Folder of the features of a data folder, beside it."""
    return data.with_name(f"{data.name}.features")


def embed_split(system: str, model: Path, data: Path, corpus: "Corpus") -> "tuple[EmbeddingTable, ...]":
    """Embed all clips and images of a split; those of fop from features that exist."""
    import importlib

    if system == "fop":
        import fop
        from fop.training_data import encode_training_set

        loaded = fop.load(model)
        features = encode_training_set(corpus, data, loaded.config, cache=feature_cache(data))
        return loaded.embed_features(features)
    from voiceface.association.evaluation import embed_corpus

    package = importlib.import_module(system)
    load = package.load_embedder if system == "cmpc2" else package.load  # whose `load` is the published one
    return embed_corpus(load(model), corpus, workers=1)


TRAINERS = {
    "seeking_shape": train_seeking_shape,
    "archetype_agnostic": train_archetype_agnostic,
    "cmpc2": train_cmpc2,
    "fop": train_fop,
}


def score_system(system: str, model: Path, data: Path, split: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Score matrices of clip k and image k, k = 0 ... 3, one by one, and of the means of all four."""
    from voiceface.association.data import load_split

    corpus = load_split(data, split)
    voices, faces = embed_split(system, model, data, corpus)
    files = [each for person in corpus.records for each in (person.voices, person.faces)]
    count = min(NUM_AVERAGED, *map(len, files))
    voice = np.stack([voices.vectors[voices.row_indices(person.voices[:count])] for person in corpus.records])
    face = np.stack([faces.vectors[faces.row_indices(person.faces[:count])] for person in corpus.records])
    return [score_matrix(voice[:, k], face[:, k]) for k in range(count)], score_matrix(voice, face)


def train_and_score(
    names: Sequence[str],
    data: Path,
    out: Path,
    preset: str,
    seeds: Sequence[int],
    evaluated_on: tuple[Path, str],
    overrides: Sequence[str] = (),
) -> tuple[dict[str, AllPairsComparison], dict[str, list[float]]]:
    """Train every variant once per seed, unless its run is in `out`, and score all on the same identities.

    Returns:
        ("single" and "avg4" -> comparison; variant -> processor seconds of each training, data loading
        included).
    """
    from voiceface.association.data import load_split
    from voiceface.synthetic.ground_truth import read_ground_truth

    single: dict[str, list[np.ndarray]] = {name: [] for name in names}
    several: dict[str, list[np.ndarray]] = {name: [] for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for seed in seeds:
        for name in names:
            system, differs = VARIANTS[name]
            folder = out / name.replace(",", "").replace(" ", "_") / f"seed{seed}"
            began = time.process_time()
            if not (folder / "main" / "model.safetensors").is_file():
                given = [*differs, *overrides, f"training.seed={seed}"]
                TRAINERS[system](data, folder, preset, given)
                seconds[name].append(round(time.process_time() - began, 1))
            alone, together = score_system(system, folder / "main", *evaluated_on)
            single[name] += alone
            several[name].append(together)
            print(f"seed {seed}: {name} {seconds[name][-1:]}", file=sys.stderr, flush=True)
    people = load_split(*evaluated_on).records
    truth = read_ground_truth(evaluated_on[0]).select([person.identity.face_id for person in people])
    found = {
        setting: compare_all_pairs(scores, truth.sex, oracle_scores=truth.oracle_scores, setting=setting)
        for setting, scores in (("single", single), (f"avg{NUM_AVERAGED}", several))
    }
    return found, seconds


def format_table(found: dict[str, AllPairsComparison], seconds: dict[str, list[float]]) -> str:
    """Format same-gender (G) and unrestricted (U) matching, mean of both directions, and the differences."""
    rows = []
    for setting, each in found.items():
        rows.append(f"{setting}, {each.num_identities} people")
        rows.append(f"{'':44}{'G':>22}{'U':>22}{'mAP':>7}   first minus this: G, U (points)")
        for name, known in each.references.items():
            rows.append(f"{name:44}{known['g']:8.3f}{known['u']:22.3f}{known['map']:21.3f}")
        for name, figures in each.systems.items():
            cells = "".join(
                f"{figures[key].value:8.3f} ({figures[key].low:.3f}-{figures[key].high:.3f})"
                for key in ("g", "u")
            )
            gaps = ""
            pair = (next(iter(each.systems)), name)
            if pair in each.differences:
                gaps = ", ".join(format_points(each.differences[pair][key]) for key in ("g", "u"))
            rows.append(f"{name:44}{cells}{figures['map'].value:7.3f}   {gaps}")
    rows += [f"{name}: {spent} processor seconds of training" for name, spent in seconds.items() if spent]
    return "\n".join(rows)


def format_points(gap: PairedDifference) -> str:
    """Format a difference in percentage points with its interval and p value."""
    low, high = 100 * gap.low, 100 * gap.high
    return f"{100 * gap.value:+.1f} ({low:+.1f}...{high:+.1f}, p {gap.p_value:.3f})"


@contextlib.contextmanager
def open_directory(path: Path | None) -> Iterator[Path]:
    """Yield the given directory, or a temporary one."""
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="association_accuracy", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=list(VARIANTS),
        default=["seeking_shape", "archetype_agnostic"],
        metavar="NAME",
        help=f"the first is compared with each other; of: {'; '.join(VARIANTS)}",
    )
    parser.add_argument("--preset", default="quick", choices=["quick", "standard"], help="default quick")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="training seeds (default 1)")
    parser.add_argument(
        "--rho", type=float, help="correlation of voice and face factors, instead of the preset's"
    )
    parser.add_argument(
        "--data", type=Path, help="population directory, written if it is missing (default temporary)"
    )
    parser.add_argument("--split", default="test", help="split of the test identities (default test)")
    parser.add_argument(
        "--evaluated-on", type=Path, help="evaluate on the training identities of this population"
    )
    parser.add_argument("--out", type=Path, help="keep the runs here and resume them (default temporary)")
    parser.add_argument("--json", type=Path, help="also write the metrics to this file")
    parser.add_argument("override", nargs="*", help="section.key=value, of every configuration")
    options = parser.parse_args(argv)

    from voiceface.io.atomic import write_json
    from voiceface.synthetic.layout import build_settings
    from voiceface.synthetic.writer import write_population

    with open_directory(options.out) as out:
        data = options.data or out / "population"
        if not (data / "truth" / "population.json").is_file():
            coupling = {} if options.rho is None else {"rho": options.rho}
            write_population(data, build_settings(options.preset, **coupling))
        evaluated_on = (options.evaluated_on, "train") if options.evaluated_on else (data, options.split)
        comparisons, seconds = train_and_score(
            options.variants, data, out, options.preset, options.seeds, evaluated_on, options.override
        )
    print(format_table(comparisons, seconds))
    if options.json:
        metrics = {setting: each.to_dict() for setting, each in comparisons.items()}
        write_json(options.json, {"preset": options.preset, "seconds": seconds, "metrics": metrics})
    return 0


if __name__ == "__main__":
    sys.exit(main())
