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
from archetype_agnostic.model import FaceConfig, ModelConfig, VoiceConfig
from parity.archetype_experiment import experiment
from parity.case import Array, Book, Case
from parity.figures import figure_of, write_lists
from parity.rules import Rule
from PIL import Image
from torch import Tensor
from voiceface.association.embedder import Embedder
from voiceface.audio import loading as audio
from voiceface.checkpoints.native import load_model
from voiceface.datasets.corpus import Corpus, Person
from voiceface.datasets.identities import Identity
from voiceface.datasets.layouts import is_voice
from voiceface.datasets.trials.reading import read_list
from voiceface.datasets.trials.trial_list import EvaluationList
from voiceface.metrics.matching import matching_accuracy, matching_hits, pair_scores
from voiceface.metrics.retrieval import retrieval
from voiceface.training.run import unwrap

TINY = ModelConfig(
    face=FaceConfig(blocks=(1, 1, 1, 1), widths=(2, 3, 4, 5), side=16, stem_stride=2, hidden=3),
    voice=VoiceConfig(blocks=(1, 1, 1, 1), widths=(2, 3, 4, 5), hidden=3, n_mels=8),
    embedding=4,
)

LINES = 20_000  # of a list, at most


@dataclass
class People:
    """Stands for invented training people; their draws are empty."""

    count: int

    def __len__(self) -> int:
        return self.count

    @property
    def people(self) -> Any:
        return SimpleNamespace(names=[f"person {number}" for number in range(self.count)])

    def draw(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        return {"label": index}


@dataclass
class Judgements:
    """Stands for a validation whose k-th list has as large a share of right answers as the k-th accuracy.

    The model that is judged stays as it is: of two pictures it puts one nearer to the only clip.

    Attributes:
        corpus: one person with a clip and two pictures.
        accuracies: to be found, in this order.
        pictures: the nearer picture, the other one.
        step: the iteration that comes next.
        at: iterations before whose step the model was judged.
    """

    corpus: Corpus
    accuracies: Sequence[float]
    on_error: str = "error"
    pictures: tuple[str, str] | None = None
    step: int = 0
    at: list[int] = field(default_factory=list)

    @property
    def list(self) -> EvaluationList:
        """The list for this iteration."""
        if not self.at or self.at[-1] != self.step:
            self.at.append(self.step)
        share = as_shares(self.accuracies)[len(self.at) - 1]
        assert self.pictures is not None
        near, far = self.pictures
        clip = self.corpus.voices[0]
        rows = [[clip, near, far]] * share.numerator
        rows += [[clip, far, near]] * (share.denominator - share.numerator)
        with tempfile.TemporaryDirectory() as folder:
            return read_list(write_lists(Path(folder), {"match_v2f_2_val": rows})["match_v2f_2_val"])

    def look(self, model: Any, config: ArchetypeAgnosticConfig) -> None:
        """Find out which picture the model puts nearer to the clip."""
        judge, corpus = Embedder(model, config), self.corpus
        voice = judge.embed_voices(corpus.voice_path(corpus.voices[0]))
        first, second = judge.score(voice, judge.embed_faces([corpus.face_path(i) for i in corpus.faces]))[0]
        one, other = corpus.faces
        self.pictures = (one, other) if first > second else (other, one)
        model.train()


def as_shares(accuracies: Sequence[float]) -> Sequence[Fraction]:
    """Accuracies as fractions; where these are too fine, others in the same order: nothing else counts."""
    shares = [Fraction(str(accuracy)) for accuracy in accuracies]
    if max(share.denominator for share in shares) <= LINES:
        return shares
    ranks = {share: rank for rank, share in enumerate(sorted({Fraction(0), *shares}))}
    return [Fraction(ranks[share], len(ranks)) for share in shares]


@dataclass
class Course:
    """What happened in a run.

    Attributes:
        steps: completed iterations.
        flush: iterations before whose step the counters had been cleared.
        lr: [first iteration, learning rate].
        validation: iterations before whose step the model was judged.
        save: [kind of file, completed iterations] in the order written, "ckp" or "best".
    """

    steps: int = 0
    flush: list[int] = field(default_factory=list)
    lr: list[list[float]] = field(default_factory=list)
    validation: list[int] = field(default_factory=list)
    save: list[list[Any]] = field(default_factory=list)


def course_of(config: ArchetypeAgnosticConfig, per_epoch: int, accuracies: Sequence[float]) -> Course:
    """Our training loop itself: everything but the optimiser step and what the model is judged by is real.

    Args:
        config: the experiment; its networks and batches are replaced by tiny ones.
        per_epoch: batches of an epoch.
        accuracies: of the validations.
    """
    course, seen = Course(), {}
    changed = [0]

    def look_for_files(folder: Path) -> None:
        if not folder.is_dir() or changed[0] == (now := folder.stat().st_mtime_ns):
            return
        changed[0] = now
        found = {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
        new = sorted((path for path in found if seen.get(path) != found[path]), key=lambda path: found[path])
        for path in new:
            kind = "best" if path.stem == "best" else "ckp"
            course.save.append([kind, load_model(path).extra["step"]])
        seen.update(found)

    def step_only(
        config: Any, run: Any, network: Any, batch: Any, optimiser: Any, step: int
    ) -> dict[str, float]:
        model = unwrap(network)
        if not step:
            judged.look(model, config)
        if step and not model.eqm.compare_sum.any():
            course.flush.append(step)
        model.eqm.compare_sum += 1
        rate = optimiser.param_groups[0]["lr"]
        if not course.lr or course.lr[-1][1] != rate:
            course.lr.append([step, rate])
        look_for_files(run.out / "checkpoints")
        course.steps, judged.step = course.steps + 1, step + 1
        return {"total_loss": 0.0}

    config = config.model_copy(
        update={
            "model": TINY,
            "training": config.training.model_copy(update={"workers": 0, "batch_size": 2}),
        }
    )
    with tempfile.TemporaryDirectory() as name, mock.patch.object(training, "train_step", step_only):
        folder = Path(name)
        judged = Judgements(_one_person(folder), accuracies)
        stand_ins: Any = (People(2 * per_epoch), judged)
        with redirect_stderr(io.StringIO()):  # the bar of steps
            training.train(config, stand_ins[0], folder / "run", validation=stand_ins[1])
        look_for_files(folder / "run" / "checkpoints")
        course.validation = judged.at
    return course


def schedule(case: Case, book: Book) -> None:
    """The published run to its end by patience, and ours to max_iter."""
    config, expected = case.config, case.meta["results"]
    published = experiment(case)
    per_epoch = int(config["batches_per_epoch"])
    accuracies = [accuracy for _, accuracy in expected["validation"]]
    limit = published.training.max_iter
    ours = course_of(_stopping(published, "patience"), per_epoch, accuracies)
    book.equal("flush", ours.flush, expected["flush"])
    _judge_rates(case, book, "lr", ours.lr, expected["lr"])
    book.equal("validation", ours.validation, [step for step, _ in expected["validation"]])
    book.equal("stopped_after_iterations", ours.steps, expected["stopped_after_iterations"])
    names = {"ckp": config["training"].get("weights_filename", "ckp_epoch_") + "{:06d}.pth.tar"}
    names["best"] = config["validation"].get("optimal_weights_filename", "model_best_epoch_") + "{}.pth.tar"
    saves = [[names[kind].format(step), step] for kind, step in ours.save]
    end = [names["ckp"].format(ours.steps), ours.steps]
    if end not in expected["save"]:
        book.equal("our save at the end", saves[-1:], [end])
        saves = saves[:-1]
    book.equal("save", saves, expected["save"])
    rule = type(published)(name="default", model=published.model).stopping.rule
    ours = course_of(_stopping(published, rule), per_epoch, accuracies)
    book.equal("default: stopped after max_iter iterations", ours.steps, limit)
    book.equal("default: flush", ours.flush, [step for step in expected["flush"] if step < limit])
    early = [step for step, _ in expected["validation"] if step <= limit]
    book.equal("default: validation", ours.validation, early)
    _judge_rates(case, book, "default: lr", ours.lr, [row for row in expected["lr"] if row[0] < limit])


def _stopping(config: ArchetypeAgnosticConfig, rule: Any) -> ArchetypeAgnosticConfig:
    """The same experiment with this end."""
    return config.model_copy(update={"stopping": config.stopping.model_copy(update={"rule": rule})})


def _judge_rates(
    case: Case, book: Book, name: str, ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]
) -> None:
    """Iterations exactly, rates by the case's rule."""
    book.equal(f"{name}: iterations", [row[0] for row in ours], [row[0] for row in theirs])
    if len(ours) == len(theirs):
        rates = [[row[1] for row in rows] for rows in (ours, theirs)]
        book.within(f"{name}: rates", *rates, case.rule("lr", otherwise=Rule(rtol=1e-12)))


def _one_person(folder: Path) -> Corpus:
    """Somebody with one clip and two pictures, on the disk."""
    rng = np.random.default_rng(0)
    audio.write_wav(folder / "clip.wav", rng.integers(-9000, 9000, 16000).astype(np.int16))
    for name in ("one.png", "two.png"):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / name)
    identity = Identity("somebody", "somebody", "", "", "")
    return Corpus((Person(identity, 0, ("clip.wav",), ("one.png", "two.png")),), folder, folder)


def metrics(case: Case, book: Book) -> None:
    """Figures on stored features: lists, average precisions, validation triplets."""
    config, meta = case.config, case.meta
    rows = {name: index for index, name in enumerate(config["names"])}
    table, identity = case.tensor("feature"), case.arrays["identity"]
    known = Rule(atol=1e-6)

    def features(items: Sequence[str]) -> Tensor:
        return table[[rows[item] for item in items]]

    def owners(items: list[str]) -> Array:
        return identity[[rows[item] for item in items]]

    with tempfile.TemporaryDirectory() as folder:
        named = {_with_direction(name, lines): name for name, lines in config["lists"].items()}
        lists = {full: config["lists"][name] for full, name in named.items()}
        for full, path in write_lists(Path(folder), lists).items():
            name, found = named[full], read_list(path)
            figure, detail = figure_of(found, features, owners)
            if found.kind == "retrieval":  # published: 0 where nothing is relevant; ours leaves that out
                detail = detail.nan_to_num()
                figure = float(detail.mean())
            book.within(name, figure, meta["results"][name], case.rule("results", name, otherwise=known))
            if f"ap_per_query_{name}" in case.arrays:
                case.judge(book, f"ap_per_query_{name}", detail, otherwise=known)
    for index, example in enumerate(meta.get("ap_examples", [])):
        ours = ranked_precision(example["ranked_relevance"])
        rule = case.rule("ap_examples", otherwise=known)
        book.within(f"ap_examples {index}", ours, example["ap"], rule)
    if "triplet_anchor" in case.arrays:
        _triplets(case, book, known)


def _with_direction(name: str, lines: Sequence[Sequence[str]]) -> str:
    """A list name that says who asks, so that its kind can be told by it."""
    if "v2f" in name or "f2v" in name:
        return name
    kind, _, rest = name.partition("_")
    return f"{kind}_{'v2f' if is_voice(lines[0][0]) else 'f2v'}_{rest or 'test'}"


def _triplets(case: Case, book: Book, known: Rule) -> None:
    """Validation: anchors with their right and wrong candidates."""
    anchor, right, wrong = (case.tensor(f"triplet_{name}") for name in ("anchor", "pos", "neg"))
    row = torch.arange(len(anchor))
    scores = pair_scores(anchor, torch.cat([right, wrong]), row, torch.stack([row, row + len(row)], 1))
    ours = {"dist_pos": scores[:, 0], "dist_neg": scores[:, 1], "pred": matching_hits(scores, "strict")}
    for name, value in ours.items():
        if f"triplet_{name}" in case.arrays:
            case.judge(book, f"triplet_{name}", value, otherwise=known)
    if "triplet_accuracy" in case.meta:
        stated = re.search(r"count \+ ([\d.e-]+\d)", str(case.meta.get("notes")))
        more = float(stated[1]) if stated else 0.0
        accuracy = float(matching_accuracy(scores, "strict")) * len(row) / (len(row) + more)
        rule = case.rule("triplet_accuracy", otherwise=known)
        book.within("triplet_accuracy", accuracy, case.meta["triplet_accuracy"], rule)


def ranked_precision(relevance: Sequence[int]) -> float:
    """Average precision of a query whose gallery falls off in similarity in the given order; 0 without a hit.

    A second query has a hit for certain: figures over queries without any are refused.
    """
    count = len(relevance)
    angle = torch.linspace(0.1, 1.5, count + 1, dtype=torch.float64)
    gallery = torch.stack([angle.cos(), angle.sin()], dim=1)
    queries = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    found = retrieval(queries, gallery, torch.tensor([1, 2]), torch.tensor([*relevance, 2]), ties="published")
    return float(found.average_precision[0].nan_to_num())
