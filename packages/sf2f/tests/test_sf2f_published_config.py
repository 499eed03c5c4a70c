"""Option files of the published code as configurations: equal to the bundled published ones."""

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from published_trainer_files import KINDS, option_file
from sf2f.config import Sf2fConfig
from sf2f.published_config import main
from voiceface.runtime.config import ConfigError, load_config, to_dict


def load(path: Path, options: dict[str, Any], *overrides: str) -> Sf2fConfig:
    path.write_text(yaml.safe_dump(options))
    return load_config(path, Sf2fConfig, "sf2f", overrides)


@pytest.mark.parametrize("kind", KINDS)
def test_option_file_equals_the_bundled_published_configuration(kind: str, tmp_path: Path) -> None:
    config = to_dict(load(tmp_path / "options.yaml", option_file(kind)))
    published = to_dict(load_config(f"published_{kind}", Sf2fConfig, "sf2f"))
    assert config.pop("name") == kind and published.pop("name") == f"published_{kind}"
    if kind == "v2f":  # there is no image discriminator, so that its weight decides nothing
        assert config["discriminators"]["image"] == []
        assert (config["losses"].pop("image"), published["losses"].pop("image")) == (0.0, 1.0)
    assert config == published


def test_what_was_not_taken_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        config = load(tmp_path / "mine.yaml", option_file("sf2f_fuser"), "training.max_steps=3")
    assert config.training.max_steps == 3 and config.stage == 2
    assert "published configuration, translated" in caplog.text
    assert "data options: options/data_opts/vox.yaml" in caplog.text
    assert "not used here: " in caplog.text and "discriminator.identity.num_id" in caplog.text


def test_merged_data_options_are_taken(tmp_path: Path) -> None:
    options = option_file("sf2f_1st_stage")
    options["data"]["data_opts"] = {
        **{"root_dir": "data/VoxCeleb", "face_type": "origin", "image_normalize_method": "standard"},
        **{"mel_normalize_method": "vox_mel", "nframe_range": "(80, 120)", "split_set": "train"},
    }
    data = load(tmp_path / "options.yaml", options).data
    assert (data.images.face_variant, data.images.statistics) == ("origin", "standard")
    assert (data.frames.min_crop, data.frames.max_crop) == (80, 120)
    for key, value in (("nframe_range", "all"), ("mel_normalize_method", "none")):
        options["data"]["data_opts"][key] = value
        with pytest.raises(ConfigError, match=key):
            load(tmp_path / "options.yaml", options)
        options["data"]["data_opts"].pop(key)


def test_misspelt_keys_are_named_with_the_nearest(tmp_path: Path) -> None:
    options = option_file("v2f")
    options["optim"]["ac_los_weight"] = 1.0
    with pytest.raises(ConfigError, match=r"ac_los_weight; did you mean ac_loss_weight\?"):
        load(tmp_path / "options.yaml", options)
    with pytest.raises(ConfigError, match="no section optimizer"):
        load(tmp_path / "options.yaml", {**option_file("v2f"), "optimizer": {}})


def test_command_prints_a_configuration_that_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = load(tmp_path / "options.yaml", option_file("sf2f_mid_1st_stage"))
    assert main([str(tmp_path / "options.yaml")]) == 0
    (tmp_path / "mine.yaml").write_text(capsys.readouterr().out)
    assert load_config(tmp_path / "mine.yaml", Sf2fConfig, "sf2f") == expected
    assert main([str(tmp_path / "missing.yaml")]) == 1
    assert "missing.yaml" in capsys.readouterr().err
