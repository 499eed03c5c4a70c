"""Embedding tables on disk, and the cache that encodes every file once."""

import os
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
import torch
from voiceface.embeddings.encoding import encode_files
from voiceface.embeddings.table import EmbeddingError, EmbeddingTable


@pytest.fixture
def folder(tmp_path):
    """Twenty small files of two lengths and one that cannot be read."""
    root = tmp_path / "files"
    root.mkdir()
    for number in range(20):
        (root / f"{number:02}.bin").write_bytes(bytes(range(number, number + 4 + number % 2)))
    return root


class Model:
    """Sum and spread of the bytes; counts what it is given."""

    def __init__(self):
        self.loaded, self.batches = [], []

    def load(self, path):
        self.loaded.append(path.name)
        data = path.read_bytes()
        if data.startswith(b"bad"):
            raise ValueError(f"{path.name} is no recording")
        return np.frombuffer(data, np.uint8).astype(np.float32)

    def encode(self, batch):
        self.batches.append(tuple(batch.shape))
        return torch.stack([batch.sum(1), batch.mean(1), batch[:, 0]], dim=1)


def run(folder, model, items=None, **options):
    items = items or sorted(path.name for path in folder.iterdir())
    options = {"fingerprint": "abc", "cache_dir": folder.parent / "cache", "batch_size": 4} | options
    return encode_files(items, folder.joinpath, model.load, model.encode, progress=False, **options)


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".arrow", ".feather"])
def test_tables_come_back_and_have_equal_bytes(tmp_path, suffix):
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    table = EmbeddingTable(["id1/ä/0.wav", "b", "c", "d", "e"], vectors, "f1")
    for name in ("one", "two"):
        table.save(tmp_path / (name + suffix))
    again = EmbeddingTable.load(tmp_path / ("one" + suffix))
    assert (again.items, again.fingerprint) == (table.items, "f1")
    assert np.array_equal(again.vectors, vectors) and again.vectors.dtype == np.float32
    assert (tmp_path / ("one" + suffix)).read_bytes() == (tmp_path / ("two" + suffix)).read_bytes()
    data = (tmp_path / ("one" + suffix)).read_bytes()
    (tmp_path / ("cut" + suffix)).write_bytes(data[: len(data) // 2])
    with pytest.raises(EmbeddingError, match="cut"):
        EmbeddingTable.load(tmp_path / ("cut" + suffix))


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".arrow", ".feather"])
def test_no_changed_byte_of_a_table_passes(tmp_path, suffix):
    vectors = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    table, path = EmbeddingTable([f"id/{n}.wav" for n in range(6)], vectors, "f1"), tmp_path / ("t" + suffix)
    table.save(path)
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :])
        try:
            again = EmbeddingTable.load(path)
        except EmbeddingError as error:
            assert f"t{suffix}" in str(error)
        else:  # a byte that says nothing, such as the version of the program that wrote an archive
            assert again.items == table.items and np.array_equal(again.vectors, vectors), place
            assert suffix == ".npz" or again.fingerprint == "f1"


ROWS = np.arange(6.0).reshape(3, 2)
FOREIGN_COLUMNS = {
    "pandas": pa.table({"item": ["a", "b", "c"], "embedding": pa.array(ROWS.tolist())}),
    "polars": pa.table(
        {
            "path": pa.array(["a", "b", "c"], pa.large_string()),
            "vector": pa.array(ROWS.tolist(), pa.large_list(pa.float32())),
            "age": [1, 2, 3],
        }
    ),
    "views": pa.table(
        {
            "file": pa.array(["a", "b", "c"], pa.string_view()),
            "embeddings": pa.array(ROWS.tolist(), pa.list_view(pa.float16())),
        }
    ),
    "categories": pa.table(
        {
            "name": pa.array(["a", "b", "c"]).dictionary_encode(),
            "features": pa.array(ROWS.astype(int).tolist()),
        }
    ),
    "fixed": pa.table(
        {"id": ["a", "b", "c"], "embedding": pa.array(ROWS.tolist(), pa.list_(pa.float64(), 2))}
    ).slice(0, 3),
}


@pytest.mark.parametrize("name", FOREIGN_COLUMNS)
@pytest.mark.parametrize("form", ["parquet", "file", "stream"])
def test_tables_of_other_programs(tmp_path, name, form):
    table, path = FOREIGN_COLUMNS[name], tmp_path / ("t.parquet" if form == "parquet" else "t.arrow")
    if form == "parquet":
        if name == "views":
            pytest.skip("list views are not stored in Parquet files")
        pyarrow.parquet.write_table(table, path, row_group_size=2)
    else:
        with (pa.ipc.new_file if form == "file" else pa.ipc.new_stream)(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    found = EmbeddingTable.load(path)
    assert found.items == ["a", "b", "c"] and found.fingerprint == ""
    assert found.vectors.tolist() == ROWS.tolist() and found.vectors.flags.writeable


@pytest.mark.parametrize(
    "columns, reason",
    [
        ({"x": ["a"]}, "expected a column item"),
        ({"item": ["a"]}, "expected a column embedding"),
        ({"item": ["a", None], "embedding": [[1.0], [2.0]]}, "1 empty cells"),
        ({"item": ["a", "b"], "embedding": [[1.0], None]}, "1 empty cells"),
        ({"item": ["a", "b"], "embedding": [[1.0], [2.0, 3.0]]}, "row 1 has 2 numbers, the first 1"),
        ({"item": ["a"], "embedding": [[None, 1.0]]}, "1 empty numbers"),
        ({"item": ["a"], "embedding": [["x"]]}, "expected lists of numbers"),
        ({"item": ["a"], "embedding": [1.0]}, "expected lists of numbers"),
        ({"item": [0.5], "embedding": [[1.0]]}, "expected text"),
        ({"item": ["a"], "embedding": [[float("nan")]]}, "the vector of 'a' is not finite"),
        ({"item": ["a", "a"], "embedding": [[1.0], [2.0]]}, "more than once"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, columns, reason):
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pa.table(columns), path)
    with pytest.raises(EmbeddingError, match=rf"t\.parquet.*{reason}"):
        EmbeddingTable.load(path)


def test_arrow_offsets_beyond_the_data_are_refused(tmp_path):
    """They take down the interpreter when they are converted unchecked."""
    table, path = pa.table({"item": ["a", "b"], "embedding": [[1.0], [2.0]]}), tmp_path / "t.arrow"
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    data, offsets = path.read_bytes(), np.array([0, 1, 2], np.int32)
    assert data.count(offsets.tobytes()) == 2  # of the names and of the lists
    path.write_bytes(data.replace(offsets.tobytes(), np.array([0, 1, 2**30], np.int32).tobytes(), 1))
    with pytest.raises(EmbeddingError, match=r"t\.arrow is corrupt.*offset"):
        EmbeddingTable.load(path)


def test_table_rows_and_means():
    table = EmbeddingTable(["a", "b", "c"], np.array([[2, 0], [0, 5], [0, 0]], np.float32))
    assert table.row_indices(["c", "a"]).tolist() == [2, 0]
    assert table.row_indices(["x", "b"], "mark").tolist() == [-1, 1]
    assert "a" in table and "x" not in table
    assert table.group_means([["a", "b"]]) == pytest.approx(np.full((1, 2), 0.5**0.5))
    with pytest.raises(EmbeddingError, match="1 of 2 items have no embedding, the first is x"):
        table.row_indices(["a", "x"])
    with pytest.raises(EmbeddingError, match="more than once"):
        EmbeddingTable(["a", "a"], np.zeros((2, 1), np.float32))
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz"):
        EmbeddingTable.load("nowhere.npz")


def test_items_common_to_two_tables_keep_the_order_of_the_other():
    table = EmbeddingTable(["a", "b", "c"], np.eye(3, dtype=np.float32), "x")
    other = EmbeddingTable(["c", "d", "a"], np.zeros((3, 2), np.float32), "y")
    common = table.take_common(other)
    assert list(common.items) == ["c", "a"] and common.fingerprint == "x"
    np.testing.assert_array_equal(common.vectors, [[0, 0, 1], [1, 0, 0]])


def test_every_file_is_encoded_once(folder):
    model = Model()
    names = sorted(path.name for path in folder.iterdir())
    table = run(folder, model, names + names[:7])
    assert table.items == names and sorted(model.loaded) == names
    assert table.vectors[3].tolist() == [3 + 4 + 5 + 6 + 7, 5, 3]
    again = Model()
    assert np.array_equal(run(folder, again, names).vectors, table.vectors)
    assert not again.loaded
    run(folder, again, names, fingerprint="another model / v2")
    assert len(again.loaded) == 20


def test_a_changed_file_is_encoded_again(folder):
    run(folder, Model())
    (folder / "05.bin").write_bytes(b"zzzzz")
    os.utime(folder / "06.bin", ns=(1, 1))
    model = Model()
    table = run(folder, model)
    assert sorted(model.loaded) == ["05.bin", "06.bin"]
    assert table.vectors[5].tolist() == [5 * 122, 122, 122]
    run(folder, Model(), cache_key="content")
    os.utime(folder / "07.bin", ns=(1, 1))
    model = Model()
    run(folder, model, cache_key="content")
    assert not model.loaded


def test_failures_are_all_reported(folder):
    (folder / "03.bin").write_bytes(b"bad")
    (folder / "11.bin").write_bytes(b"bad!")
    names = sorted(path.name for path in folder.iterdir())
    with pytest.raises(EmbeddingError, match="3 of 21 files") as caught:
        run(folder, Model(), [*names, "lost.bin"])
    assert set(caught.value.failures) == {"03.bin", "11.bin", "lost.bin"}
    assert "no recording" in caught.value.failures["03.bin"]
    model = Model()
    table = run(folder, model, [*names, "lost.bin"], on_error="skip")
    assert sorted(model.loaded) == ["03.bin", "11.bin"]  # the others were kept
    assert len(table) == 18 and set(table.failed) == {"03.bin", "11.bin", "lost.bin"}
    with pytest.raises(EmbeddingError, match="none of 1 files"):
        run(folder, Model(), ["03.bin"], on_error="skip")


def test_embeddings_with_nan_are_failures(folder):
    with pytest.raises(EmbeddingError, match="NaN"):
        encode_files(
            ["00.bin"],
            folder.joinpath,
            Model().load,
            lambda x: x * float("nan"),
            fingerprint="x",
            progress=False,
        )


def test_a_corrupt_shard_is_encoded_again(folder, caplog):
    first = run(folder, Model(), shard_size=8)
    shards = sorted((folder.parent / "cache" / "abc").iterdir())
    assert len(shards) == 3
    shards[0].write_bytes(shards[0].read_bytes()[:50])
    model = Model()
    assert np.array_equal(run(folder, model, shard_size=8).vectors, first.vectors)
    assert len(model.loaded) in (4, 8)
    assert "corrupt" in caplog.text


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np, torch
from voiceface.embeddings.encoding import encode_files

def encode_all(folder, cache, out, stop=0):
    weights = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    seen = []
    def load(path):
        return np.resize(np.frombuffer(path.read_bytes(), np.uint8), 64).astype(np.float32)
    def encode(batch):
        seen.append(len(batch))
        if len(seen) == stop:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.tanh(batch @ weights / 1000)
    items = sorted(path.name for path in folder.iterdir())
    rule = {"fingerprint": "f", "cache_dir": cache, "batch_size": 3, "shard_size": 6, "progress": False}
    encode_files(items, folder.joinpath, load, encode, **rule).save(out)
    return len(seen)

if __name__ == "__main__":
    encode_all(Path(sys.argv[1]), sys.argv[2], sys.argv[3], stop=4)
"""


def test_killed_and_resumed_gives_the_same_bytes(folder, tmp_path):
    names = {"__name__": "here"}
    exec(KILLED, names)
    encode_all = names["encode_all"]
    (tmp_path / "killed.py").write_text(KILLED)
    words = [sys.executable, tmp_path / "killed.py", folder, tmp_path / "cache", tmp_path / "cut.npz"]
    ended = subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert ended.returncode == -signal.SIGKILL and not (tmp_path / "cut.npz").exists()
    assert encode_all(folder, tmp_path / "cache", tmp_path / "cut.npz") == 5  # two of seven batches were kept
    assert encode_all(folder, tmp_path / "other", tmp_path / "whole.npz") == 7
    assert (tmp_path / "whole.npz").read_bytes() == (tmp_path / "cut.npz").read_bytes()


def test_length_of_a_mean_turns_its_cosine_into_the_mean_cosine():
    vectors = np.random.default_rng(3).normal(size=(6, 5)).astype(np.float32)
    table = EmbeddingTable(list("abcdef"), vectors, "f")
    groups, query = [list("abc"), list("d"), list("ef")], np.ones(5, np.float32) / np.sqrt(5)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = [(unit[table.row_indices(group)] @ query).mean() for group in groups]
    lengths = table.mean_resultant_lengths(groups)
    np.testing.assert_allclose(table.group_means(groups) @ query * lengths, expected, atol=1e-6)
    assert lengths[1] == pytest.approx(1)
