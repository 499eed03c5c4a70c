"""Configurations: bundled files, differences of the published ones, invalid values, the learning rate."""

from typing import Any

import pytest
from perceptionist.config import PerceptionistConfig, config_to_dict
from perceptionist.train import build_lr_schedule
from tiny_perceptionist_runs import KINDS, tiny_config
from voiceface.runtime.config import ConfigError, load_config
from voiceface.testing import configurations


def bundled(name: str) -> dict[str, Any]:
    return configurations.load_bundled_values("perceptionist", name, PerceptionistConfig, config_to_dict)


def test_every_bundled_file_is_complete_and_has_its_own_name() -> None:
    names = configurations.assert_complete("perceptionist", PerceptionistConfig, config_to_dict)
    assert {*KINDS, *(f"quick_{kind}" for kind in KINDS), "published_unsupervised"} <= set(names)


def test_published_and_default_configurations_differ_in_the_quirks_only() -> None:
    default, published = bundled("unsupervised"), bundled("published_unsupervised")
    assert configurations.changed_values(default, published) == {
        "name": "published_unsupervised",
        "losses.distillation.pkt_order": "teacher_first",
        "losses.triplet.distance": "axis",
        "data.triplet_sampling": "published",
        "training.voice_network": "batch_statistics",
        "evaluation.mean_over": "utterances",
    }


def test_the_cascade_has_the_published_numbers() -> None:
    """The numbers of the published code (docs/perceptionist.md)."""
    values = bundled("unsupervised")
    expected = {
        "networks.generator.channels": [1024, 512, 256, 128, 64],
        "networks.student.image_size": 120,
        "losses.distillation.vertex_weight": 0.5,
        "losses.distillation.pkt_weight": 10000.0,
        "losses.triplet.weight": 1.5,
        "data.frames.clip": 800,
        "data.frames.min_crop": 300,
        "optimiser.lr": 2e-4,
        "optimiser.betas": [0.5, 0.999],
        "training.max_steps": 50_000,
        "training.batch_size": 64,
        "training.embedding_noise_std": 0.05,
        "training.validation_interval": 2000,
    }
    assert {key: values[key] for key in expected} == expected


@pytest.mark.parametrize("size", ["", "quick_"])
@pytest.mark.parametrize("source", ["speaker", "supervised"])
def test_a_pretrained_voice_network_fits_the_cascade(size: str, source: str) -> None:
    one, other = bundled(f"{size}{source}"), bundled(f"{size}unsupervised")
    shared = [key for key in one if key.startswith(("networks.voice.", "data.speech."))]
    assert len(shared) == 10 and {key: one[key] for key in shared} == {key: other[key] for key in shared}


def test_the_learning_rate_of_an_expert_follows_the_published_epochs() -> None:
    rate = build_lr_schedule(load_config("expert", PerceptionistConfig, "perceptionist"))
    epoch = 664
    steps = (0, 5 * epoch - 1, 5 * epoch, 48 * epoch, 48 * epoch + 1, 64 * epoch + 1)
    assert [rate(step) for step in steps] == pytest.approx([0.016, 0.016, 0.08, 0.08, 0.016, 0.0032])


@pytest.mark.parametrize(
    ("kind", "override", "message"),
    [
        ("supervised", "networks.head=null", "networks.head"),
        ("expert", "networks.voice={}", "networks.voice"),
        ("unsupervised", "training.voice_network=trained", "training.voice_network"),
        ("supervised", "training.voice_network=batch_statistics", "training.voice_network"),
        ("supervised", "data.frames.max_crop=900", "max_crop"),
        ("supervised", "losses.supervised.sclae=1.0", "losses.supervised.scale"),
    ],
)
def test_sections_that_do_not_fit_the_kind_are_refused(kind: str, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        tiny_config(kind, override)
