"""Random numbers as a function of where they are used: counter-based hashing.

Every number is u = mix64(seed, k, stream, clip, i): the SplitMix64 finaliser (public domain), field by field.
No generator has a state, so results do not depend on order, on the number of workers or on the numpy version:
raw integers and uniforms are exact everywhere, normals to the last bits of log and sqrt.

Field layout
    seed    population seed, 0 <= seed < 2**63
    k       identity number
    stream  one of STREAMS; two streams never share a number
    clip    which clip (stream "clip"), which image (stream "image"); in the identity streams "voice" and
            "face" 0 = the identity itself, 1 + video = what one video shares; 0 in "shared"
    i       running number inside the item; each module lists its own slots
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

STREAMS = {"shared": 0, "voice": 1, "face": 2, "clip": 3, "image": 4, "lists": 5, "constants": 6}

_GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def mix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 finaliser: a one-to-one map of 64-bit integers that spreads every bit over all others."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def integers(
    seed: int, identity: ArrayLike, stream: int | str, item_index: ArrayLike, count: int, start: int = 0
) -> NDArray[np.uint64]:
    """Hash counters `start` ... `start + count - 1`.

    Args:
        seed: population seed, 0 <= seed < 2**63.
        identity: identity numbers, any shape, at least 0.
        stream: name or value of STREAMS.
        item_index: clip, image or video number; broadcasts against `identity`.
        count: how many numbers per item.
        start: first running number.

    Returns:
        uint64, shape broadcast(k, clip) + (n,).

    Raises:
        ValueError: a negative seed, identity, clip or counter, or an unknown stream.
    """
    number = STREAMS.get(stream, -1) if isinstance(stream, str) else int(stream)
    if number not in STREAMS.values():
        raise ValueError(f"unknown stream {stream!r}; expected one of {', '.join(STREAMS)}")
    if not 0 <= int(seed) < 2**63:
        raise ValueError(f"seed must lie in 0 ... 2**63 - 1, got {seed}")
    who, item = np.broadcast_arrays(_to_uint64(identity, "k"), _to_uint64(item_index, "clip"))
    if start < 0 or count < 0:
        raise ValueError(f"counters start at 0: got start={start}, n={count}")
    last = np.arange(start, start + count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        state = np.zeros(1, np.uint64)
        for field in (np.asarray(seed, np.uint64), who[..., None], np.uint64(number), item[..., None], last):
            state = mix64(state + (field + np.uint64(1)) * _GOLDEN_GAMMA)
    return state


def uniforms(
    seed: int, identity: ArrayLike, stream: int | str, item_index: ArrayLike, count: int, start: int = 0
) -> NDArray[np.float64]:
    """Uniform numbers in (0, 1), never 0 or 1; arguments and shape as `integers`."""
    bits = integers(seed, identity, stream, item_index, count, start) >> np.uint64(11)
    # The largest one rounds to 1.0, whose normal would be infinite.
    return np.minimum((bits.astype(np.float64) + 0.5) * 2.0**-53, 1 - 2.0**-53)


def normals(
    seed: int, identity: ArrayLike, stream: int | str, item_index: ArrayLike, count: int, start: int = 0
) -> NDArray[np.float64]:
    """Standard normal numbers by the inverse normal distribution; arguments and shape as `integers`."""
    from scipy.special import ndtri

    return ndtri(uniforms(seed, identity, stream, item_index, count, start))


def _to_uint64(value: ArrayLike, name: str) -> NDArray[np.uint64]:
    """Non-negative whole numbers as uint64."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be whole numbers, got {array.dtype}")
    if array.size and array.min() < 0:
        raise ValueError(f"{name} must not be negative, got {array.min()}")
    return array.astype(np.uint64)
