"""Laws of the whole network."""

import numpy as np
import pytest
import torch
from seeking_shape.losses import apply_identity_weights, compute_sample_losses
from seeking_shape.model import Voice2Face
from seeking_shape.model_config import FaceConfig, ModelConfig, VoiceConfig
from seeking_shape.reweighting import IdentityWeights
from torch import Tensor
from voiceface.association.embedder import Embedder
from voiceface.association.encoders import freeze
from voiceface.runtime.distributed import convert_to_global_layers

SMALL = ModelConfig(
    face=FaceConfig(blocks=(1, 1, 1, 1), widths=(8, 8, 8, 10), image_size=32, num_features=12),
    voice=VoiceConfig(blocks=(1, 1, 1, 1), widths=(8, 8, 8, 10), num_features=12, n_mels=16),
    embedding_dim=8,
)


def batch(size: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    faces = torch.randint(0, 256, (size, 3, 32, 32), generator=generator).float()
    return faces, 3000 * torch.randn(size, 8000, generator=generator)


def test_published_model_has_653_keys_and_two_groups() -> None:
    model = Voice2Face(num_classes=924)
    assert len(model.state_dict()) == 653
    face, voice = model.parameter_groups()
    assert sum(p.numel() for p in face["params"]) == 43_759_808
    assert sum(p.numel() for p in voice["params"]) == 1_503_638
    assert model.config.num_classes == 924


def test_both_modalities_share_one_classifier() -> None:
    model = Voice2Face(SMALL, 5).eval()
    out = model(*batch())
    classes = model.F.cls.weight
    assert out.face.shape == out.voice.shape == (3, 8)
    assert torch.allclose(out.face_logits, out.face @ classes.T, atol=1e-6)
    assert torch.allclose(out.voice_logits, out.voice @ classes.T, atol=1e-6)


def test_single_modalities_give_the_embeddings_of_the_pair() -> None:
    model = Voice2Face(SMALL, 5).eval()
    faces, voices = batch()
    out = model(faces, voices)
    assert torch.equal(model.encode_faces(faces), out.face)
    assert torch.equal(model.encode_voices(voices), out.voice)


def test_step_lowers_the_loss_and_changes_every_parameter() -> None:
    torch.manual_seed(0)
    model = Voice2Face(SMALL, 3).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    faces, voices = batch()
    labels = torch.arange(3)
    optimiser = torch.optim.SGD(model.parameter_groups(), lr=0.01)
    totals = []
    for _ in range(4):
        out = model(faces, voices)
        terms = apply_identity_weights(
            compute_sample_losses(out.face, out.voice, out.face_logits, out.voice_logits, labels),
            model.center.batch_weights(labels),
        )
        total = torch.stack(list(terms.values())).sum()
        optimiser.zero_grad()
        total.backward()
        absent = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert not absent
        optimiser.step()
        totals.append(float(total.detach()))
    assert totals[-1] < totals[0]


def test_dropout_acts_in_training_only() -> None:
    model = Voice2Face(SMALL, 3)
    faces, _ = batch()
    model.train()
    assert (model.encode_faces(faces) == 0).any()
    model.eval()
    assert torch.equal(model.encode_faces(faces), model.encode_faces(faces))


def test_frozen_branch_keeps_parameters_and_running_statistics() -> None:
    model = Voice2Face(SMALL, 3)
    freeze(model.F)
    model.train()
    before = {key: value.clone() for key, value in model.F.state_dict().items()}
    out = model(*batch())
    out.voice.sum().backward()
    assert all(p.grad is None for p in model.F.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.F.state_dict().items())
    assert model.parameter_groups()[0]["params"] == []


def test_branch_stays_frozen_when_its_layers_are_converted() -> None:
    model = Voice2Face(SMALL, 3)
    freeze(model.F)
    convert_to_global_layers(model)
    model.eval()  # as a validation does, which then goes back to training
    model.train()
    before = {key: value.clone() for key, value in model.F.state_dict().items()}
    model(*batch())
    assert all(torch.equal(value, before[key]) for key, value in model.F.state_dict().items())
    assert model.V.training and all(module.training for module in model.V.modules())


def test_published_names_of_the_face_network_are_accepted() -> None:
    assert FaceConfig(arch="SEResNet50IR").arch == "ir50"  # type: ignore[arg-type]


def test_classes_must_be_known_and_agree() -> None:
    with pytest.raises(ValueError, match="unknown"):
        Voice2Face(SMALL)
    with pytest.raises(ValueError, match="found 4 training identities"):
        Voice2Face(SMALL.model_copy(update={"num_classes": 5}), 4)
    with pytest.raises(ValueError, match="identity weights of 6 classes, expected 5"):
        Voice2Face(SMALL, 5, IdentityWeights(6))
    assert Voice2Face(SMALL, 2, identity_names=["a", "b"]).center.identity_names == ("a", "b")


def test_waveforms_are_repeated_or_cut_to_the_length_of_a_clip(embedder: Embedder) -> None:
    tone = np.float32(3000 * np.sin(np.arange(40_000) / 9))
    short = embedder.embed_voices(tone[:5000])
    assert torch.equal(short, embedder.embed_voices(np.tile(tone[:5000], 4)[:16_000]))
    assert torch.equal(embedder.embed_voices(tone), embedder.embed_voices(tone[:16_000]))
