"""Configurations: bundled files, what published ones differ in, what does not fit, the learning rate."""

from typing import Any

import pytest
from perceptionist.config import PerceptionistConfig, stored
from perceptionist.train import make_schedule
from small_perceptionist_runs import KINDS, config_of
from voiceface.runtime.config import ConfigError, load_config
from voiceface.testing import configurations


def bundled(name: str) -> dict[str, Any]:
    return configurations.bundled("perceptionist", name, PerceptionistConfig, stored)


def test_every_bundled_file_is_complete_and_named_after_itself() -> None:
    names = configurations.require_complete("perceptionist", PerceptionistConfig, stored)
    assert {*KINDS, *(f"quick_{kind}" for kind in KINDS), "published_unsupervised"} <= set(names)


def test_published_and_meant_differ_in_the_quirks_only() -> None:
    meant, published = bundled("unsupervised"), bundled("published_unsupervised")
    assert configurations.changes(meant, published) == {
        "name": "published_unsupervised",
        "losses.distillation.order": "target_first",
        "losses.triplet.form": "axis",
        "data.triplets": "published",
        "training.voice_network": "batch_statistics",
        "evaluation.mean_over": "files",
    }


def test_the_cascade_has_the_published_numbers() -> None:
    """Specification, sections 2, 4, 6 and 7."""
    found = bundled("unsupervised")
    expected = {
        "networks.generator.channels": [1024, 512, 256, 128, 64],
        "networks.student.side": 120,
        "losses.distillation.vertices": 0.5,
        "losses.distillation.transfer": 10000.0,
        "losses.triplet.weight": 1.5,
        "data.frames.file": 800,
        "data.frames.shortest": 300,
        "optimiser.lr": 2e-4,
        "optimiser.betas": [0.5, 0.999],
        "training.max_iter": 50_000,
        "training.batch_size": 64,
        "training.noise": 0.05,
        "training.validate_every": 2000,
    }
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("size", ["", "quick_"])
@pytest.mark.parametrize("source", ["speaker", "supervised"])
def test_a_voice_network_that_was_trained_before_fits_the_cascade(size: str, source: str) -> None:
    one, other = bundled(f"{size}{source}"), bundled(f"{size}unsupervised")
    voices = [key for key in one if key.startswith(("networks.voice.", "data.speech."))]
    assert len(voices) == 9 and {key: one[key] for key in voices} == {key: other[key] for key in voices}


def test_the_rate_of_an_expert_follows_the_published_epochs() -> None:
    rate = make_schedule(load_config("expert", PerceptionistConfig, "perceptionist"))
    epoch = 664
    steps = (0, 5 * epoch - 1, 5 * epoch, 48 * epoch, 48 * epoch + 1, 64 * epoch + 1)
    assert [rate(step) for step in steps] == pytest.approx([0.016, 0.016, 0.08, 0.08, 0.016, 0.0032])


@pytest.mark.parametrize(
    ("kind", "word", "said"),
    [
        ("supervised", "networks.head=null", "networks.head"),
        ("expert", "networks.voice={}", "networks.voice"),
        ("unsupervised", "training.voice_network=trained", "training.voice_network"),
        ("supervised", "training.voice_network=batch_statistics", "training.voice_network"),
        ("supervised", "data.frames.longest=900", "longest"),
        ("supervised", "losses.supervised.sclae=1.0", "losses.supervised.scale"),
    ],
)
def test_sections_that_do_not_fit_the_kind_are_refused(kind: str, word: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")):
        config_of(kind, word)
