"""Configurations: bundled files, what `published` switches on, refusals, the learning rate."""

import math

import pytest
from cmpc2.config import ClusteringConfig, Cmpc2Config
from voiceface.runtime.config import ConfigError, load_config, to_dict
from voiceface.testing.configurations import assert_complete, changed_values, load_bundled_values
from voiceface.training.lr_schedules import cosine_warmup_cycles


def read(name: str, *more: str) -> Cmpc2Config:
    return load_config(name, Cmpc2Config, "cmpc2", more)


def test_bundled_files_are_complete_and_named_after_themselves() -> None:
    assert assert_complete("cmpc2", Cmpc2Config) == ["main", "published", "quick", "standard"]


def test_main_is_the_default_of_every_key() -> None:
    stated, default = to_dict(read("main")), to_dict(Cmpc2Config(name="main"))
    assert stated == default


def test_published_differs_from_main_in_the_documented_quirks() -> None:
    computed, reference = (load_bundled_values("cmpc2", name, Cmpc2Config) for name in ("main", "published"))
    assert changed_values(computed, reference) == {
        "name": "published",
        "loss.prototype_negatives": "published",
        "clustering.lifetime": "one_step",
        "clustering.init": "first",
        "clustering.empty_clusters": "nan",
        "clustering.final_assignment": "published",
        "training.sampling": "replacement",
        "training.best_checkpoint": "lowest_loss",
        "evaluation.tie_breaking": "first",
        "evaluation.eer_method": "corner",
    }


def test_first_clustering_has_the_published_step() -> None:
    clustering = read("main").clustering
    due = [step for step in range(4000) if clustering.is_due(step)]
    assert due[:3] == [2538, 2820, 3102]
    assert not ClusteringConfig(start_step=0, interval=2).is_due(0), "nothing has been learnt yet"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("optimiser.warm_up=25000", "does not fit into a cycle of 25000"),
        ("clustering.num_clusters=[5,5]", "expected different numbers"),
        ("clustering.num_clusters=[]", "expected different numbers"),
        ("training.best_checkpoint=validation", "set training.validation_interval"),
        ("loss.temperature=0", "loss.temperature"),
        ("memory.momentum=1.5", "memory.momentum"),
        ("loss.prototype_negative=all", "loss.prototype_negatives"),
        ("data.voice.frontend=mel", "data.voice.frontend"),
        ("model.face.arch=resnet20", "model.face.arch"),
    ],
)
def test_invalid_value_is_named(word: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        read("main", word)


def test_momentum_can_be_a_pair() -> None:
    assert read("main", "memory.momentum=[0.5,0.9]").memory.momentum == (0.5, 0.9)


def test_learning_rate_has_warm_up_and_cycles() -> None:
    rate = cosine_warmup_cycles(5e-3, 1e-4, 25000, 2500)
    assert rate(0) == 1e-4 and rate(2500) == 5e-3 and rate(25000) == 1e-4
    assert rate(1250) == pytest.approx((5e-3 + 1e-4) / 2) == pytest.approx(rate(2500 + 11250))
    assert rate(24999) == pytest.approx(1e-4, rel=1e-4)
    assert rate(2500 + 5000) == pytest.approx(1e-4 + 4.9e-3 * (1 + math.cos(math.pi * 5000 / 22500)) / 2)
    assert [rate(25000 + step) for step in (1, 3000)] == [rate(1), rate(3000)]
    assert all(rate(s) < rate(s + 1) for s in range(2500)) and all(
        rate(s) > rate(s + 1) for s in range(2500, 24999)
    )
    with pytest.raises(ValueError, match="does not fit"):
        cosine_warmup_cycles(1.0, 0.0, 5, 5)
