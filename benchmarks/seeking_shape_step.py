"""One training step of seeking_shape: full networks, 8 pairs, 3.75 s clips, one thread.

    python benchmarks/seeking_shape_step.py

Ours is measured against a plain build of the same networks in the same process, turn by turn: stock layers,
stock memory format, pooled shortcuts. Both must give the same loss.
The published implementation took 4.0 s for such a step on a processor; the goal is 3.1 s, a ratio of 0.775.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seeking_shape.model import Voice2Face
    from torch import Tensor

PUBLISHED_SECONDS, GOAL_SECONDS = 4.0, 3.1


def plain_copy(model: "Voice2Face") -> "Voice2Face":
    """The same weights in stock layers: contiguous memory, stock PReLU, max-pool shortcuts."""
    import copy

    import torch
    from torch import nn
    from voiceface.backbones import ir

    class PoolUnit(nn.Module):
        """Residual unit as published."""

        def __init__(self, unit: ir.Unit) -> None:
            super().__init__()
            self.shortcut_layer = unit.shortcut_layer or nn.MaxPool2d(1, unit.stride)
            self.res_layer = nn.Sequential(*(stock(layer) for layer in unit.res_layer))

        def forward(self, x: "Tensor") -> "Tensor":
            return self.res_layer(x) + self.shortcut_layer(x)

    def stock(layer: nn.Module) -> nn.Module:
        if isinstance(layer, nn.PReLU):
            other = nn.PReLU(layer.num_parameters)
            other.load_state_dict(layer.state_dict())
            return other
        if isinstance(layer, nn.Conv2d):
            size, stride, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
            other_conv = nn.Conv2d(layer.in_channels, layer.out_channels, size, stride, padding, bias=False)
            other_conv.load_state_dict(layer.state_dict())
            return other_conv
        return layer

    plain = copy.deepcopy(model)
    face = plain.F.model
    face.input_layer = nn.Sequential(*(stock(layer) for layer in face.input_layer))
    face.body = nn.Sequential(*(PoolUnit(unit) for unit in face.body))
    for parameter in face.parameters():
        parameter.data = parameter.data.contiguous()

    def forward(pictures: "Tensor") -> "Tensor":
        return face.output_layer(face.body(face.input_layer(pictures)))

    face.forward = forward
    torch.manual_seed(0)
    return plain


def stepper(
    model: "Voice2Face", pictures: "Tensor", waves: "Tensor", labels: "Tensor"
) -> Callable[[], float]:
    """A function that makes one step and gives its loss."""
    import torch
    from seeking_shape.losses import sample_losses, weighted_losses
    from seeking_shape.model import parameter_groups

    optimiser = torch.optim.SGD(parameter_groups(model), lr=1e-3, momentum=0.9, weight_decay=1e-4)

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        out = model(pictures, waves)
        found = sample_losses(out.face, out.voice, out.face_logits, out.voice_logits, labels)
        model.center.observe(labels, found.hardness)
        terms = weighted_losses(found, model.center.batch_weights(labels))
        loss = torch.stack(list(terms.values())).sum()
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step


def measure(batch: int, seconds: float, rounds: int, keep_memory: bool) -> dict[str, object]:
    """Time both builds turn by turn.

    Args:
        batch: pairs.
        seconds: length of the clips.
        rounds: measured steps of each build, after one that warms up.
        keep_memory: let ours keep freed memory, as training does (this affects both builds).

    Returns:
        Least processor time and wall time of a step in seconds, their ratios, and the first losses.
    """
    import torch
    from seeking_shape.model import Voice2Face
    from voiceface.memory import keep_freed_memory

    torch.manual_seed(0)
    model = Voice2Face(num_classes=924).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # both builds must agree
    plain = plain_copy(model)
    pictures = torch.randint(0, 256, (batch, 3, 112, 112)).float()
    waves, labels = 3000 * torch.randn(batch, int(16000 * seconds)), torch.arange(batch)
    steps = {name: stepper(net, pictures, waves, labels) for name, net in (("plain", plain), ("ours", model))}
    first = {"plain": steps["plain"]()}
    if keep_memory:
        keep_freed_memory()
    first["ours"] = steps["ours"]()
    if abs(first["ours"] - first["plain"]) > 1e-3 * abs(first["plain"]):
        raise RuntimeError(f"the two builds disagree: {first}")
    busy: dict[str, list[float]] = {"plain": [], "ours": []}
    wall: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(rounds):
        for name, step in steps.items():
            began, clock = time.process_time(), time.perf_counter()
            step()
            busy[name].append(time.process_time() - began)
            wall[name].append(time.perf_counter() - clock)
    least = {
        f"{name}_{kind}": min(found[name])
        for kind, found in (("cpu", busy), ("wall", wall))
        for name in found
    }
    return {
        **{key: round(value, 3) for key, value in least.items()},
        "ratio_cpu": round(least["ours_cpu"] / least["plain_cpu"], 3),
        "ratio_wall": round(least["ours_wall"] / least["plain_wall"], 3),
        "goal_ratio": GOAL_SECONDS / PUBLISHED_SECONDS,
        "first_losses": first,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; 1 when the goal is missed and --strict is given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3.75)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep-memory", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--strict", action="store_true", help="fail when the goal is missed")
    parser.add_argument("--out", type=Path, help="write the figures as JSON, too")
    args = parser.parse_args(argv)
    import torch

    torch.set_num_threads(args.threads)
    figures = measure(args.batch, args.seconds, args.rounds, args.keep_memory)
    text = json.dumps(figures, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    return int(args.strict and float(str(figures["ratio_cpu"])) > GOAL_SECONDS / PUBLISHED_SECONDS)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
