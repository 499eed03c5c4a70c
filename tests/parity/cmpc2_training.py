"""Parity of CMPC's losses, memory bank, clustering, learning rate and prototype look-up."""

import tempfile
from pathlib import Path

import torch
from cmpc2.losses import Clusterings, cmpc_terms, compute_credibility, recalibration_weights
from cmpc2.memory import MemoryBank
from cmpc2.prototype_retrieval import (
    TrainingVideo,
    find_clustering,
    getKNearestSamples,
    nearest_videos,
    prototype_distances,
    write_training_table,
)
from cmpc2.prototypes import Clustering, concentration
from cmpc2.prototypes import kmeans as partition_of
from cmpc2.published import PrototypeMemory
from parity.case import Case, ComparisonLog
from torch import Tensor
from voiceface.training.lr_schedules import cosine_warmup_cycles


def cmpc_loss(case: Case, log: ComparisonLog) -> None:
    """Every term as published and as meant, the totals, and the gradients of the published one."""
    config = case.config
    voice, face = (case.tensor(name).requires_grad_() for name in ("audio_emb", "frame_emb"))
    index = case.tensor("index").long()
    found = Clusterings(*(_load_clusterings(case, side) for side in ("voice", "face")))
    options = {
        "temperature": float(config.get("temperature", 0.03)),
        "delta": float(config.get("delta", -1)),
        "kappa": float(config.get("ka", 0.1)),
    }
    published = cmpc_terms(voice, face, index, found, form="published", **options)
    meant = cmpc_terms(voice, face, index, found, **options)
    rho = compute_credibility(voice, face, index, found)
    ours = {
        "inst_voice_to_face": published.instance_voice,
        "inst_face_to_voice": published.instance_face,
        "proto_voice_published": published.prototype_voice,
        "proto_face_published": published.prototype_face,
        "proto_voice_corrected": meant.prototype_voice,
        "proto_face_corrected": meant.prototype_face,
        "total_published": published.total,
        "total_without_clusters": cmpc_terms(voice, face, index, **options).total,
        "rho": rho,
        "weights": recalibration_weights(rho, delta=options["delta"], kappa=options["kappa"]),
    }
    for name, value in ours.items():
        if name in case.arrays:
            case.compare(log, name, value)
    left, right = torch.autograd.grad(published.total, (voice, face))
    case.compare(log, "grad_audio", left)
    case.compare(log, "grad_frame", right)


def _load_clusterings(case: Case, side: str) -> list[Clustering]:
    count = sum(name.startswith(f"{side}_centroids") for name in case.arrays)
    return [
        Clustering(
            case.tensor(f"{side}_inst2cluster{r}").long(),
            case.tensor(f"{side}_centroids{r}"),
            torch.zeros(len(case.arrays[f"{side}_inst2cluster{r}"])),
            case.tensor(f"{side}_density{r}"),
        )
        for r in range(count)
    ]


def memory_bank(case: Case, log: ComparisonLog) -> None:
    """One update of both banks; the momentum may be a pair, element 1 for voices."""
    momentum = case.config.get("momentum", 0.5)
    momentum = tuple(momentum) if isinstance(momentum, list) else float(momentum)
    before = {side: case.tensor(f"{side}_before") for side in ("voice", "face")}
    memory = MemoryBank(*before["voice"].shape, momentum)
    memory.load_state_dict({"banks": before, "clusterings": None})
    memory.update(case.tensor("index").long(), case.tensor("voice_emb"), case.tensor("face_emb"))
    for side, bank in memory.banks.items():
        case.compare(log, f"{side}_after", bank)


def kmeans(case: Case, log: ComparisonLog) -> None:
    """Clusters as published: first rows as centres, the assignment before the last update."""
    points, config = case.tensor("points"), case.config
    steps, temperature = int(config.get("iterations", 20)), float(config.get("temperature", 0.2))
    how = {"init": "first", "empty_clusters": "nan", "final_assignment": "published"}
    for letter, clusters in zip("ABCDEFG", config["clusters"], strict=False):
        found = partition_of(points, clusters, num_iterations=steps, **how)
        _compare_clustering(case, log, "{}" + letter, found.assignment, found.centroids, found.distance)
        if f"density{letter}" in case.arrays:
            phi = concentration(found.assignment, found.distance, clusters, temperature)
            case.compare(log, f"density{letter}", phi)
        cosine = partition_of(points, clusters, num_iterations=steps, cosine=True, **how)
        _compare_clustering(
            case, log, "cosine_{}" + letter, cosine.assignment, cosine.centroids, cosine.distance
        )
        once = partition_of(points, clusters, num_iterations=1, **how)
        _compare_clustering(case, log, "one_iter_{}" + letter, once.assignment, once.centroids, once.distance)


def _compare_clustering(
    case: Case, log: ComparisonLog, form: str, assignment: Tensor, centroids: Tensor, distance: Tensor
) -> None:
    for name, value in (("assign", assignment), ("centroids", centroids), ("dist", distance[:, None])):
        if (key := form.format(name)) in case.arrays:
            case.compare(log, key, value)


def cosine_warmup_lr(case: Case, log: ComparisonLog) -> None:
    """The rate of every listed step, further cycles included."""
    config = case.config
    rate = cosine_warmup_cycles(
        float(config["max_lr"]),
        float(config["min_lr"]),
        int(config["first_cycle_steps"]),
        int(config["warmup_steps"]),
    )
    case.compare(log, "lr", [rate(int(step)) for step in case.arrays["step"]])


def prototype_retrieval(case: Case, log: ComparisonLog) -> None:
    """Nearest prototypes and their rows, in memory and from files."""
    counts = sum(name.startswith("centroids") for name in case.arrays)
    memory = PrototypeMemory(
        [case.tensor(f"centroids{r}") for r in range(counts)],
        [case.tensor(f"inst2cluster{r}").long() for r in range(counts)],
        [],
    )
    query = case.tensor("query")
    table = [table_row(i) for i in range(len(memory.assignment[0]))]
    stated = case.config.get("K", 3)
    wanted = list(stated) if isinstance(stated, list) else [int(stated)] * counts
    for r, k in enumerate(wanted):
        number = 500 * (r + 1)
        assert find_clustering(memory, number) == r
        case.compare(log, f"distance{r}", prototype_distances(query, memory.centroids[r]))
        hits = nearest_videos(query, memory, table, num_clusters=number, k=k, order="table")
        case.compare(log, f"rows{r}", [hit.row for hit in hits])
        ordered = nearest_videos(query, memory, table, num_clusters=number, k=k)
        seen = list(dict.fromkeys(hit.cluster for hit in ordered))
        members = set(memory.assignment[r].tolist())
        stored = [int(c) for c in case.arrays[f"nearest{r}"]]
        log.compare_equal(f"nearest{r}", seen, [c for c in stored if c in members])
    for key, first in case.config.items():
        if not key.startswith("paths_first"):
            continue
        number = int(key.rpartition("cluster")[2])
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            content = {"centroids": list(memory.centroids), "inst2cluster": list(memory.assignment)}
            torch.save(content, root / "memory.pth.tar")
            write_training_table(root / "training.csv", table)
            k = wanted[number // 500 - 1]
            found = getKNearestSamples(query, root / "memory.pth.tar", root / "training.csv", number, k)
        log.compare_equal(key, found[: len(first)], first)


def table_row(i: int) -> TrainingVideo:
    """Row i of the table by the rule of the cases."""
    return TrainingVideo(
        f"Name_{i // 3:02d}", "1", f"id1{i // 3:04d}", "fm"[i % 2], "USA", "dev", f"vid{i:08d}"
    )
