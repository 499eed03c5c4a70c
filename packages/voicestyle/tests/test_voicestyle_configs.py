"""Bundled configurations: what they train is named by keys that exist."""

import pytest
from cmpc2.config import Cmpc2Config
from voiceface.runtime.config import bundled_configs, load_config
from voicestyle.config import VoiceStyleConfig
from voicestyle.stylegan2.config import StyleGAN2Config


@pytest.mark.parametrize("name", ["default", "published", "quick"])
def test_nested_overrides_name_keys_that_exist(name: str) -> None:
    assert name in bundled_configs("voicestyle")
    parts = load_config(name, VoiceStyleConfig, "voicestyle").training
    load_config(parts.cmpc2, Cmpc2Config, "cmpc2", parts.cmpc2_overrides)
    generator = load_config(parts.stylegan2, StyleGAN2Config, "voicestyle", parts.stylegan2_overrides)
    if name == "quick":
        assert (generator.training.max_steps, generator.training.checkpoint_interval) == (1500, 500)
