"""Identity loss: network, crop, distance."""

import pytest
import torch
from voiceface.checkpoints.published import CheckpointError
from voiceface.models.iresnet import IR
from voicestyle.identity_loss import (
    IRIdentityEncoder,
    build_ir_se50,
    crop_face,
    identity_distance,
    load_ir_se50,
)


def small(**options) -> IR:
    torch.manual_seed(0)
    network = IR((2, 1, 1, 1), (4, 6, 8, 10), 112, 12, **{"squeeze_excitation": True, **options})
    with torch.no_grad():
        for name, value in network.named_buffers():
            if "running_var" in name:
                value.uniform_(0.5, 2)
            elif "running_mean" in name:
                value.normal_()
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_()
    return network.eval().requires_grad_(False)


def random_tensor(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_published_network_has_its_parameters_and_keys():
    with torch.device("meta"):
        network = build_ir_se50()
    state = network.state_dict()
    assert sum(value.numel() for value in network.parameters()) == 43_797_696 and len(state) == 397
    shortcuts = {key.split(".")[1] for key in state if "shortcut_layer" in key}
    assert shortcuts == {"3", "7", "21"}
    assert state["body.23.res_layer.5.fc1.weight"].shape == (32, 512, 1, 1)
    assert state["output_layer.3.weight"].shape == (512, 25_088) and "output_layer.3.bias" in state
    assert "output_layer.4.weight" in state and "output_layer.4.running_var" in state


def test_only_the_crop_of_an_image_matters():
    image = random_tensor(1, 3, 256, 256)
    other = random_tensor(1, 3, 256, 256, seed=1)
    other[:, :, 35:223, 32:220] = image[:, :, 35:223, 32:220]
    assert torch.equal(crop_face(image), crop_face(other))
    for row, column in ((35, 100), (222, 100), (100, 32), (100, 219)):
        touched = image.clone()
        touched[:, :, row, column] += 1
        assert not torch.equal(crop_face(touched), crop_face(image))


def test_crop_is_average_pooled():
    image = random_tensor(2, 3, 256, 256).double()
    found = crop_face(image)
    assert found.shape == (2, 3, 112, 112)
    for row, column in ((0, 0), (50, 3), (111, 111)):
        top, left = (index * 188 // 112 for index in (row, column))
        bottom, right = (-(-(index + 1) * 188 // 112) for index in (row, column))
        part = image[:, :, 35 + top : 35 + bottom, 32 + left : 32 + right]
        torch.testing.assert_close(found[:, :, row, column], part.mean((2, 3)))


def test_other_image_sizes_are_resized_to_256_first():
    image = random_tensor(1, 3, 256, 256)
    torch.testing.assert_close(
        crop_face(image.repeat_interleave(2, 2).repeat_interleave(2, 3)), crop_face(image)
    )
    tiny = random_tensor(1, 3, 64, 64)
    torch.testing.assert_close(
        crop_face(tiny), crop_face(tiny.repeat_interleave(4, 2).repeat_interleave(4, 3))
    )


def test_features_are_normalised_network_outputs():
    network, images = small(), random_tensor(3, 3, 80, 80)
    encoder = IRIdentityEncoder(network)
    found = encoder.train().features(images)
    raw = network(crop_face(images))
    torch.testing.assert_close(found, raw / raw.norm(dim=1, keepdim=True), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    assert torch.equal(encoder(images), found)
    assert not encoder.training and not any(value.requires_grad for value in encoder.parameters())
    layers = [type(layer) for layer in encoder.modules()]
    # only the norms in front of a convolution stay: one per unit, one before the output
    assert layers.count(torch.nn.BatchNorm2d) == 5 + 1
    torch.testing.assert_close(torch.cat([encoder.features(one[None]) for one in images]), found)


def test_gradients_of_images_match_finite_differences():
    encoder, aim = IRIdentityEncoder(small()).double(), random_tensor(1, 3, 64, 64, seed=2).double()
    images = random_tensor(2, 3, 64, 64).double().requires_grad_()
    target = encoder.features(aim).requires_grad_()
    distance = identity_distance(encoder.features(images), target).sum()
    distance.backward()
    assert target.grad is None
    step = 1e-5 * random_tensor(2, 3, 64, 64, seed=3).double()
    with torch.no_grad():
        ends = [identity_distance(encoder.features(images + way * step), target).sum() for way in (1, -1)]
    expected = (step * images.grad).sum() * 2
    assert float(ends[0] - ends[1]) == pytest.approx(float(expected), rel=1e-4)


def test_distance_is_one_minus_cosine():
    rows = torch.nn.functional.normalize(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    torch.testing.assert_close(identity_distance(rows, rows), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(identity_distance(rows, -rows), torch.full((4,), 2.0))
    halves = (rows - rows[:1]).square().sum(1) / 2
    torch.testing.assert_close(identity_distance(rows, rows[:1]), halves)
    with pytest.raises(ValueError, match=r"\(4, 6\) and \(2, 6\)"):
        identity_distance(rows, rows[:2])


def test_a_published_file_gives_the_same_network(tmp_path):
    network, given = small(), random_tensor(2, 3, 112, 112)
    torch.save(network.state_dict(), tmp_path / "model_ir_se50.pth")
    found = load_ir_se50(tmp_path / "model_ir_se50.pth")
    assert torch.equal(found(given), network(given)) and not found.training


def test_invalid_files_are_refused(tmp_path):
    torch.save(small(squeeze_excitation=False).state_dict(), tmp_path / "plain.pth")
    with pytest.raises(CheckpointError, match="holds no IR-SE network"):
        load_ir_se50(tmp_path / "plain.pth")
    state = dict(small().state_dict())
    del state["body.1.res_layer.2.weight"]
    torch.save(state, tmp_path / "torn.pth")
    with pytest.raises(CheckpointError, match=r"missing \(body\.1\.res_layer\.2\.weight\)"):
        load_ir_se50(tmp_path / "torn.pth")
    with pytest.raises(FileNotFoundError):
        load_ir_se50(tmp_path / "absent.pth")
    with pytest.raises(ValueError, match="output layer"):
        IRIdentityEncoder(IR((1, 1, 1, 1), (4, 4, 4, 4), 32, None))
    with pytest.raises(ValueError, match=r"found \(1, 1, 256, 256\)"):
        IRIdentityEncoder(small()).features(torch.zeros(1, 1, 256, 256))
