"""Speed of metrics of generated faces, one thread: retrieval of 378 identities and the VGGFace Score.

    python benchmarks/sf2f_scores.py

The package and the published implementation (one query at a time, all pairs in a double loop; a classifier
with stock layers that is rebuilt and reads one image at a time) alternate in one process. Both must give the
same metrics. Processor time counts. The goal is a ratio: the target time to that of the published
implementation on the same kind of processor.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

IDENTITIES, WIDTH = 378, 512
NUM_IMAGES, NUM_CLASSES = 10, 8631
SPLITS = 5


class Task(NamedTuple):
    """A task to measure.

    Attributes:
        ours: computes metrics with the package.
        published: computes the same metrics the published way.
        published_seconds: time of the published implementation.
        goal_seconds: target time of the package on the same machine.
    """

    ours: Callable[[], list[float]]
    published: Callable[[], list[float]]
    published_seconds: float
    goal_seconds: float


def reference_recall(predicted: "Tensor", reference: "Tensor", cutoffs: Sequence[int]) -> list[float]:
    """Recall by cosine, one query at a time, sorted again for every cut-off."""
    import torch
    from torch.nn import functional

    found = []
    for cutoff in cutoffs:
        hits = 0
        for number, query in enumerate(predicted):
            scores = functional.cosine_similarity(query[None], reference)
            hits += int(number in torch.argsort(scores, descending=True)[:cutoff].tolist())
        found.append(hits / len(predicted))
    return found


def reference_distances(predicted: "Tensor", reference: "Tensor") -> list[float]:
    """Mean distances of matching pairs, and cosine with all strangers, row by row."""
    import torch
    from torch.nn import functional

    pairs = [(ours[None], theirs[None]) for ours, theirs in zip(predicted, reference)]
    figures = [
        torch.cat([functional.pairwise_distance(*pair, p=power) for pair in pairs]).mean().item()
        for power in (2.0, 1.0)
    ]
    figures.append(torch.cat([functional.cosine_similarity(*pair) for pair in pairs]).mean().item())
    strangers = []
    for number, query in enumerate(predicted):
        others = torch.cat([reference[:number], reference[number + 1 :]])
        strangers.append(functional.cosine_similarity(query[None], others).mean())
    return [*figures, torch.stack(strangers).mean().item()]


def reference_score(state: dict[str, Any], images: "Tensor") -> list[float]:
    """VGGFace Score with a rebuilt classifier, stock layers, one image at a time."""
    import torch
    from sf2f.metrics import preprocess_for_vggface
    from torch import nn
    from torch.nn import functional
    from voiceface.models.vggface2_resnet import Bottleneck, CaffeResNet

    def bottleneck(block: nn.Module, x: "Tensor") -> "Tensor":
        assert isinstance(block, Bottleneck)
        shortcut = x if block.downsample is None else block.downsample(x)
        y = functional.relu(block.bn1(block.conv1(x)))
        y = functional.relu(block.bn2(block.conv2(y)))
        return functional.relu(block.bn3(block.conv3(y)) + shortcut)

    network = CaffeResNet(NUM_CLASSES).to(memory_format=torch.contiguous_format)
    network.load_state_dict(state)
    network.eval()
    rows = []
    with torch.no_grad():
        for image in images:
            x = functional.relu(network.bn1(network.conv1(preprocess_for_vggface(image[None]))))
            x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
            for stage in range(1, 5):
                for block in network.get_submodule(f"layer{stage}").children():
                    x = bottleneck(block, x)
            rows.append(network.fc(functional.avg_pool2d(x, 7).flatten(1)).softmax(1))
    table = torch.cat(rows)
    scores = []
    for part in range(SPLITS):
        share = table[part * len(table) // SPLITS : (part + 1) * len(table) // SPLITS]
        mean = share.mean(0)
        scores.append(torch.stack([(row * (row / mean).log()).sum() for row in share]).mean().exp())
    found = torch.stack(scores)
    return [found.mean().item(), found.std(correction=0).item()]


def build_tasks() -> dict[str, Task]:
    """Tasks on random embeddings, images and weights."""
    import torch
    from sf2f.metrics import vggface_score
    from voiceface.metrics.generation import (
        CUTOFFS,
        evaluation_galleries,
        feature_distances,
        identity_retrieval,
    )
    from voiceface.models.fuse_batchnorm import fuse_batchnorm
    from voiceface.models.vggface2_resnet import CaffeResNet

    draw = torch.Generator().manual_seed(0)
    reference = torch.randn(IDENTITIES, WIDTH, generator=draw)
    predicted = 0.15 * reference + torch.randn(IDENTITIES, WIDTH, generator=draw)
    ends = [100, 200, 300]
    images = torch.randint(0, 256, (NUM_IMAGES, 3, 64, 64), generator=draw, dtype=torch.uint8)
    torch.manual_seed(0)
    network = CaffeResNet(NUM_CLASSES).eval()
    reader = fuse_batchnorm(network)

    def recall() -> list[float]:
        return list(identity_retrieval(predicted, reference).recall.values())

    def retrieval() -> list[float]:
        parts = identity_retrieval(predicted, reference, galleries=evaluation_galleries(IDENTITIES, ends))
        return [*recall(), *parts.recall.values(), *feature_distances(predicted, reference)]

    def retrieval_published() -> list[float]:
        parts = zip([0, *ends], ends)
        each = [reference_recall(predicted[a:b], reference[a:b], CUTOFFS) for a, b in parts]
        thirds = torch.tensor(each).mean(0).tolist()
        return [*recall_published(), *thirds, *reference_distances(predicted, reference)]

    def recall_published() -> list[float]:
        return reference_recall(predicted, reference, CUTOFFS)

    def score() -> list[float]:
        return list(vggface_score(reader, images, splits=SPLITS)[:2])

    return {
        "recall, one gallery of 378": Task(recall, recall_published, 0.50, 0.02),
        "all retrieval metrics": Task(retrieval, retrieval_published, 0.55, 0.05),
        "VGGFace Score, 10 images": Task(
            score, lambda: reference_score(network.state_dict(), images), 1.32, 0.8
        ),
    }


def measure(name: str, task: Task, rounds: int) -> dict[str, object]:
    """Time both implementations alternately; minimum processor and wall seconds, and their ratio.

    Raises:
        RuntimeError: their metrics differ.
    """
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "published": []}
    figures = {}
    for _ in range(rounds + 1):
        for way, function in (("published", task.published), ("ours", task.ours)):
            busy, clock = time.process_time(), time.perf_counter()
            figures[way] = function()
            times[way].append((time.process_time() - busy, time.perf_counter() - clock))
    for ours, theirs in zip(figures["ours"], figures["published"], strict=True):
        if abs(ours - theirs) > 1e-4 * max(1.0, abs(theirs)):
            raise RuntimeError(f"{name}: the two ways disagree: {figures}")
    least = {way: [min(kind) for kind in zip(*found[1:])] for way, found in times.items()}
    return {
        "task": name,
        **{
            f"{way}_{kind}": round(seconds, 4)
            for way, found in least.items()
            for kind, seconds in zip(("cpu", "wall"), found)
        },
        "ratio_cpu": round(least["ours"][0] / least["published"][0], 3),
        "goal_ratio": round(task.goal_seconds / task.published_seconds, 3),
        "goal_seconds": task.goal_seconds,
        "published_seconds": task.published_seconds,
        "load": round(os.getloadavg()[0], 1),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the results; exit code 1 if a goal is missed and --strict is given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="measured turns of each way")
    parser.add_argument("--strict", action="store_true", help="fail when a goal is missed")
    parser.add_argument("--out", type=Path, help="write the metrics as JSON, too")
    args = parser.parse_args(argv)
    import torch

    torch.set_num_threads(1)
    figures = [measure(name, task, args.rounds) for name, task in build_tasks().items()]
    text = json.dumps(figures, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    missed = [each for each in figures if float(str(each["ratio_cpu"])) > float(str(each["goal_ratio"]))]
    return int(args.strict and bool(missed))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
