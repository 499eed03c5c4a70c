"""How well pictures made from voices agree with the true faces of invented people, read by a judge.

Each figure stands between chance (the pictures made for other people of the same sex, every one of them) and
a ceiling (another true picture of the person in place of the made one, through the same judge), with an
interval over people. What the population ties to the voice is sex and the eight factors; skin, hair, eyes and
the rest of the shape are free, and no honest maker gets them right (see docs/population.md).
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from voiceface.metrics.bootstrap import identity_draws, interval_of
from voiceface.synthetic.agreement import parts
from voiceface.synthetic.agreement.result import ABOUT, FIRST, FREE, PART, TIED, Agreement, AgreementFigure
from voiceface.synthetic.face.head_bases import loadings
from voiceface.synthetic.identities import FACTORS
from voiceface.synthetic.oracle import coefficient_ceiling
from voiceface.synthetic.readers.attribute_reader import Reading, read

if TYPE_CHECKING:
    from voiceface.synthetic.face.geometry_truth import FaceTruth
    from voiceface.synthetic.readers.attribute_reader import Judge

__all__ = ["ABOUT", "Agreement", "AgreementFigure", "agree", "agreement_of", "read_people"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def agree(
    judge: "Judge",
    made: Tensor,
    real: Tensor,
    truth: "FaceTruth",
    *,
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Agreement:
    """Read made and true pictures and compare them.

    Args:
        judge: `judge.load("judge")`; never the network that the maker was trained on.
        made: (N, 3, S, S), or (N, M, 3, S, S) for M pictures a person, whose readings are averaged; red,
            green, blue, floating in [0, 1] or uint8.
        real: (N, P, 3, S', S') true pictures of the same people, in the same order. The first one is kept
            for the ceiling, the others make the gallery; with P = 1 there is no ceiling.
        truth: of the same people, see `voiceface.synthetic.face.geometry_truth`.
        replicates: of the bootstrap over people.
        confidence: of the intervals.
        seed: of the bootstrap.

    Raises:
        ValueError: numbers of people differ, there are too few, or a picture cannot be read.
    """
    made = made[:, None] if made.ndim == 4 else made
    rule: dict[str, Any] = {"replicates": replicates, "confidence": confidence, "seed": seed}
    return agreement_of(judge, read_people(judge, made), read_people(judge, real), truth, **rule)


def read_people(judge: "Judge", pictures: Tensor) -> Reading:
    """Readings of several pictures a person, (N, M, 3, S, S) -> fields (N, M, ...), without maps."""
    if pictures.ndim != 5:
        raise ValueError(f"expected pictures (people, pictures, 3, S, S), got {tuple(pictures.shape)}")
    found, people = read(judge, pictures.flatten(0, 1)), len(pictures)

    def split(value: Tensor) -> Tensor:
        return value.reshape(people, -1, *value.shape[1:])

    return Reading(
        split(found.embedding),
        split(found.sex_logit),
        split(found.factors),
        split(found.shape),
        split(found.skin),
    )


def agreement_of(
    judge: "Judge",
    made: Reading,
    real: Reading,
    truth: "FaceTruth",
    *,
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Agreement:
    """The same as `agree` from readings, fields (N, M, ...) and (N, P, ...), as `read_people` gives them.

    Args:
        judge: what read them; tells which coefficients it can see and how well it reads the factors.
        made, real, truth, replicates, confidence, seed: see `agree`.
    """
    people, shown = made.embedding.shape[:2]
    behind = real.embedding.shape[1]
    _check(people, len(real.embedding), truth)
    sides = [parts.averaged(made)]
    if behind > 1:
        sides.append(parts.averaged(parts.some_of(real, slice(0, 1))))
    gallery = parts.averaged(parts.some_of(real, slice(1, None) if behind > 1 else slice(0, 1))).embedding
    noise = np.maximum(1 - judge.factor_r2.cpu().double().numpy(), 0.05)
    readable = judge.readable.cpu().numpy()
    draws = identity_draws(people, replicates, seed)
    everybody = np.zeros(people, np.int64)

    outcomes: dict[str, list[parts.Outcome]] = {}
    for name, (field, chosen, within) in _correlations(readable).items():
        aim = getattr(truth, field)[:, chosen]
        outcomes[name] = [
            parts.correlation(getattr(side, field)[:, chosen], aim, truth.sex, draws, within=within)
            for side in sides
        ]
    for name, tables in _tables(sides, gallery, truth, noise).items():
        group = everybody if name == "sex" else truth.sex
        outcomes[name] = [parts.mean_outcome(table, group, draws) for table in tables]

    ties = _ties(truth, readable)
    figures = {}
    for name in (name for name in ABOUT if name in outcomes):
        first, *rest = outcomes[name]
        span = interval_of(first.value, first.replicates, confidence)
        ceiling = rest[0].value if rest else None
        gap = 0.0 if ceiling is None else ceiling - first.chance
        position = (first.value - first.chance) / gap if abs(gap) > 1e-9 else None
        figures[name] = AgreementFigure(
            first.value, span.error, span.low, span.high, first.chance, ceiling, position, *ties[name]
        )
    digest = str(judge.about.get("sha256", ""))
    return Agreement(figures, people, shown, max(1, behind - 1), confidence, digest)


def _check(made: int, real: int, truth: "FaceTruth") -> None:
    if not made == real == len(truth):
        raise ValueError(
            f"made pictures, true pictures and truth must be of the same people: got {made}, {real} and "
            f"{len(truth)}"
        )
    counts = np.unique(truth.sex, return_counts=True)[1]
    if counts.min() < 2:
        raise ValueError(f"at least two people of each sex are needed, got {counts.tolist()}")


def _correlations(readable: Mask) -> dict[str, tuple[str, Mask, bool]]:
    """Figure -> (field, columns, within a sex); figures without a readable column are left out."""
    moved = _moved()
    every = np.ones(len(FACTORS), bool)
    found = {"factors": ("factors", every, True)}
    found |= {
        f"factor {name}": ("factors", np.arange(len(FACTORS)) == j, True) for j, name in enumerate(FACTORS)
    }
    found |= {
        "shape": ("shape", readable & moved, False),
        "shape same sex": ("shape", readable & moved, True),
        "free shape same sex": ("shape", readable & ~moved, True),
        "skin": ("skin", np.ones(3, bool), False),
    }
    return {name: row for name, row in found.items() if row[1].any()}


def _tables(
    sides: list[parts.Side], gallery: Array, truth: "FaceTruth", noise: Array
) -> dict[str, list[Array]]:
    """Figure -> outcome table (N, N) of each side."""
    sex = truth.sex
    whole = [side.embedding @ gallery.T for side in sides]
    tied = [parts.tied_scores(side, sex, truth.factors, noise) for side in sides]
    found = {
        "sex": [parts.sex_hits(side, sex) for side in sides],
        "skin distance": [parts.skin_distances(side, truth.skin) for side in sides],
        "matching": [parts.beaten(scores, np.zeros_like(sex)) for scores in whole],
        "matching same sex": [parts.beaten(scores, sex) for scores in whole],
        "tied matching same sex": [parts.beaten(scores, sex) for scores in tied],
    }
    for k in FIRST:
        found[f"found {k}"] = [parts.found_within(scores, k) for scores in whole]
        found[f"tied found {k}"] = [parts.found_within(scores, k) for scores in tied]
    return found


def _ties(truth: "FaceTruth", readable: Mask) -> dict[str, tuple[str, float | None]]:
    """Figure -> whether the population ties it to the voice, and the bound of a correlation within a sex."""
    coupled = bool(truth.coupling.max() > 0)
    tied, part = (TIED, PART) if coupled else (FREE, FREE)
    either = PART if truth.share_sex else part
    skin = PART if truth.confound > 0 else FREE
    seen = readable & _moved()
    reach = np.sqrt(coefficient_ceiling(truth.coupling))[seen]
    found: dict[str, tuple[str, float | None]] = {name: (either, None) for name in ABOUT}
    found |= {
        "sex": (TIED if truth.share_sex else FREE, None),
        "factors": (tied, float(truth.coupling.mean())),
        "shape same sex": (part, float(reach.mean()) if len(reach) else None),
        "free shape same sex": (FREE, 0.0),
        "skin": (skin, None),
        "skin distance": (skin, None),
        "matching same sex": (part, None),
        "tied matching same sex": (tied, None),
    }
    for name, c in zip(FACTORS, truth.coupling.tolist()):
        found[f"factor {name}"] = (TIED if c > 0 else FREE, c)
    for k in FIRST:
        found[f"tied found {k}"] = (TIED if coupled and truth.share_sex else either, None)
    return found


def _moved() -> Mask:
    """(40,) shape coefficients that a factor moves."""
    return np.asarray(np.square(loadings()).sum(1) > 0)
