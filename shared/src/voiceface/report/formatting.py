"""Formatting of numbers and names: metrics with their unit, directions and strata."""

import math
from typing import Any

__all__ = [
    "DIRECTION_PHRASES",
    "DIRECTION_TITLES",
    "STRATUM_DESCRIPTIONS",
    "STRATUM_NAMES",
    "format_difference",
    "format_interval",
    "format_metric",
    "format_number",
    "is_finite_number",
    "ordinal",
]

NARROW_SPACE = "\u202f"
"""Narrow space between a number and its unit, which never breaks."""

DIRECTION_TITLES = {"v2f": "Voice → face", "f2v": "Face → voice", "both": "Both directions"}
DIRECTION_PHRASES = {"v2f": "voice to face", "f2v": "face to voice", "both": "both directions"}
STRATUM_NAMES = {
    "U": "unrestricted",
    "G": "same-gender",
    "N": "same-nationality",
    "A": "same-age-group",
    "GN": "same-gender-and-nationality",
    "GA": "same-gender-and-age-group",
    "NA": "same-nationality-and-age-group",
    "GNA": "same-gender, -nationality and -age-group",
}
STRATUM_DESCRIPTIONS = {stratum: f"{name} distractors" for stratum, name in STRATUM_NAMES.items()}


def is_finite_number(value: Any) -> bool:
    """Whether a value is a finite number; numpy scalars are, booleans are not."""
    try:
        return not isinstance(value, bool | str) and math.isfinite(value)
    except TypeError:
        return False


def format_number(value: Any, digits: int = 3) -> str:
    """Format a number to `digits` significant digits, and anything else as text."""
    if not is_finite_number(value):
        return "–" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)
    if value == 0:
        return "0"
    if isinstance(value, int) or (abs(value) >= 1000 and value == int(value)):
        return f"{int(value):,}".replace(",", NARROW_SPACE)
    size = math.floor(math.log10(abs(value)))
    if size < -4 or size > 6:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    return f"{value:.{max(0, digits - 1 - size)}f}".replace("-", "−")


def format_metric(value: float | None, unit: str = "%", *, with_unit: bool = True) -> str:
    """Format a metric: a fraction in per cent with one decimal, any other unit with three digits."""
    if value is None or not is_finite_number(value):
        return "–"
    text = f"{100 * value:.1f}" if unit == "%" else format_number(float(value))
    return f"{text}{NARROW_SPACE}{unit}" if with_unit and unit else text


def format_interval(low: float | None, high: float | None, unit: str = "%") -> str:
    """Format an interval; empty if an end is missing."""
    if not (is_finite_number(low) and is_finite_number(high)):
        return ""
    return f"{format_metric(low, unit, with_unit=False)} to {format_metric(high, unit, with_unit=False)}"


def format_difference(value: float, unit: str = "%") -> str:
    """Format a difference with its sign, fractions in percentage points."""
    text = f"{100 * value:+.1f} points" if unit == "%" else f"{value:+.3g}{NARROW_SPACE}{unit}"
    return text.replace("-", "−")


def ordinal(rank: int) -> str:
    """Format a rank as 1st, 2nd, 3rd, 11th …"""
    suffix = "th" if rank % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{suffix}"
