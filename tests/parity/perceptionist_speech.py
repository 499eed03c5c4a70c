"""Parity of perceptionist's voice activity collector and log-mel features."""

import numpy as np
import torch
import webrtcvad
from parity.case import Case, ComparisonLog
from perceptionist.network_config import SpeechConfig
from perceptionist.speech import collect, voiced_segments
from torch import Tensor
from voiceface.audio.frontends import PerceptionistLogMel
from voiceface.audio.vad import split_frames


def vad(case: Case, log: ComparisonLog) -> None:
    """The collector on stored decisions, the detector in one pass, and both on a wave."""
    stated = case.config
    config = SpeechConfig(
        aggressiveness=int(stated.get("aggressiveness", 2)),
        frame_ms=stated.get("frame_ms", 20),
        padding_ms=int(stated.get("padding_ms", 50)),
    )
    rate = int(stated.get("sample_rate", 16000))
    for name, voiced in case.arrays.items():
        if name.startswith("voiced_"):
            number = collect(
                len(voiced), lambda i, v=voiced: bool(v[i]), config.ring_size, config.voiced_fraction
            )
            case.compare(log, name.replace("voiced", "segment", 1), number)
    wave = case.arrays["wave"]
    detector = webrtcvad.Vad(config.aggressiveness)
    frames = split_frames(wave, rate * config.frame_ms // 1000)
    once = [detector.is_speech(frame.tobytes(), rate) for frame in frames]
    segments = voiced_segments(wave, rate, config)
    whole = np.concatenate(segments)
    case.compare(log, "frame_decisions_single_pass", np.array(once, np.uint8))
    case.compare(log, "segment_lengths", [len(segment) for segment in segments])
    case.compare(log, "kept", whole[:: case.stated_number(r"every (\d+)th sample", 16)])
    case.compare(log, "kept_count", [len(whole)])


def logmel(case: Case, log: ComparisonLog) -> None:
    """Log-mel bands by a fresh and by a used extractor, the filter bank, the whole features."""
    stated = case.config
    rate = int(stated.get("samprate", 16000))
    front = PerceptionistLogMel(
        int(stated.get("nfilt", 64)),
        sample_rate=rate,
        n_fft=int(stated.get("nfft", 1024)),
        win_length=round(float(stated.get("wlen", 0.025)) * rate),
        hop_length=round(rate / float(stated.get("frate", 100))),
        f_min=float(stated.get("lowerf", 20)),
        f_max=float(stated.get("upperf", 7200)),
        pre_emphasis=float(stated.get("alpha", 0.97)),
    )
    first, second = (_load_wave(case, name) for name in ("wave1", "wave2"))
    times = case.stated_number(r"repeated (\d+) times", 10)
    long = first.repeat(1, times)
    carry = front.last_sample(first)
    used = front.log_mel(second, carry)[0].T
    bank = front.bank
    ours = {
        "logspec1": front.log_mel(first)[0].T,
        "logspec2_same_extractor": used[: len(case.arrays["logspec2_same_extractor"])],
        "logspec2_fresh": front.log_mel(second)[0].T,
        "filterbank_sum": bank.sum(0),
        "filterbank_nonzero": (bank > 0).sum(0),
        "filterbank_first": (bank > 0).int().argmax(0),
        "normalised": front(first)[0].T,
        "long_normalised_sub": front(long)[0].T[:: case.stated_number(r"every (\d+)th row", 25)],
        "carry": carry,
    }
    for name, value in ours.items():
        if name in case.arrays:
            case.compare(log, name, value)
    waves = {"wave1": first, "wave2": second, "long": long}
    for name, count in (case.meta.get("frames") or {}).items():
        if name in waves:
            log.compare_equal(f"frames of {name}", front.log_mel(waves[name]).shape[2], count)


def _load_wave(case: Case, name: str) -> Tensor:
    return torch.from_numpy(case.arrays[name].astype(np.float64))[None]
