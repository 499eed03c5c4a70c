"""Contract for configurations and help texts: mistakes are named together with the nearest valid value."""

from collections.abc import Callable
from pathlib import Path

import pytest

from voiceface.testing.commands import CommandRunner, assert_light_help
from voiceface.testing.contracts.subject import SystemUnderTest
from voiceface.testing.corrupt_files import assert_mentions

__all__ = ["ConfigurationContract"]

Capture = pytest.CaptureFixture[str]
ConfigurationError = Callable[..., str]


class ConfigurationContract:
    """Configurations that are misspelt, out of range or unreadable; help of every command."""

    @pytest.fixture
    def configuration_error(
        self, call: CommandRunner, system: SystemUnderTest, population: Path, tmp_path: Path, capsys: Capture
    ) -> ConfigurationError:
        """Train with a wrong configuration, which must fail before anything is written."""

        def run(*words: str, cfg: str | Path = system.config) -> str:
            out = tmp_path / "run"
            assert call("train", "--cfg", cfg, "--data", population, "--out", out, *words) == 1
            message = capsys.readouterr().err
            assert "error: " in message and "Traceback" not in message and not out.exists()
            return message

        return run

    @pytest.mark.parametrize(
        ("word", "expected"),
        [
            ("training.max_itr=3", ["training.max_itr", "did you mean", "training.max_steps"]),
            ("trainig.seed=3", ["trainig", "did you mean", "training"]),
            ("training.max_steps=soon", ["training.max_steps", "soon"]),
            ("training.max_steps=0", ["training.max_steps", "0"]),
            ("training.batch_size=1", ["training.batch_size", "2"]),
            ("training.precision=float8", ["training.precision", "float32"]),
            ("optimiser.method=adamm", ["optimiser.method", "adam"]),
            ("optimiser.weight_decay=-1", ["optimiser.weight_decay", "0"]),
            ("model.face.widths=[1,2]", ["model.face.widths"]),
            ("model.embedding_dim=0", ["model.embedding_dim"]),
            ("evaluation.tie_breaking=last", ["evaluation.tie_breaking", "expected"]),
        ],
    )
    def test_wrong_value_is_named_with_the_expected_one(
        self, configuration_error: ConfigurationError, word: str, expected: list[str]
    ) -> None:
        assert_mentions(configuration_error(word), *expected)

    def test_misspelt_configuration_suggests_the_nearest_name(
        self, configuration_error: ConfigurationError, system: SystemUnderTest
    ) -> None:
        misspelt = system.config[0] + system.config[2] + system.config[1] + system.config[3:]
        message = configuration_error(cfg=misspelt)
        assert_mentions(message, misspelt)
        assert_mentions(message.replace(misspelt, ""), system.config)

    def test_configuration_file_that_is_no_yaml(
        self, configuration_error: ConfigurationError, tmp_path: Path
    ) -> None:
        path = tmp_path / "broken.yaml"
        path.write_text("name: [")
        assert_mentions(configuration_error(cfg=path), path)

    def test_help_lists_the_commands(
        self, system: SystemUnderTest, call: CommandRunner, capsys: Capture
    ) -> None:
        assert call("--help") == 0
        assert_mentions(capsys.readouterr().out, *system.commands)

    def test_help_of_every_command_is_light(self, system: SystemUnderTest) -> None:
        for command in system.commands:
            assert_light_help(system.package, command)
