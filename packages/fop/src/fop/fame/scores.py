"""Scores of the FAME protocol: four equal error rates, and their mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from voiceface.datasets.mavceleb.layout import LANGUAGES
from voiceface.datasets.mavceleb.lists import PairList

from fop.fame.submissions import Submission

__all__ = ["FameResult", "FameScores", "distance_eer", "evaluate_submission"]


@dataclass(frozen=True)
class FameResult:
    """Figures of one pair of training and test language.

    Attributes:
        train: language of the training.
        test: language of the test.
        eer: equal error rate, 0...1; 0.5 is chance.
        auc: area under the ROC curve, 0...1; 0.5 is chance.
        pairs: pairs of the test list.
        matching: of these, pairs of one person.
    """

    train: str
    test: str
    eer: float
    auc: float
    pairs: int
    matching: int

    @property
    def heard(self) -> bool:
        """Whether the test is in the language of the training."""
        return self.train == self.test


@dataclass(frozen=True)
class FameScores:
    """Figures of one version, at most four, in the order English, other; heard before unheard.

    Attributes:
        version: such as "v1".
        results: of the pairs of languages that were scored.
    """

    version: str
    results: tuple[FameResult, ...]

    @property
    def complete(self) -> bool:
        """Whether all four pairs of languages are there."""
        wanted = {(train, test) for train in LANGUAGES[self.version] for test in LANGUAGES[self.version]}
        return {(each.train, each.test) for each in self.results} == wanted

    @property
    def overall(self) -> float | None:
        """Mean of the four equal error rates, 0...1, the score of the challenge; None if one is missing."""
        return float(np.mean([each.eer for each in self.results])) if self.complete else None

    def mean(self, *, heard: bool) -> float | None:
        """Mean equal error rate of the heard or of the unheard pairs, 0...1; None without any."""
        rates = [each.eer for each in self.results if each.heard == heard]
        return float(np.mean(rates)) if rates else None

    def format(self) -> str:
        """Format the figures as a table, in per cent."""
        lines = [f"{'trained on':<12}{'tested on':<12}{'':<9}{'EER %':>7}{'AUC %':>8}{'pairs':>8}"]
        for each in self.results:
            kind = "heard" if each.heard else "unheard"
            figures = f"{100 * each.eer:>7.2f}{100 * each.auc:>8.2f}{each.pairs:>8}"
            lines.append(f"{each.train:<12}{each.test:<12}{kind:<9}{figures}")
        if self.overall is not None:
            lines.append(f"{'overall':<33}{100 * self.overall:>7.2f}")
        return "\n".join(lines)

    def to_values(self) -> dict[str, Any]:
        """Values for JSON; rates 0...1."""
        keys = ("train", "test", "heard", "eer", "auc", "pairs", "matching")
        return {
            "version": self.version,
            "results": [{key: getattr(each, key) for key in keys} for each in self.results],
            "mean_heard_eer": self.mean(heard=True),
            "mean_unheard_eer": self.mean(heard=False),
            "overall_eer": self.overall,
        }


def distance_eer(distances: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Equal error rate and area under the curve of distances.

    The rate is the root of 1 - fpr - tpr on the ROC curve of the negated distance, which is straight between
    its corners; ties are one corner.

    Args:
        distances: (P,), smaller is more alike.
        labels: (P,), 1 for one person, else 0.

    Returns:
        EER and AUC, 0...1.

    Raises:
        ValueError: no matching or no other pair, or distances that are not finite.

    Example:
        >>> distance_eer([0.1, 0.2, 0.6, 0.7], [1, 0, 1, 0])
        (0.5, 0.75)
    """
    import torch
    from voiceface.metrics.verification import equal_error_rate, verification_auc

    scores = -torch.from_numpy(np.ascontiguousarray(distances, np.float64))
    truth = torch.from_numpy(np.ascontiguousarray(labels, np.int64))
    return float(equal_error_rate(scores, truth).rate), float(verification_auc(scores, truth))


def evaluate_submission(submission: Submission, pairs: PairList, train: str, test: str) -> FameResult:
    """Evaluate distances on a list with labels, by key.

    Raises:
        ValueError: the list has no labels, or other keys than the submission.
    """
    if pairs.labels is None:
        raise ValueError(f"{pairs.name} has no labels: they are hidden until the challenge ends")
    by_key: Mapping[str, float] = dict(zip(submission.keys, submission.distances.tolist()))
    absent = [key for key in pairs.keys if key not in by_key]
    if absent or len(by_key) != len(pairs):
        raise ValueError(
            f"{pairs.name} has {len(pairs)} keys, {len(absent)} of which are not among the {len(by_key)} of "
            "the submission; `fop fame check` lists what is wrong"
        )
    eer, auc = distance_eer([by_key[key] for key in pairs.keys], pairs.labels)
    return FameResult(train, test, eer, auc, len(pairs), int(pairs.labels.sum()))
