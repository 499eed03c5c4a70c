"""Split of a corpus by a hash of the seed and the name of an identity, independent of other identities."""

import hashlib
import math
from collections.abc import Sequence

__all__ = ["DEFAULT_FRACTIONS", "assign_split", "check_fractions"]

DEFAULT_FRACTIONS = (0.8, 0.1, 0.1)


def check_fractions(fractions: Sequence[float]) -> str:
    """What is wrong with fractions of train, val and test, in words; empty if nothing is."""
    if len(fractions) == 3 and min(fractions) >= 0 and math.isclose(sum(fractions), 1, abs_tol=1e-6):
        return ""
    found = ", ".join(map(str, fractions))
    return f"split fractions {found}, expected three non-negative numbers with the sum 1"


def assign_split(name: str, seed: int = 0, fractions: Sequence[float] = DEFAULT_FRACTIONS) -> str:
    """Assign an identity to a split.

    Args:
        name: of the identity.
        seed: another seed gives another split.
        fractions: of train, val and test; the sum is 1. Where the second and the third are zero, everything
            is train.

    Returns:
        "train", "val" or "test".

    Example:
        >>> assign_split("Ann", 0, (0.0, 0.0, 1.0))
        'test'
    """
    digest = hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogateescape")).digest()
    place = int.from_bytes(digest[:6], "big") / 2**48  # uniform in [0, 1), exact
    train, val, test = fractions
    if place < train or not (val or test):
        return "train"
    return "val" if place < train + val or not test else "test"
