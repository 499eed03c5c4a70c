"""Counter-based random numbers: every number is a hash of the place where it is used.

A number is mix64 of (seed, identity, stream, item, counter), field by field, with the SplitMix64 finaliser
(Steele, Lea and Flood 2014). There is no generator state, so results depend neither on order, nor on the
number of workers, nor on the NumPy version: integers and uniforms are exact everywhere, normals to the last
bits of log and sqrt.

Fields
    seed      population seed, 0 <= seed < 2**63
    identity  identity number
    stream    one of STREAMS; two streams never share a number
    item      clip (stream "clip") or image (stream "image"); in the streams "voice" and "face" 0 for the
              identity itself and 1 + video for what the items of one video share; 0 in "shared"
    counter   running number within the item; each module lists its own slots
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["STREAMS", "integers", "mix64", "normals", "uniforms", "white_noise"]

STREAMS = {"shared": 0, "voice": 1, "face": 2, "clip": 3, "image": 4, "lists": 5, "constants": 6}

_GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MASK = (1 << 64) - 1


def mix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 finaliser: a bijection of 64-bit integers in which every bit affects all others."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def integers(
    seed: int, identity: ArrayLike, stream: int | str, item_index: ArrayLike, count: int, start: int = 0
) -> NDArray[np.uint64]:
    """Hash the counters `start` ... `start + count - 1` of each item.

    Args:
        seed: population seed, 0 <= seed < 2**63.
        identity: identity numbers, any shape, at least 0.
        stream: name or value of STREAMS.
        item_index: clip, image or 1 + video; broadcasts against `identity`.
        count: numbers per item.
        start: first counter.

    Returns:
        uint64, shape broadcast(identity, item_index) + (count,).

    Raises:
        ValueError: a negative seed, identity, item or counter, or an unknown stream.
    """
    number = STREAMS.get(stream, -1) if isinstance(stream, str) else int(stream)
    if number not in STREAMS.values():
        raise ValueError(f"unknown stream {stream!r}; expected one of {', '.join(STREAMS)}")
    if not 0 <= int(seed) < 2**63:
        raise ValueError(f"seed must lie in 0 ... 2**63 - 1, got {seed}")
    numbers, item = np.broadcast_arrays(
        _to_uint64(identity, "identity"), _to_uint64(item_index, "item_index")
    )
    if start < 0 or count < 0:
        raise ValueError(f"start and count must not be negative: got start={start}, count={count}")
    counters = np.arange(start, start + count, dtype=np.uint64)
    if numbers.ndim == 0:
        prefix = 0
        for value in (int(seed), int(numbers), number, int(item)):
            prefix = _mix_number((prefix + (value + 1) * int(_GOLDEN_GAMMA)) & _MASK)
        return mix64((counters + np.uint64(1)) * _GOLDEN_GAMMA + np.uint64(prefix))
    fields = (np.asarray(seed, np.uint64), numbers[..., None], np.uint64(number), item[..., None], counters)
    with np.errstate(over="ignore"):
        state = np.zeros(1, np.uint64)
        for field in fields:
            state = mix64(state + (field + np.uint64(1)) * _GOLDEN_GAMMA)
    return state


def _mix_number(state: int) -> int:
    """`mix64` of one number, for which an array would take ten times as long."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


def uniforms(
    seed: int, identity: ArrayLike, stream: int | str, item_index: ArrayLike, count: int, start: int = 0
) -> NDArray[np.float64]:
    """Sample uniform numbers in (0, 1), excluding 0 and 1; arguments and shape as `integers`."""
    bits = integers(seed, identity, stream, item_index, count, start) >> np.uint64(11)
    # The largest value rounds to 1.0, whose normal quantile is infinite.
    return np.minimum((bits.astype(np.float64) + 0.5) * 2.0**-53, 1 - 2.0**-53)


def normals(
    seed: int, identity: ArrayLike, stream: int | str, item_index: ArrayLike, count: int, start: int = 0
) -> NDArray[np.float64]:
    """Sample standard normal numbers by the inverse distribution function; arguments as `integers`."""
    from scipy.special import ndtri

    return ndtri(uniforms(seed, identity, stream, item_index, count, start))


def white_noise(
    seed: int, identity: int, stream: str, item_index: int, count: int, start: int
) -> NDArray[np.float64]:
    """Sample uniform white noise of variance 1, four 16-bit samples per hash word, shape (count,)."""
    words = integers(seed, identity, stream, item_index, -(-count // 4), start)
    samples = words.astype("<u8").view("<i2")[:count].astype(np.float64)
    return (samples + 0.5) * (np.sqrt(12) / 65536)


def _to_uint64(value: ArrayLike, name: str) -> NDArray[np.uint64]:
    """Convert non-negative integers to uint64."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers, got {array.dtype}")
    if array.size and array.min() < 0:
        raise ValueError(f"{name} must not be negative, got {array.min()}")
    return array.astype(np.uint64)
