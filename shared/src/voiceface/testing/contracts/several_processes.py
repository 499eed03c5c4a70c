"""Contract for runs that several processes share, and for runs that another number of processes resumes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from voiceface.testing import fault_injection
from voiceface.testing.contracts.subject import SystemUnderTest
from voiceface.testing.fault_injection import InterruptibleRun
from voiceface.testing.runs import read_log_without_clock

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


def assert_same_run(run: Path, expected: Path) -> None:
    """Compare logs and final weights of two runs.

    Raises:
        AssertionError: a logged number differs by more than 1e-4 of it, or a weight by more than 1e-4 of it
            and 1e-5.
    """
    import torch

    from voiceface.checkpoints.native import load_model

    log, other = read_log_without_clock(run), read_log_without_clock(expected)
    assert [row.keys() for row in log] == [row.keys() for row in other]
    for row, wanted in zip(log, other):
        assert row == pytest.approx(wanted, rel=1e-4, abs=2e-6)
    state, wanted = (load_model(folder / "model.safetensors").state for folder in (run, expected))
    for key, value in wanted.items():
        assert torch.allclose(state[key], value, rtol=1e-4, atol=1e-5), key
