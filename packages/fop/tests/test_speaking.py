"""Ridge, probes of the true factors, and voices spoken for faces."""

import json

import numpy as np
import pytest
from fop import probe, speak
from fop.probing import PROBES, fit_factor_map, judge_spoken_voices, probe_factors, within_sex_r2
from fop.ridge import LinearMap, fit_ridge
from fop.voice_factors import (
    VoiceFactors,
    load_voice_factors,
    save_voice_factors,
    speak_factors,
)
from voiceface.audio.loading import load_audio
from voiceface.checkpoints.published import CheckpointError
from voiceface.datasets.identities import Identity
from voiceface.encoders.interface import EncoderInfo
from voiceface.encoders.tables import FeatureSet
from voiceface.synthetic.ground_truth import GroundTruth
from voiceface.synthetic.identities import FACTORS, sample_identities


@pytest.fixture(scope="module")
def truth():
    people = sample_identities(np.arange(600), seed=4, rho=0.7)
    return GroundTruth(
        tuple(people.face_names),
        people.sex,
        people.voice_factors,
        people.face_factors,
        people.coupling,
        {"share_sex": True},
    )


def make_features(truth, people, noise=0.5):
    """Two voices and two faces of each: a random linear code of sex and factors with noise."""
    rng = np.random.default_rng([1, len(people)])
    code = np.random.default_rng(0).normal(size=(9, 24))
    owners = np.repeat(np.arange(len(people)), 2)

    def encode(factors):
        rows = np.column_stack([2.0 * truth.sex[people] - 1, factors[people]])[owners] @ code
        return np.float32(rows + noise * rng.normal(size=rows.shape) + 5)

    names = [truth.face_names[row] for row in people]
    return FeatureSet(
        encode(truth.voice_factors),
        encode(truth.face_factors),
        owners,
        owners,
        tuple(Identity(name, name, name, "fm"[truth.sex[row]]) for name, row in zip(names, people)),
        tuple(f"{row}.wav" for row in range(len(owners))),
        tuple(f"{row}.jpg" for row in range(len(owners))),
        EncoderInfo("table:v.npz", "voice", 24),
        EncoderInfo("table:f.npz", "face", 24),
    )


@pytest.fixture(scope="module")
def features(truth):
    people = {"train": range(400), "val": range(400, 460), "test": range(460, 600)}
    return {split: make_features(truth, np.array(rows)) for split, rows in people.items()}


def test_ridge_is_the_least_squares_solution_where_the_penalty_is_tiny():
    rng = np.random.default_rng(2)
    x, held = rng.normal(size=(80, 5)) * [1, 10, 0.1, 3, 1], rng.normal(size=(30, 5))
    weight = rng.normal(size=(5, 3))
    fitted = fit_ridge(x, x @ weight + 2, held, held @ weight + 2, penalties=(1e-12,))
    np.testing.assert_allclose(fitted.weight, weight, rtol=1e-6)
    np.testing.assert_allclose(fitted.bias, 2, rtol=1e-6)


def test_ridge_solves_the_penalised_equations():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(40, 6)), rng.normal(size=(40, 2))
    fitted = fit_ridge(x, y, x, y, penalties=(0.3,))
    z = (x - x.mean(0)) / x.std(0)
    expected = np.linalg.solve(z.T @ z + 0.3 * 40 * np.eye(6), z.T @ (y - y.mean(0)))
    np.testing.assert_allclose(fitted.weight, expected / x.std(0)[:, None])
    np.testing.assert_allclose(fitted.predict(x), z @ expected + y.mean(0))


def test_each_target_has_the_penalty_that_is_best_on_held_out_rows():
    rng = np.random.default_rng(4)
    x, held = rng.normal(size=(30, 20)), rng.normal(size=(200, 20))
    signal = rng.normal(size=20)
    y = np.column_stack([x @ signal, rng.normal(size=30)])
    held_y = np.column_stack([held @ signal, rng.normal(size=200)])
    fitted = fit_ridge(x, y, held, held_y)
    assert np.abs(fitted.weight[:, 0] - signal).max() < 0.05
    assert np.abs(fitted.weight[:, 1]).max() < 0.01  # noise: the largest penalty


def test_ridge_gives_constant_features_no_weight_and_refuses_other_shapes():
    x = np.column_stack([np.arange(6.0), np.ones(6)])
    fitted = fit_ridge(x, x[:, :1], x, x[:, :1])
    assert fitted.weight[1] == 0 and np.isfinite(fitted.weight).all()
    with pytest.raises(ValueError, match="expected features and targets"):
        fit_ridge(x, x[:5], x, x)


def test_r2_is_about_the_mean_of_each_sex():
    targets = np.array([[1.0], [3.0], [11.0], [13.0]])
    sex = np.array([0, 0, 1, 1])
    means = np.array([[2.0], [2.0], [12.0], [12.0]])
    assert within_sex_r2(means - targets, targets, sex) == 0
    assert within_sex_r2(0 * targets, targets, sex) == 1
    weights = np.array([[1.0, 1, 0, 0], [1, 1, 1, 1]])
    shifted = np.where(sex[:, None] == 1, 5.0, 0.0)
    np.testing.assert_allclose(within_sex_r2(shifted, targets, sex, weights), [[1.0], [1 - 50 / 4]])


def test_probes_find_what_the_features_hold(features, truth):
    found = {name: probe_factors(features, truth, name, replicates=100) for name in PROBES}
    own, crossed = found["voice factors from the voice"], found["voice factors from the face"]
    assert own.sex_accuracy.value > 0.98
    assert own.r2.min() > 0.85 and (own.r2_mean_feature > own.r2).all()
    assert own.mean_r2.low <= own.mean_r2.value <= own.mean_r2.high
    assert crossed.mean_r2.value < 0.49 + 0.08  # c² is the most that a face tells
    assert crossed.mean_r2.value > 0.3
    np.testing.assert_allclose(crossed.upper_bound, 0.49)
    assert own.upper_bound.tolist() == [1.0] * 8


def test_the_oracle_judges_spoken_voices_between_chance_and_the_bound(features, truth):
    linear = fit_factor_map(features, truth, "face", "voice")
    spoken = judge_spoken_voices(linear, features["test"], truth)
    assert 0.8 < spoken.matching.value < spoken.upper_bound.value < 1
    mean_voice = LinearMap(np.zeros_like(linear.weight), np.zeros(9))
    silent = judge_spoken_voices(mean_voice, features["test"], truth)
    assert silent.matching.value == pytest.approx(0.5, abs=0.03)
    wrong = LinearMap(-linear.weight, -linear.bias)
    assert judge_spoken_voices(wrong, features["test"], truth).matching.value < 0.2


def test_a_voice_follows_its_factors_and_its_seed():
    low, high = ([shift] + [0.0] * 7 for shift in (-3.0, 3.0))
    clips = [speak_factors(True, each, seconds=2, seed=1) for each in (low, low, high)]
    assert clips[0].dtype == np.int16 and len(clips[0]) == 32_000
    np.testing.assert_array_equal(clips[0], clips[1])
    assert (clips[0] != speak_factors(True, low, seconds=2, seed=2)).any()
    f0 = [estimate_f0(clip) for clip in clips[1:]]
    assert 1.5 < f0[1] / f0[0] < 4  # six standard deviations of 15 %
    with pytest.raises(ValueError, match="8 finite voice factors"):
        speak_factors(True, [0.0] * 7)


def estimate_f0(clip):
    """Median of the lag of the largest autocorrelation in 60...400 Hz, over loud frames."""
    frames = clip[: len(clip) // 1024 * 1024].reshape(-1, 1024).astype(float)
    frames = frames[np.square(frames).mean(1) > np.square(clip.astype(float)).mean()]
    spectrum = np.abs(np.fft.rfft(frames, 4096)) ** 2
    correlation = np.fft.irfft(spectrum)[:, 40:267]
    return float(np.median(16_000 / (40 + correlation.argmax(1))))


def test_voice_factors_are_stored_and_checked(tmp_path, features, truth):
    linear = fit_factor_map(features, truth, "face", "voice")
    model = VoiceFactors(linear, features["train"].face_encoder, "test people")
    save_voice_factors(tmp_path / "voice_factors.safetensors", model)
    read = load_voice_factors(tmp_path)
    assert (read.encoder, read.trained_on) == (model.encoder, "test people")
    vectors = features["test"].faces
    np.testing.assert_allclose(read.predict(vectors).factors, model.predict(vectors).factors, atol=1e-4)
    with pytest.raises(CheckpointError, match="fop probe"):
        load_voice_factors(tmp_path / "none.safetensors")
    other = VoiceFactors(linear, EncoderInfo("x", "face", 7), "")
    save_voice_factors(tmp_path / "other.safetensors", other)
    with pytest.raises(CheckpointError, match=r"weights \(24, 9\), expected \(7, 9\)"):
        load_voice_factors(tmp_path / "other.safetensors")


def test_the_bundled_map_is_one_of_the_real_face_encoder():
    model = load_voice_factors()
    assert (model.encoder.name, model.encoder.modality, model.encoder.dimension) == ("real", "face", 128)
    assert model.trained_on == "300 synthetic identities, coupling 1"
    factors = model.predict(np.zeros((1, 128))).factors
    assert factors.shape == (1, 8) and np.isfinite(factors).all()


def test_probe_and_speak_from_the_command_line(tmp_path, features, truth, monkeypatch, capsys):
    monkeypatch.setattr("voiceface.synthetic.ground_truth.read_ground_truth", lambda root: truth)
    monkeypatch.setattr(probe, "load_features", lambda folder: features)
    status = probe.main(["--data", str(tmp_path), "--features", str(tmp_path), "--out", str(tmp_path / "o")])
    shown = capsys.readouterr()
    assert status == 0 and "upper bound" in shown.out and "synthetic population" in shown.err
    record = json.loads((tmp_path / "o" / "probes.json").read_text())
    assert record["identities"] == {"train": 400, "val": 60, "test": 140}
    assert list(record["probes"]["face factors from the face"]["r2"]) == list(FACTORS)
    assert load_voice_factors(tmp_path / "o").encoder.dimension == 24


@pytest.mark.parametrize("seconds", ["nan", "0.4", "601"])
def test_length_of_spoken_voices_is_checked(tmp_path, capsys, seconds):
    with pytest.raises(SystemExit) as caught:
        speak.main(["x.jpg", "--out", str(tmp_path / "x.wav"), "--seconds", seconds])
    assert caught.value.code == 2 and "expected 0.5 to 600" in capsys.readouterr().err


def test_a_seed_below_zero_is_refused_before_anything_is_read(capsys):
    with pytest.raises(SystemExit) as stopped:
        speak.main(["nobody.jpg", "--out", "x.wav", "--seed", "-1"])
    assert stopped.value.code == 2 and "--seed -1: expected 0 or more" in capsys.readouterr().err


def test_files_of_spoken_voices_are_distinct_and_in_a_folder(tmp_path):
    items = ["a/x.jpg", "b/x.png", "a/x.jpg#2", "y.heic"]
    names = [path.name for path in speak.name_outputs(tmp_path, items)]
    assert names == ["x.wav", "x-2.wav", "x_2.wav", "y.wav"]
    names = [path.name for path in speak.name_outputs(tmp_path, ["a/x.jpg", "b/x.jpg", "c/x-2.jpg"])]
    assert names == ["x.wav", "x-2.wav", "x-2-2.wav"]
    with pytest.raises(ValueError, match="there are 2 faces; name a folder"):
        speak.name_outputs(tmp_path / "one.wav", items[:2])
    (tmp_path / "y.heic").touch()
    with pytest.raises(ValueError, match="is another file; name a sound file"):
        speak.name_outputs(tmp_path / "y.heic", items[3:])


def test_speaking_writes_sound_and_factors(tmp_path, features, truth):
    linear = fit_factor_map(features, truth, "face", "voice")
    model = VoiceFactors(linear, features["train"].face_encoder, "")
    prediction = model.predict(features["test"].faces[:2])
    files = [tmp_path / "out" / "a.wav", tmp_path / "out" / "b.wav"]
    speak.write_voices(files, prediction, 1.0, 0)
    assert len(load_audio(files[0], scale="unit")) == 16_000
    speak.write_record(tmp_path / "f.json", ["a.jpg", "b.jpg"], files, prediction)
    record = json.loads((tmp_path / "f.json").read_text())
    assert record["faces"][1]["face"] == "b.jpg" and len(record["faces"][0]["factors"]) == 8
    assert speak.describe_factors(True, [0.5] * 8).startswith("male, larynx +0.50, length")
