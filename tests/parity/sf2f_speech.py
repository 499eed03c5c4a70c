"""Parity of sf2f's voice activity and log-mel features, and of the features of its separate baseline."""

import numpy as np
import torch
import webrtcvad
from parity.case import Array, Book, Case
from sf2f.speech import MelNormalisation, SpeechConfig, log_mel, normalised, without_silence
from sf2f.windows import windows_of
from torch import Tensor
from voiceface.audio.frontends import ExportableLogMel, PerceptionistLogMel, SF2FLogMel
from voiceface.audio.vad import collect_once, frames_of


def logmel(case: Case, book: Book) -> None:
    """Bands of waves of two rates, of less than a frame, and of silence; filters; normalised; windows."""
    stated = case.config
    rate = int(stated.get("samplerate", 16000))
    front, silence = _front(case, rate), torch.zeros(1, int(stated.get("silence_samples", 1000)))
    second = {name: _front(case, int(stated[f"{name}_samplerate"])) for name in _waves(case, stated)}
    values: dict[str, Array] = {
        f"out_{name.removeprefix('in_')}": second.get(name.removeprefix("in_"), front)(_wave(case, name))[
            0
        ].numpy()
        for name in case.arrays
        if name.startswith("in_")
    }
    values["out_logmel"] = values.pop(f"out_{_main(case, second)}")
    values["out_silence"] = front(silence)[0].numpy()
    values["out_filterbank"] = front.bank.numpy()
    values["out_normalised"] = normalised(values["out_logmel"], MelNormalisation())
    width, stride = (int(number) for number in case.arrays["window_length_stride"])
    step = case.stride(r"every (\d+)\w* mel band", 4)
    values["out_windows"] = windows_of(values["out_normalised"], width, stride)[:, ::step]
    for name in case.arrays:
        if name.startswith("out_"):
            case.judge(book, name, values[name])
    graph = ExportableLogMel(dtype=torch.float64, **_sizes(case, rate))
    case.judge(book, "out_logmel", graph(_wave(case, f"in_{_main(case, second)}"))[0])


def vad(case: Case, book: Book) -> None:
    """The collector on stated decisions, the detector, and both on a wave up to the features."""
    stated = case.config
    rate, frame_ms = int(stated.get("samplerate", 16000)), stated.get("frame_ms", 30)
    config = SpeechConfig(
        aggressiveness=int(stated.get("mode", 1)),
        frame_ms=frame_ms,
        padding_ms=int(stated.get("padding_ms", 300)),
        rates="published",
    )
    for number, example in enumerate(stated["state_machine_cases"]):
        segment = collect_once(example["decisions"], config.ring, config.share)
        ours = [np.flatnonzero(segment == k).tolist() for k in range(int(segment.max(initial=-1)) + 1)]
        book.equal(f"segments of case {number}", ours, example["segments"])
    wave = case.arrays["in_wave"]
    detector = webrtcvad.Vad(config.aggressiveness)
    frames = frames_of(wave, rate * frame_ms // 1000)
    decisions = [detector.is_speech(frame.tobytes(), rate) for frame in frames]
    kept, bands = without_silence(wave, rate, config), log_mel(wave, rate, config)
    case.judge(book, "out_decisions", np.array(decisions, np.uint8))
    book.equal("out_kept_len", len(kept), int(case.arrays["out_kept_len"]))
    case.judge(book, "out_kept", kept)
    book.equal("out_logmel_shape", list(bands.shape), case.arrays["out_logmel_shape"].tolist())
    case.judge(book, "out_logmel", bands[:, :: case.stride(r"every (\d+)\w* frame", 3)])


def wen_logspec(case: Case, book: Book) -> None:
    """The features of Wen et al.: those of perceptionist's front end."""
    stated = case.config
    rate = int(stated.get("samprate", 16000))
    front = PerceptionistLogMel(
        int(stated.get("nfilt", 64)),
        rate=rate,
        n_fft=int(stated.get("nfft", 1024)),
        window=int(float(stated.get("wlen", 0.025)) * rate),
        hop=round(rate / float(stated.get("frate", 100))),
        low=float(stated.get("lowerf", 20)),
        high=float(stated.get("upperf", 7200)),
        pre_emphasis=float(stated.get("alpha", 0.97)),
    )
    wave = _wave(case, "in_wave")
    spectrum, carry = front.log_mel(wave)[0].T, front.carry(wave)
    frames = len(spectrum)
    whole = front(wave)[0].T
    head = case.stride(r"first (\d+) samples", 1000)
    ours = {
        "out_logspec": spectrum,
        "out_fbank_shape": tuple(whole.shape),
        "out_fbank_head": whole[: frames : case.stride(r"every (\d+)\w* frame", 2)],
        "out_filters": front.bank[:, :: case.stride(r"every (\d+)\w* filter", 4)],
        "out_tail_frames": front.log_mel(wave[:, :head])[0].T,
        "out_prior_after": carry[0],
        "out_logspec_second_call": front.log_mel(wave, carry)[0].T[
            : len(case.arrays["out_logspec_second_call"])
        ],
    }
    for name in case.arrays:
        if name.startswith("out_"):
            case.judge(book, name, ours[name])


def _sizes(case: Case, rate: int) -> dict[str, float]:
    """Arguments of a front end at a rate; the top of the stated bands holds for the main rate only."""
    stated = case.config
    own = rate == int(stated.get("samplerate", 16000))
    return {
        "n_mels": int(stated.get("nfilt", 40)),
        "rate": rate,
        "n_fft": int(stated.get("nfft", 512)),
        "window": float(stated.get("winlen", 0.025)),
        "hop": float(stated.get("winstep", 0.01)),
        "low": float(stated.get("lowfreq", 0)),
        "high": float(stated["highfreq"]) if own and stated.get("highfreq") else rate / 2,
        "pre_emphasis": float(stated.get("preemph", 0.97)),
    }


def _front(case: Case, rate: int) -> SF2FLogMel:
    return SF2FLogMel(**_sizes(case, rate))  # type: ignore[arg-type]


def _waves(case: Case, stated: dict) -> list[str]:
    """Names of the waves whose rate is stated apart."""
    return [key.removesuffix("_samplerate") for key in stated if key.endswith("_samplerate")]


def _main(case: Case, others: dict) -> str:
    """Name of the wave that `out_logmel` belongs to: the longest of the main rate."""
    names = [name.removeprefix("in_") for name in case.arrays if name.startswith("in_")]
    return max(
        (name for name in names if name not in others), key=lambda name: case.arrays[f"in_{name}"].size
    )


def _wave(case: Case, name: str) -> Tensor:
    return torch.from_numpy(case.arrays[name])[None]
