"""Training: prototypes and their memory, published variants, initial weights, several processes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cmpc2
import pytest
import torch
from cmpc2.prototype_retrieval import read_training_table
from cmpc2.published import read_prototype_memory
from voiceface.checkpoints.native import load_model
from voiceface.checkpoints.resume_state import load_state
from voiceface.testing import fault_injection
from voiceface.testing.corrupt_files import assert_mentions
from voiceface.testing.fault_injection import InterruptibleRun
from voiceface.testing.runs import read_log_without_clock, run_outcome

Call = Callable[..., Any]


def test_run_writes_model_memory_and_training_table(trained: Path) -> None:
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


def test_prototype_terms_start_with_the_first_clustering(trained: Path) -> None:
    log = read_log_without_clock(trained)
    assert [row["prototype"] > 0 for row in log] == [False, False, True, True, True, True]
    assert [row["weight"] < 1 for row in log] == [False, False, True, True, True, True]


def test_published_clusterings_serve_one_iteration(train: Call, tmp_path: Path) -> None:
    words = ["training.max_steps=6", "training.checkpoint_interval=2"]
    assert train(tmp_path / "run", *words, cfg="published") == 0
    log = read_log_without_clock(tmp_path / "run")
    assert [row["prototype"] > 0 for row in log] == [False, False, True, False, True, False]
    assert (tmp_path / "run" / "checkpoints" / "best.safetensors").is_file()
    lowest = min(row["total_loss"] for row in log if row["step"] % 2 == 1)
    values = load_state(tmp_path / "run" / "state.safetensors")["values"]
    assert values["lowest_loss"] == pytest.approx(lowest, rel=1e-5)


def test_validation_list_selects_the_best_checkpoint(train: Call, tmp_path: Path) -> None:
    words = ["training.max_steps=4", "training.validation_interval=2", "training.best_checkpoint=validation"]
    assert train(tmp_path / "run", *words) == 0
    validated = [row for row in read_log_without_clock(tmp_path / "run") if "val/matching_accuracy" in row]
    assert [row["step"] for row in validated] == [2, 4]
    trained_on = cmpc2.load_embedder(tmp_path / "run").identity_names
    assert trained_on is not None and len(trained_on) == 8, "validation identities take no part in training"


def test_loss_decreases(train: Call, tmp_path: Path) -> None:
    """A few videos are memorised."""
    words = ["training.max_steps=60", "loss.prototypes=false", "loss.recalibration.enabled=false"]
    words += ["loss.temperature=0.1", "optimiser.max_lr=0.01", "training.checkpoint_interval=60"]
    assert train(tmp_path / "run", "--splits", "train", *words) == 0
    log = [row["total_loss"] for row in read_log_without_clock(tmp_path / "run")]
    assert sum(log[-5:]) < 0.6 * sum(log[:5])


def test_run_can_start_from_a_checkpoint(train: Call, trained: Path, tmp_path: Path) -> None:
    initial = trained / "model.safetensors"
    words = ["training.max_steps=3", "optimiser.max_lr=1.0e-9", "optimiser.min_lr=0.0"]
    assert train(tmp_path / "run", "--checkpoint", initial, *words) == 0
    first, last = load_model(initial).state, load_model(tmp_path / "run" / "model.safetensors").state
    key = "face_subnet.layer2.0.conv1.weight"
    assert torch.allclose(first[key], last[key], atol=1e-6)


def test_stored_features_and_a_training_table_give_the_same_run(
    train: Call, call: Call, population: Path, trained: Path, tmp_path: Path
) -> None:
    assert call("features", population / "wav", "--out", tmp_path / "spec") == 0
    words = ["--table", trained / "training.csv", "--voice-root", tmp_path / "spec"]
    assert train(tmp_path / "run", *words, "training.max_steps=6", "training.checkpoint_interval=2") == 0
    assert run_outcome(tmp_path / "run")[0] == run_outcome(trained)[0], "stored features give the same run"


def test_more_clusters_than_videos_are_refused_before_the_run_starts(
    train: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert train(tmp_path / "run", "clustering.num_clusters=[2,500]") == 1
    assert_mentions(capsys.readouterr().err, "500 clusters of", "set fewer, such as")
    assert not (tmp_path / "run").exists()


def test_reference_run_has_state_to_lose(interruptible_run: InterruptibleRun) -> None:
    """Banks and clusterings differ from those of a new run, so that each must be restored."""
    tracked = load_state(interruptible_run.reference_run / "state.safetensors")["tracked"]["memory"]
    assert tracked["clusterings"] is not None and len(tracked["clusterings"]["face"]) == 2
    assert all(row["prototype"] > 0 for row in read_log_without_clock(interruptible_run.reference_run)[2:])


def test_two_processes_share_memory_banks_and_clusterings(
    interruptible_run: InterruptibleRun, start_process: Call, tmp_path: Path
) -> None:
    """Negatives, banks, clusterings and batch statistics are those of the whole batch."""
    slow = ("optimiser.max_lr=0.0005", "training.max_steps=5", "clustering.start_step=1")
    out, alone, errors = tmp_path / "run", tmp_path / "alone", tmp_path / "errors"
    command = partial(fault_injection.run_as_program, interruptible_run.module)
    arguments = interruptible_run.build_arguments(out, *slow)
    fault_injection.run_in_two_processes(start_process, command, arguments, errors)
    assert interruptible_run.train(alone, *slow) == 0
    log, expected = read_log_without_clock(out), read_log_without_clock(alone)
    assert log[-1]["prototype"] > 0
    for row, other in zip(log, expected, strict=True):
        assert row == pytest.approx(other, rel=2e-3, abs=1e-5)
    bank, reference = (load_model(path / "memory.safetensors").state["bank/face"] for path in (out, alone))
    assert torch.allclose(bank, reference, atol=1e-3)
