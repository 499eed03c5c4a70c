"""Networks: shapes, sizes, published names, agreement with plain arithmetic."""

import pytest
import torch
from perceptionist.face_network import Classifier, Discriminator, FaceNetwork
from perceptionist.generator import Generator, resize_bilinear
from perceptionist.image_to_3d import ImageTo3D
from perceptionist.network_config import (
    FaceNetworkConfig,
    GeneratorConfig,
    ImageTo3DConfig,
    RefinerConfig,
    StageConfig,
    SupervisedHeadConfig,
    VoiceNetworkConfig,
)
from perceptionist.refiners import ForwardDirection, ReverseDirection
from perceptionist.supervised_head import SupervisedHead
from perceptionist.voice_network import VoiceNetwork
from torch import Tensor, nn
from torch.nn import functional as F

VOICE = VoiceNetworkConfig(n_mels=5, channels=(6, 7), embedding_dim=4)
SMALL = ImageTo3DConfig(
    image_size=32,
    stem=4,
    stages=(
        StageConfig(expansion=1, channels=4, blocks=1, stride=1),
        StageConfig(expansion=2, channels=6, blocks=2, stride=2),
    ),
    num_features=10,
    inter_block=2,
    shape=7,
    expression=3,
    texture=0,
)
REFINER = RefinerConfig(
    point_channels=(5, 6),
    global_channels=(6, 7, 8),
    refine_channels=(9, 8, 7),
    num_features=10,
    shape=7,
    expression=3,
)


def settled(network: nn.Module) -> nn.Module:
    """Evaluation mode, with batch norms that do something."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    return network.eval()


def normed(x: Tensor, norm: nn.Module) -> Tensor:
    """Batch norm in evaluation mode, written out."""
    shape = (-1, *[1] * (x.ndim - 2))
    mean, variance = norm.running_mean.view(shape), norm.running_var.view(shape)
    return (x - mean) / (variance + 1e-5).sqrt() * norm.weight.view(shape) + norm.bias.view(shape)


def test_voice_network_equals_its_layers() -> None:
    network, x = settled(VoiceNetwork(VOICE)).double(), torch.randn(2, 5, 23, dtype=torch.float64)
    y = x
    for number in (0, 3):
        convolved = torch.conv1d(y, network.model[number].weight, None, 2, 1)
        y = normed(convolved, network.model[number + 1]).clamp_min(0)
    y = torch.conv1d(y, network.model[6].weight, network.model[6].bias, 2, 1).mean(2)
    torch.testing.assert_close(network(x), y)
    torch.testing.assert_close(network.encode(x).norm(dim=1), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("frames", [1, 2, 31, 32, 33])
def test_voice_network_accepts_any_length_down_to_one_frame(frames: int) -> None:
    assert settled(VoiceNetwork(VOICE))(torch.randn(2, 5, frames)).shape == (2, 4)


def test_published_sizes_and_names() -> None:
    voice, generator, face = (
        {key: tuple(value.shape) for key, value in network.state_dict().items()}
        for network in (VoiceNetwork(), Generator(), FaceNetwork())
    )
    assert voice["model.0.weight"] == (256, 64, 3) and "model.0.bias" not in voice
    assert voice["model.12.weight"] == (64, 864, 3) and voice["model.12.bias"] == (64,)
    assert generator["model.0.weight"] == (64, 1024, 4, 4) and generator["model.10.weight"] == (64, 3, 1, 1)
    assert face["model.0.weight"] == (32, 3, 1, 1) and face["model.10.weight"] == (64, 512, 4, 4)
    assert len(voice) == 26 and len(generator) == len(face) == 12
    assert [key for key, _ in Discriminator().named_parameters()] == ["model.weight"]
    with torch.device("meta"):
        student = ImageTo3D()
    assert len(student.state_dict()) == 320
    assert student.state_dict()["features.17.conv.3.weight"].shape == (320,)
    assert sum(p.numel() for p in student.features.parameters()) == 2_223_872  # the known size of the trunk


def test_generator_output_size_and_unbounded_range() -> None:
    config = GeneratorConfig(embedding_dim=4, channels=(6, 5, 3))
    network = Generator(config)
    assert config.image_size == 16
    assert network(torch.randn(2, 4)).shape == (2, 3, 16, 16)
    assert network(1e4 * torch.randn(2, 4)).abs().max() > 1


def test_the_first_layer_of_the_generator_is_linear() -> None:
    network = Generator(GeneratorConfig(embedding_dim=4, channels=(6,), image_channels=6)).double()
    nn.init.eye_(network.model[2].weight.data[:, :, 0, 0])
    nn.init.zeros_(network.model[2].bias)
    z = torch.randn(2, 4, dtype=torch.float64)
    first = network.model[0]
    expected = torch.einsum("bi,iohw->bohw", z, first.weight) + first.bias[:, None, None]
    torch.testing.assert_close(network(z), expected.relu())


def test_resizing_keeps_the_corners_and_is_linear_between() -> None:
    x = torch.tensor([[0.0, 3.0], [6.0, 9.0]])[None, None]
    expected = torch.tensor([[0.0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]])
    torch.testing.assert_close(resize_bilinear(x, 4)[0, 0], expected)
    assert resize_bilinear(x, 2) is x


def test_face_network_accepts_its_image_size_only() -> None:
    network = FaceNetwork(FaceNetworkConfig(channels=(2, 3, 4), embedding_dim=5))
    assert network(torch.randn(2, 3, 16, 16)).shape == (2, 5)
    with pytest.raises(ValueError, match=r"\(B, 3, 16, 16\), found \(2, 3, 32, 32\)"):
        network(torch.randn(2, 3, 32, 32))
    judge = Discriminator(5)
    assert torch.equal(judge(torch.eye(5)), judge.model.weight.T)
    head = Classifier(5, 11)
    assert head(torch.eye(5)).shape == (5, 11) and torch.equal(head(torch.eye(5)), head.model.weight.T)


def test_supervised_head_returns_scale_shape_expression_in_this_order() -> None:
    head = SupervisedHead(SupervisedHeadConfig(embedding_dim=6, shape=4, expression=2)).eval()
    z = F.normalize(torch.randn(3, 6))
    result = head(z)
    assert result.shape == (3, 7)
    torch.testing.assert_close(result[:, :1], head.classifier_scale[1](z))
    torch.testing.assert_close(result[:, 1:5], head.classifier_shape[1](z))
    torch.testing.assert_close(result[:, 5:], head.classifier_exp[1](z))
    assert SupervisedHeadConfig().num_parameters == 51


def test_image_to_3d_returns_parameters_pooled_and_inner_features() -> None:
    network, x = settled(ImageTo3D(SMALL)), torch.randn(2, 3, 32, 32)
    result = network(x)
    assert result.parameters.shape == (2, SMALL.num_parameters) == (2, 12 + 7 + 3)
    torch.testing.assert_close(result.inter, network.features[:3](x))
    torch.testing.assert_close(result.pooled, network.features(x).mean((2, 3)))
    torch.testing.assert_close(result.parameters[:, 12:19], network.classifier_shape[1](result.pooled))
    assert not hasattr(network, "classifier_texture")


def test_an_inverted_residual_equals_its_layers() -> None:
    network = settled(ImageTo3D(SMALL)).double()
    block, x = network.features[3], torch.randn(2, 6, 8, 8, dtype=torch.float64)
    expand, depth, project, norm = block.conv
    y = normed(torch.conv2d(x, expand[0].weight), expand[1]).clamp(0, 6)
    y = normed(torch.conv2d(y, depth[0].weight, None, 1, 1, 1, 12), depth[1]).clamp(0, 6)
    torch.testing.assert_close(block(x), x + normed(torch.conv2d(y, project.weight), norm))
    assert [network.features[number].has_residual for number in (1, 2, 3)] == [True, False, True]


def test_initial_weights_have_the_stated_standard_deviation() -> None:
    torch.manual_seed(0)
    network = ImageTo3D(ImageTo3DConfig(stem=64))
    weight = network.features[0][0].weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)
    assert network.classifier_shape[1].weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert network.classifier_shape[1].bias.abs().max() == 0


def test_refiners_are_invariant_to_the_order_of_points() -> None:
    forward, reverse = (settled(each(REFINER)).double() for each in (ForwardDirection, ReverseDirection))
    landmarks = torch.randn(2, 3, 9, dtype=torch.float64)
    codes = [torch.randn(2, n, dtype=torch.float64) for n in (10, 7, 3)]
    order = torch.randperm(9)
    refined = forward(landmarks, *codes)
    assert refined.shape == (2, 3, 9) and refined.min() >= 0
    torch.testing.assert_close(forward(landmarks[:, :, order], *codes), refined[:, :, order])
    result = reverse(landmarks)
    assert result.shape == (2, 22) and result.min() >= 0
    torch.testing.assert_close(reverse(landmarks[:, :, order]), result)


def test_refinement_takes_its_inputs_in_the_published_order() -> None:
    network = settled(ForwardDirection(REFINER)).double()
    landmarks = torch.randn(1, 3, 4, dtype=torch.float64)
    pooled, shape, expression = (torch.randn(1, n, dtype=torch.float64) for n in (10, 7, 3))
    points, full = network.encode(landmarks)
    rows = [points, *(each.view(1, -1, 1).expand(-1, -1, 4) for each in (full, pooled, shape, expression))]
    hidden = normed(network.conv6(torch.cat(rows, 1)), network.bn6).relu()
    for number in (7, 8, 9):
        hidden = normed(
            network.get_submodule(f"conv{number}")(hidden), network.get_submodule(f"bn{number}")
        ).relu()
    torch.testing.assert_close(network(landmarks, pooled, shape, expression), hidden)


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (VoiceNetwork(VOICE), (2, 6, 9)),
        (VoiceNetwork(VOICE), (2, 5, 0)),
        (Generator(GeneratorConfig(embedding_dim=4, channels=(2,))), (2, 4, 1, 1)),
        (SupervisedHead(SupervisedHeadConfig(embedding_dim=4)), (2, 5)),
        (ImageTo3D(SMALL), (2, 3, 120, 120)),
        (ReverseDirection(REFINER), (2, 2, 68)),
    ],
)
def test_input_of_another_shape_is_refused(network: nn.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        network.eval()(torch.zeros(shape))
    assert str(shape) in str(caught.value)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"blocks 0\.\.\.4"):
        ImageTo3DConfig(stages=SMALL.stages, inter_block=9)
    with pytest.raises(ValueError, match="stride"):
        StageConfig(expansion=1, channels=4, blocks=1, stride=3)
