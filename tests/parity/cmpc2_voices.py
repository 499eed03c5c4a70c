"""Parity of cmpc2's voice front ends and pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from cmpc2.audio_frontend import compute_sphinx_bands, remove_silence
from cmpc2.image_frontend import prepare_face
from cmpc2.log_mel import compute_decibel_log_mel, crop_or_pad
from cmpc2.sphinx import MFCC, dct, dct2, dct3, get_fbank, idct, logspec2s2mfc
from numpy.typing import NDArray
from parity.case import Case, ComparisonLog, SkipCase
from PIL import Image
from voiceface.audio.loading import load_audio
from voiceface.audio.vad import (
    VoiceActivityDetector,
    collect_segments_requerying,
    join_segments,
    split_frames,
)

MFCC_KEYS = ("nfilt", "ncep", "lowerf", "upperf", "alpha", "samprate", "frate", "wlen", "nfft")


def mel_filterbank(case: Case, log: ComparisonLog) -> None:
    """Bank and window of the Sphinx front end."""
    front = _build_mfcc(case.config)
    case.compare(log, "filters_f64", front.filters)
    case.compare(log, "window_f64", front.win)


def sphinx_mfcc(case: Case, log: ComparisonLog) -> None:
    """Cepstra of a signal, and the transforms of log energies both ways."""
    front = _build_mfcc(case.config.get("defaults", case.config))
    logspec, count = case.arrays["logspec"], front.ncep
    cepstra = logspec[:, :count]
    ours = {
        "s2mfc": front.s2mfc(case.arrays["pcm"]),
        "dct": dct(logspec, count),
        "dct2": dct2(logspec, count),
        "logspec2s2mfc": logspec2s2mfc(logspec, count),
        "idct": idct(cepstra, logspec.shape[1]),
        "dct3": dct3(cepstra, logspec.shape[1]),
    }
    for name, value in ours.items():
        if name in case.arrays:
            case.compare(log, name, value)


def vad(case: Case, log: ComparisonLog) -> None:
    """Answers of the detector in the order of the calls, segments, voiced audio."""
    config, wave = case.config, case.arrays["pcm"]
    rate, size = int(config.get("sample_rate", 16000)), int(config.get("frame_ms", 20))
    ring = int(config.get("ring_frames", int(config.get("padding_ms", 50)) // size))
    frames = split_frames(wave, rate * size // 1000)
    case.compare(log, "n_frames", len(frames))
    raw = [frame.tobytes() for frame in frames]
    levels = [int(name.removeprefix("calls_level")) for name in case.arrays if name.startswith("calls_level")]
    for level in levels:
        detector, calls = VoiceActivityDetector(level, rate), []

        def ask(frame: int, detector: VoiceActivityDetector = detector, calls: list[bool] = calls) -> bool:
            calls.append(detector(raw[frame]))
            return calls[-1]

        segments = join_segments(frames, collect_segments_requerying(len(frames), ask, ring))
        once = VoiceActivityDetector(level, rate)
        case.compare(log, f"calls_level{level}", np.array(calls, np.uint8))
        case.compare(log, f"segment_samples_level{level}", [len(segment) for segment in segments])
        case.compare(log, f"single_pass_level{level}", np.array([once(frame) for frame in raw], np.uint8))
        if f"voiced_pcm_level{level}" in case.arrays:
            case.compare(log, f"voiced_pcm_level{level}", remove_silence(wave, rate, level))


def voice_frontend(case: Case, log: ComparisonLog) -> None:
    """From samples to network input."""
    level, least = int(case.config.get("vad_level", 2)), int(case.config.get("min_time", 800))
    wave = case.arrays["pcm"]
    bands = compute_sphinx_bands(wave, aggressiveness=level, min_frames=least)
    front = MFCC(64, lowerf=20, upperf=7200, wlen=0.025, nfft=1024)
    kept = remove_silence(wave, aggressiveness=level)
    case.compare(log, "logmel_raw", front.sig2logspec(kept))
    case.compare(log, "fbank_shape", [1, *bands.shape])
    case.compare(log, "fbank_sub", bands[:, :: case.stated_number(r"every (\d+)(?:th|rd|nd|st) frame", 5)])
    case.compare(log, "fbank_stats", [bands.mean(), bands.std(ddof=1), bands.min(), bands.max()])
    log.compare_close("get_fbank", get_fbank(kept, min_time=least).T, bands, atol=1e-6)


def voice_frontend_lengths(case: Case, log: ComparisonLog) -> None:
    """Short recordings are repeated, long ones stay whole."""
    level = int(case.config.get("vad_level", 2))
    least = {"short": int(case.config["short_min_time"]), "long": int(case.config.get("long_min_time", 800))}
    for name, frames in least.items():
        bands = compute_sphinx_bands(case.arrays[f"{name}_pcm"], aggressiveness=level, min_frames=frames)
        case.compare(log, f"{name}_shape", [1, *bands.shape])
        for key in (f"{name}_fbank", f"{name}_fbank_sub"):
            if key in case.arrays:
                stride = case.stated_number(
                    rf"{key}: every (\d+)", -(-bands.shape[1] // case.arrays[key].shape[1])
                )
                case.compare(log, key, bands[:, ::stride])


def voice_frontend_samples(case: Case, log: ComparisonLog) -> None:
    """The sample recordings, from files; they lie where `samples` lies beside the cases."""
    stride = case.stated_number(r"every (\d+)th frame", 10)
    level, least = int(case.config.get("vad_level", 2)), int(case.config.get("min_time", 800))
    roots: Sequence[Path] = [case.inputs.lists.parent, *case.path.parents]
    for name, place in case.config["files"].items():
        path = next((root / place for root in roots if (root / place).is_file()), None)
        if path is None:
            raise SkipCase(f"the sample recordings are absent: no {place} beside the cases")
        wave = load_audio(path, scale="int16").astype(np.int16)
        bands = compute_sphinx_bands(wave, aggressiveness=level, min_frames=least)
        case.compare(log, f"{name}_shape", [1, *bands.shape])
        case.compare(log, f"{name}_sub", bands[:, ::stride])
        case.compare(log, f"{name}_voiced_samples", len(remove_silence(wave, aggressiveness=level)))


def pretrain_logmel(case: Case, log: ComparisonLog) -> None:
    """Decibel bands as librosa makes them."""
    config = case.config
    bands = compute_decibel_log_mel(
        torch.from_numpy(case.arrays["pcm"].astype(np.float32) / 32768),
        n_fft=int(config.get("n_fft", 1600)),
        hop_length=int(config.get("hop", 160)),
        n_mels=int(config.get("n_mels", 64)),
        f_min=float(config.get("fmin", 0)),
        f_max=float(config.get("fmax", 8000)),
        sample_rate=int(config.get("sr", 16000)),
    )
    case.compare(log, "shape", list(bands.shape))
    case.compare(log, "logmel_sub", bands[:, :: case.stated_number(r"every (\d+)(?:th|rd|nd|st) frame", 4)])


def voice_crop_pad(case: Case, log: ComparisonLog) -> None:
    """Zero padding and random crops; starts are random, so every possible one is judged where it matters."""
    target = int(case.config["target"])
    for name, rule in case.meta["inputs"].items():
        count = name.removeprefix("v")
        bands = _normal_samples(rule)
        places: list[int] = []
        crop_or_pad(bands, target, lambda count, places=places: places.append(count) or 0)
        found = [crop_or_pad(bands, target, lambda _, k=k: k) for k in range(places[0])]
        if f"shape_{count}" in case.arrays:
            case.compare(log, f"shape_{count}", [1, *found[0].shape])
        if f"first_nonzero_{count}" in case.arrays:
            first = [int(np.flatnonzero(part.any(0))[0]) for part in found]
            stored = int(case.arrays[f"first_nonzero_{count}"])
            log.compare_equal(f"first_nonzero_{count} among the possible ones", stored in first, True)
        if f"pad_{count}" in case.arrays:
            stored = case.arrays[f"pad_{count}"]
            stride = case.stated_number(rf"pad_{count}: every (\d+)", -(-target // stored.shape[1]))
            errors = [np.abs(part[:, ::stride] - stored).max() for part in found]
            case.compare(log, f"pad_{count}", found[int(np.argmin(errors))][:, ::stride])


def face_preprocess(case: Case, log: ComparisonLog) -> None:
    """Pictures, colour and grey, to network input of the sizes that the arrays have."""
    picture = case.arrays["image_u8"]
    for name, stored in case.arrays.items():
        digits = "".join(letter for letter in name if letter.isdigit())
        if name == "image_u8" or not digits:
            continue
        side = int(digits)
        gray = name.startswith("gray") or name.startswith("grey")
        source = Image.fromarray(picture).convert("L") if gray else picture
        ours = prepare_face(source, side)
        stride = -(-side // stored.shape[-1])
        case.compare(log, name, ours[:, ::stride, ::stride])


def _build_mfcc(config: dict) -> MFCC:
    """The extractor of a configuration."""
    whole = {"nfilt", "ncep", "samprate", "frate", "nfft"}
    return MFCC(
        **{
            key: int(config[key]) if key in whole else float(config[key])
            for key in MFCC_KEYS
            if key in config
        }
    )


def _normal_samples(rule: dict) -> NDArray[np.float32]:
    generator = np.random.Generator(np.random.PCG64(rule["seed"]))
    return generator.standard_normal(rule["shape"], dtype=np.float32)
