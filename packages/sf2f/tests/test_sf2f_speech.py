"""Features of recordings, silence removal, stored features, ONNX export of the front end."""

import io
import os
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
import webrtcvad
from hypothesis import given, settings
from hypothesis import strategies as st
from sf2f.network_config import MelNormalisation, SpeechConfig
from sf2f.speech import (
    compute_log_mel,
    compute_log_mel_from_file,
    normalise_mel,
    read_mel,
    read_recording,
    remove_silence,
    validate_mel,
    write_mel,
)
from voiceface.audio.frontends import ExportableLogMel, SF2FLogMel
from voiceface.audio.loading import write_wav
from voiceface.audio.vad import SpeechError

WHOLE = SpeechConfig(remove_silence=False)


def synthesise_speech(seconds: float, rate: int = 16000, seed: int = 0) -> np.ndarray:
    """A buzz with formants that the detector classifies as speech, with one pause in the middle."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(110 + 15 * np.sin(2 * np.pi * 3 * time)) / rate
    wave = sum(np.sin(k * phase) * np.exp(-(((k * 110 - 600) / 700) ** 2)) for k in range(1, 30))
    wave = wave * (1 + 0.7 * np.sin(2 * np.pi * 4 * time)) * 2500 + rng.normal(0, 20, len(time))
    pause = slice(int(0.35 * len(wave)), int(0.7 * len(wave)))
    wave[pause] = rng.normal(0, 4, pause.stop - pause.start)
    return np.clip(wave, -32768, 32767).astype(np.int16)


def test_a_pause_is_removed_with_one_decision_per_frame() -> None:
    wave = synthesise_speech(4.0)
    kept = remove_silence(wave)
    assert 0.5 * len(wave) < len(kept) < 0.9 * len(wave) and len(kept) % 480 == 0
    np.testing.assert_array_equal(kept, remove_silence(wave))  # a new detector each time
    detector, recent, voiced, triggered = webrtcvad.Vad(1), [], [], False
    for start in range(0, len(wave) - 480, 480):
        frame = wave[start : start + 480]
        recent = [*recent, (frame, detector.is_speech(frame.tobytes(), 16000))][-10:]
        answers = [heard for _, heard in recent]
        if triggered:
            voiced.append(frame)
            if answers.count(False) > 9:
                triggered, recent = False, []
        elif answers.count(True) > 9:
            triggered, recent = True, voiced.extend(each for each, _ in recent) or []
    np.testing.assert_array_equal(kept, np.concatenate(voiced))


def test_features_are_those_of_the_front_end_after_silence_removal() -> None:
    wave = synthesise_speech(2.0)
    expected = SF2FLogMel()(torch.from_numpy(remove_silence(wave))[None])[0].float()
    found = compute_log_mel(wave)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32 and found.flags.c_contiguous and found.shape[0] == 40
    assert compute_log_mel(wave, config=WHOLE).shape[1] == 1 + -(-(len(wave) - 400) // 160)


@pytest.mark.parametrize("level", [0, 2])
def test_silence_is_rejected(level) -> None:
    wave = np.random.default_rng(0).normal(0, level, 16000).astype(np.int16)
    with pytest.raises(SpeechError, match=r"clip\.wav: no voice found in 1\.00 s"):
        compute_log_mel(wave, source="clip.wav")


def test_short_recordings_need_silence_removal_off() -> None:
    wave = synthesise_speech(0.3)
    with pytest.raises(SpeechError, match=r"clip: 0\.300 s .* more than 300 ms"):
        compute_log_mel(wave, source="clip")
    assert compute_log_mel(wave, config=WHOLE).shape == (40, 29)
    assert compute_log_mel(wave[:1], config=WHOLE).shape == (40, 1)
    for config in (WHOLE, SpeechConfig()):
        with pytest.raises(SpeechError, match="no samples"):
            compute_log_mel(wave[:0], config=config)


def test_invalid_samples_are_rejected() -> None:
    for wave in (synthesise_speech(1.0).astype(np.float32), synthesise_speech(1.0)[None]):
        with pytest.raises(SpeechError, match="int16 samples of shape"):
            compute_log_mel(wave)
    with pytest.raises(SpeechError, match="16000 Hz, found 8000"):
        compute_log_mel(synthesise_speech(1.0, 8000), 8000)
    with pytest.raises(SpeechError, match="found 44100"):
        compute_log_mel(synthesise_speech(1.0, 44100), 44100, SpeechConfig(sample_rates="published"))


def test_sample_rates_are_resampled_or_kept_as_published(tmp_path: Path) -> None:
    published = SpeechConfig(sample_rates="published")
    for rate in (8000, 22050, 44100, 48000):
        path = tmp_path / f"{rate}.wav"
        write_wav(path, synthesise_speech(1.5, rate), rate)
        samples, found = read_recording(path)
        assert found == 16000 and abs(len(samples) - 24000) <= 1 and samples.dtype == np.int16
        if rate in (8000, 48000):
            samples, found = read_recording(path, published)
            assert found == rate
            np.testing.assert_array_equal(samples, synthesise_speech(1.5, rate))
            assert compute_log_mel_from_file(path, published).shape[0] == 40
        else:
            with pytest.raises(SpeechError, match=rf"{rate}\.wav.*8000, 16000, 32000 or 48000"):
                read_recording(path, published)


def test_stereo_is_mixed_or_its_first_channel_taken(tmp_path: Path) -> None:
    import soundfile

    left, right = synthesise_speech(1.0, seed=1).astype(int), synthesise_speech(1.0, seed=2).astype(int)
    soundfile.write(tmp_path / "s.wav", np.stack([left, right], 1).astype(np.int16), 16000)
    mixed, _ = read_recording(tmp_path / "s.wav")
    np.testing.assert_allclose(mixed, (left + right) / 2, atol=0.51)
    first, _ = read_recording(tmp_path / "s.wav", SpeechConfig(channel="first"))
    np.testing.assert_array_equal(first, left)


def test_invalid_recordings_are_rejected(tmp_path: Path) -> None:
    write_wav(tmp_path / "cut.wav", synthesise_speech(1.0))
    full = (tmp_path / "cut.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(full[:9000])
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "empty.wav").touch()
    for name in ("cut", "text", "empty"):
        with pytest.raises(ValueError, match=rf"{name}\.wav"):
            compute_log_mel_from_file(tmp_path / f"{name}.wav")
    with pytest.raises(FileNotFoundError, match=r"absent\.wav"):
        compute_log_mel_from_file(tmp_path / "absent.wav")


def test_default_normalisation_is_published_and_fill_value_is_zero_log_mel() -> None:
    usual = MelNormalisation()
    assert usual.fill_value == pytest.approx(-3.47162, abs=5e-6)
    values = normalise_mel(np.array([[0.0, 10.9915, 10.9915 + 3.1661]]), usual)
    np.testing.assert_allclose(values, [[usual.fill_value, 0, 1]], atol=1e-6)
    assert values.dtype == np.float32


MEL = np.random.default_rng(0).normal(10, 3, (40, 7))


def test_stored_features_round_trip(tmp_path: Path) -> None:
    write_mel(tmp_path / "a" / "x.npz", MEL.astype(np.float32), "id1", "clip_-a", "00001")
    np.testing.assert_array_equal(read_mel(tmp_path / "a" / "x.npz"), MEL.astype(np.float32))
    with np.load(tmp_path / "a" / "x.npz", allow_pickle=False) as archive:
        assert [str(archive[name]) for name in ("spkid", "clipid", "wavid")] == ["id1", "clip_-a", "00001"]
    write_mel(tmp_path / "half.npz", MEL.astype(np.float32), "i", "c", "w", "float16")
    np.testing.assert_allclose(read_mel(tmp_path / "half.npz"), MEL, atol=0.0081)
    np.save(tmp_path / "b.npy", MEL)
    np.testing.assert_array_equal(read_mel(tmp_path / "b.npy"), MEL.astype(np.float32))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_published_pickles_are_read(protocol: int, tmp_path: Path) -> None:
    stored = {"LogMel_Features": MEL, "spkid": "id1", "clipid": "c", "wavid": "00001"}
    (tmp_path / "p.pickle").write_bytes(pickle.dumps(stored, protocol))
    np.testing.assert_array_equal(read_mel(tmp_path / "p.pickle"), MEL.astype(np.float32))


class MaliciousPickle:
    def __reduce__(self):
        return os.system, ("echo reached > reached",)


def test_pickles_never_run_code(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pickle").write_bytes(pickle.dumps({"LogMel_Features": MaliciousPickle()}))
    np.save(tmp_path / "bad.npy", np.array([{}], dtype=object), allow_pickle=True)
    for name in ("bad.pickle", "bad.npy"):
        with pytest.raises(SpeechError, match=name):
            read_mel(tmp_path / name)
    assert not (tmp_path / "reached").exists()


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (np.zeros((7, 40)), "transpose"),
        (np.zeros((40, 0)), "40, frames"),
        (np.zeros((2, 40, 7)), "40, frames"),
        (np.zeros((41, 7)), "40, frames"),
        (np.full((40, 5), np.nan), "200 values are not finite"),
        (np.full((40, 5), 1e60), "not finite"),
        (np.zeros((40, 5), complex), "complex"),
        (np.array("text"), "40, frames"),
    ],
)
def test_invalid_features_are_rejected(values, word, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", LogMel_Features=values)
    with pytest.raises(SpeechError, match=word) as caught:
        read_mel(tmp_path / "bad.npz")
    assert "bad.npz" in str(caught.value)


def test_missing_axes_of_published_files_are_restored() -> None:
    assert validate_mel(MEL[None, None]).shape == (40, 7)
    assert validate_mel(MEL[:, 0]).shape == (40, 1)


def test_missing_entries_and_files_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "o.npz", other=MEL)
    with pytest.raises(SpeechError, match=r"o\.npz: expected the entry LogMel_Features, found other"):
        read_mel(tmp_path / "o.npz")
    (tmp_path / "no.pickle").write_bytes(b"nothing of the kind")
    with pytest.raises(SpeechError, match=r"no\.pickle"):
        read_mel(tmp_path / "no.pickle")
    with pytest.raises(FileNotFoundError, match=r"absent\.npz"):
        read_mel(tmp_path / "absent.npz")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_corrupt_feature_files_are_rejected_or_still_valid(data) -> None:
    memory = io.BytesIO()
    np.savez(memory, LogMel_Features=np.zeros((40, 3), np.float32))
    content = bytearray(memory.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npz"
        path.write_bytes(bytes(content))
        try:
            found = read_mel(path)
        except SpeechError as error:
            assert "x.npz" in str(error)
        else:
            assert found.shape[0] == 40 and np.isfinite(found).all()


def test_the_front_end_exports_to_onnx_for_any_length() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    front, memory = ExportableLogMel().eval(), io.BytesIO()
    length = torch.export.Dim("samples", min=400, max=10_000_000)
    program = torch.onnx.export(
        front,
        (torch.zeros(1, 16000, dtype=torch.int16),),
        input_names=["samples"],
        dynamic_shapes={"samples": {1: length}},
        dynamo=True,
        verbose=False,
    )
    program.save(memory)
    session = onnxruntime.InferenceSession(memory.getvalue(), providers=["CPUExecutionProvider"])
    for seconds in (0.025, 0.03, 0.7, 3.0):
        wave = synthesise_speech(3.0)[: int(16000 * seconds)][None]
        (found,) = session.run(None, {"samples": wave})
        expected = SF2FLogMel()(torch.from_numpy(wave)).numpy()
        assert found.shape == expected.shape and found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=2e-3)
