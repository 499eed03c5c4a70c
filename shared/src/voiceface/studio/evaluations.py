"""Evaluations of systems, to look at: their metrics, and the trials that are hardest for them."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voiceface.io.foreign_files import read_json
from voiceface.studio.galleries import Entry
from voiceface.studio.schemas import (
    EvaluatedList,
    EvaluationSummary,
    TrialCandidate,
    TrialPage,
    TrialRecord,
)

if TYPE_CHECKING:
    from voiceface.datasets.corpus import Corpus
    from voiceface.datasets.trials.trial_list import TrialList
    from voiceface.embeddings.table import EmbeddingTable
    from voiceface.evaluation.results import ListResult

__all__ = ["Evaluations", "ResultsFileError", "read_summary"]

RESULTS_FILE, VOICES_FILE, FACES_FILE = "results.json", "voices.npz", "faces.npz"
SHOWN_CANDIDATES = 5
SPLITS = ("test", "val")


class ResultsFileError(ValueError):
    """No results of an evaluation."""


@dataclass(frozen=True)
class _Folder:
    """Folder of one evaluation."""

    path: Path
    name: str

    @cached_property
    def tables(self) -> "dict[str, EmbeddingTable]":
        """Embeddings of voices ("v") and faces ("f").

        Raises:
            FileNotFoundError, EmbeddingError: they are not there, or damaged.
        """
        from voiceface.embeddings.table import EmbeddingTable

        files = {"v": VOICES_FILE, "f": FACES_FILE}
        return {side: EmbeddingTable.load(self.path / name) for side, name in files.items()}


class Evaluations:
    """The evaluations of a server.

    Args:
        folders: with `results.json`, as `SYSTEM test --out` writes it, and the embeddings beside it.
        data: data folder of the evaluations; None: metrics alone.

    Raises:
        ResultsFileError, FileNotFoundError: a folder holds no results.
    """

    def __init__(self, folders: Sequence[Path], data: Path | None) -> None:
        names = [folder.resolve().name for folder in folders]
        unique = names if len(set(names)) == len(names) else [str(folder) for folder in folders]
        self.folders = [_Folder(folder, name) for folder, name in zip(folders, unique)]
        self.data = data
        self.summaries = [read_summary(each.path / RESULTS_FILE, each.name) for each in self.folders]
        self._lock = threading.Lock()
        self._results: dict[tuple[int, str], ListResult] = {}
        self._lists: dict[str, TrialList] = {}

    @cached_property
    def corpus(self) -> "Corpus":
        """Identities of the data folder whose lists were evaluated."""
        from voiceface.association.data import load_split

        if self.data is None:
            raise ResultsFileError("the data folder is not known: start the studio with --data FOLDER, too")
        tables = self.folders[0].tables
        for split in SPLITS:
            try:
                corpus = load_split(self.data, split)
            except (ValueError, OSError):
                continue
            if any(voice in tables["v"] for record in corpus.records for voice in record.voices):
                return corpus
        raise ResultsFileError("the data folder holds none of the evaluated voices: give the right one")

    def trials(
        self,
        name: str,
        remember: Callable[[Entry], None],
        *,
        order: str = "hardest",
        start: int = 0,
        count: int = 20,
    ) -> TrialPage:
        """Trials of a list by the mean of their results over all evaluations.

        Args:
            name: of the list.
            remember: is called with every recording and picture that is named.
            order: "hardest", "easiest", or "disagreement": of the first two evaluations.
            start, count: part of the list.

        Raises:
            ValueError: the list or what belongs to it is not there.
        """
        if not self.folders:
            raise ResultsFileError("no evaluation was given at the start: voiceface serve --results FOLDER")
        with self._lock:
            results = [self._evaluate(index, name) for index in range(len(self.folders))]
            used = results[0].used_trials
            if any(not np.array_equal(used, other.used_trials) for other in results[1:]):
                raise ResultsFileError(f"{name}: the evaluations used different trials")
            values = np.stack([result.trial_values for result in results])
            margins = np.stack([self._margins(index, results[index]) for index in range(len(results))])
        keys = {
            "hardest": (margins.mean(0), values.mean(0)),
            "easiest": (-margins.mean(0), -values.mean(0)),
            "disagreement": (-np.abs(margins[0] - margins[-1]), -np.abs(values[0] - values[-1])),
        }
        if order not in keys:
            raise ValueError(f"order {order[:40]!r}: expected one of {', '.join(keys)}")
        rows = np.lexsort(keys[order])[start : start + count]
        records = [self._describe(results, int(row), values[:, row], remember) for row in rows]
        names = [each.name for each in self.folders]
        return TrialPage(name=name, evaluations=names, total=len(used), trials=records)

    def _evaluate(self, index: int, name: str) -> "ListResult":
        """Result of one list, computed again from the stored embeddings."""
        from voiceface.evaluation.evaluator import evaluate
        from voiceface.evaluation.protocol import Protocol

        key = (index, name)
        if key not in self._results:
            tables = self.folders[index].tables
            protocol = Protocol("studio", (self._open_list(name),), replicates=0)
            found = evaluate(protocol, tables["v"], tables["f"], self.corpus, on_missing="skip")
            self._results[key] = found.lists[0]
        return self._results[key]

    def _open_list(self, name: str) -> "TrialList":
        from voiceface.association.trial_lists import open_trial_lists

        if name not in {each.name for summary in self.summaries for each in summary.lists}:
            raise ResultsFileError(f"no list {name[:80]!r} in these evaluations")
        if name not in self._lists:
            corpus = self.corpus
            assert self.data is not None
            lists, missing = open_trial_lists(self.data, [name], corpus, on_missing="skip")
            if not lists:
                reasons = "; ".join(map(str, missing)) or "it is not in the data folder"
                raise ResultsFileError(f"{name}: {reasons}")
            self._lists[name] = lists[0]
        return self._lists[name]

    def _sides(self, index: int, trial_list: "TrialList") -> "tuple[EmbeddingTable, EmbeddingTable]":
        tables = self.folders[index].tables
        return (tables["v"], tables["f"]) if trial_list.direction == "v2f" else (tables["f"], tables["v"])

    def _margins(self, index: int, result: "ListResult") -> NDArray[np.float64]:
        """How far the target is ahead of the best other candidate, (L,): finer than whether it is."""
        trial_list = result.trial_list
        if trial_list.kind != "match" or trial_list.probe_index is None or trial_list.gallery_index is None:
            return np.asarray(result.trial_values, float)
        probes, gallery = self._sides(index, trial_list)
        used = result.used_trials
        if not (_has_all(probes, trial_list.probes) and _has_all(gallery, trial_list.gallery)):
            return np.asarray(result.trial_values, float)
        left = probes.take(trial_list.probes).vectors[trial_list.probe_index[used]]
        right = _unit(gallery.take(trial_list.gallery).vectors)[trial_list.gallery_index[used]]
        scores = np.einsum("ld,lnd->ln", _unit(left), right)
        return scores[:, 0] - scores[:, 1:].max(axis=1)

    def _describe(
        self,
        results: "Sequence[ListResult]",
        row: int,
        values: NDArray[Any],
        remember: Callable[[Entry], None],
    ) -> TrialRecord:
        """One trial with its recordings and pictures."""
        result = results[0]
        trial_list = result.trial_list
        trial = int(result.used_trials[row])
        probe_kind, kind = ("voice", "face") if trial_list.direction == "v2f" else ("face", "voice")
        if trial_list.probe_index is None or trial_list.gallery_index is None:
            probe = trial_list.probes[trial]
            own = result.identity_names[result.trial_identities[row]]
            _, gallery = self._sides(0, trial_list)
            names = [item for item in trial_list.gallery if item in gallery]
            order = np.argsort(-self._scores(0, trial_list, probe, names), kind="stable")[:SHOWN_CANDIDATES]
            candidates = [names[place] for place in order]
            right = [self._identity(item, kind) == own for item in candidates]
        else:
            probe = trial_list.probes[trial_list.probe_index[trial]]
            candidates = [trial_list.gallery[place] for place in trial_list.gallery_index[trial]]
            right = [place == 0 for place in range(len(candidates))]
            if trial_list.kind == "verify":
                own = self._identity(probe, probe_kind)
                right = [self._identity(item, kind) == own for item in candidates]
        scores = [self._scores(index, trial_list, probe, candidates) for index in range(len(results))]
        return TrialRecord(
            number=trial,
            results=[round(float(value), 4) for value in values],
            probe=self._media(probe, probe_kind, remember),
            probe_kind=probe_kind,  # type: ignore[arg-type]
            identity=self._identity(probe, probe_kind),
            candidates=[
                TrialCandidate(
                    id=self._media(item, kind, remember),
                    identity=self._identity(item, kind),
                    is_right=right[place],
                    scores=[round(float(each[place]), 4) for each in scores],
                )
                for place, item in enumerate(candidates)
            ],
        )

    def _scores(self, index: int, trial_list: "TrialList", probe: str, items: list[str]) -> NDArray[Any]:
        """Cosines of a probe with some items, (N,)."""
        probes, gallery = self._sides(index, trial_list)
        vectors = _unit(gallery.take(items).vectors)
        result: NDArray[Any] = vectors @ _unit(probes.take([probe]).vectors)[0]
        return result

    @cached_property
    def _identities(self) -> dict[tuple[str, str], str]:
        found: dict[tuple[str, str], str] = {}
        for record in self.corpus.records:
            found |= {("voice", item): record.identity.name for item in record.voices}
            found |= {("face", item): record.identity.name for item in record.faces}
        return found

    def _identity(self, item: str, kind: str) -> str:
        return self._identities.get((kind, item), "")

    def _media(self, item: str, kind: str, remember: Callable[[Entry], None]) -> str:
        """Opaque name of a file of the data folder, which can then be asked for."""
        name = f"data\0{kind}\0{item}".encode("utf-8", "surrogateescape")
        identifier = hashlib.sha256(name).hexdigest()[:20]
        path = self.corpus.voice_path(item) if kind == "voice" else self.corpus.face_path(item)
        remember(Entry(identifier, Path(path), kind, item, identity=self._identity(item, kind) or "data"))
        return identifier


def read_summary(path: Path, name: str) -> EvaluationSummary:
    """Metrics of an evaluation.

    Raises:
        FileNotFoundError: no such file.
        ResultsFileError: it is something else.
    """
    values = read_json(path, ResultsFileError, "results of an evaluation")
    try:
        if not str(values.get("format", "")).startswith("voiceface-results-"):
            raise ValueError("it states no format voiceface-results")
        return EvaluationSummary(
            name=name,
            protocol=str(values.get("protocol", "")),
            lists=[EvaluatedList.from_values(each) for each in values["lists"]],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultsFileError(
            f"{path}: no results of `SYSTEM test` or `voiceface evaluate` ({error})"
        ) from None


def _has_all(table: "EmbeddingTable", items: list[str]) -> bool:
    return bool((table.row_indices(items, "mark") >= 0).all())


def _unit(vectors: NDArray[Any]) -> NDArray[np.float64]:
    rows = np.asarray(vectors, np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
