"""Mel power of frames by plain tensor operations, for graphs: no complex numbers, no transform operators."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["MelPower", "at_least"]


def at_least(value: Any, low: int) -> Any:
    """The larger of both, also of sizes that are free in a graph."""
    return (value + low + abs(value - low)) // 2


class MelPower(nn.Module):
    """Mel power of successive frames: window, power of the real Fourier transform, filter bank.

    A transform of N = N1 N2 bins in two steps (Cooley and Tukey, 1965), each a grouped convolution: over
    every N2-th sample for N1 / 2 + 1 bins, then over the N2 results of each of them. Frames are never written
    out. N2 divides the hop, and is chosen for the fewest multiplications.

    Args:
        window: (L,); frames are multiplied by it.
        bank: filter bank (bins, M), of the first bins of the transform.
        n_fft: length N of the transform, at least L; where a frame lies in it does not change the power.
        hop: step between frames.
        dtype: of the computation.

    Attributes:
        span: samples that a frame takes, L or a few more.
    """

    first: Tensor
    second: Tensor
    bank: Tensor

    def __init__(
        self, window: Tensor, bank: Tensor, n_fft: int, hop: int, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        length = len(window)

        def work(inner: int) -> int:
            kept = n_fft // inner // 2 + 1
            return 2 * kept * inner * -(-length // inner) + kept * inner * (4 * inner + bank.shape[1])

        possible = [size for size in range(1, hop + 1) if hop % size == 0 and n_fft % size == 0]
        inner = min(possible, key=work)
        outer, taps = n_fft // inner, -(-length // inner)
        self.hop, self.inner, self.kept, self.span = hop, inner, outer // 2 + 1, taps * inner
        padded = nn.functional.pad(window, (0, self.span - length)).numpy().reshape(taps, inner)
        angle = 2 * np.pi / outer * (np.outer(np.arange(self.kept), np.arange(taps)) % outer)
        waves = np.concatenate([np.cos(angle), -np.sin(angle)])
        first = (waves * padded.T[:, None]).reshape(-1, 1, taps)
        bins = np.arange(self.kept)[:, None] + outer * np.arange(inner)
        angle = 2 * np.pi / n_fft * (bins[:, :, None] * np.arange(inner) % n_fft)
        cosine, sine = np.cos(angle), np.sin(angle)
        second = np.block([[cosine, sine], [-sine, cosine]]).reshape(-1, 2 * inner, 1)
        used = np.minimum(bins, n_fft - bins).ravel()  # bins of negative frequencies have the same power
        whole = np.zeros((n_fft // 2 + 1, bank.shape[1]))
        whole[: len(bank)] = bank
        whole /= np.bincount(used, minlength=len(whole)).clip(1)[:, None]
        for name, values in (("first", first), ("second", second), ("bank", whole[used].T)):
            tensor = torch.from_numpy(np.ascontiguousarray(values)).to(dtype)
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, samples: Tensor, count: Any, offset: Tensor | None = None) -> Tensor:
        """Map waveforms (B, T) to mel power (B, M, count).

        Args:
            samples: frame i begins at sample i hop; beyond the end there are zeros.
            count: number of frames, at least 1.
            offset: (B, count), added to the first sample of every frame, behind the window.
        """
        batch = samples.shape[0]
        used = nn.functional.pad(samples, (0, self.span))[:, : (count - 1) * self.hop + self.span]
        lanes = used.reshape(batch, -1, self.inner).transpose(1, 2)
        steps = nn.functional.conv1d(lanes, self.first, stride=self.hop // self.inner, groups=self.inner)
        steps = steps.reshape(batch, self.inner, 2, self.kept, -1).permute(0, 3, 2, 1, 4)
        steps = steps.reshape(batch, 2 * self.kept * self.inner, -1)
        parts = nn.functional.conv1d(steps, self.second, groups=self.kept)
        parts = parts.reshape(batch, self.kept, 2, self.inner, -1)
        real, imaginary = parts[:, :, 0], parts[:, :, 1]
        if offset is not None:
            real = real + offset[:, None, None]
        power = real * real + imaginary * imaginary
        return torch.matmul(self.bank, power.reshape(batch, self.kept * self.inner, -1))
