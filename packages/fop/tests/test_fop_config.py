"""Configurations of fop: complete, published deviations, combinations that are refused."""

from typing import Any

import pytest
from fop.config import FopConfig
from voiceface.runtime.config import ConfigError, load_config, to_dict
from voiceface.testing.configurations import assert_complete, changed_values, load_bundled_values

PUBLISHED = {
    "training.row_order": "once",
    "training.last_batch": "drop",
    "training.epochs": 49,
    "training.selected_by": "eer",
    "data.pairing": "rows",
    "data.validation_share": 0.0,
    "evaluation.score": "euclidean",
}


def load(*overrides: str, name: str = "main") -> FopConfig:
    return load_config(name, FopConfig, "fop", overrides)


def used_values(config: FopConfig) -> dict[str, Any]:
    """Values of a configuration without the sections of objectives that it does not train with."""
    values = to_dict(config)
    objective = values["loss"]["objective"]
    values["loss"] = {key: each for key, each in values["loss"].items() if key in ("objective", objective)}
    return values


def test_bundled_configurations_state_every_value_that_they_use() -> None:
    assert {"main", "published", "published_fame", "quick", "standard"} <= set(
        assert_complete("fop", FopConfig, used_values)
    )


def test_published_configurations_set_the_published_deviations() -> None:
    main = load_bundled_values("fop", "main", FopConfig)
    paper, fame = (
        changed_values(main, load_bundled_values("fop", name, FopConfig))
        for name in ("published", "published_fame")
    )
    for changes in (paper, fame):
        assert {key: changes.get(key) for key in PUBLISHED} == PUBLISHED
    assert (paper["optimiser.lr"], fame["optimiser.lr"]) == (1e-5, 1e-2)
    assert paper["training.best_checkpoint"] == "test" and fame["training.best_checkpoint"] == "none"
    assert fame["training.batch_size"] == 32
    for name, alphas in (("published", (0.0,)), ("published_fame", (1.0,))):
        config = load(name=name)
        assert config.loss.fop.alphas == alphas
        assert (config.model.voice_dim, config.model.face_dim) == (512, 4096)
        assert (config.model.fusion, config.model.branch) == ("gated", "relu")


def test_list_of_alphas_can_be_used_whole() -> None:
    config = load("loss.fop.alphas_used=all", name="published")
    assert config.loss.fop.alphas == (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluation.trial_labels=parity", "even lines are not the pairs of one person"),
        ("training.validation_interval=null", "needs validations"),
        ("model.fusion=none", r"loss\.objective=fop needs model\.fusion=gated or linear"),
        ("loss.fop.alpha=[]", "an empty list"),
        ("loss.fop.alpha=-1", "greater than or equal to 0"),
        ("training.batch_size=1", "greater than or equal to 2"),
    ],
)
def test_impossible_combinations_are_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(override)
