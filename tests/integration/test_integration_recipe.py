"""docs/adding_a_system.md is carried out: its files are written, trained, evaluated and looked at."""

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from voiceface.testing.commands import assert_light_help

REPO = Path(__file__).resolve().parents[2]
PAGE = REPO / "docs" / "adding_a_system.md"
FILE = re.compile(r"^`([\w./-]+)`\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
NAME = "nearest_mean"


def run(folder: Path, *words: str | Path) -> str:
    """Start a program in a folder, with the new package importable."""
    found = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "packages" / NAME / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with every file that the page gives, its package importable here."""
    root = tmp_path_factory.mktemp("recipe")
    for path, body in FILE.findall(PAGE.read_text("utf-8")):
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(body, "utf-8")
    sys.path.insert(0, str(root / "packages" / NAME / "src"))
    yield root
    sys.path.remove(str(root / "packages" / NAME / "src"))


@pytest.fixture(scope="module")
def trained(written: Path) -> Path:
    """The folder, after the commands of a newcomer on a small population."""
    python = (sys.executable, "-m")
    few = ["training.max_steps=60", "training.batch_size=16"]
    sizes = ["--preset", "tiny", "--identities", "90", "--workers", "1"]
    run(written, *python, "voiceface", "population", "people", *sizes)
    run(written, *python, NAME, "train", "--cfg", "quick", "--data", "people", "--out", "run", *few)
    words = ["--weights", "run", "--data", "people", "--out", "test", "--generate-lists", "0"]
    run(written, *python, NAME, "test", *words)
    return written


def test_the_page_gives_a_whole_package(written: Path) -> None:
    folder = written / "packages" / NAME
    names = {path.relative_to(folder / "src" / NAME).as_posix() for path in (folder / "src").rglob("*.*")}
    assert names >= {
        "__init__.py",
        "__main__.py",
        "config.py",
        "model.py",
        "system.py",
        "train.py",
        "configs/quick.yaml",
    }
    ours = tomllib.loads((folder / "pyproject.toml").read_text())
    theirs = tomllib.loads((REPO / "packages" / "seeking_shape" / "pyproject.toml").read_text())
    assert ours["project"]["version"] == theirs["project"]["version"]
    assert ours["build-system"] == theirs["build-system"] and ours["tool"].keys() == theirs["tool"].keys()
    for path in written.rglob("*.py"):
        assert len((ast.get_docstring(ast.parse(path.read_text())) or "").split()) >= 3, path.name
    for command in ("cp packages/seeking_shape/LICENSE", "hatch_build.py"):
        assert command in PAGE.read_text("utf-8")


def test_what_the_page_names_is_there() -> None:
    text = PAGE.read_text("utf-8")
    for name in set(re.findall(r"`(voiceface(?:\.\w+)+)`", text)):
        module, _, attribute = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), attribute), name
    for place in ("noxfile.py", "third_party/manifest.toml", "tests/parity/run.py", "tests/test_layout.py"):
        assert place in text and (REPO / place).is_file()


def test_help_is_light(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(written / "packages" / NAME / "src"))
    for command in ("train", "test", "embed", "match", "demo", "export"):
        assert_light_help(NAME, command)


def test_the_small_system_learns_something(trained: Path) -> None:
    losses = [
        json.loads(line)["total_loss"] for line in (trained / "run" / "log.jsonl").read_text().splitlines()
    ]
    assert losses[-1] < 0.8 * losses[0]
    found = json.loads((trained / "test" / "all_pairs.json").read_text())
    assert (trained / "test" / "report.html").stat().st_size > 10_000
    figures = [found["single"][key]["value"] for key in ("u_v2f", "u_f2v", "auc")]
    assert sum(figures) / 3 > 0.58, figures  # chance is 0.5; who hears and sees the sex alone has 0.75
    assert "nearest_mean" in (trained / "test" / "report.html").read_text("utf-8")


def test_voiceface_finds_the_same_figures_in_its_embeddings(trained: Path) -> None:
    words = [
        "--voices",
        "test/voices.npz",
        "--faces",
        "test/faces.npz",
        "--lists",
        "people/list_wav/match_v2f_2_test.txt",
    ]
    words += [
        "--identities",
        "people/list_wav/vox1_test.csv",
        "--bootstrap-samples",
        "0",
        "--text",
        "figures.txt",
    ]
    run(trained, sys.executable, "-m", "voiceface", "evaluate", *words)
    (line,) = (trained / "figures.txt").read_text().splitlines()
    results = dict(line.split() for line in (trained / "test" / "results.txt").read_text().splitlines())
    assert line.split() == ["match_v2f_2_test", results["match_v2f_2_test"]]


def test_its_showcase_is_found_by_the_entry_point(trained: Path, tmp_path: Path) -> None:
    from voiceface.suite.plugins import ENTRY_POINT_GROUP, AssociationSystem, find_systems

    stated = tomllib.loads((trained / "packages" / NAME / "pyproject.toml").read_text())["project"][
        "entry-points"
    ]
    entries = [
        metadata.EntryPoint(name, value, ENTRY_POINT_GROUP)
        for name, value in stated[ENTRY_POINT_GROUP].items()
    ]
    (system,) = find_systems(entries).found
    assert isinstance(system, AssociationSystem) and system.name == NAME and system.train is not None
    model = system.load(trained / "run")
    assert "synthetic" in model.disclaimer
    (tmp_path / "main").symlink_to(trained / "run")  # a finished run is not trained again
    assert system.train(trained / "people", tmp_path) == tmp_path / "main"


def test_a_published_checkpoint_gives_the_same_embeddings(trained: Path, tmp_path: Path) -> None:
    import nearest_mean
    from voiceface.checkpoints.published import CheckpointError

    ours = nearest_mean.load(trained / "run")
    words = {
        "voice.0": "audio.norm",
        "voice.1": "audio.linear",
        "face.0": "image.norm",
        "face.1": "image.linear",
    }
    state = {"module.classifier.weight": torch.zeros(3, 32)}
    for key, value in ours.model.state_dict().items():
        place = ".".join(key.split(".")[:2])
        if place in words:
            state[f"module.{words[place]}.{key.split('.')[2]}"] = value
    torch.save({"state_dict": state}, tmp_path / "published.pth")
    theirs = nearest_mean.load(tmp_path / "published.pth")
    clips = [next((trained / "people" / "wav").rglob("*.wav"))]
    wave = ours.load_voice(clips[0])  # the published file does not tell the length of clips
    assert torch.equal(
        ours.encode_voices(torch.from_numpy(wave)[None]), theirs.encode_voices(torch.from_numpy(wave)[None])
    )
    torch.save({"state_dict": {"other.weight": torch.zeros(2)}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="no checkpoint of nearest_mean"):
        nearest_mean.load(tmp_path / "other.pth")


def test_the_parity_adaptor_judges_cases(written: Path, tmp_path: Path) -> None:
    shutil.copytree(
        REPO / "tests" / "parity", tmp_path / "tests" / "parity", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(written / "tests" / "parity" / "nearest_mean.py", tmp_path / "tests" / "parity")
    runner = tmp_path / "tests" / "parity" / "run.py"
    runner.write_text(runner.read_text().replace("NAMES = (", 'NAMES = ("nearest_mean", '))
    cases = tmp_path / "cases" / "nearest_mean"
    cases.mkdir(parents=True)
    (cases.parent / "fill.py").write_text("")
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(2, 4, 3)) for name in ("face", "voice")}
    meta = {"layout": {}, "config": {"temperature": 0.2}, "tolerance": {"atol": 1e-9, "rtol": 0}}
    for name, error in (("mean_losses", 0.0), ("mean_losses_off", 1e-3)):
        (cases / f"{name}.json").write_text(json.dumps(meta))
        stored = reference_losses(arrays["face"], arrays["voice"], 0.2, error)
        np.savez(cases / f"{name}.npz", **arrays, **stored)
    done = subprocess.run(
        [sys.executable, str(runner), "--cases", str(cases)],
        env={**os.environ, "PYTHONPATH": str(written / "packages" / NAME / "src")},
        capture_output=True,
        text=True,
    )
    assert "1 passed, 1 failed" in done.stdout and done.returncode == 1, done.stdout + done.stderr
    failed = [line for line in done.stdout.splitlines() if "failed" in line and "mean_losses_off" in line]
    assert len(failed) == 1, done.stdout


def reference_losses(
    face: np.ndarray, voice: np.ndarray, temperature: float, error: float
) -> dict[str, np.ndarray]:
    """Both losses, row by row."""

    def unit(rows: np.ndarray) -> np.ndarray:
        return rows / np.linalg.norm(rows, axis=-1, keepdims=True)

    found = {}
    for name, rows, others in (("face_loss", face, voice), ("voice_loss", voice, face)):
        means = unit(unit(others).mean(axis=0))
        terms = []
        for file in unit(rows):
            for own, row in enumerate(file):
                scores = np.array([row @ mean for mean in means]) / temperature
                terms.append(np.log(np.exp(scores).sum()) - scores[own])
        found[name] = np.asarray(np.mean(terms) + error)
    return found


def test_its_own_tests_pass(written: Path) -> None:
    said = run(
        written, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"packages/{NAME}/tests"
    )
    assert "3 passed" in said
