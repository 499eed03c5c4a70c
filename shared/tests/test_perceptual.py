"""LPIPS and its backbones: agreement with the published module, laws, files."""

import warnings

import pytest
import torch
import torchvision
from torch.nn import functional
from voiceface.checkpoints.published import CheckpointError
from voiceface.models.lpips import (
    FEATURE_TAPS,
    LPIPS,
    build_backbone,
    load_backbone,
    load_lpips,
    normalize_channels,
)

NETS = ("alex", "vgg", "squeeze")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_images(*shape, seed=0):
    return torch.rand(shape, generator=seeded(seed)) * 2 - 1


def filled(network, seed=0):
    """The network with weights under which activations keep their scale; linear ones are not negative."""
    generator = seeded(seed)
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if key.startswith("scaling_layer"):
                continue
            value.copy_(torch.randn(value.shape, generator=generator))
            if key.startswith("lin"):
                value.abs_()
            elif value.ndim > 1:
                value.mul_((2 / value[0].numel()) ** 0.5)
            else:
                value.mul_(0.1)
    return network


@pytest.fixture(scope="module", params=NETS)
def network(request):
    return filled(LPIPS(request.param))


@pytest.mark.parametrize("name", NETS)
def test_backbones_are_numbered_as_in_torchvision(name):
    models = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}
    with torch.device("meta"):
        reference, actual = getattr(torchvision.models, models[name])().features, build_backbone(name)
    assert len(reference) - len(actual) in (0, 1)  # the last pooling is never read
    shapes = {k: tuple(v.shape) for k, v in reference.state_dict().items()}
    assert {k: tuple(v.shape) for k, v in actual.state_dict().items()} == shapes
    for layer, other in zip(actual, reference):
        if not list(layer.children()):
            assert repr(layer) == repr(other)


@torch.no_grad()
def test_squeezenet_computes_what_torchvisions_does():
    reference = torchvision.models.squeezenet1_1().features.eval()
    actual = build_backbone("squeeze")
    actual.load_state_dict(reference.state_dict())
    given = random_images(1, 3, 50, 41)
    torch.testing.assert_close(actual(given), reference(given))


@torch.no_grad()
def test_distance_agrees_with_the_published_package(network):
    lpips = pytest.importorskip("lpips")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = lpips.LPIPS(net=network.net, pretrained=False, pnet_rand=True, verbose=False).eval()
    with torch.no_grad():
        published = reference.state_dict()
        for key, value in network.state_dict().items():
            if key.startswith("features."):
                rest = key.removeprefix("features.")
                name = next(k for k in published if k.startswith("net.slice") and k.split(".", 2)[2] == rest)
                published[name].copy_(value)
            else:
                published[key].copy_(value)
    a, b = random_images(2, 3, 64, 64), random_images(2, 3, 64, 64, seed=1)
    torch.testing.assert_close(network(a, b), reference(a, b), rtol=1e-4, atol=1e-6)
    assert network(a, b).shape == (2, 1, 1, 1)
    reference.spatial = True
    torch.testing.assert_close(network.spatial_distance(a, b), reference(a, b), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_distance_is_a_sum_over_taps_zero_for_the_same_and_symmetric(network):
    a, b = random_images(3, 3, 70, 45), random_images(3, 3, 70, 45, seed=1)
    each = network.layer_distances(a, b)
    assert each.shape == (len(FEATURE_TAPS[network.net].layer_ends), 3)
    assert (each > 0).all()
    torch.testing.assert_close(each.sum(0), network(a, b).flatten())
    torch.testing.assert_close(network(a, b), network(b, a))
    assert (network(a, a) == 0).all()
    assert network.spatial_distance(a, b).shape == (3, 1, 70, 45)


@torch.no_grad()
def test_each_image_is_judged_alone_and_a_target_is_read_once(network):
    a, b = random_images(3, 3, 64, 64), random_images(1, 3, 64, 64, seed=1)
    target = [each.expand(3, -1, -1, -1) for each in network.extract_features(b)]
    together = network.distance_from_features(network.extract_features(a), target)
    alone = torch.cat([network(image[None], b) for image in a])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-7)


def test_slow_twin_of_alex():
    network = filled(LPIPS("alex")).double()
    a, b = random_images(1, 3, 64, 64).double(), random_images(1, 3, 64, 64, seed=1).double()
    state = network.state_dict()
    shift, scale = (
        torch.tensor(x).double()[:, None, None] for x in ((-0.03, -0.088, -0.188), (0.458, 0.448, 0.45))
    )

    def taps(x):
        x = (x - shift) / scale
        for number, (stride, padding) in {0: (4, 2), 3: (1, 2), 6: (1, 1), 8: (1, 1), 10: (1, 1)}.items():
            if number in (3, 6):
                x = functional.max_pool2d(x, 3, 2)
            weight, bias = (state[f"features.{number}.{word}"] for word in ("weight", "bias"))
            x = functional.conv2d(x, weight, bias, stride, padding).relu()
            yield x[0] / (x[0].norm(dim=0) + 1e-10)

    expected = 0.0
    for number, (actual, reference) in enumerate(zip(taps(a), taps(b))):
        weight = state[f"lin{number}.model.1.weight"].flatten()
        expected += torch.einsum("c,chw->hw", weight, (actual - reference) ** 2).mean().item()
    assert network(a, b).item() == pytest.approx(expected, rel=1e-6)


def test_gradient_reaches_images_and_no_weight(network):
    a, b = random_images(1, 3, 64, 64).requires_grad_(), random_images(1, 3, 64, 64, seed=1)
    network.train()
    assert not any(module.training for module in network.modules())
    network(a, b).sum().backward()
    assert a.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.parameters())


def test_gradient_is_finite_where_all_channels_are_zero():
    maps = torch.zeros(1, 4, 2, 2, dtype=torch.float64)
    maps[..., 0] = torch.rand(1, 4, 2, generator=seeded(), dtype=torch.float64)
    maps.requires_grad_()
    unit = normalize_channels(maps)
    (unit * torch.arange(4.0)[:, None, None]).sum().backward()
    assert maps.grad.isfinite().all()
    torch.testing.assert_close(unit[..., 0].norm(dim=1), torch.ones(1, 2).double())
    assert (unit[..., 1] == 0).all()
    with torch.no_grad():
        network = filled(LPIPS("alex"))
        for parameter in network.features.parameters():
            parameter.zero_()
    black = random_images(1, 3, 64, 64).requires_grad_()
    network(black, random_images(1, 3, 64, 64, seed=1)).sum().backward()
    assert black.grad.isfinite().all()


@torch.no_grad()
def test_version_0_0_leaves_the_scaling_out():
    new, old = filled(LPIPS("alex")), filled(LPIPS("alex", scaled=False))
    a, b = random_images(1, 3, 64, 64), random_images(1, 3, 64, 64, seed=1)
    shift, scale = new.scaling_layer.shift, new.scaling_layer.scale
    torch.testing.assert_close(old((a - shift) / scale, (b - shift) / scale), new(a, b))
    assert not torch.allclose(old(a, b), new(a, b))


def published_files(folder, net="alex"):
    """Files as torchvision and lpips lay them out, the first with its classifier."""
    network = filled(LPIPS(net))
    state = network.state_dict()
    layers = {key: value for key, value in state.items() if key.startswith("features.")}
    torch.save(layers | {"classifier.6.weight": torch.zeros(4, 4)}, folder / "backbone.pth")
    torch.save({key: value for key, value in state.items() if key.startswith("lin")}, folder / "heads.pth")
    return network


@torch.no_grad()
def test_files_of_torchvision_and_lpips_are_read(tmp_path):
    network = published_files(tmp_path)
    loaded = load_lpips(tmp_path / "backbone.pth", tmp_path / "heads.pth", "alex")
    a, b = random_images(1, 3, 64, 64), random_images(1, 3, 64, 64, seed=1)
    assert torch.equal(loaded(a, b), network(a, b))
    short = load_backbone(build_backbone("alex")[:4], tmp_path / "backbone.pth")
    assert torch.equal(short[3].weight, network.features[3].weight)


def test_wrong_files_are_refused_by_name(tmp_path):
    network = published_files(tmp_path)
    with pytest.raises(CheckpointError, match=r"backbone\.pth do not fit"):
        load_lpips(tmp_path / "backbone.pth", tmp_path / "heads.pth", "vgg")
    with pytest.raises(CheckpointError, match=r"backbone\.pth do not fit LPIPS"):
        load_lpips(tmp_path / "backbone.pth", tmp_path / "backbone.pth", "alex")
    state = {key: -value for key, value in network.state_dict().items() if key.startswith("lin")}
    torch.save(state, tmp_path / "negative.pth")
    with pytest.raises(CheckpointError, match=r"negative\.pth: weights of tap 0 are negative"):
        load_lpips(tmp_path / "backbone.pth", tmp_path / "negative.pth", "alex")
    with pytest.raises(ValueError, match="net must be one of"):
        LPIPS("resnet")
    with pytest.raises(ValueError, match="the backbone must be one of"):
        build_backbone("vgg11")
    with pytest.raises(ValueError, match=r"found \(3, 64, 64\)"):
        network.extract_features(random_images(3, 64, 64))
