"""Validation that two processes share: the table of one process, bit for bit, on both."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from voiceface.embeddings.encoding import encode_files
from voiceface.embeddings.sharing import embed_in_shares, own_share
from voiceface.embeddings.table import EmbeddingError, EmbeddingTable
from voiceface.runtime import distributed
from voiceface.testing.processes import in_two_processes


def embed(items: list[str], folder: Path, **options: object) -> EmbeddingTable:
    """Embed files of numbers by a small network, three at a time."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(7, 33), nn.Tanh(), nn.Linear(33, 5))

    def encode(rows: Tensor) -> Tensor:
        return network(rows)

    options = {"fingerprint": "x", "batch_size": 3, "workers": 0, "progress": False, **options}
    return encode_files(items, lambda item: folder / item, np.load, encode, **options)  # type: ignore[arg-type]


def share(folder: Path, items: list[str], on_error: str) -> None:
    """One of two processes embeds its share and writes what it got."""
    rank, _, _ = distributed.initialise("cpu")
    torch.set_num_threads(1)
    calls: list[list[str]] = []

    def embed_own(own: list[str], **options: object) -> EmbeddingTable:
        calls.append(own)
        return embed(own, folder, **options)

    found: object
    try:
        found = embed_in_shares(embed_own, items, 3, on_error=on_error)
    except EmbeddingError as error:
        found = str(error)
    (folder / f"result{rank}").write_bytes(pickle.dumps((found, calls)))
    distributed.shutdown()


@pytest.fixture
def items(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(0)
    names = [f"{number}.npy" for number in range(11)]
    for name in names:
        np.save(tmp_path / name, rng.standard_normal(7).astype(np.float32))
    return [*names, names[0]]


def results(folder: Path) -> list[tuple[object, list[list[str]]]]:
    return [pickle.loads((folder / f"result{rank}").read_bytes()) for rank in range(2)]


def test_shares_give_the_table_of_one_process(tmp_path: Path, items: list[str]) -> None:
    torch.set_num_threads(1)
    whole = embed(items, tmp_path)
    in_two_processes(share, tmp_path, items, "error")
    (first, own), (second, others) = results(tmp_path)
    assert [len(each) for each in own + others] == [6, 5]  # whole batches, none twice
    for table in (first, second):
        assert isinstance(table, EmbeddingTable) and table.items == whole.items
        assert table.vectors.tobytes() == whole.vectors.tobytes() and table.fingerprint == "x"


def test_failed_files_of_one_process_are_known_to_both(tmp_path: Path, items: list[str]) -> None:
    (tmp_path / "7.npy").write_bytes(b"no array")
    in_two_processes(share, tmp_path, items, "skip")
    for table, _ in results(tmp_path):
        assert isinstance(table, EmbeddingTable) and list(table.failed) == ["7.npy"] and len(table) == 10
    in_two_processes(share, tmp_path, items, "error")
    for message, _ in results(tmp_path):
        assert str(message).startswith("1 of 11 files could not be encoded (7.npy: ")


def test_share_without_a_readable_file(tmp_path: Path, items: list[str]) -> None:
    for number in range(6):
        (tmp_path / f"{number}.npy").unlink()
    in_two_processes(share, tmp_path, items, "skip")
    for table, _ in results(tmp_path):
        assert isinstance(table, EmbeddingTable) and table.items == items[6:11] and len(table.failed) == 6


@pytest.mark.parametrize(("count", "processes"), [(11, 2), (3, 4), (0, 2), (12, 3), (1, 1)])
def test_shares_are_whole_batches_in_order(
    monkeypatch: pytest.MonkeyPatch, count: int, processes: int
) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: processes)
    found: list[int] = []
    for rank in range(processes):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        part = range(count)[own_share(count, 3)]
        assert len(part) % 3 == 0 or part[-1] == count - 1
        found += part
    assert found == list(range(count))
