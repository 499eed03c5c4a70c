"""Option files of the published code as configurations: equal to the bundled published ones."""

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from sf2f.config import Sf2fConfig
from sf2f.published_config import main
from voiceface.runtime.config import ConfigError, load_config, to_dict

SMALL, LARGE = "C4-64-2,C4-128-2,C4-256-2", "C4-64-2,C4-128-2,C4-256-2,C4-512-2"
FUSER = {"dimensions": 512, "dim_out": 512, "attention_type": "general", "ignore_tanh": True}
FUSION = {"segments_fusion": True, "normalize_fusion": True, "fuser_arch": "AttentionFuserV1"}
GAN = {"noise_dim": 512, "mlp_normalization": "none", "normalization": "batch", "activation": "leakyrelu-0.1"}
KINDS = ("v2f", "sf2f_1st_stage", "sf2f_fuser", "sf2f_mid_1st_stage", "sf2f_mid_fuser")


def option_file(kind: str) -> dict[str, Any]:
    """Options as the published file of this kind states them (docs/sf2f.md)."""
    large, plain, fused = "mid" in kind, kind == "v2f", kind.endswith("fuser")
    encoder: dict[str, Any] = {"input_channel": 40, "channels": [256, 384, 576, 864], "output_channel": 512}
    encoder |= {"normalize_embedding": True, **({"add_noise": True} if plain else {"inception_mode": True})}
    encoder |= {**FUSION, "fuser_kwargs": FUSER} if fused else {}
    decoder: dict[str, Any] = GAN
    if plain:
        decoder = {"input_channel": 512, "channels": [1024, 512, 256, 128, 64], "output_channel": 3}
    archs = {"_low": SMALL, "_mid": LARGE} if large else {"": SMALL}
    discriminator: dict[str, Any] = {
        "generic": {"normalization": "batch", "padding": "valid", "activation": "leakyrelu-0.1"}
    }
    for suffix, arch in archs.items():
        discriminator |= {f"image{suffix}": {"arch": arch}, f"identity{suffix}": {"arch": arch, "num_id": 0}}
    if plain:
        deep = "C1-32-1-0,C4-64-2-1,C4-128-2-1,C4-256-2-1,C4-512-1-0"
        generic = {"normalization": "none", "padding": "unused", "activation": "leakyrelu-0.2"}
        discriminator = {"generic": generic, "identity": {"arch": deep, "num_id": 0}}
    optim = {"d_loss_weight": 1.0, "d_img_weight": -1 if plain else 1.0, "gan_loss_type": "gan"}
    optim |= {"ac_loss_weight": 1.0 if plain else 0.05, "l1_pixel_loss_weight": 100 if plain or large else 10}
    optim |= {} if plain else {"perceptual_loss_weight": 100}
    size = [128, 128] if large else [64, 64]
    kinds = {"v2f": "V2FDecoder", "sf2f": "FaceGanDecoder_v2" if large else "FaceGanDecoder"}
    return {
        "logs": {"name": kind, "output_dir": "output/"},
        "data": {"dataset": "vox", "data_opts_path": "options/data_opts/vox.yaml", "image_size": size},
        "generator": {
            "arch": "EncoderDecoder",
            "options": {
                "encoder_arch": "V2F1DCNN",
                "encoder_kwargs": encoder,
                "decoder_arch": kinds[kind.split("_")[0]],
                "decoder_kwargs": decoder,
            },
        },
        "discriminator": discriminator,
        "optim": optim,
        "eval": {"facenet": {"deprocess_and_preprocess": True, "crop_faces": True}},
    }


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
