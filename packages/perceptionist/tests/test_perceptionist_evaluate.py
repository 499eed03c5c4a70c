"""`perceptionist evaluate` with meshes, recordings and ground truth that are absent or cannot be used."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from perceptionist import inference
from perceptionist.__main__ import main
from perceptionist.face_models.synthetic_head import build_synthetic_face_model
from perceptionist.ground_truth import load_ground_truth_folder
from tiny_checkpoints import write_supervised_checkpoint
from voiceface.commandline.exit_status import ERROR, INCOMPLETE, SUCCESS
from voiceface.synthetic.writer import write_population

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("people") / "population"
    sizes = {"train": 4, "val": 1, "test": 4, "clips": 1, "clip_seconds": 1.5, "images": 1}
    return write_population(
        root, "quick", render_size=16, mesh=True, workers=1, lists=False, progress=False, **sizes
    )


@pytest.fixture
def meshes(people: Path, tmp_path: Path) -> Path:
    """True meshes as predictions, one of each identity."""
    for folder in sorted((people / "mesh").iterdir()):
        shutil.copytree(folder, tmp_path / "meshes" / folder.name)
    return tmp_path / "meshes"


def overwrite(folder: Path, text: str = "no mesh") -> None:
    for path in folder.iterdir():
        path.write_text(text)


def test_meshes_that_cannot_be_used_are_listed_and_the_others_evaluated(
    people: Path, meshes: Path, tmp_path: Path, capsys: Capture
) -> None:
    truth = Path(shutil.copytree(people / "mesh", tmp_path / "truth"))
    words = ["evaluate", "--predictions", meshes, "--truth", truth, "--bootstrap-samples", "20", "--out"]
    assert main([str(word) for word in (*words, tmp_path / "whole")]) == SUCCESS
    whole = json.loads((tmp_path / "whole" / "results.json").read_text())
    assert whole["unavailable"] == []
    broken, short, lost, torn, *good = sorted(path.name for path in meshes.iterdir())
    overwrite(meshes / broken)
    overwrite(meshes / short, "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    shutil.rmtree(truth / lost)
    overwrite(truth / torn)
    capsys.readouterr()
    assert main([str(word) for word in (*words, tmp_path / "out")]) == INCOMPLETE
    output = capsys.readouterr()
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    reasons = {each["name"]: each["reason"] for each in found["unavailable"]}
    assert {name.removeprefix("identity ").split("/")[0] for name in reasons} == {broken, short, lost, torn}
    assert reasons[f"identity {lost}"] == "no ground truth"
    assert any("3 vertices" in reason for reason in reasons.values())
    assert found["num_identities"] == len(good) == whole["num_identities"] - 4
    page = (tmp_path / "out" / "report.html").read_text()
    for name, reason in reasons.items():
        assert f"not computed: {name}: {reason}" in output.out and name in page
    for path in meshes.glob("*/*"):
        path.write_text("no mesh")
    assert main([str(word) for word in (*words, tmp_path / "none")]) == ERROR
    assert "nothing can be evaluated" in capsys.readouterr().err


def test_everything_absent_is_named_before_anything_is_loaded(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(inference, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    flags = ("predictions", "truth", "meta", "weights", "references")
    words = [word for flag in flags for word in (f"--{flag}", str(tmp_path / f"no_{flag}"))]
    assert main(["evaluate", *words, "--out", str(tmp_path / "out")]) == ERROR
    message = capsys.readouterr().err
    assert all(f"--{flag}: " in message and f"no_{flag}" in message for flag in flags)
    (tmp_path / "corpus").mkdir()
    assert main(["evaluate", "--data", str(tmp_path / "corpus"), "--out", str(tmp_path / "out")]) == ERROR
    assert "is not a synthetic population" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_recordings_that_cannot_be_used_are_listed(people: Path, tmp_path: Path, capsys: Capture) -> None:
    root = Path(shutil.copytree(people, tmp_path / "people"))
    from voiceface.datasets.corpus import open_corpus

    corpus = open_corpus(root, "test")
    corpus.voice_path(corpus.records[1].voices[0]).write_bytes(b"no audio")
    weights = write_supervised_checkpoint(tmp_path / "s.safetensors")
    words = ["--data", str(root), "--weights", str(weights), "--bootstrap-samples", "20"]
    assert main(["evaluate", *words, "--out", str(tmp_path / "out")]) == INCOMPLETE
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    (row,) = found["unavailable"]
    assert row["name"].startswith(f"{corpus.records[1].identity.face_id}/") and found["num_identities"] == 3
    assert row["reason"] in capsys.readouterr().out


def test_absent_recordings_are_named_before_the_network_is_loaded(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from voiceface.datasets.corpus import open_corpus

    corpus, root = open_corpus(people, "test"), tmp_path / "own"
    shutil.copytree(people / "wav", root / "wav")
    rows = ["identity,modality,path"]
    for record in corpus.records:
        rows += [
            f"{record.identity.name},voice,{corpus.voice_path(item).relative_to(people)}"
            for item in record.voices
        ]
        rows += [f"{record.identity.name},voice,wav/absent_{record.identity.name}.wav"]
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    weights = write_supervised_checkpoint(tmp_path / "s.safetensors")
    words = ["test", "--data", str(root), "--weights", str(weights), "--out", str(tmp_path / "out")]
    load, said = inference.load, []

    def load_and_listen(*values: object, **options: object) -> object:
        said.append(capsys.readouterr().err)
        return load(*values, **options)

    monkeypatch.setattr(inference, "load", load_and_listen)
    assert main(words) == ERROR
    assert all(f"absent_{record.identity.name}.wav: no such file" in said[0] for record in corpus.records)
    assert len(list((tmp_path / "out").rglob("*.obj"))) == len(corpus)
    shutil.rmtree(root / "wav")
    assert main(words) == ERROR
    assert len(said) == 1 and "none of 8 recordings" in capsys.readouterr().err


def test_true_meshes_keep_the_order_of_the_usable_identities(people: Path, tmp_path: Path) -> None:
    truth = Path(shutil.copytree(people / "mesh", tmp_path / "truth"))
    model, names = build_synthetic_face_model(), sorted(path.name for path in truth.iterdir())
    whole = load_ground_truth_folder(truth, names, model)
    overwrite(truth / names[1])
    found = load_ground_truth_folder(truth, names, model)
    assert found.identities == (names[0], *names[2:])
    assert np.array_equal(found.vertices, np.delete(whole.vertices, 1, axis=0))
    assert [each.name for each in found.unavailable] == [f"identity {names[1]}"]
