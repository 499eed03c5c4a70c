"""Result of an agreement measurement: metrics, text table, JSON."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voiceface.io.atomic import write_json
from voiceface.synthetic.identities import FACTORS

__all__ = [
    "METRIC_DESCRIPTIONS",
    "PARTLY_DETERMINED",
    "RANKS",
    "VOICE_DETERMINED",
    "VOICE_INDEPENDENT",
    "Agreement",
    "AgreementMetric",
]

VOICE_DETERMINED = "voice-determined"
PARTLY_DETERMINED = "partly voice-determined"
VOICE_INDEPENDENT = "voice-independent"
RANKS = (1, 5, 10)
METRIC_DESCRIPTIONS = {
    "gender accuracy": "fraction of images whose predicted sex is right",
    "factors": "correlation with the true factors within a sex, mean of eight factors",
    **{f"factor {name}": f"the same, factor {name} only" for name in FACTORS},
    "shape": "correlation with the true shape, coefficients that depend on factors",
    "same-gender shape": "the same within a sex",
    "voice-independent same-gender shape": "correlation within a sex, coefficients independent of factors",
    "skin": "correlation with the true skin colour, mean of red, green and blue",
    "skin distance": "distance from the true skin colour in grey levels (0-255); lower is better",
    **{
        f"rank-{k} identification": f"fraction of images with the identity among the first {k}, by embedding"
        for k in RANKS
    },
    "1:2 matching": "1:2 matching accuracy by embedding, unrestricted distractor",
    "same-gender 1:2 matching": "the same, same-gender distractor",
    **{
        f"voice-determined rank-{k} identification": f"rank-{k} identification by sex and factors only"
        for k in RANKS
    },
    "voice-determined same-gender 1:2 matching": "same-gender 1:2 matching accuracy by factors only",
}


@dataclass(frozen=True)
class AgreementMetric:
    """Metric of generated images.

    Attributes:
        value: of the generated images.
        standard_error: over identities.
        low, high: limits of the confidence interval over identities.
        chance: with images generated for other identities of the same sex ("gender accuracy": of both sexes).
        real_image_value: with another real image of the identity; None if there was none.
        normalized_gain: (value - chance) / (real_image_value - chance); None without a real image or if both
            are equal.
        voice_dependence: VOICE_DETERMINED, PARTLY_DETERMINED or VOICE_INDEPENDENT.
        upper_bound: of a correlation within a sex, given the true voice factors; None for other metrics.
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
    """Agreement of generated images with the identities of a synthetic population.

    Attributes:
        metrics: name (see `METRIC_DESCRIPTIONS`) -> metric.
        num_identities: identities evaluated.
        num_generated: generated images per identity.
        num_gallery_images: real images per identity behind its gallery embedding.
        confidence: level of the intervals.
        reader_sha256: digest of the attribute reader.
    """

    metrics: dict[str, AgreementMetric]
    num_identities: int
    num_generated: int
    num_gallery_images: int
    confidence: float
    reader_sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values; NaN becomes null."""
        metrics = {
            name: {
                "description": METRIC_DESCRIPTIONS[name],
                **{key: _nan_to_none(value) for key, value in asdict(metric).items()},
            }
            for name, metric in self.metrics.items()
        }
        header = {"format": "voiceface-agreement-2", "data": "synthetic population"}
        header |= {key: value for key, value in vars(self).items() if key != "metrics"}
        return {**header, "metrics": metrics}

    def save(self, path: str | Path) -> None:
        """Write `to_dict` as JSON, atomically."""
        write_json(path, self.to_dict())

    def format_table(self) -> str:
        """Format a text table: a line per metric, then the metrics by their dependence on the voice."""
        width = max(map(len, self.metrics)) + 1
        interval = f"{self.confidence:.0%} interval"
        head = ("value", interval, "chance", "real image", "norm. gain", "upper bound", "depends on voice")
        lines = [
            f"synthetic population, {self.num_identities} identities, {self.num_generated} generated "
            "images each"
        ]
        lines += ["{:{w}}{:>8}{:>20}{:>9}{:>12}{:>12}{:>13}  {}".format("", *head, w=width)]
        for name, metric in self.metrics.items():
            digits = 1 if name == "skin distance" else 3
            value, low, high, chance = (
                f"{number:.{digits}f}" for number in (metric.value, metric.low, metric.high, metric.chance)
            )
            real_image = "-" if metric.real_image_value is None else f"{metric.real_image_value:.{digits}f}"
            gain = "-" if metric.normalized_gain is None else f"{metric.normalized_gain:.2f}"
            bound = "-" if metric.upper_bound is None else f"{metric.upper_bound:.2f}"
            lines.append(
                f"{name:{width}}{value:>8}{low + ' ... ' + high:>20}{chance:>9}{real_image:>12}"
                f"{gain:>12}{bound:>13}  {metric.voice_dependence}"
            )
        lines += ["chance: images of others of the same sex; real image: another image of the identity"]
        for dependence in (VOICE_DETERMINED, PARTLY_DETERMINED, VOICE_INDEPENDENT):
            names = [name for name, metric in self.metrics.items() if metric.voice_dependence == dependence]
            lines += [f"{dependence}: {', '.join(names)}"] if names else []
        return "\n".join(lines)


def _nan_to_none(value: Any) -> Any:
    return None if isinstance(value, float) and np.isnan(value) else value
