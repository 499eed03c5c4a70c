"""Evaluation: matching, verification and retrieval on lists, as figures, a results file and a report.

`seeking_shape test --data ROOT --out DIR [--weights FILE]`
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from voiceface.association.evaluation import Evaluation, command, compute_all_pairs, embed_corpus, evaluate

import seeking_shape

if TYPE_CHECKING:
    import numpy as np

    from seeking_shape.model import Voice2Face

__all__ = ["Evaluation", "compute_all_pairs", "embed_corpus", "evaluate", "main"]
SUBTITLE = "Adaptive voice-face association: matching, verification and retrieval on unseen people."


def identity_weights(model: "Voice2Face") -> "np.ndarray":
    """The weights of the training identities, shape (C,), for the report."""
    return model.center.weight.detach().cpu().numpy()


def main(argv: Sequence[str] | None = None) -> int:
    """`seeking_shape test`."""
    return command(
        "seeking_shape",
        lambda *given, **options: seeking_shape.load(*given, **options),
        argv,
        subtitle=SUBTITLE,
        identity_weights=identity_weights,
    )


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("seeking_shape.test", None))
