"""Two Gloo processes give the results of one process with the global batch."""

import json
import os
import signal

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from voiceface.checkpoints.native import load_model
from voiceface.checkpoints.resume_state import load_state
from voiceface.runtime.distributed import (
    GlobalDropout,
    SynchronisedBatchNorm,
    all_gather_with_gradient,
    convert_to_global_layers,
    initialise,
    shutdown,
)
from voiceface.testing.processes import in_two_processes
from voiceface.training.run import Run, unwrap


class Pairs:
    def __len__(self):
        return 24

    def sample(self, index, rng):
        return {"x": rng.standard_normal((2, 6, 6)).astype("float32"), "y": index}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        maps = [nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.2), nn.Flatten()]
        rows = [nn.Linear(144, 8), nn.BatchNorm1d(8, momentum=None), nn.Dropout(0.5)]
        self.backbone = nn.Sequential(*maps, *rows)
        self.classes = nn.Linear(8, 24, bias=False)

    def forward(self, x):
        return self.backbone(x)


def train(out, loss, resume=False, stop=None):
    """Five steps of a contrastive and a classification loss; `loss` says over which rows they are taken."""
    with Run(out, seed=5, config={}, system="demo", device="cpu", threads=1, resume=resume) as run:
        model = run.prepare(Net())
        optimiser = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
        run.track(model=model, optimiser=optimiser)
        data = run.batches(Pairs(), 8, max_steps=5)
        for step in run.steps(5):
            batch = next(data)
            own = model(batch["x"])
            rows, labels, first = all_gather_with_gradient(own), all_gather_with_gradient(batch["y"]), 0
            if loss == "own rows":
                first, anchors, labels = run.rank * len(own), own, batch["y"]
            else:
                anchors = rows
            targets = torch.arange(first, first + len(anchors))
            contrast = F.cross_entropy(anchors @ F.normalize(rows, dim=1).T, targets)
            ce = F.cross_entropy(unwrap(model).classes(anchors), labels)
            run.backward_and_step(contrast + ce, optimiser)
            run.log(step, {"contrast": contrast, "ce": ce})
            if (run.rank, step) == stop:
                os.kill(os.getpid(), signal.SIGTERM)


def stop_in_group(out):
    """One process is named to stop: all save the same step and leave."""
    with pytest.raises(SystemExit, match="143"):
        train(out, "own rows", stop=(1, 2))


def resume_in_group(out):
    train(out, "own rows", resume=True)


def check_layer():
    """Gradients, and gradients of gradients, of the synchronised layer against the plain one."""
    rank, count, local = initialise("cpu")
    assert count == 2 and local == rank
    values = torch.randn(8, 3, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    part = slice(rank * 4, rank * 4 + 4)
    found = []
    for layer, rows in ((SynchronisedBatchNorm(3), values[part]), (nn.BatchNorm1d(3), values)):
        rows = rows.clone().requires_grad_()
        (slope,) = torch.autograd.grad(layer.double()(rows).pow(3).sum(), rows, create_graph=True)
        (second,) = torch.autograd.grad(slope.pow(2).sum(), rows)
        found.append((slope, second, layer.running_mean, layer.running_var))
    (slope, second, *own), (slope_, second_, *whole) = found
    torch.testing.assert_close(slope, slope_[part])
    torch.testing.assert_close(second, second_[part])
    torch.testing.assert_close(own, whole)
    shutdown()


@pytest.mark.parametrize("loss", ["whole batch", "own rows"])
def test_two_processes_equal_one_with_the_whole_batch(tmp_path, loss, capfd):
    train(tmp_path / "1", loss)
    in_two_processes(train, tmp_path / "2", loss)
    printed = [line for line in capfd.readouterr().err.splitlines() if line.startswith("step ")]
    assert len(printed) == 5 + 5 and all("contrast=" in line for line in printed), "by the first process"
    one, two = ((tmp_path / name / "log.jsonl").read_text().splitlines() for name in "12")
    assert len(one) == len(two) == 5
    for a, b in zip(map(json.loads, one), map(json.loads, two)):
        assert a["contrast"] == pytest.approx(b["contrast"], rel=1e-5)
        assert a["ce"] == pytest.approx(b["ce"], rel=1e-5)
    one, two = (
        load_model(tmp_path / name / "checkpoints" / "step_000005.safetensors").state for name in "12"
    )
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=1e-4, atol=1e-5)


def test_stopped_group_resumes_as_if_nothing_had_been(tmp_path):
    in_two_processes(train, tmp_path / "whole", "own rows")
    in_two_processes(stop_in_group, tmp_path / "parts")
    assert load_state(tmp_path / "parts" / "state.safetensors")["step"] == 3
    in_two_processes(resume_in_group, tmp_path / "parts")
    one, two = ((tmp_path / name / "checkpoints" / "step_000005.safetensors") for name in ("whole", "parts"))
    assert one.read_bytes() == two.read_bytes()


def test_synchronised_layer_has_the_plain_layers_gradients():
    in_two_processes(check_layer)


def test_single_process_is_left_alone():
    rows = torch.randn(3, 2)
    assert all_gather_with_gradient(rows) is rows
    assert initialise("cpu") == (0, 1, 0)


def test_half_described_group_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(ValueError, match=r"MASTER_ADDR.*torchrun"):
        initialise("cpu")


def test_conversion_keeps_keys_parameters_and_outputs():
    net = nn.Sequential(
        nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Sequential(nn.Dropout2d(0.1))
    )
    parameters, keys = list(net.parameters()), list(net.state_dict())
    x = torch.randn(4, 2, 5, 5)
    before = net.eval()(x)
    changed = convert_to_global_layers(net)
    assert changed is net and isinstance(net[1], SynchronisedBatchNorm) and isinstance(net[2], GlobalDropout)
    assert net[3][0].channels and not net[1].training
    assert all(a is b for a, b in zip(parameters, net.parameters())) and list(net.state_dict()) == keys
    assert torch.equal(net(x), before)
    assert isinstance(convert_to_global_layers(nn.Dropout(0.3)), GlobalDropout)
    assert convert_to_global_layers(net[1]) is net[1]


def test_global_dropout_is_dropout():
    torch.manual_seed(0)
    x = torch.ones(2000, 10)
    y = GlobalDropout(0.3)(x)
    kept = y != 0
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.02)
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 1 / 0.7))
    assert torch.equal(GlobalDropout(0.3).eval()(x), x) and torch.equal(GlobalDropout(0.0)(x), x)
    assert not GlobalDropout(1.0)(x).any()
    maps = GlobalDropout(0.5, channels=True)(torch.ones(8, 6, 4, 4))
    assert set(maps.sum((2, 3)).unique().tolist()) == {0.0, 32.0}
    with pytest.raises(ValueError, match="outside"):
        GlobalDropout(1.5)


def test_gather_rows_stand_in_rank_order():
    weight = torch.ones(3, requires_grad=True)  # the law in one process: the gradient passes unchanged
    F.mse_loss(all_gather_with_gradient(weight), torch.zeros(3)).backward()
    torch.testing.assert_close(weight.grad, torch.full((3,), 2 / 3))
