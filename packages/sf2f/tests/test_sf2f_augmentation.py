"""Masks of features in training: a function of seed and step; items for waveforms and faces are refused."""

import numpy as np
import pytest
import torch
from sf2f.config import DataConfig
from sf2f.sampling import FaceUtterancePairs, FaceWindowSets
from sf2f.speakers import Speakers
from voiceface.datasets.augmentation import build_voice_augmentation
from voiceface.runtime.config import ConfigError, validate_config
from voiceface.training.sampling import batches

MASKS = {"voice": {"spec_augment": {"probability": 1.0, "time_width": [0.3, 0.3]}}}


@pytest.fixture(scope="module")
def speakers() -> Speakers:
    """Four identities with two utterances and two images each."""
    rng = np.random.default_rng(0)
    mels = tuple(tuple(rng.normal(0, 1, (40, 260)).astype(np.float32) for _ in range(2)) for _ in range(4))
    images = tuple(
        tuple(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8) for _ in range(2)) for _ in range(4)
    )
    names = ("A", "B", "C", "D")
    return Speakers(names, ("",) * 4, mels, images, ("f",) * 4, 40)


@pytest.mark.parametrize(("dataset", "key"), [(FaceUtterancePairs, "mel"), (FaceWindowSets, "windows")])
def test_masks_do_not_depend_on_workers_and_change_nothing_else(speakers, dataset, key) -> None:
    config = validate_config({"augmentation": MASKS}, DataConfig)
    masked = dataset(speakers, (16, 16), augmentation=build_voice_augmentation(config.augmentation))
    plain = dataset(speakers, (16, 16), augmentation=build_voice_augmentation(DataConfig().augmentation))
    found = [list(batches(masked, 2, seed=1, max_steps=3, num_workers=workers)) for workers in (0, 2)]
    before = list(batches(plain, 2, seed=1, max_steps=3))
    for here, there, unmasked in zip(*found, before, strict=True):
        assert all(torch.equal(here[name], there[name]) for name in here)
        assert all(torch.equal(here[name], unmasked[name]) for name in here if name != key)
        changed = here[key] != unmasked[key]
        changed = changed[here["mask"]] if "mask" in here else changed  # without padding
        assert 0.2 < changed.double().mean() < 0.7


@pytest.mark.parametrize("item", ["voice.noise", "voice.speed", "face.blur"])
def test_items_that_need_waveforms_or_change_targets_are_refused_by_key(item: str) -> None:
    section, name = item.split(".")
    with pytest.raises(ConfigError, match=f"data.augmentation.{item}: .*spec_augment"):
        validate_config({"augmentation": {section: {name: {}}}}, DataConfig)
    validate_config({"augmentation": MASKS}, DataConfig)
