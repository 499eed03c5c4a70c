"""Backbone spec strings, and the discriminators built from them."""

import pytest
import torch
from sf2f.discriminator_config import (
    LARGE_ARCH,
    SMALL_ARCH,
    BackboneConfig,
    DiscriminatorsConfig,
    LayerSpec,
    compute_output_size,
    parse_layers,
)
from sf2f.discriminator_layers import build_backbone
from sf2f.discriminators import (
    ConditionDiscriminator,
    Discriminators,
    IdentityDiscriminator,
    ImageDiscriminator,
)
from sf2f.published import V2F_BACKBONE
from torch import nn


def names(backbone: BackboneConfig) -> list[str]:
    return [type(layer).__name__ for layer in build_backbone(backbone)[0]]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_backbones_have_the_published_sizes() -> None:
    assert compute_output_size(BackboneConfig(arch=SMALL_ARCH), 64) == 6
    assert compute_output_size(BackboneConfig(arch=LARGE_ARCH), 128) == 6
    assert compute_output_size(V2F_BACKBONE, 64) == 5
    assert count(ImageDiscriminator(BackboneConfig(arch=SMALL_ARCH))) == 659_521
    assert count(ImageDiscriminator(BackboneConfig(arch=LARGE_ARCH))) == 2_757_953
    counts = [
        count(IdentityDiscriminator(each, 2890))
        for each in (V2F_BACKBONE, *map(_backbone, (SMALL_ARCH, LARGE_ARCH)))
    ]
    assert counts == [6_274_955, 3_885_707, 6_246_027]


def _backbone(arch: str) -> BackboneConfig:
    return BackboneConfig(arch=arch)


def test_norm_and_activation_precede_every_convolution_but_the_first() -> None:
    backbone = BackboneConfig(
        arch="I2,C3-4,C3-6-2-1", normalisation="instance", activation="relu", padding="same"
    )
    assert names(backbone) == ["Conv2d", "InstanceNorm2d", "ReLU", "Conv2d"]
    assert parse_layers(backbone) == (
        2,
        [LayerSpec("convolution", 3, 4, 1, 1), LayerSpec("convolution", 3, 6, 2, 1)],
    )
    bare = BackboneConfig(arch="C1-4,C1-4", normalisation="none", activation="none")
    assert names(bare) == ["Conv2d", "Conv2d"]


def test_other_tokens() -> None:
    backbone = BackboneConfig(
        arch="C3-4,R,U2,P2,FC-64-5", padding="same", normalisation="none", activation="relu"
    )
    assert names(backbone) == [
        "Conv2d",
        "ReLU",
        "ResidualBlock",
        "Upsample",
        "MaxPool2d",
        "Flatten",
        "Linear",
    ]
    network, out = build_backbone(backbone)
    assert network(torch.rand(2, 3, 4, 4)).shape == (2, out) == (2, 5)
    assert compute_output_size(backbone, 4) == 1
    with pytest.raises(ValueError, match="FC takes 64 numbers, but images of 6 pixels leave 144"):
        compute_output_size(backbone, 6)


def test_a_residual_block_adds_to_its_input() -> None:
    backbone = BackboneConfig(arch="C1-4,R5", normalisation="none", activation="none")
    network, _ = build_backbone(backbone)
    convolution, block = network
    with torch.no_grad():
        for parameter in block.net[-1].parameters():
            parameter.zero_()
    x = torch.rand(2, 3, 6, 6)
    torch.testing.assert_close(network(x), convolution(x))


@pytest.mark.parametrize(
    ("arch", "words"),
    [
        ("C4", "token 1, 'C4'"),
        ("C4-8,X3", "token 2, 'X3'"),
        ("C4-8,I3", "must be the first"),
        ("C4-0", "size of 0"),
        ("I3", "no convolution"),
        ("C1-2,FC-2-3,C1-2", "after FC"),
        ("C1-2,R4", "odd kernel size"),
    ],
)
def test_invalid_backbone_specs_are_rejected(arch: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        BackboneConfig(arch=arch)


def test_paddings_and_activations_are_checked() -> None:
    with pytest.raises(ValueError, match="state its padding"):
        BackboneConfig(arch="C4-8-2", padding="explicit")
    with pytest.raises(ValueError, match="odd kernel size"):
        BackboneConfig(arch="C4-8", padding="same")
    with pytest.raises(ValueError, match="leakyrelu-SLOPE"):
        BackboneConfig(arch="C4-8", activation="leakyrelu")
    with pytest.raises(ValueError, match=r"16 pixels are too small.*4 x 4 meets a map of 2"):
        compute_output_size(BackboneConfig(arch=SMALL_ARCH), 16)


def test_identity_logits_have_their_shapes_and_average_over_positions() -> None:
    torch.manual_seed(0)
    discriminator = IdentityDiscriminator(
        BackboneConfig(arch="C4-8-2,C4-6-2"), num_identities=7, hidden_dim=9
    ).eval()
    logits = discriminator(torch.rand(3, 3, 16, 16))
    assert logits.real.shape == (3, 1) and logits.identity.shape == (3, 7)
    maps = discriminator.cnn[0](torch.rand(2, 3, 16, 16))
    torch.testing.assert_close(discriminator.cnn[1](maps), maps.flatten(2).mean(2))
    with pytest.raises(ValueError, match="at least 1 identity"):
        IdentityDiscriminator(BackboneConfig(arch=SMALL_ARCH), 0)


def test_conditional_discriminator_concatenates_maps_then_vector() -> None:
    torch.manual_seed(0)
    discriminator = ConditionDiscriminator(BackboneConfig(arch="C4-8-2"), condition_dim=5).eval()
    images, vectors = torch.rand(2, 3, 16, 16), torch.rand(2, 5)
    assert discriminator(images, vectors).shape == (2, 1, 7, 7)
    with torch.no_grad():
        discriminator.joint_conv[0].weight[:, 8:] = 0
    torch.testing.assert_close(discriminator(images, vectors), discriminator(images, vectors + 1))


def test_number_of_discriminators_must_match_the_image_sizes() -> None:
    config = DiscriminatorsConfig()
    config.require_image_sizes([64])
    with pytest.raises(ValueError, match="2 sizes \\(64, 128 pixels\\), 1 discriminators"):
        config.require_image_sizes([64, 128])
    with pytest.raises(ValueError, match="same number of discriminators"):
        DiscriminatorsConfig(identity=(BackboneConfig(arch=SMALL_ARCH), BackboneConfig(arch=LARGE_ARCH)))
    none = Discriminators(DiscriminatorsConfig(image=(), identity=()))
    assert not list(none.parameters())
