"""Speed and memory of the association metrics at the size of the published lists.

    python benchmarks/association_lists.py --lists FOLDER   the published lists and their two identity tables
    python benchmarks/association_lists.py                  synthetic lists of the same sizes

Features are generated from the file names, so metrics can be compared between machines and, with
`--reference FILE`, with stored ones: {"config": {"dimension": ...}, "results": {list name: metric}}. Times
are from embeddings and index arrays to the metric (verification: AUC and equal error rate); reading lists and
generating features is reported separately. "CPU" is the processor time of this process, on one thread the
basis of ratios and targets. The published times are those of the evaluation loops of "Seeking the Shape of
Sound" on one thread. `--compare-methods` times a loop of that form, and ranks on one and on two threads, in
one run.
"""

import argparse
import json
import os
import resource
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from voiceface.datasets.trials.trial_list import TrialList

PUBLISHED = {"retrieval": 146.0, "match": 1.2, "verify": 1.3, "all": 260.0}  # seconds
TARGETS = {"retrieval": 10.0, "match": 0.15, "verify": 0.2, "all": 25.0}
LIST_SIZES = {  # name: (probes, candidates, lines)
    "match_v2f_2_val": (14_182, 11_000, 42_546),
    "match_g_v2f_2_val": (14_180, 11_000, 42_540),
    "verify_v2f_test": (21_850, 20_076, 65_550),
    "verify_g_v2f_test": (21_850, 20_076, 65_550),
    "verify_f2v_test": (20_076, 21_850, 60_228),
    "verify_g_f2v_test": (20_076, 21_850, 60_228),
    "reterival_v2f_test": (21_850, 20_076, 2),
    "reterival_f2v_test": (20_076, 21_850, 2),
}
DERIVED_LISTS = {
    "match_v2f_2_test": "reterival_v2f_test",
    "match_f2v_2_test": "reterival_f2v_test",
}  # not published
LOOP_QUERIES = 100
NUM_IDENTITIES = {"val": 112, "test": 189}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; the exit status is 1 if a metric differs from the reference."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lists", type=Path, help="folder of the published lists")
    parser.add_argument("--dimension", type=int, default=128, help="width of the features")
    parser.add_argument("--reference", type=Path, help="figures to compare with (sets the dimension)")
    parser.add_argument(
        "--compare-methods", action="store_true", help="also compare ranking methods on 2,000 probes"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--methods-only", action="store_true", help="compare the methods and end")
    parser.add_argument("--repeats", type=int, default=3, help="of the short measurements; the best counts")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    reference: dict[str, Any] = {}
    if options.reference:
        reference = json.loads(options.reference.read_text())
        options.dimension = reference["config"]["dimension"]
    start = time.perf_counter()
    given = options.lists and options.lists.is_dir()
    lists, owners = read_published_lists(options.lists) if given else build_synthetic_lists()
    for name, source in DERIVED_LISTS.items():
        lists[name] = sample_trials(lists[source], owners, name)
    read = time.perf_counter()
    feature = generate_features(owners, options.dimension)
    made = time.perf_counter()
    print(
        f"{'published' if given else 'synthetic'} lists, {options.dimension} features, "
        f"{options.threads} threads"
    )
    print(f"lists read in {read - start:.1f} s, features made in {made - read:.1f} s\n")
    if options.methods_only:
        compare_methods(lists["reterival_v2f_test"], owners, feature)
        return 0
    wrong = measure(lists, owners, feature, reference.get("results", {}), options.repeats)
    if options.compare_methods:
        compare_methods(lists["reterival_v2f_test"], owners, feature)
    return int(wrong)


def measure(
    lists: "dict[str, TrialList]",
    identity_names: dict[str, str],
    feature: dict[str, np.ndarray],
    reference: dict[str, float],
    repeats: int,
) -> bool:
    """Evaluate every list and print its row; return whether a metric differs from the reference."""
    worst: dict[str, float] = {}
    total, wrong = 0.0, False
    print(f"{'list':22}{'lines':>9}{'figure':>12}{'seconds':>9}{'CPU':>9}{'MB':>7}{'times published':>17}")
    for name, asked in lists.items():
        call, lines = build_task(asked, identity_names, feature)
        figure, seconds, cpu, memory = measure_call(call)
        for _ in range(0 if asked.kind == "retrieval" else repeats - 1):
            _, again, again_cpu, _ = measure_call(call)
            seconds, cpu = min(seconds, again), min(cpu, again_cpu)
        total += cpu
        worst[asked.kind] = max(worst.get(asked.kind, 0), cpu)
        note = ""
        if name in reference:
            away = figure - reference[name]
            wrong |= abs(away) > 1e-6
            note = f"   reference {away:+.1e}"
        ratio = PUBLISHED[asked.kind] / cpu
        numbers_shown = f"{lines:9,}{figure:12.6f}{seconds:9.3f}{cpu:9.3f}{memory:7.0f}{ratio:17.1f}"
        print(f"{name:22}{numbers_shown}{note}", flush=True)
    print()
    for kind, seconds in {**worst, "all": total}.items():
        label = "all ten lists" if kind == "all" else f"slowest {kind}"
        ratio, verdict = PUBLISHED[kind] / seconds, "met" if seconds <= TARGETS[kind] else "MISSED"
        target = f"target {TARGETS[kind]:g} s {verdict}"
        print(f"{label:20}{seconds:8.3f} s CPU   {ratio:6.1f} times published   {target}")
    return wrong


def build_task(
    trial_list: "TrialList", identity_names: dict[str, str], feature: dict[str, np.ndarray]
) -> tuple[Callable[[], float], int]:
    """Return embeddings and indices of a list, and a call that computes its metric."""
    from voiceface.metrics.matching import matching_accuracy, pair_scores
    from voiceface.metrics.retrieval import compute_retrieval
    from voiceface.metrics.verification import equal_error_rate, verification_auc

    left, right = (
        torch.from_numpy(np.stack([feature[i] for i in x])) for x in (trial_list.probes, trial_list.gallery)
    )
    left_ids, right_ids = (
        identity_indices(x, identity_names) for x in (trial_list.probes, trial_list.gallery)
    )
    if trial_list.probe_index is None or trial_list.gallery_index is None:

        def rank() -> float:
            return compute_retrieval(left, right, left_ids, right_ids).mean_average_precision

        return rank, len(left)
    anchor, candidate = torch.from_numpy(trial_list.probe_index), torch.from_numpy(trial_list.gallery_index)
    labels = (left_ids[anchor] == right_ids[candidate[:, 0]]).to(torch.int8)

    def decide() -> float:
        scores = pair_scores(left, right, anchor, candidate)
        if trial_list.kind == "match":
            return float(matching_accuracy(scores))
        equal_error_rate(scores[:, 0], labels)
        return float(verification_auc(scores[:, 0], labels))

    return decide, len(anchor)


def identity_indices(items: Sequence[str], identity_names: dict[str, str]) -> torch.Tensor:
    """Identity index of every item, int64."""
    place = {name: number for number, name in enumerate(sorted(set(identity_names.values())))}
    return torch.tensor([place[identity_names[item]] for item in items])


def measure_call(call: Callable[[], float]) -> tuple[float, float, float, float]:
    """Return (result, seconds, processor seconds, MB of additional resident memory)."""
    before = peak_memory(reset=True)
    start, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, time.perf_counter() - start, time.process_time() - cpu, peak_memory() - before


def peak_memory(reset: bool = False) -> float:
    """Peak resident memory in MB; `reset` restarts the measurement if Linux allows it."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare_methods(
    trial_list: "TrialList",
    identity_names: dict[str, str],
    feature: dict[str, np.ndarray],
    queries: int = 2000,
) -> None:
    """Time exact methods of ranking the gallery for some probes, matrix product included."""
    from voiceface.metrics.matching import l2_normalize
    from voiceface.metrics.ranking import Ranker, query_metrics
    from voiceface.metrics.retrieval import compute_retrieval

    left, right = (
        l2_normalize(torch.from_numpy(np.stack([feature[i] for i in x])))
        for x in (trial_list.probes[:queries], trial_list.gallery)
    )
    left_ids, right_ids = (
        identity_indices(x, identity_names) for x in (trial_list.probes[:queries], trial_list.gallery)
    )
    ranker = Ranker(right, right_ids, left_ids, first_wins=False)
    blocks = [slice(start, start + 250) for start in range(0, queries, 250)]

    plain = torch.from_numpy(np.stack([feature[i] for i in trial_list.gallery]))

    def by_loop() -> float:
        """The form of published loops: for each probe, scale the gallery, sort it, add up precisions."""
        precisions = []
        for row in range(LOOP_QUERIES):
            unit = plain / plain.norm(dim=1, keepdim=True)
            order = (unit @ left[row]).argsort(descending=True)
            hit = (right_ids[order] == left_ids[row]).numpy()
            found, total = 0, 0.0
            for rank in np.flatnonzero(hit):
                found += 1
                total += found / (rank + 1)
            precisions.append(total / found)
        return float(np.mean(precisions))

    def by_product() -> float:
        return float(sum((left[rows] @ right.T)[0, 0] for rows in blocks))

    def by_sort() -> float:
        parts = []
        for rows in blocks:
            order = (left[rows] @ right.T).sort(dim=1, descending=True).indices
            hit = (right_ids[order] == left_ids[rows][:, None]).double()
            precision = hit.cumsum(1) / torch.arange(1, len(right) + 1)
            parts.append((precision * hit).sum(1) / hit.sum(1))
        return float(torch.cat(parts).mean())

    def by_counting(search: bool) -> float:
        parts = []
        for rows in blocks:
            counts = ranker.count(left[rows], rows, compiled=not search)
            parts.append(query_metrics(*counts, len(right), 100, grouped=False).average_precision)
        return float(torch.cat(parts).mean())

    def by_retrieval(threads: int) -> float:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            return compute_retrieval(left, right, left_ids, right_ids).mean_average_precision
        finally:
            torch.set_num_threads(before)

    ways: dict[str, Callable[[], float]] = {
        f"published form, {LOOP_QUERIES} queries": by_loop,
        "matrix product alone": by_product,
        "sort of every row": by_sort,
        "binary search among the relevant": lambda: by_counting(True),
        "bucket table, compiled": lambda: by_counting(False),
        "compute_retrieval, one thread": lambda: by_retrieval(1),
        "compute_retrieval, two threads": lambda: by_retrieval(2),
    }
    print(f"\nranking {queries:,} queries against {len(right):,} items")
    print(f"{'':36}{'CPU':>9}{'elapsed':>9} ms a query, times the published form (elapsed)")
    loop = 0.0
    for name, call in ways.items():
        call()
        count = LOOP_QUERIES if call is by_loop else queries
        runs = [measure_call(call) for _ in range(3)]
        cpu, elapsed = (1e3 * min(run[place] for run in runs) / count for place in (2, 1))
        loop = loop or elapsed
        print(f"{name:36}{cpu:9.3f}{elapsed:9.3f}{loop / elapsed:9.1f}   {runs[0][0]:.9f}")


def read_published_lists(folder: Path) -> "tuple[dict[str, TrialList], dict[str, str]]":
    """Read the published lists and the identity of every item."""
    from voiceface.datasets.identities import read_identity_csv
    from voiceface.datasets.trials.reading import read_trial_list

    rows = [row for split in NUM_IDENTITIES for row in read_identity_csv(folder / f"vox1_{split}.csv")]
    lists, owners, who = {}, {}, {}
    for row in rows:
        who[row.voice_id] = who[row.face_id] = row.face_id
    for name in LIST_SIZES:
        lists[name] = read_trial_list(folder / f"{name}.txt.gz")
        for item in (*lists[name].probes, *lists[name].gallery):
            owners[item] = who[item.split("/")[0]]
    return lists, owners


def build_synthetic_lists() -> "tuple[dict[str, TrialList], dict[str, str]]":
    """Build lists of the published sizes over synthetic identities."""
    from voiceface.datasets.trials.trial_list import TrialList

    lists: dict[str, TrialList] = {}
    owners: dict[str, str] = {}
    for name, (anchors, candidates, _) in LIST_SIZES.items():
        kind, split = name.split("_")[0].replace("reterival", "retrieval"), name.split("_")[-1]
        direction = "v2f" if "v2f" in name else "f2v"
        counts = {"v": anchors, "f": candidates} if direction == "v2f" else {"f": anchors, "v": candidates}
        items = {}
        for side, count in counts.items():
            items[side] = [f"{split}{n % NUM_IDENTITIES[split]}/{side}{n}" for n in range(count)]
            owners |= {item: item.split("/")[0] for item in items[side]}
        asked = TrialList(name, kind, direction, "U", items[direction[0]], items[direction[-1]])
        lists[name] = asked if kind == "retrieval" else sample_trials(asked, owners, name)
    return lists, owners


def sample_trials(trial_list: "TrialList", identity_names: dict[str, str], name: str) -> "TrialList":
    """Sample three lines per probe: a positive and a negative candidate, or one of both."""
    from dataclasses import replace

    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    anchor = np.repeat(np.arange(len(trial_list.probes)), 3)
    mine, theirs = (
        identity_indices(trial_list.probes, identity_names).numpy()[anchor],
        identity_indices(trial_list.gallery, identity_names).numpy(),
    )
    order = np.argsort(theirs, kind="stable")
    start, stop = np.searchsorted(theirs[order], mine), np.searchsorted(theirs[order], mine, side="right")
    right = order[rng.integers(start, stop)]
    other = rng.integers(0, len(theirs) - (stop - start))
    wrong = order[np.where(other < start, other, other + stop - start)]
    kind = name.split("_")[0]
    if kind == "match":
        candidate = np.stack([right, wrong], axis=1)
    else:
        candidate = np.where(rng.random(len(anchor)) < 0.5, right, wrong)[:, None]
    return replace(trial_list, name=name, kind=kind, probe_index=anchor, gallery_index=candidate)


def generate_features(identity_names: dict[str, str], dimension: int) -> dict[str, np.ndarray]:
    """Generate features from names alone: item noise plus 0.3 times identity noise, float32 (D,)."""

    def noise(key: str) -> np.ndarray:
        rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
        return np.float32(0.1) * rng.standard_normal(dimension, dtype=np.float32)

    person = {name: np.float32(0.3) * noise(f"id/{name}") for name in sorted(set(identity_names.values()))}
    table = np.empty((len(identity_names), dimension), np.float32)
    for row, (item, name) in enumerate(identity_names.items()):
        table[row] = noise(f"file/{item}") + person[name]
    return dict(zip(identity_names, table))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    raise SystemExit(main())
