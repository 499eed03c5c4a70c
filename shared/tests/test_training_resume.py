"""Resuming a training run: killed at any moment, stopped, with a full disk, to more steps."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from tiny_training import Points, die_at_step, die_in_write, in_child, outcome, train
from torch import nn
from voiceface.checkpoints.resume_state import load_state
from voiceface.io import atomic
from voiceface.training.run import Run
from voiceface.training.run_directory import RunError


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    train(out)
    return outcome(out)


def test_same_seed_same_run_for_any_workers(uninterrupted, tmp_path):
    train(tmp_path / "run", workers=2)
    assert outcome(tmp_path / "run") == uninterrupted
    lines = uninterrupted[0]
    assert [line["step"] for line in lines if "loss" in line] == [0, 2, 4, 6, 8, 10, 11]
    assert [line["step"] for line in lines if "val/best" in line] == [4, 8]
    assert {"step_000001_model.safetensors", "step_000012_critic.safetensors"} < set(uninterrupted[1])


@pytest.mark.parametrize("number", [0, 1, 5, 11])
def test_killed_in_a_step_and_resumed_ends_the_same(uninterrupted, tmp_path, number):
    out = tmp_path / "run"
    assert in_child(die_at_step, out, False, number) == -signal.SIGKILL
    train(out, resume=True)
    assert outcome(out) == uninterrupted


@pytest.mark.parametrize(
    ("number", "place"),
    [
        (0, "half"),
        (0, "after"),
        (1, "half"),
        (3, "half"),
        (3, "before"),
        (3, "after"),
        (6, "before"),
        (7, "half"),
    ],
)
def test_killed_in_a_save_and_resumed_ends_the_same(uninterrupted, tmp_path, number, place):
    out = tmp_path / "run"
    assert in_child(die_in_write, out, False, number, place) == -signal.SIGKILL
    train(out, resume=True)
    assert outcome(out) == uninterrupted
    assert not list(out.rglob(".*"))


def test_killed_again_and_again(uninterrupted, tmp_path):
    out = tmp_path / "run"
    for attempt, number in enumerate((2, 3, 7, 8)):
        assert in_child(die_at_step, out, attempt > 0, number) == -signal.SIGKILL
    train(out, resume=True, workers=1)
    assert outcome(out) == uninterrupted
    train(out, resume=True)  # a finished run only repeats the code after its last step
    assert outcome(out) == uninterrupted


def test_killed_by_another_process_at_a_random_moment(uninterrupted, tmp_path):
    """A separate interpreter, as a user starts it."""
    out, here = tmp_path / "run", Path(__file__)
    code = (
        f"import sys, time; sys.path.insert(0, {str(here.parent)!r}); import tiny_training as t; "
        f"t.train({str(out)!r}, hook=lambda run, step: time.sleep(0.05))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 400  # a busy machine takes its time to start an interpreter
    while not (out / "checkpoints").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(random.SystemRandom().uniform(0, 0.5))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    train(out, resume=True)
    assert outcome(out) == uninterrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_at_the_step_boundary(uninterrupted, tmp_path, caplog, number):
    out = tmp_path / "run"
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stopped:
        train(out, workers=1, hook=lambda run, step: os.kill(os.getpid(), number) if step == 6 else None)
    assert stopped.value.code == 128 + number
    assert "after step 7" in caplog.text and "--resume" in caplog.text and str(out) in caplog.text
    assert load_state(out / "state.safetensors")["step"] == 7
    assert signal.getsignal(number) is before
    train(out, resume=True)
    assert outcome(out) == uninterrupted


def test_second_ctrl_c_interrupts_at_once(tmp_path):
    def twice(run, step):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", hook=twice)


def test_a_full_disk_is_reported_and_harmless(uninterrupted, tmp_path, monkeypatch):
    out, sync = tmp_path / "run", os.fsync

    def fill(run, step):
        def full(handle):
            raise OSError(errno.ENOSPC, "No space left on device")

        if step == 4:
            monkeypatch.setattr(atomic.os, "fsync", full)

    with pytest.raises(
        OSError, match=r"after step 5 failed.*No space left.*last saved state is intact.*--resume"
    ) as error:
        train(out, hook=fill)
    assert error.value.errno == errno.ENOSPC
    monkeypatch.setattr(atomic.os, "fsync", sync)
    assert load_state(out / "state.safetensors")["step"] == 4
    train(out, resume=True)
    assert outcome(out) == uninterrupted


def train_steps(out, max_steps, resume=False, **changes):
    """A tiny run whose configuration has `training.max_steps`."""
    config = {"training": {"max_steps": max_steps, **changes}}
    options = {"seed": 3, "config": config, "system": "demo", "device": "cpu", "threads": 1}
    with Run(out, **options, resume=resume) as run:
        model = run.prepare(nn.Linear(4, 3))
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        run.track(model=model, optimiser=optimiser)
        data = run.batches(Points(), 4, max_steps=max_steps)
        for step in run.steps(max_steps):
            loss = nn.functional.cross_entropy(model(next(data)["x"]), torch.tensor([0, 1, 2, 0]))
            run.backward_and_step(loss, optimiser)
            run.log(step, {"loss": loss})
        return model.weight.detach().clone()


def test_resuming_with_more_steps_trains_longer_and_equals_a_run_of_that_length(tmp_path):
    expected = train_steps(tmp_path / "long", 9)
    train_steps(tmp_path / "run", 4)
    assert torch.equal(train_steps(tmp_path / "run", 9, resume=True), expected)
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["training"]["max_steps"] == 9
    numbers = [json.loads(line)["step"] for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert numbers == list(range(9))


def test_resuming_with_fewer_steps_or_another_key_is_refused(tmp_path):
    train_steps(tmp_path / "run", 4)
    with pytest.raises(RunError, match=r"training\.max_steps: 4 in the run, 3 given"):
        train_steps(tmp_path / "run", 3, resume=True)
    with pytest.raises(
        RunError, match=r"(?s)training\.lr: 'missing' in the run, 1 given\nUse the same"
    ) as caught:
        train_steps(tmp_path / "run", 9, resume=True, lr=1)
    assert "max_steps: 4" not in str(caught.value)


def test_mixed_precision_resumes_too(tmp_path):
    for precision in ("bfloat16", "float16"):
        train(tmp_path / precision, precision=precision)
        out = tmp_path / f"{precision}_again"
        with pytest.raises(SystemExit):
            train(
                out, precision=precision, hook=lambda r, step: os.kill(os.getpid(), 15) if step == 5 else None
            )
        train(out, precision=precision, resume=True)
        assert outcome(out) == outcome(tmp_path / precision)
