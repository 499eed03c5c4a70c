"""Result of holding made pictures against true people: figures, table, JSON."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voiceface.io.atomic import write_json
from voiceface.synthetic.identities import FACTORS

VOICE_DETERMINED, PARTLY_DETERMINED, VOICE_INDEPENDENT = "tied", "in part", "free"
RANKS = (1, 5, 10)
METRIC_DESCRIPTIONS = {
    "sex": "pictures read as the person's sex",
    "factors": "correlation with the true factors within a sex, mean of eight",
    **{f"factor {name}": f"the same, {name} alone" for name in FACTORS},
    "shape": "correlation with the true shape, coefficients that a factor moves",
    "same-gender shape": "the same within a sex",
    "voice-independent same-gender shape": "correlation within a sex, coefficients that no factor moves",
    "skin": "correlation with the true colour of the skin, mean of red, green, blue",
    "skin distance": "distance from the true colour of the skin, grey levels of 255; less is better",
    **{
        f"rank-{k} identification": f"the person is among the first {k} of everybody, by embedding"
        for k in RANKS
    },
    "1:2 matching": "the right one of two people, by embedding",
    "same-gender 1:2 matching": "the same, both of one sex",
    **{
        f"voice-determined rank-{k} identification": f"among the first {k}, by sex and factors alone"
        for k in RANKS
    },
    "voice-determined same-gender 1:2 matching": "the right one of two people of one sex, by factors alone",
}


@dataclass(frozen=True)
class AgreementMetric:
    """One figure of made pictures.

    Attributes:
        value: of the made pictures.
        standard_error: standard error over people.
        low, high: ends of the interval over people.
        chance: with the pictures made for others of the same sex (for "sex": for anyone else).
        real_image_value: with another true picture of the person; None where there was none.
        normalized_gain: (value - chance) / (ceiling - chance); None without a ceiling or where both are equal.
        voice_dependence: whether the population ties it to the voice: "tied", "in part" or "free".
        upper_bound: of a correlation within a sex, what knowing the true voice factors gives; None for others.
    """

    value: float
    standard_error: float
    low: float
    high: float
    chance: float
    real_image_value: float | None
    normalized_gain: float | None
    voice_dependence: str
    upper_bound: float | None


@dataclass(frozen=True)
class Agreement:
    """Agreement of made pictures with true people of a synthetic population.

    Attributes:
        metrics: name (see `METRIC_DESCRIPTIONS`) -> figure.
        num_identities: how many.
        num_generated: made pictures of a person.
        num_gallery_images: true pictures of a person behind the embedding it is looked up by.
        confidence: of the intervals.
        reader_sha256: digest of the network that read the pictures.
    """

    metrics: dict[str, AgreementMetric]
    num_identities: int
    num_generated: int
    num_gallery_images: int
    confidence: float
    reader_sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN is null."""
        figures = {
            name: {
                "about": METRIC_DESCRIPTIONS[name],
                **{key: _nan_to_none(value) for key, value in asdict(figure).items()},
            }
            for name, figure in self.metrics.items()
        }
        head = {key: value for key, value in vars(self).items() if key != "metrics"}
        return {"format": "voiceface-agreement-2", "data": "synthetic population", **head, "metrics": figures}

    def save(self, path: str | Path) -> None:
        """Write `to_dict` as JSON, atomically."""
        write_json(path, self.to_dict())

    def format_table(self) -> str:
        """Text table: a line per figure, then what the population ties to the voice and what not."""
        width = max(map(len, self.metrics)) + 1
        share = f"{self.confidence:.0%} interval"
        head = ("value", share, "chance", "ceiling", "position", "tie", "bound")
        lines = [
            f"synthetic population, {self.num_identities} people, {self.num_generated} made pictures each"
        ]
        lines += ["{:{w}}{:>8}{:>20}{:>9}{:>9}{:>10}{:>9}{:>7}".format("", *head, w=width)]
        for name, figure in self.metrics.items():
            digits = 1 if name == "skin distance" else 3
            shown = [
                f"{value:.{digits}f}" for value in (figure.value, figure.low, figure.high, figure.chance)
            ]
            ceiling = "-" if figure.real_image_value is None else f"{figure.real_image_value:.{digits}f}"
            position = "-" if figure.normalized_gain is None else f"{figure.normalized_gain:.2f}"
            bound = "-" if figure.upper_bound is None else f"{figure.upper_bound:.2f}"
            lines.append(
                f"{name:{width}}{shown[0]:>8}{shown[1] + ' ... ' + shown[2]:>20}{shown[3]:>9}{ceiling:>9}"
                f"{position:>10}{figure.voice_dependence:>9}{bound:>7}"
            )
        lines += ["chance: pictures made for others of the same sex; ceiling: another true picture"]
        for tie, meaning in (
            (VOICE_DETERMINED, "follows the voice"),
            (PARTLY_DETERMINED, "partly"),
            (VOICE_INDEPENDENT, "does not"),
        ):
            names = [name for name, figure in self.metrics.items() if figure.voice_dependence == tie]
            lines += [f"{tie} ({meaning}): {', '.join(names)}"] if names else []
        return "\n".join(lines)


def _nan_to_none(value: Any) -> Any:
    return None if isinstance(value, float) and np.isnan(value) else value
