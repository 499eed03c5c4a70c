"""Runs that are killed, stopped, or shared by two processes: they end like one that was left alone."""

import contextlib
import errno
import json
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
from voiceface import files
from voiceface.checkpoint import load_model
from voiceface.cli import run_main
from voiceface.runlog import WALL_CLOCK_FIELDS

Call = Callable[..., int]
STEPS = 8
WORDS = (
    f"training.max_iter={STEPS}",
    "training.save_every=3",
    "training.validate_every=4",
    "training.validate_from=4",
    "weights.warm_up=2",
    "weights.update_every=2",
)


def outcome(run: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """Bytes of the weights, and the log without its clock."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    plain = [{key: value for key, value in row.items() if key not in WALL_CLOCK_FIELDS} for row in rows]
    return (run / "model.safetensors").read_bytes(), plain


def command(words: list[str], errors: str, environment: dict[str, str]) -> None:
    """`seeking_shape train` as the main program of this process, what it says going to a file."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    os.dup2(os.open(errors, os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    raise SystemExit(run_main("seeking_shape.train", words))


def die_in_save(words: list[str], errors: str, number: int) -> None:
    """The same, killed half way through the `number`-th checkpoint or state it writes."""
    write, count = Path.write_bytes, iter(range(1000))

    def half(path: Path, data: bytes) -> int:
        if path.suffix == ".safetensors" and next(count) == number:
            write(path, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(path, data)

    Path.write_bytes = half  # type: ignore[method-assign,assignment]
    command(words, errors, {})


@pytest.fixture(scope="module")
def words_of(people: Path, tiny: tuple[str, ...]) -> Callable[..., list[str]]:
    """Command line of a run into a folder."""

    def words(out: Path, *more: str) -> list[str]:
        where = [
            "--cfg",
            "reweight",
            "--data",
            str(people),
            "--out",
            str(out),
            "--device",
            "cpu",
            "--threads",
            "1",
        ]
        flags, values = [w for w in more if w.startswith("-")], [w for w in more if not w.startswith("-")]
        return [*where, *flags, *tiny, *WORDS, *values]

    return words


@pytest.fixture(scope="module")
def whole(
    words_of: Callable[..., list[str]], processes: ForkServerContext, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run that nothing happened to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert run_main("seeking_shape.train", words_of(out)) == 0
    return out


@pytest.fixture
def start(processes: ForkServerContext, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start a function in a process of its own; whatever still runs is killed at the end."""
    started = []

    def run(function: Callable[..., None], *arguments: Any) -> Any:
        child = processes.Process(target=function, args=arguments)
        started.append(child)
        child.start()
        return child

    yield run
    for child in started:
        child.kill()
        child.join()


def wait_for(condition: Callable[[], bool], child: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and child.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)


def logged(out: Path) -> int:
    """Bytes of the log so far."""
    log = out / "log.jsonl"
    return log.stat().st_size if log.exists() else 0


def test_killed_at_random_moments_it_ends_the_same(
    whole: Path, start: Callable[..., Any], words_of: Callable[..., list[str]], tmp_path: Path
) -> None:
    out, errors, draw = tmp_path / "run", str(tmp_path / "errors"), random.Random()
    kills = 0
    for _ in range(20):
        more = ["--resume"] if out.exists() else []
        child, before = start(command, words_of(out, *more), errors, {}), logged(out)
        wait_for(lambda before=before: logged(out) > before, child)  # type: ignore[misc]
        time.sleep(draw.uniform(0, 0.15))
        child.kill()
        child.join()
        if child.exitcode == -signal.SIGKILL:
            kills += 1
        else:  # it was done before the kill came
            shutil.rmtree(out)
        if kills == 2:
            break
    assert kills, Path(errors).read_text()
    assert run_main("seeking_shape.train", words_of(out, "--resume")) == 0
    assert outcome(out) == outcome(whole)


@pytest.mark.parametrize("number", [1, 4, 5])  # first state, a later model file, a later state
def test_killed_inside_a_save_it_ends_the_same(
    whole: Path, start: Callable[..., Any], words_of: Callable[..., list[str]], tmp_path: Path, number: int
) -> None:
    out, errors = tmp_path / "run", tmp_path / "errors"
    child = start(die_in_save, words_of(out), str(errors), number)
    child.join(120)
    assert child.exitcode == -signal.SIGKILL, errors.read_text()
    assert list(out.rglob(".*.part*")), "the kill left no half-written file: it came at the wrong moment"
    assert run_main("seeking_shape.train", words_of(out, "--resume")) == 0
    assert outcome(out) == outcome(whole)
    assert not list(out.rglob(".*.part*"))


def test_ctrl_c_saves_and_says_how_to_go_on(
    whole: Path, start: Callable[..., Any], words_of: Callable[..., list[str]], tmp_path: Path
) -> None:
    out, errors = tmp_path / "run", tmp_path / "errors"
    child = start(command, words_of(out), str(errors), {})
    wait_for(lambda: logged(out) > 0, child)
    os.kill(child.pid, signal.SIGINT)
    child.join(60)
    said = errors.read_text()
    assert child.exitcode == 130, said
    assert "stopped by SIGINT" in said and "--resume" in said and "Traceback" not in said
    assert not (out / "model.safetensors").exists()
    assert run_main("seeking_shape.train", words_of(out, "--resume")) == 0
    assert outcome(out) == outcome(whole)


def test_a_finished_run_resumed_stays_as_it_is(
    whole: Path, words_of: Callable[..., list[str]], tmp_path: Path
) -> None:
    before = outcome(whole)
    assert run_main("seeking_shape.train", words_of(whole, "--resume")) == 0
    assert outcome(whole) == before


def test_loader_processes_change_nothing(
    whole: Path, words_of: Callable[..., list[str]], tmp_path: Path
) -> None:
    words = words_of(tmp_path / "run", "training.workers=2", "data.in_memory=false")
    assert run_main("seeking_shape.train", words) == 0
    ours, theirs = load_model(tmp_path / "run" / "model.safetensors"), load_model(whole / "model.safetensors")
    assert all(torch.equal(theirs.state[key], value) for key, value in ours.state.items())
    assert outcome(tmp_path / "run")[1] == outcome(whole)[1]


def test_resumed_without_its_start_weights_it_knows_where_it_came_from(
    words_of: Callable[..., list[str]], id_weights: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "run"
    fixed = ["weights.update_every=-1"]
    words = words_of(out, *fixed)
    assert run_main("seeking_shape.train", ["--id-weights", str(id_weights), *words]) == 0
    before = outcome(out)
    assert run_main("seeking_shape.train", words_of(out, "--resume", *fixed)) == 0
    assert outcome(out) == before


def test_another_configuration_is_no_resumption(
    whole: Path, words_of: Callable[..., list[str]], capsys: Any
) -> None:
    before = outcome(whole)
    assert run_main("seeking_shape.train", words_of(whole, "--resume", "optimiser.lr=0.5")) == 1
    message = capsys.readouterr().err
    assert "optimiser.lr: 0.01 there, 0.5 now" in message and "another --out" in message
    assert outcome(whole) == before


def test_a_full_disk_is_told_and_the_run_goes_on_later(
    whole: Path, words_of: Callable[..., list[str]], tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    out, count, write = tmp_path / "run", iter(range(1000)), files.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.suffix == ".safetensors" and next(count) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(data) if Path(path).open("wb").write(data) else 0

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert run_main("seeking_shape.train", words_of(out)) == 1
    said = capsys.readouterr().err
    assert "No space left on device" in said and "--resume" in said and "Traceback" not in said
    assert write is files.write_bytes and not list(out.rglob(".*.part*"))
    assert run_main("seeking_shape.train", words_of(out, "--resume")) == 0
    assert outcome(out) == outcome(whole)


def test_two_processes_take_the_steps_of_one(
    start: Callable[..., Any], words_of: Callable[..., list[str]], tmp_path: Path
) -> None:
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    alone, out, errors = tmp_path / "alone", tmp_path / "run", tmp_path / "errors"
    slow = (
        "optimiser.lr=0.001"  # rounding may switch a single ReLU over, which must not grow into a difference
    )
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    children = [
        start(command, words_of(out, slow), str(errors), {**group, "RANK": rank, "LOCAL_RANK": rank})
        for rank in "01"
    ]
    assert run_main("seeking_shape.train", words_of(alone, slow)) == 0
    for child in children:
        child.join(180)
        assert child.exitcode == 0, errors.read_text()
    (_, ours), (_, theirs) = outcome(out), outcome(alone)
    assert [row.keys() for row in ours] == [row.keys() for row in theirs]
    for mine, other in zip(ours, theirs):
        assert mine == pytest.approx(other, rel=2e-5, abs=2e-6)
    first, mine, other = (
        load_model(path).state
        for path in (
            alone / "checkpoints" / "step_000001.safetensors",
            out / "model.safetensors",
            alone / "model.safetensors",
        )
    )
    moved = max(float((other[key] - first[key]).abs().max()) for key in other if key.startswith("V."))
    assert moved > 1e-3
    for key, value in other.items():
        assert torch.allclose(mine[key], value, rtol=1e-4, atol=1e-5), key
