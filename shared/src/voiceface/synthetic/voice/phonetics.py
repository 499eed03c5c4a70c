"""Phonetic content of a synthetic clip: phones, syllables, pauses, and control tracks for the synthesiser.

Slots of the counters, stream "clip", item = clip: 0 mood, 4 leading silence, 5 trailing silence, from 1024 on
16 per syllable (0 whether there is a consonant, 1 consonant, 2 vowel, 3 and 4 their durations, 5 syllables to
the next pause, 6 pause, 7 accent, 8 loudness). melody.py has slots, too.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.counter_rng import normals, uniforms
from voiceface.synthetic.identities import Identities
from voiceface.synthetic.voice.melody import TREMOR_SLOT, Timing, compute_melody
from voiceface.synthetic.voice.voice_traits import voice_traits

__all__ = [
    "CONSONANTS",
    "F0_LOG_SD",
    "F0_MEDIAN_HZ",
    "FEMALE_TRACT_CM",
    "FIXED_FORMANTS",
    "FRAME_RATE",
    "FULL_INVENTORY",
    "INVENTORIES",
    "MALE_TRACT_CM",
    "PHONES",
    "SILENCE",
    "VOWELS",
    "ControlTracks",
    "Phone",
    "PhoneInventory",
    "build_tracks",
    "generate_control_tracks",
    "median_f0",
    "speaker_formants",
    "vocal_tract_length",
]

FRAME_RATE = 100  # control frames per second
MALE_TRACT_CM, FEMALE_TRACT_CM = 16.9, 14.6
F0_MEDIAN_HZ = (208.0, 118.0)  # women, men
F0_LOG_SD = (0.12, 0.15)  # SD of log f0 within sex
FIXED_FORMANTS = (3550.0, 4500.0)  # F4, F5 of every phone
_FIRST_SYLLABLE, _SYLLABLE_SLOTS = 1024, 16


class Phone(NamedTuple):
    """Phone of the male reference (tract 16.9 cm): Hz, seconds, amplitudes relative to those of vowels."""

    name: str
    f1: float
    f2: float
    f3: float
    duration: float = 0.14
    voicing: float = 1.0
    aspiration: float = 0.0
    frication: float = 0.0
    frication_centre: float = 2000.0
    frication_bandwidth: float = 1500.0
    nasality: float = 0.0
    is_stop: bool = False


VOWELS = (
    Phone("i", 342, 2322, 3000, nasality=0.25),
    Phone("ih", 427, 2034, 2684, nasality=0.25),
    Phone("eh", 580, 1799, 2605, nasality=0.25),
    Phone("ae", 588, 1952, 2601, nasality=0.25),
    Phone("ah", 768, 1333, 2522, nasality=0.25),
    Phone("aw", 652, 997, 2538, nasality=0.25),
    Phone("uh", 469, 1122, 2434, nasality=0.25),
    Phone("u", 378, 997, 2343, nasality=0.25),
    Phone("ax", 623, 1200, 2550, nasality=0.25),
    Phone("er", 474, 1379, 1710, nasality=0.25),
)
CONSONANTS = (
    Phone("s", 320, 1700, 2600, 0.10, 0, 0, 1, 6200, 1500),
    Phone("sh", 320, 1900, 2500, 0.11, 0, 0, 1, 3600, 1300),
    Phone("f", 320, 1100, 2300, 0.09, 0, 0, 0.35, 5000, 5000),
    Phone("z", 300, 1700, 2600, 0.08, 0.5, 0, 0.5, 6200, 1500),
    Phone("v", 300, 1100, 2300, 0.07, 0.6, 0, 0.15, 5000, 5000),
    Phone("h", 500, 1500, 2500, 0.07, 0, 0.8),
    Phone("p", 320, 900, 2300, 0.09, 0, 0.2, 0.25, 1200, 1500, is_stop=True),
    Phone("t", 320, 1750, 2700, 0.09, 0, 0.25, 0.7, 4500, 2000, is_stop=True),
    Phone("k", 320, 1900, 2300, 0.09, 0, 0.3, 0.6, 2000, 900, is_stop=True),
    Phone("b", 320, 900, 2300, 0.07, 0.35, 0, 0.1, 1000, 1500, is_stop=True),
    Phone("d", 320, 1750, 2700, 0.06, 0.35, 0, 0.25, 4300, 2000, is_stop=True),
    Phone("g", 320, 1900, 2300, 0.07, 0.35, 0, 0.25, 2000, 900, is_stop=True),
    Phone("m", 260, 1100, 2300, 0.08, 0.6, nasality=1),
    Phone("n", 260, 1500, 2600, 0.07, 0.6, nasality=1),
    Phone("l", 360, 1200, 2600, 0.07, 0.7),
    Phone("r", 340, 1150, 1600, 0.07, 0.7),
    Phone("w", 300, 700, 2200, 0.07, 0.7),
    Phone("y", 280, 2200, 2950, 0.06, 0.7),
)
SILENCE = Phone("silence", 500, 1500, 2500, 0, 0)
PHONES = (*VOWELS, *CONSONANTS, SILENCE)
_SILENCE_INDEX = len(PHONES) - 1


@dataclass(frozen=True)
class PhoneInventory:
    """Phones of a synthetic language and how its syllables are made; a speaker's voice does not depend on it.

    Attributes:
        name: of the inventory.
        vowels: indices into PHONES, drawn with equal probability.
        consonants: likewise.
        consonant_probability: share of the syllables that begin with a consonant.
        vowel_scale: factor on the duration of vowels.
    """

    name: str
    vowels: tuple[int, ...]
    consonants: tuple[int, ...]
    consonant_probability: float = 0.85
    vowel_scale: float = 1.0

    @classmethod
    def from_names(
        cls, name: str, vowels: str, consonants: str, probability: float, scale: float
    ) -> "PhoneInventory":
        """Build an inventory from names of phones, separated by blanks."""
        places = {phone.name: index for index, phone in enumerate(PHONES)}
        first, second = (tuple(places[phone] for phone in names.split()) for names in (vowels, consonants))
        return cls(name, first, second, consonant_probability=probability, vowel_scale=scale)


FULL_INVENTORY = PhoneInventory(
    "all", tuple(range(len(VOWELS))), tuple(range(len(VOWELS), len(VOWELS) + len(CONSONANTS)))
)
"""All phones: the speech of every population."""
INVENTORIES = (
    PhoneInventory.from_names(
        "front", "i ih eh ae ah er", "s sh f z v t d k l r y n", probability=0.95, scale=0.85
    ),
    PhoneInventory.from_names("back", "ah aw uh u ax i", "h p b t d k g m n w r", probability=0.7, scale=1.2),
)
"""Two inventories that share some phones: front vowels, fricatives and short syllables; back vowels, stops
and long syllables."""
_PHONE_TABLE = np.array([phone[1:] for phone in PHONES], float)  # one row per phone, columns as in Phone


@dataclass(frozen=True)
class ControlTracks:
    """Control tracks at FRAME_RATE; frame n is at n / FRAME_RATE seconds.

    Attributes:
        phone: (F,) index into PHONES.
        f0: (F,) Hz, also in unvoiced frames.
        formants: (F, 5) Hz.
        nasality: (F,) 0 to 1.
        voicing: (F,) amplitude of the pulses, 0 to 1.
        aspiration: (F,) amplitude of breath noise independent of voicing.
        frication: (F,) amplitude of frication noise.
        frication_centre: (F,) Hz, centre of the frication band.
        frication_bandwidth: (F,) Hz, width of the frication band.
    """

    phone: NDArray[np.int64]
    f0: NDArray[np.float64]
    formants: NDArray[np.float64]
    nasality: NDArray[np.float64]
    voicing: NDArray[np.float64]
    aspiration: NDArray[np.float64]
    frication: NDArray[np.float64]
    frication_centre: NDArray[np.float64]
    frication_bandwidth: NDArray[np.float64]


@dataclass(frozen=True)
class _SyllableEffects:
    """Factor on the loudness and reduction of vowels, (F,) each."""

    loudness: NDArray[np.float64]
    reduction: NDArray[np.float64]


def vocal_tract_length(identities: Identities, index: int) -> float:
    """Return the length of the vocal tract of row `index`, cm."""
    return (FEMALE_TRACT_CM, MALE_TRACT_CM)[identities.sex[index]] * float(
        np.exp(0.045 * identities.voice_factors[index, 1])
    )


def median_f0(identities: Identities, index: int) -> float:
    """Return the median f0 of row `index` without mood and melody, Hz."""
    sex = identities.sex[index]
    return F0_MEDIAN_HZ[sex] * float(np.exp(F0_LOG_SD[sex] * identities.voice_factors[index, 0]))


def generate_control_tracks(
    identities: Identities,
    index: int,
    clip: int,
    *,
    seed: int,
    seconds: float,
    nuisance: float = 1.0,
    inventory: PhoneInventory = FULL_INVENTORY,
) -> ControlTracks:
    """Generate syllables with pauses, silence at both ends, melody and coarticulation.

    Args:
        identities: the population.
        index: row of the speaker.
        clip: clip number.
        seed: population seed.
        seconds: length of the clip in s.
        nuisance: factor on the effect of mood on f0.
        inventory: phones of the language that is spoken.

    Returns:
        Control tracks of ceil(seconds * FRAME_RATE) + 1 frames.
    """
    k = int(identities.ids[index])
    traits = voice_traits(identities, index)
    max_silence = min(0.3, 0.15 * seconds)  # short clips contain speech, too
    ends = max_silence * uniforms(seed, k, "clip", clip, 2, start=4)
    count = int(np.ceil(seconds * 14)) + 4
    slots = _SYLLABLE_SLOTS
    u = uniforms(seed, k, "clip", clip, count * slots, start=_FIRST_SYLLABLE).reshape(count, slots)
    rate = float(np.exp(0.12 * identities.speaking_rate[index] - 0.06 * identities.voice_factors[index, 7]))
    consonant, vowel = (
        np.array(phones)[(u[:, slot] * len(phones)).astype(int)]
        for slot, phones in ((1, inventory.consonants), (2, inventory.vowels))
    )
    spoken = _PHONE_TABLE[consonant, 3] * (0.8 + 0.45 * u[:, 3])
    spoken = np.where(u[:, 0] < inventory.consonant_probability, spoken, 0)
    consonant_time = spoken * traits.consonant_duration / rate
    vowel_time = inventory.vowel_scale * (0.08 + 0.12 * u[:, 4]) * traits.vowel_duration / rate
    phrases = 4 + (u[:, 5] * 5 + traits.phrase_extra).astype(int)
    phrase_ends = np.cumsum(phrases) - 1  # number of the last syllable of each phrase
    pause_time = np.where(np.isin(np.arange(count), phrase_ends), 0.15 + 0.3 * u[:, 6], 0)
    pause_time *= traits.pause_duration

    times = np.arange(int(np.ceil(seconds * FRAME_RATE)) + 1) / FRAME_RATE
    speech_end = seconds - ends[1]
    lengths = np.stack([consonant_time, vowel_time, pause_time], 1).ravel()
    bounds = ends[0] + np.concatenate([[0], np.cumsum(lengths)])
    labels = np.stack([consonant, vowel, np.full(count, _SILENCE_INDEX)], 1).ravel()
    segment = np.clip(np.searchsorted(bounds, times, side="right") - 1, 0, len(labels) - 1)
    phone = np.where(
        (times < bounds[0]) | (times >= min(speech_end, bounds[-1])), _SILENCE_INDEX, labels[segment]
    )
    fraction = (times - bounds[segment]) / np.maximum(lengths[segment], 1e-9)

    spread = 2.2 * float(np.exp(0.25 * identities.pitch_range[index])) * traits.pitch_range
    numbers = normals(seed, k, "clip", clip, count * slots, start=_FIRST_SYLLABLE).reshape(count, slots)
    timing = Timing(times, bounds, vowel_time, pause_time, speech_end)
    tremor = uniforms(seed, k, "clip", clip, 2, start=TREMOR_SLOT)
    semitones = compute_melody(timing, 0.9 * spread * numbers[:, 7], spread, traits, tremor)
    mood = float(np.exp(0.05 * nuisance * normals(seed, k, "clip", clip, 1)[0]))
    f0 = np.clip(median_f0(identities, index) * mood * 2 ** (semitones / 12), 55, 450)
    syllable = segment // 3
    effects = _SyllableEffects(
        loudness=10 ** (traits.loudness_range * np.clip(numbers[syllable, 8], -2, 2) / 20),
        reduction=traits.reduction * (1 - u[syllable, 4]),
    )
    return build_tracks(identities, index, phone, fraction, f0, effects)


def speaker_formants(identities: Identities, index: int) -> NDArray[np.float64]:
    """Compute the formants of all phones as row `index` speaks them, Hz, shape (phones, 5)."""
    v, traits = identities.voice_factors[index], voice_traits(identities, index)
    log = np.log(np.column_stack([_PHONE_TABLE[:, :3], np.tile(FIXED_FORMANTS, (len(PHONES), 1))]))
    centre = log[: len(VOWELS), :2].mean(0)
    space = float(np.exp(0.08 * identities.vowel_space[index] + traits.vowel_space))
    offset = 0.04 * identities.vowel_offset[index] + identities.vowel_shift[index]
    log[: len(VOWELS), :2] = centre + space * (log[: len(VOWELS), :2] - centre) + offset
    log[: len(VOWELS), :3] += traits.vowel_shift
    log += traits.formant_shift
    factor = [0.055 * v[2], -0.04 * v[2], 0.05 * v[4], 0.05 * v[5], 0.05 * v[5]]
    formants = np.exp(log + factor) * (MALE_TRACT_CM / vocal_tract_length(identities, index))
    formants[:, 4] = np.minimum(formants[:, 4], 7600)
    for lower, gap in ((3, 350), (2, 300), (1, 250), (0, 150)):
        formants[:, lower] = np.minimum(formants[:, lower], formants[:, lower + 1] - gap)
    return formants


def build_tracks(
    identities: Identities,
    index: int,
    phone: NDArray[np.int64],
    phone_fraction: NDArray[np.float64],
    f0: NDArray[np.float64],
    effects: "_SyllableEffects | None" = None,
) -> ControlTracks:
    """Smooth the targets of phones: formants over 70 ms, amplitudes and bands 30 ms, nasality 50 ms.

    Args:
        identities: the population.
        index: row of the speaker.
        phone: (F,) index into PHONES.
        phone_fraction: (F,) position within the phone, 0 to 1; stops are closed below 0.6.
        f0: (F,) Hz.
        effects: of the syllables on loudness and vowels; None: all are alike.
    """
    row, traits = _PHONE_TABLE[phone], voice_traits(identities, index)
    targets = np.log(speaker_formants(identities, index))
    formants = targets[phone]
    closed = (row[:, 10] > 0) & (phone_fraction < 0.6)
    amplitudes = row[:, 4:7] * np.where(closed[:, None], [0.5, 0, 0], 1)
    if effects is not None:
        amplitudes *= effects.loudness[:, None]
        pull = np.where(phone < len(VOWELS), effects.reduction, 0)[:, None]
        formants += pull * (targets[: len(VOWELS)].mean(0) - formants)
    amplitudes = _smooth(amplitudes, 3)
    scale = float(np.exp(0.13 * identities.voice_factors[index, 5])) * (1.12, 1.0)[identities.sex[index]]
    centre = row[:, 7] * np.where(row[:, 7] < 3000, np.sqrt(scale), scale)
    bands = _smooth(np.log(np.column_stack([centre, row[:, 8] * traits.frication_width])), 3)
    return ControlTracks(
        phone=phone,
        f0=f0,
        formants=np.exp(_smooth(formants, traits.coarticulation)),
        nasality=_smooth(row[:, 9:10], 5)[:, 0],
        voicing=amplitudes[:, 0],
        aspiration=amplitudes[:, 1],
        frication=amplitudes[:, 2] * traits.frication_level,
        frication_centre=np.exp(bands[:, 0]),
        frication_bandwidth=np.exp(bands[:, 1]),
    )


def _smooth(track: NDArray[np.float64], taps: int) -> NDArray[np.float64]:
    """Smooth (F, C) by a Hann window of `taps` frames, edges repeated."""
    weights = np.hanning(taps + 2)[1:-1]
    weights /= weights.sum()
    padded = np.pad(track, ((taps // 2, taps // 2), (0, 0)), mode="edge")
    total = np.zeros_like(track)
    for offset, weight in enumerate(weights):
        total += weight * padded[offset : offset + len(track)]
    return total
