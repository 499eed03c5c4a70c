"""Evaluation: matching, verification and retrieval on lists, as figures, a results file and a report.

`archetype_agnostic test --data ROOT --out DIR [--weights FILE]`
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from voiceface.association.evaluation import Evaluation, command, compute_all_pairs, embed_corpus, evaluate

import archetype_agnostic

if TYPE_CHECKING:
    import numpy as np

    from archetype_agnostic.model import Aasm

__all__ = ["Evaluation", "compute_all_pairs", "embed_corpus", "evaluate", "main"]
SUBTITLE = "Archetype-agnostic voice-face association: matching, verification and retrieval on unseen people."


def identity_weights(model: "Aasm") -> "np.ndarray":
    """The weights of the training identities, shape (C,), for the report."""
    return model.eqm.weight.detach().cpu().numpy()


def main(argv: Sequence[str] | None = None) -> int:
    """`archetype_agnostic test`."""
    return command(
        "archetype_agnostic",
        lambda *given, **options: archetype_agnostic.load(*given, **options),
        argv,
        subtitle=SUBTITLE,
        identity_weights=identity_weights,
    )


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("archetype_agnostic.test", None))
