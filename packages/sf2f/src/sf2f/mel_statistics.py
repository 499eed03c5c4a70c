"""`python -m sf2f.mel_statistics DATA`: mean and standard deviation of log-mel values, for `data.mel`.

The published numbers 10.9915 and 3.1661 are averages over random training batches, in which every identity
has the same weight. Here they are exact: with E_p the mean over all values of identity p, mean = mean_p
E_p[x], and the standard deviation is the square root of mean_p E_p[x^2] - mean^2.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from sf2f.speakers import Speakers

__all__ = [
    "MelStatistics",
    "Weighting",
    "compute_mel_statistics",
    "main",
]

Weighting = Literal["identities", "frames"]


class MelStatistics(NamedTuple):
    """Mean and standard deviation of log-mel values, and the amount of data."""

    mean: float
    std: float
    num_identities: int
    num_utterances: int
    num_frames: int


def compute_mel_statistics(
    speakers: "Speakers",
    *,
    weighting: Weighting = "identities",
    max_utterances: int | None = None,
    workers: int | None = 1,
    progress: bool = False,
) -> MelStatistics:
    """Measure mean and standard deviation of log-mel values.

    Args:
        speakers: the identities.
        weighting: "identities": every identity has the same weight, as in training batches; "frames": every
            frame.
        max_utterances: maximum utterances per identity, evenly spaced; None takes all.
        workers: processes; None uses every core.
        progress: show a progress bar on standard error.
    """
    import numpy as np
    from voiceface.runtime.process_pool import map_unordered

    selected = []
    for identity in range(len(speakers)):
        count = len(speakers.utterances[identity])
        utterances = (
            range(count)
            if max_utterances is None or count <= max_utterances
            else np.linspace(0, count - 1, max_utterances).round()
        )
        selected += [(identity, int(utterance)) for utterance in utterances]
    sums = np.zeros((len(speakers), 3))  # values, their sum, sum of squares about the first mean
    centre = float(speakers.load_mel(*selected[0]).mean()) if selected else 0.0
    items = [(identity, speakers.utterances[identity][utterance]) for identity, utterance in selected]
    work = partial(_sum_moments, n_mels=speakers.n_mels, centre=centre)
    for (identity, _), moments in map_unordered(
        work, items, workers, "statistics", "clip", progress=progress
    ):
        sums[identity] += moments
    if not len(items):
        raise ValueError("no utterances to measure")
    weighted = sums / sums[:, :1] if weighting == "identities" else sums / sums[:, 0].mean()
    first, second = weighted[:, 1:].mean(0)
    frames = int(sums[:, 0].sum()) // speakers.n_mels
    std = float(np.sqrt(second - first**2))
    return MelStatistics(centre + float(first), std, len(speakers), len(items), frames)


def _sum_moments(item: tuple, n_mels: int, centre: float) -> tuple[float, float, float]:
    """Count, sum and sum of squares of an utterance's values minus `centre`."""
    import numpy as np

    from sf2f.speech import read_mel

    _, source = item
    mel = read_mel(source, n_mels) if isinstance(source, str) else source
    values = np.asarray(mel, np.float64) - centre
    return float(values.size), float(values.sum()), float(np.square(values).sum())


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m sf2f.mel_statistics`."""
    parser = argparse.ArgumentParser(
        prog="python -m sf2f.mel_statistics",
        description="Measure mean and standard deviation of log-mel values; print configuration overrides.",
    )
    add = parser.add_argument
    add("data", type=Path, help="data folder, see docs/data.md")
    add("--split", choices=("train", "val", "test"), default="train", help="default: %(default)s")
    add(
        "--face-variant",
        choices=("masked", "origin"),
        default="masked",
        help="face folders that count (default: %(default)s)",
    )
    add(
        "--weighting",
        choices=("identities", "frames"),
        default="identities",
        help="give every identity or every frame the same weight (default: %(default)s)",
    )
    add("--max-utterances", type=int, help="maximum utterances per identity (default: all)")
    add("--workers", type=int, help="processes (default: one per core)")
    add("--quiet", action="store_true", help="no progress bar")
    args = parser.parse_args(argv)
    if any(number is not None and number < 1 for number in (args.workers, args.max_utterances)):
        parser.error("--workers and --max-utterances must be at least 1")

    from sf2f.data import open_speakers

    progress = not args.quiet
    speakers = open_speakers(
        args.data,
        args.split,
        face_variant=args.face_variant,
        dtype="float32",
        workers=args.workers,
        progress=progress,
    )
    result = compute_mel_statistics(
        speakers,
        weighting=args.weighting,
        max_utterances=args.max_utterances,
        workers=args.workers,
        progress=progress,
    )
    print(
        f"{result.num_identities} identities, {result.num_utterances} utterances, {result.num_frames} frames"
    )
    print(f"data.mel.mean={result.mean:.4f} data.mel.std={result.std:.4f}")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("sf2f.mel_statistics", None))
