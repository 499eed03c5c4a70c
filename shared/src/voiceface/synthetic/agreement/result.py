"""Result of holding made pictures against true people: figures, table, JSON."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voiceface.io.atomic import write_json
from voiceface.synthetic.identities import FACTORS

TIED, PART, FREE = "tied", "in part", "free"
FIRST = (1, 5, 10)
ABOUT = {
    "sex": "pictures read as the person's sex",
    "factors": "correlation with the true factors within a sex, mean of eight",
    **{f"factor {name}": f"the same, {name} alone" for name in FACTORS},
    "shape": "correlation with the true shape, coefficients that a factor moves",
    "shape same sex": "the same within a sex",
    "free shape same sex": "correlation within a sex, coefficients that no factor moves",
    "skin": "correlation with the true colour of the skin, mean of red, green, blue",
    "skin distance": "distance from the true colour of the skin, grey levels of 255; less is better",
    **{f"found {k}": f"the person is among the first {k} of everybody, by embedding" for k in FIRST},
    "matching": "the right one of two people, by embedding",
    "matching same sex": "the same, both of one sex",
    **{f"tied found {k}": f"among the first {k}, by sex and factors alone" for k in FIRST},
    "tied matching same sex": "the right one of two people of one sex, by factors alone",
}


@dataclass(frozen=True)
class AgreementFigure:
    """One figure of made pictures.

    Attributes:
        value: of the made pictures.
        error: standard error over people.
        low, high: ends of the interval over people.
        chance: with the pictures made for others of the same sex (for "sex": for anyone else).
        ceiling: with another true picture of the person; None where there was none.
        position: (value - chance) / (ceiling - chance); None without a ceiling or where both are equal.
        tie: whether the population ties it to the voice: "tied", "in part" or "free".
        bound: of a correlation within a sex, what knowing the true voice factors gives; None for others.
    """

    value: float
    error: float
    low: float
    high: float
    chance: float
    ceiling: float | None
    position: float | None
    tie: str
    bound: float | None


@dataclass(frozen=True)
class Agreement:
    """Agreement of made pictures with true people of a synthetic population.

    Attributes:
        figures: name (see `ABOUT`) -> figure.
        people: how many.
        pictures: made pictures of a person.
        gallery: true pictures of a person behind the embedding it is looked up by.
        confidence: of the intervals.
        judge: digest of the network that read the pictures.
    """

    figures: dict[str, AgreementFigure]
    people: int
    pictures: int
    gallery: int
    confidence: float
    judge: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN is null."""
        figures = {
            name: {"about": ABOUT[name], **{key: _plain(value) for key, value in asdict(figure).items()}}
            for name, figure in self.figures.items()
        }
        head = {key: value for key, value in vars(self).items() if key != "figures"}
        return {"format": "voiceface-agreement-1", "data": "synthetic population", **head, "figures": figures}

    def save(self, path: str | Path) -> None:
        """Write `to_dict` as JSON, atomically."""
        write_json(path, self.to_dict())

    def table(self) -> str:
        """Text table: a line per figure, then what the population ties to the voice and what not."""
        width = max(map(len, self.figures)) + 1
        share = f"{self.confidence:.0%} interval"
        head = ("value", share, "chance", "ceiling", "position", "tie", "bound")
        lines = [f"synthetic population, {self.people} people, {self.pictures} made pictures each"]
        lines += ["{:{w}}{:>8}{:>20}{:>9}{:>9}{:>10}{:>9}{:>7}".format("", *head, w=width)]
        for name, figure in self.figures.items():
            digits = 1 if name == "skin distance" else 3
            shown = [
                f"{value:.{digits}f}" for value in (figure.value, figure.low, figure.high, figure.chance)
            ]
            ceiling = "-" if figure.ceiling is None else f"{figure.ceiling:.{digits}f}"
            position = "-" if figure.position is None else f"{figure.position:.2f}"
            bound = "-" if figure.bound is None else f"{figure.bound:.2f}"
            lines.append(
                f"{name:{width}}{shown[0]:>8}{shown[1] + ' ... ' + shown[2]:>20}{shown[3]:>9}{ceiling:>9}"
                f"{position:>10}{figure.tie:>9}{bound:>7}"
            )
        lines += ["chance: pictures made for others of the same sex; ceiling: another true picture"]
        for tie, meaning in ((TIED, "follows the voice"), (PART, "partly"), (FREE, "does not")):
            names = [name for name, figure in self.figures.items() if figure.tie == tie]
            lines += [f"{tie} ({meaning}): {', '.join(names)}"] if names else []
        return "\n".join(lines)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and np.isnan(value) else value
