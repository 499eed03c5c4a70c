"""`python -m sf2f.mel_statistics DATA`: mean and deviation of log-mel values, for `data.mel`.

The published numbers 10.9915 and 3.1661 are averages over random training batches, in which every person
counts alike. Here, exactly: with E_p the mean over all values of person p, mean = mean_p E_p[x], and
deviation the root of mean_p E_p[x^2] - mean^2.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from sf2f.speakers import Speakers

Weighting = Literal["identities", "frames"]


class MelStatistics(NamedTuple):
    """What was measured: mean and deviation of log-mel values, and over how much."""

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
    """Measure log-mel values of speakers.

    Args:
        speakers: who.
        weighting: every person counts alike ("identities", as in training batches), or every frame.
        max_utterances: utterances of a person, evenly spaced in their order; None takes all.
        workers: processes; None takes every core.
        progress: show a bar on standard error.
    """
    import numpy as np
    from voiceface.runtime.process_pool import map_unordered

    chosen = []
    for person in range(len(speakers)):
        count = len(speakers.utterances[person])
        picked = (
            range(count)
            if max_utterances is None or count <= max_utterances
            else np.linspace(0, count - 1, max_utterances).round()
        )
        chosen += [(person, int(utterance)) for utterance in picked]
    sums = np.zeros((len(speakers), 3))  # values, their sum, sum of squares about the first mean
    centre = float(speakers.load_mel(*chosen[0]).mean()) if chosen else 0.0
    items = [(person, speakers.utterances[person][utterance]) for person, utterance in chosen]
    work = partial(_sum_moments, n_mels=speakers.n_mels, centre=centre)
    for (person, _), found in map_unordered(work, items, workers, "statistics", "clip", progress=progress):
        sums[person] += found
    if not len(items):
        raise ValueError("nobody to measure")
    shares = sums / sums[:, :1] if weighting == "identities" else sums / sums[:, 0].mean()
    first, second = shares[:, 1:].mean(0)
    frames = int(sums[:, 0].sum()) // speakers.n_mels
    deviation = float(np.sqrt(second - first**2))
    return MelStatistics(centre + float(first), deviation, len(speakers), len(items), frames)


def _sum_moments(item: tuple, n_mels: int, centre: float) -> tuple[float, float, float]:
    """Count, sum and sum of squares of an utterance's values minus `centre`."""
    import numpy as np

    from sf2f.speech import read_mel

    _, source = item
    mel = read_mel(source, n_mels) if isinstance(source, str) else source
    values = np.asarray(mel, np.float64) - centre
    return float(values.size), float(values.sum()), float(np.square(values).sum())


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m sf2f.mel_statistics`."""
    parser = argparse.ArgumentParser(
        prog="python -m sf2f.mel_statistics",
        description="Mean and deviation of log-mel values, as overrides for a configuration.",
    )
    add = parser.add_argument
    add("data", type=Path, help="data folder, see docs/data.md")
    add("--split", choices=("train", "val", "test"), default="train", help="default: %(default)s")
    add(
        "--face-variant",
        choices=("masked", "origin"),
        default="masked",
        help="who counts (default: %(default)s)",
    )
    add("--weighting", choices=("identities", "frames"), default="identities", help="what counts alike")
    add("--max-utterances", type=int, help="utterances of a person (default: all)")
    add("--workers", type=int, help="processes (default: every core)")
    add("--quiet", action="store_true", help="no progress bar")
    args = parser.parse_args(argv)
    if any(number is not None and number < 1 for number in (args.workers, args.max_utterances)):
        parser.error("--workers and --max-utterances must be at least 1")

    from sf2f.data import open_speakers

    shown = not args.quiet
    speakers = open_speakers(
        args.data,
        args.split,
        face_variant=args.face_variant,
        dtype="float32",
        workers=args.workers,
        progress=shown,
    )
    found = compute_mel_statistics(
        speakers,
        weighting=args.weighting,
        max_utterances=args.max_utterances,
        workers=args.workers,
        progress=shown,
    )
    print(
        f"{found.num_identities} people, {found.num_utterances} utterances, {found.num_frames} frames of 10 ms"
    )
    print(f"data.mel.mean={found.mean:.4f} data.mel.std={found.std:.4f}")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("sf2f.mel_statistics", None))
