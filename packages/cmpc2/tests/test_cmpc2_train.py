"""Training: what a run leaves behind, configurations, exact resumption, kills, two processes, bad input."""

import shutil
from collections.abc import Callable
from functools import partial
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import cmpc2
import pytest
import torch
from cmpc2.prototype_retrieval import read_training_table
from cmpc2.published import read_prototype_memory
from voiceface.checkpoints.native import load_model
from voiceface.checkpoints.resume_state import load_state
from voiceface.testing import fault_injection, runs
from voiceface.testing.fault_injection import InterruptibleRun
from voiceface.testing.runs import ArgumentsBuilder, read_log_without_clock, run_outcome

Call = Callable[..., Any]
WORDS = ("training.max_steps=8", "training.checkpoint_interval=3")
FILES = ("model.safetensors", "memory.safetensors")


# what a run does


def test_a_run_leaves_model_memory_and_table(trained: Path) -> None:
    model = cmpc2.load_embedder(trained)
    table, memory = (
        read_training_table(trained / "training.csv"),
        read_prototype_memory(trained / "memory.safetensors"),
    )
    assert (
        set(model.identity_names or ()) == {row.identity for row in table}
        and len(model.identity_names or ()) == 8
    )
    assert "a synthetic population" in model.disclaimer
    assert [len(c) for c in memory.centroids] == [2, 3] and len(memory.assignment[0]) == len(table)
    stored = load_model(trained / "memory.safetensors", system="cmpc2", kind="memory")
    bank = stored.state["bank/face"]
    for centres, places in zip(memory.centroids, memory.assignment):
        assert torch.equal(torch.cdist(bank.double(), centres.double()).argmin(1), places)


def test_terms_appear_with_the_first_clustering_and_stay(trained: Path) -> None:
    found = read_log_without_clock(trained)
    assert [row["prototype"] > 0 for row in found] == [False, False, True, True, True, True]
    assert [row["weight"] < 1 for row in found] == [False, False, True, True, True, True]


def test_published_clusterings_serve_one_iteration(train: Call, tmp_path: Path) -> None:
    words = ["training.max_steps=6", "training.checkpoint_interval=2"]
    assert train(tmp_path / "run", *words, cfg="published") == 0
    found = read_log_without_clock(tmp_path / "run")
    assert [row["prototype"] > 0 for row in found] == [False, False, True, False, True, False]
    assert (tmp_path / "run" / "checkpoints" / "best.safetensors").is_file()
    lowest = min(row["total_loss"] for row in found if row["step"] % 2 == 1)
    values = load_state(tmp_path / "run" / "state.safetensors")["values"]
    assert values["lowest_loss"] == pytest.approx(lowest, rel=1e-5)


def test_a_validation_list_judges_the_model(train: Call, tmp_path: Path) -> None:
    words = ["training.max_steps=4", "training.validation_interval=2", "training.best_checkpoint=validation"]
    assert train(tmp_path / "run", *words) == 0
    judged = [row for row in read_log_without_clock(tmp_path / "run") if "val/matching_accuracy" in row]
    assert [row["step"] for row in judged] == [2, 4]
    trained_on = cmpc2.load_embedder(tmp_path / "run").identity_names
    assert trained_on is not None and len(trained_on) == 8, "those who judge take no part in training"


def test_the_loss_falls(train: Call, tmp_path: Path) -> None:
    """Twenty videos are learnt by heart."""
    words = ["training.max_steps=60", "loss.prototypes=false", "loss.recalibration.enabled=false"]
    words += ["loss.temperature=0.1", "optimiser.max_lr=0.01", "training.checkpoint_interval=60"]
    assert train(tmp_path / "run", "--splits", "train", *words) == 0
    found = [row["total_loss"] for row in read_log_without_clock(tmp_path / "run")]
    assert sum(found[-5:]) < 0.6 * sum(found[:5])


def test_a_run_can_begin_with_another_model(train: Call, trained: Path, tmp_path: Path) -> None:
    start = trained / "model.safetensors"
    words = ["training.max_steps=3", "optimiser.max_lr=1.0e-9", "optimiser.min_lr=0.0"]
    assert train(tmp_path / "run", "--checkpoint", start, *words) == 0
    first, last = load_model(start).state, load_model(tmp_path / "run" / "model.safetensors").state
    key = "face_subnet.layer2.0.conv1.weight"
    assert torch.allclose(first[key], last[key], atol=1e-6)


def test_published_features_train_through_a_table(
    train: Call, call: Call, people: Path, trained: Path, tmp_path: Path
) -> None:
    assert call("features", people / "wav", "--out", tmp_path / "spec") == 0
    words = ["--table", trained / "training.csv", "--voice-root", tmp_path / "spec"]
    assert train(tmp_path / "run", *words, "training.max_steps=6", "training.checkpoint_interval=2") == 0
    assert run_outcome(tmp_path / "run")[0] == run_outcome(trained)[0], "stored features give the same run"


# bad input


def said_by(train: Call, capsys: Any, *words: str | Path, out: Path, **options: Any) -> str:
    assert train(out, *words, **options) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_more_clusters_than_videos_are_told_before_anything_is_done(
    train: Call, capsys: Any, tmp_path: Path
) -> None:
    said = said_by(train, capsys, "clustering.num_clusters=[2,500]", out=tmp_path / "run")
    assert "500 clusters of" in said and "ask for fewer, such as" in said and not (tmp_path / "run").exists()


def test_absent_data_and_weights_are_named(train: Call, capsys: Any, tmp_path: Path) -> None:
    assert "--data: nothing at" in said_by(train, capsys, out=tmp_path / "a", data=tmp_path / "nothing")
    said = said_by(train, capsys, "--checkpoint", tmp_path / "no.pth", out=tmp_path / "b")
    assert "--checkpoint: nothing at" in said


def test_other_videos_cannot_go_on_with_a_run(
    train: Call, capsys: Any, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    words = ["--resume", "training.max_steps=6", "training.checkpoint_interval=2"]
    assert "training identities (or their order) differ" in said_by(
        train, capsys, *words, out=tmp_path / "run"
    )


# kills


@pytest.fixture(scope="module")
def words_of(people: Path, tiny: tuple[str, ...]) -> ArgumentsBuilder:
    """Command line of a run into a folder."""
    return lambda out, *more: runs.training_arguments(people, out, "main", (*tiny, *WORDS), more)


@pytest.fixture(scope="module")
def trial(
    words_of: ArgumentsBuilder, processes: ForkServerContext, tmp_path_factory: pytest.TempPathFactory
) -> InterruptibleRun:
    """A run that tests interrupt, and the same one left alone."""
    found = InterruptibleRun("cmpc2.train", words_of, tmp_path_factory.mktemp("whole") / "run", FILES)
    assert found.train(found.reference_run) == 0
    return found


def test_the_run_has_something_to_lose(trial: InterruptibleRun) -> None:
    """Banks and clusterings differ from those of a fresh run, so that forgetting them would show."""
    tracked = load_state(trial.reference_run / "state.safetensors")["tracked"]["memory"]
    assert tracked["clusterings"] is not None and len(tracked["clusterings"]["face"]) == 2
    assert all(row["prototype"] > 0 for row in read_log_without_clock(trial.reference_run)[2:])


def test_killed_at_random_moments_it_ends_the_same(
    trial: InterruptibleRun, start: Call, tmp_path: Path
) -> None:
    fault_injection.check_killed_at_random_times(trial, start, tmp_path / "run", kills=1)


@pytest.mark.parametrize("number", [1, 3])  # the first state, a later one: between two clusterings
def test_killed_inside_a_save_it_ends_the_same(
    trial: InterruptibleRun, start: Call, tmp_path: Path, number: int
) -> None:
    fault_injection.check_killed_during_save(trial, start, tmp_path / "run", number)


def test_a_finished_run_resumed_stays_as_it_is(trial: InterruptibleRun) -> None:
    fault_injection.check_resumed_when_finished(trial)


# two processes


def test_two_processes_take_the_steps_of_one(trial: InterruptibleRun, start: Call, tmp_path: Path) -> None:
    """Negatives, banks, clusterings and batch statistics are those of the whole batch."""
    slow = ("optimiser.max_lr=0.0005", "training.max_steps=5", "clustering.start_step=1")
    out, alone, errors = tmp_path / "run", tmp_path / "alone", tmp_path / "errors"
    command = partial(fault_injection.run_as_program, trial.module)
    fault_injection.run_in_two_processes(start, command, trial.build_arguments(out, *slow), errors)
    assert trial.train(alone, *slow) == 0
    ours, theirs = read_log_without_clock(out), read_log_without_clock(alone)
    assert ours[-1]["prototype"] > 0
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, rel=2e-3, abs=1e-5)
    a, b = (load_model(path / "memory.safetensors").state["bank/face"] for path in (out, alone))
    assert torch.allclose(a, b, atol=1e-3)
