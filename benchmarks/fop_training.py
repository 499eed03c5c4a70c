"""Training of fop on features, beside a plain loop of PyTorch on the same features: processor time.

    python benchmarks/fop_training.py                 10,000 pairs of 4096 + 512 features, 50 epochs of 128
    python benchmarks/fop_training.py --epochs 5      a short run

Both train the same model with the same loss on one thread, without validation. The plain loop has a data set
and a data loader without workers, layers of `torch.nn`, Adam as it comes, and reads the loss in every step.
What no loop that computes the same numbers can leave out is measured part by part: matrix products, Adam,
gathering of rows, random numbers of dropout. Processor time depends on what else the machine does; measure on
an idle one.
"""

import argparse
import contextlib
import io
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fop.config import FopConfig
    from voiceface.encoders.tables import FeatureSet

GOAL_SECONDS, GOAL_RATIO = 20.0, 3.0
VOICE_DIM, FACE_DIM = 512, 4096


class Result(NamedTuple):
    """Processor seconds (user and system) of a run, and its last loss."""

    seconds: float
    loss: float


def make_features(rows: int, people: int) -> "FeatureSet":
    """Make rows of features like those of the published encoders: faces after a ReLU, voices of any sign."""
    import numpy as np
    from voiceface.datasets.identities import Identity
    from voiceface.encoders.interface import EncoderInfo
    from voiceface.encoders.tables import FeatureSet

    rng = np.random.default_rng(0)
    owners = np.arange(rows) % people
    hidden = rng.standard_normal((people, 32), dtype=np.float32)
    tables = []
    for dim in (VOICE_DIM, FACE_DIM):
        means = hidden @ rng.standard_normal((32, dim), dtype=np.float32)
        tables.append(means[owners] + 4 * rng.standard_normal((rows, dim), dtype=np.float32))
    names = [f"person{index}" for index in range(people)]
    return FeatureSet(
        tables[0],
        np.maximum(tables[1], 0),
        owners,
        owners.copy(),
        tuple(Identity(name, name, name) for name in names),
        tuple(f"{row}.wav" for row in range(rows)),
        tuple(f"{row}.jpg" for row in range(rows)),
        EncoderInfo("voices", "voice", VOICE_DIM),
        EncoderInfo("faces", "face", FACE_DIM),
    )


def train_ours(features: "FeatureSet", config: "FopConfig") -> Result:
    """Train as the command does, with log, checkpoints and resume state."""
    from fop.train import FopTrainer
    from voiceface.testing.runs import read_log_without_clock

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        trainer = FopTrainer(config, features)
        start = time.process_time()
        trainer.fit(Path(folder) / "run", device="cpu", threads=1)
        seconds = time.process_time() - start
        return Result(seconds, read_log_without_clock(Path(folder) / "run")[-1]["total_loss"])


def train_plainly(features: "FeatureSet", config: "FopConfig") -> Result:
    """Train the same model in a loop as it is usually written."""
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy, normalize
    from torch.utils.data import DataLoader, TensorDataset

    size, settings = config.model.embedding_dim, config.training

    class Branch(nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            layers = [nn.Linear(dim, size), nn.BatchNorm1d(size), nn.ReLU(), nn.Dropout(0.5)]
            self.layers = nn.Sequential(*layers)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return normalize(self.layers(rows))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.voice, self.face = Branch(VOICE_DIM), Branch(FACE_DIM)
            hidden = [nn.Linear(2 * size, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, size)]
            self.gate, self.logits = nn.Sequential(*hidden), nn.Linear(size, len(features.people))

        def forward(self, face: torch.Tensor, voice: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            face, voice = self.face(face), self.voice(voice)
            share = self.gate(torch.cat([face, voice], dim=1)).sigmoid()
            fused = share * face.tanh() + (1 - share) * voice.tanh()
            return fused, self.logits(fused)

    def projection(fused: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        unit = normalize(fused)
        cosine = unit @ unit.t()
        equal = labels[:, None] == labels[None, :]
        same = (equal & ~torch.eye(len(labels), dtype=torch.bool)).float()
        other = (~equal).float()
        mean_same = (cosine * same).sum() / (same.sum() + 1e-6)
        return 1 - mean_same + 0.7 * (cosine * other).abs().sum() / (other.sum() + 1e-6)

    torch.manual_seed(settings.seed)
    start = time.process_time()
    model = Model().train()
    rows = TensorDataset(
        torch.from_numpy(features.faces),
        torch.from_numpy(features.voices),
        torch.from_numpy(features.voice_identities),
    )
    loader = DataLoader(rows, settings.batch_size, shuffle=True)
    optimiser = torch.optim.Adam(
        model.parameters(), lr=config.optimiser.lr, weight_decay=config.optimiser.weight_decay
    )
    value = 0.0
    for _ in range(settings.epochs):
        for face, voice, labels in loader:
            fused, logits = model(face, voice)
            loss = cross_entropy(logits, labels) + projection(fused, labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            value = loss.item()
    return Result(time.process_time() - start, value)


def measure_parts(features: "FeatureSet", config: "FopConfig") -> dict[str, float]:
    """Processor seconds of what no loop that computes the same numbers can leave out, each part by itself.

    "features" are the matrix products with the features, "others" those of gate, classifier and projection;
    further Adam in one pass, the gathering of rows, and the random numbers of dropout.
    """
    import torch

    size, batch, width = config.model.embedding_dim, config.training.batch_size, config.model.attention_width
    steps = config.training.epochs * -(-len(features.voices) // batch)
    gradient, hidden = torch.randn(size, batch), torch.randn(batch, width)
    tables = [torch.from_numpy(table) for table in (features.voices, features.faces)]
    rows = [table[:batch].clone() for table in tables]
    weights = [torch.randn(size, each.shape[1]) for each in rows]
    both, gate, last = torch.randn(batch, 2 * size), torch.randn(width, 2 * size), torch.randn(size, width)
    fused, classes = torch.randn(batch, size), torch.randn(len(features.people), size)
    shares, cosine = torch.randn(batch, len(classes)), torch.randn(batch, batch)
    parameters = [torch.nn.Parameter(each.clone()) for each in (*weights, gate, last, classes)]
    for each in parameters:
        each.grad = torch.randn_like(each)
    adam = torch.optim.Adam(parameters, weight_decay=config.optimiser.weight_decay, fused=True)
    order = itertools.cycle(torch.randperm(len(tables[0])).split(batch))

    def with_features() -> None:
        for each, weight in zip(rows, weights):
            torch.mm(each, weight.t())
            torch.mm(gradient, each)

    def others() -> None:
        torch.mm(both, gate.t()), torch.mm(hidden.t(), both), torch.mm(hidden, gate)
        torch.mm(hidden, last.t()), torch.mm(gradient, hidden), torch.mm(fused, last)
        torch.mm(fused, classes.t()), torch.mm(shares.t(), fused), torch.mm(shares, classes)
        torch.mm(fused, fused.t()), torch.mm(cosine, fused)

    def gather() -> None:
        chosen = next(order)
        for table, out in zip(tables, rows):
            torch.index_select(table, 0, chosen, out=out[: len(chosen)])

    parts = {
        "features": with_features,
        "others": others,
        "Adam": adam.step,
        "gathering": gather,
        "dropout": lambda: torch.rand(2, batch, size),
    }
    return {name: _seconds(part, steps) for name, part in parts.items()}


def _seconds(call: Callable[[], object], times: int) -> float:
    start = time.process_time()
    for _ in range(times):
        call()
    return time.process_time() - start


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; the exit status is 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000, help="pairs (default: %(default)s)")
    parser.add_argument(
        "--people", type=int, default=64, help="classes (default: %(default)s, of MAV-Celeb v1)"
    )
    parser.add_argument("--epochs", type=int, default=50, help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=128, help="pairs of a batch (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=1, help="runs of both, in turn; the quickest counts")
    args = parser.parse_args(argv)

    import torch
    from fop.config import FopConfig
    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(1)
    torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])  # its first use imports a compiler
    overrides = [f"training.epochs={args.epochs}", f"training.batch_size={args.batch}"]
    overrides += ["training.validation_interval=null", "training.best_checkpoint=none"]
    config = load_config("main", FopConfig, "fop", overrides)
    features = make_features(args.rows, args.people)
    ours, plain, parts = [], [], []
    for _ in range(args.repeats):
        ours.append(train_ours(features, config))
        plain.append(train_plainly(features, config))
        parts.append(measure_parts(features, config))
    quick, slow = min(ours), min(plain)
    least = {name: min(each[name] for each in parts) for name in parts[0]}
    ratio = slow.seconds / quick.seconds
    print(
        f"{args.rows} pairs, {args.people} people, {args.epochs} epochs of {args.batch}; processor seconds:"
    )
    print(f"  fop train       {quick.seconds:7.2f}   last loss {quick.loss:.3f}")
    print(f"  plain loop      {slow.seconds:7.2f}   last loss {slow.loss:.3f}   {ratio:.2f} x fop train")
    print(f"  bound           {sum(least.values()):7.2f}   sum of the parts:")
    for name, seconds in least.items():
        print(f"    {name:14}{seconds:7.2f}")
    reached = quick.seconds < GOAL_SECONDS and ratio >= GOAL_RATIO
    print(f"goals: {GOAL_SECONDS:.0f} s and {GOAL_RATIO:.0f} x: {'reached' if reached else 'missed'}")
    return int(not reached)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
