"""Model and loss of FOP: values by their definitions, what the score compares, messages."""

import math

import pytest
import torch
from feature_sets import make_features
from fop.config import FopConfig, ModelConfig
from fop.losses import orthogonal_projection_loss, projection_terms
from fop.model import FopModel, build_model_for_checkpoint, infer_model_config
from fop.scores import score_matrix, score_rows
from torch.nn.functional import normalize
from voiceface.checkpoints.published import CheckpointError


def make_model(fusion: str = "gated", classes: int | None = 5, **options: object) -> FopModel:
    torch.manual_seed(0)
    config = ModelConfig(fusion=fusion, voice_dim=12, face_dim=20, embedding_dim=16, **options)
    return FopModel(config, classes)


def make_batch(rows: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    features = make_features(people=rows, voices=1, faces=1)
    return torch.from_numpy(features.faces), torch.from_numpy(features.voices)


def test_gated_fusion_is_a_mean_between_the_tanh_of_both() -> None:
    model = make_model().eval()
    output = model(*make_batch())
    low, high = torch.minimum(output.face, output.voice), torch.maximum(output.face, output.voice)
    assert ((low <= output.fused) & (output.fused <= high)).all()
    assert torch.allclose(torch.atanh(output.face).norm(dim=1), torch.ones(8), atol=1e-4)


def test_linear_fusion_weighs_both_with_two_numbers() -> None:
    model = make_model("linear").eval()
    output = model(*make_batch())
    expected = model.fusion_layer.weight1 * output.face + model.fusion_layer.weight2 * output.voice
    assert torch.equal(output.fused, expected)
    assert 0 <= model.fusion_layer.weight1.item() <= 1
    assert torch.allclose(output.voice.norm(dim=1), torch.ones(8), atol=1e-5)


@pytest.mark.parametrize("fusion", ["gated", "linear", "none"])
def test_encoders_give_what_the_score_compares(fusion: str) -> None:
    model = make_model(fusion).eval()
    faces, voices = make_batch()
    output = model(faces, voices)
    assert torch.equal(model.encode_faces(faces), output.face)
    assert torch.equal(model.encode_voices(voices), output.voice)
    assert (output.logits is None) == (output.fused is None) == (fusion == "none")


def test_new_layers_have_the_published_initialisation() -> None:
    model = make_model()
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            limit = math.sqrt(6 / (module.in_features + module.out_features))
            assert (module.bias == 0.01).all() and 0.8 * limit < module.weight.abs().max() <= limit


def test_hidden_width_of_the_gate_does_not_follow_the_embedding() -> None:
    assert make_model().fusion_layer.attention[0].block[0].weight.shape == (128, 32)


def test_model_needs_the_lengths_of_the_features() -> None:
    with pytest.raises(ValueError, match=r"model\.voice_dim and model\.face_dim"):
        FopModel(ModelConfig(), 5)


@pytest.mark.parametrize("fusion", ["gated", "linear", "none"])
def test_architecture_follows_from_a_checkpoint(fusion: str) -> None:
    model = make_model(fusion)
    state = model.state_dict()
    found = infer_model_config(state)
    assert (found.fusion, found.embedding_dim, found.voice_dim, found.face_dim) == (fusion, 16, 12, 20)
    loss = "infonce" if fusion == "none" else "fop"
    config = FopConfig(name="x", loss={"objective": loss}, model={"fusion": fusion, "branch": "relu"})
    build_model_for_checkpoint(config, state).load_state_dict(state)


def test_incomplete_checkpoint_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"no matrix voice_branch\.fc1\.0\.weight"):
        infer_model_config({"face_branch.fc1.0.weight": torch.ones(2, 2)}, "x.pth")


def test_projection_loss_by_its_definition() -> None:
    torch.manual_seed(1)
    features, labels = torch.randn(7, 5), torch.tensor([0, 0, 1, 1, 1, 2, 3])
    unit = normalize(features, dim=1)
    same, other = [], []
    for i in range(7):
        for j in range(7):
            if i != j:
                (same if labels[i] == labels[j] else other).append((unit[i] @ unit[j]).item())
    expected = 1 - sum(same) / len(same) + 0.7 * sum(map(abs, other)) / len(other)
    assert orthogonal_projection_loss(features, labels).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("labels", "loss"), [([0, 1, 2], 1.0), ([4, 4, 4], 1 / 6)])
def test_pairs_of_one_kind_only(labels: list[int], loss: float) -> None:
    """Orthogonal features of different people, features of one person with known cosines."""
    features = torch.eye(3) if labels[0] == 0 else torch.eye(3) + 1  # cosine 5/6
    same, other = projection_terms(features, torch.tensor(labels))
    assert (same.item() == 0) == (labels[0] == 0) and other.item() == pytest.approx(0, abs=1e-6)
    found = orthogonal_projection_loss(features, torch.tensor(labels)).item()
    assert found == pytest.approx(loss, abs=1e-5)


def test_scores_rank_alike_for_unit_vectors_and_agree_row_by_row() -> None:
    torch.manual_seed(2)
    voices, faces = normalize(torch.randn(4, 6), dim=1), normalize(torch.randn(5, 6), dim=1)
    cosine, distance = (score_matrix(voices, faces, name) for name in ("cosine", "euclidean"))
    assert torch.equal(cosine.argsort(1), distance.argsort(1)) and (distance <= 0).all()
    for name, table in (("cosine", cosine), ("euclidean", distance)):
        assert torch.allclose(score_rows(voices[:, None], faces[None], name), table, atol=1e-6)
