"""Identity weights between the steps of the method: corrupt sources, resumption without them."""

from pathlib import Path

import pytest
from voiceface.checkpoints.native import load_model, save_model
from voiceface.testing import corrupt_files
from voiceface.testing.commands import CommandRunner
from voiceface.testing.corrupt_files import assert_mentions
from voiceface.testing.fault_injection import InterruptibleRun
from voiceface.testing.runs import run_outcome


def test_corrupt_and_foreign_checkpoints_give_no_identity_weights(
    call: CommandRunner, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = trained / "model.safetensors"
    truncated = corrupt_files.write_truncated(source, tmp_path / "truncated.safetensors")
    flipped = corrupt_files.write_bit_flipped(source, tmp_path / "flipped.safetensors")
    foreign = tmp_path / "foreign.safetensors"
    save_model(foreign, load_model(source).state, system="sf2f", kind="model", config={})
    for path, expected in (
        (truncated, ["truncated"]),
        (flipped, ["corrupt"]),
        (foreign, ["another system", "sf2f", "seeking_shape"]),
    ):
        assert call("extract_id_weight", path, "--out", tmp_path / "id_weight.safetensors") == 1
        assert_mentions(capsys.readouterr().err, path, *expected)
        assert not (tmp_path / "id_weight.safetensors").exists()


def test_run_resumed_without_its_identity_weights_keeps_their_source(
    interruptible_run: InterruptibleRun, id_weights: Path, tmp_path: Path
) -> None:
    out, fixed = tmp_path / "run", "weights.update_interval=null"
    assert interruptible_run.train(out, "--id-weights", str(id_weights), fixed) == 0
    before = run_outcome(out)
    assert interruptible_run.train(out, "--resume", fixed) == 0
    assert run_outcome(out) == before
