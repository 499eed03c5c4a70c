"""Speed of metrics of generated faces, one thread: retrieval of 378 identities and the VGGFace Score.

    python benchmarks/sf2f_scores.py

The package and the published implementation (one query at a time, all pairs in a double loop; a classifier
with stock layers that is rebuilt and reads one image at a time) alternate in one process. Both must give the
same metrics. Processor time counts. The goal is a ratio: the target time to that of the published
implementation on the same kind of processor.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from timing import add_report_arguments, min_times_alternating, report_ratios

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
    """Mean distances of matching pairs, and cosine with all other identities, row by row."""
    import torch
    from torch.nn import functional

    pairs = [(query[None], own[None]) for query, own in zip(predicted, reference)]
    metrics = [
        torch.cat([functional.pairwise_distance(*pair, p=power) for pair in pairs]).mean().item()
        for power in (2.0, 1.0)
    ]
    metrics.append(torch.cat([functional.cosine_similarity(*pair) for pair in pairs]).mean().item())
    other_cosines = []
    for number, query in enumerate(predicted):
        others = torch.cat([reference[:number], reference[number + 1 :]])
        other_cosines.append(functional.cosine_similarity(query[None], others).mean())
    return [*metrics, torch.stack(other_cosines).mean().item()]


def reference_score(state: dict[str, Any], images: "Tensor") -> list[float]:
    """VGGFace Score with a rebuilt classifier, stock layers, one image at a time."""
    import torch
    from sf2f.metrics import preprocess_for_vggface
    from torch import nn
    from torch.nn import functional
    from torchvision.models.resnet import Bottleneck
    from voiceface.models.vggface2_resnet import CaffeResNet

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
    from sf2f.metrics import preprocess_for_vggface, vggface_score
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
    with torch.no_grad():  # moderate logits: the published formula gives NaN for probabilities of zero
        network.fc.weight /= network(preprocess_for_vggface(images)).std()
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
    ours, published = task.ours(), task.published()
    if not np.allclose(ours, published, rtol=1e-4, atol=1e-4):
        raise RuntimeError(f"{name}: the two implementations disagree: {ours} and {published}")
    calls = {"ours": task.ours, "published": task.published}
    times = min_times_alternating(calls, rounds, warm_up=False)
    return {
        "task": name,
        **{f"{way}_{kind}": round(s, 4) for way, t in times.items() for kind, s in t._asdict().items()},
        "ratio_cpu": round(times["ours"].cpu / times["published"].cpu, 3),
        "goal_ratio": round(task.goal_seconds / task.published_seconds, 3),
        "goal_seconds": task.goal_seconds,
        "published_seconds": task.published_seconds,
        "load": round(os.getloadavg()[0], 1),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the results; exit code 1 if a goal is missed and --strict is given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="measured turns of each way")
    add_report_arguments(parser)
    args = parser.parse_args(argv)
    import torch

    torch.set_num_threads(1)
    return report_ratios([measure(name, task, args.rounds) for name, task in build_tasks().items()], args)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
