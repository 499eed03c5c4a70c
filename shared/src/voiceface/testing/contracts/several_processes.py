"""Contract for runs that several processes share, and for runs that another number of processes resumes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from voiceface.testing import fault_injection
from voiceface.testing.contracts.subject import SystemUnderTest
from voiceface.testing.fault_injection import InterruptibleRun
from voiceface.testing.runs import read_log_without_clock

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SeveralProcessesContract"]

ProcessStarter = Callable[..., Any]


class SeveralProcessesContract:
    """Two Gloo processes do what one does with the whole batch, up to rounding."""

    def test_two_processes_take_the_steps_of_one(
        self,
        system: SystemUnderTest,
        slow_run: Path,
        interruptible_run: InterruptibleRun,
        start_process: ProcessStarter,
        tmp_path: Path,
    ) -> None:
        from voiceface.checkpoints.native import load_model

        out = tmp_path / "run"
        command = partial(fault_injection.run_as_program, interruptible_run.module)
        arguments = interruptible_run.build_arguments(out, system.slow_learning)
        fault_injection.run_in_two_processes(start_process, command, arguments, tmp_path / "errors")
        assert_same_run(out, slow_run)
        first, last = (
            load_model(slow_run / name).state
            for name in ("checkpoints/step_000001.safetensors", "model.safetensors")
        )
        for branch in system.branches:
            changes = [(last[key] - first[key]).abs().max() for key in last if key.startswith(f"{branch}.")]
            assert float(max(changes)) > 1e-3, f"{branch} has not learnt"

    @pytest.mark.parametrize("before", [1, 2])
    def test_another_number_of_processes_resumes_a_run(
        self,
        before: int,
        system: SystemUnderTest,
        slow_run: Path,
        interruptible_run: InterruptibleRun,
        start_process: ProcessStarter,
        tmp_path: Path,
    ) -> None:
        out, errors = tmp_path / "run", tmp_path / "errors"
        stopped = partial(fault_injection.run_stopped_after, interruptible_run.module, 4)
        resumed = partial(fault_injection.run_as_program, interruptible_run.module)
        for command, count, more, status in (
            (stopped, before, (), 143),
            (resumed, 3 - before, ("--resume",), 0),
        ):
            arguments = interruptible_run.build_arguments(out, system.slow_learning, *more)
            fault_injection.run_in_processes(
                start_process, command, arguments, errors, count=count, exit_status=status
            )
        assert "stopped by SIGTERM after step 4" in errors.read_text()
        assert_same_run(out, slow_run)

    # parts of a batch

    def test_parts_of_a_batch_take_the_steps_of_the_whole(
        self,
        system: SystemUnderTest,
        interruptible_run: InterruptibleRun,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        """Without batch statistics and dropout, which see one part at a time."""
        from torch.nn.functional import batch_norm

        from voiceface.runtime.distributed import GlobalDropout, SynchronisedBatchNorm

        def without_statistics(layer: SynchronisedBatchNorm, rows: "Tensor") -> "Tensor":
            return batch_norm(rows, layer.running_mean, layer.running_var, layer.weight, layer.bias)

        monkeypatch.setattr(SynchronisedBatchNorm, "forward", without_statistics)
        monkeypatch.setattr(GlobalDropout, "forward", lambda layer, rows: rows)
        for name, parts in (("whole", 1), ("parts", 2)):
            words = [system.slow_learning, f"training.accumulation_steps={parts}"]
            assert interruptible_run.train(tmp_path / name, *words) == 0
        assert_same_run(tmp_path / "parts", tmp_path / "whole")

    def test_parts_of_two_processes_are_those_of_one(
        self,
        system: SystemUnderTest,
        interruptible_run: InterruptibleRun,
        start_process: ProcessStarter,
        tmp_path: Path,
    ) -> None:
        words = [system.slow_learning, "training.accumulation_steps=2", "training.max_steps=4"]
        command = partial(fault_injection.run_as_program, interruptible_run.module)
        arguments = interruptible_run.build_arguments(tmp_path / "two", *words)
        fault_injection.run_in_two_processes(start_process, command, arguments, tmp_path / "errors")
        assert interruptible_run.train(tmp_path / "one", *words) == 0
        assert_same_run(tmp_path / "two", tmp_path / "one", tolerance=1e-3)  # statistics of four rows
        assert interruptible_run.train(tmp_path / "three", "training.accumulation_steps=3") == 1


def assert_same_run(run: Path, expected: Path, *, tolerance: float = 1e-4) -> None:
    """Compare logs and final weights of two runs.

    Args:
        run: folder of one.
        expected: folder of the other.
        tolerance: largest difference of a logged number or weight, as a share of it; a weight, which the
            runs change by more than 0.001, may differ by as much besides: rounding grows with every step.

    Raises:
        AssertionError: one differs by more.
    """
    import torch

    from voiceface.checkpoints.native import load_model

    log, other = read_log_without_clock(run), read_log_without_clock(expected)
    assert [row.keys() for row in log] == [row.keys() for row in other]
    for row, wanted in zip(log, other):
        assert row == pytest.approx(wanted, rel=tolerance, abs=2e-6)
    state, wanted = (load_model(folder / "model.safetensors").state for folder in (run, expected))
    for key, value in wanted.items():
        assert torch.allclose(state[key], value, rtol=tolerance, atol=tolerance), key
