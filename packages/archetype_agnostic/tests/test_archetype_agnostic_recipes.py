"""Bundled configurations: all of them train; quirks of the published one, sizes of the small networks."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from archetype_agnostic.config import ArchetypeAgnosticConfig
from archetype_agnostic.equilibrium import Equilibrium
from archetype_agnostic.model import Aasm
from voiceface.runtime.config import bundled_configs, load_config, to_dict
from voiceface.testing.configurations import changed_values, flatten

NAMES = bundled_configs("archetype_agnostic")
NUM_IDENTITIES = {"quick": 300, "standard": 942}  # training identities of the presets


def load(name: str) -> ArchetypeAgnosticConfig:
    return load_config(name, ArchetypeAgnosticConfig, "archetype_agnostic")


@pytest.mark.parametrize("name", NAMES)
def test_tiny_version_trains_two_steps(name: str, train: Callable[..., int], tmp_path: Path) -> None:
    words = [
        "training.max_steps=2",
        "regauging.start_step=1",
        "schedule.warm_up=0",
        "stopping.rule=max_steps",
    ]
    assert train(tmp_path / "run", *words, cfg=name) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1]
    assert "trip_cross" not in rows[0] and "trip_cross" in rows[1]


def test_published_differs_from_main_in_the_documented_quirks() -> None:
    main, published = (flatten(to_dict(load(name))) for name in ("main", "published"))
    assert changed_values(main, published) == {
        "name": "published",
        "regauging.differentiable": False,
        "regauging.weighting": "outer_product",
        "regauging.unweighted_mean": "all",
        "equilibrium.hit_counting": "never",
        "data.rotation": "published",
        "data.second_sample": "with_replacement",
        "data.sample_scale": "native",
        "data.own_channel": "first",
        "stopping.rule": "patience",
        "evaluation.tie_breaking": "first",
    }


@pytest.mark.parametrize("preset", NUM_IDENTITIES)
def test_small_configurations_use_all_components(preset: str) -> None:
    config = load(preset)
    eqm = Equilibrium(
        NUM_IDENTITIES[preset],
        update_interval=config.equilibrium.update_interval,
        warm_up=config.equilibrium.warm_up,
    )
    length = config.training.max_steps
    assert config.regauging.enabled and config.regauging.differentiable
    assert config.regauging.start_step <= 0.8 * length
    refreshes = [step for step in range(length) if eqm.is_due(step)]
    assert len(refreshes) >= 2 and refreshes[0] <= config.regauging.start_step
    per_epoch = NUM_IDENTITIES[preset] // config.training.batch_size
    assert refreshes[0] >= per_epoch  # every identity has been compared by then
    assert config.training.batch_size <= NUM_IDENTITIES[preset]


@pytest.mark.parametrize("preset", NUM_IDENTITIES)
def test_small_networks_accept_the_data_of_their_preset(preset: str) -> None:
    config = load(preset)
    model = Aasm(config.model, NUM_IDENTITIES[preset]).eval()
    side, samples = config.model.face.image_size, config.data.clip_samples
    images, waveforms = torch.zeros(2, 3, side, side), torch.zeros(2, samples)
    with torch.inference_mode():
        output = model(images, waveforms, images, waveforms)
    assert all(part.shape == (2, config.model.embedding_dim) for part in output)
    assert sum(parameter.numel() for parameter in model.parameters()) < 2_000_000


@pytest.mark.parametrize("name", ["main", "published"])
def test_full_networks_have_the_published_sizes(name: str) -> None:
    config = load(name).model
    assert config.face.units == (3, 8, 36, 3) and config.face.stem_stride == 1
    assert config.voice.stem_stride == (2, 1)
    assert config.voice.strides == ((1, 1), (2, 2), (2, 2), (1, 1))
