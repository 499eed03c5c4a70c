"""Loss and gradients that are written out: equal to the layers and automatic differentiation."""

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from feature_sets import make_features
from fop import model
from fop.config import FopConfig, LossConfig, ModelConfig
from fop.fused_step import FusedStep, build_fused_step
from fop.losses import orthogonal_projection_loss
from fop.model import FopModel, GlobalMask
from fop.objectives import build_objective
from fop.objectives.fop import FopObjective
from fop.train import FopTrainer
from torch.nn.functional import normalize
from voiceface.runtime.config import load_config


def make_model(fusion: str, **options: Any) -> FopModel:
    torch.manual_seed(0)
    config = ModelConfig(voice_dim=12, face_dim=20, embedding_dim=16, fusion=fusion, **options)
    return FopModel(config, 5).double().train()


@pytest.mark.parametrize("fusion", ["gated", "linear"])
@pytest.mark.parametrize("dropout", [0.0, 0.5, 0.2])
@pytest.mark.parametrize("people", [[0, 1, 2, 3, 4, 0, 1, 2, 3], [2] * 9, [4, 3]])
def test_losses_gradients_and_statistics_are_those_of_the_layers(
    fusion: str, dropout: float, people: list[int]
) -> None:
    ours = make_model(fusion, attention_width=8, dropout=dropout)
    plain = copy.deepcopy(ours)
    faces, voices = torch.randn(len(people), 20).double(), torch.randn(len(people), 12).double()
    objective = FopObjective(LossConfig(), ours, 5)
    objective.alpha = 0.3
    labels, step = torch.tensor(people), FusedStep(ours, objective)
    torch.manual_seed(5)
    found = [step(faces, voices, labels) for _ in range(2)]
    torch.manual_seed(5)
    for losses in found:
        plain.zero_grad()
        expected = objective(plain(faces, voices), labels, None)
        expected["loss"].backward()
        assert losses.keys() == expected.keys()
        for key, value in expected.items():
            assert losses[key].item() == pytest.approx(value.item(), abs=1e-12), key
    for (key, weight), other in zip(plain.named_parameters(), ours.parameters()):
        assert torch.allclose(other.grad, weight.grad, rtol=1e-9, atol=1e-10), key
    for key, value in plain.state_dict().items():
        assert torch.allclose(ours.state_dict()[key], value, rtol=1e-12), key


def test_training_with_and_without_the_written_out_step_is_the_same(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [
        "model.embedding_dim=8",
        "training.batch_size=16",
        "training.epochs=2",
        "data.validation_share=0",
    ]
    settings += ["training.validation_interval=null", "training.best_checkpoint=none"]
    config, weights, used = load_config("main", FopConfig, "fop", settings), [], []
    for name in ("fused", "plain"):
        if name == "plain":
            monkeypatch.setattr("fop.fused_step.build_fused_step", lambda *_: None)
        trainer = FopTrainer(config, make_features(people=12))
        trainer.fit(tmp_path / name, threads=1)
        used.append(trainer.fused_step is not None)
        weights.append(trainer.model.state_dict())
    assert used == [True, False]
    for key, value in weights[1].items():
        if not key.endswith((".fc1.0.bias", "block.0.bias")):  # before a batch norm: gradients of rounding
            assert torch.allclose(weights[0][key].float(), value.float(), rtol=1e-3, atol=1e-4), key


@pytest.mark.parametrize(
    ("objective", "branch", "changes"),
    [
        ("infonce", "linear", {}),
        ("fop", "linear", {}),
        ("fop", "relu", {"world_size": 2}),
        ("fop", "relu", {"precision": "bfloat16"}),
        ("fop", "relu", {"device": torch.device("cuda")}),
    ],
)
def test_other_trainings_use_the_layers(objective: str, branch: str, changes: dict[str, Any]) -> None:
    network = make_model("gated" if objective == "fop" else "none", branch=branch)
    built = build_objective(LossConfig(objective=objective), network, 5)
    run = {"precision": "float32", "world_size": 1, "device": torch.device("cpu"), **changes}
    assert build_fused_step(SimpleNamespace(**run), network, built) is None


def test_embeddings_of_zeros_have_finite_gradients() -> None:
    network = make_model("gated", dropout=0.0)
    for branch in (network.face_branch, network.voice_branch):
        torch.nn.init.constant_(branch.fc1[1].bias, -1e3)  # ReLU gives zeros only
    step = FusedStep(network, FopObjective(LossConfig(), network, 5))
    losses = step(torch.randn(4, 20).double(), torch.randn(4, 12).double(), torch.tensor([0, 0, 1, 2]))
    assert losses["loss"].isfinite()
    assert all(weight.grad.isfinite().all() for weight in network.parameters())


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2], [0, 1, 2, 3, 4], [7, 7, 7, 7, 7]])
def test_projection_loss_by_a_loop(labels: list[int]) -> None:
    torch.manual_seed(1)
    unit = normalize(torch.randn(5, 6).double())
    same, other = [], []
    for i in range(5):
        for j in range(5):
            if i != j:
                (same if labels[i] == labels[j] else other).append((unit[i] @ unit[j]).item())
    mean = lambda values: sum(values) / len(values) if values else 0  # noqa: E731
    expected = 1 - mean(same) + 0.7 * mean([abs(value) for value in other])
    found = orthogonal_projection_loss(3 * unit, torch.tensor(labels)).item()
    assert found == pytest.approx(expected, abs=1e-6)


def test_masks_do_not_depend_on_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    dropout, rows = GlobalMask(0.3), torch.ones(8, 50)
    torch.manual_seed(2)
    whole = dropout(rows)
    assert whole.mean().item() == pytest.approx(1, abs=0.1) and 0 < (whole == 0).float().mean() < 0.5
    parts = []
    for rank in range(2):
        monkeypatch.setattr(model.distributed, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(model.distributed, "world_size", lambda: 2)
        torch.manual_seed(2)
        parts.append(dropout(rows[:4]))
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(dropout.eval()(rows), rows)
