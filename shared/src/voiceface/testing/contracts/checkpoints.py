"""Contract for checkpoints that are missing, corrupt, malicious, or of another system."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from voiceface.testing import corrupt_files
from voiceface.testing.commands import CommandRunner
from voiceface.testing.contracts.subject import SystemUnderTest
from voiceface.testing.corrupt_files import assert_mentions

__all__ = ["CheckpointContract"]

Capture = pytest.CaptureFixture[str]
Refusal = Callable[[Path], list[str]]


class CheckpointContract:
    """Checkpoints that no command may use: each names the file and runs no code in it."""

    @pytest.fixture
    def refusals(
        self,
        call: CommandRunner,
        train: CommandRunner,
        population: Path,
        utterances: list[Path],
        tmp_path: Path,
        capsys: Capture,
    ) -> Refusal:
        """Give a checkpoint to every command, which must fail; returns the messages."""
        commands: dict[str, list[str | Path]] = {
            "embed": [utterances[0], "--out", tmp_path / "table.npz"],
            "match": [utterances[0], "--gallery", population / "faces"],
            "test": ["--data", population, "--generate-lists", "1", "--out", tmp_path / "results"],
        }

        def run(path: Path) -> list[str]:
            messages = []
            for command, words in commands.items():
                assert call(command, *words, "--weights", path) == 1, command
                messages.append(capsys.readouterr().err)
            assert train(tmp_path / "refused", "--checkpoint", path, "training.max_steps=1") == 1
            messages.append(capsys.readouterr().err)
            assert all("error: " in text and "Traceback" not in text for text in messages)
            return messages

        return run

    def test_missing_checkpoint(self, refusals: Refusal, tmp_path: Path) -> None:
        for name in ("absent.safetensors", "absent.pth.tar", "absent"):
            for message in refusals(tmp_path / name):
                assert_mentions(message, tmp_path / name)

    def test_malicious_checkpoint_runs_no_code(
        self, system: SystemUnderTest, refusals: Refusal, tmp_path: Path
    ) -> None:
        marker = tmp_path / "marker"
        for path in corrupt_files.write_malicious_checkpoints(tmp_path, marker, system.required_key):
            for message in refusals(path):
                assert_mentions(message, path)
            assert not marker.exists(), path

    def test_every_checkpoint_flag_refuses_missing_and_malicious_files(
        self, system: SystemUnderTest, train: CommandRunner, tmp_path: Path, capsys: Capture
    ) -> None:
        marker, absent = tmp_path / "marker", tmp_path / "absent.pth"
        malicious = corrupt_files.write_malicious_checkpoints(tmp_path, marker, system.required_key)
        for flag in system.checkpoint_flags:
            assert train(tmp_path / "run", flag, absent, "training.max_steps=1") == 1, flag
            assert_mentions(capsys.readouterr().err, "error: ", flag, absent)
            for path in malicious:
                assert train(tmp_path / "run", flag, path, "training.max_steps=1") == 1, flag
                assert_mentions(capsys.readouterr().err, "error: ", path)
                assert not marker.exists(), flag

    @pytest.mark.parametrize("damage", ["truncated", "bit_flipped", "another_system", "another_kind"])
    def test_corrupt_or_foreign_checkpoint(
        self, system: SystemUnderTest, trained: Path, refusals: Refusal, tmp_path: Path, damage: str
    ) -> None:
        from voiceface.checkpoints.native import load_model, save_model

        source, path = trained / "model.safetensors", tmp_path / f"{damage}.safetensors"
        if damage == "truncated":
            corrupt_files.write_truncated(source, path)
            expected = ["truncated"]
        elif damage == "bit_flipped":
            corrupt_files.write_bit_flipped(source, path)
            expected = ["corrupt"]
        else:
            loaded = load_model(source)
            header = {"system": system.package, "kind": "model", damage.removeprefix("another_"): "other"}
            save_model(path, loaded.state, config=loaded.config, extra=loaded.extra, **header)  # type: ignore[arg-type]
            expected = [damage.replace("_", " "), "'other'"]
        for message in refusals(path):
            assert_mentions(message, path, *expected)

    def test_incomplete_checkpoint_names_the_missing_key(
        self, system: SystemUnderTest, trained: Path, refusals: Refusal, tmp_path: Path
    ) -> None:
        from voiceface.checkpoints.native import load_model, save_model

        loaded, path = load_model(trained / "model.safetensors"), tmp_path / "incomplete.safetensors"
        state = {key: value for key, value in loaded.state.items() if key != system.required_key}
        assert len(state) < len(loaded.state)
        save_model(path, state, system=system.package, kind="model", config=loaded.config, extra=loaded.extra)
        for message in refusals(path):
            assert_mentions(message, system.required_key)

    def test_checkpoint_of_another_architecture(
        self, trained: Path, train: CommandRunner, tmp_path: Path, capsys: Capture
    ) -> None:
        path = trained / "model.safetensors"
        words = ["--checkpoint", path, "training.max_steps=1", "model.face.widths=[12,8,8,8]"]
        assert train(tmp_path / "run", *words) == 1
        assert_mentions(capsys.readouterr().err, "error: ", path, "architecture", "(8,", "(12,")

    def test_missing_gpu(
        self,
        system: SystemUnderTest,
        call: CommandRunner,
        population: Path,
        utterances: list[Path],
        trained: Path,
        tmp_path: Path,
        capsys: Capture,
    ) -> None:
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
        weights = ["--weights", trained]
        for words in (
            [
                "train",
                "--cfg",
                system.config,
                "--data",
                population,
                "--out",
                tmp_path / "run",
                *system.overrides,
            ],
            ["embed", utterances[0], *weights, "--out", tmp_path / "table.npz"],
            ["match", utterances[0], "--gallery", population / "faces", *weights],
            ["test", "--data", population, *weights, "--generate-lists", "1", "--out", tmp_path / "results"],
        ):
            assert call(*words, "--device", "cuda") == 1, words[0]
            assert_mentions(capsys.readouterr().err, "cuda", "--device cpu")

    # run folders

    def test_run_folder_that_is_not_empty(
        self, train: CommandRunner, trained: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        out = tmp_path / "run"
        out.mkdir()
        (out / "letter.txt").touch()
        assert train(out, "training.max_steps=1") == 1
        assert_mentions(capsys.readouterr().err, out, "not empty", "letter.txt", "--resume")
        (out / "letter.txt").unlink()
        assert train(out, "training.max_steps=1") == 0
        assert train(out, "training.max_steps=1") == 1
        assert_mentions(capsys.readouterr().err, out, "not empty", "--resume", "--out")

    def test_nothing_to_resume(self, train: CommandRunner, tmp_path: Path, capsys: Capture) -> None:
        out = tmp_path / "run"
        assert train(out, "--resume", "training.max_steps=1") == 1
        assert_mentions(capsys.readouterr().err, "nothing to resume", out)
        assert not out.exists()

    def test_run_without_its_model_file(self, trained: Path, refusals: Refusal, tmp_path: Path) -> None:
        run = tmp_path / "unfinished"
        shutil.copytree(trained, run)
        (run / "model.safetensors").unlink()
        for message in refusals(run):
            assert_mentions(message, run)
