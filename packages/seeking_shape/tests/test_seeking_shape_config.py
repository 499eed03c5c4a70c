"""Configurations: bundled files, values of the published ones, errors of invalid values."""

import pytest
from seeking_shape.config import SeekingShapeConfig
from voiceface.runtime.config import ConfigError, load_config
from voiceface.testing.configurations import assert_complete, changed_values, load_bundled_values


def read(name: str, *words: str) -> SeekingShapeConfig:
    return load_config(name, SeekingShapeConfig, "seeking_shape", words)


def test_bundled_files_are_complete_and_named_after_themselves() -> None:
    names = assert_complete("seeking_shape", SeekingShapeConfig)
    assert {"reweight", "main", "published_reweight", "published_main"} <= set(names)


def test_published_configurations_differ_in_the_documented_quirks() -> None:
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
            "data.own_channel",
            "evaluation.tie_breaking",
        }


def test_both_steps_have_the_published_lengths() -> None:
    first, main = read("reweight"), read("main")
    assert (first.training.max_steps, main.training.max_steps) == (2400, 10_000)
    assert (first.weights.update_interval, main.weights.update_interval) == (100, None)
    assert first.training.validation_interval is None and main.training.validation_interval == 2000


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["optimiser.lr=-1"], ["optimiser.lr", "0"]),
        (["data.crop_samples=[9,8]"], ["crop_samples", "shortest"]),
        (["data.crop_samples=[40000,200000]"], ["crop_samples", "clip_samples"]),
        (["training.freeze=[ear]"], ["training.freeze", "face"]),
        (["loss.loss_weight=[1,1]"], ["loss.loss_weight"]),
        (["weights.initial_loss=deaf"], ["weights.initial_loss", "chance"]),
    ],
)
def test_invalid_value_is_named_with_the_expected_one(words: list[str], expected: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read("main", *words)
    assert all(text in str(caught.value) for text in expected), str(caught.value)


def test_powers_of_ten_are_numbers() -> None:
    assert read("main", "optimiser.weight_decay=1e-3").optimiser.weight_decay == 0.001


def test_warm_up_longer_than_the_run_names_its_key() -> None:
    with pytest.raises(ConfigError, match=r"schedule\.warm_up \d+ does not fit into training\.max_steps 3"):
        load_config("quick", SeekingShapeConfig, "seeking_shape", ["training.max_steps=3"])
