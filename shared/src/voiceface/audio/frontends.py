"""Acoustic front ends: waveforms to the log-mel bands that a voice network reads, one per system."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from voiceface.audio.mel import (
    MelScale,
    Spectrogram,
    bin_edge_mel_filterbank,
    floor_bin_mel_filterbank,
    htk_mel_filterbank,
    nonzero_blocks,
    repeat_frames,
    seconds_to_samples,
    standardise_over_time,
)
from voiceface.audio.mel_power import MelPower, at_least

__all__ = ["ExportableLogMel", "PerceptionistLogMel", "SF2FLogMel", "SeekingShapeLogMel"]


class SeekingShapeLogMel(nn.Module):
    """Front end of seeking_shape (docs/seeking_shape.md): standardised log-mel bands, no gradient.

    The window and the bank are buffers under the names of the published checkpoints: `spectrogram.window`
    and `mel_scale.fb`. Samples are in the 16-bit range (-32768...32767); the buffers' precision (float32 or
    float64) is the precision of the computation, also under autocast.

    Args:
        n_mels: number of bands M.
        sample_rate: Hz.
        n_fft: frame length in samples.
        win_length: window length in samples.
        hop_length: step between frames in samples.
        f_min: lower corner of the first band in Hz.
        f_max: upper corner of the last band in Hz; sample_rate / 2 if None.
        offset: added to the mel power before the logarithm.
        epsilon: added to the variance over time.
    """

    def __init__(
        self,
        n_mels: int = 40,
        *,
        sample_rate: int = 16000,
        n_fft: int = 512,
        win_length: int = 400,
        hop_length: int = 160,
        f_min: float = 0.0,
        f_max: float | None = None,
        offset: float = 1e-6,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        self.offset, self.epsilon = offset, epsilon
        top = sample_rate / 2 if f_max is None else f_max
        self.spectrogram = Spectrogram(n_fft, win_length, hop_length)
        self.mel_scale = MelScale(htk_mel_filterbank(n_fft // 2 + 1, n_mels, f_min, top, sample_rate))

    @torch.no_grad()
    def log_mel(self, samples: Tensor) -> Tensor:
        """Natural logarithm of mel power + offset, shape (B, M, 1 + T // hop_length), not standardised."""
        with torch.autocast(samples.device.type, enabled=False):
            return self.mel_scale(self.spectrogram(samples)).add_(self.offset).log_()

    @torch.no_grad()
    def forward(self, samples: Tensor) -> Tensor:
        """Waveforms (B, T) in the 16-bit range to network input (B, M, 1 + T // hop_length)."""
        return standardise_over_time(self.log_mel(samples), self.epsilon)


class PerceptionistLogMel(nn.Module):
    """Front end of perceptionist (docs/perceptionist.md): log-mel bands for a voice of any length.

    Frames begin at every hop and are not centred; those that reach beyond the end are filled by repeating
    their own samples. Everything up to the logarithm is in double precision. The window and the bank are
    buffers that no checkpoint holds.

    Args:
        n_mels: number of bands M.
        sample_rate: Hz.
        n_fft: transform length in samples.
        win_length: frame length in samples, at most n_fft.
        hop_length: step between frames in samples, shorter than a frame.
        f_min: lower corner of the first band in Hz.
        f_max: upper corner of the last band in Hz.
        pre_emphasis: fraction of the previous sample that is subtracted from each.
        floor: minimum mel power.
        min_frames: minimum length of the network input; shorter utterances are repeated.
    """

    window: Tensor
    bank: Tensor
    FRAMES_PER_BLOCK = 256  # frames at a time: their transform stays in the cache

    def __init__(
        self,
        n_mels: int = 64,
        *,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        win_length: int = 400,
        hop_length: int = 160,
        f_min: float = 20.0,
        f_max: float = 7200.0,
        pre_emphasis: float = 0.97,
        floor: float = 1e-5,
        min_frames: int = 1000,
    ) -> None:
        super().__init__()
        if not 0 < hop_length < win_length <= n_fft:
            raise ValueError(
                f"expected 0 < hop < window <= n_fft, found {hop_length}, {win_length} and {n_fft}"
            )
        self.n_fft, self.hop_length, self.pre_emphasis = n_fft, hop_length, pre_emphasis
        self.floor, self.min_frames = floor, min_frames
        shape = torch.hamming_window(win_length, periodic=False, dtype=torch.float64)
        bank = bin_edge_mel_filterbank(n_fft, n_mels, f_min, f_max, sample_rate)
        self.register_buffer("window", shape, persistent=False)
        self.register_buffer("bank", bank, persistent=False)
        self.nonzero_blocks = nonzero_blocks(bank)

    @torch.no_grad()
    def log_mel(self, samples: Tensor, previous_sample: float | Tensor = 0.0) -> Tensor:
        """Natural logarithm of the mel power, at least the logarithm of the floor.

        Args:
            samples: waveforms in the 16-bit range (-32768...32767), shape (B, T), T at least 1.
            previous_sample: sample before the first frame, for pre-emphasis, a number or (B,). The published
                extractor keeps it from one file to the next: `last_sample` of the previous file.

        Returns:
            Shape (B, M, 1 + T // hop_length), double precision.

        Raises:
            ValueError: the waveforms are not (B, T) or have no samples.
        """
        whole, rest = self._split_frames(samples)
        last = rest.new_zeros(len(rest)) + torch.as_tensor(
            previous_sample, dtype=rest.dtype, device=rest.device
        )
        bands = []
        with torch.autocast(samples.device.type, enabled=False):
            room = rest.new_zeros(len(rest) * self.FRAMES_PER_BLOCK, self.n_fft)
            for frames in (*whole.split(self.FRAMES_PER_BLOCK, dim=1), rest):
                if frames.shape[1]:
                    bands.append(self._mel_power(frames, last, room))
                    last = frames[:, -1, -1]
        return torch.cat(bands, 1).clamp_(min=self.floor).log_().transpose(1, 2)

    @torch.no_grad()
    def last_sample(self, samples: Tensor) -> Tensor:
        """Last sample of the last frame after padding, shape (B,); 0 if that frame is empty."""
        return self._split_frames(samples)[1][:, -1, -1]

    @torch.no_grad()
    def forward(self, samples: Tensor) -> Tensor:
        """Waveforms (B, T) in the 16-bit range to network input (B, M, frames), float32.

        Every band has mean 0 and standard deviation 1 over the utterance (exactly 0 where it is constant); an
        utterance of less than `min_frames` frames is repeated to that many.
        """
        bands = self.log_mel(samples).float()
        bands = bands - bands[..., :1]  # without this a constant band would show the rounding of its mean
        variance, mean = torch.var_mean(bands, dim=-1, correction=0, keepdim=True)
        bands = (bands - mean) / (variance.sqrt() + torch.finfo(torch.float32).eps)
        return repeat_frames(bands, self.min_frames)

    def _split_frames(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Complete frames (B, n, win_length), a view if possible, and the last ones, padded."""
        if samples.ndim != 2 or not samples.shape[1]:
            raise ValueError(
                f"waveforms must be (B, T) with T > 0 samples, found shape {tuple(samples.shape)}"
            )
        samples, length = samples.to(self.window.dtype), len(self.window)
        count, total = samples.shape[1] // self.hop_length + 1, samples.shape[1]
        whole = samples.new_empty(len(samples), 0, length)
        if total >= length:
            whole = samples.unfold(1, length, self.hop_length)
        rest = samples.new_zeros(len(samples), count - whole.shape[1], length)
        for row, start in enumerate(range(whole.shape[1] * self.hop_length, total, self.hop_length)):
            piece = samples[:, start:]
            rest[:, row] = piece.repeat(1, -(-length // piece.shape[1]))[:, :length]
        return whole, rest

    def _mel_power(self, frames: Tensor, previous_sample: Tensor, workspace: Tensor) -> Tensor:
        """Mel power (B, n, M) of successive frames (B, n, win_length); `workspace`: (at least B n, n_fft)."""
        batch, count = frames.shape[:2]
        padded = workspace[: batch * count].view(batch, count, self.n_fft)
        earlier = torch.cat([previous_sample[:, None], frames[:, :-1, -1]], 1)
        used = padded[..., : len(self.window)]
        used[..., 0] = frames[..., 0] - self.pre_emphasis * earlier
        torch.sub(frames[..., 1:], frames[..., :-1], alpha=self.pre_emphasis, out=used[..., 1:])
        used *= self.window
        used = max(bins.stop for bins, _ in self.nonzero_blocks)
        spectrum = torch.fft.rfft(padded)[..., :used]
        power = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)
        return torch.cat(
            [power[..., bins] @ self.bank[bins, bands] for bins, bands in self.nonzero_blocks], -1
        )


_ENERGY_FLOOR = float(np.finfo(np.float64).eps)  # replaces an energy of exactly zero


class _LogFilterbank(nn.Module):
    """Sizes and filter bank of both front ends.

    Args:
        n_mels: number of bands M.
        sample_rate: Hz.
        n_fft: frame length in samples; of longer windows only the first `n_fft` samples are used.
        win_seconds: frame length.
        hop_seconds: step between frames.
        f_min: lower corner of the first band in Hz.
        f_max: upper corner of the last band in Hz; sample_rate / 2 if None.
        pre_emphasis: fraction of the previous sample that is subtracted from each.
    """

    bank: Tensor

    def __init__(
        self,
        n_mels: int = 40,
        *,
        sample_rate: int = 16000,
        n_fft: int = 512,
        win_seconds: float = 0.025,
        hop_seconds: float = 0.01,
        f_min: float = 0.0,
        f_max: float | None = None,
        pre_emphasis: float = 0.97,
    ) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.win_length = seconds_to_samples(win_seconds, sample_rate)
        self.hop_length = seconds_to_samples(hop_seconds, sample_rate)
        if not 0 < self.hop_length <= self.win_length:
            raise ValueError(
                f"expected 0 < hop <= window, found {self.hop_length} and {self.win_length} samples"
            )
        self.pre_emphasis = pre_emphasis
        bank = floor_bin_mel_filterbank(n_fft, n_mels, sample_rate, f_min, f_max)
        self.register_buffer("bank", bank, persistent=False)

    def num_frames(self, num_samples: int) -> int:
        """Number of frames of a waveform of `num_samples` samples, at least 1."""
        return 1 + max(0, math.ceil((num_samples - self.win_length) / self.hop_length))


class SF2FLogMel(_LogFilterbank):
    """Front end of sf2f: log-mel bands of any number of frames, double precision, no gradient.

    Frames begin at every hop and are not centred; the last one is padded with zeros. The computation goes by
    blocks of frames that stay in the cache. Arguments: see `_LogFilterbank`.
    """

    FRAMES_PER_BLOCK = 64  # frames at a time

    @torch.no_grad()
    def forward(self, samples: Tensor) -> Tensor:
        """Natural logarithm of the mel energy; energies of exactly zero are replaced by 2.2e-16.

        Args:
            samples: waveforms in the 16-bit range (-32768...32767), shape (B, T), T at least 1.

        Returns:
            Shape (B, M, frames), double precision, also under autocast.

        Raises:
            ValueError: the waveforms are not (B, T) or have no samples.
        """
        _check_waveforms(samples)
        batch, total = samples.shape
        count, used = self.num_frames(total), min(self.win_length, self.n_fft)
        wave = self.bank.new_zeros(batch, (count - 1) * self.hop_length + self.win_length)
        source = samples.to(self.bank.dtype)
        wave[:, 0] = source[:, 0]
        torch.sub(source[:, 1:], source[:, :-1], alpha=self.pre_emphasis, out=wave[:, 1:total])
        frames = wave.unfold(1, used, self.hop_length)[:, :count]
        weights = (self.bank / self.n_fft).T.contiguous()
        energy = self.bank.new_empty(batch, count, len(self.bank))
        block = max(8, self.FRAMES_PER_BLOCK // batch)
        room = self.bank.new_zeros(batch, block, self.n_fft)
        with torch.autocast(samples.device.type, enabled=False):
            for first in range(0, count, block):
                part = frames[:, first : first + block]
                padded = room[:, : part.shape[1]]
                padded[..., :used] = part
                spectrum = torch.fft.rfft(padded)
                power = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)
                energy[:, first : first + block] = power @ weights
        return energy.masked_fill_(energy == 0, _ENERGY_FLOOR).log_().transpose(1, 2)


class ExportableLogMel(_LogFilterbank):
    """The same front end as a graph of ordinary tensor operations.

    The graph depends on the number of samples only, so that exporters accept a free T. In single precision,
    bands differ from those of `SF2FLogMel` by rounding, less than 1e-3.

    Args:
        n_mels: number of bands M.
        dtype: of the computation and the result.
        options: see `_LogFilterbank`.
    """

    def __init__(self, n_mels: int = 40, *, dtype: torch.dtype = torch.float32, **options: Any) -> None:
        super().__init__(n_mels, **options)
        window = torch.ones(min(self.win_length, self.n_fft), dtype=torch.float64)
        self.power = MelPower(window, self.bank.T / self.n_fft, self.n_fft, self.hop_length, dtype)

    def forward(self, samples: Tensor) -> Tensor:
        """Waveforms (B, T) in the 16-bit range, any dtype, to (B, M, frames); see `SF2FLogMel`."""
        _check_waveforms(samples)
        source = samples.to(self.power.bank.dtype)
        wave = torch.cat([source[:, :1], source[:, 1:] - self.pre_emphasis * source[:, :-1]], 1)
        # Integers of graphs are divided towards zero: nothing negative is divided here.
        parts, hop = -(-self.win_length // self.hop_length), self.hop_length
        count = at_least((samples.shape[1] - self.win_length + hop - 1 + parts * hop) // hop - parts, 0) + 1
        energy = self.power(wave, count)
        return torch.where(energy == 0, _ENERGY_FLOOR, energy).log()


def _check_waveforms(waveforms: Tensor) -> None:
    """Raise ValueError unless waveforms are (B, T) with T > 0."""
    if waveforms.ndim != 2 or not waveforms.shape[1]:
        raise ValueError(f"waveforms must be (B, T) with T > 0 samples, found shape {tuple(waveforms.shape)}")
