"""Runs that are killed, stopped, or shared by two processes: they end like one that was left alone."""

import json
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
from voiceface.training.run import Run

Call = Callable[..., Any]
STEPS = 8
WORDS = (
    f"training.max_steps={STEPS}",
    "training.checkpoint_interval=3",
    "training.validation_interval=4",
    "training.validation_start=4",
    "regauging.start_step=3",
    "regauging.trust_threshold=-1.0",  # a fresh network has loose pairs, too
    "equilibrium.warm_up=2",
    "equilibrium.update_interval=5",  # a refresh before step 5: counters are full at every save before
)


@pytest.fixture(scope="module")
def words_of(people: Path, tiny: tuple[str, ...]) -> ArgumentsBuilder:
    """Command line of a run into a folder."""
    return lambda out, *more: runs.training_arguments(people, out, "main", (*tiny, *WORDS), more)


@pytest.fixture(scope="module")
def trial(
    words_of: ArgumentsBuilder, processes: ForkServerContext, tmp_path_factory: pytest.TempPathFactory
) -> InterruptibleRun:
    """A run that tests interrupt, and the same one left alone."""
    found = InterruptibleRun("archetype_agnostic.train", words_of, tmp_path_factory.mktemp("whole") / "run")
    assert found.train(found.reference_run) == 0
    return found


def test_the_run_has_something_to_lose(trial: InterruptibleRun) -> None:
    """Counters, weights and terms differ between its saves, so that forgetting one of them would show."""
    states = [
        load_model(trial.reference_run / "checkpoints" / f"step_{step:06d}.safetensors").state
        for step in (1, 3, 6, 8)
    ]
    for key in ("eqm.corr_num", "eqm.compare_sum"):
        assert len({tuple(state[key].tolist()) for state in states}) == 4
    assert (states[1]["eqm.weight"] == 1).all() and states[2]["eqm.weight"].unique().numel() > 2
    assert all(
        row["trip_cross"] > 0 for row in read_log_without_clock(trial.reference_run) if "trip_cross" in row
    )


def test_killed_at_random_moments_it_ends_the_same(
    trial: InterruptibleRun, start: Call, tmp_path: Path
) -> None:
    fault_injection.check_killed_at_random_times(trial, start, tmp_path / "run", kills=2)


@pytest.mark.parametrize("number", [1, 2, 5])  # first state, a later model file, a later state
def test_killed_inside_a_save_it_ends_the_same(
    trial: InterruptibleRun, start: Call, tmp_path: Path, number: int
) -> None:
    fault_injection.check_killed_during_save(trial, start, tmp_path / "run", number)


def test_ctrl_c_saves_and_says_how_to_go_on(trial: InterruptibleRun, start: Call, tmp_path: Path) -> None:
    fault_injection.check_stopped_by_ctrl_c(trial, start, tmp_path / "run")


def test_a_full_disk_is_told_and_the_run_goes_on_later(trial: InterruptibleRun, tmp_path: Path) -> None:
    fault_injection.check_disk_full_during_save(trial, tmp_path / "run", save_index=3)


def test_a_finished_run_resumed_stays_as_it_is(trial: InterruptibleRun) -> None:
    fault_injection.check_resumed_when_finished(trial)


def test_a_run_that_goes_on_by_patience_is_resumed_the_same(trial: InterruptibleRun, tmp_path: Path) -> None:
    """Cut off after the validation that ends it, it must still know of it."""
    words = ["stopping.rule=patience", "stopping.patience=2", "training.max_steps=5", "training.batch_size=2"]
    words += ["optimiser.lr=1.0e-12"]  # accuracies stay: the second validation ends the run, in its epoch
    alone, out = tmp_path / "alone", tmp_path / "run"
    assert trial.train(alone, *words) == 0
    steps = [row["step"] for row in read_log_without_clock(alone) if "total_loss" in row]
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
        trial.train(out, *words)
    assert trial.train(out, "--resume", *words) == 0
    assert run_outcome(out) == run_outcome(alone)


def test_loader_processes_change_nothing(trial: InterruptibleRun, tmp_path: Path) -> None:
    assert trial.train(tmp_path / "run", "training.num_workers=2", "data.in_memory=false") == 0
    ours, theirs = (
        load_model(run / "model.safetensors").state for run in (tmp_path / "run", trial.reference_run)
    )
    assert all(torch.equal(theirs[key], value) for key, value in ours.items())
    assert read_log_without_clock(tmp_path / "run") == read_log_without_clock(trial.reference_run)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("optimiser.lr=0.5", "optimiser.lr: 0.01 in the run, 0.5 given"),
        (
            "equilibrium.hit_counting=last_window",
            "equilibrium.hit_counting: 'always' in the run, 'last_window' given",
        ),
        ("regauging.start_step=4", "regauging.start_step: 3 in the run, 4 given"),
    ],
)
def test_another_configuration_is_no_resumption(
    trial: InterruptibleRun, capsys: Any, word: str, said: str
) -> None:
    before = run_outcome(trial.reference_run)
    assert trial.train(trial.reference_run, "--resume", word) == 1
    message = capsys.readouterr().err
    assert said in message and "choose a new --out" in message
    assert run_outcome(trial.reference_run) == before


# two processes


SLOW = "optimiser.lr=0.001"  # rounding may switch a single ReLU over, which must not grow into a difference


def test_two_processes_take_the_steps_of_one(trial: InterruptibleRun, start: Call, tmp_path: Path) -> None:
    alone, out = tmp_path / "alone", tmp_path / "run"
    command = partial(fault_injection.run_as_program, trial.module)
    fault_injection.run_in_two_processes(
        start, command, trial.build_arguments(out, SLOW), tmp_path / "errors"
    )
    assert trial.train(alone, SLOW) == 0
    ours, theirs = read_log_without_clock(out), read_log_without_clock(alone)
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
    """The training command; each process leaves its identity weights and counters beside the errors."""
    from archetype_agnostic.equilibrium import Equilibrium

    plain = Equilibrium.add_counts

    def observe(eqm: Equilibrium, *counts: torch.Tensor) -> None:
        plain(eqm, *counts)
        kept = {name: value.tolist() for name, value in eqm.state_dict().items()}
        Path(f"{errors}.{environment['RANK']}").write_text(json.dumps(kept))

    Equilibrium.add_counts = observe  # type: ignore[method-assign,assignment]
    fault_injection.run_as_program("archetype_agnostic.train", words, errors, environment)


def test_processes_that_compare_their_own_rows_share_their_counts(
    trial: InterruptibleRun, start: Call, tmp_path: Path
) -> None:
    out, errors = tmp_path / "run", tmp_path / "errors"
    words = trial.build_arguments(out, SLOW, "loss.negatives=local")
    fault_injection.run_in_two_processes(start, keep_counters, words, errors)
    mine, other = (json.loads(Path(f"{errors}.{rank}").read_text()) for rank in "01")
    assert mine == other
    # since the refresh before step 5: three steps of two processes with four rows each, three negatives a row
    assert sum(mine["compare_sum"]) == 3 * 8 * 3
    saved = load_model(out / "model.safetensors").state
    assert saved["eqm.compare_sum"].tolist() == mine["compare_sum"]
    assert saved["eqm.corr_num"].tolist() == mine["corr_num"]
    assert saved["eqm.weight"].unique().numel() > 2
    rows = [row for row in read_log_without_clock(out) if "trip_cross" in row]
    assert len(rows) == STEPS - 3 and all(row["trip_cross"] > 0 for row in rows)
