"""What tells speakers apart beside the eight factors: source, throat, vowels, speaking style.

Every trait is nuisance of the identity: independent of the factors, of the face and of the coupling. Traits
that could pass for a factor have no mean where the factor acts: offsets of vowels over the vowels (factors 1,
2 and 4 move all of them), bandwidths over the formants (factor 6 widens all), F4 and F5 move against each
other (factor 5 moves both the same way).

Sizes are chosen; what varies follows the literature: frequency and damping of the glottal formant (Doval,
d'Alessandro and Henrich 2006), subglottal resonances near 600, 1450 and 2200 Hz (Lulich 2010), the zero of
the piriform fossae at 4 to 5 kHz (Dang and Honda 1997; Kitamura, Honda and Takemoto 2005), low pitch at the
ends of phrases (Redi and Shattuck-Hufnagel 2001), rate, pauses and reduction as marks of a speaker (Dellwo,
Leemann and Kolly 2015).

Slots of the counters: stream "voice", item 0, from 64 on, in the order of `_sample_traits`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.counter_rng import normals
from voiceface.synthetic.identities import NUM_VOWELS, Identities

__all__ = ["VoiceTraits", "voice_traits"]

_FIRST_SLOT, _NUM_SLOTS = 64, 104
_LIMIT = 2.0  # SDs at which a trait is clipped, so that nobody is a caricature
# What tells people apart hides the factors. With 1 instead of 0.5 and no fast curves in `_COLOUR_DB`, a small
# network that learns the factors from 500 people explains .31 of their variance.
_STRENGTH = 0.5
# SDs in dB of cosines over the mel scale, slow ones first. Fast ones, as of side cavities of a throat, would
# tell people apart better: with slow ones of a third and nine of 3 dB a real encoder has an EER of 7.5 %
# instead of 9.6 %, but a network explains .40 of the variance of the factors instead of .48.
_COLOUR_DB = _STRENGTH * np.array([1.0, 3.0, 3.0, 2.0, 1.5, 1.0, 1.0, 1.0, 1.0, 1.0])
_SUBGLOTTAL_HZ = np.array([600.0, 1450.0, 2200.0])
_FULL_SD = {  # of logarithms unless stated
    "open_quotient": 0.20,
    "glottal_damping": 0.30,
    "piriform_hz": 0.08,
    "piriform_bandwidth": 0.4,
    "subglottal_hz": 0.07,
    "subglottal_shift": 30.0,  # Hz
    "upper_formants": 0.035,
    "fixed_poles": 0.10,
    "bandwidth": 0.15,
    "nasal_hz": 0.05,
    "vowel_space": 0.05,
    "vowel_offset": 0.04,
    "third_formant": 0.03,
    "pitch_range": 0.12,
    "accent_width": 0.20,
    "accent_shift": 0.03,  # s
    "declination": 0.25,
    "final_rise": 0.60,  # semitones
    "duration": 0.15,
    "pause": 0.25,
    "phrase": 1.0,  # syllables
    "tremor": 0.5,
    "loudness": 0.4,
    "frication_width": 0.15,
    "frication_level": 2.0,  # dB
    "breath_hz": 0.30,
    "breath_slope": 0.10,
}
_SD = {name: _STRENGTH * sd for name, sd in _FULL_SD.items()}


@dataclass(frozen=True)
class VoiceTraits:
    """Traits of one speaker.

    Attributes:
        open_quotient: factor on the frequency of the glottal formant.
        glottal_damping: damping of the glottal formant.
        colour: dB, coefficients of cosines over the mel scale: what the throat does to every voiced sound.
        piriform_hz, piriform_bandwidth, piriform_depth: zero of the piriform fossae; depth 0 to 1.
        subglottal_hz: frequencies of the subglottal poles.
        subglottal_zero_hz: zeros beside them; none where they are equal.
        formant_shift: on the logarithms of F1 to F5 of every phone.
        fixed_poles: Hz, the two poles above F5.
        bandwidth_factor: factors on the bandwidths of F1 to F5.
        nasal_factor: factors on the two nasal poles.
        vowel_space: on the logarithm of the size of the vowel space.
        vowel_shift: (10, 3) on the logarithms of F1 to F3 of every vowel.
        pitch_range: factor on the range of accents and declination.
        accent_width: SD of the accents, s.
        accent_shift: of the accents against the middle of their syllables, s.
        declination: fall of a phrase, in ranges.
        final_rise: semitones at the end of a phrase.
        creak: semitones by which the pitch falls in the last 0.1 s of a phrase.
        tremor: amplitude of slow vibration of the pitch, semitones.
        vowel_duration, consonant_duration, pause_duration: factors.
        phrase_extra: added to the number of syllables of a phrase.
        reduction: share of the way to the neutral vowel that the shortest vowels go.
        coarticulation: frames over which formants are smoothed.
        loudness_range: SD of the loudness of syllables, dB.
        frication_width, frication_level: factors on width and amplitude of frication.
        breath_hz, breath_slope: corner and slope of the spectrum of breath.
    """

    open_quotient: float
    glottal_damping: float
    colour: tuple[float, ...]
    piriform_hz: float
    piriform_bandwidth: float
    piriform_depth: float
    subglottal_hz: tuple[float, ...]
    subglottal_zero_hz: tuple[float, ...]
    formant_shift: tuple[float, ...]
    fixed_poles: tuple[float, ...]
    bandwidth_factor: tuple[float, ...]
    nasal_factor: tuple[float, ...]
    vowel_space: float
    vowel_shift: NDArray[np.float64] | float
    pitch_range: float
    accent_width: float
    accent_shift: float
    declination: float
    final_rise: float
    creak: float
    tremor: float
    vowel_duration: float
    consonant_duration: float
    pause_duration: float
    phrase_extra: float
    reduction: float
    coarticulation: int
    loudness_range: float
    frication_width: float
    frication_level: float
    breath_hz: float
    breath_slope: float


def voice_traits(identities: Identities, index: int) -> VoiceTraits:
    """Return the traits of row `index`, a function of seed and identity number."""
    return _sample_traits(identities.seed, int(identities.ids[index]))


@lru_cache(maxsize=64)
def _sample_traits(seed: int, identity: int) -> VoiceTraits:
    """Sample the traits of one speaker."""
    numbers = normals(seed, identity, "voice", 0, _NUM_SLOTS, start=_FIRST_SLOT)
    draw = _Draw(iter(np.clip(numbers, -_LIMIT, _LIMIT).tolist()))
    colour = draw.many(len(_COLOUR_DB)) * _COLOUR_DB
    subglottal = _SUBGLOTTAL_HZ * draw.factor("subglottal_hz")
    against = draw.one("upper_formants")
    bandwidth = draw.many(5, _SD["bandwidth"])
    vowel = draw.many(3 * NUM_VOWELS).reshape(NUM_VOWELS, 3)
    return VoiceTraits(
        colour=tuple(colour),
        subglottal_hz=tuple(subglottal),
        subglottal_zero_hz=tuple(subglottal + draw.many(3, _SD["subglottal_shift"])),
        formant_shift=(0.0, 0.0, 0.0, against, -against),
        bandwidth_factor=tuple(np.exp(bandwidth - bandwidth.mean())),
        vowel_shift=(vowel - vowel.mean(0)) * [_SD[name] for name in _VOWEL_SDS],
        open_quotient=draw.factor("open_quotient"),
        glottal_damping=0.9 * draw.factor("glottal_damping"),
        piriform_hz=4500 * draw.factor("piriform_hz"),
        piriform_bandwidth=300 * draw.factor("piriform_bandwidth"),
        piriform_depth=float(np.clip(0.6 + 0.3 * draw.one(), 0, 1)),
        fixed_poles=(5500 * draw.factor("fixed_poles"), 6500 * draw.factor("fixed_poles")),
        nasal_factor=(draw.factor("nasal_hz"), draw.factor("nasal_hz")),
        vowel_space=draw.one("vowel_space"),
        pitch_range=draw.factor("pitch_range"),
        accent_width=0.09 * draw.factor("accent_width"),
        accent_shift=draw.one("accent_shift"),
        declination=1.5 * draw.factor("declination"),
        final_rise=draw.one("final_rise"),
        creak=max(0.0, 0.5 + draw.one()),
        tremor=0.08 * _STRENGTH * draw.factor("tremor"),
        vowel_duration=draw.factor("duration"),
        consonant_duration=draw.factor("duration"),
        pause_duration=draw.factor("pause"),
        phrase_extra=draw.one("phrase"),
        reduction=_STRENGTH * float(np.clip(0.1 + 0.075 * draw.one(), 0, 0.25)),
        coarticulation=2 * round(3.5 + 0.75 * draw.one()) + 1,
        loudness_range=0.75 * _STRENGTH * draw.factor("loudness"),
        frication_width=draw.factor("frication_width"),
        frication_level=float(10 ** (draw.one("frication_level") / 20)),
        breath_hz=800 * draw.factor("breath_hz"),
        breath_slope=draw.one("breath_slope"),
    )


_VOWEL_SDS = ("vowel_offset", "vowel_offset", "third_formant")


class _Draw:
    """Takes one random number after the other."""

    def __init__(self, numbers: Iterator[float]) -> None:
        self.numbers = numbers

    def one(self, name: str = "") -> float:
        """Return a number of SD `_SD[name]`, or 1."""
        return (_SD[name] if name else 1.0) * next(self.numbers)

    def factor(self, name: str) -> float:
        """Return a factor whose logarithm has SD `_SD[name]`."""
        return float(np.exp(self.one(name)))

    def many(self, count: int, sd: float = 1.0) -> NDArray[np.float64]:
        """Return `count` numbers of one SD."""
        return sd * np.array([next(self.numbers) for _ in range(count)])
