"""Operations with hand-written gradients: equal to the layers one by one, and to numerical gradients."""

import copy

import pytest
import torch
from fop import fused_layers, model
from fop.config import ModelConfig
from fop.fused_layers import GlobalMask, projection_loss
from fop.losses import projection_terms
from fop.model import FopModel
from torch import Tensor


def run(network: FopModel, faces: Tensor, voices: Tensor) -> dict[str, Tensor]:
    """Two training passes: outputs, gradients of a function of all outputs, running statistics."""
    torch.manual_seed(5)
    for _ in range(2):
        network.zero_grad()
        output = network(faces, voices)
        generator = torch.Generator().manual_seed(1)
        loss = sum((each * torch.randn(each.shape, generator=generator)).sum() for each in output)
        loss.backward()
    found = {f"output {name}": each.detach() for name, each in zip(output._fields, output)}
    found |= {f"gradient {key}": each.grad for key, each in network.named_parameters()}
    return found | {f"state {key}": each for key, each in network.state_dict().items()}


@pytest.mark.parametrize("fusion", ["gated", "linear"])
@pytest.mark.parametrize("dropout", [0.0, 0.5, 0.2])
def test_model_is_that_of_the_single_layers(
    fusion: str, dropout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        fusion=fusion, voice_dim=12, face_dim=20, embedding_dim=16, attention_width=8, dropout=dropout
    )
    ours = FopModel(config, 5).double().train()
    plain = copy.deepcopy(ours)
    faces, voices = torch.randn(9, 20).double(), torch.randn(9, 12).double()
    called: list[str] = []

    def watch(name: str) -> None:
        function = getattr(model, name)
        monkeypatch.setattr(model, name, lambda *layers: called.append(name) or function(*layers))

    watch("feature_branch")
    watch("gated_fusion")
    found = run(ours, faces, voices)
    assert called.count("feature_branch") == 4 and called.count("gated_fusion") == 2 * (fusion == "gated")
    monkeypatch.setattr(model, "can_fuse", lambda *_: False)
    expected = run(plain, faces, voices)
    for key, value in expected.items():
        assert torch.allclose(found[key], value, rtol=1e-9, atol=1e-10), key


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2], [0, 1, 2, 3, 4], [7, 7, 7, 7, 7]])
def test_projection_loss_and_its_gradient(labels: list[int]) -> None:
    torch.manual_seed(1)
    features, people = torch.randn(5, 6).double().requires_grad_(), torch.tensor(labels)
    same, other = projection_terms(features, people)
    (of_terms,) = torch.autograd.grad((1 - same) + 0.7 * other, features)
    loss = projection_loss(features, people, 0.7, 1e-6)
    (ours,) = torch.autograd.grad(3 * loss, features)
    assert torch.allclose(loss, (1 - same) + 0.7 * other, atol=1e-12)
    assert torch.allclose(ours, 3 * of_terms, atol=1e-12)


def test_rows_of_zeros_have_no_gradient() -> None:
    features = torch.zeros(3, 4, requires_grad=True)
    projection_loss(features, torch.tensor([0, 0, 1]), 0.7, 1e-6).backward()
    assert features.grad is not None and features.grad.isfinite().all()


def test_evaluation_and_features_with_gradients_use_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("not in evaluation, and not for features with gradients")

    monkeypatch.setattr(model, "feature_branch", refuse)
    network = FopModel(ModelConfig(voice_dim=12, face_dim=20, embedding_dim=8), 3)
    faces, voices = torch.randn(4, 20), torch.randn(4, 12)
    network.eval()(faces, voices)
    network.train()(faces.requires_grad_(), voices.requires_grad_()).fused.sum().backward()
    assert faces.grad is not None


def test_masks_do_not_depend_on_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    dropout, rows = GlobalMask(0.3), torch.ones(8, 50)
    torch.manual_seed(2)
    whole = dropout(rows)
    assert whole.mean().item() == pytest.approx(1, abs=0.1) and 0 < (whole == 0).float().mean() < 0.5
    parts = []
    for rank in range(2):
        monkeypatch.setattr(fused_layers.distributed, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(fused_layers.distributed, "world_size", lambda: 2)
        torch.manual_seed(2)
        parts.append(dropout(rows[:4]))
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(dropout.eval()(rows), rows)
