"""The acoustic front ends as graphs of plain tensor operations, for `torch.onnx.export`.

The Fourier transform is two matrix products: frames are folded about their middle, so that the cosines meet
the even part and the sines the odd one, which halves the work. Everything is in single precision. There are
no complex numbers, no loops, and no transform operators that back ends in a browser lack. T may be free.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from voiceface.audio.frontends import PerceptionistLogMel, SeekingShapeLogMel

__all__ = [
    "FoldedMelPower",
    "PerceptionistGraph",
    "SeekingShapeGraph",
    "repeat_samples",
    "split_into_frames",
    "standardise_graph",
]


class FoldedMelPower(nn.Module):
    """Mel power of frames: window, power of the real Fourier transform, filter bank.

    Args:
        window: (L,), L even; frames are multiplied by it.
        bank: filter bank (bins, M), of the first bins of the transform.
        n_fft: length of the transform, at least L; where a frame lies in it does not change the power.
    """

    window: Tensor
    cosines: Tensor
    sines: Tensor
    bank: Tensor

    def __init__(self, window: Tensor, bank: Tensor, n_fft: int) -> None:
        super().__init__()
        used = int(bank.abs().sum(1).nonzero().max()) + 1
        first = int(bank.abs().sum(1).nonzero().min())
        self.middle = len(window) // 2
        if 2 * self.middle != len(window) or len(window) > n_fft:
            raise ValueError(f"expected a window of even length up to {n_fft}, found {len(window)} samples")
        turns = np.outer(2 * np.arange(self.middle) + 1, np.arange(first, used)) % (2 * n_fft)
        angle = np.pi / n_fft * turns
        self.register_buffer("window", window.float(), persistent=False)
        self.register_buffer("cosines", torch.from_numpy(np.cos(angle)).float(), persistent=False)
        self.register_buffer("sines", torch.from_numpy(np.sin(angle)).float(), persistent=False)
        self.register_buffer("bank", bank[first:used].float(), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames (B, n, L) to mel power (B, n, M)."""
        frames = frames * self.window
        after, before = frames[..., self.middle :], frames[..., : self.middle].flip(-1)
        even, odd = torch.matmul(after + before, self.cosines), torch.matmul(after - before, self.sines)
        return torch.matmul(even * even + odd * odd, self.bank)


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


class SeekingShapeGraph(nn.Module):
    """The front end `SeekingShapeLogMel` as a graph.

    Args:
        front_end: its sizes, window and bank are taken over.
        num_samples: T, if it is always the same; the graph then has fixed sizes, which is a little faster.
    """

    def __init__(self, front_end: SeekingShapeLogMel, num_samples: int | None = None) -> None:
        super().__init__()
        spectrum = front_end.spectrogram
        self.hop, self.length, self.num_samples = spectrum.hop_length, len(spectrum.window), num_samples
        self.pad = spectrum.n_fft // 2 - (spectrum.n_fft - self.length) // 2
        self.offset, self.epsilon = front_end.offset, front_end.epsilon
        self.power = FoldedMelPower(spectrum.window.double(), front_end.mel_scale.fb.double(), spectrum.n_fft)

    def forward(self, samples: Tensor) -> Tensor:
        """Map waveforms (B, T) in the 16-bit range to bands (B, M, 1 + T // hop), T at least `pad` + 1."""
        total = self.num_samples or samples.shape[1]
        padded = nn.functional.pad(samples[:, None], (self.pad, self.pad), mode="reflect")[:, 0]
        frames = split_into_frames(padded, total // self.hop + 1, self.length, self.hop)
        power = self.power(frames).transpose(1, 2)
        return standardise_graph(torch.log(power + self.offset), epsilon=self.epsilon, inside=True)


class PerceptionistGraph(nn.Module):
    """The front end `PerceptionistLogMel` as a graph, for any T of 1 or more.

    Everything is in single precision, that front end in double.

    Args:
        front_end: its sizes, window and bank are taken over.
    """

    def __init__(self, front_end: PerceptionistLogMel) -> None:
        super().__init__()
        self.hop, self.length = front_end.hop_length, len(front_end.window)
        self.pre_emphasis, self.floor = front_end.pre_emphasis, front_end.floor
        self.min_frames = front_end.min_frames
        self.power = FoldedMelPower(front_end.window, front_end.bank, front_end.n_fft)

    def forward(self, samples: Tensor) -> Tensor:
        """Map waveforms (B, T) in the 16-bit range to bands (B, M, frames)."""
        frames = self._frames(samples)
        # Pre-emphasis of a frame's first sample takes the last one of the frame before, as published.
        last = nn.functional.pad(frames[:, :-1, -1:], (0, 0, 1, 0))
        earlier = torch.cat([last, frames[..., :-1]], -1)
        power = self.power(frames - self.pre_emphasis * earlier).transpose(1, 2)
        bands = torch.log(power.clamp_min(self.floor))
        bands = standardise_graph(bands, epsilon=torch.finfo(torch.float32).eps, inside=False)
        count = bands.shape[2]
        repeated = bands.repeat(1, 1, (self.min_frames + count - 1) // count)
        return repeated[..., : _at_least(count, self.min_frames)]

    def _frames(self, samples: Tensor) -> Tensor:
        """1 + T // hop frames (B, n, L); those that reach beyond the end repeat their own samples."""
        total, parts = samples.shape[1], -(-self.length // self.hop)
        # Integers of graphs are divided towards zero: nothing negative is divided here.
        whole = _at_least((total - self.length + parts * self.hop) // self.hop + 1 - parts, 0)
        rest = torch.arange(parts) + whole
        rest = rest[: total // self.hop + 1 - whole]
        start = (rest * self.hop)[:, None]
        size = total - start  # of what is left for a frame; 0 where it begins at the end
        at = torch.arange(self.length)[None]
        at = start + at - torch.div(at, size.clamp_min(1), rounding_mode="floor") * size.clamp_min(1)
        filled = samples[:, at.clamp_max(total - 1)] * (size > 0).to(samples.dtype)
        return torch.cat([split_into_frames(samples, whole, self.length, self.hop), filled], 1)


def _at_least(value: Any, low: int) -> Any:
    """The larger of both, also of sizes that are free in a graph."""
    return (value + low + abs(value - low)) // 2
