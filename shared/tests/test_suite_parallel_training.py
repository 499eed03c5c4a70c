"""Concurrent training of systems in processes: failures, stopping, progress."""

import signal
import subprocess
import sys
import time

import pytest
from voiceface.suite import parallel_training

TRAINING = """
import pathlib, signal, sys, time
name, _, population, _, out, _, device = sys.argv[1:]
out = pathlib.Path(out); out.mkdir(parents=True, exist_ok=True)
if name == "bad":
    print("no such thing"); raise SystemExit(3)
def save(*_):
    (out / "state").write_text("saved"); raise SystemExit(143)
signal.signal(signal.SIGTERM, save)
(out / "started").touch()
if name == "long" and not (out / "state").exists():
    time.sleep(60)
(out / "run.txt").write_text(f"{out / 'main'}\\n")
"""


@pytest.fixture
def command(tmp_path, monkeypatch) -> list[str]:
    monkeypatch.setattr(parallel_training, "PROGRESS_INTERVAL", 0.1)
    (tmp_path / "train.py").write_text(TRAINING)
    return [sys.executable, str(tmp_path / "train.py")]


def test_trainings_run_concurrently_and_a_failure_names_its_log(tmp_path, command):
    lines: list[str] = []
    runs = parallel_training.train_systems(
        ["a", "b", "c"], tmp_path, tmp_path, jobs=2, command=command, on_progress=lines.append
    )
    assert runs == {name: tmp_path / name / "main" for name in "abc"} and len(lines) >= 3
    with pytest.raises(ValueError, match=r"bad: .*code 3 \(no such thing\); see .*bad.txt"):
        parallel_training.train_systems(["bad", "d"], tmp_path, tmp_path, command=command)
    assert (tmp_path / "d" / "run.txt").is_file()


def test_a_stopped_training_saves_and_resumes(tmp_path, command):
    def stop(text: str) -> None:
        if "stopping" not in text and (tmp_path / "long" / "started").exists():
            raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        parallel_training.train_systems(["long"], tmp_path, tmp_path, command=command, on_progress=stop)
    assert (tmp_path / "long" / "state").read_text() == "saved" and time.monotonic() - start < 30
    assert (
        parallel_training.train_systems(["long"], tmp_path, tmp_path, command=command)["long"]
        == tmp_path / "long" / "main"
    )


def test_other_work_goes_on_while_a_core_is_free(tmp_path, command):
    done: list[int] = []

    def work():
        for step in range(3):
            done.append(len(list(tmp_path.glob("*/started"))))
            yield step

    steps = work()
    # The second training waits for the only process: no core is free.
    parallel_training.train_systems(["a", "b"], tmp_path, tmp_path, jobs=1, command=command, meanwhile=steps)
    assert not done
    (tmp_path / "a" / "run.txt").unlink()
    parallel_training.train_systems(["a"], tmp_path, tmp_path, jobs=2, command=command, meanwhile=steps)
    assert done and len(done) + len(list(steps)) <= 4  # what is left of it is left to the caller


def test_an_error_of_the_other_work_stops_the_trainings(tmp_path, command):
    def work():
        while not (tmp_path / "long" / "started").exists():
            yield time.sleep(0.05)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        parallel_training.train_systems(["long"], tmp_path, tmp_path, command=command, meanwhile=work())
    assert (tmp_path / "long" / "state").read_text() == "saved"


def test_a_training_exits_when_its_parent_process_is_gone():
    code = (
        "import threading, time, voiceface.suite.parallel_training as t; "
        "threading.Thread(target=t._exit_with_parent, daemon=True).start(); time.sleep(SECONDS)"
    )
    long, short = (
        subprocess.Popen([sys.executable, "-c", code.replace("SECONDS", wait)], stdin=subprocess.PIPE)
        for wait in ("60", "0.2")
    )
    long.stdin.close()
    assert long.wait(30) == -signal.SIGTERM
    assert short.wait(30) == 0  # a finished one ends normally


def test_progress_is_the_last_logged_step_of_the_current_run(tmp_path):
    assert parallel_training.describe_progress(tmp_path / "a") == "a: starting"
    (tmp_path / "a" / "main").mkdir(parents=True)
    (tmp_path / "a" / "main" / "log.jsonl").write_text('{"step": 4}\n{"step": 9}\n')
    assert parallel_training.describe_progress(tmp_path / "a") == "a: main step 9"
