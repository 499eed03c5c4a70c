"""Published checkpoints, option files and voice2face files: loading, and rejection of invalid ones."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from published_trainer_files import write_checkpoint
from sf2f.discriminator_config import LARGE_ARCH, SMALL_ARCH, BackboneConfig, DiscriminatorsConfig
from sf2f.discriminators import Discriminators
from sf2f.encoders import VoiceEncoder
from sf2f.generator import EncoderDecoder
from sf2f.network_config import (
    AttnV2FDecoderConfig,
    EncoderConfig,
    FaceGanDecoderConfig,
    FaceGanV2DecoderConfig,
    FuserConfig,
    GeneratorConfig,
    LossConfig,
    MRDecoderConfig,
    V2FDecoderConfig,
)
from sf2f.published import V2F_BACKBONE, load_discriminators, load_generator, load_pretrained
from sf2f.published_options import (
    discriminators_config_from_options,
    generator_config_from_options,
    loss_config_from_options,
)
from sf2f.voice2face_baseline import (
    Voice2FaceFaceEncoder,
    Voice2FaceGenerator,
    Voice2FaceHead,
    Voice2FaceNetworks,
    load_voice2face,
)
from torch import nn
from voiceface.checkpoints.published import CheckpointError
from voiceface.runtime.config import ConfigError

ENCODER = EncoderConfig(n_mels=5, channels=(8, 12), embedding_dim=16)
PLAIN = ENCODER.model_copy(update={"inception": False})
GENERATORS = {
    "facegan": GeneratorConfig(encoder=ENCODER, decoder=FaceGanDecoderConfig(channels=(8, 6, 4))),
    "facegan_v2": GeneratorConfig(
        encoder=ENCODER, fuser=FuserConfig(), decoder=FaceGanV2DecoderConfig(channels=(8, 6), mid_channels=3)
    ),
    "v2f": GeneratorConfig(
        encoder=PLAIN,
        fuser=FuserConfig(kind="v2", attention="dot"),
        decoder=V2FDecoderConfig(channels=(8, 6, 4), normalisation="batch"),
    ),
    "mr": GeneratorConfig(
        encoder=PLAIN,
        fuser=FuserConfig(kind="v3"),
        decoder=MRDecoderConfig(channels=(8, 6), mid_channels=5, high_channels=4, extra_feature_map=True),
    ),
    "attn": GeneratorConfig(
        encoder=PLAIN, decoder=AttnV2FDecoderConfig(channels=(8, 6), attention_channels=(3, 0))
    ),
}
GENERIC = {"normalization": "batch", "padding": "valid", "activation": "leakyrelu-0.1"}
OPTIONS: dict[str, Any] = yaml.safe_load(f"""
data: {{dataset: vox, image_size: [64, 64]}}
generator:
  arch: EncoderDecoder
  options:
    encoder_arch: V2F1DCNN
    encoder_kwargs:
      {{input_channel: 40, channels: [256, 384, 576, 864], output_channel: 512, normalize_embedding: true,
        inception_mode: true, segments_fusion: true, normalize_fusion: true, fuser_arch: AttentionFuserV1,
        fuser_kwargs: {{dimensions: 512, dim_out: 512, attention_type: general, ignore_tanh: true}}}}
    decoder_arch: FaceGanDecoder
    decoder_kwargs:
      {{noise_dim: 512, mlp_normalization: none, normalization: batch, activation: leakyrelu-0.1}}
discriminator:
  generic: {{normalization: batch, padding: valid, activation: leakyrelu-0.1}}
  image: {{arch: "{SMALL_ARCH}"}}
  identity: {{arch: "{SMALL_ARCH}", num_id: 0}}
optim:
  {{d_loss_weight: 1.0, d_img_weight: 1.0, ac_loss_weight: 0.05, gan_loss_type: gan,
    l1_pixel_loss_weight: 10.0, perceptual_loss_weight: 100.0}}
""")


def changed_options(**places: Any) -> dict[str, Any]:
    """The option tree with values at keys such as `optim__d_img_weight`."""
    tree = copy.deepcopy(OPTIONS)
    for place, value in places.items():
        *sections, last = place.split("__")
        inner = tree
        for section in sections:
            inner = inner[section]
        inner[last] = value
    return tree


def equal_states(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return list(a) == list(b) and all(torch.equal(a[key], b[key]) for key in a)


NO_DISCRIMINATORS = Discriminators(DiscriminatorsConfig(image=(), identity=()))


@pytest.mark.parametrize("name", GENERATORS)
def test_generators_are_loaded_with_sizes_from_shapes(name: str, tmp_path: Path) -> None:
    generator = EncoderDecoder(GENERATORS[name])
    found = load_generator(write_checkpoint(tmp_path / "x.pt", generator, NO_DISCRIMINATORS))
    assert found.config == generator.config and equal_states(found, generator) and not found.training


def test_options_in_the_file_override_shapes(tmp_path: Path) -> None:
    options = changed_options(generator__options__encoder_kwargs__add_noise=True)
    config = generator_config_from_options(options)
    small = EncoderDecoder(GENERATORS["facegan"])
    with pytest.raises(CheckpointError, match="do not fit"):
        load_generator(write_checkpoint(tmp_path / "x.pt", small, NO_DISCRIMINATORS, options=options))
    kwargs = options["generator"]["options"]["encoder_kwargs"]
    kwargs |= {"input_channel": 5, "channels": [8, 12], "output_channel": 16}
    kwargs["fuser_kwargs"] = {"dimensions": 16}
    options["generator"]["options"] |= {"decoder_arch": "V2FDecoder"}
    options["generator"]["options"]["decoder_kwargs"] = {"input_channel": 16, "channels": [8, 6, 4, 4, 4]}
    generator = EncoderDecoder(generator_config_from_options(options))
    found = load_generator(write_checkpoint(tmp_path / "x.pt", generator, NO_DISCRIMINATORS, options=options))
    assert found.config.encoder.noise_std == config.encoder.noise_std == 0.05 and equal_states(
        found, generator
    )
    assert found.config.fuser is not None and not found.config.fuser.ignore_tanh


def test_discriminators_are_loaded_from_shapes_or_options(tmp_path: Path) -> None:
    both = BackboneConfig(arch=SMALL_ARCH), BackboneConfig(arch=LARGE_ARCH)
    generator = EncoderDecoder(GENERATORS["facegan"])
    for config in (
        DiscriminatorsConfig(image=both, identity=both, hidden_dim=12),
        DiscriminatorsConfig(image=(), identity=(V2F_BACKBONE,)),
    ):
        discriminators = Discriminators(config, num_identities=7)
        found = load_discriminators(write_checkpoint(tmp_path / "x.pt", generator, discriminators))
        assert found.config == config and equal_states(found, discriminators)
    odd = BackboneConfig(arch="C4-8-3", activation="relu")
    config = DiscriminatorsConfig(image=(odd,), identity=(odd,), condition=(odd,))
    discriminators = Discriminators(config, num_identities=3, embedding_dim=16)
    path = write_checkpoint(tmp_path / "y.pt", generator, discriminators)
    with pytest.raises(CheckpointError, match="pass `config`"):
        load_discriminators(path)
    assert equal_states(load_discriminators(path, config), discriminators)
    section = {"generic": {**GENERIC, "activation": "relu"}}
    section |= {place: {"arch": "C4-8-3"} for place in ("image", "identity", "condition")}
    path = write_checkpoint(tmp_path / "z.pt", generator, discriminators, options={"discriminator": section})
    assert equal_states(load_discriminators(path), discriminators)


def test_stage_two_starts_from_stage_one_with_a_new_fuser(tmp_path: Path) -> None:
    discriminators = Discriminators(DiscriminatorsConfig(), num_identities=7)
    first = EncoderDecoder(GENERATORS["facegan"])
    path = write_checkpoint(tmp_path / "x.pt", first, discriminators)
    config = GENERATORS["facegan"].model_copy(update={"fuser": FuserConfig()})
    second, others = EncoderDecoder(config), Discriminators(DiscriminatorsConfig(), num_identities=7)
    fuser = copy.deepcopy(second.encoder.attn_fuser)
    report = load_pretrained(path, second, others)
    assert equal_states(others, discriminators) and equal_states(second.decoder, first.decoder)
    assert equal_states(second.encoder.model, first.encoder.model)
    assert fuser is not None and second.encoder.attn_fuser is not None
    assert equal_states(second.encoder.attn_fuser, fuser) and not report.missing
    assert load_generator(path, FuserConfig()).encoder.attn_fuser is not None
    with pytest.raises(CheckpointError, match="d_ac_state_0 do not fit"):
        load_pretrained(path, second, Discriminators(DiscriminatorsConfig(), num_identities=8))
    with pytest.raises(CheckpointError, match="1 image discriminators, expected 0"):
        load_pretrained(path, second, NO_DISCRIMINATORS)


def test_other_files_are_rejected(tmp_path: Path) -> None:
    torch.save({"model_state": {"a.weight": torch.zeros(2)}}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"x\.pt is not a checkpoint of sf2f.*a\.weight"):
        load_generator(tmp_path / "x.pt")
    torch.save({"encoder.model.0.weight": torch.zeros(4, 3, 3)}, tmp_path / "y.pt")
    with pytest.raises(CheckpointError, match="match no generator"):
        load_generator(tmp_path / "y.pt")
    with pytest.raises(FileNotFoundError, match=r"absent\.pt"):
        load_generator(tmp_path / "absent.pt")
    (tmp_path / "z.pt").write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match="corrupt"):
        load_discriminators(tmp_path / "z.pt")


def test_the_released_option_set_gives_our_defaults() -> None:
    assert generator_config_from_options(OPTIONS) == GeneratorConfig(fuser=FuserConfig())
    assert discriminators_config_from_options(OPTIONS) == DiscriminatorsConfig()
    assert loss_config_from_options(OPTIONS) == LossConfig()
    single = changed_options(generator__options__encoder_kwargs__segments_fusion=False)
    assert generator_config_from_options(single) == GeneratorConfig()


def test_negative_weights_remove_discriminators() -> None:
    tree = changed_options(optim__d_img_weight=-1)
    assert (
        discriminators_config_from_options(tree).image == ()
        and len(discriminators_config_from_options(tree).identity) == 1
    )
    assert loss_config_from_options(tree).image == 0
    gone = discriminators_config_from_options(changed_options(optim__d_loss_weight=-1))
    assert gone.image == gone.identity == ()
    kept = discriminators_config_from_options(changed_options(optim__ac_loss_weight=0.0))
    assert len(kept.identity) == 1
    without = copy.deepcopy(OPTIONS)
    del without["optim"]["perceptual_loss_weight"]
    assert loss_config_from_options(without).perceptual == 0


def test_specific_discriminator_options_override_generic_ones() -> None:
    section = {
        "generic": {"normalization": "none", "padding": "unused", "activation": "leakyrelu-0.2"},
        "identity_mid": {"arch": "C4-8-2-1"},
        "identity_low": {"arch": V2F_BACKBONE.arch, "num_id": 0},
        "image_low": {"arch": SMALL_ARCH, **GENERIC},
        "image_mid": {"arch": LARGE_ARCH, **GENERIC},
    }
    found = discriminators_config_from_options({"discriminator": section})
    assert found.identity[0] == V2F_BACKBONE and found.identity[1].arch == "C4-8-2-1"
    assert found.image == (BackboneConfig(arch=SMALL_ARCH), BackboneConfig(arch=LARGE_ARCH))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("generator__options__encoder_kwargs__chanels", [1], "chanels; did you mean channels"),
        ("generator__options__decoder_arch", "StyleGan", "decoder_arch: expected V2FDecoder or"),
        ("generator__options__decoder_kwargs__noise_dim", 256, "noise_dim is 256.*512"),
        ("generator__options__decoder_kwargs__normalization", "layer", "expected none or batch or instance"),
        ("generator__options__decoder_kwargs__activation", "swish", "activation: expected relu"),
        ("generator__options__encoder_kwargs__fuser_kwargs", {"dim_out": 3}, "dim_out is 3"),
        ("generator__options__encoder_kwargs__fuser_arch", "Mean", "fuser_arch"),
        ("generator__options__encoder_arch", "TransEncoder", "encoder_arch: expected V2F1DCNN"),
        ("data__image_size", [128, 128], r"image_size is \[128, 128\].*64 pixels"),
        ("discriminator__image", {"num_id": 3}, r"image\.arch: missing"),
        ("discriminator__imgae", {"arch": SMALL_ARCH}, "imgae; did you mean image"),
        ("discriminator__pgan_dis", True, "pgan_dis"),
        ("discriminator__image", {"arch": "C4"}, "token 1"),
        ("optim__gan_loss_type", "hinge", "gan"),
        ("optim__l1_pixel_loss_weight", "much", "expected a number, found 'much'"),
        ("optim", None, "expected a section optim"),
        ("perceptual", {"arch": "VGGLoss"}, "perceptual.arch"),
    ],
)
def test_untranslatable_options_are_named(place: str, value: Any, words: str) -> None:
    tree = changed_options(**{place: value})
    with pytest.raises(ConfigError, match=words):
        generator_config_from_options(tree)
        discriminators_config_from_options(tree)
        loss_config_from_options(tree)


PARTS: dict[str, nn.Module] = {
    "e": VoiceEncoder(PLAIN.model_copy(update={"normalise": False})),
    "g": Voice2FaceGenerator(16, (8, 6, 4)),
    "f": Voice2FaceFaceEncoder(3, (4, 5, 6), 7),
    "d": Voice2FaceHead(7, 1),
    "c": Voice2FaceHead(7, 9),
}


def test_voice2face_is_loaded_whatever_its_files_are_called(tmp_path: Path) -> None:
    for at, part in enumerate(PARTS.values()):
        torch.save(part.state_dict(), tmp_path / f"{9 - at}.pth")
    found = load_voice2face(tmp_path)
    assert all(equal_states(getattr(found, name), part) for name, part in PARTS.items())
    torch.save({name: part.state_dict() for name, part in PARTS.items() if name in "eg"}, tmp_path / "one.pt")
    small = load_voice2face(tmp_path / "one.pt")
    assert equal_states(small.e, found.e) and small.f is None
    with pytest.raises(CheckpointError, match="both contain a voice embedding"):
        load_voice2face(tmp_path)


def test_voice2face_generates_images(tmp_path: Path) -> None:
    wen = Voice2FaceNetworks(PARTS["e"].eval(), PARTS["g"].eval())  # type: ignore[arg-type]
    mel = torch.randn(2, 5, 20, generator=torch.Generator().manual_seed(0))
    embedding = wen.embed(mel)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))
    noise = torch.randn(2, 16, generator=torch.Generator().manual_seed(1)) * 0.05
    torch.testing.assert_close(wen.embed(mel, noise), nn.functional.normalize(embedding + noise))
    fixed, stretched = wen.generate_images(mel), wen.generate_images(mel, "per_image")
    torch.testing.assert_close(fixed, (wen.g(embedding).clamp(-1, 1) + 1) / 2)
    assert fixed.shape == (2, 3, 16, 16) and not fixed.requires_grad
    for image in stretched:
        assert image.min() == 0 and image.max() == 1
    with pytest.raises(ValueError, match="rescale"):
        wen.generate_images(mel, "whole")  # type: ignore[arg-type]


def test_incomplete_or_foreign_voice2face_files_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file"):
        load_voice2face(tmp_path)
    torch.save(PARTS["g"].state_dict(), tmp_path / "generator.pth")
    with pytest.raises(CheckpointError, match="no voice embedding"):
        load_voice2face(tmp_path)
    torch.save({"fc.weight": torch.zeros(2, 3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth is not a network of voice2face"):
        load_voice2face(tmp_path)
