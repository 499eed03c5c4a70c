"""Configurations: what is bundled, what is checked, and what a wrong one is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from archetype_agnostic.config import ArchetypeAgnosticConfig
from voiceface.runtime.config import ConfigError, load_config, to_dict
from voiceface.testing.configurations import assert_complete, changed_values, flatten

Call = Callable[..., int]


def read(name: str, *words: str) -> ArchetypeAgnosticConfig:
    return load_config(name, ArchetypeAgnosticConfig, "archetype_agnostic", words)


def test_every_bundled_file_is_complete_and_named_after_itself() -> None:
    names = assert_complete("archetype_agnostic", ArchetypeAgnosticConfig)
    assert {"main", "published", "quick", "standard"} <= set(names)


def differing(a: str, b: str) -> set[str]:
    """Dotted keys in which two bundled files differ."""
    return set(changed_values(*(flatten(to_dict(read(name))) for name in (a, b))))


def test_published_and_meant_differ_in_the_quirks_only() -> None:
    assert differing("main", "published") == {
        "name",
        "regauging.differentiable",
        "regauging.weighting",
        "regauging.unweighted_mean",
        "equilibrium.hit_counting",
        "data.rotation",
        "data.second_sample",
        "data.sample_scale",
        "stopping.rule",
        "evaluation.tie_breaking",
    }


def test_main_has_the_published_numbers() -> None:
    """Defaults as published; see docs/archetype_agnostic.md."""
    config = flatten(to_dict(read("main")))
    expected = {
        "model.face.arch": "ir152",
        "loss.temperature": 0.5,
        "loss.cross_constant": 5.4,
        "loss.intra_constant": 6.0,
        "regauging.start_step": 6888,
        "regauging.trust_threshold": 0.15,
        "regauging.margin": 0.2,
        "regauging.inner_margin": 0.15,
        "regauging.scale": 10.0,
        "equilibrium.warm_up": 6440,
        "equilibrium.update_interval": 920,
        "optimiser.method": "sgd",
        "optimiser.lr": 0.01,
        "optimiser.weight_decay": 1e-4,
        "schedule.milestones": [6888, 9888],
        "training.max_steps": 27_000,
        "training.batch_size": 20,
        "training.validation_interval": 6888,
        "training.checkpoint_interval": 6888,
    }
    assert {key: config[key] for key in expected} == expected
    assert config["regauging.enabled"] and config["equilibrium.enabled"]


@pytest.mark.parametrize("name", ["main", "quick", "standard"])
def test_all_three_components_act_before_the_end(name: str) -> None:
    config = read(name)
    assert config.regauging.enabled and config.regauging.differentiable
    assert config.regauging.start_step < config.training.max_steps
    assert config.equilibrium.enabled and config.equilibrium.hit_counting != "never"
    assert config.equilibrium.warm_up % config.equilibrium.update_interval == 0
    assert config.equilibrium.warm_up <= config.regauging.start_step


def test_small_sets_change_the_size_of_things_and_not_the_method() -> None:
    method = ("loss.", "regauging.form", "regauging.differentiable", "regauging.weighting", "stopping.")
    for name in ("quick", "standard"):
        assert not [key for key in differing("main", name) if key.startswith(method)]


def test_a_misspelt_key_gets_the_nearest_one(call: Call, people: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["--cfg", "main", "--data", people, "--out", tmp_path / "run", "regauging.strat=3"]
    assert call("train", *words) == 1
    message = capsys.readouterr().err
    assert "regauging.strat" in message and "regauging.start_step" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["loss.temperature=0"], ["loss.temperature", "0"]),
        (["loss.cross_constant=0.5"], ["loss.cross_constant", "1"]),
        (["regauging.form=square"], ["regauging.form", "hinge", "circle"]),
        (["regauging.weighting=rows"], ["regauging.weighting", "per_row"]),
        (["equilibrium.hit_counting=often"], ["equilibrium.hit_counting", "last_window"]),
        (["equilibrium.update_interval=-2"], ["equilibrium.update_interval", "-2"]),
        (["data.second_sample=both"], ["data.second_sample", "distinct"]),
        (["data.crop_samples=[9,8]"], ["crop_samples", "shortest"]),
        (["training.batch_size=1"], ["training.batch_size", "2"]),
        (["stopping.patience=1"], ["stopping.patience", "2"]),
        (
            ["stopping.rule=patience", "training.validation_interval=null"],
            ["stopping.rule", "training.validation_interval"],
        ),
        (["model.face.arch=ir34"], ["model.face.arch", "ir50"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_expected(words: list[str], expected: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read("main", *words)
    assert all(text in str(caught.value) for text in expected), str(caught.value)
