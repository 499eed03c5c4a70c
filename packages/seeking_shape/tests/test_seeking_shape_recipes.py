"""The bundled configurations: complete, and their schedules end as they should."""

from importlib import resources

import pytest
import torch
import yaml
from seeking_shape.config import SeekingShapeConfig
from seeking_shape.model import Voice2Face
from seeking_shape.reweighting import IdentityWeights
from voiceface.runtime.config import bundled_configs, load_config, to_dict

NAMES = bundled_configs("seeking_shape")
SMALL = {"quick": 300, "standard": 942}  # training identities of the presets


def load(name: str) -> SeekingShapeConfig:
    return load_config(name, SeekingShapeConfig, "seeking_shape")


def paths(tree: dict, before: str = "") -> set[str]:
    """Dotted names of all values."""
    found: set[str] = set()
    for key, value in tree.items():
        found |= paths(value, f"{before}{key}.") if isinstance(value, dict) else {before + key}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_written_out_and_named_after_its_file(name: str) -> None:
    text = (resources.files("seeking_shape") / "configs" / f"{name}.yaml").read_text()
    assert paths(yaml.safe_load(text)) == paths(to_dict(load(name)))


@pytest.mark.parametrize("preset", SMALL)
def test_reweighting_run_reaches_the_stop_share(preset: str) -> None:
    config = load(f"{preset}_reweight")
    weights = IdentityWeights(SMALL[preset], **config.weights.model_dump(exclude={"enabled"}))
    weights.loss_mean.copy_(torch.arange(SMALL[preset], dtype=torch.float32))
    shares = []
    for step in range(config.training.max_steps):
        if weights.update(step):
            shares.append(weights.active_fraction)
    assert shares[0] == 0.5
    assert 0.9 <= shares[-1] < 0.95
    last_but_one = sorted(set(shares))[-2]
    assert last_but_one < 0.9


@pytest.mark.parametrize("preset", SMALL)
def test_both_steps_see_the_same_data_and_the_second_keeps_the_weights(preset: str) -> None:
    first, second = load(f"{preset}_reweight"), load(preset)
    assert first.data == second.data
    assert second.weights.update_interval is None
    assert second.training.batch_size <= SMALL[preset]


@pytest.mark.parametrize("preset", SMALL)
def test_small_networks_read_the_presets_material(preset: str) -> None:
    config = load(preset)
    model = Voice2Face(config.model, SMALL[preset]).eval()
    side = config.model.face.image_size
    with torch.inference_mode():
        output = model(torch.zeros(2, 3, side, side), torch.zeros(2, config.data.clip_samples))
    assert output.face.shape == output.voice.shape == (2, config.model.embedding_dim)
    assert output.face_logits.shape == (2, SMALL[preset])
    assert sum(parameter.numel() for parameter in model.parameters()) < 2_000_000


def test_published_networks_are_unchanged_by_the_strides() -> None:
    config = load("published_main").model
    assert config.face.stem_stride == 1
    assert config.voice.stem_stride == (2, 1)
    assert config.voice.strides == ((1, 1), (2, 2), (2, 2), (1, 1))
