"""Contract for interrupted runs: a resumed run ends with the bytes and the log of an uninterrupted one."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from voiceface.checkpoints.resume_state import load_state, save_state
from voiceface.testing import fault_injection
from voiceface.testing.commands import CommandRunner
from voiceface.testing.contracts.subject import SystemUnderTest
from voiceface.testing.corrupt_files import assert_mentions
from voiceface.testing.fault_injection import InterruptibleRun
from voiceface.testing.runs import read_log_without_clock, run_outcome
from voiceface.training.run_directory import STATE_FILE

__all__ = ["ResumeContract"]

Capture = pytest.CaptureFixture[str]
ProcessStarter = Callable[..., Any]


class ResumeContract:
    """Runs that are killed, stopped and resumed."""

    def test_run_killed_at_random_times(
        self, interruptible_run: InterruptibleRun, start_process: ProcessStarter, tmp_path: Path
    ) -> None:
        fault_injection.check_killed_at_random_times(interruptible_run, start_process, tmp_path / "run", 2)

    @pytest.mark.parametrize("save_index", [1, 4, 5])  # first state, a later checkpoint, a later state
    def test_run_killed_during_a_save(
        self,
        interruptible_run: InterruptibleRun,
        start_process: ProcessStarter,
        tmp_path: Path,
        save_index: int,
    ) -> None:
        out = tmp_path / "run"
        fault_injection.check_killed_during_save(interruptible_run, start_process, out, save_index)

    def test_run_stopped_by_ctrl_c(
        self, interruptible_run: InterruptibleRun, start_process: ProcessStarter, tmp_path: Path
    ) -> None:
        fault_injection.check_stopped_by_ctrl_c(interruptible_run, start_process, tmp_path / "run")

    def test_run_on_a_full_disk(self, interruptible_run: InterruptibleRun, tmp_path: Path) -> None:
        fault_injection.check_disk_full_during_save(interruptible_run, tmp_path / "run", save_index=4)

    def test_finished_run_stays_as_it_is(self, interruptible_run: InterruptibleRun) -> None:
        fault_injection.check_resumed_when_finished(interruptible_run)

    def test_worker_processes_change_nothing(
        self, interruptible_run: InterruptibleRun, tmp_path: Path
    ) -> None:
        """Checkpoints differ in the stored configuration, so that tensors and logs are compared."""
        import torch

        from voiceface.checkpoints.native import load_model

        out, reference = tmp_path / "run", interruptible_run.reference_run
        assert interruptible_run.train(out, "training.num_workers=2", "data.in_memory=false") == 0
        state, expected = (load_model(run / "model.safetensors").state for run in (out, reference))
        assert all(torch.equal(expected[key], value) for key, value in state.items())
        assert read_log_without_clock(out) == read_log_without_clock(reference)

    # what may change between start and resumption

    @pytest.mark.parametrize(
        ("word", "key"),
        [
            ("training.seed=99", "training.seed"),
            ("optimiser.weight_decay=0.5", "optimiser.weight_decay"),
            ("training.max_steps=7", "training.max_steps"),
        ],
    )
    def test_changed_configuration_is_refused_by_name(
        self, interruptible_run: InterruptibleRun, capsys: Capture, word: str, key: str
    ) -> None:
        out = interruptible_run.reference_run
        before = run_outcome(out, *interruptible_run.files)
        assert interruptible_run.train(out, "--resume", word) == 1
        assert_mentions(capsys.readouterr().err, "error: ", out, f"{key}:", word.partition("=")[2], "--out")
        assert run_outcome(out, *interruptible_run.files) == before

    def test_finished_run_can_take_more_steps(
        self, interruptible_run: InterruptibleRun, tmp_path: Path
    ) -> None:
        out = Path(shutil.copytree(interruptible_run.reference_run, tmp_path / "run"))
        before = read_log_without_clock(out)
        assert interruptible_run.train(out, "--resume", "training.max_steps=10") == 0
        after = read_log_without_clock(out)
        assert [row["step"] for row in after if "total_loss" in row] == list(range(10))
        steps = [[row for row in log if "total_loss" in row][:8] for log in (before, after)]
        assert steps[0] == steps[1]

    def test_run_older_than_a_key_resumes_with_its_default(
        self, interruptible_run: InterruptibleRun, tmp_path: Path, capsys: Capture
    ) -> None:
        out = Path(shutil.copytree(interruptible_run.reference_run, tmp_path / "run"))
        state = load_state(out / STATE_FILE)
        for key in ("accumulation_steps", "shuffle_buffer"):
            del state["config"]["training"][key]
        save_state(out / STATE_FILE, state)
        assert interruptible_run.train(out, "--resume", "training.accumulation_steps=2") == 1
        assert_mentions(capsys.readouterr().err, "training.accumulation_steps: 1 in the run, 2 given")
        assert interruptible_run.train(out, "--resume") == 0
        files = interruptible_run.files
        assert run_outcome(out, *files) == run_outcome(interruptible_run.reference_run, *files)

    def test_missing_training_identity_is_refused_on_resume(
        self,
        train: CommandRunner,
        corpus_copy: Path,
        utterance: Path,
        system: SystemUnderTest,
        tmp_path: Path,
        capsys: Capture,
    ) -> None:
        out, words = tmp_path / "run", ["training.max_steps=1", "--missing", "skip"]
        assert train(out, *words, data=corpus_copy) == 0
        before = run_outcome(out, *system.outputs)
        shutil.rmtree(utterance.parents[1])
        assert train(out, *words, "--resume", data=corpus_copy) == 1
        assert_mentions(capsys.readouterr().err, "error: ", out, "identities", "--out")
        assert run_outcome(out, *system.outputs) == before

    def test_another_order_of_identities_is_refused_on_resume(
        self, train: CommandRunner, corpus_copy: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        out = tmp_path / "run"
        assert train(out, "training.max_steps=1", data=corpus_copy) == 0
        table = corpus_copy / "list_wav" / "vox1_train.csv"
        header, *rows = table.read_bytes().splitlines(keepends=True)
        table.write_bytes(header + b"".join(reversed(rows)))
        assert train(out, "--resume", "training.max_steps=1", data=corpus_copy) == 1
        assert_mentions(capsys.readouterr().err, "error: ", out, "identities", "order", "--out")
