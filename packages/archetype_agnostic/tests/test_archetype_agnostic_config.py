"""Configurations: bundled files, values of the published ones, errors of invalid values."""

import pytest
from archetype_agnostic.config import ArchetypeAgnosticConfig
from voiceface.runtime.config import ConfigError, load_config, to_dict
from voiceface.testing.configurations import assert_complete, changed_values, flatten


def read(name: str, *words: str) -> ArchetypeAgnosticConfig:
    return load_config(name, ArchetypeAgnosticConfig, "archetype_agnostic", words)


def test_bundled_files_are_complete_and_named_after_themselves() -> None:
    names = assert_complete("archetype_agnostic", ArchetypeAgnosticConfig)
    assert {"main", "published", "quick", "standard"} <= set(names)


def differing(a: str, b: str) -> set[str]:
    """Dotted keys in which two bundled files differ."""
    return set(changed_values(*(flatten(to_dict(read(name))) for name in (a, b))))


def test_main_has_the_published_numbers() -> None:
    """Defaults as published; see docs/archetype_agnostic.md."""
    config = flatten(to_dict(read("main")))
    expected = {
        "model.face.arch": "ir152",
        "model.face.hidden_dim": 256,
        "model.voice.hidden_dim": 128,
        "loss.temperature": 0.5,
        "loss.cross_constant": 5.4,
        "loss.intra_constant": 6.0,
        "regauging.start_step": 6888,
        "regauging.form": "hinge",
        "regauging.trust_threshold": 0.15,
        "regauging.margin": 0.2,
        "regauging.inner_margin": 0.15,
        "regauging.scale": 10.0,
        "equilibrium.warm_up": 6440,
        "equilibrium.update_interval": 920,
        "equilibrium.normalise": "none",
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
def test_all_components_act_before_the_end(name: str) -> None:
    config = read(name)
    assert config.regauging.enabled and config.regauging.differentiable
    assert config.regauging.start_step < config.training.max_steps
    assert config.equilibrium.enabled and config.equilibrium.hit_counting != "never"
    assert config.equilibrium.warm_up % config.equilibrium.update_interval == 0
    assert config.equilibrium.warm_up <= config.regauging.start_step


def test_small_presets_keep_the_method() -> None:
    method = ("loss.", "regauging.form", "regauging.differentiable", "regauging.weighting", "stopping.")
    for name in ("quick", "standard"):
        assert not [key for key in differing("main", name) if key.startswith(method)]


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
        (["equilibrium.normalise=sum"], ["equilibrium.normalise", "mean_one"]),
        (["regauging.begin=5"], ["regauging.begin"]),
        (["regaugin.start=5"], ["regaugin", "regauging"]),
        (["regauging.strat_step=3"], ["regauging.strat_step", "regauging.start_step"]),
        (["stopping.patience=1"], ["stopping.patience", "2"]),
        (
            ["stopping.rule=patience", "training.validation_interval=null"],
            ["stopping.rule", "training.validation_interval"],
        ),
        (["model.face.arch=ir34"], ["model.face.arch", "ir50"]),
    ],
)
def test_invalid_value_is_named_with_the_expected_one(words: list[str], expected: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read("main", *words)
    assert all(text in str(caught.value) for text in expected), str(caught.value)
