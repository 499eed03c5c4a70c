"""Identities of the synthetic population: factors, sex, age, names, splits.

Identity k has a sex, eight voice factors v, eight face factors g = c v + sqrt(1 - c^2) w, and nuisance
variables that are independent between voice and face. It depends on (seed, k) only, not on the number of
identities; its voice does not depend on the coupling c.

Slots of the counters (see counter_rng.py), item 0 unless stated
    shared  0 sex, 1-8 v, 9 height, 10 nationality, 11 number of videos; 64 + 2 video: video id (2 words)
    voice   0 rate, 1 pitch range, 2 vowel space, 3-22 vowel offsets (10 vowels x F1, F2);
            item 1 + video: channel and room
    face    0-7 w, 8 sex of the face (share_sex off), 16-55 q, from 64 on appearance;
            item 1 + video: light and background
    lists   0-1 name
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voiceface.synthetic.counter_rng import integers, normals, uniforms

__all__ = [
    "FACTORS",
    "HEIGHT_MEAN_SD_MM",
    "NATIONALITIES",
    "NUM_SHAPE_COEFFICIENTS",
    "NUM_STANDARD_IDENTITIES",
    "NUM_VOWELS",
    "SPLIT_INITIALS",
    "SPLIT_RANGES",
    "VIDEO_ID_ALPHABET",
    "Identities",
    "build_factor_table",
    "compose_face_names",
    "compose_video_id",
    "compute_factor_digest",
    "face_name",
    "factor_correlations",
    "get_clip_video",
    "get_image_video",
    "get_split",
    "num_videos",
    "sample_identities",
    "video_id",
    "voice_id",
]

FACTORS = ("larynx", "length", "proportion", "nasal", "lip", "dental", "tissue", "age")
NATIONALITIES = (
    "Arvenia", "Belmora", "Cintara", "Dravony", "Eskelund", "Farovar", "Galdesh", "Hestrova",
)  # fmt: skip
HEIGHT_MEAN_SD_MM = ((1629.0, 64.0), (1756.0, 69.0))  # female, male: mean, SD
NUM_STANDARD_IDENTITIES = 1251
SPLIT_RANGES = {"val": (0, 116), "test": (116, 309), "train": (309, NUM_STANDARD_IDENTITIES)}
SPLIT_INITIALS = {"val": "AB", "test": "CDE", "train": "FGHIJKLMNOPQRSTUVWXYZ"}
VIDEO_ID_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
NUM_VOWELS = 10
NUM_SHAPE_COEFFICIENTS = 40


@dataclass(frozen=True)
class Identities:
    """N identities of one population, one row each in all arrays.

    Attributes:
        seed: population seed.
        ids: (N,) identity numbers.
        sex: (N,) of the voice and in the tables, 0 female, 1 male.
        face_sex: (N,) of the face; equals `sex` unless sampled with share_sex=False.
        voice_factors: (N, 8) voice factors, N(0, 1) within sex.
        face_factors: (N, 8) face factors, N(0, 1) within sex.
        coupling: (8,) correlation of v_j and g_j within sex.
        shape_nuisance: (N, 40) face-shape nuisance, N(0, 1).
        age: (N,) years, integers 18 to 85; a function of g_7.
        height: (N,) mm.
        nationality: (N,) index into NATIONALITIES.
        confound: effect of nationality on voice and skin, 0 to 1.
        speaking_rate: (N,) speaking-rate nuisance, N(0, 1).
        pitch_range: (N,) pitch-range nuisance, N(0, 1).
        vowel_space: (N,) vowel-space-size nuisance, N(0, 1).
        vowel_offset: (N, 10, 2) per-vowel nuisance of log F1 and log F2, N(0, 1).
        vowel_shift: (N, 10, 2) shift of log F1 and log F2 by nationality; all 0 when confound is 0.
        skin_shift: (N,) shift of the skin tone by nationality, in SDs of the tone; 0 when confound is 0.
    """

    seed: int
    ids: NDArray[np.int64]
    sex: NDArray[np.int64]
    face_sex: NDArray[np.int64]
    voice_factors: NDArray[np.float64]
    face_factors: NDArray[np.float64]
    coupling: NDArray[np.float64]
    shape_nuisance: NDArray[np.float64]
    age: NDArray[np.int64]
    height: NDArray[np.float64]
    nationality: NDArray[np.int64]
    confound: float
    speaking_rate: NDArray[np.float64]
    pitch_range: NDArray[np.float64]
    vowel_space: NDArray[np.float64]
    vowel_offset: NDArray[np.float64]
    vowel_shift: NDArray[np.float64]
    skin_shift: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def voice_ids(self) -> list[str]:
        """Voice ids, one per row."""
        return [voice_id(k) for k in self.ids.tolist()]

    @property
    def face_names(self) -> list[str]:
        """Face names, one per row."""
        return compose_face_names(self.ids.tolist(), seed=self.seed)

    @property
    def genders(self) -> list[str]:
        """Gender letters m and f, one per row."""
        return ["fm"[sex] for sex in self.sex.tolist()]

    @property
    def nationalities(self) -> list[str]:
        """Names of nationalities, one per row."""
        return [NATIONALITIES[index] for index in self.nationality.tolist()]

    @property
    def splits(self) -> list[str]:
        """Splits (train, val, test), one per row."""
        return [get_split(k) for k in self.ids.tolist()]

    def take(self, rows: ArrayLike) -> "Identities":
        """Select rows by indices or a boolean mask."""
        keep = np.asarray(rows)
        names = [f.name for f in fields(self) if f.name not in ("seed", "coupling", "confound")]
        return replace(self, **{name: getattr(self, name)[keep] for name in names})


def sample_identities(
    ids: ArrayLike,
    *,
    seed: int = 0,
    rho: float | Sequence[float] = 0.7,
    factor_scales: Sequence[float] | None = None,
    share_sex: bool = True,
    confound: float = 0.0,
) -> Identities:
    """Sample the identities `ids` of a population.

    Args:
        ids: identity numbers, shape (N,) or one number; any order, repeats allowed.
        seed: population seed, 0 <= seed < 2**63.
        rho: coupling in [0, 1], or eight couplings, one per factor.
        factor_scales: r_j in [0, 1], shape (8,): c_j = rho r_j; default: 1.
        share_sex: voice and face have the same sex; off, the face's sex is sampled independently.
        confound: 0 (nationality is a label without effect) to 1 (it shifts vowel targets and skin tone).

    Returns:
        The identities, rows in the order of `ids`.

    Raises:
        ValueError: a value out of range or of the wrong shape.
    """
    numbers = np.atleast_1d(np.asarray(ids))
    if numbers.ndim != 1:
        raise ValueError(f"ids must be one number or a list of numbers, got shape {numbers.shape}")
    if numbers.size == 0:
        numbers = numbers.astype(np.int64)
    c = factor_correlations(rho, factor_scales)
    if not 0 <= confound <= 1:
        raise ValueError(f"confound must lie in 0 ... 1, got {confound}")
    sex = (uniforms(seed, numbers, "shared", 0, 1)[:, 0] < 0.5).astype(np.int64)
    v = normals(seed, numbers, "shared", 0, 8, start=1)
    w = normals(seed, numbers, "face", 0, 8)
    g = c * v + np.sqrt(1 - c * c) * w
    independent_sex = (uniforms(seed, numbers, "face", 0, 1, start=8)[:, 0] < 0.5).astype(np.int64)
    mean, sd = np.asarray(HEIGHT_MEAN_SD_MM)[sex].T
    height_noise = normals(seed, numbers, "shared", 0, 1, start=9)[:, 0]
    nationality_uniform = uniforms(seed, numbers, "shared", 0, 1, start=10)[:, 0]
    nationality = (nationality_uniform * len(NATIONALITIES)).astype(np.int64)
    voice = normals(seed, numbers, "voice", 0, 3 + 2 * NUM_VOWELS)
    vowel_shifts, skin_shifts = _nationality_shifts()
    return Identities(
        seed=int(seed),
        ids=numbers.astype(np.int64),
        sex=sex,
        face_sex=sex.copy() if share_sex else independent_sex,
        voice_factors=v,
        face_factors=g,
        coupling=c,
        shape_nuisance=normals(seed, numbers, "face", 0, NUM_SHAPE_COEFFICIENTS, start=16),
        age=np.rint(np.clip(42 + 13 * g[:, 7], 18, 85)).astype(np.int64),
        height=mean + sd * (0.3 * v[:, 1] + np.sqrt(0.91) * height_noise),
        nationality=nationality,
        confound=float(confound),
        speaking_rate=voice[:, 0],
        pitch_range=voice[:, 1],
        vowel_space=voice[:, 2],
        vowel_offset=voice[:, 3:].reshape(-1, NUM_VOWELS, 2),
        vowel_shift=confound * vowel_shifts[nationality],
        skin_shift=confound * skin_shifts[nationality],
    )


def factor_correlations(
    rho: float | Sequence[float], factor_scales: Sequence[float] | None = None
) -> NDArray[np.float64]:
    """Compute c_j = rho r_j, shape (8,); errors as `sample_identities`."""
    coupling = np.asarray(rho, float)
    scales = np.ones(len(FACTORS)) if factor_scales is None else np.asarray(factor_scales, float)
    for name, value in (("rho", coupling), ("factor_scales", scales)):
        if value.shape not in ((), (len(FACTORS),)):
            raise ValueError(f"{name} must be one number or {len(FACTORS)} numbers, got shape {value.shape}")
        if not ((value >= 0) & (value <= 1)).all():
            raise ValueError(f"{name} must lie in 0 ... 1, got {value.tolist()}")
    return np.broadcast_to(coupling * scales, (len(FACTORS),)).copy()


def voice_id(identity: int) -> str:
    """Return the VoxCeleb-like id: id10001 ... id11251 (standard set), id2 and seven digits beyond."""
    number = _check_identity(identity) + 1
    if number <= NUM_STANDARD_IDENTITIES:
        return f"id1{number:04d}"
    if number > 9_999_999:
        raise ValueError(f"identity numbers must be at most 9999998, got {identity}")
    return f"id2{number:07d}"


def get_split(identity: int) -> str:
    """Return the split: val for 0-115, test for 116-308, train from 309."""
    number = _check_identity(identity)
    return next((name for name, (first, end) in SPLIT_RANGES.items() if first <= number < end), "train")


def face_name(identity: int, *, seed: int = 0) -> str:
    """Return an artificial name with the number, such as "Brumo_Tal.00042": ASCII, unique, initial by split.

    Within each split of the standard set, names and ids have the same order.

    Args:
        identity: identity number.
        seed: population seed; changes syllables, not initials.
    """
    return compose_face_names([identity], seed=seed)[0]


def compose_face_names(identities: Sequence[int], *, seed: int = 0) -> list[str]:
    """Return the names of many identities; see `face_name`."""
    numbers = [_check_identity(identity) for identity in identities]
    words = integers(seed, np.array(numbers, np.int64), "lists", 0, 2).tolist()
    return [_compose_face_name(number, *pair) for number, pair in zip(numbers, words)]


def _compose_face_name(number: int, given_word: int, family_word: int) -> str:
    """Name of an identity from its two random words."""
    first, end = SPLIT_RANGES[split := get_split(number)]
    given = _given_names(split)
    index = given_word % len(given)
    if number < NUM_STANDARD_IDENTITIES:
        low, high = ((number + step - first) * len(given) // (end - first) for step in (0, 1))
        index = low + given_word % (high - low)
    return f"{given[index]}_{_FAMILY_NAMES[family_word % len(_FAMILY_NAMES)]}.{number:05d}"


def num_videos(identity: int, *, seed: int = 0) -> int:
    """Return the number of videos behind clips and images of an identity: 2, 3 or 4."""
    return 2 + int(integers(seed, _check_identity(identity), "shared", 0, 1, start=11)[0] % np.uint64(3))


def get_clip_video(identity: int, clip: int, *, seed: int = 0) -> int:
    """Return the video of a clip, 0 ... num_videos - 1, in turn.

    Channel and room are sampled per video: stream "voice", item 1 + video.
    """
    return clip % num_videos(identity, seed=seed)


def get_image_video(identity: int, image_index: int, *, seed: int = 0) -> int:
    """Return the video of an image, 0 ... num_videos - 1, in turn.

    Light and background are sampled per video: stream "face", item 1 + video. They are independent of channel
    and room of the same video.
    """
    return image_index % num_videos(identity, seed=seed)


def video_id(identity: int, video: int, *, seed: int = 0) -> str:
    """Return the id of a video: 11 letters, digits, hyphens and underscores."""
    words = integers(seed, _check_identity(identity), "shared", 0, 2, start=64 + 2 * video)
    return compose_video_id(*words.tolist())


def compose_video_id(high: int, low: int) -> str:
    """Return the id of a video from its two random words."""
    return "".join(VIDEO_ID_ALPHABET[(high << 64 | low) >> 6 * place & 63] for place in range(11))


def build_factor_table(identities: Identities) -> NDArray[np.float64]:
    """Stack number, sex and factors into a table, shape (N, 18): k, sex, v0-v7, g0-g7."""
    return np.column_stack(
        [identities.ids, identities.sex, identities.voice_factors, identities.face_factors]
    )


def compute_factor_digest(identities: Identities) -> str:
    """Compute the SHA-256 of the factor table rounded to 9 decimals, the same on every machine."""
    rounded = np.rint(build_factor_table(identities) * 1e9).astype("<i8")
    return hashlib.sha256(np.ascontiguousarray(rounded).tobytes()).hexdigest()


@cache
def _nationality_shifts() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return shifts at confound 1: vowels (8, 10, 2) in log Hz, SD 0.08; skin tone (8,) in its SDs."""
    count = len(NATIONALITIES)
    vowels = normals(0, np.arange(count), "constants", 0, 2 * NUM_VOWELS).reshape(count, NUM_VOWELS, 2)
    tone = np.linspace(-1.5, 1.5, count)[[3, 6, 0, 5, 2, 7, 1, 4]]
    return 0.08 * (vowels - vowels.mean(0)), tone


_GIVEN_NAME_VOWELS = "aeiou"
_GIVEN_NAME_ENDINGS = (
    "bdo", "brix", "dwen", "fto", "gzun", "jav", "klo", "lbu", "mbro", "mguth", "ndral", "ngo", "nvik", "pfu",
    "rgat", "rzon", "skal", "tlun", "vmar", "xo", "zbek", "zlo",
)  # fmt: skip
_FAMILY_NAMES = (
    "Bolk", "Crundal", "Drevo", "Ektor", "Frubal", "Gontrix", "Hulven", "Imbro", "Jarvok", "Kreldu", "Lomzar",
    "Mundrek", "Nolbat", "Obrek", "Plonda", "Quarvel", "Rundabo", "Skelvor", "Tal", "Umbrak", "Vontulo",
    "Wexlu", "Yandrok", "Zolgar",
)  # fmt: skip


@cache
def _given_names(split: str) -> tuple[str, ...]:
    """Return the artificial given names of one split, sorted."""
    parts = product(SPLIT_INITIALS[split], _GIVEN_NAME_VOWELS, _GIVEN_NAME_ENDINGS)
    return tuple(sorted(map("".join, parts)))


def _check_identity(value: int) -> int:
    """Convert an identity number to int."""
    number = int(value)
    if number < 0 or number != value:
        raise ValueError(f"identity numbers must be integers and at least 0, got {value}")
    return number
