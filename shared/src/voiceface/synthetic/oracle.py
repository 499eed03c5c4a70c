"""The ceiling of every figure: an observer that knows the true factors of voice and face.

Ties count as half everywhere: at coupling 0 all pairs of one sex tie, and the oracle is exactly at chance.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voiceface.synthetic.identities import FACTORS, People, draw_people

# Expected figures by coupling: 8 factors of one coupling, half of the random pairs share the sex.
COUPLINGS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
EXPECTED: dict[str, tuple[float, ...]] = {
    "G": (0.500, 0.572, 0.650, 0.727, 0.794, 0.860, 0.912, 0.956, 0.985, 0.998, 1.0),
    "G10": (0.100, 0.148, 0.210, 0.289, 0.378, 0.501, 0.629, 0.768, 0.903, 0.986, 1.0),
    "AUC_G": (0.500, 0.575, 0.654, 0.730, 0.800, 0.865, 0.918, 0.961, 0.988, 0.998, 1.0),
    "U": (0.750, 0.786, 0.825, 0.863, 0.898, 0.929, 0.956, 0.977, 0.992, 0.997, 1.0),
    "AUC": (0.750, 0.788, 0.827, 0.865, 0.900, 0.932, 0.959, 0.980, 0.994, 0.998, 1.0),
    "mAP": (0.090, 0.121, 0.163, 0.218, 0.291, 0.384, 0.506, 0.649, 0.821, 0.965, 1.0),
}
CHANCE = {"G": 0.5, "G10": 0.1, "AUC_G": 0.5, "U": 0.5, "AUC": 0.5, "mAP": 0.0519}
SEX_ONLY = {name: values[0] for name, values in EXPECTED.items()}
GALLERY = 100  # identities in the gallery of the figure "mAP", one item each
_LARGEST_COUPLING = 0.999


@dataclass(frozen=True)
class Figure:
    """One figure with its standard error over identities (jackknife)."""

    value: float
    error: float


def log_likelihood_ratio(
    v: ArrayLike, sex_v: ArrayLike, g: ArrayLike, sex_g: ArrayLike, c: ArrayLike, *, share_sex: bool = True
) -> NDArray[np.float64]:
    """Exact log likelihood ratio "same identity" against "two identities" of every voice with every face.

    Args:
        v: factors of V voices, shape (V, 8).
        sex_v: their sexes, shape (V,).
        g: factors of F faces, shape (F, 8).
        sex_g: their sexes, shape (F,).
        c: couplings, one number or shape (8,); cut at 0.999.
        share_sex: whether one identity has one sex; off, sex says nothing.

    Returns:
        Shape (V, F); minus infinity where the sexes differ (the constant for equal sexes is left out).

    Raises:
        ValueError: shapes that do not fit together, or couplings outside 0 ... 1.
    """
    voices, faces = np.asarray(v, float), np.asarray(g, float)
    women_v, women_g = np.asarray(sex_v), np.asarray(sex_g)
    if voices.ndim != 2 or faces.ndim != 2 or voices.shape[1] != faces.shape[1]:
        raise ValueError(f"factors must be (V, J) and (F, J), got {voices.shape} and {faces.shape}")
    if women_v.shape != voices.shape[:1] or women_g.shape != faces.shape[:1]:
        raise ValueError(f"one sex per row: got {women_v.shape} and {women_g.shape}")
    given = np.asarray(c, float)
    if not ((given >= 0) & (given <= 1)).all():
        raise ValueError(f"couplings must lie in 0 ... 1, got {given.tolist()}")
    coupling = np.broadcast_to(np.minimum(given, _LARGEST_COUPLING), voices.shape[1:])
    rest = 1 - coupling**2
    square = coupling**2 / (2 * rest)
    ratio = (voices * (coupling / rest)) @ faces.T
    ratio -= (voices**2 @ square)[:, None] + (faces**2 @ square)
    ratio -= 0.5 * np.log(rest).sum()
    if share_sex:
        ratio[women_v[:, None] != women_g] = -np.inf
    return ratio


def oracle_scores(people: People) -> NDArray[np.float64]:
    """Log likelihood ratios of all voices (rows) and faces (columns) of a population, shape (N, N)."""
    shared = bool((people.sex == people.face_sex).all())
    return log_likelihood_ratio(people.v, people.sex, people.g, people.face_sex, people.c, share_sex=shared)


def ceilings(people: People) -> dict[str, Figure]:
    """What the oracle reaches on these identities, from all pairs, voice to face; keys as `figures`."""
    return figures(oracle_scores(people), people.sex)


def figures(scores: ArrayLike, sex: ArrayLike) -> dict[str, Figure]:
    """All figures of a square score matrix, one voice (row) and one face (column) per identity.

    Args:
        scores: shape (N, N); higher means more alike; right answers on the diagonal; minus infinity allowed.
        sex: shape (N,).

    Returns:
        "U", "G": matching among 2, wrong answers of any sex or of the probe's; "G10": the same among 10 of
        one sex; "AUC", "AUC_G": verification; "mAP": mean reciprocal rank in galleries of 100 (or N, if
        smaller).
        Wrong answers are never sampled: each figure is its expectation over all pairs or galleries.

    Raises:
        ValueError: no square matrix, fewer than three identities, NaN, or a sex with fewer than two.
    """
    table, label = np.asarray(scores, float), np.asarray(sex)
    count = len(label)
    if table.shape != (count, count) or count < 3:
        raise ValueError(
            f"scores must be (N, N) with one sex each, N >= 3: got {table.shape} and {label.shape}"
        )
    if np.isnan(table).any():
        raise ValueError("scores hold NaN")
    if np.unique(label, return_counts=True)[1].min() < 2:
        raise ValueError("the figures within one sex need at least two identities of each sex")
    other = ~np.eye(count, dtype=bool)
    same = other & (label[:, None] == label)
    right = np.diag(table)[:, None]
    wins = (right > table) + 0.5 * (right == table)
    ten = [_rank_value(table[i], i, same[i], 9, first_only=True) for i in range(count)]
    gallery = min(GALLERY, count) - 1
    ranked = [_rank_value(table[i], i, other[i], gallery, first_only=False) for i in range(count)]
    return {
        "U": _matching(wins, other),
        "G": _matching(wins, same),
        "G10": _mean(np.array(ten)),
        "AUC": _verification(table, other),
        "AUC_G": _verification(table, same),
        "mAP": _mean(np.array(ranked)),
    }


def expected_at(c: float, name: str = "G") -> float:
    """Expected figure at coupling c: the table, interpolated by a monotone cubic.

    Args:
        c: coupling of all eight factors, or an observer's effective coupling; 0 to 1.
        name: key of EXPECTED.
    """
    from scipy.interpolate import PchipInterpolator

    if name not in EXPECTED:
        raise ValueError(f"no expected figure {name!r}; there are {', '.join(EXPECTED)}")
    if not 0 <= c <= 1:
        raise ValueError(f"a coupling lies in 0 ... 1, got {c}")
    return float(PchipInterpolator(COUPLINGS, EXPECTED[name])(c))


def effective_coupling(rho: float, r2_voice: ArrayLike, r2_face: ArrayLike) -> float:
    """Coupling at which the oracle would do as well as an imperfect observer.

    Args:
        rho: coupling of the population.
        r2_voice: R squared with which the observer recovers v from voices, one number or one per factor.
        r2_face: the same for g from faces.

    Returns:
        rho sqrt(R2_v R2_g); unequal factors are joined by their root mean square.
    """
    product = np.clip(r2_voice, 0, 1) * np.clip(r2_face, 0, 1)
    return float(rho * np.sqrt(np.mean(product)))


def observed_coupling(value: float, name: str = "G") -> float:
    """The coupling whose expected figure is `value`: what a measured figure amounts to, 0 to 1."""
    from scipy.optimize import brentq

    values = EXPECTED[name]
    if value <= values[0]:
        return 0.0
    if value >= values[-1]:
        return 1.0
    return float(brentq(lambda c: expected_at(c, name) - value, 0.0, 1.0))


def simulate(c: float, identities: int, *, seed: int = 0) -> dict[str, Figure]:
    """Oracle figures of freshly drawn identities at coupling c."""
    return ceilings(draw_people(np.arange(identities), seed=seed, rho=c))


def share_of_ceiling(model: float, oracle: float, sex_only: float) -> float:
    """(model - sex-only) / (oracle - sex-only); NaN where the oracle knows no more than the sex."""
    return (model - sex_only) / (oracle - sex_only) if oracle > sex_only else float("nan")


def shape_ceiling(loadings: ArrayLike | None = None) -> NDArray[np.float64]:
    """R squared with which the true shape coefficients tell the face factors, shape (8,).

    Args:
        loadings: A, shape (K, 8): alpha = A g + D q with unit variance within sex; the head's by default.
    """
    a = _loadings(loadings)
    own = np.diag(1 - np.square(a).sum(1))
    return np.diag(a.T @ np.linalg.solve(a @ a.T + own, a)).copy()


def coefficient_ceiling(c: ArrayLike, loadings: ArrayLike | None = None) -> NDArray[np.float64]:
    """R squared within sex with which the true voice factors tell each shape coefficient, shape (K,)."""
    return np.square(_loadings(loadings) * np.asarray(c, float)).sum(1)


def _loadings(loadings: ArrayLike | None) -> NDArray[np.float64]:
    """Checked loading table, the head model's by default."""
    if loadings is None:
        from voiceface.synthetic.face.head_bases import loadings as of_the_head

        loadings = of_the_head()
    a = np.asarray(loadings, float)
    if a.ndim != 2 or a.shape[1] != len(FACTORS):
        raise ValueError(f"loadings must be (K, {len(FACTORS)}), got {a.shape}")
    if (np.square(a).sum(1) > 1).any():
        raise ValueError("a coefficient's squared loadings add up to more than 1")
    return a


def _matching(wins: NDArray[np.float64], allowed: NDArray[np.bool_]) -> Figure:
    """Share of won comparisons (N, N) among the allowed ones."""
    won = wins * allowed
    total, number = won.sum(), allowed.sum()
    without = (total - won.sum(0) - won.sum(1)) / (number - allowed.sum(0) - allowed.sum(1))
    return Figure(float(total / number), _jackknife(without))


def _verification(table: NDArray[np.float64], allowed: NDArray[np.bool_]) -> Figure:
    """Area under the ROC curve of the diagonal against the allowed pairs."""
    right = np.diag(table)
    by_row = np.stack([_beaten(right, row[mask]) for row, mask in zip(table, allowed)], 1)
    by_column = np.stack([_beaten(right, row[mask]) for row, mask in zip(table.T, allowed.T)], 1)
    beaten = by_row.sum(1)  # of all allowed pairs, by right pair k
    count, number = len(right), int(allowed.sum())
    left = beaten[:, None] - by_row - by_column  # (k, i): without the pairs that touch i
    size = number - allowed.sum(0) - allowed.sum(1)
    without = (left.sum(0) - np.diag(left)) / ((count - 1) * size)
    return Figure(float(beaten.sum() / (count * number)), _jackknife(without))


def _beaten(right: NDArray[np.float64], wrong: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many of `wrong` (M,) each of `right` (N,) beats, ties as half, shape (N,)."""
    ordered = np.sort(wrong)
    below, upto = np.searchsorted(ordered, right), np.searchsorted(ordered, right, side="right")
    return (below + upto).astype(np.float64) / 2


def _rank_value(
    row: NDArray[np.float64], i: int, allowed: NDArray[np.bool_], drawn: int, *, first_only: bool
) -> float:
    """Expected reciprocal rank (or chance to be first) of right answer i among itself and `drawn` wrong ones.

    Args:
        row: scores of one probe, shape (N,).
        i: the right answer.
        allowed: possible wrong answers, shape (N,).
        drawn: how many of them are drawn without replacement; all when there are fewer.
        first_only: only rank 1 counts.
    """
    wrong = row[allowed]
    above, ties = int((wrong > row[i]).sum()), int((wrong == row[i]).sum())
    value = _value_of_place(len(wrong), min(drawn, len(wrong)), first_only)
    return float(value[above : above + ties + 1].mean())  # ties fall on either side with equal chance


@lru_cache(maxsize=16)
def _value_of_place(wrong: int, drawn: int, first_only: bool) -> NDArray[np.float64]:
    """Expected 1 / rank (or chance of rank 1) by the number of better wrong answers, 0 ... wrong."""
    from scipy.stats import hypergeom

    better = np.arange(wrong + 1)
    if first_only:
        return np.asarray(hypergeom.pmf(0, wrong, better, drawn), float)
    hits = np.arange(drawn + 1)[:, None]
    return np.asarray((hypergeom.pmf(hits, wrong, better, drawn) / (1 + hits)).sum(0), float)


def _mean(values: NDArray[np.float64]) -> Figure:
    """Mean over probes with its ordinary standard error."""
    return Figure(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))


def _jackknife(without: NDArray[np.float64]) -> float:
    """Standard error from the figure without each of N identities, shape (N,)."""
    count = len(without)
    return float(np.sqrt((count - 1) / count * np.square(without - without.mean()).sum()))
