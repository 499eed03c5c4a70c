"""The acoustic front ends as graphs of plain tensor operations, for `torch.onnx.export`.

The Fourier transform is a few matrix products on folded frames (`FoldedMelPower`). Everything is in single
precision. There are no complex numbers, no loops, and no operators that back ends in a browser lack or have
slower. T may be free.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from voiceface.audio.frontends import PerceptionistLogMel, SeekingShapeLogMel

__all__ = [
    "CentredMelPower",
    "FoldedMelPower",
    "PerceptionistGraph",
    "SeekingShapeGraph",
    "at_least",
    "repeat_samples",
    "split_into_frames",
    "standardise_graph",
]


class FoldedMelPower(nn.Module):
    """Mel power of frames: window, power of the real Fourier transform, filter bank.

    With r counted from the middle of a frame, cosines meet the sum of the samples at r and -r, and sines
    their difference. Bins k and N / 2 - k share the products of the even and those of the odd r. That leaves
    a quarter of the multiplications of a plain matrix.

    Args:
        window: (L,), L a multiple of 4; frames are multiplied by it.
        bank: filter bank (bins, M), of the first bins of the transform.
        n_fft: length N of the transform, even; where a frame lies in it does not change the power.

    Attributes:
        length: L + 1; the last sample of a frame has no weight.
    """

    window: Tensor
    odd_window: Tensor
    cosines: Tensor
    sines: Tensor
    odd_cosines: Tensor
    odd_sines: Tensor
    low_bank: Tensor
    high_bank: Tensor

    def __init__(self, window: Tensor, bank: Tensor, n_fft: int) -> None:
        super().__init__()
        self.length, self.middle = len(window) + 1, len(window) // 2
        if len(window) % 4 or n_fft % 2:
            raise ValueError(f"expected a window of 4 n samples for 2 n bins, found {len(window)}, {n_fft}")
        quarter, half = n_fft // 4, n_fft // 2
        angle = 2 * np.pi / n_fft * (np.outer(np.arange(self.middle + 1), np.arange(quarter + 1)) % n_fft)
        cosines, sines = torch.from_numpy(np.cos(angle)), torch.from_numpy(np.sin(angle))
        cosines[0] /= 2  # the sample in the middle is its own partner
        whole = torch.zeros(half + 1, bank.shape[1], dtype=torch.float64)
        whole[: len(bank)] = bank
        high = whole.flip(0)[: quarter + 1].clone()
        if n_fft % 4 == 0:
            high[quarter] = 0  # its own partner
        for name, values in {
            **{"window": nn.functional.pad(window, (0, 1))[::2], "odd_window": window[1::2]},
            **{"cosines": cosines[::2], "odd_cosines": cosines[1::2]},
            **{"sines": sines[::2], "odd_sines": sines[1::2]},
            **{"low_bank": whole[: quarter + 1], "high_bank": high},
        }.items():
            self.register_buffer(name, values.float().contiguous(), persistent=False)

    def forward(self, even: Tensor, odd: Tensor) -> Tensor:
        """Map samples 0, 2, ... L (B, n, L / 2 + 1) and 1, 3, ... of frames to mel power (B, n, M)."""
        even, odd, half = even * self.window, odd * self.odd_window, self.middle // 2
        after, before = even[..., half:], even[..., : half + 1].flip(-1)
        odd_after, odd_before = odd[..., half:], odd[..., :half].flip(-1)
        real, odd_real = (after + before) @ self.cosines, (odd_after + odd_before) @ self.odd_cosines
        imaginary = (after - before) @ self.sines
        odd_imaginary = (odd_after - odd_before) @ self.odd_sines
        low = (real + odd_real) ** 2 + (imaginary + odd_imaginary) ** 2
        high = (real - odd_real) ** 2 + (imaginary - odd_imaginary) ** 2
        return low @ self.low_bank + high @ self.high_bank


def split_into_frames(samples: Tensor, count: int, length: int, hop: int) -> Tensor:
    """Split waveforms into overlapping frames, by slices of whole hops, which graphs copy quickly.

    Args:
        samples: (B, T); beyond their end there are zeros.
        count: number of frames, n; those that are asked for begin in the waveform.
        length: of a frame, L.
        hop: step between frames.

    Returns:
        (B, n, L).
    """
    parts = -(-length // hop)
    used = (count - 1 + parts) * hop
    padded = nn.functional.pad(samples, (0, parts * hop))[:, :used]
    blocks = padded.reshape(samples.shape[0], -1, hop)
    pieces = [blocks[:, part : part + count] for part in range(parts)]
    pieces[-1] = pieces[-1][..., : length - (parts - 1) * hop]
    return torch.cat(pieces, -1)


def repeat_samples(samples: Tensor, length: int) -> Tensor:
    """Repeat waveforms (B, T) until they have `length` samples, then cut: (B, length), for any T above 0.

    The same as `voiceface.audio.loading.repeat_to_length`.
    """
    samples = samples[:, :length]
    count = (length + samples.shape[1] - 1) // samples.shape[1]
    return samples.repeat(1, count)[:, :length].reshape(-1, length)


def standardise_graph(bands: Tensor, *, epsilon: float, inside: bool) -> Tensor:
    """Standardise bands (B, M, n) over time, exactly 0 where a band is constant.

    Args:
        bands: logarithms of the power.
        epsilon: floor of the deviation.
        inside: whether it is added to the variance, below the root, or to the deviation.
    """
    bands = bands - bands[..., :1]
    bands = bands - bands.mean(-1, keepdim=True)
    variance = (bands * bands).mean(-1, keepdim=True)
    deviation = torch.sqrt(variance + epsilon) if inside else torch.sqrt(variance) + epsilon
    return bands / deviation


class CentredMelPower(nn.Module):
    """Mel power of centred frames of a waveform that is reflected at its ends.

    Args:
        window: (L,), L a multiple of 4; it lies in the middle of a frame.
        bank: filter bank (bins, M).
        n_fft: length of a frame and of the transform, even.
        hop: step between frames, even.
        num_samples: T, if it is always the same; the graph then has fixed sizes, which is a little faster.
    """

    def __init__(
        self, window: Tensor, bank: Tensor, n_fft: int, hop: int, num_samples: int | None = None
    ) -> None:
        super().__init__()
        self.hop, self.length, self.num_samples = hop, len(window), num_samples
        self.pad = n_fft // 2 - (n_fft - self.length) // 2
        self.power = FoldedMelPower(window, bank, n_fft)

    def forward(self, samples: Tensor) -> Tensor:
        """Map waveforms (B, T) to mel power (B, M, 1 + T // hop), T above L / 2."""
        total = self.num_samples or samples.shape[1]
        padded = nn.functional.pad(samples[:, None], (self.pad, self.pad), mode="reflect")[:, 0]
        # Even and odd samples are taken apart here, not in every frame.
        padded = nn.functional.pad(padded, (0, self.hop))[:, : (total // 2 + self.pad) * 2 + self.hop]
        even, odd = padded.reshape(padded.shape[0], -1, 2).transpose(1, 2).unbind(1)
        count, hop = total // self.hop + 1, self.hop // 2
        even = split_into_frames(even, count, self.length // 2 + 1, hop)
        odd = split_into_frames(odd, count, self.length // 2, hop)
        power: Tensor = self.power(even, odd).transpose(1, 2)
        return power


class SeekingShapeGraph(nn.Module):
    """The front end `SeekingShapeLogMel` as a graph.

    Args:
        front_end: its sizes, window and bank are taken over.
        num_samples: T, if it is always the same.
    """

    def __init__(self, front_end: SeekingShapeLogMel, num_samples: int | None = None) -> None:
        super().__init__()
        spectrum, bank = front_end.spectrogram, front_end.mel_scale.fb.double()
        self.offset, self.epsilon = front_end.offset, front_end.epsilon
        self.power = CentredMelPower(
            spectrum.window.double(), bank, spectrum.n_fft, spectrum.hop_length, num_samples
        )

    def forward(self, samples: Tensor) -> Tensor:
        """Map waveforms (B, T) in the 16-bit range to bands (B, M, 1 + T // hop), T above n_fft / 2."""
        power = self.power(samples)
        return standardise_graph(torch.log(power + self.offset), epsilon=self.epsilon, inside=True)


class PerceptionistGraph(nn.Module):
    """The front end `PerceptionistLogMel` as a graph, for any T of 1 or more.

    Everything is in single precision, that front end in double.

    Args:
        front_end: its sizes, window and bank are taken over.
        num_samples: T, if it is always the same.
    """

    def __init__(self, front_end: PerceptionistLogMel, num_samples: int | None = None) -> None:
        super().__init__()
        self.num_samples = num_samples
        self.hop, self.length = front_end.hop_length, len(front_end.window)
        self.pre_emphasis, self.floor = front_end.pre_emphasis, front_end.floor
        self.min_frames = front_end.min_frames
        self.power = FoldedMelPower(front_end.window, front_end.bank, front_end.n_fft)

    def forward(self, samples: Tensor) -> Tensor:
        """Map waveforms (B, T) in the 16-bit range to bands (B, M, frames)."""
        frames = self._frames(samples)
        # Pre-emphasis of a frame's first sample takes the last one of the frame before, as published.
        last = nn.functional.pad(frames[:, :-1, -2:-1], (0, 0, 1, 0))
        earlier = torch.cat([last, frames[..., :-1]], -1)
        frames = frames - self.pre_emphasis * earlier
        power = self.power(frames[..., ::2], frames[..., 1::2]).transpose(1, 2)
        bands = torch.log(power.clamp_min(self.floor))
        bands = standardise_graph(bands, epsilon=torch.finfo(torch.float32).eps, inside=False)
        count = bands.shape[2]
        repeated = bands.repeat(1, 1, (self.min_frames + count - 1) // count)
        return repeated[..., : at_least(count, self.min_frames)]

    def _frames(self, samples: Tensor) -> Tensor:
        """1 + T // hop frames (B, n, L + 1); those that reach beyond the end repeat their own samples."""
        total, parts = self.num_samples or samples.shape[1], -(-self.length // self.hop)
        # Integers of graphs are divided towards zero: nothing negative is divided here.
        whole = at_least((total - self.length + parts * self.hop) // self.hop + 1 - parts, 0)
        rest = torch.arange(parts) + whole
        rest = rest[: total // self.hop + 1 - whole]
        start = (rest * self.hop)[:, None]
        size = total - start  # of what is left for a frame; 0 where it begins at the end
        at = torch.arange(self.power.length)[None]
        at = start + at - torch.div(at, size.clamp_min(1), rounding_mode="floor") * size.clamp_min(1)
        filled = samples[:, at.clamp_max(total - 1)] * (size > 0).to(samples.dtype)
        return torch.cat([split_into_frames(samples, whole, self.power.length, self.hop), filled], 1)


def at_least(value: Any, low: int) -> Any:
    """The larger of both, also of sizes that are free in a graph."""
    return (value + low + abs(value - low)) // 2
