"""Published configuration files in our terms."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from published_seeking_shape_files import MAIN
from seeking_shape.config import SeekingShapeConfig
from seeking_shape.published_config import is_published, main, read_published_config, translate
from voiceface.runtime.config import ConfigError, load_config


def changed(path: str, value: object) -> dict[str, Any]:
    """MAIN with one key set."""
    tree = yaml.safe_load(yaml.safe_dump(MAIN))
    place = tree
    *folders, last = path.split(".")
    for key in folders:
        place = place.setdefault(key, {})
    place[last] = value
    return tree


def test_published_main_run_is_the_bundled_published_main() -> None:
    result = translate(MAIN)
    computed = load_config("published_main", SeekingShapeConfig, "seeking_shape").model_dump()
    reference = result.config.model_dump()
    reference["model"]["num_classes"] = computed["model"]["num_classes"]  # ours follows the data
    for section in ("model", "loss", "weights", "optimiser", "schedule", "data"):
        assert reference[section] == computed[section], section
    for key in ("max_steps", "batch_size", "checkpoint_interval", "validation_interval", "validation_start"):
        assert reference["training"][key] == computed["training"][key]
    assert result.paths["start weights"].endswith("id_weight.pth")
    assert result.paths["images"] == "./data/VGG_ALL_FRONTAL"
    assert result.fine_tune


def test_switches_are_translated() -> None:
    assert not translate(changed("models.with_cross", False)).config.loss.explicit
    assert not translate(changed("models.weight", False)).config.weights.enabled
    assert translate(changed("models.conponents.F.freeze", True)).config.training.freeze == ("face",)
    without_face = changed("training.optimizer.match.train_params", ["V", "center"])
    assert translate(without_face).config.training.freeze == ("face",)
    assert "start weights" not in translate(changed("training.resume_train", "none")).paths
    assert translate(changed("training.weight_update_iter", 100)).config.weights.update_interval == 100


def test_numbers_written_as_text_are_translated() -> None:
    result = translate(changed("training.optimizer.match.weight_decay", "5e-4"))
    assert result.config.optimiser.weight_decay == 5e-4


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("training.batchsizes", 64, "did you mean training.batchsize"),
        ("models.conponents.F.model", "ResNet18", "only 'SEResNet50IR'"),
        ("dataset.modal", "image", "only 'both'"),
        ("models.conponents.V.output_channel", 64, "one output_channel"),
        ("training.max_iter", "many", "max_steps"),
    ],
)
def test_values_without_translation_are_named(path: str, value: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        translate(changed(path, value))


def test_command_prints_a_configuration_that_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train_main.yaml").write_text(yaml.safe_dump(MAIN))
    assert main([str(tmp_path / "train_main.yaml")]) == 0
    printed = capsys.readouterr()
    (tmp_path / "mine.yaml").write_text(printed.out)
    config = load_config(tmp_path / "mine.yaml", SeekingShapeConfig, "seeking_shape")
    assert (
        load_config(tmp_path / "train_main.yaml", SeekingShapeConfig, "seeking_shape") == config
    )  # recognised as it is
    assert config == read_published_config(tmp_path / "train_main.yaml").config
    assert "start weights: ./save" in printed.err
    assert main([str(tmp_path / "absent.yaml")]) == 1
    assert is_published(MAIN) and not is_published(yaml.safe_load(printed.out))
