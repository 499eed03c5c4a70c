"""A tiny run that uses every random source, and processes that die in the middle of it."""

import json
import multiprocessing
import os
import random
import signal
from pathlib import Path

import numpy as np
import torch
from torch import nn
from voiceface.checkpoints.resume_state import load_state
from voiceface.training.lr_schedules import set_learning_rate, step_decay
from voiceface.training.metrics_log import WALL_CLOCK_FIELDS
from voiceface.training.run import Run

STEPS = 12


class Points:
    """Thirteen synthetic points with noise."""

    def __len__(self):
        return 13

    def sample(self, index, rng):
        noise = rng.standard_normal(4).astype("float32")
        return {"x": np.eye(13, 4, dtype="float32")[index] + noise, "y": index % 3}


def train(out, resume=False, workers=0, hook=None, precision="float32", **changes):
    """A tiny run that uses every random source, several modules and optimisers."""
    config = {"lr": 0.1, "milestones": (3, 7), "section": {"a": 1}, **changes}
    run = Run(
        out, seed=7, config=config, system="demo", device="cpu", threads=1, resume=resume, log_interval=2,
        precision=precision,
    )  # fmt: skip
    with run:
        model = run.prepare(
            nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))
        )
        critic = run.prepare(nn.Linear(3, 1))
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        critic_optimiser = torch.optim.Adam(critic.parameters(), lr=0.01)
        run.track(model=model, critic=critic, optimiser=optimiser, critic_optimiser=critic_optimiser)
        run.extra["names"] = ["a", "b"]
        rate = step_decay(config["lr"], config["milestones"], 0.5)
        data = run.batches(Points(), 4, max_steps=STEPS, num_workers=workers)
        for step in run.steps(STEPS, checkpoint_interval=5, state_interval=2):
            if step and step % 4 == 0:
                best = max(run.values.get("best", 0.0), np.random.rand())  # noqa: NPY002
                run.values["best"] = best
                run.log(step, {"best": best, "seen": random.random()}, always=True, prefix="val/")
            set_learning_rate(optimiser, rate(step))
            batch = next(data)
            with run.autocast():
                scores = model(batch["x"] + torch.rand((), generator=run.generator))
                loss = nn.functional.cross_entropy(scores, batch["y"])
            run.backward_and_step(loss, optimiser, clip_norm=1.0)
            critic_loss = critic(scores.detach().float() + torch.randn(3)).square().mean()
            run.backward_and_step(critic_loss, critic_optimiser)
            run.log(step, {"loss": loss, "critic": critic_loss, "lr": rate(step)})
            if hook:
                hook(run, step)
        run.log(STEPS, {"end": float(np.random.rand())}, always=True)  # noqa: NPY002
    return run


def outcome(out):
    """Values that must be equal: lines without wall-clock fields, and the bytes of models and state."""
    lines = [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]
    lines = [{key: value for key, value in line.items() if key not in WALL_CLOCK_FIELDS} for line in lines]
    contents = {path.name: path.read_bytes() for path in sorted((Path(out) / "checkpoints").iterdir())}
    state = load_state(Path(out) / "state.safetensors")
    del state["log_bytes"]  # lengths of the wall-clock fields differ
    return lines, contents, repr(state)


def in_child(function, *arguments):
    """Run a function in a forked process (torch is imported already) and return its exit code."""
    child = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    child.start()
    child.join(60)
    assert child.exitcode is not None
    return child.exitcode


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_step(out, resume, number):
    train(out, resume, hook=lambda run, step: die() if step == number else None)


def die_in_write(out, resume, number, place):
    """Die in the `number`-th written file: half way through, before or after the rename."""
    count = iter(range(1000))
    write, replace = Path.write_bytes, Path.replace

    def half(path, data):
        if place == "half" and next(count) == number:
            write(path, data[: len(data) // 2])
            die()
        return write(path, data)

    def around(path, target):
        now = place != "half" and next(count) == number
        if now and place == "before":
            die()
        replace(path, target)
        if now:
            die()

    Path.write_bytes, Path.replace = half, around
    train(out, resume)
