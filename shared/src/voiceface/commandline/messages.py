"""Messages of commands on standard error: disclaimers, skipped inputs, overlap with the training set.

Standard output is for results.
"""

import sys
from collections.abc import Collection, Iterable, Mapping

from voiceface.io.file_kinds import printable

__all__ = ["print_disclaimers", "print_skipped", "warn_training_overlap"]


def print_disclaimers(*disclaimers: str) -> None:
    """Print each disclaimer once; empty ones are skipped."""
    for text in dict.fromkeys(disclaimers):
        if text:
            print(text, file=sys.stderr)


def print_skipped(skipped: Mapping[str, str] | Iterable[str]) -> None:
    """Print the inputs that could not be used: item -> reason, or sentences that name the item."""
    if isinstance(skipped, Mapping):
        skipped = [f"{item}: {reason}" for item, reason in skipped.items()]
    for line in skipped:
        print(f"skipped: {printable(line)}", file=sys.stderr)


def warn_training_overlap(identity_names: Iterable[str], training_identities: Collection[str]) -> list[str]:
    """Warn about evaluation identities on which the checkpoint was trained.

    Args:
        identity_names: names of the evaluation identities.
        training_identities: names of the training identities; empty if unknown.

    Returns:
        Names that occur in both, sorted.
    """
    evaluated = set(identity_names)
    overlap = sorted(evaluated & set(training_identities))
    if overlap:
        print(
            f"warning: this checkpoint was trained on {len(overlap)} of {len(evaluated)} identities "
            f"({overlap[0]}{', ...' if len(overlap) > 1 else ''}); use another split to measure unseen ones",
            file=sys.stderr,
        )
    return overlap
