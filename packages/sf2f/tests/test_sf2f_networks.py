"""Encoders, fusers and decoders: invariants, reference implementations, rejected input."""

import pytest
import torch
from sf2f.decoders import PointDeconvolution, UpBlock
from sf2f.encoders import VoiceEncoder
from sf2f.fusers import Attention, build_fuser
from sf2f.generator import EncoderDecoder, freeze_except_fuser
from sf2f.network_config import (
    AttnV2FDecoderConfig,
    EncoderConfig,
    FaceGanDecoderConfig,
    FaceGanV2DecoderConfig,
    FuserConfig,
    GeneratorConfig,
    MRDecoderConfig,
    V2FDecoderConfig,
)
from torch import Tensor, nn
from voiceface.runtime.config import ConfigError, to_dict, validate_config

ENCODER = EncoderConfig(n_mels=5, channels=(8, 12), embedding_dim=16)
PLAIN = ENCODER.model_copy(update={"inception": False})
DECODERS = {
    "v2f": V2FDecoderConfig(channels=(8, 6, 4)),
    "facegan": FaceGanDecoderConfig(channels=(8, 6, 4)),
    "facegan_v2": FaceGanV2DecoderConfig(channels=(8, 6), mid_channels=3),
    "mr": MRDecoderConfig(channels=(8, 6), mid_channels=5, high_channels=4, extra_feature_map=True),
    "mr up": MRDecoderConfig(channels=(8, 6), mid_channels=5, use_up_blocks=True, normalisation="batch"),
    "attn_v2f": AttnV2FDecoderConfig(channels=(8, 6), attention_channels=(0, 3), normalisation="instance"),
}


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tiny_generator(**parts: object) -> EncoderDecoder:
    torch.manual_seed(0)
    config = {"encoder": ENCODER, "decoder": DECODERS["facegan"], **parts}
    return EncoderDecoder(GeneratorConfig.model_validate(config))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_sizes_have_the_published_numbers_of_parameters() -> None:
    v2f = EncoderConfig(inception=False, noise_std=0.05)
    with torch.device("meta"):
        found = {
            "v2f": EncoderDecoder(GeneratorConfig(encoder=v2f, decoder=V2FDecoderConfig())),
            "first": EncoderDecoder(),
            "fuser": EncoderDecoder(GeneratorConfig(fuser=FuserConfig())),
            "mid": EncoderDecoder(GeneratorConfig(decoder=FaceGanV2DecoderConfig())),
        }
    counts = {name: (count(each.encoder), count(each.decoder)) for name, each in found.items()}
    assert counts == {
        "v2f": (3_813_952, 19_531_907),
        "first": (4_848_192, 11_566_083),
        "fuser": (5_634_624, 11_566_083),
        "mid": (4_848_192, 11_577_734),
    }
    assert found["first"].image_sizes == (64,) and found["mid"].image_sizes == (64, 128)


@pytest.mark.parametrize("config", [ENCODER, PLAIN])
@pytest.mark.parametrize("frames", [1, 2, 7, 8, 31])
def test_embeddings_are_normalised_means_for_every_length(config: EncoderConfig, frames: int) -> None:
    torch.manual_seed(0)
    encoder = VoiceEncoder(config).eval()
    mel = seeded(3, 5, frames)
    sequence = encoder.forward_features(mel)
    assert sequence.shape == (3, 16, -(-frames // 8))
    mean = sequence.mean(2)
    expected = mean / mean.norm(dim=1, keepdim=True)
    torch.testing.assert_close(encoder(mel), expected)
    bare = VoiceEncoder(config.model_copy(update={"normalise": False})).eval()
    bare.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(bare(mel), mean)


def test_inception_drops_the_last_frame_of_the_narrow_branch_after_its_norm() -> None:
    torch.manual_seed(0)
    block = VoiceEncoder(ENCODER).model[0].train()
    mel = seeded(2, 5, 8)
    narrow = nn.functional.conv1d(mel, block.conv_k2.model[0].weight, stride=2, padding=1)
    assert narrow.shape[2] == 5
    normed = nn.functional.batch_norm(narrow, None, None, training=True)
    torch.testing.assert_close(block(mel)[:, :2], normed.relu()[:, :, :4])


def test_noise_comes_from_a_tensor_or_a_generator() -> None:
    encoder = VoiceEncoder(ENCODER.model_copy(update={"noise_std": 0.05})).eval()
    mel = seeded(4, 5, 20)
    clean = encoder(mel)
    assert torch.equal(encoder(mel, torch.Generator().manual_seed(3)), clean)
    sampled = torch.randn(4, 16, generator=torch.Generator().manual_seed(3))
    expected = nn.functional.normalize(clean + 0.05 * sampled)
    torch.testing.assert_close(encoder(mel, sampled), expected)
    always = VoiceEncoder(encoder.config.model_copy(update={"noise_in_evaluation": True})).eval()
    always.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(always(mel, torch.Generator().manual_seed(3)), expected)
    with pytest.raises(ValueError, match=r"Generator"):
        always(mel)
    with pytest.raises(ValueError, match="noise_std is 0"):
        VoiceEncoder(ENCODER).eval()(mel, sampled)
    with pytest.raises(ValueError, match="noise must be"):
        encoder(mel, sampled[:2])


def test_invalid_windows_are_rejected() -> None:
    encoder = VoiceEncoder(ENCODER)
    with pytest.raises(ValueError, match=r"\(N, 5, T\), found \(2, 4, 9\)"):
        encoder(seeded(2, 4, 9))
    with pytest.raises(ValueError, match="one frame"):
        encoder(seeded(2, 5, 0))
    with pytest.raises(ValueError, match="3 frames has too few"):
        encoder(seeded(1, 5, 3))
    assert encoder(seeded(1, 5, 5)).shape == (1, 16)
    with pytest.raises(ValueError, match="multiples of 4"):
        EncoderConfig(channels=(10,))


def test_attention_by_hand() -> None:
    layer = Attention(2, kind="dot", linear_out=False, ignore_tanh=True)
    query, context = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[2.0, 1.0], [0.0, 3.0]]])
    weight = torch.tensor([2.0, 0.0]).softmax(0)
    mixed, weights = layer(query, context)
    torch.testing.assert_close(weights[0, 0], weight)
    torch.testing.assert_close(mixed[0, 0], weight @ context[0])
    layer = Attention(2, out_dim=1)
    with torch.no_grad():
        layer.linear_in.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        layer.linear_out.weight.copy_(torch.tensor([[0.0, 0.0, 0.0, 1.0]]))
    torch.testing.assert_close(layer(query, context)[0].item(), torch.tensor(1.0).tanh().item())
    with pytest.raises(ValueError, match="linear_out"):
        Attention(2, out_dim=3, linear_out=False)


@pytest.mark.parametrize("kind", ["v1", "v2", "v3"])
def test_fusers_ignore_order_and_padding(kind: str) -> None:
    torch.manual_seed(0)
    fuser = build_fuser(FuserConfig.model_validate({"kind": kind}), 16)
    windows = seeded(3, 6, 16)
    fused = fuser(windows)
    assert fused.shape == (3, 16)
    torch.testing.assert_close(fuser(windows[:, torch.randperm(6)]), fused)
    mask = torch.ones(3, 6, dtype=torch.bool)
    torch.testing.assert_close(fuser(windows, mask), fused)
    padded = torch.cat([windows, seeded(3, 2, 16, seed=1) * 50], 1)
    longer = torch.cat([mask, torch.zeros(3, 2, dtype=torch.bool)], 1)
    torch.testing.assert_close(fuser(padded, longer), fused)
    assert not torch.allclose(fuser(padded), fused)


def test_a_mask_differs_by_speaker_and_stops_gradients() -> None:
    generator = tiny_generator(fuser=FuserConfig()).eval()
    embeddings = seeded(2, 4, 16).requires_grad_()
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    fused = generator.fuse(embeddings, mask)
    torch.testing.assert_close(fused[1], generator.fuse(embeddings[1:, :2])[0])
    torch.testing.assert_close(fused.norm(dim=1), torch.ones(2))
    fused[:, 0].sum().backward()
    assert embeddings.grad is not None
    assert not embeddings.grad[1, 2:].any() and embeddings.grad[1, :2].any()


def test_invalid_windows_and_masks_are_rejected_by_the_fuser() -> None:
    generator = tiny_generator(fuser=FuserConfig()).eval()
    windows = seeded(2, 3, 16)
    with pytest.raises(ValueError, match=r"items \[1\] without a window"):
        generator.fuse(windows, torch.tensor([[True] * 3, [False] * 3]))
    with pytest.raises(ValueError, match="bool of shape"):
        generator.fuse(windows, torch.ones(2, 3))
    with pytest.raises(ValueError, match="at least one window"):
        generator.fuse(windows[:, :0])
    with pytest.raises(ValueError, match=r"\(B, S, 16\)"):
        generator.fuse(seeded(2, 3, 15))
    with pytest.raises(ValueError, match="mask requires"):
        generator(seeded(2, 5, 9), torch.ones(2, 1, dtype=torch.bool))
    with pytest.raises(ValueError, match="need a fuser"):
        tiny_generator().eval()(seeded(2, 3, 5, 9))
    with pytest.raises(ValueError, match=r"\(B, M, T\) or"):
        generator(seeded(5, 9))


@pytest.mark.parametrize("training", [True, False])
def test_fused_upsampling_equals_upsampling_then_convolution(training: bool) -> None:
    torch.manual_seed(0)
    block = UpBlock(3, 4).double().train(training)
    x = torch.randn(2, 3, 5, 5, dtype=torch.double, requires_grad=True)
    ours, slow = block(x), nn.Sequential.forward(block, x)
    torch.testing.assert_close(ours, slow)
    weights = [x, *block.parameters()]
    slopes = [torch.autograd.grad(each.square().sum(), weights) for each in (ours, slow)]
    for a, b in zip(*slopes):
        torch.testing.assert_close(a, b)


def test_point_deconvolution_equals_the_stock_layer() -> None:
    torch.manual_seed(0)
    layer = PointDeconvolution(3, 4, 4).double()
    for side in (1, 2):
        x = torch.randn(2, 3, side, side, dtype=torch.double)
        torch.testing.assert_close(layer(x), nn.ConvTranspose2d.forward(layer, x))


@pytest.mark.parametrize("name", DECODERS)
def test_every_decoder_returns_its_sizes_and_trains(name: str) -> None:
    generator = tiny_generator(decoder=DECODERS[name]).train()
    found = generator(seeded(3, 5, 9))
    assert [tuple(each.shape) for each in found.images] == [
        (3, 3, side, side) for side in generator.image_sizes
    ]
    sum(each.square().mean() for each in found.images).backward()
    idle = [name for name, p in generator.named_parameters() if p.grad is None or not p.grad.any()]
    assert not [key for key in idle if not key.endswith("bias")]  # a bias before a norm has none


def test_channels_determine_the_image_size() -> None:
    for levels in (1, 2, 4):
        config = FaceGanDecoderConfig(channels=(8,) * levels)
        image = tiny_generator(decoder=config).eval()(seeded(1, 5, 9)).images[0]
        assert image.shape[2:] == (config.image_sizes[0],) * 2 == (4 * 2 ** (levels - 1),) * 2


def test_decoder_configurations_are_discriminated_by_kind() -> None:
    for decoder in DECODERS.values():
        config = GeneratorConfig(encoder=ENCODER, decoder=decoder)
        assert validate_config(to_dict(config), GeneratorConfig) == config
    with pytest.raises(ConfigError, match="kind"):
        validate_config({"decoder": {"kind": "stylegan"}}, GeneratorConfig)
    with pytest.raises(ConfigError, match="mid_channels"):
        validate_config({"decoder": {"kind": "facegan", "mid_channels": 3}}, GeneratorConfig)
    with pytest.raises(ConfigError, match="remove the fuser"):
        validate_config({"fuser": {}, "decoder": {"kind": "attn_v2f"}}, GeneratorConfig)
    with pytest.raises(ConfigError, match="attention_channels"):
        validate_config({"decoder": {"kind": "attn_v2f", "channels": [8, 4]}}, GeneratorConfig)


def test_invalid_embeddings_are_rejected() -> None:
    generator = tiny_generator()
    with pytest.raises(ValueError, match="at least 2 items"):
        generator.decode(seeded(1, 16))
    with pytest.raises(ValueError, match=r"\(B, 16\), found \(2, 15\)"):
        generator.decode(seeded(2, 15))
    with pytest.raises(ValueError, match="sequence"):
        tiny_generator(decoder=DECODERS["attn_v2f"]).decode(seeded(2, 16))
    with pytest.raises(ValueError, match="multiple of 16"):
        EncoderDecoder(
            GeneratorConfig(
                encoder=ENCODER.model_copy(update={"embedding_dim": 12}),
                decoder=MRDecoderConfig(extra_feature_map=True),
            )
        )


def test_windows_are_fused_and_single_windows_bypass_the_fuser() -> None:
    generator = tiny_generator(fuser=FuserConfig(normalise=False)).eval()
    mel = seeded(2, 3, 5, 9)
    fused = generator(mel)
    embeddings = torch.stack([generator.encode(each) for each in mel])
    torch.testing.assert_close(fused.embedding, generator.fuse(embeddings))
    single = generator(mel[:, 0])
    torch.testing.assert_close(single.embedding, embeddings[:, 0])
    averaged = generator(mel[:, 0], average_batch=True)
    torch.testing.assert_close(averaged.embedding, embeddings[:, 0].mean(0, keepdim=True))
    torch.testing.assert_close(averaged.images[0], generator.decode(averaged.embedding)[0])


@pytest.mark.parametrize("train_decoder", [False, True])
def test_frozen_parts_do_not_change_in_any_mode(train_decoder: bool) -> None:
    generator = freeze_except_fuser(tiny_generator(fuser=FuserConfig()), train_decoder)
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    optimiser = torch.optim.Adam([p for p in generator.parameters() if p.requires_grad], lr=0.1)
    generator.train()
    generator.eval()
    generator.train()
    assert generator.training and not generator.encoder.model.training and not generator.decoder.training
    generator(seeded(2, 3, 5, 9)).images[0].square().mean().backward()
    optimiser.step()
    moved = {key for key, value in generator.state_dict().items() if not torch.equal(value, before[key])}
    parts = {"encoder.attn_fuser"} | ({"decoder"} if train_decoder else set())
    assert moved and {".".join(key.split(".")[: 2 if "fuser" in key else 1]) for key in moved} == parts
    assert not [key for key in moved if "running" in key]


def test_published_behaviour_of_frozen_norms_is_an_option() -> None:
    generator = freeze_except_fuser(tiny_generator(fuser=FuserConfig()), frozen_norms="batch_statistics")
    before = {key: value.clone() for key, value in generator.named_buffers()}
    assert not [p for name, p in generator.named_parameters() if p.requires_grad and "fuser" not in name]
    generator.train()(seeded(2, 3, 5, 9))
    assert all(not torch.equal(value, before[key]) for key, value in generator.named_buffers())
    with pytest.raises(ValueError, match="frozen_norms"):
        freeze_except_fuser(generator, frozen_norms="never")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no fuser"):
        freeze_except_fuser(tiny_generator())
