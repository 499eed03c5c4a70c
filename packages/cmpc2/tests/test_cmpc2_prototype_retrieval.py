"""From a query to training videos: order, exclusion, files, and the published function."""

import gzip
from pathlib import Path

import pytest
import torch
from cmpc2.prototype_retrieval import (
    TABLE_HEADER,
    PrototypeRetrievalError,
    TrainingVideo,
    find_clustering,
    getKNearestSamples,
    nearest_videos,
    prototype_distances,
    read_training_table,
    write_training_table,
)
from cmpc2.published import PrototypeMemory, read_prototype_memory
from torch import Tensor
from voiceface.checkpoints.published import CheckpointError

ROWS = 30


def table() -> list[TrainingVideo]:
    return [
        TrainingVideo(f"Name_{i // 3:02d}", "1", f"id{i // 3}", "f", "USA", "dev", f"video{i:06d}")
        for i in range(ROWS)
    ]


def memory(sizes: tuple[int, ...] = (5, 7), seed: int = 0) -> PrototypeMemory:
    torch.manual_seed(seed)
    centroids = [torch.randn(k, 4) for k in sizes]
    return PrototypeMemory(centroids, [torch.arange(ROWS) % k for k in sizes], [])


def query(seed: int = 1) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(1, 4)


def test_distances_are_those_of_unit_vectors() -> None:
    centres, requested = memory().centroids[0], query()
    unit = centres / centres.norm(dim=1, keepdim=True)
    wanted = (requested / requested.norm() - unit).square().sum(1)
    assert torch.allclose(prototype_distances(requested, centres), wanted, atol=1e-6)
    assert torch.allclose(prototype_distances(7 * requested[0], 3 * centres), wanted, atol=1e-6)


def test_all_videos_of_the_nearest_prototypes_and_no_others() -> None:
    known, requested = memory(), query()
    hits = nearest_videos(requested, known, table(), num_clusters=7, k=2)
    nearest = prototype_distances(requested, known.centroids[1]).argsort()[:2].tolist()
    wanted = [i for cluster in nearest for i in range(ROWS) if i % 7 == cluster]
    assert [hit.row for hit in hits] == wanted
    assert [hit.prototype_rank for hit in hits] == sorted(hit.prototype_rank for hit in hits)
    assert (
        hits[0].distance <= hits[-1].distance
        and hits[0].video.image_folder == f"{table()[wanted[0]].identity}/1.6/{table()[wanted[0]].video_id}"
    )


def test_three_orders_of_one_set() -> None:
    known, requested = memory(), query()
    result = {
        order: [
            hit.row for hit in nearest_videos(requested, known, table(), num_clusters=5, k=3, order=order)
        ]
        for order in ("nearest", "round_robin", "table")
    }
    assert sorted(result["nearest"]) == sorted(result["round_robin"]) == result["table"]
    assert result["table"] == sorted(result["table"]) and result["nearest"] != result["table"]
    clusters = [row % 5 for row in result["round_robin"]]
    assert len(set(clusters[:3])) == 3 and clusters[:3] == clusters[3:6]


def test_identity_of_the_query_can_be_excluded() -> None:
    everybody = nearest_videos(query(), memory(), table(), num_clusters=5, k=5)
    assert len(everybody) == ROWS
    for name in ("Name_03", "id3"):
        result = nearest_videos(query(), memory(), table(), num_clusters=5, k=5, exclude=[name])
        assert len(result) == ROWS - 3 and "Name_03" not in {hit.video.identity for hit in result}


def test_nan_prototypes_of_the_published_clustering_are_never_nearest() -> None:
    known = memory()
    known.centroids[0][2] = torch.nan
    result = nearest_videos(query(), known, table(), num_clusters=5, k=4)
    assert 2 not in {hit.cluster for hit in result} and len({hit.cluster for hit in result}) == 4


def test_clusterings_are_found_by_size_or_by_the_published_number() -> None:
    known = memory((5, 7, 9))
    assert [find_clustering(known, n) for n in (5, 7, 9, 500, 1000, 1500)] == [0, 1, 2, 0, 1, 2]
    with pytest.raises(PrototypeRetrievalError, match=r"of 2000 clusters.*available: 5, 7, 9"):
        find_clustering(known, 2000)


def test_incompatible_parts_are_refused() -> None:
    with pytest.raises(PrototypeRetrievalError, match="30 training videos, the table 29"):
        nearest_videos(query(), memory(), table()[1:], num_clusters=5)
    with pytest.raises(PrototypeRetrievalError, match="1 to 5 prototypes, found k = 6"):
        nearest_videos(query(), memory(), table(), num_clusters=5, k=6)
    with pytest.raises(PrototypeRetrievalError, match=r"length 4, found shape \(1, 5\)"):
        nearest_videos(torch.zeros(1, 5), memory(), table(), num_clusters=5)
    with pytest.raises(PrototypeRetrievalError, match=r"found shape \(2, 4\)"):
        nearest_videos(torch.zeros(2, 4), memory(), table(), num_clusters=5)


def test_published_function_reads_the_published_files(tmp_path: Path) -> None:
    known = memory()
    content = {"centroids": list(known.centroids), "inst2cluster": list(known.assignment), "Dist": [1, 2]}
    torch.save(content, tmp_path / "frame_memory_best_256.pth.tar")
    write_training_table(tmp_path / "training.csv", table())
    result = getKNearestSamples(
        query(),
        str(tmp_path / "frame_memory_best_256.pth.tar"),
        str(tmp_path / "training.csv"),
        cluster=500,
        K=2,
    )
    hits = nearest_videos(query(), known, table(), num_clusters=5, k=2, order="table")
    assert result == [hit.video.image_folder for hit in hits] and result[0].count("/1.6/") == 1


def test_tables_may_be_compressed_and_corrupt_lines_are_named(tmp_path: Path) -> None:
    write_training_table(tmp_path / "a.csv", table())
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    assert read_training_table(tmp_path / "a.csv.gz") == table()
    (tmp_path / "b.csv").write_text("name,video\nx,y\n")
    with pytest.raises(PrototypeRetrievalError, match=r"b\.csv, line 1: header 'name,video'"):
        read_training_table(tmp_path / "b.csv")
    (tmp_path / "c.csv").write_text((tmp_path / "a.csv").read_text() + "short,row\n")
    with pytest.raises(PrototypeRetrievalError, match="line 32: 2 cells, expected 7"):
        read_training_table(tmp_path / "c.csv")
    with pytest.raises(FileNotFoundError):
        read_training_table(tmp_path / "d.csv")


def test_incompatible_memories_are_refused(tmp_path: Path) -> None:
    for content, output in (
        ({"a": torch.zeros(1)}, "expected centroids and inst2cluster"),
        ({"centroids": [torch.zeros(2, 3)], "inst2cluster": [torch.tensor([0, 2])]}, "do not match"),
        ({"centroids": [torch.zeros(2, 3)], "inst2cluster": []}, "do not match"),
        ({"centroids": [], "inst2cluster": []}, "do not match"),
        ({"centroids": [torch.zeros(2)], "inst2cluster": [torch.tensor([0])]}, "do not match"),
    ):
        torch.save(content, tmp_path / "m.pth.tar")
        with pytest.raises(CheckpointError, match=output):
            read_prototype_memory(tmp_path / "m.pth.tar")


@pytest.mark.parametrize(
    "row, reason",
    [
        ("..,1,id1,f,,dev,v", "line 2, identity: '..' is not the name of a folder"),
        ("../../etc,1,id1,f,,dev,v", "line 2, identity"),
        ("/etc,1,id1,f,,dev,v", "line 2, identity"),
        (",1,id1,f,,dev,v", "line 2, identity: empty"),
        ("A,1,id1,f,,dev,", "line 2, video_id: empty"),
        ("A,1,id1,f,,dev,../..", "line 2, video_id"),
        ("A,1,..,f,,dev,v", "line 2, voice_id"),
        ("A,1,id1,f,,dev", "line 2: 6 cells, expected 7"),
        ('A,1,id1,f,,dev,"v', "line 2: not a table"),
    ],
)
def test_rows_that_leave_the_data_folder_are_refused(tmp_path, row, reason):
    path = tmp_path / "training.csv"
    path.write_text(",".join(TABLE_HEADER) + f"\n{row}\n")
    with pytest.raises(PrototypeRetrievalError, match=rf"training\.csv, {reason}"):
        read_training_table(path)


def test_tables_in_other_encodings_are_read_or_refused(tmp_path):
    path, text = tmp_path / "training.csv", ",".join(TABLE_HEADER) + "\nZo\u00eb,1,id1,f,,dev,v\n\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_bytes(text.encode(encoding))
        assert read_training_table(path)[0].identity == "Zo\u00eb"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(PrototypeRetrievalError, match=r"training\.csv is not UTF-8"):
        read_training_table(path)
