"""The acoustic front ends as graphs of plain tensor operations, for `torch.onnx.export`.

The Fourier transform is two grouped convolutions (`voiceface.audio.mel_power`). Everything is in single
precision. There are no complex numbers, no loops, and no operators that back ends in a browser lack or have
slower. T may be free.
"""

from typing import Any

import torch
from torch import Tensor, nn

from voiceface.audio.frontends import PerceptionistLogMel, SeekingShapeLogMel
from voiceface.audio.mel_power import MelPower, at_least

__all__ = [
    "CentredMelPower",
    "PerceptionistGraph",
    "SeekingShapeGraph",
    "repeat_samples",
    "standardise_graph",
]


_TERMS = 24  # of a sum in a graph


def repeat_samples(samples: Tensor, length: int) -> Tensor:
    """Repeat waveforms (B, T) until they have `length` samples, then cut: (B, length), for any T above 0.

    The same as `voiceface.audio.loading.repeat_to_length`.
    """
    samples = samples[:, :length]
    count = (length + samples.shape[1] - 1) // samples.shape[1]
    return samples.repeat(1, count)[:, :length].reshape(-1, length)


def standardise_graph(bands: Tensor, *, epsilon: float, inside: bool) -> Tensor:
    """Standardise bands (B, M, n) over time, exactly 0 where a band is constant.

    In tones some bands vary by a thousandth of their level, so that an error of their mean weighs a thousand
    times. It is therefore subtracted twice, and no sum has many terms: back ends in browsers add one by one.

    Args:
        bands: logarithms of the power.
        epsilon: floor of the deviation.
        inside: whether it is added to the variance, below the root, or to the deviation.
    """
    bands = bands - bands[..., :1]
    bands = bands - _mean_over_time(bands)
    bands = bands - _mean_over_time(bands)
    variance = _mean_over_time(bands * bands)
    deviation = torch.sqrt(variance + epsilon) if inside else torch.sqrt(variance) + epsilon
    return bands / deviation


def _mean_over_time(bands: Tensor) -> Tensor:
    """Mean over the last axis of (B, M, n), kept, by sums of `_TERMS` values and a sum of these."""
    sums = nn.functional.avg_pool1d(nn.functional.pad(bands, (0, _TERMS - 1)), _TERMS) * _TERMS
    return sums.sum(-1, keepdim=True) / bands.shape[-1]


class CentredMelPower(nn.Module):
    """Mel power of centred frames of a waveform that is reflected at its ends.

    Args:
        window: (L,); it lies in the middle of a frame.
        bank: filter bank (bins, M).
        n_fft: length of a frame and of the transform.
        hop: step between frames.
        num_samples: T, if it is always the same; the graph then has fixed sizes, which is a little faster.
    """

    def __init__(
        self, window: Tensor, bank: Tensor, n_fft: int, hop: int, num_samples: int | None = None
    ) -> None:
        super().__init__()
        self.num_samples = num_samples
        self.pad = n_fft // 2 - (n_fft - len(window)) // 2
        self.power = MelPower(window, bank, n_fft, hop)

    def forward(self, samples: Tensor) -> Tensor:
        """Map waveforms (B, T) to mel power (B, M, 1 + T // hop), T above L / 2."""
        total = self.num_samples or samples.shape[1]
        padded = nn.functional.pad(samples[:, None], (self.pad, self.pad), mode="reflect")[:, 0]
        power: Tensor = self.power(padded, total // self.power.hop + 1)
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
        self.num_samples, self.length = num_samples, len(front_end.window)
        self.pre_emphasis, self.floor = front_end.pre_emphasis, front_end.floor
        self.min_frames = front_end.min_frames
        self.first_weight = float(front_end.window[0])
        self.power = MelPower(front_end.window, front_end.bank, front_end.n_fft, front_end.hop_length)

    def forward(self, samples: Tensor) -> Tensor:
        """Map waveforms (B, T) in the 16-bit range to bands (B, M, frames)."""
        hop, total = self.power.hop, self.num_samples or samples.shape[1]
        parts = -(-self.length // hop)
        # Integers of graphs are divided towards zero: nothing negative is divided here.
        whole = at_least((total - self.length + parts * hop) // hop + 1 - parts, 0)
        power = torch.cat([self._whole_frames(samples, whole), self._last_frames(samples, whole, total)], 2)
        bands = torch.log(power.clamp_min(self.floor))
        bands = standardise_graph(bands, epsilon=torch.finfo(torch.float32).eps, inside=False)
        count = bands.shape[2]
        repeated = bands.repeat(1, 1, (self.min_frames + count - 1) // count)
        return repeated[..., : at_least(count, self.min_frames)]

    def _whole_frames(self, samples: Tensor, whole: Any) -> Tensor:
        """Mel power of the frames that lie inside of the waveform, (B, M, whole)."""
        hop, count = self.power.hop, at_least(whole, 1)
        padded = nn.functional.pad(samples, (1, self.length))
        emphasised = padded[:, 1:] - self.pre_emphasis * padded[:, :-1]
        # The first sample of a frame is emphasised by the last one of the frame before, as published.
        wrong, right = padded[:, hop::hop], padded[:, self.length :: hop]
        offset = (wrong[:, : count - 1] - right[:, : count - 1]) * (self.pre_emphasis * self.first_weight)
        power: Tensor = self.power(emphasised, count, nn.functional.pad(offset, (1, 0)))
        return power[..., :whole]

    def _last_frames(self, samples: Tensor, whole: Any, total: Any) -> Tensor:
        """Mel power of the frames that reach beyond the end: they repeat their own samples."""
        hop, batch = self.power.hop, samples.shape[0]
        rest = torch.arange(-(-self.length // hop)) + whole
        rest = rest[: total // hop + 1 - whole]
        start = (rest * hop)[:, None]
        size = total - start  # of what is left for a frame; 0 where it begins at the end
        at = torch.arange(self.length)[None]
        at = start + at - torch.div(at, size.clamp_min(1), rounding_mode="floor") * size.clamp_min(1)
        frames = samples[:, at.clamp_max(total - 1)] * (size > 0).to(samples.dtype)
        at_end = whole * hop + self.length - hop - 1  # last sample of the last whole frame, if there is one
        before = nn.functional.pad(samples, (0, self.length))[:, at_end : at_end + 1, None]
        before = before * (whole - at_least(whole - 1, 0))
        earlier = torch.cat([torch.cat([before, frames[:, :-1, -1:]], 1), frames[..., :-1]], 2)
        frames = (frames - self.pre_emphasis * earlier).reshape(-1, self.length)
        power: Tensor = self.power(frames, 1).reshape(batch, -1, self.power.bank.shape[0])
        return power.transpose(1, 2)
