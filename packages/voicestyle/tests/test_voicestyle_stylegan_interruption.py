"""StyleGAN2 training that is killed or interrupted ends in the same bytes."""

import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from voiceface.checkpoints.native import load_model
from voiceface.commandline.dispatch import run_main
from voicestyle.stylegan2 import losses

PRELOADED = ["torch", "torch._dynamo", "voiceface.training.run", "voicestyle.stylegan2.training"]
STEPS = 60
SETTINGS = [
    *("generator.size=8", "generator.channels=[4, 4]", "generator.style_dim=4"),
    *(
        "discriminator.size=8",
        "discriminator.channels=[4, 4]",
        "augment.enabled=true",
        "augment.adaptation_interval=2",
    ),
    *(
        "augment.target=-1.0",
        "augment.adaptation_length=400",
        "loss.path_weight=2.0",
        "loss.path_interval=3",
        "loss.r1_interval=4",
    ),
    *(f"training.max_steps={STEPS}", "training.checkpoint_interval=4", "training.preview_images=4"),
    *("training.preview_interval=20", "training.log_interval=1"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(9):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(root / f"{number}.png")
    return root


def run(words, said, where, number):
    """The command as the main program of this process, killed at the `number`-th loss or save."""
    place = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(place, stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    calls, write, loss = iter(range(1, 1_000_000)), Path.write_bytes, losses.generator_loss

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def half(path, data):
        if path.suffix == ".safetensors" and next(calls) == number:
            write(path, data[: len(data) // 2])
            die()
        return write(path, data)

    if where == "step":  # the discriminator has had its turn
        losses.generator_loss = lambda scores: die() if next(calls) == number else loss(scores)
    if where == "save":
        Path.write_bytes = half
    raise SystemExit(run_main("voicestyle.train_stylegan", words))


@pytest.fixture(scope="module")
def processes():
    """Processes that start with everything imported and no state of this one."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


@pytest.fixture
def start(processes, folder, tmp_path):
    """Start a run in a process of its own; whatever still runs at the end is killed."""
    started = []

    def begin(out, *flags, where="nowhere", number=0):
        words = ["--cfg", "quick_stylegan", "--data", str(folder), "--out", str(out), "--device", "cpu"]
        said = tmp_path / f"said_{len(started)}.txt"
        arguments = ([*words, "--threads", "1", *flags, *SETTINGS], str(said), where, number)
        child = processes.Process(target=run, args=arguments)
        child.said = said.read_text
        started.append(child)
        child.start()
        return child

    yield begin
    for child in started:
        child.kill()
        child.join()


def ended(child):
    """Exit code of a process, once it is over."""
    child.join(120)
    return child.exitcode


def lines(out):
    """What was logged, without what differs between repetitions."""
    log = (out / "log.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in ("time", "seconds")} for line in log]


def logged(out):
    """Whole lines of the log so far."""
    return (out / "log.jsonl").read_bytes().count(b"\n")


def outcome(out):
    """Bytes of everything that a run makes, by name."""
    generated = [out / "model.safetensors", *(out / "checkpoints").iterdir(), *(out / "samples").iterdir()]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in generated}


def test_interrupted_training_ends_in_the_same_bytes(start, tmp_path):
    full, parts = tmp_path / "uninterrupted", tmp_path / "parts"
    alone = start(full)
    assert ended(alone) == 0, alone.said()

    in_step = start(parts, where="step", number=11)
    assert ended(in_step) == -signal.SIGKILL, in_step.said()
    assert logged(parts) >= 8 and not (parts / "model.safetensors").exists()

    in_save = start(parts, "--resume", where="save", number=4)
    assert ended(in_save) == -signal.SIGKILL, in_save.said()
    assert list(parts.rglob(".*.part*")), "the kill left no half-written file: it came at the wrong moment"

    before, stopped = logged(parts), start(parts, "--resume")
    deadline = time.monotonic() + 120
    while stopped.is_alive() and logged(parts) <= before + 2 and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(stopped.pid, signal.SIGINT)
    assert ended(stopped) == 128 + signal.SIGINT, stopped.said()
    assert before + 2 < logged(parts) < STEPS

    last = start(parts, "--resume")
    assert ended(last) == 0, last.said()
    assert lines(parts) == lines(full) and len(lines(full)) == STEPS
    assert outcome(parts) == outcome(full)
    assert load_model(parts / "model.safetensors").extra["step"] == STEPS


def test_run_killed_before_its_first_checkpoint_restarts(start, tmp_path):
    out = tmp_path / "run"
    child = start(out, where="step", number=1)
    assert ended(child) == -signal.SIGKILL and not (out / "state.safetensors").exists(), child.said()
    again = start(out, "--resume", where="step", number=3)
    assert ended(again) == -signal.SIGKILL and (out / "state.safetensors").exists(), again.said()
