"""StyleGAN2 layers and networks."""

import pytest
import torch
import torch.nn.functional as F
from voiceface.runtime.config import ConfigError, validate_config
from voicestyle.stylegan2.discriminator import Discriminator, DiscriminatorConfig, minibatch_stddev
from voicestyle.stylegan2.generator import Generator, GeneratorConfig
from voicestyle.stylegan2.layers import EqualConv2d, EqualLinear, ModulatedConv2d, PixelNorm, StyledConv

SMALL = {"size": 16, "channels": (8, 6, 4), "style_dim": 5, "n_mlp": 2}


def generator(**changes) -> Generator:
    torch.manual_seed(0)
    network = Generator(GeneratorConfig(**{**SMALL, **changes}))
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith("noise.weight"):
                value.fill_(0.5)
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize("resample", [None, "up", "down"])
@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("demodulate", [True, False])
def test_implementations_of_modulated_convolution_agree(resample, side, demodulate):
    torch.manual_seed(1)
    layer = ModulatedConv2d(4, 3, side, 5, demodulate=demodulate, resample=resample)
    x, style = torch.randn(3, 4, 8, 6), torch.randn(3, 5)
    scaled = layer(x, style)
    layer.implementation = "grouped"
    torch.testing.assert_close(scaled, layer(x, style), atol=1e-5, rtol=1e-5)
    size = {None: (8, 6), "up": (16, 12), "down": (4, 3)}[resample]
    assert scaled.shape == (3, 3, *size)


def test_demodulated_weights_have_unit_length():
    layer = ModulatedConv2d(4, 3, 3, 5)
    style = torch.randn(2, 5)
    s = layer.modulation(style) * layer.scale
    weight = layer.weight * s[:, None, :, None, None] * layer.demodulation(s)[:, :, None, None, None]
    torch.testing.assert_close(weight.square().sum((2, 3, 4)), torch.ones(2, 3), atol=1e-4, rtol=0)


def test_frozen_layer_equals_trainable_layer_and_follows_changes():
    torch.manual_seed(2)
    layer = StyledConv(96, 96, 4)
    x, style, noise = torch.randn(1, 96, 32, 32), torch.randn(1, 4), torch.randn(1, 1, 32, 32)
    for _ in range(2):
        trained = layer.requires_grad_(True)(x, style, noise).detach()
        frozen = layer.requires_grad_(False)(x, style, noise)
        torch.testing.assert_close(frozen, trained, atol=1e-4, rtol=1e-4)
        with torch.no_grad():
            layer.conv.weight.add_(torch.randn_like(layer.conv.weight))


def test_equalised_layers_keep_the_variance_of_their_input():
    torch.manual_seed(3)
    assert EqualLinear(400, 300)(torch.randn(500, 400)).std().item() == pytest.approx(1, abs=0.05)
    assert EqualLinear(400, 300, lr_mul=0.01)(torch.randn(500, 400)).std().item() == pytest.approx(
        1, abs=0.05
    )
    conv = EqualConv2d(64, 64, 3, padding=1)
    assert conv(torch.randn(2, 64, 12, 12))[:, :, 1:-1, 1:-1].std().item() == pytest.approx(1, abs=0.05)
    assert PixelNorm()(7 * torch.randn(9, 50)).square().mean(1).tolist() == pytest.approx([1.0] * 9)


def test_published_sizes():
    with torch.device("meta"):
        generated, judged = Generator(), Discriminator()
    assert sum(value.numel() for value in generated.parameters()) == 30_034_338
    assert sum(value.numel() for value in judged.parameters()) == 28_864_129
    assert generated.config.n_latent == 14
    assert generated.config.noise_sides == (4, 8, 8, 16, 16, 32, 32, 64, 64, 128, 128, 256, 256)
    wide = GeneratorConfig(size=1024)
    assert [wide.channels_at(block) for block in range(wide.num_blocks + 1)] == [512] * 5 + [256, 128, 64, 32]


@pytest.mark.parametrize("size", [8, 32, 64])
def test_all_sizes_are_supported(size):
    network = Generator(GeneratorConfig(size=size, channel_cap=4, style_dim=3, n_mlp=1))
    images, latents = network(torch.randn(2, 3), return_latents=True)
    assert images.shape == (2, 3, size, size) and latents.shape == (2, network.config.n_latent, 3)
    encoder = Discriminator(DiscriminatorConfig(size=size, channel_cap=4))
    assert encoder(images).shape == (2, 1)


def test_invalid_sizes_are_refused():
    for values, words in (
        ({"size": 48}, "a size among"),
        ({"size": 16, "channels": [4, 4]}, "3 channel numbers"),
    ):
        with pytest.raises(ConfigError, match=words):
            validate_config(values, GeneratorConfig)


def test_equal_latents_per_layer_equal_one_latent():
    network, w = generator(), torch.randn(2, 5)
    one, _ = network(w, input_is_latent=True, randomize_noise=False)
    each, _ = network(w[:, None].repeat(1, 6, 1), input_is_latent=True, randomize_noise=False)
    torch.testing.assert_close(one, each, atol=1e-5, rtol=1e-5)
    z = torch.randn(2, 5)
    torch.testing.assert_close(
        network(z, randomize_noise=False)[0],
        network(network.mapping(z), input_is_latent=True, randomize_noise=False)[0],
    )


def test_mixing_joins_two_styles_at_the_index():
    network, a, b = generator(), torch.randn(1, 5), torch.randn(1, 5)
    for index in (1, 3, 5):
        mixed = network.expand_latents([a, b], input_is_latent=True, inject_index=index)
        assert torch.equal(mixed[0, :index], a.expand(index, -1))
        assert torch.equal(mixed[0, index:], b.expand(6 - index, -1))
    sampled = {
        int((network.expand_latents([a, b], input_is_latent=True, generator=g) == a).all(2).sum())
        for g in (torch.Generator().manual_seed(seed) for seed in range(60))
    }
    assert sampled == {1, 2, 3, 4, 5}


def test_truncation_pulls_latents_to_the_centre():
    network, z = generator(), torch.randn(3, 5)
    w, centre = network.mapping(z), torch.randn(1, 5)
    cut = network.expand_latents(z, truncation=0.25, truncation_latent=centre)
    torch.testing.assert_close(cut[:, 0], centre + 0.25 * (w - centre))
    with pytest.raises(ValueError, match="needs a centre"):
        network.expand_latents(z, truncation=0.5)
    network.latent_avg = centre
    torch.testing.assert_close(network.expand_latents(z, truncation=0.25), cut)


def test_noise_is_given_stored_or_random():
    network, z = generator(), torch.randn(1, 5)
    stored = network(z, randomize_noise=False)[0]
    assert torch.equal(network(z, noise=network.stored_noise())[0], stored)
    first, again, other = (network(z, generator=torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other) and not torch.equal(first, stored)
    with pytest.raises(ValueError, match="expected 5 noise maps, found 1"):
        network(z, noise=[torch.zeros(1, 1, 4, 4)])
    quiet = [torch.zeros_like(noise) for noise in network.stored_noise()]
    for name, value in network.named_parameters():
        if name.endswith("noise.weight"):
            value.fill_(9.0)
    silent = network(z, noise=quiet)[0]
    assert not torch.equal(silent, stored) and torch.isfinite(silent).all()


def test_mean_latent_is_the_mean_of_mapped_normals_whatever_the_chunk():
    network = generator()
    means = [network.mean_latent(50, torch.Generator().manual_seed(4), chunk_size=chunk) for chunk in (50, 7)]
    z = torch.randn(50, 5, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(means[0], network.mapping(z).mean(0, keepdim=True))
    assert means[1].shape == (1, 5)


def test_styles_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"must be \(N, 5\) or \(N, 6, 5\), found \(2, 4\)"):
        generator()(torch.zeros(2, 4))


def test_minibatch_stddev_by_hand():
    x = torch.tensor([0.0, 1.0, 2.0, 5.0, 0.0, 1.0, 2.0, 5.0]).reshape(8, 1, 1, 1)
    # groups of four: element n belongs to column n mod 2, so {0, 2, 0, 2} and {1, 5, 1, 5}
    found = minibatch_stddev(x, 4).flatten()
    assert found.tolist() == pytest.approx([1.0, 2.0] * 4, abs=1e-4)
    assert minibatch_stddev(torch.zeros(3, 2, 4, 4), 4).shape == (3, 1, 4, 4)
    with pytest.raises(ValueError, match="batch of 6 does not divide into groups of 4"):
        minibatch_stddev(torch.zeros(6, 1, 1, 1), 4)


def test_shortcut_equals_blur_and_a_convolution_of_stride_2():
    torch.manual_seed(5)
    encoder = Discriminator(DiscriminatorConfig(size=8, channels=(5, 4)))
    block, x = encoder.convs[1], torch.randn(2, 4, 8, 8)
    kernel = block.skip[0].kernel.expand(4, 1, 4, 4)
    blurred = F.conv2d(x, kernel, padding=1, groups=4)
    weight = block.skip[1].weight / 2
    torch.testing.assert_close(block.skip(x), F.conv2d(blurred, weight, stride=2), atol=1e-6, rtol=1e-5)
