"""Runs that are killed, stopped, or shared by two processes: they end like one that was left alone."""

from collections.abc import Callable
from functools import partial
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
from voiceface.checkpoints.native import load_model
from voiceface.testing import fault_injection, runs
from voiceface.testing.fault_injection import InterruptibleRun
from voiceface.testing.runs import ArgumentsBuilder, read_log_without_clock, run_outcome

Call = Callable[..., Any]
STEPS = 8
WORDS = (
    f"training.max_steps={STEPS}",
    "training.checkpoint_interval=3",
    "training.validation_interval=4",
    "training.validation_start=4",
    "weights.warm_up=2",
    "weights.update_interval=2",
)


@pytest.fixture(scope="module")
def words_of(people: Path, tiny: tuple[str, ...]) -> ArgumentsBuilder:
    """Command line of a run into a folder."""
    return lambda out, *more: runs.training_arguments(people, out, "reweight", (*tiny, *WORDS), more)


@pytest.fixture(scope="module")
def trial(
    words_of: ArgumentsBuilder, processes: ForkServerContext, tmp_path_factory: pytest.TempPathFactory
) -> InterruptibleRun:
    """A run that tests interrupt, and the same one left alone."""
    found = InterruptibleRun("seeking_shape.train", words_of, tmp_path_factory.mktemp("whole") / "run")
    assert found.train(found.reference_run) == 0
    return found


def test_killed_at_random_moments_it_ends_the_same(
    trial: InterruptibleRun, start: Call, tmp_path: Path
) -> None:
    fault_injection.check_killed_at_random_times(trial, start, tmp_path / "run", kills=2)


@pytest.mark.parametrize("number", [1, 4, 5])  # first state, a later model file, a later state
def test_killed_inside_a_save_it_ends_the_same(
    trial: InterruptibleRun, start: Call, tmp_path: Path, number: int
) -> None:
    fault_injection.check_killed_during_save(trial, start, tmp_path / "run", number)


def test_ctrl_c_saves_and_says_how_to_go_on(trial: InterruptibleRun, start: Call, tmp_path: Path) -> None:
    fault_injection.check_stopped_by_ctrl_c(trial, start, tmp_path / "run")


def test_a_full_disk_is_told_and_the_run_goes_on_later(trial: InterruptibleRun, tmp_path: Path) -> None:
    fault_injection.check_disk_full_during_save(trial, tmp_path / "run", save_index=4)


def test_a_finished_run_resumed_stays_as_it_is(trial: InterruptibleRun) -> None:
    fault_injection.check_resumed_when_finished(trial)


def test_loader_processes_change_nothing(trial: InterruptibleRun, tmp_path: Path) -> None:
    assert trial.train(tmp_path / "run", "training.num_workers=2", "data.in_memory=false") == 0
    ours, theirs = (
        load_model(run / "model.safetensors").state for run in (tmp_path / "run", trial.reference_run)
    )
    assert all(torch.equal(theirs[key], value) for key, value in ours.items())
    assert read_log_without_clock(tmp_path / "run") == read_log_without_clock(trial.reference_run)


def test_resumed_without_its_start_weights_it_knows_where_it_came_from(
    trial: InterruptibleRun, id_weights: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "run"
    fixed = ["weights.update_interval=null"]
    assert trial.train(out, "--id-weights", str(id_weights), *fixed) == 0
    before = run_outcome(out)
    assert trial.train(out, "--resume", *fixed) == 0
    assert run_outcome(out) == before


def test_another_configuration_is_no_resumption(trial: InterruptibleRun, capsys: Any) -> None:
    before = run_outcome(trial.reference_run)
    assert trial.train(trial.reference_run, "--resume", "optimiser.lr=0.5") == 1
    message = capsys.readouterr().err
    assert "optimiser.lr: 0.01 in the run, 0.5 given" in message and "choose a new --out" in message
    assert run_outcome(trial.reference_run) == before


def test_two_processes_take_the_steps_of_one(trial: InterruptibleRun, start: Call, tmp_path: Path) -> None:
    alone, out, errors = tmp_path / "alone", tmp_path / "run", tmp_path / "errors"
    # Rounding may switch a single ReLU over, which must not grow into a difference.
    slow = "optimiser.lr=0.001"
    command = partial(fault_injection.run_as_program, trial.module)
    fault_injection.run_in_two_processes(start, command, trial.build_arguments(out, slow), errors)
    assert trial.train(alone, slow) == 0
    ours, theirs = read_log_without_clock(out), read_log_without_clock(alone)
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
