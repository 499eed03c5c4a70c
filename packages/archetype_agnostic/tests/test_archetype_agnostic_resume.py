"""State of a run that only this system has: hit counters, early stopping, counts of several processes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from voiceface.checkpoints.native import load_model
from voiceface.testing import fault_injection
from voiceface.testing.fault_injection import InterruptibleRun
from voiceface.testing.runs import read_log_without_clock, run_outcome
from voiceface.training.run import Run

STEPS = 8
SLOW = "optimiser.lr=0.001"  # a rounding error must not grow into a difference


def test_reference_run_has_state_to_lose(interruptible_run: InterruptibleRun) -> None:
    """Counters, weights and terms differ between the saves, so that each must be restored."""
    run = interruptible_run.reference_run
    states = [load_model(run / "checkpoints" / f"step_{step:06d}.safetensors").state for step in (1, 3, 6, 8)]
    for key in ("eqm.corr_num", "eqm.compare_sum"):
        assert len({tuple(state[key].tolist()) for state in states}) == 4
    assert (states[1]["eqm.weight"] == 1).all() and states[2]["eqm.weight"].unique().numel() > 2
    assert all(row["trip_cross"] > 0 for row in read_log_without_clock(run) if "trip_cross" in row)


def test_run_with_early_stopping_resumes_to_the_same_result(
    interruptible_run: InterruptibleRun, tmp_path: Path
) -> None:
    """A run that is stopped after its last validation still ends with it."""
    words = ["stopping.rule=patience", "stopping.patience=2", "training.max_steps=5", "training.batch_size=2"]
    words += ["optimiser.lr=1.0e-12"]  # accuracies stay: the second validation ends the run, in its epoch
    alone, out = tmp_path / "alone", tmp_path / "run"
    assert interruptible_run.train(alone, *words) == 0
    steps = [row["step"] for row in read_log_without_clock(alone) if "total_loss" in row]
    assert steps == list(range(10))  # validated before 4 and 8, five steps an epoch

    class Stop(Exception):
        """Ends the run without a further save."""

    plain = Run.log

    def log(run: Run, step: int, *values: Any, **options: Any) -> None:
        plain(run, step, *values, **options)
        if step == 9:  # saved after nine steps, the last time
            raise Stop

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Run, "log", log)
        interruptible_run.train(out, *words)
    assert interruptible_run.train(out, "--resume", *words) == 0
    assert run_outcome(out) == run_outcome(alone)


@pytest.mark.parametrize(
    ("word", "difference"),
    [
        (
            "equilibrium.hit_counting=last_window",
            "equilibrium.hit_counting: 'always' in the run, 'last_window' given",
        ),
        ("regauging.start_step=4", "regauging.start_step: 3 in the run, 4 given"),
    ],
)
def test_changed_method_is_refused_on_resume(
    interruptible_run: InterruptibleRun, capsys: pytest.CaptureFixture[str], word: str, difference: str
) -> None:
    assert interruptible_run.train(interruptible_run.reference_run, "--resume", word) == 1
    assert difference in capsys.readouterr().err


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


def test_processes_with_local_negatives_share_their_counts(
    interruptible_run: InterruptibleRun, start_process: Callable[..., Any], tmp_path: Path
) -> None:
    out, errors = tmp_path / "run", tmp_path / "errors"
    words = interruptible_run.build_arguments(out, SLOW, "loss.negatives=local")
    fault_injection.run_in_two_processes(start_process, keep_counters, words, errors)
    own, other = (json.loads(Path(f"{errors}.{rank}").read_text()) for rank in "01")
    assert own == other
    # since the refresh before step 5: three steps of two processes with four rows each, three negatives a row
    assert sum(own["compare_sum"]) == 3 * 8 * 3
    saved = load_model(out / "model.safetensors").state
    assert saved["eqm.compare_sum"].tolist() == own["compare_sum"]
    assert saved["eqm.corr_num"].tolist() == own["corr_num"]
    assert saved["eqm.weight"].unique().numel() > 2
    rows = [row for row in read_log_without_clock(out) if "trip_cross" in row]
    assert len(rows) == STEPS - 3 and all(row["trip_cross"] > 0 for row in rows)
