"""Input of FaceNet and the perceptual loss."""

import pytest
import torch
from sf2f.facenet_loss import FaceNetLoss, preprocess_for_facenet
from sf2f.image_transforms import crop_face, denormalise, normalise
from sf2f.perceptual_loss import SyntheticFaceLoss, build_perceptual_loss
from small_sf2f_models import randomise, seeded, tiny_config
from torch.nn import functional
from voiceface.models.facenet import InceptionResNet
from voiceface.synthetic.readers.attribute_reader import load_reader, perceptual_distance


def faces(count=2, side=64, seed=0):
    """Random normalised images."""
    return normalise(torch.rand(count, 3, side, side, generator=seeded(seed)))


@pytest.fixture(scope="module")
def network():
    return randomise(InceptionResNet(features=16, num_classes=None, repeats=(1, 1, 1), width_divisor=16))


def test_input_is_the_cropped_face_in_the_range_of_facenet():
    given = faces()
    found = preprocess_for_facenet(given)
    assert found.shape == (2, 3, 47, 34)
    torch.testing.assert_close(found, (crop_face(denormalise(given)) * 255 - 127.5) / 128)
    shares = torch.rand(1, 3, 64, 64, generator=seeded(1))
    torch.testing.assert_close(preprocess_for_facenet(shares, None, None), (shares * 255 - 127.5) / 128)
    standard = preprocess_for_facenet(normalise(shares, "standard"), "standard")
    torch.testing.assert_close(standard, preprocess_for_facenet(shares, None))


def test_gradient_is_zero_where_pixels_are_out_of_range():
    given = normalise(torch.tensor([-0.5, 0.25, 1.5]).expand(3, 1, 3), "standard").requires_grad_()
    preprocess_for_facenet(given, "standard", None).sum().backward()
    assert given.grad[0, 0].tolist() == [0, pytest.approx(0.5 * 255 / 128), 0]
    assert preprocess_for_facenet(given, "standard", None).abs().max() == 127.5 / 128


def test_loss_is_the_weighted_sum_of_the_states(network):
    generated, real = faces(), faces(seed=1)
    weights = (0.5, 2.0, 3.0, 7.0)
    loss = FaceNetLoss(network, weights, cosine_weight=2.5)
    first, second = (network.forward_features(preprocess_for_facenet(each)) for each in (generated, real))
    states = [*zip(first.maps, second.maps), (first.embedding, second.embedding)]
    expected = sum(weight * (a - b).abs().mean().item() for weight, (a, b) in zip(weights, states))
    expected += 2.5 * (1 - (first.embedding * second.embedding).sum(1)).mean().item()
    assert loss(generated, real).item() == pytest.approx(expected, rel=1e-5)
    terms = FaceNetLoss(network).layer_distances(loss.hidden_states(generated), loss.hidden_states(real))
    published = sum(w * t for w, t in zip((1 / 16, 1 / 8, 1 / 4, 1), terms.tolist()))
    assert FaceNetLoss(network)(generated, real).item() == pytest.approx(published, rel=1e-5)


def test_loss_is_zero_for_equal_faces_and_ignores_the_background(network):
    loss, generated = FaceNetLoss(network, cosine_weight=1.0), faces()
    assert loss(generated, generated).item() == pytest.approx(0, abs=1e-6)
    hair = generated.clone()
    hair[:, :, :10] += 1
    assert loss(hair, generated).item() == pytest.approx(0, abs=1e-6)
    assert FaceNetLoss(network, face_box=None)(hair, generated).item() > 1e-3


def test_generated_and_real_sizes_may_differ(network):
    assert FaceNetLoss(network)(faces(side=64), faces(side=128)).isfinite()


def test_gradient_reaches_generated_images_only_and_the_network_stays_in_evaluation(network):
    loss = FaceNetLoss(network).train()
    assert not any(module.training for module in loss.modules())
    before = {key: value.clone() for key, value in network.state_dict().items()}
    generated, real = faces().requires_grad_(), faces(seed=1).requires_grad_()
    loss(generated, real).backward()
    assert generated.grad.abs().sum() > 0
    assert real.grad is None
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in loss.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_return_pooling_compares_pooled_vectors(network):
    generated, real = faces(), faces(seed=1)
    loss = FaceNetLoss(network, (0, 0, 0, 1), return_pooling=True)
    pooled = [network(preprocess_for_facenet(each), pooled=True) for each in (generated, real)]
    assert loss(generated, real).item() == pytest.approx(functional.l1_loss(*pooled).item(), rel=1e-5)
    assert loss.hidden_states(generated)[-1].shape == (2, 112)
    with pytest.raises(ValueError, match="four hidden states need four weights, found 3"):
        FaceNetLoss(network, (1, 2, 3))
    with pytest.raises(ValueError, match="shorter"):
        loss.layer_distances(loss.hidden_states(generated), loss.hidden_states(real)[:3])


def test_the_perceptual_loss_is_that_of_the_configuration(network, monkeypatch):
    monkeypatch.setattr("sf2f.third_party_networks.load_facenet_vggface2", lambda path: network)
    words = ["perceptual.network=facenet", "perceptual.layer_weights=[1,2,3,4]", "losses.cosine=0.5"]
    settings = tiny_config("quick_1st_stage", *words)
    loss = build_perceptual_loss(settings, "facenet.pt")
    assert isinstance(loss, FaceNetLoss)
    made, real = faces(), faces(seed=1)
    expected = FaceNetLoss(
        network, (1, 2, 3, 4), 0.5, settings.data.images.statistics, settings.perceptual.face_box
    )
    assert loss(made, real).item() == pytest.approx(expected(made, real).item(), rel=1e-4)
    assert build_perceptual_loss(tiny_config("quick_1st_stage", "losses.perceptual=0"), None) is None


def test_the_bundled_loss_is_the_mean_distance_of_frozen_features():
    loss = build_perceptual_loss(tiny_config("quick_1st_stage", "perceptual.network=population"), None)
    assert isinstance(loss, SyntheticFaceLoss)
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    assert not loss.network.training
    made, real = faces(), faces(seed=1)
    expected = perceptual_distance(load_reader("perceptual"), denormalise(made), denormalise(real))
    assert expected.shape == (2,)
    assert loss(made, real).item() == pytest.approx(expected.mean().item(), rel=1e-5)
