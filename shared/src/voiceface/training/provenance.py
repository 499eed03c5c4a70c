"""Provenance of a run: its identities and initial files; a resumed run must have the same identities."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voiceface.training.run import Run

__all__ = ["record_provenance", "require_same_identities"]


def record_provenance(
    run: "Run", identity_names: Sequence[str], initial_weights: object = None
) -> dict[str, str]:
    """Record the identities and initial files of a run; a resumed run keeps its first record.

    Args:
        run: stores "source" and "identities" in its values.
        identity_names: names of the training identities, in class order.
        initial_weights: the system's dataclass of initial files (default: none).

    Returns:
        Field of `initial_weights` -> name of its file at the start of the run.

    Raises:
        ValueError: see `require_same_identities`.
    """
    require_same_identities(run, identity_names)
    files = vars(initial_weights) if initial_weights is not None else {}
    return run.values.setdefault("source", {key: path.name for key, path in files.items() if path})


def require_same_identities(run: "Run", identity_names: Sequence[str]) -> None:
    """Check that a resumed run has its first identities in the same order, which numbers the classes.

    Raises:
        ValueError: the identities of a resumed run, or their order, differ.
    """
    digest = hashlib.sha256("\n".join(identity_names).encode()).hexdigest()
    if run.values.setdefault("identities", digest) != digest:
        raise ValueError(
            f"Cannot resume {run.out}: its training identities (or their order) differ from the "
            f"{len(identity_names)} identities given. Use the same --data, or choose a new --out folder."
        )
