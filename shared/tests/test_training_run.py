"""Directory, checkpoints and log of a training run: what it contains, and what is refused."""

import json

import pytest
import torch
import yaml
from tiny_training import die_at_step, in_child, train
from torch import nn
from voiceface.checkpoints.native import load_model
from voiceface.checkpoints.published import CheckpointError
from voiceface.runtime.config import Config, to_dict, validate_config
from voiceface.runtime.devices import choose_device, to_device
from voiceface.training.run import Run
from voiceface.training.run_directory import RunError


def test_checkpoints_hold_configuration_extra_values_and_step(tmp_path):
    run = train(tmp_path / "run")
    file = load_model(
        tmp_path / "run" / "checkpoints" / "step_000005_critic.safetensors", system="demo", kind="critic"
    )
    assert file.extra == {"names": ["a", "b"], "step": 5} and file.config["milestones"] == [3, 7]
    assert run.save("small", nn.Linear(2, 2), kind="other", dtype=torch.float16).exists()
    with pytest.raises(RunError, match="nothing is tracked as 'painter'"):
        run.save("small", kind="painter")


def test_without_a_terminal_each_entry_of_the_log_is_one_line(tmp_path, capsys):
    train(tmp_path / "run")
    lines = capsys.readouterr().err.splitlines()
    entries = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    steps = [entry["step"] for entry in entries if "loss" in entry]
    assert len(lines) > 3 and len(lines) == len(steps)
    for line, step in zip(lines, steps):
        assert line.startswith(f"step {step + 1} of 12: ") and "\r" not in line


def test_a_directory_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "letter.txt").touch()
    with pytest.raises(RunError, match=r"not empty \(letter\.txt\).*--resume.*--out"):
        train(tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(RunError, match=r"nothing to resume: .*absent does not exist"):
        train(tmp_path / "absent", resume=True)
    assert not (tmp_path / "absent").exists()


def test_another_configuration_is_refused_and_its_keys_are_named(tmp_path):
    out = tmp_path / "run"
    in_child(die_at_step, out, False, 3)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    message = r"(?s)section\.a: 1 in the run, 2 given\n  zeal: 'missing' in the run, 3 given"
    with pytest.raises(RunError, match=message):
        train(out, resume=True, section={"a": 2}, zeal=3)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    early = tmp_path / "early"
    in_child(die_at_step, early, False, 0)  # no state yet: config.yaml is compared
    with pytest.raises(RunError, match=r"lr: 0\.1 in the run, 0\.2 given"):
        train(early, resume=True, lr=0.2)


class Section(Config):
    a: int = 1
    newer: bool = False


class Other(Config):
    b: int = 2


class Experiment(Config):
    lr: float
    max_steps: int
    milestones: tuple[int, ...]
    section: Section = Section()
    either: Section | Other | None = None
    rates: tuple[float, ...] = (0.5, 0.25)


def start(out, resume=True, **values):
    config = validate_config({"lr": 0.1, "max_steps": 9, "milestones": [3, 7], **values}, Experiment)
    with Run(out, seed=7, config=to_dict(config), schema=config, system="demo", device="cpu", resume=resume):
        pass


def test_keys_newer_than_a_run_have_their_defaults(tmp_path):
    out = tmp_path / "run"
    older = {"lr": 0.1, "max_steps": 9, "milestones": (3, 7), "section": {"a": 1}, "either": {"b": 2}}
    with Run(out, seed=7, config=older, system="demo", device="cpu") as run:
        next(run.steps(9))
        run.save_state()
    either = {"b": 2}
    with pytest.raises(RunError, match=r"given:\n  section\.newer: False in the run, True given\nUse"):
        start(out, either=either, section={"newer": True})
    with pytest.raises(RunError, match=r"rates: \[0\.5, 0\.25\] in the run, \[0\.5\] given"):
        start(out, either=either, rates=[0.5])
    with pytest.raises(RunError, match=r"either\.b: 2 in the run, 'missing' given"):
        start(out, either={"a": 1})  # a section of another class
    start(out, either=either)
    stored = yaml.safe_load((out / "config.yaml").read_text())
    assert stored["section"] == {"a": 1, "newer": False} and stored["rates"] == [0.5, 0.25]
    start(out, either=either)


def test_newer_keys_without_a_default_are_refused(tmp_path):
    out = tmp_path / "run"
    older = {"lr": 0.1, "max_steps": 9, "section": {"a": 1, "gone": 3}}
    Run(out, seed=7, config=older, system="demo", device="cpu").close()
    message = r"(?s)milestones: 'missing' in the run, \[3, 7\] given\n  section\.gone: 3 in the run"
    with pytest.raises(RunError, match=message):
        start(out)


def test_other_tracked_names_and_a_corrupt_state_are_refused(tmp_path):
    out = tmp_path / "run"
    in_child(die_at_step, out, False, 3)
    with (
        pytest.raises(RunError, match=r"holds model, critic, optimiser, critic_.*, but now net is tracked"),
        Run(
            out,
            seed=7,
            config={"lr": 0.1, "milestones": [3, 7], "section": {"a": 1}},
            system="demo",
            resume=True,
        ) as run,
    ):
        run.track(net=nn.Linear(2, 2))
        next(run.steps(3))
    data = bytearray((out / "state.safetensors").read_bytes())
    data[-9] ^= 1
    (out / "state.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"state\.safetensors is corrupt"):
        train(out, resume=True)


def test_two_runs_in_one_directory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("voiceface.training.metrics_log.LOCK_TIMEOUT", 0.1)
    options = {"seed": 1, "config": {}, "system": "demo", "device": "cpu"}
    first = Run(tmp_path / "run", **options)
    with pytest.raises(ValueError, match="another process writes to"):
        Run(tmp_path / "run", **options, resume=True)
    first.close()
    Run(tmp_path / "run", **options, resume=True).close()


def test_invalid_options_are_refused(tmp_path):
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


def test_a_loss_that_is_not_finite_is_logged_as_null_with_a_warning(tmp_path, caplog):
    with Run(tmp_path / "run", seed=1, config={}, system="demo", device="cpu") as run:
        run.log(0, {"loss": torch.tensor(float("nan")), "n": 2})
    line = json.loads((tmp_path / "run" / "log.jsonl").read_text())
    assert line["loss"] is None and line["n"] == 2 and "loss is nan" in caplog.text


def test_to_device_follows_containers():
    moved = to_device({"a": [torch.ones(1), "text"], "b": (torch.ones(1),)}, torch.device("cpu"))
    assert moved["a"][1] == "text" and isinstance(moved["b"], tuple)
