"""Provenance of a run: its identities and initial files; a resumed run must have the same identities."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voiceface.training.run import Run


def record_provenance(
    run: "Run", identity_names: Sequence[str], initial_weights: object = None
) -> dict[str, str]:
    """Note what a run begins with; a resumed run keeps what it began with.

    Args:
        run: receives "source" and "people" as values.
        identity_names: names of the training people, in class order.
        initial_weights: the system's dataclass of files that a run starts from; None: no files.

    Returns:
        Field of `initial_weights` -> name of its file, as the run began.

    Raises:
        ValueError: as `require_same_identities`.
    """
    require_same_identities(run, identity_names)
    named = vars(initial_weights) if initial_weights is not None else {}
    return run.values.setdefault("source", {key: path.name for key, path in named.items() if path})


def require_same_identities(run: "Run", identity_names: Sequence[str]) -> None:
    """Refuse to go on with other people than the run began with: classes are numbered by their order.

    Raises:
        ValueError: a resumed run, and other people or another order of them.
    """
    digest = hashlib.sha256("\n".join(identity_names).encode()).hexdigest()
    if run.values.setdefault("people", digest) != digest:
        raise ValueError(
            f"{run.out} was begun with other training people or another order of them, and cannot go on with "
            f"these {len(identity_names)}: give the same --data, or another --out folder"
        )
