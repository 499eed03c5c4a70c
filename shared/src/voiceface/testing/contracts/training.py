"""Contract for training runs: length, checkpoints, log, optimisers, provenance."""

import json
import math
from pathlib import Path

import pytest

from voiceface.runtime.config import bundled_configs
from voiceface.testing.commands import CommandRunner
from voiceface.testing.contracts.subject import SystemUnderTest
from voiceface.testing.corrupt_files import assert_mentions

__all__ = ["TrainingContract"]

Capture = pytest.CaptureFixture[str]


class TrainingContract:
    """Files of a finished run, and options that every system has."""

    def test_run_takes_max_steps_and_keeps_its_checkpoints(
        self, train: CommandRunner, tmp_path: Path
    ) -> None:
        import torch

        from voiceface.checkpoints.native import load_model

        out = tmp_path / "run"
        assert train(out, "training.max_steps=5", "training.checkpoint_interval=2") == 0
        log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        assert [row["step"] for row in log if "total_loss" in row] == [0, 1, 2, 3, 4]
        saved = sorted(path.stem for path in (out / "checkpoints").glob("step_*"))
        assert saved == ["step_000001", "step_000002", "step_000004", "step_000005"]
        model, last = (
            load_model(path)
            for path in (out / "model.safetensors", out / "checkpoints" / "step_000005.safetensors")
        )
        assert model.extra["step"] == 5 and model.state.keys() == last.state.keys()
        assert all(torch.equal(last.state[key], value) for key, value in model.state.items())

    def test_checkpoint_holds_identities_disclaimer_and_configuration(
        self, system: SystemUnderTest, trained: Path, population: Path
    ) -> None:
        from voiceface.association.data import load_split
        from voiceface.checkpoints.native import load_model
        from voiceface.datasets.disclaimers import SYNTHETIC_DATA_DISCLAIMER

        loaded = load_model(trained / "model.safetensors", system=system.package, kind="model")
        identities = [record.identity.face_id for record in load_split(population, "train").records]
        assert loaded.extra["names"] == identities
        assert loaded.extra["disclaimer"] == SYNTHETIC_DATA_DISCLAIMER
        assert loaded.config["name"] == system.config and loaded.config["training"]["log_interval"] == 1

    def test_every_bundled_configuration_trains_two_steps(
        self, system: SystemUnderTest, train: CommandRunner, tmp_path: Path
    ) -> None:
        names = bundled_configs(system.package)
        assert {"quick", system.config} <= set(names)
        for name in names:
            out = tmp_path / name
            assert train(out, "training.max_steps=2", *system.short_schedule, cfg=name) == 0, name
            log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
            assert [row["step"] for row in log if "total_loss" in row] == [0, 1], name

    def test_every_optimiser_changes_the_weights(
        self, system: SystemUnderTest, train: CommandRunner, tmp_path: Path
    ) -> None:
        import torch

        from voiceface.checkpoints.native import load_model

        for method in system.optimisers:
            out = tmp_path / method
            settings = [f"optimiser.method={method}", "optimiser.clip_gradient=1.0", "training.max_steps=2"]
            assert train(out, *settings) == 0, method
            log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
            assert all(math.isfinite(row["total_loss"]) for row in log), method
            first = load_model(out / "checkpoints" / "step_000001.safetensors").state
            last = load_model(out / "model.safetensors").state
            changed = [key for key in last if not torch.equal(first[key], last[key])]
            assert any(key.endswith("weight") for key in changed), method

    def test_synthetic_identities_in_memory_can_be_trained_on(
        self,
        system: SystemUnderTest,
        call: CommandRunner,
        tmp_path: Path,
        capsys: Capture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        from voiceface.checkpoints.native import load_model
        from voiceface.datasets.disclaimers import SYNTHETIC_DATA_DISCLAIMER

        # Starting processes takes longer than generating so few identities.
        monkeypatch.setattr("voiceface.runtime.process_pool.available_cpu_count", lambda: 1)
        words = ["--cfg", system.config, "--device", "cpu", *system.overrides, "training.max_steps=3"]
        assert call("train", "--population", "none", "--out", tmp_path / "none", *words) == 1
        assert_mentions(capsys.readouterr().err, "'none'", "tiny")
        validated = [*words, "training.validation_interval=1"]
        assert call("train", "--population", "tiny", "--out", tmp_path / "validated", *validated) == 1
        assert_mentions(capsys.readouterr().err, "training.validation_interval=null")
        out = tmp_path / "run"
        assert call("train", "--population", "tiny", "--out", out, *words) == 0
        extra = load_model(out / "model.safetensors").extra
        assert len(extra["names"]) == 16 and extra["disclaimer"] == SYNTHETIC_DATA_DISCLAIMER
        assert (out / "log.jsonl").read_text().count("total_loss") == 3
