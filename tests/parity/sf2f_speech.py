"""Parity of voice activity detection and log-mel features of sf2f, and of the features of voice2face."""

import numpy as np
import torch
import webrtcvad
from parity.case import Array, Case, ComparisonLog
from sf2f.network_config import MelNormalisation, SpeechConfig
from sf2f.speech import compute_log_mel, normalise_mel, remove_silence
from sf2f.windows import extract_windows
from torch import Tensor
from voiceface.audio.frontends import ExportableLogMel, PerceptionistLogMel, SF2FLogMel
from voiceface.audio.vad import collect_segments, split_frames


def logmel(case: Case, log: ComparisonLog) -> None:
    """Features of two sample rates, of less than a frame, and of silence; filters; normalisation; windows."""
    stated = case.config
    rate = int(stated.get("samplerate", 16000))
    front, silence = _build_frontend(case, rate), torch.zeros(1, int(stated.get("silence_samples", 1000)))
    second = {
        name: _build_frontend(case, int(stated[f"{name}_samplerate"]))
        for name in _second_rate_names(case, stated)
    }
    values: dict[str, Array] = {
        f"out_{name.removeprefix('in_')}": second.get(name.removeprefix("in_"), front)(
            _load_wave(case, name)
        )[0].numpy()
        for name in case.arrays
        if name.startswith("in_")
    }
    values["out_logmel"] = values.pop(f"out_{_main_wave_name(case, second)}")
    values["out_silence"] = front(silence)[0].numpy()
    values["out_filterbank"] = front.bank.numpy()
    values["out_normalised"] = normalise_mel(values["out_logmel"], MelNormalisation())
    width, stride = (int(number) for number in case.arrays["window_length_stride"])
    step = case.stated_number(r"every (\d+)\w* mel band", 4)
    values["out_windows"] = extract_windows(values["out_normalised"], width, stride)[:, ::step]
    for name in case.arrays:
        if name.startswith("out_"):
            case.compare(log, name, values[name])
    graph = ExportableLogMel(dtype=torch.float64, **_frontend_options(case, rate))
    case.compare(log, "out_logmel", graph(_load_wave(case, f"in_{_main_wave_name(case, second)}"))[0])


def vad(case: Case, log: ComparisonLog) -> None:
    """The ring buffer on stored decisions, the detector, and both on a wave up to the features."""
    stated = case.config
    rate, frame_ms = int(stated.get("samplerate", 16000)), stated.get("frame_ms", 30)
    config = SpeechConfig(
        aggressiveness=int(stated.get("mode", 1)),
        frame_ms=frame_ms,
        padding_ms=int(stated.get("padding_ms", 300)),
        sample_rates="published",
    )
    for number, example in enumerate(stated["state_machine_cases"]):
        segment = collect_segments(example["decisions"], config.ring_size, config.voiced_fraction)
        ours = [np.flatnonzero(segment == k).tolist() for k in range(int(segment.max(initial=-1)) + 1)]
        log.compare_equal(f"segments of case {number}", ours, example["segments"])
    wave = case.arrays["in_wave"]
    detector = webrtcvad.Vad(config.aggressiveness)
    frames = split_frames(wave, rate * frame_ms // 1000)
    decisions = [detector.is_speech(frame.tobytes(), rate) for frame in frames]
    kept, bands = remove_silence(wave, rate, config), compute_log_mel(wave, rate, config)
    case.compare(log, "out_decisions", np.array(decisions, np.uint8))
    log.compare_equal("out_kept_len", len(kept), int(case.arrays["out_kept_len"]))
    case.compare(log, "out_kept", kept)
    log.compare_equal("out_logmel_shape", list(bands.shape), case.arrays["out_logmel_shape"].tolist())
    case.compare(log, "out_logmel", bands[:, :: case.stated_number(r"every (\d+)\w* frame", 3)])


def wen_logspec(case: Case, log: ComparisonLog) -> None:
    """Features of voice2face, which are those of perceptionist's front end."""
    stated = case.config
    rate = int(stated.get("samprate", 16000))
    front = PerceptionistLogMel(
        int(stated.get("nfilt", 64)),
        sample_rate=rate,
        n_fft=int(stated.get("nfft", 1024)),
        win_length=int(float(stated.get("wlen", 0.025)) * rate),
        hop_length=round(rate / float(stated.get("frate", 100))),
        f_min=float(stated.get("lowerf", 20)),
        f_max=float(stated.get("upperf", 7200)),
        pre_emphasis=float(stated.get("alpha", 0.97)),
    )
    wave = _load_wave(case, "in_wave")
    spectrum, carry = front.log_mel(wave)[0].T, front.last_sample(wave)
    frames = len(spectrum)
    whole = front(wave)[0].T
    head = case.stated_number(r"first (\d+) samples", 1000)
    ours = {
        "out_logspec": spectrum,
        "out_fbank_shape": tuple(whole.shape),
        "out_fbank_head": whole[: frames : case.stated_number(r"every (\d+)\w* frame", 2)],
        "out_filters": front.bank[:, :: case.stated_number(r"every (\d+)\w* filter", 4)],
        "out_tail_frames": front.log_mel(wave[:, :head])[0].T,
        "out_prior_after": carry[0],
        "out_logspec_second_call": front.log_mel(wave, carry)[0].T[
            : len(case.arrays["out_logspec_second_call"])
        ],
    }
    for name in case.arrays:
        if name.startswith("out_"):
            case.compare(log, name, ours[name])


def _frontend_options(case: Case, rate: int) -> dict[str, float]:
    """Arguments of a front end; the stored upper frequency applies to the main sample rate only."""
    stated = case.config
    own = rate == int(stated.get("samplerate", 16000))
    return {
        "n_mels": int(stated.get("nfilt", 40)),
        "sample_rate": rate,
        "n_fft": int(stated.get("nfft", 512)),
        "win_seconds": float(stated.get("winlen", 0.025)),
        "hop_seconds": float(stated.get("winstep", 0.01)),
        "f_min": float(stated.get("lowfreq", 0)),
        "f_max": float(stated["highfreq"]) if own and stated.get("highfreq") else rate / 2,
        "pre_emphasis": float(stated.get("preemph", 0.97)),
    }


def _build_frontend(case: Case, rate: int) -> SF2FLogMel:
    return SF2FLogMel(**_frontend_options(case, rate))  # type: ignore[arg-type]


def _second_rate_names(case: Case, stated: dict) -> list[str]:
    """Names of the waves with a sample rate of their own."""
    return [key.removesuffix("_samplerate") for key in stated if key.endswith("_samplerate")]


def _main_wave_name(case: Case, others: dict) -> str:
    """Name of the wave of `out_logmel`: the longest of the main sample rate."""
    names = [name.removeprefix("in_") for name in case.arrays if name.startswith("in_")]
    return max(
        (name for name in names if name not in others), key=lambda name: case.arrays[f"in_{name}"].size
    )


def _load_wave(case: Case, name: str) -> Tensor:
    return torch.from_numpy(case.arrays[name])[None]
