"""The synthetic population in the original layouts, and processes for runs that are killed."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_processes import run_command
from training_cycle import TrainingCycle
from voiceface.testing.fault_injection import preloaded_processes, process_starter
from voiceface.testing.runs import use_one_thread

SYSTEMS = ("seeking_shape", "archetype_agnostic", "cmpc2", "sf2f", "perceptionist", "voicestyle")
# Writers of published files that the tests of the packages use as well.
sys.path += [str(Path(__file__).parents[2] / "packages" / system / "tests") for system in SYSTEMS]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full-size", action="store_true", help="published widths and batch sizes; hours, and 24 GiB"
    )
    parser.addoption(
        "--batch-size", type=int, help="with --full-size: batches of this size instead of the published ones"
    )


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Runs are compared byte by byte."""
    use_one_thread()


@pytest.fixture(scope="session")
def full_size(request: pytest.FixtureRequest) -> bool:
    """Whether networks and batches keep their published sizes."""
    return request.config.getoption("--full-size")


@pytest.fixture(scope="session")
def population(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 training, 4 validation and 6 test identities with trial lists, images by video, and heads."""
    from voiceface.synthetic.writer import write_population

    out = tmp_path_factory.mktemp("population") / "population"
    numbers = {"train": 10, "val": 4, "test": 6, "clip_seconds": 2.0}
    return write_population(out, "tiny", workers=1, progress=False, mesh=True, second_view=True, **numbers)


@pytest.fixture(scope="session")
def training_population(population: Path, full_size: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same; with --full-size, with 64 training identities, which fill batches of the published sizes."""
    from voiceface.synthetic.writer import write_population

    if not full_size:
        return population
    out = tmp_path_factory.mktemp("population") / "large"
    numbers = {"train": 64, "val": 4, "test": 6, "clip_seconds": 2.0}
    return write_population(out, "tiny", workers=1, progress=False, second_view=True, **numbers)


@pytest.fixture(scope="session")
def starter() -> Iterator[Callable[..., Any]]:
    """Starts functions in processes that have the training commands of all systems imported."""
    modules = [f"{system}.train" for system in SYSTEMS]
    with process_starter(preloaded_processes(*modules)) as start:
        yield start


@pytest.fixture
def cycle(
    starter: Callable[..., Any], full_size: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[..., Path]:
    """Train, kill, resume and lengthen a run: see `TrainingCycle.run`."""
    batch_size = request.config.getoption("--batch-size")

    def run(cycle: TrainingCycle) -> Path:
        return cycle.run(starter, tmp_path, full_size=full_size, batch_size=batch_size)

    return run


@pytest.fixture
def working_folder(tmp_path: Path) -> Iterator[Path]:
    """Empty folder that is removed at the end; published checkpoints take gigabytes."""
    folder = tmp_path / "work"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def launch(starter: Callable[..., Any], tmp_path: Path) -> Callable[[str, list[str], Path], str]:
    """Run a module's `main` or a script in a process of its own, in a folder; returns its output."""

    def run(module: str, words: list[str], folder: Path) -> str:
        log = tmp_path / f"log_{len(list(tmp_path.glob('log_*')))}.txt"
        child = starter(run_command, module, words, str(log), str(folder))
        child.join(1800)
        child.kill()
        output = log.read_text() if log.is_file() else ""
        assert child.exitcode == 0, f"{module} {' '.join(words)}\n{output[-4000:]}"
        return output

    return run
