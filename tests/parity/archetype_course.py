"""Parity of a whole run of archetype_agnostic's training loop, and of its evaluation figures."""

import io
import re
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from archetype_agnostic import train as training
from archetype_agnostic.config import ArchetypeAgnosticConfig
from archetype_agnostic.model_config import FaceConfig, ModelConfig, VoiceConfig
from parity.archetype_experiment import build_config
from parity.case import Array, Case, ComparisonLog
from parity.seeking_shape_metrics import compute_metric, write_lists
from parity.tolerance_rules import ToleranceRule
from PIL import Image
from torch import Tensor
from voiceface.association.embedder import Embedder, encode_grouped
from voiceface.association.trainer import Trainer
from voiceface.audio.loading import write_wav
from voiceface.checkpoints.native import load_model
from voiceface.datasets.corpus import Corpus, IdentityRecord
from voiceface.datasets.identities import Identity
from voiceface.datasets.layouts import is_voice_file
from voiceface.datasets.trials.reading import read_trial_list
from voiceface.datasets.trials.trial_list import TrialList
from voiceface.metrics.matching import matching_accuracy, matching_correct, pair_scores
from voiceface.metrics.retrieval import compute_retrieval
from voiceface.training.run import unwrap

TINY = ModelConfig(
    face=FaceConfig(blocks=(1, 1, 1, 1), widths=(2, 3, 4, 5), image_size=16, stem_stride=2, hidden_dim=3),
    voice=VoiceConfig(blocks=(1, 1, 1, 1), widths=(2, 3, 4, 5), hidden_dim=3, n_mels=8),
    embedding_dim=4,
)

MAX_TRIALS = 20_000  # of a list, at most


@dataclass
class StandInDataset:
    """Stands for synthetic training identities; their samples are empty."""

    count: int

    def __len__(self) -> int:
        return self.count

    @property
    def identities(self) -> Any:
        return SimpleNamespace(face_names=[f"person {number}" for number in range(self.count)])

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        return {"label": index}


@dataclass
class ScriptedValidation:
    """Stands for a validation whose k-th list has as large a share of right answers as the k-th accuracy.

    The model that is judged stays as it is: of two pictures it puts one nearer to the only clip.

    Attributes:
        corpus: one person with a clip and two pictures.
        accuracies: to be found, in this order.
        near_and_far: the nearer picture, the other one.
        step: the iteration that comes next.
        validated_steps: iterations before whose step the model was judged.
    """

    corpus: Corpus
    accuracies: Sequence[float]
    on_error: str = "error"
    near_and_far: tuple[str, str] | None = None
    step: int = 0
    validated_steps: list[int] = field(default_factory=list)

    @property
    def trial_list(self) -> TrialList:
        """The list for this iteration."""
        if not self.validated_steps or self.validated_steps[-1] != self.step:
            self.validated_steps.append(self.step)
        share = as_fractions(self.accuracies)[len(self.validated_steps) - 1]
        assert self.near_and_far is not None
        near, far = self.near_and_far
        clip = self.corpus.voices[0]
        rows = [[clip, near, far]] * share.numerator
        rows += [[clip, far, near]] * (share.denominator - share.numerator)
        with tempfile.TemporaryDirectory() as folder:
            return read_trial_list(write_lists(Path(folder), {"match_v2f_2_val": rows})["match_v2f_2_val"])

    def find_nearer_image(self, model: Any, config: ArchetypeAgnosticConfig) -> None:
        """Find out which picture the model puts nearer to the clip."""
        judge, corpus = Embedder(model, config), self.corpus
        sides = []
        for modality, items in (("v", corpus.voices[:1]), ("f", corpus.faces)):
            load, encode, batch_size, get_path = judge.modality_io(modality, corpus)
            out = torch.empty(len(items), judge.embedding_dim)
            sides.append(encode_grouped([get_path(item) for item in items], load, encode, batch_size, out))
        first, second = judge.score(*sides)[0]
        one, other = corpus.faces
        self.near_and_far = (one, other) if first > second else (other, one)
        model.train()


def as_fractions(accuracies: Sequence[float]) -> Sequence[Fraction]:
    """Accuracies as fractions; where these are too fine, others in the same order: nothing else counts."""
    shares = [Fraction(str(accuracy)) for accuracy in accuracies]
    if max(share.denominator for share in shares) <= MAX_TRIALS:
        return shares
    ranks = {share: rank for rank, share in enumerate(sorted({Fraction(0), *shares}))}
    return [Fraction(ranks[share], len(ranks)) for share in shares]


@dataclass
class RunTrace:
    """What happened in a run.

    Attributes:
        num_steps: completed iterations.
        flush_steps: iterations before whose step the counters had been cleared.
        lr_changes: [first iteration, learning rate].
        validation_steps: iterations before whose step the model was judged.
        saves: [kind of file, completed iterations] in the order written, "ckp" or "best".
    """

    num_steps: int = 0
    flush_steps: list[int] = field(default_factory=list)
    lr_changes: list[list[float]] = field(default_factory=list)
    validation_steps: list[int] = field(default_factory=list)
    saves: list[list[Any]] = field(default_factory=list)


def trace_run(config: ArchetypeAgnosticConfig, per_epoch: int, accuracies: Sequence[float]) -> RunTrace:
    """Our training loop itself: everything but the optimiser step and what the model is judged by is real.

    Args:
        config: the experiment; its networks and batches are replaced by tiny ones.
        per_epoch: batches of an epoch.
        accuracies: of the validations.
    """
    course, seen = RunTrace(), {}
    changed = [0]

    def look_for_files(folder: Path) -> None:
        if not folder.is_dir() or changed[0] == (now := folder.stat().st_mtime_ns):
            return
        changed[0] = now
        found = {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
        new = sorted((path for path in found if seen.get(path) != found[path]), key=lambda path: found[path])
        for path in new:
            kind = "best" if path.stem == "best" else "ckp"
            course.saves.append([kind, load_model(path).extra["step"]])
        seen.update(found)

    def step_only(
        config: Any, run: Any, network: Any, batch: Any, optimiser: Any, step: int
    ) -> dict[str, float]:
        model = unwrap(network)
        if not step:
            judged.find_nearer_image(model, config)
        if step and not model.eqm.compare_sum.any():
            course.flush_steps.append(step)
        model.eqm.compare_sum += 1
        rate = optimiser.param_groups[0]["lr"]
        if not course.lr_changes or course.lr_changes[-1][1] != rate:
            course.lr_changes.append([step, rate])
        look_for_files(run.out / "checkpoints")
        course.num_steps, judged.step = course.num_steps + 1, step + 1
        return {"total_loss": 0.0}

    config = config.model_copy(
        update={
            "model": TINY,
            "training": config.training.model_copy(update={"num_workers": 0, "batch_size": 2}),
        }
    )
    with (
        tempfile.TemporaryDirectory() as name,
        mock.patch.object(training, "train_step", step_only),
        # It measures the final model after the last step, which is no part of the published course.
        mock.patch.object(Trainer, "record_impostor_scores", lambda trainer: None),
    ):
        folder = Path(name)
        judged = ScriptedValidation(_one_identity_corpus(folder), accuracies)
        stand_ins: Any = (StandInDataset(2 * per_epoch), judged)
        with redirect_stderr(io.StringIO()):  # the bar of steps
            training.train(config, stand_ins[0], folder / "run", validation=stand_ins[1])
        look_for_files(folder / "run" / "checkpoints")
        course.validation_steps = judged.validated_steps
    return course


def schedule(case: Case, log: ComparisonLog) -> None:
    """The published run to its end by patience, and ours to max_iter."""
    config, expected = case.config, case.meta["results"]
    published = build_config(case)
    per_epoch = int(config["batches_per_epoch"])
    accuracies = [accuracy for _, accuracy in expected["validation"]]
    limit = published.training.max_steps
    ours = trace_run(_with_stopping_rule(published, "patience"), per_epoch, accuracies)
    log.compare_equal("flush", ours.flush_steps, expected["flush"])
    _compare_rates(case, log, "lr", ours.lr_changes, expected["lr"])
    log.compare_equal("validation", ours.validation_steps, [step for step, _ in expected["validation"]])
    log.compare_equal("stopped_after_iterations", ours.num_steps, expected["stopped_after_iterations"])
    names = {"ckp": config["training"].get("weights_filename", "ckp_epoch_") + "{:06d}.pth.tar"}
    names["best"] = config["validation"].get("optimal_weights_filename", "model_best_epoch_") + "{}.pth.tar"
    saves = [[names[kind].format(step), step] for kind, step in ours.saves]
    end = [names["ckp"].format(ours.num_steps), ours.num_steps]
    if end not in expected["save"]:
        log.compare_equal("our save at the end", saves[-1:], [end])
        saves = saves[:-1]
    log.compare_equal("save", saves, expected["save"])
    rule = type(published)(name="default", model=published.model).stopping.rule
    ours = trace_run(_with_stopping_rule(published, rule), per_epoch, accuracies)
    log.compare_equal("default: stopped after max_iter iterations", ours.num_steps, limit)
    log.compare_equal(
        "default: flush", ours.flush_steps, [step for step in expected["flush"] if step < limit]
    )
    early = [step for step, _ in expected["validation"] if step <= limit]
    log.compare_equal("default: validation", ours.validation_steps, early)
    _compare_rates(
        case, log, "default: lr", ours.lr_changes, [row for row in expected["lr"] if row[0] < limit]
    )


def _with_stopping_rule(config: ArchetypeAgnosticConfig, rule: Any) -> ArchetypeAgnosticConfig:
    """The same experiment with this end."""
    return config.model_copy(update={"stopping": config.stopping.model_copy(update={"rule": rule})})


def _compare_rates(
    case: Case,
    log: ComparisonLog,
    name: str,
    ours: Sequence[Sequence[float]],
    theirs: Sequence[Sequence[float]],
) -> None:
    """Iterations exactly, rates by the case's rule."""
    log.compare_equal(f"{name}: iterations", [row[0] for row in ours], [row[0] for row in theirs])
    if len(ours) == len(theirs):
        rates = [[row[1] for row in rows] for rows in (ours, theirs)]
        log.compare_by_rule(f"{name}: rates", *rates, case.rule("lr", default=ToleranceRule(rtol=1e-12)))


def _one_identity_corpus(folder: Path) -> Corpus:
    """Somebody with one clip and two pictures, on the disk."""
    rng = np.random.default_rng(0)
    write_wav(folder / "clip.wav", rng.integers(-9000, 9000, 16000).astype(np.int16))
    for name in ("one.png", "two.png"):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / name)
    identity = Identity("somebody", "somebody", "", "", "")
    return Corpus((IdentityRecord(identity, 0, ("clip.wav",), ("one.png", "two.png")),), folder, folder)


def metrics(case: Case, log: ComparisonLog) -> None:
    """Figures on stored features: lists, average precisions, validation triplets."""
    config, meta = case.config, case.meta
    rows = {name: index for index, name in enumerate(config["names"])}
    table, identity = case.tensor("feature"), case.arrays["identity"]
    known = ToleranceRule(atol=1e-6)

    def features(items: Sequence[str]) -> Tensor:
        return table[[rows[item] for item in items]]

    def owners(items: list[str]) -> Array:
        return identity[[rows[item] for item in items]]

    with tempfile.TemporaryDirectory() as folder:
        named = {_add_direction(name, lines): name for name, lines in config["lists"].items()}
        lists = {full: config["lists"][name] for full, name in named.items()}
        for full, path in write_lists(Path(folder), lists).items():
            name, found = named[full], read_trial_list(path)
            figure, detail = compute_metric(found, features, owners)
            if found.kind == "retrieval":  # published: 0 where nothing is relevant; ours leaves that out
                detail = detail.nan_to_num()
                figure = float(detail.mean())
            log.compare_by_rule(
                name, figure, meta["results"][name], case.rule("results", name, default=known)
            )
            if f"ap_per_query_{name}" in case.arrays:
                case.compare(log, f"ap_per_query_{name}", detail, default=known)
    for index, example in enumerate(meta.get("ap_examples", [])):
        ours = average_precision(example["ranked_relevance"])
        rule = case.rule("ap_examples", default=known)
        log.compare_by_rule(f"ap_examples {index}", ours, example["ap"], rule)
    if "triplet_anchor" in case.arrays:
        _compare_triplets(case, log, known)


def _add_direction(name: str, lines: Sequence[Sequence[str]]) -> str:
    """A list name that says who asks, so that its kind can be told by it."""
    if "v2f" in name or "f2v" in name:
        return name
    kind, _, rest = name.partition("_")
    return f"{kind}_{'v2f' if is_voice_file(lines[0][0]) else 'f2v'}_{rest or 'test'}"


def _compare_triplets(case: Case, log: ComparisonLog, known: ToleranceRule) -> None:
    """Validation: anchors with their right and wrong candidates."""
    anchor, right, wrong = (case.tensor(f"triplet_{name}") for name in ("anchor", "pos", "neg"))
    row = torch.arange(len(anchor))
    scores = pair_scores(anchor, torch.cat([right, wrong]), row, torch.stack([row, row + len(row)], 1))
    ours = {"dist_pos": scores[:, 0], "dist_neg": scores[:, 1], "pred": matching_correct(scores, "strict")}
    for name, value in ours.items():
        if f"triplet_{name}" in case.arrays:
            case.compare(log, f"triplet_{name}", value, default=known)
    if "triplet_accuracy" in case.meta:
        stated = re.search(r"count \+ ([\d.e-]+\d)", str(case.meta.get("notes")))
        more = float(stated[1]) if stated else 0.0
        accuracy = float(matching_accuracy(scores, "strict")) * len(row) / (len(row) + more)
        rule = case.rule("triplet_accuracy", default=known)
        log.compare_by_rule("triplet_accuracy", accuracy, case.meta["triplet_accuracy"], rule)


def average_precision(relevance: Sequence[int]) -> float:
    """Average precision of a query whose gallery falls off in similarity in the given order; 0 without a hit.

    A second query has a hit for certain: figures over queries without any are refused.
    """
    count = len(relevance)
    angle = torch.linspace(0.1, 1.5, count + 1, dtype=torch.float64)
    gallery = torch.stack([angle.cos(), angle.sin()], dim=1)
    queries = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    found = compute_retrieval(
        queries, gallery, torch.tensor([1, 2]), torch.tensor([*relevance, 2]), tie_breaking="first"
    )
    return float(found.average_precision[0].nan_to_num())
