"""Melody of a synthetic clip: accents, declination, ends of phrases and tremor.

Slots of the counters, stream "clip", item = clip: 6 rate of the tremor, 7 its phase.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.voice.voice_traits import VoiceTraits

__all__ = ["TREMOR_SLOT", "Timing", "compute_melody"]

TREMOR_SLOT = 6
_END_SD = 0.12  # s, how long before a pause its end is heard in the pitch


@dataclass(frozen=True)
class Timing:
    """Places of syllables and phrases of one clip.

    Attributes:
        times: (F,) of the control frames, s.
        bounds: (3 S + 1,) of consonant, vowel and pause of every syllable, s.
        vowel_time: (S,) s.
        pause_time: (S,) s, 0 within a phrase.
        speech_end: s.
    """

    times: NDArray[np.float64]
    bounds: NDArray[np.float64]
    vowel_time: NDArray[np.float64]
    pause_time: NDArray[np.float64]
    speech_end: float

    @property
    def phrases(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Starts and ends of all phrases, s."""
        last = np.flatnonzero(self.pause_time > 0)
        starts = np.concatenate([self.bounds[:1], self.bounds[3 * last + 3]])
        return starts, np.concatenate([self.bounds[3 * last + 2], self.bounds[-1:]])


def compute_melody(
    timing: Timing,
    accents: NDArray[np.float64],
    spread: float,
    traits: VoiceTraits,
    tremor: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Compute the melody of a clip in semitones relative to the speaker's median, (F,).

    Args:
        timing: of the clip.
        accents: (S,) semitones.
        spread: the speaker's range, semitones.
        traits: of the speaker.
        tremor: (2,) rate and phase of the tremor, 0 to 1.
    """
    times, bounds = timing.times, timing.bounds
    middles = bounds[1:-1:3] + timing.vowel_time / 2 + traits.accent_shift
    bells = np.exp(-0.5 * ((times[:, None] - middles) / traits.accent_width) ** 2)
    semitones = bells @ accents + spread * _declination(timing, traits.declination)
    rate = 4.5 + 1.5 * tremor[0]  # Hz
    semitones += traits.tremor * np.sin(2 * np.pi * (rate * times + tremor[1]))
    ends = np.minimum(timing.phrases[1], timing.speech_end)
    near = np.exp(-0.5 * ((times[:, None] - ends) / _END_SD) ** 2).max(1)
    return np.asarray(semitones + (traits.final_rise - traits.creak) * near)


def _declination(timing: Timing, fall: float) -> NDArray[np.float64]:
    """Compute a linear fall from +0.6 at the start of each phrase to 0.6 - `fall` at its end, (F,)."""
    times, (starts, stops) = timing.times, timing.phrases
    phrase = np.clip(np.searchsorted(starts, times, side="right") - 1, 0, len(starts) - 1)
    stop = np.minimum(stops[phrase], max(timing.speech_end, timing.bounds[0] + 0.1))
    return 0.6 - fall * np.clip((times - starts[phrase]) / np.maximum(stop - starts[phrase], 0.1), 0, 1)
