"""Records that a report is built from; any evaluation can fill them in.

Metrics are fractions (0.863) when their unit is "%", and are shown as per cent; every other unit is shown as
given. A missing reference (chance level, gender-only baseline, upper bound) or interval is None and omitted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Literal

import numpy as np

from voiceface.io.file_facts import FaceFacts

__all__ = [
    "AudioSource",
    "Curve",
    "Direction",
    "Headline",
    "Histogram",
    "IdentityCard",
    "IdentityGroup",
    "ImageSource",
    "PairedDifferenceRow",
    "Photograph",
    "Plot",
    "ProbeRanking",
    "ProtocolSummary",
    "RankedCandidate",
    "ResultRow",
    "RetrievalExamples",
    "SystemResults",
    "Table",
    "TrialListRow",
]

Direction = Literal["v2f", "f2v", "both", ""]
CurveKind = Literal["system", "chance", "baseline", "upper_bound"]


@dataclass(frozen=True)
class Photograph:
    """File of a person's own picture, shown as the networks saw it; of a `face`, what was cut out."""

    path: str | PathLike[str]
    face: FaceFacts | None = None


ImageSource = str | PathLike[str] | bytes | np.ndarray | Photograph
"""An image: file of a data folder, encoded bytes, uint8 RGB array (H, W, 3) or grey (H, W), or photograph."""


@dataclass(frozen=True)
class AudioSource:
    """An utterance: a file, or samples in memory.

    Attributes:
        source: path of a sound file, or samples of shape (T,), int16 or float in [-1, 1].
        sample_rate: sample rate of an array in Hz; ignored for a file.
        start_seconds: seconds to skip; of an own recording (`is_own`) of what networks hear of it.
    """

    source: str | PathLike[str] | np.ndarray
    sample_rate: int = 16000
    start_seconds: float = 0.0
    is_own: bool = False


@dataclass(frozen=True)
class Headline:
    """One large metric at the top of the page.

    Attributes:
        name: name of the metric ("same-gender 1:2 matching").
        value: the metric; a fraction when `unit` is "%".
        low: lower end of its interval.
        high: upper end of its interval.
        chance: chance level.
        baseline: result of knowing the gender alone.
        upper_bound: result of the best possible observer (population only).
        note: one line under the metric.
        unit: "%" for fractions, else the text after the number ("mm").
        higher_is_better: False for errors.
        reference_names: other names of the references, such as {"chance": "mean face"}; the card then shows
            no normalized gain.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    baseline: float | None = None
    upper_bound: float | None = None
    note: str = ""
    unit: str = "%"
    higher_is_better: bool = True
    reference_names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ResultRow:
    """One metric of one system on one list.

    Attributes:
        task: heading of the table it belongs to ("1:2 matching", "Verification (AUC)", "Retrieval (mAP)").
        value: the metric; a fraction when `unit` is "%".
        direction: "v2f" voice to face, "f2v" face to voice, "both" their mean, "" neither.
        stratum: distractors: "U" unrestricted, "G" same gender, "N" same nationality, "A" same age group.
        list_name: name of the list; with task, direction and stratum it joins the rows of several systems.
        low: lower end of the interval.
        high: upper end of the interval.
        chance: chance level.
        baseline: result of knowing the gender alone.
        upper_bound: result of the best possible observer.
        published: the value of the paper, where the list is the paper's.
        num_trials: number of trials behind the metric.
        unit: "%" for fractions, else the text after the number.
        higher_is_better: False for errors.
    """

    task: str
    value: float
    direction: Direction = ""
    stratum: str = ""
    list_name: str = ""
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    baseline: float | None = None
    upper_bound: float | None = None
    published: float | None = None
    num_trials: int | None = None
    unit: str = "%"
    higher_is_better: bool = True

    @property
    def comparison_key(self) -> tuple[str, str, str, str]:
        """Key that joins the rows of several systems."""
        return self.task, self.direction, self.stratum, self.list_name


@dataclass(frozen=True)
class SystemResults:
    """Results of one system; the report describes the first system."""

    name: str
    rows: Sequence[ResultRow]


@dataclass(frozen=True)
class PairedDifferenceRow:
    """Paired difference of two systems on one list (`value` = first minus second, same identities resampled).

    `name` is the metric in words, `list_name` the trial list. `adjusted_p_value` is corrected for all rows.
    """

    system_a: str
    system_b: str
    name: str
    value: float
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    unit: str = "%"
    list_name: str = ""
    higher_is_better: bool = True
    adjusted_p_value: float | None = None

    @property
    def is_significant(self) -> bool:
        """Whether the adjusted p-value is below 0.05; without one, whether the interval excludes zero."""
        if self.adjusted_p_value is not None:
            return self.adjusted_p_value < 0.05
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class TrialListRow:
    """One evaluation list: its name, number of lines and the SHA-256 of its file (64 hexadecimal digits)."""

    name: str
    task: str = ""
    direction: Direction = ""
    stratum: str = ""
    num_trials: int | None = None
    sha256: str = ""


@dataclass(frozen=True)
class ProtocolSummary:
    """Evaluation protocol of the results.

    Attributes:
        name: name of the protocol.
        lists: every list with its hash.
        facts: name -> text, in the order shown: tie rule, strata, interval, identities, utterances, images.
    """

    name: str
    lists: Sequence[TrialListRow] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Curve:
    """One line of a plot.

    Attributes:
        label: its name; a system's name gives it that system's colour everywhere on the page.
        x: positions, increasing, shape (N,).
        y: values, shape (N,); NaN leaves a gap.
        low: lower edge of a band, shape (N,).
        high: upper edge of a band, shape (N,).
        kind: "system" for measured lines; references are drawn dashed and grey.
        note: short text beside the label ("AUC 88.9 %").
        raw: values before smoothing, drawn faintly, as (x, y) of any length.
        markers: draw a marker at every point, for few points.
    """

    label: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    low: Sequence[float] | np.ndarray | None = None
    high: Sequence[float] | np.ndarray | None = None
    kind: CurveKind = "system"
    note: str = ""
    raw: tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray] | None = None
    markers: bool = False


@dataclass(frozen=True)
class Plot:
    """Lines on one pair of axes.

    Attributes:
        title: heading of the plot.
        curves: lines of the plot; an empty plot is omitted.
        x_label, y_label: name and unit of the axes.
        x_range, y_range: ends of the axes; None fits the data.
        x_percent, y_percent: write ticks as per cent of fractions.
        x_log: logarithmic horizontal axis (ranks).
        note: text under the plot.
    """

    title: str
    curves: Sequence[Curve]
    x_label: str = ""
    y_label: str = ""
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    x_percent: bool = False
    y_percent: bool = False
    x_log: bool = False
    note: str = ""


@dataclass(frozen=True)
class Histogram:
    """Histogram of `values` of shape (N,) with `bins` equal bins."""

    title: str
    values: Sequence[float] | np.ndarray
    x_label: str = ""
    y_label: str = "identities"
    bins: int = 30
    note: str = ""


@dataclass(frozen=True)
class RankedCandidate:
    """One candidate of a probe, a face or an utterance.

    Attributes:
        name, rank, correct: name on the page; rank from 1; it is the identity of the probe.
        score: similarity.
        image, audio: a face, or an utterance.
        percentile: share of impostor pairs with a lower score, 0...1.
        note: what makes the score doubtful, a few words.
    """

    name: str
    rank: int
    correct: bool
    score: float | None = None
    image: ImageSource | None = None
    audio: AudioSource | None = None
    percentile: float | None = None
    note: str = ""


@dataclass(frozen=True)
class ProbeRanking:
    """One probe and its best candidates in order of rank.

    A candidate whose rank exceeds its position (the first correct one, if not among the best) is set apart.
    `labels_known` is False if the correct candidate is unknown; the page then gives no verdict.
    """

    name: str
    candidates: Sequence[RankedCandidate]
    image: ImageSource | None = None
    audio: AudioSource | None = None
    gallery_size: int | None = None
    note: str = ""
    labels_known: bool = True


@dataclass(frozen=True)
class RetrievalExamples:
    """Probes in one direction: "v2f" ranks faces for a voice, "f2v" ranks voices for a face."""

    title: str
    direction: Direction
    probes: Sequence[ProbeRanking]
    note: str = ""


@dataclass(frozen=True)
class IdentityCard:
    """One identity with its accuracy in [0, 1] over `num_trials` trials, or image and utterance only."""

    name: str
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    num_trials: int | None = None
    image: ImageSource | None = None
    audio: AudioSource | None = None
    note: str = ""


@dataclass(frozen=True)
class IdentityGroup:
    """A row of identities: the hardest, the easiest, or a sample of the corpus."""

    title: str
    identities: Sequence[IdentityCard]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A further table; numbers are aligned to the right, other values are shown as text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""
