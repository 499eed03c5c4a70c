"""Correction of p-values for several tests: Holm's method."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from voiceface.metrics.bootstrap import PairedDifference

__all__ = ["adjust_differences", "holm_adjust"]


def holm_adjust(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of several tests by Holm's step-down method.

    Tests whose adjusted p-value is below a level have a family-wise error rate of at most that level,
    whatever their dependence (Holm, Scandinavian Journal of Statistics 1979).

    Args:
        p_values: raw p-values of the m tests of one family.

    Returns:
        Adjusted p-values in the same order: the maximum over the i smallest of (m - i + 1) p, at most 1.

    Example:
        >>> holm_adjust([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def adjust_differences(
    tables: Sequence[Mapping[str, PairedDifference]],
) -> list[dict[str, PairedDifference]]:
    """Fill in `adjusted_p_value` of tables of differences whose tests are one family."""
    adjusted = iter(holm_adjust([gap.p_value for table in tables for gap in table.values()]))
    return [
        {key: replace(gap, adjusted_p_value=next(adjusted)) for key, gap in table.items()} for table in tables
    ]
