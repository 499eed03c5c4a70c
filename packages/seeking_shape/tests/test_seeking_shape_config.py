"""Configurations: what is bundled, what is checked, and what a wrong one is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from seeking_shape.config import SeekingShapeConfig
from voiceface.runtime.config import ConfigError, load_config
from voiceface.testing.configurations import assert_complete, changed_values, load_bundled_values

Call = Callable[..., int]


def read(name: str, *words: str) -> SeekingShapeConfig:
    return load_config(name, SeekingShapeConfig, "seeking_shape", words)


def test_every_bundled_file_is_complete_and_named_after_itself() -> None:
    names = assert_complete("seeking_shape", SeekingShapeConfig)
    assert {"reweight", "main", "published_reweight", "published_main"} <= set(names)


def test_published_and_meant_differ_in_the_quirks_only() -> None:
    for name in ("reweight", "main"):
        meant, published = (
            load_bundled_values("seeking_shape", each, SeekingShapeConfig)
            for each in (name, f"published_{name}")
        )
        # What the paper means against what the code does.
        differing = set(changed_values(meant, published))
        assert differing == {
            "name",
            "loss.identity_loss_weighting",
            "data.rotation",
            "evaluation.tie_breaking",
        }


def test_the_two_steps_have_the_published_lengths() -> None:
    first, main = read("reweight"), read("main")
    assert (first.training.max_steps, main.training.max_steps) == (2400, 10_000)
    assert (first.weights.update_interval, main.weights.update_interval) == (100, None)
    assert first.training.validation_interval is None and main.training.validation_interval == 2000


def test_a_misspelt_key_gets_the_nearest_one(call: Call, people: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["--cfg", "main", "--data", people, "--out", tmp_path / "run", "training.max_itr=3"]
    assert call("train", *words) == 1
    message = capsys.readouterr().err
    assert "training.max_itr" in message and "training.max_steps" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["training.max_steps=soon"], ["training.max_steps", "soon"]),
        (["training.batch_size=1"], ["training.batch_size", "2"]),
        (["optimiser.lr=-1"], ["optimiser.lr", "0"]),
        (["optimiser.method=adamm"], ["optimiser.method", "adam"]),
        (["data.crop_samples=[9,8]"], ["crop_samples", "shortest"]),
        (["data.crop_samples=[40000,200000]"], ["crop_samples", "clip_samples"]),
        (["model.face.widths=[1,2]"], ["model.face.widths"]),
        (["training.freeze=[ear]"], ["training.freeze", "face"]),
        (["loss.loss_weight=[1,1]"], ["loss.loss_weight"]),
        (["weights.initial_loss=deaf"], ["weights.initial_loss", "chance"]),
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


def test_a_warm_up_longer_than_the_run_names_its_key():
    with pytest.raises(ConfigError, match=r"schedule\.warm_up \d+ does not fit into training\.max_steps 3"):
        load_config("quick", SeekingShapeConfig, "seeking_shape", ["training.max_steps=3"])
