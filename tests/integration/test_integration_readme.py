"""Pages are correct: command lines are understood, snippets run, commands work together."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from command_lines import (
    BLOCK,
    PROGRAMS,
    REPO,
    find_command_lines,
    load_requested_config,
    parse_command_line,
    resolve_command,
)
from PIL import Image

PAGES = [
    *(REPO / "README.md", REPO / "CONTRIBUTING.md"),
    *(REPO / "shared" / "README.md", REPO / "third_party" / "README.md"),
    *sorted((REPO / "docs").glob("*.md")),
    *sorted((REPO / "packages").glob("*/README.md")),
    REPO / "tests" / "parity" / "README.md",
]
SYSTEMS = [name for name in PROGRAMS if name != "voiceface"]
FEW_STEPS = (
    "inversion.num_steps=3",
    "inversion.latent_mean_samples=256",
    "guidance.num_steps=3",
    "retrieval.max_images=2",
)
COMMON_OVERRIDES = ("training.max_steps=3", "training.batch_size=4")
SHORT_TRAINING = {  # what makes the training of a bundled configuration a matter of seconds
    "seeking_shape": ("schedule.warm_up=0", "weights.warm_up=1", "weights.update_interval=1"),
    "archetype_agnostic": (
        *(
            "schedule.warm_up=0",
            "regauging.start_step=1",
            "equilibrium.warm_up=1",
            "equilibrium.update_interval=1",
        ),
    ),
    "cmpc2": (
        *(
            "optimiser.warm_up=1",
            "clustering.num_clusters=[3,5]",
            "clustering.start_step=1",
            "clustering.interval=1",
        ),
    ),
    "fop": (  # with encoders that need no networks that are fetched
        *("data.voice_encoder=cmpc2", "data.face_encoder=cmpc2"),
        *("training.validation_interval=null", "training.best_checkpoint=none"),
    ),
    "sf2f": (),
    "perceptionist": (),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny population."""
    root = tmp_path_factory.mktemp("people") / "data"
    run(root.parent, "voiceface", "population", "data", "--preset", "tiny", "--workers", "1")
    return root


def run(folder: Path, *words: str | Path) -> str:
    """Run a program in a folder as a user does; return its output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout}{done.stderr}"
    return done.stdout


def line_targets(page: Path) -> str:
    return page.relative_to(REPO).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=line_targets)
def test_command_lines_are_understood_by_the_commands(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = []
    for line in find_command_lines(page):
        try:
            flags = parse_command_line(line, monkeypatch)
            found = resolve_command(line.words)
            if flags is not None and found is not None:
                load_requested_config(found[0], flags)
        except (LookupError, ValueError) as problem:
            wrong.append(f"{line}\n    {problem}")
    assert not wrong, "\n".join(wrong)


def test_pages_hold_command_lines_of_every_program() -> None:
    seen = {line.words[0] for page in PAGES for line in find_command_lines(page) if line.is_complete}
    assert seen >= {*PROGRAMS, "python", "torchrun"}
    reproducing = [
        line.words[:2] for line in find_command_lines(REPO / "docs" / "reproducing.md") if line.is_complete
    ]
    assert set(reproducing) >= {(name, word) for name in SYSTEMS for word in ("train", "test")}


@pytest.mark.parametrize(
    "text",
    [
        "seeking_shape train --cfg main --data D --out O --no-such-flag",
        "seeking_shape train --cfg mainn --data D --out O",
        "seeking_shape train --cfg main --data D --out O training.max_itr=3",
        "seeking_shape train --cfg main --data D",
        "seeking_shape test --data D --out O --tie-breaking sometimes",
        "seeking_shape test --data D --out O --weight W",  # an abbreviation
        "voiceface lists generate D --no-such-flag",
        "cmpc2 trian --cfg main --data D --out O",
        "python benchmarks/no_such_program.py --seeds 1",
    ],
)
def test_a_wrong_command_line_is_found(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Then:\n\n    {text}\n")
    (line,) = find_command_lines(page)
    with pytest.raises((LookupError, ValueError)):
        flags = parse_command_line(line, monkeypatch)
        found = resolve_command(line.words)
        assert flags is not None and found is not None
        load_requested_config(found[0], flags)


def snippets(page: Path) -> list[str]:
    """Python blocks of a page."""
    return [body for kind, body in BLOCK.findall(page.read_text("utf-8")) if kind == "python"]


@pytest.mark.parametrize(
    "page",
    [
        page for page in PAGES if snippets(page) and page.name != "adding_a_system.md"
    ],  # that one is carried out
    ids=line_targets,
)
def test_snippets_import_what_is_there(page: Path) -> None:
    for body in snippets(page):
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PROGRAMS:
                for name in node.names:
                    module = importlib.import_module(node.module or "")
                    if not hasattr(module, name.name):
                        importlib.import_module(f"{node.module}.{name.name}")
            elif isinstance(node, ast.Import):
                for name in node.names:
                    importlib.import_module(name.name)


def check_ranking(found: dict[str, Any], folder: Path) -> None:
    assert found["scores"].shape == (1, 2) and found["scores"].abs().max() <= 1.00001
    assert found["voices"].shape[1] == found["faces"].shape[1]
    assert not torch.equal(found["scores"][:, 0], found["scores"][:, 1])


def check_image(found: dict[str, Any], folder: Path) -> None:
    image = found["image"]
    assert image.dtype == np.uint8 and image.ndim == 3 and image.std() > 5


def check_mesh(found: dict[str, Any], folder: Path) -> None:
    vertices = found["face"].vertices
    assert vertices.ndim == 2 and vertices.shape[1] == 3 and np.ptp(vertices, axis=0).min() > 1


def check_guided_image(found: dict[str, Any], folder: Path) -> None:
    written = np.asarray(Image.open(folder / "face.png"))
    assert np.array_equal(written, found["result"].image) and written.std() > 5


def check_scores(found: dict[str, Any], folder: Path) -> None:
    assert found["scores"].shape == (1, 2) and not torch.equal(found["scores"][:, 0], found["scores"][:, 1])


def check_face(found: dict[str, Any], folder: Path) -> None:
    assert found["vertices"].shape[1] == 3 and np.ptp(found["vertices"], axis=0).min() > 1


Check: TypeAlias = Callable[[dict[str, Any], Path], None]
PACKAGE_CHECKS: dict[str, Check] = {
    **dict.fromkeys(("seeking_shape", "archetype_agnostic", "cmpc2"), check_ranking),
    "sf2f": check_image,
    "perceptionist": check_mesh,
    "voicestyle": check_guided_image,
}
FRONT_PAGE_CHECKS: dict[str, Check] = {
    "seeking_shape": check_ranking,
    "cmpc2": check_scores,
    "sf2f": check_image,
    "perceptionist": check_face,
    "voicestyle": check_image,
}
SNIPPETS = [
    *((f"packages/{name}/README.md", 0, name, check) for name, check in PACKAGE_CHECKS.items()),
    *(("README.md", number, name, check) for number, (name, check) in enumerate(FRONT_PAGE_CHECKS.items())),
]


def test_every_snippet_of_the_front_page_is_tried() -> None:
    assert len(snippets(REPO / "README.md")) == len(FRONT_PAGE_CHECKS)


@pytest.mark.parametrize(("page", "number", "name", "check"), SNIPPETS)
def test_snippets_of_a_readme_run(
    page: str,
    number: int,
    name: str,
    check: Check,
    people: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = snippets(REPO / page)[number]
    assert f"import {name}" in body
    body = re.sub(r'load\("runs/[^"]*"\)', "load()", body)  # a run that the reader has made before
    utterances, images = (
        sorted((people / kind).rglob(f"*.{end}")) for kind, end in (("wav", "wav"), ("faces", "jpg"))
    )
    for number, file in enumerate(re.findall(r'"([\w.]+\.(?:wav|jpg))"', body)):
        source = (utterances if file.endswith(".wav") else images)[3 * number]
        (tmp_path / file).write_bytes(source.read_bytes())
    if name == "voicestyle":
        fewer_steps(monkeypatch)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(compile(body, line_targets(REPO / page), "exec"), found)
    check(found, tmp_path)


def fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer steps of inversion and guidance, in whatever configuration of voicestyle is read."""
    import voiceface.runtime.config as place

    load = place.load_config

    def fewer(source: Any, model: Any, package: str, words: Any = ()) -> Any:
        return load(source, model, package, [*words, *(FEW_STEPS if package == "voicestyle" else ())])

    monkeypatch.setattr(place, "load_config", fewer)


def train(name: str, cfg: str, people: Path, folder: Path, *changes: str) -> Path:
    """`NAME train`; gives the run folder."""
    words = [
        name,
        "train",
        "--cfg",
        cfg,
        "--data",
        people,
        "--out",
        "run",
        "--device",
        "cpu",
        "--threads",
        "1",
    ]
    run(folder, *words, *changes)
    assert (folder / "run" / "config.yaml").is_file()
    return folder / "run"


@pytest.fixture
def ask(start: Callable[..., Any]) -> Callable[..., str]:
    """Run a command in a process in which everything is imported already; gives what it says."""

    def run_there(name: str, command: str, *words: str | Path) -> str:
        child = start(f"{name}.__main__", command, *words)
        child.join(240)
        assert child.exitcode == 0, child.said()
        return child.said()

    return run_there


@pytest.mark.parametrize("name", ["seeking_shape", "archetype_agnostic", "cmpc2", "fop"])
def test_a_system_that_ranks_is_trained_tested_and_asked(
    name: str, people: Path, tmp_path: Path, ask: Callable[..., str]
) -> None:
    model = train(name, "quick", people, tmp_path, *COMMON_OVERRIDES, *SHORT_TRAINING[name])
    ask(name, "test", "--weights", model, "--data", people, "--out", tmp_path / "test")
    lines = (tmp_path / "test" / "results.txt").read_text().split("\n")
    assert len([line for line in lines if line]) == 10
    voice = next((people / "wav").rglob("*.wav"))
    words = ["--gallery", people / "faces", "--by-folder", "--top", "3", "--report", tmp_path / "match.html"]
    said = ask(name, "match", voice, "--weights", model, *words)
    assert (tmp_path / "match.html").stat().st_size > 10_000
    shown = [who.name for who in (people / "faces").iterdir() if who.name in said]
    assert len(shown) == 3


def small_demo(name: str, out: str, changes: list[str], said: str) -> None:
    """The demo program as it is, with fewer people and a shorter training."""
    import voiceface.runtime.config as config
    import voiceface.synthetic.writer as write

    load, settings = config.load_config, write.build_settings
    sizes = {"train": 10, "val": 2, "test": 4, "clip_seconds": 1.0, "render_size": 32}
    config.load_config = lambda source, model, package, words=(): load(
        source, model, package, [*words, *changes]
    )
    write.build_settings = lambda preset, **more: settings("tiny", **sizes, **more)
    with Path(said).open("w") as file, redirect_stdout(file), redirect_stderr(file):
        raise SystemExit(
            importlib.import_module(f"{name}.__main__").main(["demo", "--out", out, "--workers", "1"])
        )


@pytest.mark.parametrize("name", ["seeking_shape", "archetype_agnostic", "cmpc2"])
def test_the_demo_of_a_system_that_ranks(name: str, tmp_path: Path, processes: Any) -> None:
    told = tmp_path / "told.txt"
    words = (name, str(tmp_path / "demo"), [*COMMON_OVERRIDES, *SHORT_TRAINING[name]], str(told))
    child = processes.Process(target=small_demo, args=words)
    child.start()
    child.join(240)
    assert child.exitcode == 0, told.read_text()
    assert "all pairs of unseen identities" in told.read_text()
    assert f"{name} on synthetic identities" in (tmp_path / "demo" / "report.html").read_text("utf-8")


def test_sf2f_is_trained_tested_and_asked(people: Path, tmp_path: Path, ask: Callable[..., str]) -> None:
    model = train("sf2f", "quick_1st_stage", people, tmp_path, *COMMON_OVERRIDES, *SHORT_TRAINING["sf2f"])
    ask("sf2f", "test", "--weights", model, "--data", people, "--out", tmp_path / "test")
    assert json.loads((tmp_path / "test" / "results.json").read_text())
    voice = next((people / "wav").rglob("*.wav"))
    ask("sf2f", "infer", voice, "--weights", model, "--out", tmp_path / "faces")
    (image,) = (tmp_path / "faces" / "faces").iterdir()
    assert Image.open(image).size == (64, 64) and (tmp_path / "faces" / "index.html").is_file()


def test_perceptionist_is_trained_tested_and_asked(
    people: Path, tmp_path: Path, ask: Callable[..., str]
) -> None:
    model = train(
        "perceptionist",
        "quick_supervised",
        people,
        tmp_path,
        *COMMON_OVERRIDES,
        *SHORT_TRAINING["perceptionist"],
    )
    meshes, evaluation = tmp_path / "meshes", tmp_path / "evaluation"
    ask("perceptionist", "test", "--weights", model, "--data", people, "--out", meshes)
    assert len(list(meshes.rglob("*.obj"))) == 16  # eight people, two clips each
    words = ["--data", people, "--out", evaluation, "--bootstrap-samples", "100"]
    ask("perceptionist", "evaluate", "--predictions", meshes, *words)
    assert json.loads((evaluation / "results.json").read_text())
    who = next((people / "wav").iterdir())
    ask("perceptionist", "demo", who, "--weights", model, "--out", tmp_path / "demo")
    assert len(list((tmp_path / "demo").rglob("*_mesh.png"))) == 2


def test_voicestyle_is_trained_tested_and_asked(
    people: Path, tmp_path: Path, ask: Callable[..., str]
) -> None:
    cmpc = [
        "training.max_steps=2",
        "training.batch_size=4",
        "optimiser.warm_up=1",
        "'clustering.num_clusters=[3]'",
    ]
    model = train(
        *("voicestyle", "quick", people, tmp_path),
        f"training.cmpc2_overrides=[{','.join([*cmpc, 'clustering.start_step=1'])}]",
        "training.stylegan2=quick_stylegan",
        "training.stylegan2_overrides=[training.max_steps=2]",
    )
    words = ["--weights", model, *FEW_STEPS]
    ask("voicestyle", "test", "--data", people, "--num-identities", "2", "--out", tmp_path / "test", *words)
    assert json.loads((tmp_path / "test" / "results.json").read_text())
    voice, face = next((people / "wav").rglob("*.wav")), next((people / "faces").rglob("*.jpg"))
    generated, codes = tmp_path / "generated", tmp_path / "codes"
    ask("voicestyle", "generate", voice, "--bank", people / "faces", "--out", generated, *words)
    (image,) = (generated / "faces").iterdir()
    assert Image.open(image).size == (32, 32) and (generated / "index.html").is_file()
    ask("voicestyle", "invert", face, "--out", codes, *words)
    assert list((codes / "inversions").glob("*.safetensors"))
