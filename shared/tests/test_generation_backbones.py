"""Networks that read faces and images: FaceNet, ResNet of VGGFace2, Inception; their files."""

import pickle
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
import torchvision
from torch.nn import functional
from voiceface.checkpoints.published import CheckpointError
from voiceface.checkpoints.third_party import THIRD_PARTY_FILES, locate_third_party_file
from voiceface.io.safe_pickle import ArrayFileError
from voiceface.models import inception
from voiceface.models.facenet import InceptionResNet, build_inception_resnet, load_inception_resnet
from voiceface.models.fuse_batchnorm import PointwiseConv2d, fuse_batchnorm
from voiceface.models.inception import (
    Inception,
    build_inception,
    load_inception,
    preprocess_images,
    tensorflow_resize,
)
from voiceface.models.vggface2_resnet import CaffeResNet, build_caffe_resnet, load_caffe_resnet


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def scrambled(network, seed=0):
    """The network in evaluation with weights and statistics that leave no part without effect."""
    generator = seeded(seed)
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if key.endswith("running_var"):
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            elif value.ndim > 1:
                spread = (2 / value[0].numel()) ** 0.5
                value.copy_(torch.randn(value.shape, generator=generator) * spread)
            elif value.is_floating_point():
                shift = 1.0 if key.endswith("weight") else 0.0
                value.copy_(torch.randn(value.shape, generator=generator) * 0.1 + shift)
    return network.eval()


def random_images(*shape, seed=0):
    return torch.rand(shape, generator=seeded(seed)) * 2 - 1


def facenet(**options):
    return scrambled(
        InceptionResNet(**{"num_classes": 7, "width_divisor": 16, "repeats": (1, 2, 1)} | options)
    )


def classifier():
    return scrambled(CaffeResNet(num_classes=9, blocks=(2, 1, 2, 1), width_per_group=4))


def test_facenet_has_the_published_size_and_states():
    with torch.device("meta"):
        network = InceptionResNet()
    assert sum(parameter.numel() for parameter in network.parameters()) == 27_910_327
    assert len(network.state_dict()) == 716
    found = facenet(features=24).forward_features(random_images(2, 3, 31, 50))
    assert [tuple(each.shape[1:]) for each in found.maps] == [(16, 15, 15), (56, 7, 7), (112, 3, 3)]
    assert found.embedding.shape == (2, 24)
    torch.testing.assert_close(found.embedding.norm(dim=1), torch.ones(2))


@torch.no_grad()
def test_facenet_resizes_images_of_any_size_with_aligned_corners():
    network = facenet()
    given = random_images(2, 3, 47, 34)
    large = functional.interpolate(given, size=(140, 140), mode="bilinear", align_corners=True)
    torch.testing.assert_close(network(given), network(large))
    assert network.resize_images(large) is large
    corners = network.resize_images(given)[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    torch.testing.assert_close(corners, given[:, :, [0, 0, -1, -1], [0, -1, 0, -1]])


@torch.no_grad()
def test_pooled_vectors_skip_the_last_layers():
    network = facenet()
    given = random_images(2, 3, 140, 140)
    pooled = network(given, pooled=True)
    torch.testing.assert_close(pooled.norm(dim=1), torch.ones(2))
    network.last_linear.weight.zero_()
    torch.testing.assert_close(network(given, pooled=True), pooled)
    assert network.classify(network(given)).shape == (2, 7)
    with pytest.raises(ValueError, match="without its classifier"):
        facenet(num_classes=None).classify(torch.zeros(1, 512))


@torch.no_grad()
def test_facenet_depends_on_each_of_its_parts():
    given = random_images(1, 3, 80, 80)
    network = facenet(image_size=None, repeats=(1, 1, 1))
    expected = network(given)
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1 and "logits" not in name:
            kept = parameter.clone()
            parameter.mul_(-1.3)
            assert not torch.allclose(network(given), expected, atol=1e-6), name
            parameter.copy_(kept)
    torch.testing.assert_close(network(given), expected, rtol=0, atol=0)


def test_facenet_files_of_one_or_two_parts_give_the_same(tmp_path):
    network = facenet()
    state = network.state_dict()
    features = {key: value for key, value in state.items() if not key.startswith("logits")}
    paths = [tmp_path / name for name in ("whole.pt", "features.pt", "logits.pt")]
    torch.save(state, paths[0])
    torch.save(features, paths[1])
    torch.save({key: value for key, value in state.items() if key.startswith("logits")}, paths[2])
    one, two, headless = (load_inception_resnet(*chosen) for chosen in ([paths[0]], paths[1:], [paths[1]]))
    given = random_images(1, 3, 40, 40)
    with torch.no_grad():
        for loaded in (one, two, headless):
            assert not loaded.training
            torch.testing.assert_close(loaded(given), network(given))
    assert headless.logits is None
    torch.testing.assert_close(two.logits.weight, network.logits.weight)


def test_files_of_other_networks_are_refused(tmp_path):
    path = tmp_path / "other.pt"
    torch.save(classifier().state_dict(), path)
    with pytest.raises(CheckpointError, match="no Inception-ResNet v1"):
        load_inception_resnet(path)
    with pytest.raises(CheckpointError, match="no Inception v3"):
        load_inception(path)
    torch.save(facenet().state_dict(), path)
    with pytest.raises(CheckpointError, match="no ResNet with bottlenecks"):
        load_caffe_resnet(path)


def slow_caffe_resnet(state, x, blocks):
    """The network written out with functions."""

    def norm(x, key):
        values = (state[f"{key}.{word}"] for word in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *values)

    x = norm(functional.conv2d(x, state["conv1.weight"], stride=2, padding=3), "bn1").relu()
    x = functional.pad(x, (0, 1, 0, 1), value=-torch.inf)  # sizes of the test are even: one more column
    x = functional.max_pool2d(x, 3, 2)
    for stage, count in enumerate(blocks, 1):
        for number in range(count):
            key, stride = f"layer{stage}.{number}", 2 if stage > 1 and number == 0 else 1
            y = norm(functional.conv2d(x, state[f"{key}.conv1.weight"], stride=stride), f"{key}.bn1").relu()
            y = norm(functional.conv2d(y, state[f"{key}.conv2.weight"], padding=1), f"{key}.bn2").relu()
            y = norm(functional.conv2d(y, state[f"{key}.conv3.weight"]), f"{key}.bn3")
            if number == 0:
                x = functional.conv2d(x, state[f"{key}.downsample.0.weight"], stride=stride)
                x = norm(x, f"{key}.downsample.1")
            x = (x + y).relu()
    return functional.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])


@torch.no_grad()
def test_caffe_resnet_agrees_with_the_network_written_out():
    network = classifier()
    given = random_images(2, 3, 64, 96) * 60
    torch.testing.assert_close(network(given), slow_caffe_resnet(network.state_dict(), given, (2, 1, 2, 1)))
    assert network.forward_features(given).pooled.shape == (2, 2048)
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\), found \(2, 1, 8, 8\)"):
        network(torch.zeros(2, 1, 8, 8))


def test_caffe_resnet_is_resnet_50_with_the_names_of_torchvision():
    with torch.device("meta"):
        networks = CaffeResNet(), torchvision.models.resnet50(num_classes=8631)
    shapes = [{k: tuple(v.shape) for k, v in network.state_dict().items()} for network in networks]
    assert shapes[0] == shapes[1]
    strides = [
        (layer[0].conv1.stride, layer[0].conv2.stride) for layer in (networks[0].layer1, networks[0].layer4)
    ]
    assert strides == [((1, 1), (1, 1)), ((2, 2), (1, 1))]


def test_classifier_file_is_a_pickle_of_arrays_and_runs_nothing(tmp_path):
    network = classifier()
    arrays = {k: v.numpy() for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    path = tmp_path / "resnet50_ft_weight.pkl"
    for content, protocol in ((arrays, 2), ({k.encode("latin1"): v for k, v in arrays.items()}, 4)):
        path.write_bytes(pickle.dumps(content, protocol))
        loaded = load_caffe_resnet(path)
        given = random_images(1, 3, 64, 64)
        with torch.no_grad():
            torch.testing.assert_close(loaded(given), network(given))
    path.write_bytes(pickle.dumps(print))
    with pytest.raises(ArrayFileError, match=r"requests builtins\.print"):
        load_caffe_resnet(path)
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(CheckpointError, match="holds a list"):
        load_caffe_resnet(path)
    del arrays["layer2.0.bn2.weight"]
    path.write_bytes(pickle.dumps(arrays))
    with pytest.raises(CheckpointError, match=r"missing \(layer2\.0\.bn2\.weight\)"):
        load_caffe_resnet(path)


@torch.no_grad()
@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (facenet, (2, 3, 140, 140)),
        (classifier, (2, 3, 64, 64)),
        (lambda: scrambled(Inception(width_divisor=16)), (2, 3, 96, 96)),
    ],
)
def test_folded_networks_give_the_same_without_batch_norms(network, shape):
    whole = network()
    before = {key: value.clone() for key, value in whole.state_dict().items()}
    small = fuse_batchnorm(whole.train())
    whole.eval()
    given = random_images(*shape)
    torch.testing.assert_close(small(given), whole(given), rtol=1e-4, atol=1e-4)
    assert not [m for m in small.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not small.training
    assert not any(parameter.requires_grad for parameter in small.parameters())
    assert all(torch.equal(value, before[key]) for key, value in whole.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("stride", "bias"), [(1, True), (2, False)])
def test_point_convolution_is_the_stock_one_with_its_gradient(dtype, stride, bias):
    stock = torch.nn.Conv2d(6, 5, 1, stride, bias=bias).to(dtype)
    actual = PointwiseConv2d(6, 5, 1, stride, bias=bias).to(dtype)
    actual.load_state_dict(stock.state_dict())
    results = []
    for module in (stock, actual):
        given = (
            random_images(2, 6, 9, 7).to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
        )
        out = module(given)
        (out * torch.arange(5)[:, None, None]).sum().backward()
        results.append((out, given.grad, module.weight.grad))
    for actual, other in zip(*results):
        torch.testing.assert_close(actual, other)


@torch.no_grad()
def test_inception_with_the_poolings_of_torchvision_is_its_network(tmp_path, monkeypatch):
    reference = torchvision.models.inception_v3(aux_logits=False, init_weights=False, num_classes=11)
    torch.save(scrambled(reference).state_dict(), tmp_path / "inception.pth")
    network = load_inception(tmp_path / "inception.pth")
    images = random_images(1, 3, 96, 96)
    assert not torch.allclose(network(images), reference(images), rtol=0.05)
    padded_average = partial(functional.avg_pool2d, kernel_size=3, stride=1, padding=1)
    monkeypatch.setattr(inception, "_average_pool", padded_average)
    network.Mixed_7b.pool = network.Mixed_7c.pool = padded_average
    torch.testing.assert_close(network(images), reference(images), rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_the_2015_graph_has_1008_classes_and_logits_without_bias():
    network = scrambled(Inception(width_divisor=16))
    outputs = network.forward_features(random_images(1, 3, 96, 96))
    assert outputs.logits.shape == (1, 1008)
    assert outputs.pooled.shape == (1, 128)
    torch.testing.assert_close(network.logits(outputs.pooled), outputs.logits)
    torch.testing.assert_close(network.logits(outputs.pooled, bias=False), outputs.logits - network.fc.bias)


@torch.no_grad()
@pytest.mark.parametrize("name", ["Mixed_5b", "Mixed_6d", "Mixed_7b", "Mixed_7c"])
def test_poolings_of_2015_leave_the_padding_out_and_end_with_the_maximum(name):
    block = Inception(width_divisor=16).eval().get_submodule(name)
    rising = torch.arange(16.0).reshape(1, 1, 4, 4).expand(1, block.branch1x1.conv.in_channels, 4, 4)
    block.branch_pool = torch.nn.Identity()
    pooled = block(rising)[0, -1]
    if name == "Mixed_7c":
        assert pooled[0].tolist() == [5, 6, 7, 7] and pooled[1, 1] == 10
    else:
        assert pooled[0, 0] == pytest.approx((0 + 1 + 4 + 5) / 4) and pooled[1, 1] == pytest.approx(5)


def test_inception_of_2015_agrees_with_its_layers_written_out():
    """One block of each kind against functions; the rest is torchvision's."""
    network = scrambled(Inception(width_divisor=16)).double()
    for name, chains in CHAINS.items():
        block = network.get_submodule(name)
        x = random_images(2, block.branch1x1.conv.in_channels, 6, 7).double()
        outputs = []
        for chain in chains:
            y = x
            for step in chain.split():
                if step == "pool":
                    y = slow_pool(y, maximum=name == "Mixed_7c")
                else:
                    y = torch.cat([block.get_submodule(part)(y) for part in step.split("+")], 1)
            outputs.append(y)
        torch.testing.assert_close(block(x), torch.cat(outputs, 1))


_E = [
    "branch1x1",
    "branch3x3_1 branch3x3_2a+branch3x3_2b",
    "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3a+branch3x3dbl_3b",
    "pool branch_pool",
]
CHAINS = {
    "Mixed_5c": [
        "branch1x1",
        "branch5x5_1 branch5x5_2",
        "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3",
        "pool branch_pool",
    ],
    "Mixed_6c": [
        "branch1x1",
        "branch7x7_1 branch7x7_2 branch7x7_3",
        "branch7x7dbl_1 branch7x7dbl_2 branch7x7dbl_3 branch7x7dbl_4 branch7x7dbl_5",
        "pool branch_pool",
    ],
    "Mixed_7b": _E,
    "Mixed_7c": _E,
}


def slow_pool(x, maximum):
    """3x3 pooling over what lies inside the map, pixel by pixel."""
    out = torch.zeros_like(x)
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            window = x[:, :, max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
            out[:, :, i, j] = window.amax((2, 3)) if maximum else window.mean((2, 3))
    return out


def slow_tensorflow_resize(image, rows, columns):
    """Pixel by pixel."""
    height, width = image.shape
    out = np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            y, x = i * height / rows, j * width / columns
            top, left = int(y), int(x)
            below, right = min(top + 1, height - 1), min(left + 1, width - 1)
            v, u = y - top, x - left
            upper = image[top, left] * (1 - u) + image[top, right] * u
            lower = image[below, left] * (1 - u) + image[below, right] * u
            out[i, j] = upper * (1 - v) + lower * v
    return out


@pytest.mark.parametrize("size", [(9, 4), (3, 11), (7, 5)])
def test_tensorflow_resize_agrees_with_going_pixel_by_pixel(size):
    image = torch.rand(7, 5, generator=seeded(), dtype=torch.float64)
    expected = slow_tensorflow_resize(image.numpy(), *size)
    np.testing.assert_allclose(tensorflow_resize(image, size), expected)
    assert torch.equal(tensorflow_resize(image, (7, 5)), image)


def test_inception_input_has_the_graphs_range_and_no_half_pixels():
    grey = torch.full((1, 3, 20, 30), 255, dtype=torch.uint8)
    torch.testing.assert_close(preprocess_images(grey), torch.full((1, 3, 299, 299), (255 - 128) / 128))
    torch.testing.assert_close(preprocess_images(grey, "pytorch"), torch.ones(1, 3, 299, 299))
    ramp = torch.arange(64.0).expand(1, 3, 64, 64) * 4
    row = preprocess_images(ramp)[0, 0, 0]
    assert row[0] == -1
    assert row[1] == pytest.approx((4 * 64 / 299 - 128) / 128)
    assert preprocess_images(ramp, "pytorch").shape == (1, 3, 299, 299)
    with pytest.raises(ValueError, match="resize"):
        preprocess_images(grey, "pil")


def test_sizes_are_read_off_weights_and_unknown_ones_are_refused():
    assert build_inception(Inception(5, width_divisor=8).state_dict()).width_divisor == 8
    found = build_inception_resnet(facenet(features=24).state_dict())
    assert (found.features, found.width_divisor, len(found.repeat_2)) == (24, 16, 2)
    assert len(build_caffe_resnet(classifier().state_dict()).layer3) == 2
    for build in (InceptionResNet, Inception):
        with pytest.raises(ValueError, match=r"narrow|width_divisor"):
            build(width_divisor=3)


def test_outside_files_are_found_by_any_of_their_names_or_named_with_their_source(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file was given.*vgg_face2.*fetch vggface2-resnet50"):
        locate_third_party_file("vggface2-resnet50", None)
    with pytest.raises(FileNotFoundError, match=r"facenet-pytorch.*--to"):
        locate_third_party_file("facenet-vggface2", tmp_path)
    with pytest.raises(ValueError, match="unknown third-party file 'facenet'"):
        locate_third_party_file("facenet", tmp_path)
    other = tmp_path / "resnet50_ft_weights.pkl"
    other.write_bytes(b"x")
    assert locate_third_party_file("vggface2-resnet50", tmp_path) == other
    assert locate_third_party_file("vggface2-resnet50", other) == other
    inner = tmp_path / THIRD_PARTY_FILES["lpips-v0.1-alex"].path
    inner.parent.mkdir()
    inner.write_bytes(b"x")
    assert locate_third_party_file("lpips-v0.1-alex", tmp_path) == inner


def test_facenet_and_lpips_import_no_torchvision():
    code = (
        "import sys, voiceface.models.lpips, voiceface.models.facenet, voiceface.models.iresnet;"
        "sys.exit('torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
