"""Inference: generated faces, outputs of `sf2f infer`, and its errors."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sf2f
import torch
from PIL import Image
from sf2f import inference, models, voice2face_inference, windows
from sf2f.__main__ import main
from sf2f.config import DataConfig
from sf2f.contact_sheets import labelled_contact_sheet
from sf2f.encoders import VoiceEncoder
from sf2f.image_transforms import denormalise
from sf2f.infer import group_recordings
from sf2f.inference import VoiceFeatures, generate_from_features
from sf2f.inference_report import format_comparison
from sf2f.network_config import EncoderConfig, SpeechConfig, WindowsConfig
from sf2f.speech import compute_log_mel_from_file, normalise_mel, write_mel
from sf2f.split_half_consistency import half_recording, split_half_distances
from sf2f.voice2face_baseline import Voice2FaceGenerator
from small_sf2f_models import DISCLAIMER, WINDOW_WIDTH, synthesise_voice, write_model, write_voice
from voiceface.audio.loading import AudioError
from voiceface.testing.silence import require_silence_is_not_heard, synthesise_voices

STRIDE = WINDOW_WIDTH // 2


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {kind: write_model(folder / kind, kind) for kind in ("quick_1st_stage", "quick_fuser")}


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speakers, one of them in two recordings."""
    root = tmp_path_factory.mktemp("voices")
    write_voice(root / "anna" / "v1" / "1.wav", 2.0, 210)
    write_voice(root / "anna" / "2.wav", 1.6, 200, 1)
    write_voice(root / "carl.wav", 2.4, 100, 2)
    return root


@pytest.fixture
def silence(tmp_path: Path) -> Path:
    from voiceface.audio.loading import write_wav

    write_wav(tmp_path / "still.wav", np.zeros(32000, np.int16))
    return tmp_path / "still.wav"


def load_mel(model: Any, path: Path) -> torch.Tensor:
    """Normalised features, computed independently of the code under test."""
    return torch.from_numpy(normalise_mel(compute_log_mel_from_file(path, model.data.speech), model.data.mel))


def decode(model: Any, embeddings: torch.Tensor) -> np.ndarray:
    """Largest images of embeddings, as bytes."""
    generated = denormalise(model.generator.decode(embeddings)[-1], model.data.images.statistics)
    return (generated.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("kind", ["quick_1st_stage", "quick_fuser"])
def test_a_face_uses_all_windows_of_all_recordings(kind: str, runs: Any, voices: Path) -> None:
    model = sf2f.load(runs[kind])
    paths = [voices / "anna" / "v1" / "1.wav", voices / "carl.wav"]
    face = model.generate(paths, window_images=True, recording_images=True)
    mels = [load_mel(model, path) for path in paths]
    cut = [mel.unfold(1, WINDOW_WIDTH, STRIDE).transpose(0, 1) for mel in mels]
    embedded = model.generator.encode(torch.cat(cut))
    joined = model.generator.fuse(embedded[None]) if kind == "quick_fuser" else embedded.mean(0)[None]
    assert face.window_counts == tuple(map(len, cut)) and min(face.window_counts) > 3
    assert face.speech_seconds == pytest.approx(sum(mel.shape[1] for mel in mels) / 100)
    assert face.sources == tuple(map(str, paths))
    np.testing.assert_allclose(face.window_embeddings, embedded, atol=1e-5)
    np.testing.assert_allclose(face.embedding, joined[0], atol=1e-5)
    long = torch.cat([model.generator.encode(mel[None]) for mel in mels])
    side = 32 if kind == "quick_fuser" else 16
    assert face.image.shape == (side, side, 3)
    for generated, row in (
        (face.image[None], joined),
        (face.window_images, embedded),
        (face.recording_images, long),
    ):
        assert generated is not None and np.abs(generated.astype(int) - decode(model, row)).max() <= 1
    assert face.window_images is not None and np.ptp(face.window_images.astype(int), axis=0).max() > 9
    assert np.ptp(face.image) > 30


def test_a_list_of_one_is_equivalent_and_order_does_not_matter(runs: Any, voices: Path) -> None:
    model = sf2f.load(runs["quick_fuser"])
    first, second = voices / "anna" / "2.wav", voices / "carl.wav"
    alone = model.generate(first)
    assert alone.window_images is None and alone.recording_images is None
    np.testing.assert_array_equal(alone.image, model.generate([str(first)]).image)
    there, back = (model.generate(pair) for pair in ([first, second], [second, first]))
    np.testing.assert_allclose(there.embedding, back.embedding, atol=1e-5)
    assert np.abs(there.embedding - alone.embedding).max() > 1e-3
    with pytest.raises(ValueError, match="no recordings"):
        model.generate([])


def test_short_recordings_are_padded_to_one_window(runs: Any, tmp_path: Path) -> None:
    model = sf2f.load(runs["quick_1st_stage"])
    values = np.random.default_rng(0).normal(13, 2, (40, 7)).astype(np.float32)
    write_mel(tmp_path / "short.npz", values, "a", "b", "c")
    face = model.generate(tmp_path / "short.npz")
    full = np.full((1, 40, WINDOW_WIDTH), model.data.mel.fill_value, np.float32)
    full[0, :, :7] = normalise_mel(values, model.data.mel)
    assert face.window_counts == (1,) and face.speech_seconds == pytest.approx(0.07)
    np.testing.assert_allclose(face.embedding, model.generator.encode(torch.from_numpy(full))[0], atol=1e-6)


def test_default_stride_is_half_a_window(runs: Any) -> None:
    model = sf2f.load(runs["quick_1st_stage"])
    mel = np.zeros((40, 200), np.float32)
    for stride, starts in ((None, range(0, 161, 20)), (63, (0, 63, 126)), (1, range(161))):
        assert len(model.split_windows(mel, stride)) == len(starts)
    assert windows.default_stride(125) == 63


def test_models_load_from_runs_checkpoints_and_published_files(
    runs: Any, voices: Path, tmp_path: Path
) -> None:
    run = runs["quick_fuser"]
    model = sf2f.load(run)
    assert model.disclaimer == DISCLAIMER and model.has_fuser
    face = model.generate(voices / "carl.wav")
    again = sf2f.load(run / "model.safetensors").generate(voices / "carl.wav")
    np.testing.assert_array_equal(face.image, again.image)
    torch.save({"model_state": model.generator.state_dict()}, tmp_path / "best.pt")
    expected = sf2f.load(tmp_path / "best.pt")
    windows = torch.randn(2, 40, 30)
    assert expected.has_fuser and expected.data == DataConfig()
    torch.testing.assert_close(expected.embed(windows), model.embed(windows))
    with pytest.raises(FileNotFoundError, match=r"absent does not exist.*sf2f train"):
        sf2f.load(tmp_path / "absent")


def test_missing_bundled_checkpoint_names_the_remedy(monkeypatch: Any, tmp_path: Path, capsys: Any) -> None:
    monkeypatch.setattr(models, "BUNDLED_CHECKPOINT", "weights/none.safetensors")
    with pytest.raises(FileNotFoundError, match=r"has no weights/none.safetensors.*--weights"):
        sf2f.load()
    write_voice(tmp_path / "a.wav")
    assert main(["infer", str(tmp_path / "a.wav"), "--out", str(tmp_path / "out")]) == 1
    assert "weights/none.safetensors" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_noise_is_added_only_on_request(voices: Path, tmp_path: Path) -> None:
    noisy = ("generator.encoder.noise_std=0.05", "generator.encoder.noise_in_evaluation=true")
    run = write_model(tmp_path / "run", "quick_1st_stage", *noisy)
    plain = write_model(tmp_path / "plain", "quick_1st_stage")
    path = voices / "carl.wav"
    quiet = sf2f.load(run).generate(path)
    np.testing.assert_array_equal(quiet.embedding, sf2f.load(plain).generate(path).embedding)
    faces = [sf2f.load(run).generate(path, noise=torch.Generator().manual_seed(k)) for k in (1, 1, 2)]
    np.testing.assert_array_equal(faces[0].embedding, faces[1].embedding)
    moved = faces[0].window_embeddings - quiet.window_embeddings
    assert 0.01 < np.abs(moved).mean() < 0.1 and np.abs(faces[0].embedding - faces[2].embedding).max() > 1e-3
    np.testing.assert_allclose(np.linalg.norm(faces[0].window_embeddings, axis=1), 1, atol=1e-5)


def test_infer_writes_faces_contact_sheet_and_report(
    runs: Any, voices: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    words = ["--weights", str(runs["quick_1st_stage"]), "--out", str(out), "--per-window", "--per-recording"]
    assert main(["infer", str(voices), *words]) == 0
    model = sf2f.load(runs["quick_1st_stage"])
    for place in ("anna/2", "anna/v1/1", "carl"):
        face = model.generate(voices / f"{place}.wav", window_images=True)
        assert face.window_images is not None
        written = np.asarray(Image.open(out / "faces" / f"{place}.png"))
        np.testing.assert_array_equal(written, face.image)
        several = sorted((out / "windows" / place).iterdir())
        assert [path.name for path in several] == [f"{k:03d}.png" for k in range(sum(face.window_counts))]
        np.testing.assert_array_equal(np.asarray(Image.open(several[-1])), face.window_images[-1])
        assert (out / "recordings" / place / "000.png").is_file()
    sheet = np.asarray(Image.open(out / "sheet.png"))
    assert sheet.shape == (160 + 20 + 16, 3 * 168 + 8, 3)
    page = (out / "index.html").read_text("utf-8")
    assert DISCLAIMER in page and page.count("<audio") == 3 and "embeddings of windows are averaged" in page
    said = capsys.readouterr()
    assert DISCLAIMER in said.err and said.out.count("same voice's halves") == 3 and "ratio" in said.out
    assert not list(out.rglob(".*"))


def test_infer_skips_unusable_files(
    runs: Any, voices: Path, silence: Path, tmp_path: Path, capsys: Any
) -> None:
    text, flat = tmp_path / "text.wav", tmp_path / "flat.npy"
    text.write_text("no sound")
    np.save(flat, np.zeros((3, 5)))
    words = ["--weights", str(runs["quick_1st_stage"]), "--out", str(tmp_path / "out"), "--no-report"]
    given = ["infer", str(voices), *map(str, (silence, text, flat)), *words]
    assert main(given) == 0
    said = capsys.readouterr()
    assert "3 files were left out" in said.err and said.err.count("still.wav") == 1
    assert "is silent" in said.err and "text.wav" in said.err and "(40, frames)" in said.err
    assert len(list((tmp_path / "out" / "faces").rglob("*.png"))) == 3
    assert not (tmp_path / "out" / "index.html").exists()
    stored = json.loads((tmp_path / "out" / "files.json").read_text())
    assert {Path(each["file"]).name for each in stored["left_out"]} == {"still.wav", "text.wav", "flat.npy"}
    assert stored["files"]["carl"][0]["measures"]["speech_seconds"] > 1
    assert main([*given, "--strict"]) == 1 and "error: --strict: 3 files" in capsys.readouterr().err
    cut = tmp_path / "cut.wav"
    cut.write_bytes((voices / "carl.wav").read_bytes()[:60000])
    assert main(["infer", str(cut), *words]) == 1 and "truncated" in capsys.readouterr().err
    assert main(["infer", str(cut), *words, "--on-corrupt", "salvage"]) == 0
    assert "of audio are lost" in capsys.readouterr().err
    assert main(["infer", str(silence), *words]) == 1
    said = capsys.readouterr().err
    assert "none of the 1 files could be used" in said and said.count("still.wav") == 1


def test_noise_never_becomes_a_face_and_doubts_are_told(
    runs: Any, voices: Path, tmp_path: Path, capsys: Any
) -> None:
    from voiceface.audio.loading import load_audio, write_wav

    model = sf2f.load(runs["quick_1st_stage"])
    samples = load_audio(voices / "carl.wav", scale="int16")
    face = model.generate(samples)
    np.testing.assert_array_equal(face.image, model.generate(voices / "carl.wav").image)
    np.testing.assert_array_equal(face.image, model.generate(np.stack([samples, samples], 1)).image)
    assert face.facts == () and len(model.generate([samples, voices / "carl.wav"]).facts) == 1
    noise = np.rint(np.random.default_rng(0).standard_normal(32000) * 3000).astype(np.int16)
    write_wav(tmp_path / "noise.wav", noise)
    with pytest.raises(AudioError, match=r"noise\.wav: holds .*speech"):
        model.generate(tmp_path / "noise.wav")
    for broken, finding in ((np.zeros(32000), "silent"), (np.full(32000, np.nan), "not finite")):
        with pytest.raises(AudioError, match=finding):
            model.generate(broken)
    write_wav(tmp_path / "loud.wav", np.clip(samples * 60, -32768, 32767).astype(np.int16))
    words = ["--weights", str(runs["quick_1st_stage"]), "--out", str(tmp_path / "out")]
    assert main(["infer", str(tmp_path / "loud.wav"), *words]) == 0
    assert capsys.readouterr().err.count("loud.wav: clipped: ") == 1
    assert "clipped: " in (tmp_path / "out" / "index.html").read_text()
    (known,) = json.loads((tmp_path / "out" / "files.json").read_text())["files"]["loud"]
    assert known["notes"][0].startswith("clipped: ")


@pytest.mark.parametrize(
    ("given", "out", "message"),
    [
        (["absent.wav"], "out", "no file or folder at"),
        (["a.wav"], "file", "cannot write into"),
        (["file"], "out", "suffix none"),
        (["empty"], "out", "no recordings or feature files"),
    ],
)
def test_infer_errors_are_one_line(
    given: list[str], out: str, message: str, runs: Any, tmp_path: Path, capsys: Any
) -> None:
    write_voice(tmp_path / "a.wav", 1.0)
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    words = ["--weights", str(runs["quick_1st_stage"]), "--out", str(tmp_path / out)]
    assert main(["infer", *(str(tmp_path / each) for each in given), *words]) == 1
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said and said.count("\n") == 1


@pytest.mark.parametrize("kind", ["quick_1st_stage", "quick_fuser"])
def test_published_file_names(kind: str, runs: Any, voices: Path, tmp_path: Path) -> None:
    path, out = voices / "carl.wav", tmp_path / "out"
    words = ["--weights", str(runs[kind]), "--out", str(out), "--published", "--no-report", "--stride", "63"]
    assert main(["infer", str(path), *words]) == 0
    model = sf2f.load(runs[kind])
    voice_ = inference.load_voice_features(model, path)
    face = generate_from_features(
        model, [voice_], stride=63, window_images=True, recording_images=True, published=True
    )
    assert face.window_images is not None and face.recording_images is not None
    expected = {"d_fed_0": face.recording_images[0]} | {
        f"seg_{k}": each for k, each in enumerate(face.window_images)
    }
    expected |= {"fused_0": face.image} if kind == "quick_fuser" else {}
    assert sorted(p.stem for p in (out / "carl").iterdir()) == sorted(expected)
    for name, image in expected.items():
        np.testing.assert_array_equal(np.asarray(Image.open(out / "carl" / f"{name}.png")), image)
    rounded = generate_from_features(model, [voice_], stride=63)
    gap = rounded.image.astype(int) - face.image
    assert set(np.unique(gap)) == {0, 1}


def test_recordings_are_grouped() -> None:
    inputs = [(Path(f"/r/{name}.wav"), Path(name)) for name in ("a/v/1", "a/2", "b/1", "c")]
    each = group_recordings(inputs)
    assert [group.relative_path.as_posix() for group in each] == ["a/v/1", "a/2", "b/1", "c"]
    assert [group.identity for group in each] == ["a", "a", "b", "c"]
    speakers = group_recordings(inputs, "identity")
    assert [(group.relative_path.name, len(group.paths)) for group in speakers] == [
        ("a", 2),
        ("b", 1),
        ("c", 1),
    ]
    (all_,) = group_recordings(inputs, "identity", single_identity=True)
    assert all_.paths == tuple(path for path, _ in inputs)


def test_recordings_of_an_identity_give_one_face(runs: Any, voices: Path, tmp_path: Path) -> None:
    out, run = tmp_path / "out", runs["quick_fuser"]
    words = ["--weights", str(run), "--out", str(out), "--group-by", "identity"]
    assert main(["infer", str(voices), *words]) == 0
    assert sorted(path.name for path in (out / "faces").iterdir()) == ["anna.png", "carl.png"]
    both = sf2f.load(run).generate([voices / "anna" / "2.wav", voices / "anna" / "v1" / "1.wav"])
    np.testing.assert_array_equal(np.asarray(Image.open(out / "faces" / "anna.png")), both.image)
    page = (out / "index.html").read_text("utf-8")
    assert "anna: each recording separately" in page and "windows are fused by attention" in page
    assert page.count("<audio") == 4


def mean_model(width: int = 10) -> Any:
    """A model whose embedding is the mean over time, and whose image is the embedding."""
    data = DataConfig(windows=WindowsConfig(width=width), speech=SpeechConfig(n_mels=3))
    return SimpleNamespace(
        data=data,
        embed=lambda mels: mels.mean(2),
        split_windows=lambda mel, stride=None: windows.extract_recording_windows(
            mel, data.mel.fill_value, width, stride or windows.default_stride(width)
        ),
        pool_embeddings=lambda embeddings: embeddings.mean(0, keepdim=True),
        decode_images=lambda embeddings: embeddings[:, :, None, None] / 255,
    )


def make_features(*levels: float) -> VoiceFeatures:
    """One second at each level, in one of three bands."""
    row = np.repeat(np.asarray(levels, np.float32), 100)
    return VoiceFeatures("a", np.stack([row, 0 * row, 0 * row]), len(row) / 100)


def test_split_half_distances_by_hand() -> None:
    same, other = split_half_distances(
        mean_model(), [[make_features(10, 14)], [make_features(20, 20)]], ["a", "b"]
    )
    assert same is not None and other is not None
    assert (same.num_pairs, other.num_pairs) == (2, 4)
    assert same.l2 == pytest.approx((4 + 0) / 2) and other.l2 == pytest.approx((10 + 10 + 6 + 6) / 4)
    assert same.pixel == pytest.approx(2 / 3) and other.pixel == pytest.approx(8 / 3)
    assert same.cosine == pytest.approx(0, abs=1e-7)
    rows = format_comparison(same, other)
    assert rows[0] == ("embeddings, L2", "2", "8", "4.00") and rows[1][3] == "-"


def test_pairs_of_voices_of_one_speaker_are_ignored() -> None:
    speakers = [[make_features(1, 1)], [make_features(50, 50)], [make_features(3, 3)]]
    same, other = split_half_distances(mean_model(), speakers, ["a", "a", "b"])
    assert same is not None and other is not None
    assert same.l2 == 0 and other.num_pairs == 8 and other.l2 == pytest.approx((2 + 47) / 2)
    assert format_comparison(same, other)[0][3] == "-"
    assert split_half_distances(mean_model(), [[make_features(1, 2)]], ["a"])[1] is None
    short = VoiceFeatures("s", np.zeros((3, 90), np.float32), 0.9)
    assert (
        split_half_distances(mean_model(), [[short]], ["a"]) == (None, None)
        and format_comparison(None, None) == []
    )


def test_halves_ignore_repeated_frames() -> None:
    mel = np.arange(1000, dtype=np.float32)[None]
    halves = [half_recording(VoiceFeatures("a", mel, 3.0), half) for half in (0, 1)]
    assert halves[0][0].tolist() == list(range(150)) and halves[1][0].tolist() == list(range(150, 300))


def test_contact_sheet_truncates_labels_to_the_image_width() -> None:
    images = [np.full((64, 64, 3), value, np.uint8) for value in (10, 200)]
    sheet = labelled_contact_sheet(images, ["short", "Ł" * 90], columns=1)
    assert sheet.shape == (2 * (192 + 28) + 8, 192 + 16, 3)
    assert (sheet[8:200, 8:200] == 10).all() and (sheet[228:420, 8:200] == 200).all()
    assert (sheet[:, :8] == 255).all() and (sheet[:, 200:] == 255).all()
    assert (sheet[200:220] < 80).any() and (sheet[420:] < 80).any()


@pytest.fixture(scope="module")
def voice2face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("wen")
    config = EncoderConfig(channels=(8, 8), embedding_dim=8, n_mels=64, inception=False, normalise=False)
    torch.save(VoiceEncoder(config).state_dict(), folder / "voice.pth")
    generator = Voice2FaceGenerator(8, (8, 8))
    with torch.no_grad():
        generator.model[-1].weight.mul_(4)  # type: ignore[union-attr,operator]
    torch.save(generator.state_dict(), folder / "generator.pth")
    return folder


def test_voice2face_encodes_whole_recordings(voice2face: Path, voices: Path, tmp_path: Path) -> None:
    model = voice2face_inference.load_voice2face_model(voice2face)
    paths = [voices / "carl.wav", voices / "anna" / "2.wav"]
    mels = [torch.from_numpy(voice2face_inference.load_voice2face_features(path)[0])[None] for path in paths]
    assert all(mel.shape == (1, 64, 1000) for mel in mels)
    face = model.generate(paths[0])
    np.testing.assert_allclose(
        face.image, (model.networks.generate_images(mels[0])[0] * 255).permute(1, 2, 0), atol=0.51
    )
    assert 1.5 < face.speech_seconds <= 2.4 and face.window_counts == (1,)
    both = model.generate(paths)
    mean = torch.cat([model.networks.embed(mel) for mel in mels]).mean(0)
    np.testing.assert_allclose(both.embedding, mean / mean.norm(), atol=1e-5)
    out = tmp_path / "out"
    assert (
        main(["infer", str(voices), "--voice2face", str(voice2face), "--out", str(out), "--published"]) == 0
    )
    assert [path.name for path in (out / "carl").iterdir()] == ["d_fed_0.png"]
    found = np.asarray(Image.open(out / "carl" / "d_fed_0.png"))
    assert (
        found.min() == 0 and found.max() >= 254 and "encoded as a whole" in (out / "index.html").read_text()
    )
    np.save(tmp_path / "stored.npy", mels[0][0].T.numpy())
    np.testing.assert_allclose(model.generate(tmp_path / "stored.npy").embedding, face.embedding, atol=1e-6)


def test_voice2face_features_reject_recordings_without_speech(silence: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no voice found"):
        voice2face_inference.load_voice2face_features(silence)
    (tmp_path / "bad.npy").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"bad.npy is corrupt"):
        voice2face_inference.load_voice2face_features(tmp_path / "bad.npy")
    with pytest.raises(FileNotFoundError, match=r"absent\.npy"):
        voice2face_inference.load_voice2face_features(tmp_path / "absent.npy")
    (tmp_path / "bad.wav").write_bytes(b"none")
    with pytest.raises(AudioError, match=r"bad.wav"):
        voice2face_inference.load_voice2face_features(tmp_path / "bad.wav")
    assert len(voice2face_inference.remove_silence(synthesise_voice(2.0))) % 320 == 0


def test_silence_around_and_within_a_recording_is_not_heard(tmp_path: Path) -> None:
    model = sf2f.load()

    def embed(paths: list[Path]) -> torch.Tensor:
        return torch.stack([torch.from_numpy(model.generate(path).embedding) for path in paths])

    require_silence_is_not_heard(embed, tmp_path, synthesise_voices(3))
