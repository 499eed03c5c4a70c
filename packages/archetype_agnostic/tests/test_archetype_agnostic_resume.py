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
from voiceface.checkpoint import load_model
from voiceface.cli import run_main
from voiceface.runlog import WALL_CLOCK_FIELDS
from voiceface.training import Run

Call = Callable[..., int]
Words = Callable[..., list[str]]
STEPS = 8
WORDS = (
    f"training.max_iter={STEPS}",
    "training.save_every=3",
    "training.validate_every=4",
    "training.validate_from=4",
    "regauging.start=3",
    "regauging.trusted=-1.0",  # a fresh network has loose pairs, too
    "equilibrium.warm_up=2",
    "equilibrium.update_every=5",  # a refresh before step 5: counters are full at every save before
)


def outcome(run: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """Bytes of the weights, and the log without its clock."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    plain = [{key: value for key, value in row.items() if key not in WALL_CLOCK_FIELDS} for row in rows]
    return (run / "model.safetensors").read_bytes(), plain


def command(words: list[str], errors: str, environment: dict[str, str]) -> None:
    """`archetype_agnostic train` as the main program of this process, what it says going to a file."""
    os.environ.update(environment, OMP_NUM_THREADS="1")
    torch.set_num_threads(1)
    os.dup2(os.open(errors, os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    raise SystemExit(run_main("archetype_agnostic.train", words))


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


def train(words: list[str]) -> int:
    """`archetype_agnostic train` in this process."""
    return run_main("archetype_agnostic.train", words)


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
    assert train(words_of(out)) == 0
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


def test_the_run_has_something_to_lose(whole: Path) -> None:
    """Counters, weights and terms differ between its saves, so that forgetting one of them would show."""
    states = [
        load_model(whole / "checkpoints" / f"step_{step:06d}.safetensors").state for step in (1, 3, 6, 8)
    ]
    for key in ("eqm.corr_num", "eqm.compare_sum"):
        assert len({tuple(state[key].tolist()) for state in states}) == 4
    assert (states[1]["eqm.weight"] == 1).all() and states[2]["eqm.weight"].unique().numel() > 2
    assert all(row["trip_cross"] > 0 for row in outcome(whole)[1] if "trip_cross" in row)


def test_killed_at_random_moments_it_ends_the_same(
    whole: Path, start: Callable[..., Any], words_of: Words, tmp_path: Path
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
    assert train(words_of(out, "--resume")) == 0
    assert outcome(out) == outcome(whole)


@pytest.mark.parametrize("number", [1, 2, 5])  # first state, a later model file, a later state
def test_killed_inside_a_save_it_ends_the_same(
    whole: Path, start: Callable[..., Any], words_of: Words, tmp_path: Path, number: int
) -> None:
    out, errors = tmp_path / "run", tmp_path / "errors"
    child = start(die_in_save, words_of(out), str(errors), number)
    child.join(120)
    assert child.exitcode == -signal.SIGKILL, errors.read_text()
    assert list(out.rglob(".*.part*")), "the kill left no half-written file: it came at the wrong moment"
    assert train(words_of(out, "--resume")) == 0
    assert outcome(out) == outcome(whole)
    assert not list(out.rglob(".*.part*"))


def test_ctrl_c_saves_and_says_how_to_go_on(
    whole: Path, start: Callable[..., Any], words_of: Words, tmp_path: Path
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
    assert train(words_of(out, "--resume")) == 0
    assert outcome(out) == outcome(whole)


def test_a_full_disk_is_told_and_the_run_goes_on_later(
    whole: Path, words_of: Words, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    out, count = tmp_path / "run", iter(range(1000))

    def full(path: Path, data: bytes) -> int:
        if path.suffix == ".safetensors" and next(count) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(data) if path.open("wb").write(data) else 0

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert train(words_of(out)) == 1
    said = capsys.readouterr().err
    assert "No space left on device" in said and "--resume" in said and "Traceback" not in said
    assert not list(out.rglob(".*.part*"))
    assert train(words_of(out, "--resume")) == 0
    assert outcome(out) == outcome(whole)


def test_a_finished_run_resumed_stays_as_it_is(whole: Path, words_of: Words) -> None:
    before = outcome(whole)
    assert train(words_of(whole, "--resume")) == 0
    assert outcome(whole) == before


def test_a_run_that_goes_on_by_patience_is_resumed_the_same(words_of: Words, tmp_path: Path) -> None:
    """Cut off after the validation that ends it, it must still know of it."""
    words = ["stopping.rule=patience", "stopping.window=2", "training.max_iter=5", "training.batch_size=2"]
    words += ["optimiser.lr=1.0e-12"]  # accuracies stay: the second validation ends the run, in its epoch
    alone, out = tmp_path / "alone", tmp_path / "run"
    assert train(words_of(alone, *words)) == 0
    steps = [row["step"] for row in outcome(alone)[1] if "total_loss" in row]
    assert steps == list(range(10))  # validated before 4 and 8, five steps an epoch

    class Stop(Exception):
        """Ends the run as a power cut would."""

    plain = Run.log

    def log(run: Run, step: int, *values: Any, **options: Any) -> None:
        plain(run, step, *values, **options)
        if step == 9:  # saved after nine steps, the last time
            raise Stop

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Run, "log", log)
        train(words_of(out, *words))
    assert train(words_of(out, "--resume", *words)) == 0
    assert outcome(out) == outcome(alone)


def test_loader_processes_change_nothing(whole: Path, words_of: Words, tmp_path: Path) -> None:
    words = words_of(tmp_path / "run", "training.workers=2", "data.in_memory=false")
    assert train(words) == 0
    ours, theirs = load_model(tmp_path / "run" / "model.safetensors"), load_model(whole / "model.safetensors")
    assert all(torch.equal(theirs.state[key], value) for key, value in ours.state.items())
    assert outcome(tmp_path / "run")[1] == outcome(whole)[1]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("optimiser.lr=0.5", "optimiser.lr: 0.01 there, 0.5 now"),
        ("equilibrium.count=last_window", "equilibrium.count: 'always' there, 'last_window' now"),
        ("regauging.start=4", "regauging.start: 3 there, 4 now"),
    ],
)
def test_another_configuration_is_no_resumption(
    whole: Path, words_of: Words, capsys: Any, word: str, said: str
) -> None:
    before = outcome(whole)
    assert train(words_of(whole, "--resume", word)) == 1
    message = capsys.readouterr().err
    assert said in message and "another --out" in message
    assert outcome(whole) == before


# two processes


def port() -> int:
    """One that nobody listens on."""
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def two(start: Callable[..., Any], function: Callable[..., None], words: list[str], errors: Path) -> None:
    """A command in two processes that talk to each other; both must end well."""
    group = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port()),
        "OMP_NUM_THREADS": "1",
    }
    ranks = [{**group, "RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
    children = [start(function, words, str(errors), rank) for rank in ranks]
    for child in children:
        child.join(180)
        assert child.exitcode == 0, errors.read_text()


SLOW = "optimiser.lr=0.001"  # rounding may switch a single ReLU over, which must not grow into a difference


def test_two_processes_take_the_steps_of_one(
    start: Callable[..., Any], words_of: Words, tmp_path: Path
) -> None:
    alone, out = tmp_path / "alone", tmp_path / "run"
    two(start, command, words_of(out, SLOW), tmp_path / "errors")
    assert train(words_of(alone, SLOW)) == 0
    (_, ours), (_, theirs) = outcome(out), outcome(alone)
    assert [row.keys() for row in ours] == [row.keys() for row in theirs]
    for mine, other in zip(ours, theirs):
        assert mine == pytest.approx(other, rel=1e-4, abs=2e-6)
    first, mine, other = (
        load_model(path).state
        for path in (
            alone / "checkpoints" / "step_000001.safetensors",
            out / "model.safetensors",
            alone / "model.safetensors",
        )
    )
    for branch in ("aNet.", "vNet."):
        moved = max(float((other[key] - first[key]).abs().max()) for key in other if key.startswith(branch))
        assert moved > 1e-3
    for key, value in other.items():
        assert torch.allclose(mine[key], value, rtol=1e-4, atol=1e-5), key


def keep_counters(words: list[str], errors: str, environment: dict[str, str]) -> None:
    """`command`, each process leaving its own identity weights and counters beside the log of errors."""
    from archetype_agnostic.equilibrium import Equilibrium

    plain = Equilibrium.observe

    def observe(eqm: Equilibrium, *counts: torch.Tensor) -> None:
        plain(eqm, *counts)
        kept = {name: value.tolist() for name, value in eqm.state_dict().items()}
        Path(f"{errors}.{environment['RANK']}").write_text(json.dumps(kept))

    Equilibrium.observe = observe  # type: ignore[method-assign,assignment]
    command(words, errors, environment)


def test_processes_that_compare_their_own_rows_share_their_counts(
    start: Callable[..., Any], words_of: Words, tmp_path: Path
) -> None:
    out, errors = tmp_path / "run", tmp_path / "errors"
    two(start, keep_counters, words_of(out, SLOW, "loss.negatives=own"), errors)
    mine, other = (json.loads(Path(f"{errors}.{rank}").read_text()) for rank in "01")
    assert mine == other
    # since the refresh before step 5: three steps of two processes with four rows each, three negatives a row
    assert sum(mine["compare_sum"]) == 3 * 8 * 3
    saved = load_model(out / "model.safetensors").state
    assert saved["eqm.compare_sum"].tolist() == mine["compare_sum"]
    assert saved["eqm.corr_num"].tolist() == mine["corr_num"]
    assert saved["eqm.weight"].unique().numel() > 2
    rows = [row for row in outcome(out)[1] if "trip_cross" in row]
    assert len(rows) == STEPS - 3 and all(row["trip_cross"] > 0 for row in rows)
