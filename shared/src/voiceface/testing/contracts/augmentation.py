"""Contract for runs with random changes of training data (`data.augmentation`)."""

from pathlib import Path

import pytest

from voiceface.testing import fault_injection, runs
from voiceface.testing.commands import CommandRunner
from voiceface.testing.contracts.resume import ProcessStarter
from voiceface.testing.contracts.subject import SystemUnderTest
from voiceface.testing.fault_injection import InterruptibleRun
from voiceface.testing.runs import read_log_without_clock

__all__ = ["AUGMENTATION", "AugmentationContract"]

AUGMENTATION = (
    "data.augmentation.voice={noise: {}, codec: {kinds: [mp3]}, spec_augment: {}}",
    "data.augmentation.face={colour: {}, blur: {}, jpeg: {}, erasing: {}}",
)
"""All items that need no further package."""

Capture = pytest.CaptureFixture[str]


class AugmentationContract:
    """Batches with random changes are functions of seed and step; evaluation is never changed."""

    @pytest.fixture(scope="class")
    def augmented_run(
        self, system: SystemUnderTest, population: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> InterruptibleRun:
        """A run with augmentation to interrupt, and its uninterrupted reference."""
        overrides = (*system.overrides, *system.interrupted, *AUGMENTATION)

        def build_arguments(out: Path, *more: str) -> list[str]:
            return runs.training_arguments(population, out, system.config, overrides, more)

        reference = tmp_path_factory.mktemp("augmented") / "run"
        run = InterruptibleRun(f"{system.package}.train", build_arguments, reference, system.outputs)
        assert run.train(reference) == 0
        return run

    def test_augmented_run_is_resumed_exactly(
        self, augmented_run: InterruptibleRun, start_process: ProcessStarter, tmp_path: Path
    ) -> None:
        fault_injection.check_killed_during_save(augmented_run, start_process, tmp_path / "run", 4)

    def test_augmentation_does_not_depend_on_worker_processes(
        self, augmented_run: InterruptibleRun, interruptible_run: InterruptibleRun, tmp_path: Path
    ) -> None:
        import torch

        from voiceface.checkpoints.native import load_model

        out = tmp_path / "run"
        assert augmented_run.train(out, "training.num_workers=2", "data.in_memory=false") == 0
        places = (out, augmented_run.reference_run, interruptible_run.reference_run)
        state, expected, plain = (load_model(run / "model.safetensors").state for run in places)
        assert all(torch.equal(expected[key], value) for key, value in state.items())
        assert not all(torch.equal(plain[key], value) for key, value in state.items()), "nothing was changed"
        assert read_log_without_clock(out) == read_log_without_clock(augmented_run.reference_run)

    @pytest.mark.parametrize(
        ("word", "texts"),
        [
            ("data.augmentation.voice.noise.snr_db=[9.0,1.0]", ["voice.noise.snr_db"]),
            ("data.augmentation.face.jpeg.quality=[0,50]", ["face.jpeg.quality", "1...100"]),
            (
                "data.augmentation.voice.noise.folder=nowhere",
                ["data.augmentation.voice.noise.folder nowhere", "no such folder"],
            ),
        ],
    )
    def test_wrong_augmentation_is_refused_by_its_key(
        self, train: CommandRunner, tmp_path: Path, capsys: Capture, word: str, texts: list[str]
    ) -> None:
        assert train(tmp_path / "run", word) == 1
        message = capsys.readouterr().err
        assert all(text in message for text in texts)
