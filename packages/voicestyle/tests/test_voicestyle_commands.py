"""Commands `generate` and `invert`: results, errors, resuming; the Python API."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from voiceface.audio.loading import write_wav
from voiceface.checkpoints.resume_state import load_state
from voiceface.testing.corrupt_files import assert_mentions, write_truncated
from voiceface.testing.silence import require_silence_is_not_heard, synthesise_voices
from voicestyle.stylegan2.bundled import bundled_checkpoint


def contents(folder):
    """Every file of a way but the preview and the page (which has a date)."""
    files = sorted(
        p for p in folder.rglob("*") if p.is_file() and p.name not in ("preview.png", "index.html")
    )
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def generate(call, voices, faces, few):
    def run(out, *words, voices=voices, bank=faces):
        words = [str(word) for word in words]
        settings = [word for word in words if "=" in word]
        flags = [word for word in words if "=" not in word]
        source = ("--bank", bank) if bank else ()
        return call(
            *("generate", *([voices] if isinstance(voices, Path) else voices), *source, "--out", out),
            *("--cfg", "quick", *flags, *few, *settings),
        )

    return run


@pytest.fixture(scope="module")
def finished(generate, tmp_path_factory):
    """A way that nothing happened to; the descents are long enough to be stopped in."""
    out = tmp_path_factory.mktemp("finished") / "out"
    assert generate(out, *LONG) == 0
    return out


LONG = ("inversion.num_steps=7", "guidance.num_steps=5", "inversion.snapshot_interval=3")


def test_run_directory_holds_every_step(finished, faces):
    found = contents(finished)
    assert {
        "config.yaml",
        "provenance.json",
        "bank.safetensors",
        "faces/v0.png",
        "faces/v1.png",
    } < found.keys()
    assert (finished / "index.html").stat().st_size > 10_000 and not (finished / "state.safetensors").exists()
    for name in ("v0", "v1"):
        folder = finished / "voices" / name
        steps = json.loads((folder / "retrieval.json").read_text())
        assert len(steps["prototypes"]) == 3 and len(steps["images"]) == 3
        distances = [each["distance"] for each in steps["prototypes"]]
        assert distances == sorted(distances)
        for each in steps["images"]:
            assert (faces / each["image"]).is_file()
            stem = Path(each["image"]).stem
            kept = [p for p in finished.glob(f"inversions/{stem}-*.safetensors")]
            assert load_state(kept[0])["label"] == each["image"] and kept[0].with_suffix(".png").is_file()
        path = load_state(folder / "trajectory.safetensors")
        assert path["snapshot_steps"] == [5] and path["num_steps"].tolist() == [5]
        start, face = (Image.open(p) for p in (folder / "initial.png", finished / "faces" / f"{name}.png"))
        assert start.size == face.size == (64, 64) and start.tobytes() != face.tobytes()
        assert Image.open(folder / "animation.gif").n_frames > 1


def test_runs_are_reproducible(finished, generate, tmp_path):
    assert generate(tmp_path / "out", *LONG) == 0
    assert contents(tmp_path / "out") == contents(finished)


@pytest.mark.parametrize("moment", [3, 9])
def test_run_interrupted_in_an_optimisation_resumes_to_the_same_bytes(
    finished, generate, tmp_path, monkeypatch, moment
):
    """Ctrl-C after the 3rd step (inversion) and the 9th (guidance) of all descents."""
    from voicestyle import latent_optimisation as descent

    out, step, count = tmp_path / "out", descent.LatentOptimiser._optimise_step, iter(range(1, 99))

    def counted(self, objective):
        step(self, objective)
        if next(count) == moment:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(descent.LatentOptimiser, "_optimise_step", counted)
        assert generate(out, *LONG) not in (0, 1)
    state = load_state(out / "state.safetensors")
    assert (state["step"], state["latent_optimiser"]["step"]) == (
        ("inversion", 3) if moment == 3 else ("guidance", 2)
    )
    assert generate(out, *LONG, "--resume") == 0
    assert contents(out) == contents(finished)


def test_run_older_than_a_key_resumes_with_its_default(finished, generate, tmp_path, capsys):
    out = shutil.copytree(finished, tmp_path / "out")
    record = json.loads((out / "provenance.json").read_text())
    assert record["config"]["guidance"].pop("published_regularisation") == 0
    (out / "provenance.json").write_text(json.dumps(record))
    assert generate(out, *LONG, "guidance.published_regularisation=0.5", "--resume") == 1
    assert "guidance.published_regularisation: 0.0 in the run, 0.5 given" in capsys.readouterr().err
    assert generate(out, *LONG, "--resume") == 0
    assert contents(out) == contents(finished)


KILLED = """
import os, signal, sys
from pathlib import Path
from voiceface.commandline.dispatch import run_main
write, left = Path.write_bytes, iter(range({number}))
def half(path, data):
    if path.suffix in (".safetensors", ".png") and next(left, None) is None:
        write(path, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return write(path, data)
Path.write_bytes = half
run_main("voicestyle.generate", {words!r})
"""


def test_run_killed_in_a_write_resumes_to_the_same_bytes(finished, generate, voices, faces, few, tmp_path):
    out = tmp_path / "out"
    words = [str(voices), "--bank", str(faces), "--out", str(out), "--cfg", "quick", *few, *LONG]
    code = KILLED.format(number=6, words=words)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert 0 < len(list(out.glob("inversions/*"))) < len(list(finished.glob("inversions/*")))
    assert generate(out, *LONG, "--resume") == 0
    assert contents(out) == contents(finished)


def test_resume_with_changed_inputs_names_the_change(finished, generate, tmp_path, capsys, faces, voices):
    out = shutil.copytree(finished, tmp_path / "out")

    def refused(*words, **further):
        capsys.readouterr()
        assert generate(out, *LONG, "--resume", *words, **further) == 1
        return capsys.readouterr().err

    assert_mentions(
        refused("guidance.lr=0.5", "seed=4"),
        "guidance.lr: 0.01 in the run, 0.5 given",
        "seed: 0 in the run, 4 given",
        out,
    )
    assert_mentions(refused("--exclude", "person1"), "exclude", "person1")
    changed = shutil.copytree(faces, tmp_path / "faces")
    source = next(changed.rglob("4.png"))
    Image.fromarray(255 - np.asarray(Image.open(source))).save(source)
    assert_mentions(refused(bank=changed), "bank")
    other = shutil.copytree(voices, tmp_path / "voices")
    write_wav(other / "v1.wav", np.asarray(np.sin(np.arange(20_000)) * 9_000, np.int16))
    assert_mentions(refused(voices=other), "files.v1")
    assert contents(out).keys() == contents(finished).keys()


def test_directories_in_use_are_not_changed(finished, generate, tmp_path, capsys):
    assert generate(finished) == 1
    assert_mentions(capsys.readouterr().err, "is not empty", "--resume")
    (tmp_path / "notes.txt").write_text("notes")
    assert generate(tmp_path) == 1 and [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    assert generate(tmp_path / "new", "--resume") == 1
    assert_mentions(capsys.readouterr().err, "nothing to resume")


def test_unusable_recordings_are_skipped(generate, voices, tmp_path, capsys):
    some = tmp_path / "some"
    some.mkdir()
    shutil.copy(voices / "v0.wav", some)
    write_wav(some / "silent.wav", np.zeros(32_000, np.int16))
    (some / "broken.wav").write_bytes(b"no sound at all")
    assert generate(tmp_path / "out", voices=some) == 0
    said = capsys.readouterr().err
    assert_mentions(said, "2 files were left out", "silent.wav", "is silent", "broken.wav")
    stored = json.loads((tmp_path / "out" / "files.json").read_text())
    assert {Path(each["file"]).name for each in stored["left_out"]} == {"silent.wav", "broken.wav"}
    assert stored["files"]["v0"][0]["measures"]["speech_seconds"] > 0.3
    assert [p.name for p in (tmp_path / "out" / "faces").iterdir()] == ["v0.png"]
    assert "silent.wav" in (tmp_path / "out" / "index.html").read_text()
    (some / "v0.wav").unlink()
    assert generate(tmp_path / "none", voices=some) == 1
    assert_mentions(capsys.readouterr().err, "error: none of the 2 recordings can be used", "broken.wav")
    assert not (tmp_path / "none" / "provenance.json").exists()  # to be tried again in the same directory
    shutil.copy(voices / "v0.wav", some / "broken.wav")
    assert generate(tmp_path / "none", "--strict", voices=some) == 1  # one of two
    assert [p.name for p in (tmp_path / "none" / "faces").iterdir()] == ["broken.png"]


def test_unusable_bank_images_are_left_out(generate, voices, faces, tmp_path, capsys):
    """Told once in the table, also of frontal images; an error with --strict only."""
    bank, frontal = (tmp_path / name for name in ("bank", "frontal"))
    shutil.copytree(faces, bank)
    (bank / "torn.png").write_bytes(b"no picture")
    names = [path.name if path.is_dir() else path.stem for path in sorted(faces.iterdir())]
    for name in names:
        (frontal / name).mkdir(parents=True, exist_ok=True)
        (frontal / name / "1.png").write_bytes(b"no picture either")
    some = [voices / "v0.wav"]
    assert generate(tmp_path / "out", voices=some, bank=bank) == 0
    said = capsys.readouterr().err
    assert_mentions(said, "1 file was left out", "torn.png")
    assert said.count("torn.png") == 1
    stored = json.loads((tmp_path / "out" / "files.json").read_text())
    assert [Path(each["file"]).name for each in stored["left_out"]] == ["torn.png"]
    assert "torn.png" in (tmp_path / "out" / "index.html").read_text()
    assert generate(tmp_path / "strict", "--strict", voices=some, bank=bank) == 1
    assert_mentions(capsys.readouterr().err, "--strict: 1 file was left out")
    assert (tmp_path / "strict" / "faces" / "v0.png").is_file()
    assert generate(tmp_path / "third", "--strict", "--frontal", frontal, voices=some, bank=faces) == 1
    said = capsys.readouterr().err
    assert_mentions(said, "left out", "1.png", "--strict")
    assert "skipped" not in said


def test_too_many_prototypes_raise(generate, tmp_path, capsys):
    assert generate(tmp_path / "a", "retrieval.num_prototypes=10") == 1
    assert_mentions(
        capsys.readouterr().err, "10 nearest of 9 prototypes of 9 videos", "retrieval.num_prototypes"
    )


def test_weights_of_other_networks_are_named(generate, tmp_path, capsys):
    import cmpc2

    cmpc = next(Path(cmpc2.__file__).parent.glob("weights/population.safetensors"))
    half = write_truncated(bundled_checkpoint(), tmp_path / "half.safetensors")
    torch.save({"args": {}, "model": {"x": torch.zeros(1)}}, tmp_path / "other.pt")
    (tmp_path / "empty.pt").write_bytes(b"")
    for number, file in enumerate((cmpc, half, tmp_path / "other.pt", tmp_path / "empty.pt")):
        assert generate(tmp_path / str(number), "--stylegan", file) == 1
        said = capsys.readouterr().err
        assert f"{file}" in said and "error: " in said and "Traceback" not in said
    for flag, file in (
        ("--cmpc", bundled_checkpoint()),
        ("--identity", half),
        ("--stylegan", tmp_path / "no.pt"),
    ):
        assert generate(tmp_path / "x", flag, file) == 1
        assert_mentions(capsys.readouterr().err, "error: ", file)


def test_synthetic_identities_as_the_bank(generate, voices, tmp_path, capsys):
    one = voices / "v0.wav"
    assert generate(tmp_path / "out", "--population", "quick", voices=one, bank=None) == 0
    assert_mentions(capsys.readouterr().err, "synthetic identities")
    assert (tmp_path / "out" / "faces" / "v0.png").is_file()
    assert generate(tmp_path / "b", "--population", "standard", voices=one, bank=None) == 1
    assert_mentions(capsys.readouterr().err, "--population standard", "quick")


@pytest.fixture(scope="module")
def invert(call, few):
    def run(out, *words):
        return call("invert", *words, "--out", out, "--cfg", "quick", *few)

    return run


def test_invert_files_and_directories(invert, faces, tmp_path, capsys):
    mixed = shutil.copytree(faces / "person0", tmp_path / "mixed")
    Image.open(mixed / "0.png").convert("L").save(mixed / "grey.jpg")
    Image.open(mixed / "0.png").resize((90, 40)).convert("CMYK").save(mixed / "wide.jpg")
    (mixed / "broken.png").write_bytes(b"no image")
    single = faces / "person1" / "1.png"
    assert invert(tmp_path / "out", mixed, single) == 0
    assert_mentions(capsys.readouterr().err, "1 file was left out", "broken.png")
    assert invert(tmp_path / "out", mixed, single, "--strict", "--resume") == 1
    kept = {
        load_state(p)["label"]: load_state(p) for p in (tmp_path / "out" / "inversions").glob("*.safetensors")
    }
    assert kept.keys() == {"0.png", "3.png", "6.png", "grey.jpg", "wide.jpg", "1.png"}
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"index.html", "provenance.json", "config.yaml"}
    both = Image.open(next((tmp_path / "out" / "inversions").glob("grey-*.png")))
    target = np.asarray(both)[:, :64].astype(int)
    assert both.size == (128, 64) and np.ptp(target, axis=2).max() == 0
    # alone it is what it was in company
    assert invert(tmp_path / "alone", single) == 0
    alone = load_state(next((tmp_path / "alone" / "inversions").glob("*.safetensors")))
    torch.testing.assert_close(alone["latents"], kept["1.png"]["latents"], rtol=1e-4, atol=1e-4)


def test_invert_missing_files(invert, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no image")
    for given, words in (
        (tmp_path, "no images"),
        (tmp_path / "nowhere", "no file or directory"),
        (tmp_path / "notes.txt", "none of the 1 images can be read"),
    ):
        assert invert(tmp_path / "out", given) == 1
        assert_mentions(capsys.readouterr().err, words, given)
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("command", ["generate", "invert", "test"])
def test_absent_files_are_named_together_before_networks_are_loaded(
    command, call, voices, faces, tmp_path, monkeypatch, capsys
):
    from voicestyle import models

    monkeypatch.setattr(models, "load_models", lambda *_, **__: pytest.fail("networks were loaded"))
    absent = {flag: tmp_path / flag for flag in ("cmpc", "stylegan", "identity", "clip")}
    if command != "invert":
        absent |= {flag: tmp_path / flag for flag in ("bank", "frontal", "memory", "table")}
    if command == "test":
        absent |= {flag: tmp_path / flag for flag in ("data", "evaluation-identity")}
    words = [word for flag, path in absent.items() for word in (f"--{flag}", path)]
    words += ["--lpips", tmp_path / "vgg16.pth", tmp_path / "heads.pth"]
    given = {"generate": [voices], "invert": [faces], "test": []}[command]
    assert call(command, *given, *words, "--out", tmp_path / "out") == 1
    lines = [f"--{flag}: nothing at" for flag in absent]
    assert_mentions(capsys.readouterr().err, *lines, "--lpips (backbone): nothing at", "--lpips (heads)")
    assert not (tmp_path / "out").exists()


def test_python_api(voices, faces, few, tmp_path):
    import voicestyle

    model = voicestyle.load(bank=faces, overrides=few)
    result = model.generate(voices / "v0.wav")
    voicestyle.save_png(result.image, tmp_path / "face.png")
    assert (np.asarray(Image.open(tmp_path / "face.png")) == result.image).all()
    assert result.disclaimer and 0 <= result.similarity <= 1 and len(result.selected) == 3
    assert result.similarity != result.initial_similarity and result.latent.shape == (
        model.models.latent_statistics.mean.shape[1],
    )
    # a voice's face does not depend on the others', nor on its place
    turned = model.generate_batch([voices / "v1.wav", voices / "v0.wav"])
    torch.testing.assert_close(turned[1].latent, result.latent, rtol=1e-3, atol=1e-4)
    together = model.generate_from_utterances([voices / "v0.wav", voices / "v0.wav"])
    torch.testing.assert_close(together.latent, result.latent, rtol=1e-3, atol=1e-4)
    excluded = model.generate(voices / "v0.wav", exclude=["person0"])
    assert not any("person0" in each.image.label for each in excluded.selected)
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'"):
        voicestyle.nothing  # noqa: B018


def test_noise_never_becomes_a_face_and_doubts_are_part_of_the_results(
    voices, faces, few, generate, tmp_path, capsys
):
    import voicestyle
    from voiceface.audio.loading import AudioError, load_audio

    samples = load_audio(voices / "v0.wav", scale="int16")
    noise = np.rint(np.random.default_rng(0).standard_normal(32_000) * 3000).astype(np.int16)
    write_wav(tmp_path / "noise.wav", noise)
    write_wav(tmp_path / "loud.wav", np.clip(samples * 60, -32768, 32767).astype(np.int16))
    model = voicestyle.load(bank=faces, overrides=few)
    with pytest.raises(AudioError, match=r"noise\.wav: holds .*speech"):
        model.generate(tmp_path / "noise.wav")
    for broken, finding in ((np.zeros(32_000), "silent"), (np.full(32_000, np.nan), "not finite")):
        with pytest.raises(ValueError, match=finding):
            model.generate(broken)
    assert generate(tmp_path / "out", voices=tmp_path / "loud.wav") == 0
    assert capsys.readouterr().err.count("loud.wav: clipped: ") == 1
    (known,) = json.loads((tmp_path / "out" / "files.json").read_text())["files"]["loud"]
    assert known["notes"][0].startswith("clipped: ")
    assert "clipped: " in (tmp_path / "out" / "index.html").read_text()


def test_silence_around_and_within_a_recording_is_not_heard(tmp_path):
    import cmpc2
    from voicestyle.voice_embedding import embed_voice

    models = SimpleNamespace(embedder=cmpc2.load_embedder())
    require_silence_is_not_heard(
        lambda paths: torch.cat([embed_voice(path, models)[0] for path in paths]),
        tmp_path,
        synthesise_voices(3),
    )
