"""Metrics of generated faces: network inputs, scores, identity embeddings, third-party files."""

import pickle

import pytest
import torch
from sf2f import third_party_networks
from sf2f.facenet_loss import preprocess_for_facenet
from sf2f.image_transforms import crop_face
from sf2f.metrics import (
    FaceEmbedder,
    inception_features,
    inception_score,
    inception_scores,
    preprocess_for_vggface,
    vggface_logits,
    vggface_score,
)
from sf2f.network_config import FACE_BOX
from small_sf2f_models import randomise, seeded
from torch.nn import functional
from voiceface.metrics.frechet import frechet_distance
from voiceface.metrics.inception_score import inception_score_from_log_probs
from voiceface.models.facenet import InceptionResNet
from voiceface.models.inception import Inception, preprocess_images
from voiceface.models.vggface2_resnet import CaffeResNet


def images(count=6, side=20, seed=0):
    return torch.randint(0, 256, (count, 3, side, side), generator=seeded(seed), dtype=torch.uint8)


@pytest.fixture(scope="module")
def classifier():
    network = randomise(CaffeResNet(num_classes=9, blocks=(1, 1, 1, 1), width_per_group=4))
    with torch.no_grad():  # answers that differ by about one from image to image
        logits = network(preprocess_for_vggface(images(20, seed=5)))
        network.fc.weight /= logits.std(0).mean()
        network.fc.bias -= logits.mean(0) / logits.std(0).mean()
    return network


@pytest.fixture(scope="module")
def inception():
    return randomise(Inception(num_classes=11, width_divisor=16))


@pytest.fixture(scope="module")
def facenet():
    return randomise(InceptionResNet(features=8, num_classes=None, repeats=(1, 1, 1), width_divisor=16))


def test_classifier_input_has_the_mean_subtracted_at_224():
    flat = torch.tensor([200, 100, 50], dtype=torch.uint8)[:, None, None].expand(1, 3, 10, 12)
    found = preprocess_for_vggface(flat)
    assert found.shape == (1, 3, 224, 224)
    expected = torch.tensor([200 - 131.0912, 100 - 103.8827, 50 - 91.4953])
    torch.testing.assert_close(found[0, :, 0, 0], expected)
    torch.testing.assert_close(preprocess_for_vggface(flat, "bgr")[0, :, 5, 9], expected.flip(0))
    given = images(1)
    corners = preprocess_for_vggface(given)[0, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    mean = torch.tensor([131.0912, 103.8827, 91.4953])[:, None]
    torch.testing.assert_close(corners, given[0, :, [0, 0, -1, -1], [0, -1, 0, -1]] - mean)
    torch.testing.assert_close(
        preprocess_for_vggface(given, face_box=FACE_BOX), preprocess_for_vggface(crop_face(given))
    )
    with pytest.raises(ValueError, match="order"):
        preprocess_for_vggface(given, "rbg")


@torch.no_grad()
def test_vggface_score_does_not_depend_on_the_batch_size(classifier):
    given = images(7)
    logits = torch.cat([classifier(preprocess_for_vggface(each[None])) for each in given])
    torch.testing.assert_close(vggface_logits(classifier, given, batch_size=3), logits, rtol=1e-4, atol=1e-4)
    expected = inception_score_from_log_probs(logits.double().log_softmax(1), 5)
    found = vggface_score(classifier, given, batch_size=4)
    assert found.split_scores == pytest.approx(expected.split_scores, rel=1e-4)
    assert len(found.split_scores) == 5
    shuffled = [vggface_score(classifier, given, generator=seeded(seed)).mean for seed in (0, 0, 1)]
    assert shuffled[0] == shuffled[1] != shuffled[2]
    options = ({"channel_order": "bgr"}, {"face_box": FACE_BOX})
    assert all(vggface_score(classifier, given, **option).mean != found.mean for option in options)


@torch.no_grad()
def test_inception_scores_ignore_the_bias(inception):
    generated, real = images(6), images(9, seed=1)
    features = inception_features(inception, generated, batch_size=4)
    torch.testing.assert_close(
        features, inception.forward_features(preprocess_images(generated)).pooled, rtol=1e-4, atol=1e-5
    )
    logits = features @ inception.fc.weight.T
    expected = inception_score_from_log_probs(logits.double().log_softmax(1), 3)
    found = inception_scores(inception, generated, real)
    assert found.score.split_scores == pytest.approx(expected.split_scores, rel=1e-4)
    assert inception_score(inception, features, bias=True).mean != found.score.mean
    expected_fid = frechet_distance(inception_features(inception, real), features)
    assert found.fid == pytest.approx(expected_fid, rel=1e-3)
    assert expected_fid > 1e-3
    assert inception_scores(inception, real, real).fid == pytest.approx(0, abs=1e-6)


@torch.no_grad()
def test_identity_embeddings_are_means_of_their_images(facenet):
    reader = FaceEmbedder(facenet, batch_size=2)
    speakers = [torch.rand(n, 3, 64, 64, generator=seeded(n)) for n in (3, 1, 2)]
    found = reader.embed_identities(speakers)
    assert found.shape == (3, 8)
    for vector, each in zip(found, speakers):
        expected = facenet(preprocess_for_facenet(each, None)).mean(0)
        torch.testing.assert_close(vector, expected, rtol=1e-4, atol=1e-5)
    assert found[0].norm() < 0.9999  # not brought to unit length again
    assert found[1].norm() == pytest.approx(1)
    mixed = reader.embed_identities([speakers[0], functional.interpolate(speakers[1], size=(80, 80))])
    torch.testing.assert_close(mixed[0], found[0])
    full = FaceEmbedder(facenet, face_box=None, return_pooling=True)
    assert full.embed_images(speakers[0]).shape == (3, 112)
    with pytest.raises(ValueError, match="at least one image"):
        reader.embed_identities([speakers[0], speakers[1][:0]])


def test_empty_input_and_wrong_shapes_are_rejected(classifier):
    with pytest.raises(ValueError, match="no images"):
        vggface_score(classifier, images(0))
    with pytest.raises(ValueError, match=r"\(N, 3, H, W\), found \(6, 20, 20, 3\)"):
        vggface_score(classifier, images().permute(0, 2, 3, 1))
    with pytest.raises(ValueError, match="found 4"):
        vggface_score(classifier, images(4))


@pytest.mark.parametrize(
    ("reader", "words"),
    [
        (third_party_networks.load_facenet_vggface2, "20180402-114759-vggface2.pt"),
        (third_party_networks.load_vggface2_resnet50, "resnet50_ft_weight.pkl"),
        (third_party_networks.load_inception_2015, "pt_inception-2015-12-05"),
        (third_party_networks.load_lpips_alex, "alexnet-owt"),
    ],
)
def test_missing_files_are_named_with_their_source_and_never_downloaded(reader, words, tmp_path):
    with pytest.raises(FileNotFoundError, match=words) as caught:
        reader(tmp_path)
    for word in ("https://", "third_party/fetch.py fetch", "NOTICE.md", str(tmp_path)):
        assert word in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no file was given"):
        reader(None)
    assert not list(tmp_path.iterdir())


@torch.no_grad()
def test_networks_load_from_a_file_or_its_folder(classifier, inception, facenet, tmp_path):
    given = images(2)
    arrays = {key: value.numpy() for key, value in classifier.state_dict().items()}
    path = tmp_path / "resnet50_ft_weights.pkl"
    path.write_bytes(pickle.dumps(arrays, 2))
    for place in (path, tmp_path):
        found = vggface_logits(third_party_networks.load_vggface2_resnet50(place), given)
        torch.testing.assert_close(found, vggface_logits(classifier, given), rtol=1e-3, atol=1e-3)
    path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    torch.save(inception.state_dict(), path)
    found = inception_features(third_party_networks.load_inception_2015(tmp_path), given)
    torch.testing.assert_close(found, inception_features(inception, given), rtol=1e-3, atol=1e-4)
    path = tmp_path / "mine.pt"
    torch.save(facenet.state_dict(), path)
    faces = torch.rand(1, 3, 64, 64, generator=seeded())
    read = FaceEmbedder(third_party_networks.load_facenet_vggface2(path)).embed_images(faces)
    assert torch.equal(read, FaceEmbedder(facenet).embed_images(faces))
