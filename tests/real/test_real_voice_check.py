"""Clips with another voice, found by the real voice encoder: synthetic voices, and real ones if at hand.

Synthetic voices resemble each other more than real ones, so that fewer of them are found.
"""

from collections.abc import Callable

import numpy as np
import pytest
from debian_packages import SPEECH, PackagesUnavailableError, fetch_packages, find_speakers
from numpy.typing import NDArray
from verification_tables import cut_clips
from voiceface.preparation.voice_check import check_voices
from voiceface.real.voice_encoder import load_voice_encoder
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.voice.speech_synthesis import synthesise_clip

Array = NDArray[np.float32]
OWN_CLIPS = 4


def measure(voices: list[Array], is_other: Callable[[int, int], bool]) -> tuple[float, float, float]:
    """Share of own clips that are lost; the same, and share of intruders found, with one intruder per person.

    Args:
        voices: embeddings of each person, (N, 256).
        is_other: whether clips of the second person are put under the name of the first.
    """
    alone = [reason != "" for own in voices for reason in check_voices(own, ["a"] * len(own))]
    lost, found = [], []
    for first, own in enumerate(voices):
        for second, others in enumerate(voices):
            if first != second and is_other(first, second):
                mixed = np.concatenate([own[:OWN_CLIPS], others[:1]])
                *kept, intruder = check_voices(mixed, ["a"] * len(mixed))
                lost += [reason != "" for reason in kept]
                found.append(intruder != "")
    return float(np.mean(alone)), float(np.mean(lost)), float(np.mean(found))


def test_synthetic_voices_of_other_people():
    people, encoder = sample_identities(range(20), seed=3), load_voice_encoder("onnxruntime")
    voices = [
        encoder.embed(
            [synthesise_clip(people, row, clip, seconds=3).samples / np.float32(32768) for clip in range(5)]
        )
        for row in range(len(people))
    ]
    alone, lost, found = measure(voices, lambda one, other: people.sex[one] != people.sex[other])
    print(f"\nsynthetic voices: {alone:.1%} and {lost:.1%} of own clips lost, {found:.1%} of intruders found")
    assert alone <= 0.01
    assert lost <= 0.05
    assert found >= 0.35


def test_real_voices_of_other_people(request: pytest.FixtureRequest):
    folder = request.config.getoption("--packages")
    if folder is None:
        pytest.skip("the session `nox -s real` keeps Debian's packages; else give --packages FOLDER")
    try:
        speakers = find_speakers(fetch_packages(folder, SPEECH))
    except PackagesUnavailableError as error:
        pytest.skip(str(error))
    names, clips = cut_clips({name: speakers[name] for name in sorted(speakers)[::2]})
    embeddings, owners = load_voice_encoder("onnxruntime").embed(clips), np.array(names)
    voices = [embeddings[owners == name] for name in sorted(set(names)) if names.count(name) > OWN_CLIPS]
    alone, lost, found = measure(voices, lambda one, other: True)
    print(
        f"\n{len(voices)} voices: {alone:.1%}, {lost:.1%} of own clips lost, {found:.1%} of intruders found"
    )
    assert alone <= 0.03
    assert lost <= 0.05
    assert found >= 0.65
