"""Command lines of the pages are executed on tiny data, page by page, each in its own folder."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_lines import REPO, CommandLine, find_command_lines, resolve_command
from command_processes import run_command
from command_runs import NOT_RUN, prepare_run, reason_not_to_run

PAGES = [
    *(REPO / "shared" / "README.md", REPO / "third_party" / "README.md"),
    # tests/published executes the whole page reproducing.md.
    *sorted(path for path in (REPO / "docs").glob("*.md") if path.name != "reproducing.md"),
    *sorted((REPO / "packages").glob("*/README.md")),
]
# Names of data folders on the pages.
DATA_NAMES = ("DATA", "VOX1", "HQ", "population", "people", "data/quick", "data/faces")


def complete_lines(page: Path) -> list[CommandLine]:
    """Lines of a page that can be typed as they are and start a command of this repository."""
    lines = [line for line in find_command_lines(page) if line.is_complete]
    known = []
    for line in lines:
        try:
            known += [line] if resolve_command(line.words) is not None else []
        except LookupError:
            continue  # a drawing that begins with a program's name; test_integration_readme reports commands
    return known


def runnable_pages() -> list[Path]:
    return [
        page
        for page in PAGES
        if any(reason_not_to_run(" ".join(line.words)) is None for line in complete_lines(page))
    ]


def page_name(page: Path) -> str:
    return page.relative_to(REPO).as_posix()


@pytest.fixture(scope="module")
def population(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny population with all that the pages read: images by video, meshes, trial lists."""
    from voiceface.synthetic.writer import write_population

    out = tmp_path_factory.mktemp("population") / "tiny"
    return write_population(out, "tiny", workers=1, progress=False, mesh=True, second_view=True)


@pytest.fixture(scope="module")
def evaluated(population: Path, tmp_path_factory: pytest.TempPathFactory, launch: Callable[..., Any]) -> Path:
    """Output of `seeking_shape test` and `embed`, and of `voiceface encode`, for lines that read results."""
    folder = tmp_path_factory.mktemp("evaluated")
    launch("seeking_shape.__main__", ["test", "--data", str(population), "--out", "test"], folder)
    encoders = ["--voice-encoder", "cmpc2", "--face-encoder", "cmpc2"]
    words = ["encode", "--data", str(population), *encoders, "--out", "FEATURES"]
    launch("voiceface.__main__", words, folder)
    picture = folder / "faces" / "p1" / "0.jpg"
    picture.parent.mkdir(parents=True)
    shutil.copy(next((population / "faces").rglob("*.jpg")), picture)
    launch("seeking_shape.__main__", ["embed", "faces", "--out", "more.npz"], folder)
    return folder


@pytest.fixture(scope="module")
def launch(processes: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run a module's `main` in a process that has everything imported; gives its output."""
    logs = tmp_path_factory.mktemp("logs")

    def run(module: str, argv: list[str], folder: Path) -> str:
        log = logs / f"{len(list(logs.iterdir()))}.txt"
        child = processes.Process(target=run_command, args=(module, argv, str(log), str(folder)))
        child.start()
        child.join(240)
        child.kill()
        output = log.read_text()
        assert child.exitcode == 0, f"{module} {' '.join(argv)}\n{output[-3000:]}"
        return output

    return run


def lay_out(folder: Path, population: Path, evaluated: Path) -> None:
    """Everything that lines of pages read, under the names that they use."""
    for name in DATA_NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(population, folder / name, copy_function=os.link)
    clips = sorted((population / "wav").rglob("*.wav"))
    images = sorted((population / "faces").rglob("*.jpg"))
    for name in ("voice.wav", "voice.flac"):
        shutil.copy(clips[0], folder / name)
    shutil.copy(images[0], folder / "face.jpg")
    for name, source in {
        **dict.fromkeys(("clips", "voices", "recordings"), population / "wav"),
        **dict.fromkeys(("faces", "FACES", "PICTURES", "IMAGES", "DIR"), population / "faces"),
    }.items():
        shutil.copytree(source, folder / name, copy_function=os.link)
    shutil.copytree(population / "wav", folder / "DIR", copy_function=os.link, dirs_exist_ok=True)
    for name in ("voices.npz", "faces.npz"):
        shutil.copy(evaluated / "test" / name, folder / name)
        shutil.copy(evaluated / "test" / name, folder / f"{name[0].upper()}.npz")
    shutil.copy(evaluated / "more.npz", folder / "more.npz")
    shutil.copy(population / "list_wav" / "match_v2f_2_test.txt", folder / "LIST.txt")
    shutil.copy(population / "list_wav" / "vox1_test.csv", folder / "TABLE.csv")
    bundled = REPO / "packages" / "seeking_shape" / "src" / "seeking_shape" / "weights"
    shutil.copy(next(bundled.glob("*.safetensors")), folder / "FILE.safetensors")
    shutil.copytree(evaluated / "FEATURES", folder / "FEATURES")
    for name in ("test_a", "test_b", "a", "b", "c", "d"):
        shutil.copytree(evaluated / "test", folder / "runs" / name)


@pytest.mark.parametrize("page", runnable_pages(), ids=page_name)
def test_command_lines_do_their_work(
    page: Path, population: Path, evaluated: Path, launch: Callable[..., str], tmp_path: Path
) -> None:
    if page.name == "perceptionist.md":  # goes on with a run of the README of the package
        bundled = REPO / "packages" / "perceptionist" / "src" / "perceptionist" / "weights"
        (tmp_path / "runs" / "first").mkdir(parents=True)
        shutil.copy(bundled / "population.safetensors", tmp_path / "runs" / "first" / "model.safetensors")
    lay_out(tmp_path, population, evaluated)
    inputs = dict.fromkeys(DATA_NAMES)
    for line in complete_lines(page):
        if reason_not_to_run(" ".join(line.words)):
            continue
        run = prepare_run(line.words, tmp_path, inputs)
        if run.out and (tmp_path / run.out).is_dir() and "--resume" not in run.words:
            shutil.rmtree(tmp_path / run.out)  # of an earlier line
        target = resolve_command(run.words)
        assert target is not None
        place, words = target
        if run.words[:2] == ("voiceface", "population"):
            shutil.rmtree(tmp_path / words[0], ignore_errors=True)
        launch(str(place), words, tmp_path)
        if run.out:
            out = tmp_path / run.out  # a name *.onnx stands for several files
            written = out.exists() or (out.suffix == ".onnx" and any(tmp_path.glob(f"{out.stem}_*.onnx")))
            assert written, f"{line} writes no {run.out}"


def test_reasons_belong_to_lines() -> None:
    pages = [*PAGES, REPO / "tests" / "parity" / "README.md"]
    lines = [" ".join(line.words) for page in pages for line in complete_lines(page)]
    matched = {reason_not_to_run(line) for line in lines}
    assert matched >= set(NOT_RUN.values()), set(NOT_RUN.values()) - matched
    assert sum(reason_not_to_run(line) is None for line in lines) >= 60
