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

Weigh = Literal["people", "frames"]


class Statistics(NamedTuple):
    """What was measured: mean and deviation of log-mel values, and over how much."""

    mean: float
    deviation: float
    people: int
    utterances: int
    frames: int


def mel_statistics(
    speakers: "Speakers",
    *,
    weigh: Weigh = "people",
    most: int | None = None,
    workers: int | None = 1,
    progress: bool = False,
) -> Statistics:
    """Measure log-mel values of speakers.

    Args:
        speakers: who.
        weigh: every person counts alike ("people", as in training batches), or every frame.
        most: utterances of a person, evenly spaced in their order; None takes all.
        workers: processes; None takes every core.
        progress: show a bar on standard error.
    """
    import numpy as np
    from voiceface.runtime.process_pool import map_unordered

    chosen = []
    for person in range(len(speakers)):
        count = len(speakers.utterances[person])
        picked = range(count) if most is None or count <= most else np.linspace(0, count - 1, most).round()
        chosen += [(person, int(utterance)) for utterance in picked]
    sums = np.zeros((len(speakers), 3))  # values, their sum, sum of squares about the first mean
    centre = float(speakers.mel(*chosen[0]).mean()) if chosen else 0.0
    items = [(person, speakers.utterances[person][utterance]) for person, utterance in chosen]
    work = partial(_sums, bands=speakers.bands, centre=centre)
    for (person, _), found in map_unordered(work, items, workers, "statistics", "clip", progress=progress):
        sums[person] += found
    if not len(items):
        raise ValueError("nobody to measure")
    shares = sums / sums[:, :1] if weigh == "people" else sums / sums[:, 0].mean()
    first, second = shares[:, 1:].mean(0)
    frames = int(sums[:, 0].sum()) // speakers.bands
    deviation = float(np.sqrt(second - first**2))
    return Statistics(centre + float(first), deviation, len(speakers), len(items), frames)


def _sums(item: tuple, bands: int, centre: float) -> tuple[float, float, float]:
    """Count, sum and sum of squares of an utterance's values minus `centre`."""
    import numpy as np

    from sf2f.speech import read_mel

    _, source = item
    mel = read_mel(source, bands) if isinstance(source, str) else source
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
    add("--faces", choices=("masked", "origin"), default="masked", help="who counts (default: %(default)s)")
    add("--weigh", choices=("people", "frames"), default="people", help="what counts alike")
    add("--most", type=int, help="utterances of a person (default: all)")
    add("--workers", type=int, help="processes (default: every core)")
    add("--quiet", action="store_true", help="no progress bar")
    args = parser.parse_args(argv)
    if any(number is not None and number < 1 for number in (args.workers, args.most)):
        parser.error("--workers and --most must be at least 1")

    from sf2f.data import open_speakers

    shown = not args.quiet
    speakers = open_speakers(
        args.data, args.split, faces=args.faces, stored="float32", workers=args.workers, progress=shown
    )
    found = mel_statistics(speakers, weigh=args.weigh, most=args.most, workers=args.workers, progress=shown)
    print(f"{found.people} people, {found.utterances} utterances, {found.frames} frames of 10 ms")
    print(f"data.mel.mean={found.mean:.4f} data.mel.deviation={found.deviation:.4f}")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("sf2f.mel_statistics", None))
