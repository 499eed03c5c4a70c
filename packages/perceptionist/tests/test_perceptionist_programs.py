"""The programs: their output files and messages, and their errors."""

import json
import os
import subprocess
import sys
import types
import wave

import numpy as np
import pytest
from perceptionist import inference, microphone
from perceptionist.__main__ import main
from perceptionist.demo import mesh_distances, output_stem
from perceptionist.evaluation import evaluate
from perceptionist.face_models.synthetic_head import build_synthetic_face_model
from perceptionist.features import extract_speech_features
from perceptionist.ground_truth import load_synthetic_ground_truth
from perceptionist.meshio.obj import read_obj
from perceptionist.microphone import MicrophoneError, format_level_meter
from perceptionist.proportions import MEASURES
from perceptionist.voice_to_mesh import GeneratedFace
from PIL import Image
from tiny_checkpoints import DISCLAIMER, write_supervised_checkpoint, write_unsupervised_checkpoint
from voiceface.audio.vad import SpeechError
from voiceface.synthetic.writer import write_population


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return {
        "supervised": write_supervised_checkpoint(folder / "s.safetensors"),
        "unsupervised": write_unsupervised_checkpoint(folder / "u.safetensors"),
    }


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    root = tmp_path_factory.mktemp("population") / "people"
    sizes = {"train": 4, "val": 1, "test": 4, "clips": 2, "clip_seconds": 1.5, "images": 1}
    return write_population(
        root, "quick", render_size=16, mesh=True, workers=1, lists=False, progress=False, **sizes
    )


@pytest.fixture
def features(tmp_path):
    """Feature files of two speakers, laid out as the published ones."""
    random = np.random.default_rng(0)
    root = tmp_path / "features"
    for speaker in "ab":
        centre = random.normal(size=64)
        for clip in (1, 2):
            path = root / f"id_{speaker}" / "video" / f"{clip:05d}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, (centre + 0.1 * random.normal(size=(120, 64))).astype(np.float32))
    return root


def first_recording(population):
    return sorted((population / "wav").rglob("*.wav"))[0]


def silence(path, seconds=1.0, level=0.0):
    samples = (level * np.random.default_rng(0).normal(size=int(16000 * seconds))).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, len(samples), "NONE", ""))
        file.writeframes(samples.tobytes())
    return path


@pytest.mark.parametrize("kind", ["supervised", "unsupervised"])
def test_demo_writes_every_face_and_a_report(features, weights, kind, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["demo", str(features), "--weights", str(weights[kind]), "--out", str(out)]) == 0
    names = sorted(path.name for path in (out / "id_a").iterdir())
    words = ["_image.png", "_mesh.png", "_overlap.png"]
    stems = ("video_00001", "video_00002")
    assert names == sorted(f"{stem}{end}" for stem in stems for end in (".obj", *words))
    mesh = read_obj(out / "id_a" / "video_00001.obj", np.float32)
    model = inference.load(weights[kind])
    face = model.generate(features / "id_a" / "video" / "00001.npy")
    assert (mesh.vertices == face.vertices).all()
    assert (mesh.triangles == model.face_model.outward_triangles).all()
    if kind == "unsupervised":
        assert Image.open(out / "id_a" / "video_00001_image.png").size == (120, 120)
        assert face.overlay is not None and (face.overlay != face.image).any()
    page = (out / "index.html").read_text("utf-8")
    assert DISCLAIMER in page and page.count("<canvas") == 2
    output = capsys.readouterr()
    assert DISCLAIMER in output.err and "different speakers" in output.out


def test_demo_as_published_writes_two_images_and_skips_invalid_files(features, weights, tmp_path, capsys):
    bad = features / "id_b" / "video" / "00009.npy"
    np.save(bad, np.zeros((64, 90, 2)))
    out = tmp_path / "out"
    words = ["--weights", str(weights["unsupervised"]), "--out", str(out), "--published", "--no-report"]
    assert main(["demo", str(features), *words]) == 0
    assert len(list(out.rglob("*.png"))) == 8 and not list(out.rglob("*.obj"))
    assert capsys.readouterr().err.count(str(bad)) == 1 and not list(out.rglob("*00009*"))
    assert main(["demo", str(features), *words, "--strict"]) == 1
    assert "error: --strict: 1 file was left out" in capsys.readouterr().err


def test_output_paths_are_the_published_ones(tmp_path):
    from pathlib import Path

    assert output_stem(tmp_path, Path("id1/video/00001")) == tmp_path / "id1" / "video_00001"
    assert output_stem(tmp_path, Path("alone")) == tmp_path / "alone"


def test_mesh_distances_are_grouped_by_speaker():
    def face(x):
        return GeneratedFace("", np.full((5, 3), x, np.float32), np.zeros(1), np.zeros(1))

    same, other = mesh_distances([face(0), face(1), face(5)], ["a", "a", "b"])
    assert (same, other) == pytest.approx((3**0.5, 4.5 * 3**0.5))
    assert mesh_distances([face(0)], ["a"]) == (None, None)


def test_demo_mic_describes_a_file(population, weights, tmp_path, capsys):
    clip, out = first_recording(population), tmp_path / "out"
    words = ["--wav", str(clip), "--weights", str(weights["unsupervised"]), "--out", str(out)]
    assert main(["demo_mic", *words]) == 0
    output = capsys.readouterr()
    assert (
        all(word in output.out for word in ("gender:", "face type:", *MEASURES)) and DISCLAIMER in output.err
    )
    assert sorted(path.name.removeprefix(clip.stem) for path in out.iterdir()) == sorted(
        [".html", ".obj", ".png", "_image.png", "_overlap.png"]
    )
    page = (out / f"{clip.stem}.html").read_text("utf-8")
    assert page.count("<canvas") == 2 and DISCLAIMER in page and "audio" in page


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: silence(p / "still.wav"), "is silent"),
        (lambda p: silence(p / "noise.wav", level=3000), "noise"),
        (lambda p: p / "absent.wav", "no file"),
        (lambda p: (p / "text.wav").write_text("no sound") and p / "text.wav", "text.wav"),
    ],
)
def test_demo_mic_refuses_files_without_voice(make, message, weights, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--wav", str(make(tmp_path)), "--weights", str(weights["supervised"]), "--out", str(out)]
    assert main(["demo_mic", *words]) == 1
    output = capsys.readouterr().err
    assert message in output and "Traceback" not in output
    assert not out.exists() or not list(out.iterdir())


def test_too_little_speech_is_refused(population):
    samples, rate = read_speech(first_recording(population))
    with pytest.raises(SpeechError, match=r"s of speech in .* expected at least 0.5"):
        extract_speech_features(samples[:6000], rate)


def read_speech(path):
    from perceptionist.speech import read_recording

    return read_recording(path)


def test_without_portaudio_the_error_names_the_remedy(weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["demo_mic", "--weights", str(weights["supervised"]), "--out", str(tmp_path / "o")]) == 1
    assert "--wav FILE" in capsys.readouterr().err and not (tmp_path / "o").exists()


def test_without_a_sound_device_demo_mic_fails_before_heavy_imports(tmp_path):
    """The installed packages and the model are not touched; no files are written."""
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    code = (
        "import sys, time\n"
        "from perceptionist.__main__ import main\n"
        "status = main(['demo_mic'])\n"
        "heavy = sorted({'torch', 'scipy', 'pandas', 'PIL'} & set(sys.modules))\n"
        "print(status, heavy, time.process_time() < 1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split("\n")[0] == "1 [] True", done.stderr
    assert "PortAudio" in done.stderr and "--wav FILE" in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["sounddevice.py"]


def test_demo_mic_without_out_writes_nothing(population, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--wav", str(first_recording(population)), "--weights", str(weights["supervised"])]
    assert main(["demo_mic", *words]) == 0
    assert "gender:" in capsys.readouterr().out and not list(tmp_path.iterdir())


class Microphone(types.ModuleType):
    """A stand-in for sounddevice: gives counted samples, or no device."""

    class PortAudioError(Exception):
        """What the library raises."""

    def __init__(self, device=True):
        super().__init__("sounddevice")
        self.device, self.blocks = device, 0

    def check_input_settings(self, *args, **kwargs):
        if not self.device:
            raise self.PortAudioError("Error querying device -1")

    def InputStream(self, *args, **kwargs):
        self.check_input_settings()
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def read(self, count):
        self.blocks += 1
        return np.full((count, 1), self.blocks, np.int16), False


def test_a_recording_is_78_whole_blocks_in_order(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", Microphone())
    samples = microphone.record(5.0, output=sys.stderr)
    assert samples.shape == (78 * 1024,) and (samples[::1024] == np.arange(1, 79)).all()
    assert "0.0 s left" in capsys.readouterr().err


@pytest.mark.parametrize("call", [microphone.require_microphone, lambda: microphone.record(1.0, output=None)])
def test_a_missing_device_is_a_one_line_error(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", Microphone(device=False))
    with pytest.raises(MicrophoneError, match=r"querying device.*--wav FILE"):
        call()


def test_the_level_meter_ranges_from_empty_to_full():
    loud = np.full(100, 32767, np.int16)
    assert (
        "#" not in format_level_meter(np.zeros(100, np.int16))
        and "." not in format_level_meter(loud).split("]")[0]
    )
    assert format_level_meter(loud // 32).count("#") == 15  # -30 dB of 60


def test_stored_meshes_are_evaluated_like_new_predictions(population, weights, tmp_path, capsys):
    arguments = ["--data", str(population), "--weights", str(weights["supervised"])]
    meshes = tmp_path / "meshes"
    assert main(["test", *arguments, "--out", str(meshes), "--utterances", "2"]) == 0
    assert len(list(meshes.glob("*/*.obj"))) == 8
    newest = max(path.stat().st_mtime_ns for path in meshes.glob("*/*.obj"))
    assert main(["test", *arguments, "--out", str(meshes), "--utterances", "2"]) == 0
    assert max(path.stat().st_mtime_ns for path in meshes.glob("*/*.obj")) == newest
    rule = ["--bootstrap-samples", "50", "--utterances", "2"]
    assert main(["evaluate", *arguments, *rule, "--out", str(tmp_path / "a")]) == 0
    stored = ["--predictions", str(meshes), "--data", str(population)]
    assert main(["evaluate", *stored, *rule, "--out", str(tmp_path / "b")]) == 0
    truth = ["--predictions", str(meshes), "--truth", str(population / "mesh")]
    truth += ["--meta", str(population / "vox1_meta.csv")]
    assert main(["evaluate", *truth, *rule, "--out", str(tmp_path / "c")]) == 0
    a, b, c = (json.loads((tmp_path / x / "results.json").read_text()) for x in "abc")
    assert (
        a["num_identities"] == 4 and a["num_predictions"] == 8 and "mean of own gender" in c["errors"]["mean"]
    )
    for name, found in a["errors"].items():
        assert b["errors"][name]["ours"]["value"] == pytest.approx(found["ours"]["value"], rel=1e-5)
        assert c["errors"][name]["ours"]["value"] == pytest.approx(found["ours"]["value"], rel=1e-3)
    assert "explained_variance_within_gender" in a and "explained_variance_within_gender" not in b
    assert a["gender_accuracy_of_ground_truth"]["fisher_gender_accuracy"] >= 0.75
    assert 0 <= a["fisher_gender_accuracy"] <= 1
    assert "gender_accuracy" in b and "fisher_gender_accuracy" not in b, (
        "stored meshes have no shape coefficients"
    )
    assert "nothing about real people" in (tmp_path / "a" / "report.html").read_text("utf-8")


def test_ground_truth_has_no_error_and_the_mean_face_no_difference(population):
    model = build_synthetic_face_model()
    names = sorted(path.name for path in (population / "mesh").iterdir())
    ground_truth = load_synthetic_ground_truth(population, names)
    evaluation = evaluate(
        list(ground_truth.vertices * 2), range(len(names)), ground_truth, model, bootstrap_samples=20
    )
    assert all(each.ours.value == pytest.approx(0, abs=1e-6) for each in evaluation.errors.values())
    assert evaluation.errors["mean"].differences["mean face"].value < 0
    mean_face = evaluate(
        [ground_truth.baselines["all"]] * len(names),
        range(len(names)),
        ground_truth,
        model,
        bootstrap_samples=20,
    )
    for each in mean_face.errors.values():
        assert each.differences["mean face"].value == pytest.approx(0, abs=1e-12)


def test_the_published_layout_without_features_is_named(tmp_path, capsys):
    (tmp_path / "data" / "A2E_val").mkdir(parents=True)
    (tmp_path / "data" / "vox1_meta.csv").touch()
    assert main(["test", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]) == 1
    assert "has no fbank; expected vox1_meta.csv, fbank and A2E_val" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_published_layout_stops_at_the_last_validation_id(weights, tmp_path, features):
    root, mesh = tmp_path / "data", tmp_path / "mesh"
    rows = [("id10001", "Ann_Example"), ("id10309", "Ezra_Example"), ("id10310", "Finn_Example")]
    rows += [("id10002", "Bob_Absent")]
    lines = ["VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet"]
    (root / "A2E_val").mkdir(parents=True)
    for number, name in rows:
        lines.append(f"{number}\t{name}\tf\tUSA\tdev")
        for clip in range(4):
            path = root / "fbank" / number / "v" / f"{clip:05d}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.random.default_rng(clip).normal(size=(50, 64)).astype(np.float32))
        if name != "Bob_Absent":
            (root / "A2E_val" / name).mkdir()
    (root / "vox1_meta.csv").write_text("\n".join(lines) + "\n")
    words = ["--data", str(root), "--weights", str(weights["supervised"]), "--out", str(mesh)]
    assert main(["test", *words]) == 0
    found = sorted(str(path.relative_to(mesh)) for path in mesh.rglob("*.obj"))
    assert found == [f"{n}/v_0000{i}.obj" for n in ("Ann_Example", "Ezra_Example") for i in range(3)]
    written = read_obj(mesh / "Ann_Example" / "v_00000.obj")
    assert (written.triangles == build_synthetic_face_model().triangles).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["demo", "absent", "--out", "o"], "no file or folder"),
        (["demo", "{features}", "--out", "o", "--weights", "absent"], "train"),
        (
            ["demo", "{features}/id_a/video/00001.npy", "{features}/id_b/video/00001.npy", "--out", "o"],
            "both",
        ),
        (["demo", "{weights}", "--out", "o"], "suffix .safetensors"),
        (["demo", "{features}", "--out", "{weights}/x", "--weights", "{weights}"], "cannot write into"),
        (["evaluate"], "--data POPULATION"),
        (["evaluate", "--truth", "x"], "--predictions"),
        (["evaluate", "--predictions", "absent", "--data", "x"], "perceptionist test"),
        (["test", "--data", "absent", "--out", "o"], "absent"),
        (["test", "--data", "{half}", "--out", "o"], "vox1_meta.csv"),
        (["test", "--data", "x", "--out", "o", "--utterances", "0"], "at least 1"),
    ],
)
def test_invalid_command_lines_end_in_one_line(
    words, message, features, weights, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "half" / "fbank").mkdir(parents=True)
    places = {"features": features, "weights": weights["supervised"], "half": tmp_path / "half"}
    filled = [word.format(**places) for word in words]
    assert main(filled) == 1
    output = capsys.readouterr().err.strip().splitlines()
    assert message in output[-1] and output[-1].startswith("error: ") and not (tmp_path / "o").exists()


def test_missing_bundled_weights_are_reported(monkeypatch):
    monkeypatch.setattr(inference, "BUNDLED_CHECKPOINT", "weights/none.safetensors")
    with pytest.raises(FileNotFoundError, match=r"weights/none.safetensors.*perceptionist train"):
        inference.load()


def test_own_recordings_are_measured_and_doubts_are_part_of_the_results(
    population, weights, tmp_path, capsys
):
    from voiceface.audio.loading import AudioError, load_audio, write_wav

    model = inference.load(weights["supervised"])
    clip = first_recording(population)
    samples = load_audio(clip, scale="int16")
    face = model.generate(samples.astype(np.int16))
    assert (face.vertices == model.generate(clip).vertices).all() and face.facts is None
    assert (face.vertices == model.generate(np.stack([samples, samples], 1)).vertices).all()
    assert (face.vertices == model.generate_from_data(clip).vertices).all()
    noise = silence(tmp_path / "noise.wav", 2.0, 3000)
    with pytest.raises(AudioError, match=r"noise\.wav: holds .*speech"):
        model.generate(noise)
    for broken, finding in ((np.zeros(32000), "silent"), (np.full(32000, np.nan), "not finite")):
        with pytest.raises(AudioError, match=finding):
            model.generate(broken)
    write_wav(tmp_path / "loud.wav", np.clip(samples * 60, -32768, 32767).astype(np.int16))
    options = ["--weights", str(weights["supervised"]), "--out", str(tmp_path / "out")]
    assert main(["demo", str(noise), str(tmp_path / "loud.wav"), *options]) == 0
    output = capsys.readouterr().err
    assert output.count("loud.wav: clipped: ") == output.count("noise.wav") == 1
    stored = json.loads((tmp_path / "out" / "files.json").read_text())
    assert stored["files"]["loud"][0]["notes"][0].startswith("clipped: ")
    assert [each["file"] for each in stored["left_out"]] == [str(noise)]
    assert "clipped: " in (tmp_path / "out" / "index.html").read_text()
    words = ["demo_mic", "--wav", str(tmp_path / "loud.wav"), *options]
    assert main(words) == 0 and capsys.readouterr().err.count("clipped: ") == 1
    assert "clipped: " in (tmp_path / "out" / "loud.html").read_text()


def test_what_a_microphone_delivers_is_measured(population):
    from perceptionist.demo_mic import judge_microphone
    from voiceface.audio.loading import AudioError

    samples, _ = read_speech(first_recording(population))
    assert judge_microphone(samples).facts.measures["speech_seconds"] > 0.3
    with pytest.raises(AudioError, match="the recording: is silent"):
        judge_microphone(np.zeros(80000, np.int16))
