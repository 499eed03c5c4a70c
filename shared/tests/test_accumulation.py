"""Gradient accumulation: a batch in parts takes the step of the whole batch, in the memory of one part."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from voiceface.checkpoints.native import load_model
from voiceface.runtime.distributed import all_gather_with_gradient
from voiceface.testing.processes import in_two_processes
from voiceface.testing.runs import read_log_without_clock
from voiceface.training.accumulation import forward_in_parts, prepare_for_parts
from voiceface.training.run import Run, unwrap


class Pairs:
    """24 pairs of random vectors."""

    def __len__(self) -> int:
        return 24

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        return {"x": rng.standard_normal((2, 6)).astype("float32"), "y": index}


class Output(NamedTuple):
    first: Tensor
    second: Tensor | None
    logits: Tensor


class Net(nn.Module):
    """Two embeddings, and class scores of the first one."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), *layers, nn.ReLU(), nn.Linear(16, 8))
        self.classes = nn.Linear(8, 24)
        self.rows: list[int] = []

    def forward(self, x: Tensor, masks: tuple[Tensor | None, Tensor | None] = (None, None)) -> Output:
        self.rows.append(len(x))
        first, second = self.body(x[:, 0]), self.body(x[:, 1])
        return Output(first, second, self.classes(first))


def train(out: Path, parts: int, *, mixed: bool = False) -> Net:
    """Five steps of a contrastive and a classification loss."""
    layers = (nn.BatchNorm1d(16), nn.Dropout(0.5)) if mixed else ()
    with Run(out, seed=5, config={}, system="demo", device="cpu", threads=1) as run:
        settings = SimpleNamespace(batch_size=8, accumulation_steps=parts)
        network = prepare_for_parts(run, settings, Net(*layers))
        model = unwrap(network)
        assert isinstance(model, Net)
        optimiser = torch.optim.SGD(network.parameters(), lr=0.2, momentum=0.9)
        run.track(model=network, optimiser=optimiser)
        data = run.batches(Pairs(), 8, max_steps=5)
        for step in run.steps(5):
            batch = next(data)
            output = forward_in_parts(network, parts, batch["x"], (None, batch["x"]))
            assert isinstance(output, Output)
            first, second, logits, labels = map(all_gather_with_gradient, (*output, batch["y"]))
            contrast = F.cross_entropy(first @ F.normalize(second, dim=1).T, torch.arange(8))
            loss = contrast + F.cross_entropy(logits, labels)
            run.backward_and_step(loss, optimiser)
            run.log(step, {"loss": loss})
        run.save_final_model(model.state_dict())
    return model


def assert_same(run: Path, expected: Path) -> None:
    for row, other in zip(read_log_without_clock(run), read_log_without_clock(expected), strict=True):
        assert row == pytest.approx(other, rel=1e-5)
    state, wanted = (load_model(folder / "model.safetensors").state for folder in (run, expected))
    for key, value in wanted.items():
        torch.testing.assert_close(state[key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_take_the_steps_of_the_whole_batch(tmp_path: Path, parts: int) -> None:
    train(tmp_path / "whole", 1)
    model = train(tmp_path / "parts", parts)
    assert model.rows == 5 * 2 * parts * [8 // parts]  # once in the forward, once in the backward pass
    assert_same(tmp_path / "parts", tmp_path / "whole")


def test_random_numbers_and_statistics_of_parts_do_not_depend_on_the_number_of_processes(
    tmp_path: Path,
) -> None:
    train(tmp_path / "one", 2, mixed=True)
    in_two_processes(partial(train, mixed=True), tmp_path / "two", 2)
    assert_same(tmp_path / "two", tmp_path / "one")


def test_running_statistics_take_one_step_for_each_part() -> None:
    norm = nn.BatchNorm1d(3)
    rows = torch.randn(6, 3)
    forward_in_parts(norm, 3, rows).square().sum().backward()
    expected = nn.BatchNorm1d(3)
    for part in range(3):
        expected(rows[part::3])
    torch.testing.assert_close(norm.state_dict(), expected.state_dict())
    assert int(norm.num_batches_tracked) == 3


def test_one_part_is_in_memory_at_a_time() -> None:
    class Counted(torch.autograd.Function):
        alive = most = 0

        @staticmethod
        def forward(context: Any, x: Tensor) -> Tensor:
            context.save_for_backward(x.clone())
            return x.exp()

        @staticmethod
        def backward(context: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
            (x,) = context.saved_tensors
            return gradient * x.exp()

    class Layers(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            for _ in range(10):
                x = Counted.apply(x) * 0.1
            return x

    def saved_bytes(parts: int) -> int:
        """Bytes that the graph of a forward pass keeps."""
        kept: set[int] = set()
        total = 0

        def pack(value: Tensor) -> Tensor:
            nonlocal total
            if value.data_ptr() not in kept:
                kept.add(value.data_ptr())
                total += value.numel()
            return value

        x = torch.randn(64, 100, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            forward_in_parts(Layers(), parts, x).sum()
        return total

    assert saved_bytes(4) < 0.2 * saved_bytes(1)


def test_unequal_parts_are_refused() -> None:
    settings = SimpleNamespace(batch_size=10, accumulation_steps=4)
    with pytest.raises(
        ValueError, match="a batch of 10 cannot be divided into 4 equal parts; choose a multi"
    ):
        prepare_for_parts(SimpleNamespace(world_size=1), settings, nn.Linear(1, 1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="into 5 equal parts for each of 2 processes"):
        settings.batch_size, settings.accumulation_steps = 15, 5
        prepare_for_parts(SimpleNamespace(world_size=2), settings, nn.Linear(1, 1))  # type: ignore[arg-type]
