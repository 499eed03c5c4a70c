"""How well a voice encoder trained on real people tells the synthetic speakers apart.

`OMP_NUM_THREADS=1 python benchmarks/population_voice_identity.py` embeds clips with the voice encoder of
`voiceface models get real` and compares all pairs by cosine: equal error rate, mean similarity of clips of
one person ("same") and of two ("other"). Goals with the default options: EER at most 8 %,
same at least .80, other at most .58. `population_voice.py --speakers 600` measures what is still heard of the
factors.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from voiceface.metrics.verification import equal_error_rate
from voiceface.real import load_voice_encoder
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.voice.speech_synthesis import synthesise_clip


@dataclass(frozen=True)
class Similarity:
    """Equal error rate over all pairs and over those of one sex; mean cosines."""

    eer: float
    eer_within_sex: float
    same: float
    other: float
    other_same_sex: float


def compare_clips(embeddings: NDArray[np.float32], people: Sequence[int], sex: Sequence[int]) -> Similarity:
    """Compare all pairs of clips, (N, D) of unit length."""
    owner, sexes = np.asarray(people), np.asarray(sex)
    first, second = np.triu_indices(len(owner), 1)
    scores = (embeddings @ embeddings.T)[first, second]
    same, same_sex = owner[first] == owner[second], sexes[first] == sexes[second]

    def error_rate(kept: NDArray[np.bool_]) -> float:
        labels = torch.from_numpy(same[kept]).long()
        return equal_error_rate(torch.from_numpy(scores[kept]), labels).rate.item()

    return Similarity(
        eer=error_rate(np.ones_like(same)),
        eer_within_sex=error_rate(same_sex),
        same=float(scores[same].mean()),
        other=float(scores[~same].mean()),
        other_same_sex=float(scores[~same & same_sex].mean()),
    )


def measure(first: int, people: int, clips: int, seconds: float, nuisance: float) -> Similarity:
    """Synthesise and embed `clips` clips of the identities from `first` on."""
    speakers, encoder = sample_identities(np.arange(first, first + people)), load_voice_encoder()
    waves = [
        synthesise_clip(speakers, i, clip, seconds=seconds, nuisance=nuisance).samples / np.float32(32768)
        for i in range(people)
        for clip in range(clips)
    ]
    owners = np.repeat(np.arange(people), clips)
    return compare_clips(encoder.embed(waves), owners.tolist(), speakers.sex[owners].tolist())


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How different the synthetic voices are to a real encoder.")
    parser.add_argument("--first", type=int, default=0, help="number of the first identity (default: 0)")
    parser.add_argument("--people", type=int, default=40, help="default: 40")
    parser.add_argument("--clips", type=int, default=3, help="clips of each person (default: 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a clip (default: 4)")
    parser.add_argument("--nuisance", type=float, default=1.0, help="0: clean recordings (default: 1)")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    found = measure(options.first, options.people, options.clips, options.seconds, options.nuisance)
    print("EER %  within sex %   same  other  other of the same sex")
    print(
        f"{100 * found.eer:5.1f}  {100 * found.eer_within_sex:12.1f}  {found.same:.3f}  {found.other:.3f}"
        f"  {found.other_same_sex:.3f}"
    )


if __name__ == "__main__":
    main()
