"""Training: what a run leaves behind, configurations, exact resumption, kills, two processes, bad input."""

import contextlib
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

import cmpc2
import pytest
import torch
from cmpc2.lookup import read_training_table
from cmpc2.published import read_memory
from voiceface.checkpoint import load_model, load_state
from voiceface.cli import run_main
from voiceface.runlog import WALL_CLOCK_FIELDS

Call = Callable[..., int]
Words = Callable[..., list[str]]
WORDS = ("training.max_iter=8", "training.save_every=3")


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def outcome(run: Path) -> tuple[bytes, bytes, list[dict[str, Any]]]:
    """Bytes of weights and memory, and the log without its clock."""
    plain = [{k: v for k, v in row.items() if k not in WALL_CLOCK_FIELDS} for row in rows(run)]
    return (run / "model.safetensors").read_bytes(), (run / "memory.safetensors").read_bytes(), plain


# what a run does


def test_a_run_leaves_model_memory_and_table(trained: Path) -> None:
    model = cmpc2.load_embedder(trained)
    table, memory = read_training_table(trained / "training.csv"), read_memory(trained / "memory.safetensors")
    assert set(model.names or ()) == {row.identity for row in table} and len(model.names or ()) == 8
    assert "invented people" in model.notice
    assert [len(c) for c in memory.centroids] == [2, 3] and len(memory.assignment[0]) == len(table)
    stored = load_model(trained / "memory.safetensors", system="cmpc2", kind="memory")
    bank = stored.state["bank/face"]
    for centres, places in zip(memory.centroids, memory.assignment):
        assert torch.equal(torch.cdist(bank.double(), centres.double()).argmin(1), places)


def test_terms_appear_with_the_first_clustering_and_stay(trained: Path) -> None:
    found = rows(trained)
    assert [row["prototype"] > 0 for row in found] == [False, False, True, True, True, True]
    assert [row["weight"] < 1 for row in found] == [False, False, True, True, True, True]


def test_published_clusterings_serve_one_iteration(train: Call, tmp_path: Path) -> None:
    words = ["training.max_iter=6", "training.save_every=2"]
    assert train(tmp_path / "run", *words, cfg="published") == 0
    found = rows(tmp_path / "run")
    assert [row["prototype"] > 0 for row in found] == [False, False, True, False, True, False]
    assert (tmp_path / "run" / "checkpoints" / "best.safetensors").is_file()
    lowest = min(row["total_loss"] for row in found if row["step"] % 2 == 1)
    values = load_state(tmp_path / "run" / "state.safetensors")["values"]
    assert values["lowest_loss"] == pytest.approx(lowest, rel=1e-5)


def test_a_validation_list_judges_the_model(train: Call, tmp_path: Path) -> None:
    words = ["training.max_iter=4", "training.validate_every=2", "training.best=validation"]
    assert train(tmp_path / "run", *words) == 0
    judged = [row for row in rows(tmp_path / "run") if "val/accuracy" in row]
    assert [row["step"] for row in judged] == [2, 4]
    trained_on = cmpc2.load_embedder(tmp_path / "run").names
    assert trained_on is not None and len(trained_on) == 8, "those who judge take no part in training"


def test_the_loss_falls(train: Call, tmp_path: Path) -> None:
    """Twenty videos are learnt by heart."""
    words = ["training.max_iter=60", "loss.prototypes=false", "loss.recalibration.enabled=false"]
    words += ["loss.temperature=0.1", "optimiser.max_lr=0.01", "training.save_every=60"]
    assert train(tmp_path / "run", "--splits", "train", *words) == 0
    found = [row["total_loss"] for row in rows(tmp_path / "run")]
    assert sum(found[-5:]) < 0.6 * sum(found[:5])


def test_a_run_can_begin_with_another_model(train: Call, trained: Path, tmp_path: Path) -> None:
    start = trained / "model.safetensors"
    words = ["training.max_iter=3", "optimiser.max_lr=1.0e-9", "optimiser.min_lr=0.0"]
    assert train(tmp_path / "run", "--checkpoint", start, *words) == 0
    first, last = load_model(start).state, load_model(tmp_path / "run" / "model.safetensors").state
    key = "face_subnet.layer2.0.conv1.weight"
    assert torch.allclose(first[key], last[key], atol=1e-6)


def test_published_features_train_through_a_table(
    train: Call, call: Call, people: Path, trained: Path, tmp_path: Path
) -> None:
    assert call("features", people / "wav", "--out", tmp_path / "spec") == 0
    words = ["--table", trained / "training.csv", "--voice-root", tmp_path / "spec"]
    assert train(tmp_path / "run", *words, "training.max_iter=6", "training.save_every=2") == 0
    assert outcome(tmp_path / "run")[0] == outcome(trained)[0], "stored features give the same run"


# bad input


def said_by(train: Call, capsys: Any, *words: str | Path, out: Path, **options: Any) -> str:
    assert train(out, *words, **options) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_more_clusters_than_videos_are_told_before_anything_is_done(
    train: Call, capsys: Any, tmp_path: Path
) -> None:
    said = said_by(train, capsys, "clustering.clusters=[2,500]", out=tmp_path / "run")
    assert "500 clusters of" in said and "ask for fewer, such as" in said and not (tmp_path / "run").exists()


def test_absent_data_and_weights_are_named(train: Call, capsys: Any, tmp_path: Path) -> None:
    assert "no data folder" in said_by(train, capsys, out=tmp_path / "a", data=tmp_path / "nothing")
    said = said_by(train, capsys, "--checkpoint", tmp_path / "no.pth", out=tmp_path / "b")
    assert "--checkpoint: nothing at" in said


def test_other_videos_cannot_go_on_with_a_run(
    train: Call, capsys: Any, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    words = ["--resume", "training.max_iter=6", "training.save_every=2"]
    assert "begun with other training people" in said_by(train, capsys, *words, out=tmp_path / "run")


# kills


def command(words: list[str], errors: str, environment: dict[str, str]) -> None:
    """`cmpc2 train` as the main program of this process, what it says going to a file."""
    os.environ.update(environment, OMP_NUM_THREADS="1")
    torch.set_num_threads(1)
    os.dup2(os.open(errors, os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    raise SystemExit(run_main("cmpc2.train", words))


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
def words_of(people: Path, tiny: tuple[str, ...]) -> Words:
    """Command line of a run into a folder."""

    def words(out: Path, *more: str) -> list[str]:
        where = ["--cfg", "main", "--data", str(people), "--out", str(out), "--device", "cpu"]
        flags, values = [w for w in more if w.startswith("-")], [w for w in more if not w.startswith("-")]
        return [*where, "--threads", "1", *flags, *tiny, *WORDS, *values]

    return words


@pytest.fixture(scope="module")
def whole(words_of: Words, processes: ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert run_main("cmpc2.train", words_of(out)) == 0
    return out


@pytest.fixture
def start(processes: ForkServerContext) -> Iterator[Callable[..., Any]]:
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


def test_the_run_has_something_to_lose(whole: Path) -> None:
    """Banks and clusterings differ from those of a fresh run, so that forgetting them would show."""
    tracked = load_state(whole / "state.safetensors")["tracked"]["memory"]
    assert tracked["clusterings"] is not None and len(tracked["clusterings"]["face"]) == 2
    assert all(row["prototype"] > 0 for row in rows(whole)[2:])


@pytest.mark.parametrize("number", [1, 3])  # the first state, a later one: between two clusterings
def test_killed_inside_a_save_it_ends_the_same(
    whole: Path, start: Callable[..., Any], words_of: Words, tmp_path: Path, number: int
) -> None:
    out, errors = tmp_path / "run", tmp_path / "errors"
    child = start(die_in_save, words_of(out), str(errors), number)
    child.join(120)
    assert child.exitcode == -signal.SIGKILL, errors.read_text()
    assert run_main("cmpc2.train", words_of(out, "--resume")) == 0
    assert outcome(out) == outcome(whole)


def test_killed_at_a_random_moment_it_ends_the_same(
    whole: Path, start: Callable[..., Any], words_of: Words, tmp_path: Path
) -> None:
    out, errors, draw = tmp_path / "run", str(tmp_path / "errors"), random.Random()
    for _ in range(20):
        child = start(command, words_of(out, *(["--resume"] if out.exists() else [])), errors, {})
        deadline = time.monotonic() + 60
        while child.is_alive() and time.monotonic() < deadline and not (out / "log.jsonl").exists():
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.3))
        child.kill()
        child.join()
        if child.exitcode == -signal.SIGKILL:
            break
        shutil.rmtree(out)  # it was done before the kill came
    assert run_main("cmpc2.train", words_of(out, "--resume")) == 0
    assert outcome(out) == outcome(whole)


def test_a_finished_run_resumed_stays_as_it_is(whole: Path, words_of: Words) -> None:
    before = outcome(whole)
    assert run_main("cmpc2.train", words_of(whole, "--resume")) == 0
    assert outcome(whole) == before


# two processes


def port() -> int:
    """One that nobody listens on."""
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_two_processes_take_the_steps_of_one(
    start: Callable[..., Any], words_of: Words, tmp_path: Path
) -> None:
    """Negatives, banks, clusterings and batch statistics are those of the whole batch."""
    slow = ("optimiser.max_lr=0.0005", "training.max_iter=5", "clustering.start=1")
    out, alone, errors = tmp_path / "run", tmp_path / "alone", tmp_path / "errors"
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port())}
    children = [
        start(command, words_of(out, *slow), str(errors), {**group, "RANK": rank, "LOCAL_RANK": rank})
        for rank in "01"
    ]
    for child in children:
        child.join(180)
        assert child.exitcode == 0, errors.read_text()
    assert run_main("cmpc2.train", words_of(alone, *slow)) == 0
    ours, theirs = outcome(out)[2], outcome(alone)[2]
    assert ours[-1]["prototype"] > 0
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, rel=2e-3, abs=1e-5)
    a, b = (load_model(path / "memory.safetensors").state["bank/face"] for path in (out, alone))
    assert torch.allclose(a, b, atol=1e-3)
