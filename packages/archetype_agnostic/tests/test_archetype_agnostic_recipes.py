"""The bundled configurations: complete, true to the published one, and all of them run."""

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
import torch
import yaml
from archetype_agnostic.config import ArchetypeAgnosticConfig
from archetype_agnostic.equilibrium import Equilibrium
from archetype_agnostic.model import Aasm
from voiceface.runtime.config import bundled_configs, load_config, to_dict

NAMES = bundled_configs("archetype_agnostic")
SMALL = {"quick": 300, "standard": 942}  # training identities of the presets


def load(name: str) -> ArchetypeAgnosticConfig:
    return load_config(name, ArchetypeAgnosticConfig, "archetype_agnostic")


def paths(tree: dict, before: str = "") -> dict[str, object]:
    """All values by dotted name."""
    found: dict[str, object] = {}
    for key, value in tree.items():
        found |= paths(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
    return found


def test_the_bundled_names() -> None:
    assert {"main", "quick", "standard", "published"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_written_out_and_named_after_its_file(name: str) -> None:
    text = (resources.files("archetype_agnostic") / "configs" / f"{name}.yaml").read_text()
    config = load(name)
    assert set(paths(yaml.safe_load(text))) == set(paths(to_dict(config)))
    assert config.name == name


@pytest.mark.parametrize("name", NAMES)
def test_made_tiny_it_trains_two_steps(name: str, train: Callable[..., int], tmp_path: Path) -> None:
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


def test_published_differs_from_main_in_its_quirks_only() -> None:
    ours, theirs = paths(to_dict(load("main"))), paths(to_dict(load("published")))
    differing = {key: value for key, value in theirs.items() if value != ours[key]}
    assert differing == {
        "name": "published",
        "regauging.differentiable": False,
        "regauging.weighting": "outer_product",
        "regauging.unweighted_mean": "all",
        "equilibrium.hit_counting": "never",
        "data.rotation": "published",
        "data.second_sample": "with_replacement",
        "data.sample_scale": "native",
        "stopping.rule": "patience",
        "evaluation.tie_breaking": "first",
    }


def test_main_has_the_published_numbers() -> None:
    assert (
        paths(to_dict(load("main"))).items()
        >= {
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
            "training.batch_size": 20,
            "training.max_steps": 27_000,
            "model.face.arch": "ir152",
            "model.face.hidden_dim": 256,
            "model.voice.hidden_dim": 128,
        }.items()
    )
    assert load("main").schedule.milestones == (6888, 9888)


@pytest.mark.parametrize("preset", SMALL)
def test_small_recipes_use_all_three_components(preset: str) -> None:
    config = load(preset)
    eqm = Equilibrium(
        SMALL[preset], update_interval=config.equilibrium.update_interval, warm_up=config.equilibrium.warm_up
    )
    length = config.training.max_steps
    assert config.regauging.enabled and config.regauging.differentiable
    assert config.regauging.start_step <= 0.8 * length
    refreshes = [step for step in range(length) if eqm.is_due(step)]
    assert len(refreshes) >= 2 and refreshes[0] <= config.regauging.start_step
    per_epoch = SMALL[preset] // config.training.batch_size
    assert refreshes[0] >= per_epoch  # everybody has been compared by then
    assert config.training.batch_size <= SMALL[preset]


@pytest.mark.parametrize("preset", SMALL)
def test_small_networks_read_the_presets_material(preset: str) -> None:
    config = load(preset)
    model = Aasm(config.model, SMALL[preset]).eval()
    side, samples = config.model.face.image_size, config.data.clip_samples
    pictures, waves = torch.zeros(2, 3, side, side), torch.zeros(2, samples)
    with torch.inference_mode():
        output = model(pictures, waves, pictures, waves)
    assert all(part.shape == (2, config.model.embedding_dim) for part in output)
    assert sum(parameter.numel() for parameter in model.parameters()) < 2_000_000


@pytest.mark.parametrize("name", ["main", "published"])
def test_full_networks_are_the_published_ones(name: str) -> None:
    config = load(name).model
    assert config.face.units == (3, 8, 36, 3) and config.face.stem_stride == 1
    assert config.voice.stem_stride == (2, 1)
    assert config.voice.strides == ((1, 1), (2, 2), (2, 2), (1, 1))
