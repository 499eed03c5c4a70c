"""The training run: repeatable, resumable after any death, clear about what it refuses."""

import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from voiceface.checkpoints.native import load_model, load_state
from voiceface.checkpoints.published import CheckpointError
from voiceface.io import atomic
from voiceface.runtime.devices import choose_device, to_device
from voiceface.training.lr_schedules import cosine_warmup, set_learning_rate, step_decay
from voiceface.training.metrics_log import WALL_CLOCK_FIELDS
from voiceface.training.run import Run
from voiceface.training.run_directory import RunError
from voiceface.training.sampling import batches, batches_per_epoch

STEPS = 12


class Points:
    """Thirteen made-up points, drawn with noise."""

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
        other = torch.optim.Adam(critic.parameters(), lr=0.01)
        run.track(model=model, critic=critic, optimiser=optimiser, other=other)
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
            criticism = critic(scores.detach().float() + torch.randn(3)).square().mean()
            run.backward_and_step(criticism, other)
            run.log(step, {"loss": loss, "critic": criticism, "lr": rate(step)})
            if hook:
                hook(run, step)
        run.log(STEPS, {"end": float(np.random.rand())}, always=True)  # noqa: NPY002
    return run


def outcome(out):
    """What must be equal: lines without wall-clock fields, and the bytes of models and state."""
    lines = [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]
    lines = [{key: value for key, value in line.items() if key not in WALL_CLOCK_FIELDS} for line in lines]
    contents = {path.name: path.read_bytes() for path in sorted((Path(out) / "checkpoints").iterdir())}
    state = load_state(Path(out) / "state.safetensors")
    del state["log_bytes"]  # lengths of the wall-clock fields differ
    return lines, contents, repr(state)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    train(out)
    return outcome(out)


def in_child(function, *arguments):
    """Run in a forked process (torch is imported already); its exit code."""
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
    """Die in the `number`-th file that is written: half way through, before or after the rename."""
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


def test_same_seed_same_run_for_any_workers(whole, tmp_path):
    train(tmp_path / "run", workers=2)
    assert outcome(tmp_path / "run") == whole
    lines = whole[0]
    assert [line["step"] for line in lines if "loss" in line] == [0, 2, 4, 6, 8, 10, 11]
    assert [line["step"] for line in lines if "val/best" in line] == [4, 8]
    assert {"step_000001_model.safetensors", "step_000012_critic.safetensors"} < set(whole[1])


def test_model_files_say_what_they_are(tmp_path):
    run = train(tmp_path / "run")
    file = load_model(
        tmp_path / "run" / "checkpoints" / "step_000005_critic.safetensors", system="demo", kind="critic"
    )
    assert file.extra == {"names": ["a", "b"], "step": 5} and file.config["milestones"] == [3, 7]
    assert run.save("small", nn.Linear(2, 2), kind="other", dtype=torch.float16).exists()
    with pytest.raises(RunError, match="nothing is tracked as 'painter'"):
        run.save("small", kind="painter")


@pytest.mark.parametrize("number", [0, 1, 5, 11])
def test_killed_in_a_step_and_resumed_ends_the_same(whole, tmp_path, number):
    out = tmp_path / "run"
    assert in_child(die_at_step, out, False, number) == -signal.SIGKILL
    train(out, resume=True)
    assert outcome(out) == whole


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
def test_killed_in_a_save_and_resumed_ends_the_same(whole, tmp_path, number, place):
    out = tmp_path / "run"
    assert in_child(die_in_write, out, False, number, place) == -signal.SIGKILL
    train(out, resume=True)
    assert outcome(out) == whole
    assert not list(out.rglob(".*"))


def test_killed_again_and_again(whole, tmp_path):
    out = tmp_path / "run"
    for attempt, number in enumerate((2, 3, 7, 8)):
        assert in_child(die_at_step, out, attempt > 0, number) == -signal.SIGKILL
    train(out, resume=True, workers=1)
    assert outcome(out) == whole
    train(out, resume=True)  # a finished run does nothing but what comes after its last step
    assert outcome(out) == whole


def test_killed_from_outside_at_a_random_moment(whole, tmp_path):
    """A separate interpreter, as a user starts it."""
    out, here = tmp_path / "run", Path(__file__)
    code = (
        f"import sys, time; sys.path.insert(0, {str(here.parent)!r}); import test_training as t; "
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
    assert outcome(out) == whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_at_the_step_boundary(whole, tmp_path, caplog, number):
    out = tmp_path / "run"
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stopped:
        train(out, workers=1, hook=lambda run, step: os.kill(os.getpid(), number) if step == 6 else None)
    assert stopped.value.code == 128 + number
    assert "after step 7" in caplog.text and "--resume" in caplog.text and str(out) in caplog.text
    assert load_state(out / "state.safetensors")["step"] == 7
    assert signal.getsignal(number) is before
    train(out, resume=True)
    assert outcome(out) == whole


def test_second_ctrl_c_interrupts_at_once(tmp_path):
    def twice(run, step):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", hook=twice)


def test_folder_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "letter.txt").touch()
    with pytest.raises(RunError, match=r"not empty \(letter\.txt\).*--resume.*--out"):
        train(tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(RunError, match=r"nothing to resume: .*absent does not exist"):
        train(tmp_path / "absent", resume=True)
    assert not (tmp_path / "absent").exists()


def test_other_configuration_is_refused_and_keys_named(tmp_path):
    out = tmp_path / "run"
    in_child(die_at_step, out, False, 3)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"(?s)section\.a: 1 in the run, 2 given\n  zeal: 'missing' in the run, 3 given"):
        train(out, resume=True, section={"a": 2}, zeal=3)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    early = tmp_path / "early"
    in_child(die_at_step, early, False, 0)  # no state yet: config.yaml speaks
    with pytest.raises(RunError, match=r"lr: 0\.1 in the run, 0\.2 given"):
        train(early, resume=True, lr=0.2)


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
    with pytest.raises(RunError, match=r"(?s)training\.lr: 'missing' in the run, 1 given\nUse the same") as caught:
        train_steps(tmp_path / "run", 9, resume=True, lr=1)
    assert "max_steps: 4" not in str(caught.value)


def test_other_names_and_damaged_state_are_refused(tmp_path):
    out = tmp_path / "run"
    in_child(die_at_step, out, False, 3)
    with (
        pytest.raises(RunError, match="holds model, critic, optimiser, other, but now net is tracked"),
        Run(
            out,
            seed=7,
            config={"lr": 0.1, "milestones": [3, 7], "section": {"a": 1}},
            system="demo",
            resume=True,
        ) as r,
    ):
        r.track(net=nn.Linear(2, 2))
        next(r.steps(3))
    data = bytearray((out / "state.safetensors").read_bytes())
    data[-9] ^= 1
    (out / "state.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"state\.safetensors is damaged"):
        train(out, resume=True)


def test_full_disk_is_told_and_harmless(whole, tmp_path, monkeypatch):
    out, sync = tmp_path / "run", os.fsync

    def fill(run, step):
        def full(handle):
            raise OSError(errno.ENOSPC, "No space left on device")

        if step == 4:
            monkeypatch.setattr(atomic.os, "fsync", full)

    with pytest.raises(
        OSError, match=r"after step 5 failed.*No space left.*last saved state is intact.*--resume"
    ) as told:
        train(out, hook=fill)
    assert told.value.errno == errno.ENOSPC
    monkeypatch.setattr(atomic.os, "fsync", sync)
    assert load_state(out / "state.safetensors")["step"] == 4
    train(out, resume=True)
    assert outcome(out) == whole


def test_two_runs_in_one_folder_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("voiceface.training.metrics_log.LOCK_TIMEOUT", 0.1)
    options = {"seed": 1, "config": {}, "system": "demo", "device": "cpu"}
    first = Run(tmp_path / "run", **options)
    with pytest.raises(ValueError, match="another process writes to"):
        Run(tmp_path / "run", **options, resume=True)
    first.close()
    Run(tmp_path / "run", **options, resume=True).close()


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


def test_options_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(RunError, match="precision 'double' is unknown; choose float32"):
        Run(tmp_path / "a", seed=1, config={}, system="demo", precision="double")
    with (
        pytest.raises(RunError, match="cannot track numbers: list has no state_dict"),
        Run(tmp_path / "b", seed=1, config={}, system="demo", device="cpu") as run,
    ):
        run.track(numbers=[1])
    if not torch.cuda.is_available():
        assert choose_device("auto").type == "cpu"
        with pytest.raises(ValueError, match="no GPU"):
            choose_device("cuda")


def test_loss_that_is_no_number_is_null_and_warned_of(tmp_path, caplog):
    with Run(tmp_path / "run", seed=1, config={}, system="demo", device="cpu") as run:
        run.log(0, {"loss": torch.tensor(float("nan")), "n": 2})
    line = json.loads((tmp_path / "run" / "log.jsonl").read_text())
    assert line["loss"] is None and line["n"] == 2 and "loss is nan" in caplog.text


# batches ---------------------------------------------------------------------------------------------------


class Plain:
    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def sample(self, index, rng):
        return {"index": index, "noise": rng.random()}


def drawn(**options):
    options = {"seed": 3, "max_steps": 9, **options}
    return [(b["index"].tolist(), b["noise"].tolist()) for b in batches(Plain(11), 4, **options)]


def test_batch_is_a_function_of_seed_and_step():
    whole = drawn()
    assert len(whole) == 9
    assert drawn(start_step=5) == whole[5:] and drawn(start_step=9) == [] == drawn(start_step=12)
    assert drawn(num_workers=2) == whole and drawn(num_workers=1, start_step=4) == whole[4:]
    assert drawn(seed=4) != whole
    for epoch in range(4):  # two full batches of four of eleven items
        seen = {*whole[2 * epoch][0], *whole[2 * epoch + 1][0]}
        assert len(seen) == 8
    assert whole[0] != whole[2]


def test_processes_share_a_batch_by_rows():
    whole = drawn()
    halves = [drawn(rank=rank, world_size=2) for rank in range(2)]
    assert [(a[0] + b[0], a[1] + b[1]) for a, b in zip(*halves)] == whole


def test_last_batch_may_be_kept():
    sizes = [len(index) for index, _ in drawn(drop_last=False)]
    assert sizes == [4, 4, 3] * 3
    assert (batches_per_epoch(924, 64), batches_per_epoch(11, 4, drop_last=False)) == (14, 3)


def test_drawing_leaves_global_random_states_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    drawn(num_workers=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_impossible_batches_are_refused():
    with pytest.raises(ValueError, match="3 training items do not fill one batch of 4"):
        batches(Plain(3), 4, seed=1, max_steps=1)
    with pytest.raises(ValueError, match="multiple of 3"):
        batches(Plain(8), 4, seed=1, max_steps=1, world_size=3)


# schedules -------------------------------------------------------------------------------------------------


def test_step_decay_changes_after_the_milestone_step():
    rate = step_decay(0.01, [2, 4], 0.1)
    assert [rate(t) for t in range(7)] == [0.01] * 3 + [0.01 * 0.1] * 2 + [0.01 * 0.1**2] * 2
    assert step_decay(0.5, [], 0.1)(10**6) == 0.5
    with pytest.raises(ValueError, match=r"\[4, 4\] do not ascend"):
        step_decay(0.1, [4, 4], 0.1)


def test_cosine_rises_to_the_top_and_falls_to_the_end():
    rate = cosine_warmup(1.0, 10, warmup_steps=3, final_lr=0.2)
    values = [rate(t) for t in range(11)]
    assert values[:4] == [0.25, 0.5, 0.75, 1.0]
    assert all(a > b for a, b in pairwise(values[3:])) and values[10] == pytest.approx(0.2)
    assert cosine_warmup(1.0, 8)(4) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="warm-up of 5"):
        cosine_warmup(1.0, 5, warmup_steps=5)


def test_rate_reaches_every_group():
    a, b = nn.Linear(1, 1), nn.Linear(1, 1)
    optimiser = torch.optim.SGD(
        [{"params": a.parameters()}, {"params": b.parameters(), "lr_scale": 0.1}], lr=1.0
    )
    set_learning_rate(optimiser, 0.5)
    assert [group["lr"] for group in optimiser.param_groups] == [0.5, 0.05]


def test_to_device_follows_containers():
    moved = to_device({"a": [torch.ones(1), "text"], "b": (torch.ones(1),)}, torch.device("cpu"))
    assert moved["a"][1] == "text" and isinstance(moved["b"], tuple)
