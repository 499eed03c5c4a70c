"""Result of holding generated images against true identities: metrics, table, JSON."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voiceface.io.atomic import write_json
from voiceface.synthetic.identities import FACTORS

VOICE_DETERMINED, PARTLY_DETERMINED, VOICE_INDEPENDENT = (
    "voice-determined",
    "partly voice-determined",
    "voice-independent",
)
RANKS = (1, 5, 10)
METRIC_DESCRIPTIONS = {
    "gender accuracy": "images read as the identity's sex",
    "factors": "correlation with the true factors within a sex, mean of eight",
    **{f"factor {name}": f"the same, {name} alone" for name in FACTORS},
    "shape": "correlation with the true shape, coefficients that a factor moves",
    "same-gender shape": "the same within a sex",
    "voice-independent same-gender shape": "correlation within a sex, coefficients that no factor moves",
    "skin": "correlation with the true colour of the skin, mean of red, green, blue",
    "skin distance": "distance from the true colour of the skin, grey levels of 255; less is better",
    **{
        f"rank-{k} identification": f"the identity is among the first {k} of all identities, by embedding"
        for k in RANKS
    },
    "1:2 matching": "the right one of two identities, by embedding",
    "same-gender 1:2 matching": "the same, both of one sex",
    **{
        f"voice-determined rank-{k} identification": f"among the first {k}, by sex and factors alone"
        for k in RANKS
    },
    "voice-determined same-gender 1:2 matching": "the right one of two identities of one sex, by factors "
    "alone",
}


@dataclass(frozen=True)
class AgreementMetric:
    """One metric of generated images.

    Attributes:
        value: of the generated images.
        standard_error: standard error over identities.
        low, high: ends of the interval over identities.
        chance: with the images made for others of the same sex (for "sex": for anyone else).
        real_image_value: with another real image of the identity; None where there was none.
        normalized_gain: (value - chance) / (ceiling - chance); None without a ceiling or where both are
            equal.
        voice_dependence: whether the population ties it to the voice: "tied", "in part" or "free".
        upper_bound: of a correlation within a sex, what knowing the true voice factors gives; None for
            others.
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
    """Agreement of generated images with true identities of a synthetic population.

    Attributes:
        metrics: name (see `METRIC_DESCRIPTIONS`) -> metric.
        num_identities: how many.
        num_generated: generated images of an identity.
        num_gallery_images: real images of an identity behind the embedding it is looked up by.
        confidence: of the intervals.
        reader_sha256: digest of the network that read the images.
    """

    metrics: dict[str, AgreementMetric]
    num_identities: int
    num_generated: int
    num_gallery_images: int
    confidence: float
    reader_sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN is null."""
        metrics = {
            name: {
                "description": METRIC_DESCRIPTIONS[name],
                **{key: _nan_to_none(value) for key, value in asdict(metric).items()},
            }
            for name, metric in self.metrics.items()
        }
        head = {key: value for key, value in vars(self).items() if key != "metrics"}
        return {"format": "voiceface-agreement-2", "data": "synthetic population", **head, "metrics": metrics}

    def save(self, path: str | Path) -> None:
        """Write `to_dict` as JSON, atomically."""
        write_json(path, self.to_dict())

    def format_table(self) -> str:
        """Text table: a line per metric, then what the population ties to the voice and what not."""
        width = max(map(len, self.metrics)) + 1
        share = f"{self.confidence:.0%} interval"
        head = ("value", share, "chance", "real image", "norm. gain", "upper bound", "in the voice")
        lines = [
            f"synthetic population, {self.num_identities} identities, {self.num_generated} generated "
            "images each"
        ]
        lines += ["{:{w}}{:>8}{:>20}{:>9}{:>12}{:>12}{:>13}  {}".format("", *head, w=width)]
        for name, metric in self.metrics.items():
            digits = 1 if name == "skin distance" else 3
            shown = [
                f"{value:.{digits}f}" for value in (metric.value, metric.low, metric.high, metric.chance)
            ]
            real_image = "-" if metric.real_image_value is None else f"{metric.real_image_value:.{digits}f}"
            gain = "-" if metric.normalized_gain is None else f"{metric.normalized_gain:.2f}"
            bound = "-" if metric.upper_bound is None else f"{metric.upper_bound:.2f}"
            lines.append(
                f"{name:{width}}{shown[0]:>8}{shown[1] + ' ... ' + shown[2]:>20}{shown[3]:>9}{real_image:>12}"
                f"{gain:>12}{bound:>13}  {metric.voice_dependence}"
            )
        lines += ["chance: images generated for others of the same sex; real image: another real image"]
        for dependence, meaning in (
            (VOICE_DETERMINED, "follows the voice"),
            (PARTLY_DETERMINED, "partly"),
            (VOICE_INDEPENDENT, "does not"),
        ):
            names = [name for name, metric in self.metrics.items() if metric.voice_dependence == dependence]
            lines += [f"{dependence} ({meaning}): {', '.join(names)}"] if names else []
        return "\n".join(lines)


def _nan_to_none(value: Any) -> Any:
    return None if isinstance(value, float) and np.isnan(value) else value
