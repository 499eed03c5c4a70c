"""Masks of features in training: a function of seed and step; items for waveforms and faces are refused."""

import numpy as np
import pytest
import torch
from perceptionist.config import DataConfig
from perceptionist.dataset.records import Utterances
from perceptionist.sampling import TripletDataset, VoiceRegressionDataset
from voiceface.datasets.augmentation import build_voice_augmentation
from voiceface.runtime.config import ConfigError, validate_config
from voiceface.training.sampling import batches

MASKS = {"voice": {"spec_augment": {"probability": 1.0, "time_width": [0.3, 0.3]}}}


def build(kind: str, augmentation):
    """A data set of six utterances of three identities."""
    rng = np.random.default_rng(0)
    items = [rng.normal(0, 1, (1000, 64)).astype(np.float32) for _ in range(6)]
    utterances = Utterances(np.arange(6) // 2, items)
    if kind == "triplets":
        return TripletDataset(utterances, 100, augmentation=augmentation)
    return VoiceRegressionDataset(utterances, np.zeros((3, 5), np.float32), 100, augmentation)


@pytest.mark.parametrize(
    ("kind", "keys"), [("triplets", ("anchor", "positive", "negative")), ("regression", ("voice",))]
)
def test_masks_do_not_depend_on_workers_and_change_nothing_else(kind: str, keys: tuple[str, ...]) -> None:
    config = validate_config({"augmentation": MASKS}, DataConfig)
    masked, plain = build(kind, build_voice_augmentation(config.augmentation)), build(kind, None)
    found = [list(batches(masked, 2, seed=1, max_steps=3, num_workers=workers)) for workers in (0, 2)]
    before = list(batches(plain, 2, seed=1, max_steps=3))
    for here, there, unmasked in zip(*found, before, strict=True):
        assert all(torch.equal(here[name], there[name]) for name in here)
        assert all(torch.equal(here[name], unmasked[name]) for name in here if name not in keys)
        for key in keys:
            assert 0.2 < (here[key] != unmasked[key]).double().mean() < 0.7


@pytest.mark.parametrize("item", ["voice.noise", "voice.speed", "face.blur"])
def test_items_that_need_waveforms_or_change_faces_are_refused_by_key(item: str) -> None:
    section, name = item.split(".")
    with pytest.raises(ConfigError, match=f"data.augmentation.{item}: .*spec_augment"):
        validate_config({"augmentation": {section: {name: {}}}}, DataConfig)
    validate_config({"augmentation": MASKS}, DataConfig)
