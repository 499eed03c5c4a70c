"""Log-mel front ends: waves to what a voice network reads, one front end per system."""

import math

import torch
from torch import Tensor, nn


def hamming_window(length: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Periodic Hamming window 0.54 - 0.46 cos(2 pi n / length), shape (length,).

    In float32 it is computed in float32: that gives the published window to the last digit.
    """
    return torch.hamming_window(length, periodic=True, dtype=dtype)


def htk_mel_bank(
    bins: int,
    n_mels: int,
    low: float = 0.0,
    high: float = 8000.0,
    rate: int = 16000,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Triangles of height one, evenly spaced on the HTK mel scale 2595 log10(1 + f / 700).

    Args:
        bins: frequencies of a one-sided spectrum, evenly spaced from 0 to rate / 2 Hz.
        n_mels: number of bands M.
        low: lower corner of the first band in Hz.
        high: upper corner of the last band in Hz.
        rate: sample rate in Hz.
        dtype: of the result and of its computation; float32 gives the published bank to the last digit.

    Returns:
        Weights in [0, 1], shape (bins, M); no area normalisation.

    Raises:
        ValueError: the range is empty or leaves the spectrum, or a band holds no bin.
    """
    if not 0 <= low < high <= rate / 2:
        raise ValueError(f"mel bands need 0 <= low < high <= {rate / 2:g} Hz, found {low:g} and {high:g}")
    frequency = torch.linspace(0, rate / 2, bins, dtype=dtype)
    ends = [2595 * math.log10(1 + f / 700) for f in (low, high)]
    corner = 700 * (10 ** (torch.linspace(ends[0], ends[1], n_mels + 2, dtype=dtype) / 2595) - 1)
    width = corner.diff()
    rising = (frequency[:, None] - corner[:-2]) / width[:-1]
    falling = (corner[2:] - frequency[:, None]) / width[1:]
    bank = torch.minimum(rising, falling).clamp_min(0)
    empty = (bank.sum(0) == 0).nonzero().flatten().tolist()
    if empty:
        raise ValueError(
            f"{n_mels} mel bands over {bins} bins: bands {empty} hold no bin; ask for fewer bands"
        )
    return bank


def bin_edge_mel_bank(
    n_fft: int,
    n_mels: int,
    low: float,
    high: float,
    rate: int = 16000,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Triangles of area one (in Hz) whose corners are moved to the nearest bin of the spectrum.

    As in the feature files of perceptionist (its specification, section 3): corners evenly spaced on the HTK
    mel scale, height 2 / width in Hz, so that the weights of a band sum to n_fft / rate.

    Args:
        n_fft: frame length in samples; bins are rate / n_fft Hz apart.
        n_mels: number of bands M.
        low: lower corner of the first band in Hz.
        high: upper corner of the last band in Hz.
        rate: sample rate in Hz.
        dtype: of the result.

    Returns:
        Weights, shape (n_fft / 2 + 1, M).

    Raises:
        ValueError: the range is empty or leaves the spectrum, or all corners of a band fall on one bin.
    """
    if not 0 <= low < high <= rate / 2:
        raise ValueError(f"mel bands need 0 <= low < high <= {rate / 2:g} Hz, found {low:g} and {high:g}")
    width = rate / n_fft
    ends = [2595 * math.log10(1 + f / 700) for f in (low, high)]
    mel = torch.linspace(ends[0], ends[1], n_mels + 2, dtype=torch.float64)
    corner = (700 * (10 ** (mel / 2595) - 1) / width).round()
    left, centre, right = corner[:-2], corner[1:-1], corner[2:]
    empty = (right == left).nonzero().flatten().tolist()
    if empty:
        raise ValueError(
            f"{n_mels} mel bands over {n_fft // 2 + 1} bins: bands {empty} hold no bin; ask for fewer bands"
        )
    k = torch.arange(n_fft // 2 + 1, dtype=torch.float64)[:, None]
    rising = (k - left) / (centre - left).clamp_min(1)
    falling = (right - k) / (right - centre).clamp_min(1)
    shape = torch.where(k < centre, rising, falling).masked_fill(k == centre, 1).clamp_min(0)
    shape = shape.masked_fill(k <= left, 0)  # as published: no peak where it falls on the left corner
    return (shape * 2 / ((right - left) * width)).to(dtype)


def power_spectrogram(samples: Tensor, window: Tensor, n_fft: int = 512, hop: int = 160) -> Tensor:
    """Squared magnitude of centred, reflect-padded frames.

    Args:
        samples: waves, shape (B, T), float32 or float64, T > n_fft / 2.
        window: at most n_fft values, centred in the frame; same dtype as `samples`.
        n_fft: frame length in samples.
        hop: step between frames in samples.

    Returns:
        Power, shape (B, 1 + T // hop, n_fft / 2 + 1): frames first, ready for a matrix product with a bank.

    Raises:
        ValueError: the waves are not (B, T) or too short to be reflected.
    """
    half = n_fft // 2
    if samples.ndim != 2 or samples.shape[1] <= half:
        raise ValueError(f"waves must be (B, T) with T > {half} samples, found shape {tuple(samples.shape)}")
    left = (n_fft - len(window)) // 2
    frame = nn.functional.pad(window, (left, n_fft - len(window) - left))
    padded = nn.functional.pad(samples[:, None], (half, half), mode="reflect")[:, 0]
    spectrum = torch.fft.rfft(padded.unfold(1, n_fft, hop) * frame)
    return torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)


def standardise_over_time(bands: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Subtract each band's mean over time and divide by sqrt(population variance + epsilon).

    Args:
        bands: shape (B, M, frames).
        epsilon: floor of the variance.

    Returns:
        Same shape; exactly zero where a band is constant (digital silence).
    """
    bands = bands - bands[..., :1]  # without this a constant band would show the rounding of its mean
    variance, mean = torch.var_mean(bands, dim=-1, correction=0, keepdim=True)
    return (bands - mean) * torch.rsqrt(variance + epsilon)


class Spectrogram(nn.Module):
    """Holds the window (buffer `window`); waves (B, T) to power (B, frames, bins)."""

    window: Tensor

    def __init__(self, n_fft: int, window: int, hop: int) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("window", hamming_window(window))

    def forward(self, samples: Tensor) -> Tensor:
        return power_spectrogram(samples.to(self.window.dtype), self.window, self.n_fft, self.hop)


class MelScale(nn.Module):
    """Holds the bank (buffer `fb`); power (B, frames, bins) to bands (B, M, frames)."""

    fb: Tensor

    def __init__(self, bank: Tensor) -> None:
        super().__init__()
        self.register_buffer("fb", bank)

    def forward(self, power: Tensor) -> Tensor:
        return (power @ self.fb).transpose(1, 2)


class SeekingShapeLogMel(nn.Module):
    """Front end of seeking_shape (its specification, section 4.3): standardised log-mel bands, no gradient.

    The window and the bank are buffers under the names of the published checkpoints: `spectrogram.window`
    and `mel_scale.fb`. Samples are in the 16-bit range (-32768...32767); the buffers' precision (float32 or
    float64) is the precision of the computation, also under autocast.

    Args:
        n_mels: number of bands M.
        rate: sample rate in Hz.
        n_fft: frame length in samples.
        window: window length in samples.
        hop: step between frames in samples.
        low: lower corner of the first band in Hz.
        high: upper corner of the last band in Hz; rate / 2 when None.
        offset: added to the mel power before the logarithm.
        epsilon: added to the variance over time.
    """

    def __init__(
        self,
        n_mels: int = 40,
        *,
        rate: int = 16000,
        n_fft: int = 512,
        window: int = 400,
        hop: int = 160,
        low: float = 0.0,
        high: float | None = None,
        offset: float = 1e-6,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        self.offset, self.epsilon = offset, epsilon
        top = rate / 2 if high is None else high
        self.spectrogram = Spectrogram(n_fft, window, hop)
        self.mel_scale = MelScale(htk_mel_bank(n_fft // 2 + 1, n_mels, low, top, rate))

    @torch.no_grad()
    def log_mel(self, samples: Tensor) -> Tensor:
        """Natural logarithm of mel power + offset, shape (B, M, 1 + T // hop), before standardising."""
        with torch.autocast(samples.device.type, enabled=False):
            return self.mel_scale(self.spectrogram(samples)).add_(self.offset).log_()

    @torch.no_grad()
    def forward(self, samples: Tensor) -> Tensor:
        """Waves (B, T) in the 16-bit range to network input (B, M, 1 + T // hop)."""
        return standardise_over_time(self.log_mel(samples), self.epsilon)


class PerceptionistLogMel(nn.Module):
    """Front end of perceptionist (its specification, section 3): log-mel bands for a voice of any length.

    Frames begin at every hop and are not centred; those that reach beyond the end are filled by repeating
    their own samples. Everything up to the logarithm is in double precision. The window and the bank are
    buffers that no checkpoint holds.

    Args:
        n_mels: number of bands M.
        rate: sample rate in Hz.
        n_fft: transform length in samples.
        window: frame length in samples, at most n_fft.
        hop: step between frames in samples, shorter than a frame.
        low: lower corner of the first band in Hz.
        high: upper corner of the last band in Hz.
        pre_emphasis: share of the previous sample that is subtracted from each.
        floor: least mel power.
        shortest: frames of the least network input; shorter ones are repeated.
    """

    window: Tensor
    bank: Tensor
    BLOCK = 256  # frames at a time: their transform stays in the cache

    def __init__(
        self,
        n_mels: int = 64,
        *,
        rate: int = 16000,
        n_fft: int = 1024,
        window: int = 400,
        hop: int = 160,
        low: float = 20.0,
        high: float = 7200.0,
        pre_emphasis: float = 0.97,
        floor: float = 1e-5,
        shortest: int = 1000,
    ) -> None:
        super().__init__()
        if not 0 < hop < window <= n_fft:
            raise ValueError(f"needed: 0 < hop < window <= n_fft, found {hop}, {window} and {n_fft}")
        self.n_fft, self.hop, self.pre_emphasis = n_fft, hop, pre_emphasis
        self.floor, self.shortest = floor, shortest
        shape = torch.hamming_window(window, periodic=False, dtype=torch.float64)
        bank = bin_edge_mel_bank(n_fft, n_mels, low, high, rate)
        self.register_buffer("window", shape, persistent=False)
        self.register_buffer("bank", bank, persistent=False)
        self._parts = _filled_parts(bank)

    @torch.no_grad()
    def log_mel(self, samples: Tensor, before: float | Tensor = 0.0) -> Tensor:
        """Natural logarithm of the mel power, at least the logarithm of the floor.

        Args:
            samples: waves in the 16-bit range (-32768...32767), shape (B, T), T at least 1.
            before: what pre-emphasis takes for the sample before the first frame, a number or (B,). The
                published extractor keeps it from one file to the next: `carry` of the file before.

        Returns:
            Shape (B, M, 1 + T // hop), double precision.

        Raises:
            ValueError: the waves are not (B, T) or have no samples.
        """
        whole, rest = self._frames(samples)
        last = rest.new_zeros(len(rest)) + torch.as_tensor(before, dtype=rest.dtype, device=rest.device)
        bands = []
        with torch.autocast(samples.device.type, enabled=False):
            room = rest.new_zeros(len(rest) * self.BLOCK, self.n_fft)
            for frames in (*whole.split(self.BLOCK, dim=1), rest):
                if frames.shape[1]:
                    bands.append(self._bands(frames, last, room))
                    last = frames[:, -1, -1]
        return torch.cat(bands, 1).clamp_(min=self.floor).log_().transpose(1, 2)

    @torch.no_grad()
    def carry(self, samples: Tensor) -> Tensor:
        """Last sample of the last frame after its filling, shape (B,); 0 where that frame is empty."""
        return self._frames(samples)[1][:, -1, -1]

    @torch.no_grad()
    def forward(self, samples: Tensor) -> Tensor:
        """Waves (B, T) in the 16-bit range to network input (B, M, frames), float32.

        Every band has mean 0 and deviation 1 over the recording (exactly 0 where it is constant); a recording
        of less than `shortest` frames is repeated to that many.
        """
        bands = self.log_mel(samples).float()
        bands = bands - bands[..., :1]  # without this a constant band would show the rounding of its mean
        variance, mean = torch.var_mean(bands, dim=-1, correction=0, keepdim=True)
        bands = (bands - mean) / (variance.sqrt() + torch.finfo(torch.float32).eps)
        return repeat_frames(bands, self.shortest)

    def _frames(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Whole frames (B, n, window), a view where that can be, and the last ones, filled."""
        if samples.ndim != 2 or not samples.shape[1]:
            raise ValueError(f"waves must be (B, T) with T > 0 samples, found shape {tuple(samples.shape)}")
        samples, length = samples.to(self.window.dtype), len(self.window)
        count, total = samples.shape[1] // self.hop + 1, samples.shape[1]
        whole = samples.new_empty(len(samples), 0, length)
        if total >= length:
            whole = samples.unfold(1, length, self.hop)
        rest = samples.new_zeros(len(samples), count - whole.shape[1], length)
        for row, start in enumerate(range(whole.shape[1] * self.hop, total, self.hop)):
            piece = samples[:, start:]
            rest[:, row] = piece.repeat(1, -(-length // piece.shape[1]))[:, :length]
        return whole, rest

    def _bands(self, frames: Tensor, before: Tensor, room: Tensor) -> Tensor:
        """Mel power (B, n, M) of successive frames (B, n, window); `room`: (at least B n, n_fft)."""
        batch, count = frames.shape[:2]
        padded = room[: batch * count].view(batch, count, self.n_fft)
        earlier = torch.cat([before[:, None], frames[:, :-1, -1]], 1)
        used = padded[..., : len(self.window)]
        used[..., 0] = frames[..., 0] - self.pre_emphasis * earlier
        torch.sub(frames[..., 1:], frames[..., :-1], alpha=self.pre_emphasis, out=used[..., 1:])
        used *= self.window
        used = max(bins.stop for bins, _ in self._parts)
        spectrum = torch.fft.rfft(padded)[..., :used]
        power = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)
        return torch.cat([power[..., bins] @ self.bank[bins, bands] for bins, bands in self._parts], -1)


def _filled_parts(bank: Tensor, size: int = 16) -> list[tuple[slice, slice]]:
    """Bins that neighbouring bands of a bank (bins, M) use, `size` bands at a time: the rest is zeros."""
    parts = []
    for start in range(0, bank.shape[1], size):
        used = bank[:, start : start + size].any(1).nonzero().flatten().tolist()
        parts.append((slice(used[0], used[-1] + 1), slice(start, start + size)))
    return parts


def repeat_frames(bands: Tensor, shortest: int) -> Tensor:
    """Repeat a recording's frames as a whole until there are `shortest`, then cut.

    Args:
        bands: shape (..., frames).
        shortest: frames wanted at least.

    Returns:
        Shape (..., max(frames, shortest)); `bands` itself where it is long enough.

    Raises:
        ValueError: there are no frames.
    """
    frames = bands.shape[-1]
    if not frames:
        raise ValueError("cannot repeat a recording without frames")
    if frames >= shortest:
        return bands
    return bands.repeat(*[1] * (bands.ndim - 1), -(-shortest // frames))[..., :shortest]
