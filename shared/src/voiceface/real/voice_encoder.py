"""Embeddings of voices: recordings at 16 kHz to 256 numbers of unit length.

Source: Wan et al., "Generalized end-to-end loss for speaker verification", ICASSP 2018, section 3.2 (partial
utterances of 1.6 s, mean of their embeddings). Front end, volume and removal of long silences are those of
Resemblyzer 0.1.4, on whose weights they depend.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.typing import NDArray
from torch.nn import functional

from voiceface.audio.mel import slaney_mel_filterbank
from voiceface.audio.samples import check_waveform
from voiceface.audio.vad import VoiceActivityDetector, no_speech_error
from voiceface.real.backends import Backend, Network, load_network
from voiceface.real.networks import NUM_MELS, PARTIAL_FRAMES

__all__ = [
    "MIN_COVERAGE",
    "PARTIALS_PER_SECOND",
    "SAMPLE_RATE",
    "VoiceEncoder",
    "compute_mel_bands",
    "compute_partial_bands",
    "load_voice_encoder",
    "normalise_volume",
    "partial_starts",
    "prepare_voice",
    "remove_long_silences",
    "silence_facts",
]

Array = NDArray[np.float32]
SAMPLE_RATE = 16000
FRAME_SAMPLES, HOP_SAMPLES = 400, 160
PARTIALS_PER_SECOND = 1.3
MIN_COVERAGE = 0.75
"""Part of the last partial utterance that must be covered by the recording."""
TARGET_LEVEL = -30.0  # dB below full scale
VAD_AGGRESSIVENESS, VAD_SAMPLES, VAD_AVERAGE, VAD_MAX_SILENCE = 3, 480, 8, 6
PCM_SCALE = 32767
MAX_WINDOWS = 512  # partial utterances at a time, so that an hour needs little memory


class VoiceEncoder:
    """Embeds recordings; from `load_voice_encoder`.

    Args:
        network: mel bands (N, 160, 40) to embeddings of partial utterances.

    Attributes:
        network: with licence and fingerprint.
    """

    def __init__(self, network: Network) -> None:
        self.network = network

    def embed(
        self,
        waveforms: Sequence[npt.ArrayLike],
        *,
        prepare: bool = True,
        rate: float = PARTIALS_PER_SECOND,
    ) -> Array:
        """Embed recordings; each gets the normalised mean of its partial utterances.

        Args:
            waveforms: mono, 16 kHz, values in -1...1, of any lengths.
            prepare: raise the volume and remove long silences first (`prepare_voice`).
            rate: partial utterances per second, 0.625 to 100.

        Returns:
            (N, 256), unit length, not negative; compared by cosine.

        Raises:
            voiceface.audio.vad.SpeechError: no voice is found in a recording, or it has no samples.
            ValueError: a waveform of another shape or with values that are not finite, or another rate.
        """
        embeddings = [self.embed_partials(each, prepare=prepare, rate=rate) for each in waveforms]
        if not embeddings:
            return np.zeros((0, 256), np.float32)
        means = np.stack([each.mean(0) for each in embeddings])
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def embed_partials(
        self, waveform: npt.ArrayLike, *, prepare: bool = True, rate: float = PARTIALS_PER_SECOND
    ) -> Array:
        """Embed the partial utterances of one recording, (P, 256); arguments and errors as in `embed`."""
        wave = check_waveform(waveform)
        wave = prepare_voice(wave) if prepare else wave
        if not wave.any():
            raise no_speech_error(_to_pcm(wave), SAMPLE_RATE, "the recording")
        starts = partial_starts(len(wave), rate)
        parts = []
        for first in range(0, len(starts), MAX_WINDOWS):
            parts.append(self.network(compute_partial_bands(wave, starts[first : first + MAX_WINDOWS]))[0])
        return np.concatenate(parts)

    def embed_files(self, paths: Sequence[str | os.PathLike[str]], *, prepare: bool = True) -> Array:
        """Embed audio files of any rate, (N, 256); the first channel is used.

        Raises:
            voiceface.audio.loading.AudioError: a file cannot be decoded.
            voiceface.audio.vad.SpeechError: no voice is found in a file; the message names it.
        """
        from voiceface.audio.loading import load_audio
        from voiceface.audio.vad import SpeechError

        found = []
        for path in paths:
            wave = load_audio(path, scale="unit", sample_rate=SAMPLE_RATE, resample=True)
            try:
                found.append(self.embed([wave], prepare=prepare))
            except SpeechError as error:
                raise SpeechError(str(error).replace("the recording", str(path), 1)) from None
        return np.concatenate(found) if found else np.zeros((0, 256), np.float32)


def load_voice_encoder(backend: Backend = "torch", device: str = "cpu") -> VoiceEncoder:
    """Load the voice encoder that `voiceface models get real` fetched.

    Args:
        backend: "torch" or "onnxruntime".
        device: for PyTorch.

    Raises:
        voiceface.real.installation.MissingModelError: it was not fetched.
    """
    return VoiceEncoder(load_network("voice_encoder", backend, device))


def prepare_voice(waveform: npt.ArrayLike) -> Array:
    """Raise the volume of a quiet recording to -30 dB and remove silences longer than 0.2 s.

    Args:
        waveform: (T,), 16 kHz, -1...1.

    Returns:
        (T',), T' at most T.

    Raises:
        voiceface.audio.vad.SpeechError: no voice is found.
        ValueError: another shape, or values that are not finite.
    """
    wave = check_waveform(waveform)
    kept = remove_long_silences(normalise_volume(wave))
    if not len(kept):
        raise no_speech_error(_to_pcm(wave), SAMPLE_RATE, "the recording")
    return kept


def normalise_volume(waveform: Array, level: float = TARGET_LEVEL) -> Array:
    """Scale a recording up to a level in dB below full scale; louder ones and digital silence stay."""
    power = float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0
    gain = 10 ** (level / 20) / np.sqrt(power) if power > 0 else 1.0
    return (waveform * np.float32(gain)).astype(np.float32) if gain > 1 else waveform


def remove_long_silences(waveform: Array) -> Array:
    """Keep the windows of 30 ms around speech; a rest that fills no window is dropped.

    The detector's decisions are averaged over 8 windows and then widened by 3 windows on both sides.

    Args:
        waveform: (T,), 16 kHz, -1...1.
    """
    from scipy.ndimage import binary_dilation

    count = len(waveform) // VAD_SAMPLES
    if not count:
        return waveform[:0]
    windows = waveform[: count * VAD_SAMPLES].reshape(count, VAD_SAMPLES)
    detector, pcm = VoiceActivityDetector(VAD_AGGRESSIVENESS, SAMPLE_RATE), _to_pcm(windows)
    voiced = np.array([detector(window.tobytes()) for window in pcm], float)
    before, after = (VAD_AVERAGE - 1) // 2, VAD_AVERAGE // 2
    sums = np.cumsum(np.concatenate([np.zeros(before + 1), voiced, np.zeros(after)]))
    averages = (sums[VAD_AVERAGE:] - sums[:-VAD_AVERAGE]) / VAD_AVERAGE
    kept = binary_dilation(np.round(averages).astype(bool), np.ones(VAD_MAX_SILENCE + 1))
    return windows[kept].reshape(-1)


def silence_facts() -> dict[str, Any]:
    """Rules of `prepare_voice`, for the metadata of graphs."""
    return {
        "detector": "webrtc",
        "aggressiveness": VAD_AGGRESSIVENESS,
        "frame_ms": 1000 * VAD_SAMPLES // SAMPLE_RATE,
        "level_db": TARGET_LEVEL,
        "pcm_scale": PCM_SCALE,
        "average": VAD_AVERAGE,
        "widen": VAD_MAX_SILENCE // 2,
    }


def partial_starts(
    num_samples: int, rate: float = PARTIALS_PER_SECOND, min_coverage: float = MIN_COVERAGE
) -> NDArray[np.int64]:
    """First frames of the partial utterances of a recording, 10 ms each.

    Args:
        num_samples: at 16 kHz.
        rate: partial utterances per second, 0.625 to 100.
        min_coverage: the last one is dropped if a smaller part of it is covered; one always remains.

    Raises:
        ValueError: another rate.

    Example:
        >>> partial_starts(4 * 16000).tolist()
        [0, 77, 154, 231]
    """
    step = round(SAMPLE_RATE / rate / HOP_SAMPLES) if rate > 0 else 0
    if not 0 < step <= PARTIAL_FRAMES:
        raise ValueError(f"rate must be 0.625 to 100 partial utterances per second, found {rate:g}")
    frames = -(-(num_samples + 1) // HOP_SAMPLES)
    starts = np.arange(0, max(1, frames - PARTIAL_FRAMES + step + 1), step)
    covered = (num_samples - starts[-1] * HOP_SAMPLES) / (PARTIAL_FRAMES * HOP_SAMPLES)
    return starts[:-1] if len(starts) > 1 and covered < min_coverage else starts


def compute_mel_bands(waveform: Array, first: int = 0, last: int | None = None) -> Array:
    """Mel power of frames of 25 ms every 10 ms, not logarithmic: 40 Slaney bands, Hann window, zero padding.

    Args:
        waveform: (T,), 16 kHz, -1...1; zeros beyond its end.
        first: first frame; frame k is centred at sample 160 k.
        last: end of the frames; None: 1 + T // 160, all that are centred in the recording.

    Returns:
        (last - first, 40).
    """
    last = 1 + len(waveform) // HOP_SAMPLES if last is None else last
    begin = first * HOP_SAMPLES - FRAME_SAMPLES // 2
    end = (last - 1) * HOP_SAMPLES + FRAME_SAMPLES // 2
    part = waveform[max(begin, 0) : min(end, len(waveform))]
    padding = max(-begin, 0), max(end - max(begin, 0) - len(part), 0)
    wave = functional.pad(torch.from_numpy(np.ascontiguousarray(part)), padding)
    frames = wave.unfold(0, FRAME_SAMPLES, HOP_SAMPLES) * torch.hann_window(FRAME_SAMPLES)
    spectrum = torch.view_as_real(torch.fft.rfft(frames))
    bank = slaney_mel_filterbank(FRAME_SAMPLES, NUM_MELS).float()
    return (spectrum.square().sum(-1) @ bank).numpy()


def compute_partial_bands(waveform: Array, starts: NDArray[np.int64] | None = None) -> Array:
    """Mel power of partial utterances, the input of the network.

    Args:
        waveform: (T,), 16 kHz, -1...1.
        starts: (P,) first frames, ascending; None: those of `partial_starts`.

    Returns:
        (P, 160, 40).
    """
    chosen = partial_starts(len(waveform)) if starts is None else starts
    bands = compute_mel_bands(waveform, int(chosen[0]), int(chosen[-1]) + PARTIAL_FRAMES)
    return bands[(chosen - chosen[0])[:, None] + np.arange(PARTIAL_FRAMES)]


def _to_pcm(wave: Array) -> NDArray[np.int16]:
    return np.clip(np.round(wave * PCM_SCALE), -32768, 32767).astype(np.int16)
