"""Configurations: what is bundled, what is checked, and what a wrong one is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from seeking_shape.config import SeekingShapeConfig
from voiceface.config import ConfigError, bundled_configs, load_config, to_dict, to_yaml

Call = Callable[..., int]


def read(name: str, *words: str) -> SeekingShapeConfig:
    return load_config(name, SeekingShapeConfig, "seeking_shape", words)


def keys(tree: dict[str, Any], prefix: str = "") -> set[str]:
    """Dotted keys of nested dicts."""
    found = set()
    for key, value in tree.items():
        found |= keys(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key}
    return found


def test_every_bundled_file_is_complete_and_named_after_itself() -> None:
    names = bundled_configs("seeking_shape")
    assert {"reweight", "main", "published_reweight", "published_main"} <= set(names)
    for name in names:
        config = read(name)
        assert config.name == name
        again = yaml.safe_load(to_yaml(config))
        assert SeekingShapeConfig.model_validate(again) == config


def test_bundled_files_state_every_value() -> None:
    from importlib import resources

    for name in bundled_configs("seeking_shape"):
        text = (resources.files("seeking_shape") / "configs" / f"{name}.yaml").read_text()
        assert keys(to_dict(read(name))) - keys(yaml.safe_load(text)) == set(), name


def test_published_and_meant_differ_in_the_quirks_only() -> None:
    for name in ("reweight", "main"):
        meant, published = to_dict(read(name)), to_dict(read(f"published_{name}"))
        differing = {
            key for key in keys(meant) if _at(meant, key) != _at(published, key)
        }  # what the paper means against what the code does
        assert differing == {"name", "loss.identity_loss_weighting", "data.rotation", "evaluation.ties"}


def test_the_two_steps_have_the_published_lengths() -> None:
    first, main = read("reweight"), read("main")
    assert (first.training.max_iter, main.training.max_iter) == (2400, 10_000)
    assert (first.weights.update_every, main.weights.update_every) == (100, -1)
    assert first.training.validate_every == -1 and main.training.validate_every == 2000


def test_a_misspelt_key_gets_the_nearest_one(call: Call, people: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["--cfg", "main", "--data", people, "--out", tmp_path / "run", "training.max_itr=3"]
    assert call("train", *words) == 1
    message = capsys.readouterr().err
    assert "training.max_itr" in message and "training.max_iter" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["training.max_iter=soon"], ["training.max_iter", "soon"]),
        (["training.batch_size=1"], ["training.batch_size", "2"]),
        (["optimiser.lr=-1"], ["optimiser.lr", "0"]),
        (["optimiser.method=adamm"], ["optimiser.method", "adam"]),
        (["data.crop_samples=[9,8]"], ["crop_samples", "shortest"]),
        (["data.crop_samples=[40000,200000]"], ["crop_samples", "clip_samples"]),
        (["model.face.widths=[1,2]"], ["model.face.widths"]),
        (["training.freeze=[ear]"], ["training.freeze", "face"]),
        (["loss.loss_weight=[1,1]"], ["loss.loss_weight"]),
        (["weights.initial_loss=deaf"], ["weights.initial_loss", "blind"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_expected(words: list[str], expected: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read("main", *words)
    assert all(text in str(caught.value) for text in expected), str(caught.value)


def test_an_absent_or_broken_file_is_told(call: Call, people: Path, tmp_path: Path, capsys: Any) -> None:
    where = ["--data", people, "--out", tmp_path / "run"]
    assert call("train", "--cfg", "mian", *where) == 1
    message = capsys.readouterr().err
    assert "mian" in message and "main" in message.replace("mian", "")
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: [")
    assert call("train", "--cfg", broken, *where) == 1
    assert "broken.yaml" in capsys.readouterr().err


def test_published_powers_of_ten_are_numbers(tmp_path: Path) -> None:
    assert read("main", "optimiser.weight_decay=1e-3").optimiser.weight_decay == 0.001


def _at(tree: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        tree = tree[part]
    return tree
