"""What commands tell on standard error, in one wording: notices, what was left out, whom training has seen.

Standard output is for results.
"""

import sys
from collections.abc import Collection, Iterable, Mapping


def print_disclaimers(*disclaimers: str) -> None:
    """What must be said beside every result; nothing for empty text, nothing twice."""
    for text in dict.fromkeys(disclaimers):
        if text:
            print(text, file=sys.stderr)


def print_skipped(skipped: Mapping[str, str] | Iterable[str]) -> None:
    """Inputs that could not be used: item -> why, or sentences that name the item."""
    lines = (f"{item}: {why}" for item, why in skipped.items()) if isinstance(skipped, Mapping) else skipped
    for line in lines:
        print(f"left out: {line}", file=sys.stderr)


def warn_training_overlap(identity_names: Iterable[str], training_identities: Collection[str]) -> list[str]:
    """Warn of people who are to be judged and on whom the weights were trained.

    Args:
        identity_names: names of those who are judged.
        training_identities: names of the training people; empty where not known.

    Returns:
        Those who are among them, sorted.
    """
    everybody = set(identity_names)
    known = sorted(everybody & set(training_identities))
    if known:
        print(
            f"warning: {len(known)} of {len(everybody)} people took part in the training of these weights "
            f"({known[0]}{', ...' if len(known) > 1 else ''}); figures of unseen people need another split",
            file=sys.stderr,
        )
    return known
