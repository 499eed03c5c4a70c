"""Bundled configurations: the schedule of the identity weights, sizes of the small networks."""

import pytest
import torch
from seeking_shape.config import SeekingShapeConfig
from seeking_shape.model import Voice2Face
from seeking_shape.reweighting import IdentityWeights
from voiceface.runtime.config import load_config

NUM_IDENTITIES = {"quick": 300, "standard": 942}  # training identities of the presets


def load(name: str) -> SeekingShapeConfig:
    return load_config(name, SeekingShapeConfig, "seeking_shape")


@pytest.mark.parametrize("preset", NUM_IDENTITIES)
def test_reweighting_reaches_the_stop_fraction(preset: str) -> None:
    config = load(f"{preset}_reweight")
    weights = IdentityWeights(NUM_IDENTITIES[preset], **config.weights.model_dump(exclude={"enabled"}))
    weights.loss_mean.copy_(torch.arange(NUM_IDENTITIES[preset], dtype=torch.float32))
    fractions = []
    for step in range(config.training.max_steps):
        if weights.update(step):
            fractions.append(weights.active_fraction)
    assert fractions[0] == 0.5
    assert 0.9 <= fractions[-1] < 0.95
    last_but_one = sorted(set(fractions))[-2]
    assert last_but_one < 0.9


@pytest.mark.parametrize("preset", NUM_IDENTITIES)
def test_both_steps_use_the_same_data_and_the_second_keeps_the_weights(preset: str) -> None:
    first, second = load(f"{preset}_reweight"), load(preset)
    assert first.data == second.data
    assert second.weights.update_interval is None
    assert second.training.batch_size <= NUM_IDENTITIES[preset]


@pytest.mark.parametrize("preset", NUM_IDENTITIES)
def test_small_networks_accept_the_data_of_their_preset(preset: str) -> None:
    config = load(preset)
    model = Voice2Face(config.model, NUM_IDENTITIES[preset]).eval()
    side = config.model.face.image_size
    with torch.inference_mode():
        output = model(torch.zeros(2, 3, side, side), torch.zeros(2, config.data.clip_samples))
    assert output.face.shape == output.voice.shape == (2, config.model.embedding_dim)
    assert output.face_logits.shape == (2, NUM_IDENTITIES[preset])
    assert sum(parameter.numel() for parameter in model.parameters()) < 2_000_000


def test_published_networks_have_the_published_strides() -> None:
    config = load("published_main").model
    assert config.face.stem_stride == 1
    assert config.voice.stem_stride == (2, 1)
    assert config.voice.strides == ((1, 1), (2, 2), (2, 2), (1, 1))
