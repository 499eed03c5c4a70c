"""Near duplicates: pictures that look alike, and clips that hold the same sound.

Pictures are compared by a perceptual hash: the signs of the lowest frequencies of the discrete cosine
transform (Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010). Clips are
compared by their spectra over time, which survive other encoders and levels; the shift between them is found
by correlation.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FRAMES_PER_SECOND",
    "HASH_BITS",
    "KEPT_ALIKE",
    "SAME_PICTURE_BITS",
    "SAME_PICTURE_DISTANCE",
    "SAME_SOUND_CORRELATION",
    "SIMILAR_VOICE_COSINE",
    "compute_fingerprint",
    "find_near_duplicate_pictures",
    "find_repeated_clips",
    "fingerprint_correlations",
    "hash_picture",
]

Array = NDArray[np.float32]
HASH_BITS = 64
SAME_PICTURE_BITS = 4
"""Bits by which the hashes of two near-duplicate pictures differ at most.

Measured: a crop scaled and encoded as JPEG of quality 40 differs by 4 bits or fewer (107 of 108); two
photographs of one person by 8 or more (41 photographs, 6 people)."""
SAME_PICTURE_DISTANCE = 0.25
"""Euclidean distance of the face embeddings of two near-duplicate pictures, at most."""
KEPT_ALIKE = 3
"""Pictures of one series that are kept although they look alike: of a person who hardly moves, all do."""
SAME_SOUND_CORRELATION = 0.8
"""Correlation of the fingerprints of two clips with the same sound, at least.

Measured on 71 clips of 5 s of real speakers: 0.92 or more for the same sound in AAC of 24 and 64 kbit/s at
half the level with other ends; 0.70 or less for different sounds (2,485 pairs)."""
SIMILAR_VOICE_COSINE = 0.8
"""Cosine of the voice embeddings of two clips below which they are not compared."""
FRAMES_PER_SECOND = 40
_BIT_COUNTS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1).astype(np.uint8)
_HASHED_SIDE, _HASHED_CORNER = 32, 8
_FRAME, _HOP, _BANDS = 1600, 400, 16
_BLOCK = 2048
_MIN_OVERLAP = 0.8  # of the shorter clip


def hash_picture(image: NDArray[np.uint8]) -> int:
    """Perceptual hash of an RGB picture (H, W, 3) uint8, a number of 64 bits."""
    import cv2

    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_HASHED_SIDE, _HASHED_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:_HASHED_CORNER, :_HASHED_CORNER].reshape(-1)
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def find_near_duplicate_pictures(
    hashes: Sequence[int],
    embeddings: NDArray[np.floating] | None = None,
    series: Sequence[object] | None = None,
    *,
    max_bits: int = SAME_PICTURE_BITS,
    max_distance: float = SAME_PICTURE_DISTANCE,
) -> list[int | None]:
    """Find the pictures that look like an earlier one that is kept.

    Args:
        hashes: of N pictures, the ones to keep first.
        embeddings: (N, D) of their faces; near duplicates are also this close there. None: hashes alone.
        series: name of the series of each picture, such as its face track. The first `KEPT_ALIKE` pictures of
            a series are kept if they look like others of their own series only. None: there are no series.
        max_bits: largest difference of the hashes.
        max_distance: largest Euclidean distance of the embeddings.

    Returns:
        For every picture the position of the picture that it repeats, or None.
    """
    result: list[int | None] = [None] * len(hashes)
    rows = _hash_bytes(hashes)
    kept = np.zeros(len(hashes), bool)
    names = list(series) if series is not None else list(range(len(hashes)))
    numbers = {name: place for place, name in enumerate(dict.fromkeys(names))}
    groups = np.array([numbers[name] for name in names], np.int64)
    counts = np.zeros(len(numbers), np.int64)
    for number in range(len(hashes)):
        alike = kept[:number] & (_BIT_COUNTS[rows[:number] ^ rows[number]].sum(1) <= max_bits)
        earlier = np.flatnonzero(alike)
        if embeddings is not None and len(earlier):
            away = np.linalg.norm(embeddings[earlier] - embeddings[number], axis=1)
            earlier = earlier[away <= max_distance]
        own = groups[number]
        if counts[own] < KEPT_ALIKE and (groups[earlier] == own).all():
            earlier = earlier[:0]
        kept[number] = not len(earlier)
        counts[own] += kept[number]
        result[number] = int(earlier[0]) if len(earlier) else None
    return result


def _hash_bytes(hashes: Sequence[int]) -> NDArray[np.uint8]:
    """Hashes as rows of 8 bytes."""
    data = b"".join(value.to_bytes(HASH_BITS // 8, "big") for value in hashes)
    return np.frombuffer(data, np.uint8).reshape(len(hashes), HASH_BITS // 8)


def compute_fingerprint(waveform: NDArray[np.floating]) -> NDArray[np.float16]:
    """Fingerprint of a clip: logarithmic energies of 16 mel bands to 4 kHz, 40 a second, without means.

    Args:
        waveform: (T,), 16 kHz, any scale.

    Returns:
        (frames, 16); at least one frame.
    """
    from voiceface.audio.mel import slaney_mel_filterbank

    wave = np.asarray(waveform, np.float32)
    wave = np.pad(wave, (0, max(0, _FRAME - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(wave, _FRAME)[::_HOP] * np.hanning(_FRAME)
    power = np.square(np.abs(np.fft.rfft(frames, axis=1)))
    bank = slaney_mel_filterbank(_FRAME, _BANDS, 100.0, 4000.0).numpy()
    energies = power @ bank
    floor = max(
        float(energies.max()) * 1e-4, 1e-20
    )  # 40 dB below the loudest: noise of encoders is not heard
    bands = np.log(np.maximum(energies, floor))
    return (bands - bands.mean(0)).astype(np.float16)


def fingerprint_correlations(
    fingerprint: NDArray[np.floating], others: Sequence[NDArray[np.floating]]
) -> NDArray[np.float64]:
    """Largest correlation of a fingerprint with others over all shifts that leave most of the shorter one.

    Args:
        fingerprint: (frames, bands).
        others: K of them, of any lengths.

    Returns:
        (K,), -1...1.
    """
    if not others:
        return np.zeros(0)
    size = _transform_size([fingerprint, *others])
    spectra = [_transform(each, size) for each in (fingerprint, *others)]
    return _correlate(fingerprint, spectra[0], others, np.stack(spectra[1:]), size)


def _transform_size(fingerprints: Sequence[NDArray[np.floating]]) -> int:
    """Length of the transform that keeps all shifts of two fingerprints apart."""
    from scipy.fft import next_fast_len

    return int(next_fast_len(2 * max(map(len, fingerprints)), real=True))


def _transform(fingerprint: NDArray[np.floating], size: int) -> NDArray[np.complex64]:
    """Spectrum over time of every band, (bands, size // 2 + 1)."""
    return np.fft.rfft(np.asarray(fingerprint, np.float32), size, axis=0).T.astype(np.complex64)


def _correlate(
    one: NDArray[np.floating],
    spectrum: NDArray[np.complex64],
    others: Sequence[NDArray[np.floating]],
    spectra: NDArray[np.complex64],
    size: int,
) -> NDArray[np.float64]:
    """`fingerprint_correlations` from spectra: shift s moves `one` to later frames of the others."""
    products = np.fft.irfft(np.einsum("kbf,bf->kf", spectra, spectrum.conj()), size, axis=1)
    length, lengths = len(one), np.array([len(each) for each in others])
    shifts = np.concatenate([np.arange(size // 2), np.arange(-(size - size // 2), 0)])
    starts = np.clip(shifts[None], 0, lengths[:, None])
    ends = np.clip(shifts[None] + length, 0, lengths[:, None])
    own = np.concatenate([[0.0], np.cumsum(np.square(np.asarray(one, np.float64)).sum(1))])
    sums = np.zeros((len(others), int(lengths.max()) + 1))
    for row, each in zip(sums, others):
        row[1 : len(each) + 1] = np.cumsum(np.square(np.asarray(each, np.float64)).sum(1))
    theirs = np.take_along_axis(sums, ends, 1) - np.take_along_axis(sums, starts, 1)
    places = np.clip(np.stack([starts, ends]) - shifts, 0, length)
    powers = theirs * (own[places[1]] - own[places[0]])
    usable = (ends - starts >= _MIN_OVERLAP * np.minimum(lengths, length)[:, None]) & (powers > 1e-9)
    best = np.where(usable, products / np.sqrt(np.maximum(powers, 1e-9)), -1.0)
    return np.where(usable.any(1), best.max(1), 0.0)


def find_repeated_clips(
    fingerprints: Sequence[NDArray[np.floating]],
    embeddings: NDArray[np.floating],
    *,
    min_correlation: float = SAME_SOUND_CORRELATION,
    min_cosine: float = SIMILAR_VOICE_COSINE,
) -> list[int | None]:
    """Find the clips that hold the same sound as an earlier one that is kept, also by another encoder.

    Args:
        fingerprints: of N clips, the ones to keep first.
        embeddings: (N, D) of their voices, unit length; only pairs of similar voices are compared.
        min_correlation: of the fingerprints of the same sound.
        min_cosine: of the embeddings of pairs that are compared.

    Returns:
        For every clip the position of the clip that it repeats, or None.
    """
    result: list[int | None] = [None] * len(fingerprints)
    if not fingerprints:
        return result
    rows = np.asarray(embeddings, np.float32)
    found: list[NDArray[np.int64]] = []
    for start in range(0, len(rows), _BLOCK):  # rows of later clips, columns of earlier ones
        pairs = np.argwhere(np.tril(rows[start : start + _BLOCK] @ rows.T >= min_cosine, start - 1))
        found.append(pairs.astype(np.int64) + np.array([start, 0]))
    candidates = np.concatenate(found).tolist()
    size = _transform_size(fingerprints)
    spectra = [_transform(each, size) for each in fingerprints]
    for later, group in itertools.groupby(candidates, key=lambda pair: pair[0]):
        earlier = [k for _, k in group if result[k] is None]
        if not earlier:
            continue
        found_values = _correlate(
            fingerprints[later],
            spectra[later],
            [fingerprints[k] for k in earlier],
            np.stack([spectra[k] for k in earlier]),
            size,
        )
        if found_values.max() >= min_correlation:
            result[later] = earlier[int(found_values.argmax())]
    return result
