"""Engines without a cluster: units, queue, parts, and files that are brought here."""

import socket
from dataclasses import dataclass
from pathlib import Path

import fsspec
import numpy as np
import pytest
from tar_shards import write_shard
from voiceface.association.shard_embedding import ShardWork
from voiceface.embeddings.columnar import to_parquet
from voiceface.embeddings.parts import merge_parts, read_part, to_part
from voiceface.embeddings.table import EmbeddingError, EmbeddingTable
from voiceface.engines.file_sources import as_location, find_sources, is_address
from voiceface.engines.file_units import FileItem, FileUnit, TarUnit, brought_here, cut_units
from voiceface.engines.interface import LocalEngine, open_engine
from voiceface.engines.parts import PartStore, Rows, name_part, run_parts
from voiceface.engines.units import EngineError, Failure, StoreError, Task, WorkQueue
from voiceface.io.own_files import LeftOut, format_left_out

WAVE = b"RIFF\x24\x00\x00\x00WAVEfmt "
JPEG = b"\xff\xd8\xff\xe0" + bytes(20)


@dataclass(frozen=True)
class Numbers:
    """A unit of numbers."""

    values: tuple[int, ...]

    @property
    def key(self) -> str:
        return repr(self.values)

    def split(self):
        half = len(self.values) // 2
        return [Numbers(self.values[:half]), Numbers(self.values[half:])] if half else []


def to_table(values, failed=None):
    vectors = np.array(values, np.float32).reshape(-1, 1) * np.ones(3, np.float32)
    return EmbeddingTable([f"n{value}" for value in values], vectors, "mark", failed or {})


class Doubling:
    """Factory: rows of twice the numbers; 13 is an error."""

    def __init__(self):
        self.calls = []

    def __call__(self, device):
        return self.run

    def run(self, unit):
        self.calls.append(unit.values)
        if 13 in unit.values:
            raise RuntimeError("thirteen")
        return Rows(to_part(to_table(unit.values)), complete=7 not in unit.values)


def describe_failure(unit, reason):
    return to_part(to_table([], {f"n{value}": reason for value in unit.values}))


def make(units, place, factory=None, **changes):
    store = PartStore(place)
    engine = LocalEngine(progress=False)
    names = run_parts(engine, factory or Doubling(), units, store, "f", describe_failure, **changes)
    return names, merge_parts([read_part(store.read(name), name) for name in names])


def units_of(count, size=4):
    return [Numbers(tuple(range(start, min(start + size, count)))) for start in range(0, count, size)]


# queue


def test_a_unit_whose_worker_dies_is_repeated_then_divided_until_its_item_is_found():
    queue, given_up = WorkQueue([Numbers((1, 2, 3, 4))]), []
    calls = 0
    while queue:
        task = queue.take()
        calls += 1
        if 3 in task.unit.values:
            failure = queue.fail(task, "it died", died=True)
            given_up += [(task.unit.values, failure)] if failure else []
        else:
            queue.succeed()
    assert given_up == [((3,), Failure("it died"))]
    assert calls == 2 + 1 + 2 + 2 + 1  # all twice, (1, 2), (3, 4) twice, (3,) twice, (4,)


def test_work_in_which_nothing_succeeds_ends():
    queue = WorkQueue([Numbers(tuple(range(64)))])
    with pytest.raises(EngineError, match="20 items failed and none succeeded, the last one: no weights"):
        while queue:
            queue.fail(queue.take(), "no weights")


def test_the_local_engine_yields_pieces_of_a_unit_that_fails():
    found = list(LocalEngine(progress=False).map(Doubling(), [Numbers((12, 13))]))
    assert [(task.place, isinstance(result, Failure)) for task, result in found] == [
        ((0,), False),
        ((1,), True),
    ]
    assert found[1][0] == Task(0, (1,), Numbers((13,)))
    assert found[1][1] == Failure("RuntimeError: thirteen")


def test_an_engine_that_is_not_installed_is_told_in_one_sentence(monkeypatch):
    monkeypatch.setattr("voiceface.engines.interface.find_spec", lambda name: None)
    with pytest.raises(
        ModuleNotFoundError, match=r"^the engine ray needs ray: pip install 'voiceface-shared\[ray\]'$"
    ):
        open_engine("ray")


# parts


@pytest.mark.parametrize("scheme", ["", "memory://", "file://"])
def test_parts_are_kept_in_the_order_of_the_units_and_not_made_again(tmp_path, scheme):
    place = f"{scheme}{tmp_path}/parts"
    units = units_of(10)
    names, table = make(units, place)
    assert table.items == [f"n{value}" for value in range(10)]
    assert [name for name in names if not name.startswith("retry-")] == [names[0], names[2]]
    factory = Doubling()
    again, other = make(units, place, factory)
    assert factory.calls == [(4, 5, 6, 7)], "the rest is there; 7 failed for a reason that is not its own"
    assert again == names
    assert np.array_equal(other.vectors, table.vectors)
    assert other.items == table.items


def test_items_that_cannot_be_processed_are_rows_and_tried_again(tmp_path):
    units = units_of(16)
    names, table = make(units, tmp_path)
    assert table.failed == {"n13": "RuntimeError: thirteen"}
    assert len(table) == 15
    assert len(names) == 4 + 2  # (12,), (13,) and (14, 15) in place of one part
    factory = Doubling()
    make(units, tmp_path, factory)
    assert factory.calls == [(4, 5, 6, 7), (12, 13, 14, 15), (12, 13), (13,)]


def test_the_name_of_a_part_states_items_and_fingerprint():
    unit = Numbers((1, 2))
    assert name_part(unit, "a") == name_part(Numbers((1, 2)), "a")
    assert len({name_part(unit, "a"), name_part(unit, "b"), name_part(Numbers((1,)), "a")}) == 3


def test_parts_that_cannot_be_written_end_the_work(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        make(units_of(4), tmp_path / "file" / "parts")


def test_a_part_without_rows_and_one_of_failures_are_read(tmp_path):
    empty = read_part(part_bytes(to_table([])), "empty")
    failed = read_part(part_bytes(to_table([], {"x": "bad"})), "failed")
    assert (len(empty), failed.failed) == (0, {"x": "bad"})
    assert merge_parts([empty, failed, to_table([1])]).items == ["n1"]
    with pytest.raises(EmbeddingError, match="none of 1 files could be encoded: x: bad"):
        merge_parts([empty, failed])


def test_a_damaged_part_is_told():
    data = bytearray(part_bytes(to_table([1, 2])))
    data[40] ^= 1
    with pytest.raises(EmbeddingError, match=r"p\.parquet is damaged"):
        read_part(bytes(data), "p.parquet")
    with pytest.raises(EmbeddingError, match=r"p\.parquet is damaged"):
        read_part(bytes(data[:30]), "p.parquet")


def test_parts_of_other_forms_are_refused():
    import pyarrow as pa
    from voiceface.embeddings.columnar import to_parquet

    good = to_part(to_table([1, 2], {"x": "bad"}))
    for number, (column, values) in enumerate(
        [
            ("reason", pa.array([0, 0, 1])),
            ("reason", pa.array(["", None, "bad"])),
            ("item", pa.array(["a", "b", None])),
            ("reason", pa.array(["", "", ""])),
        ]
    ):
        place = good.column_names.index(column)
        with pytest.raises(EmbeddingError, match=f"part {number} is damaged or no part"):
            read_part(to_parquet(good.set_column(place, column, values)), f"part {number}")
    with pytest.raises(EmbeddingError, match="no part of a table"):
        read_part(to_parquet(good.drop_columns(["item"])), "part")


def test_a_part_is_plain_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet

    path = tmp_path / "part.parquet"
    path.write_bytes(part_bytes(to_table([1, 2], {"x": "bad"})))
    table = pyarrow.parquet.read_table(path)
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 3)
    assert table.column("reason").to_pylist() == ["", "", "bad"]
    assert table.column("embedding").to_pylist()[2] is None
    assert EmbeddingTable.load(path).failed == {"x": "bad"}


def part_bytes(table):
    from voiceface.embeddings.columnar import to_parquet

    return to_parquet(to_part(table))


# files


@pytest.fixture
def remote():
    """Files at an address."""
    system = fsspec.filesystem("memory")
    for name, data in {"a.wav": WAVE, "b/c.JPG": JPEG, "b/n.txt": b"x", "b/.hidden.wav": WAVE}.items():
        system.pipe_file(f"/engines/{name}", data)
    yield "memory://engines"
    system.rm("/engines", recursive=True)


def test_addresses_survive_the_arguments_of_a_command():
    assert as_location(Path("s3://bucket/a b")) == "s3://bucket/a b"
    assert as_location(Path("file:///tmp/a")) == "file:///tmp/a"
    assert as_location(Path("a/b.wav")) == "a/b.wav"
    assert "\ns3://b/x.txt" in format_left_out([LeftOut(Path("s3://b/x.txt"), "is text")])
    assert [is_address(Path(each)) for each in ("gs://b", "x/t-000.tar")] == [True, False]


def test_files_at_addresses_are_told_by_their_endings(remote):
    found = find_sources([Path(remote)])
    assert [item.name for item in found.sounds] == ["memory://engines/a.wav"]
    assert [item.name for item in found.pictures] == ["memory://engines/b/c.JPG"]
    assert [each.reason for each in found.left_out] == [
        "is of unknown kind (.txt), no recording and no picture"
    ]
    with pytest.raises(FileNotFoundError, match="no file or folder at memory://nothing"):
        find_sources([Path("memory://nothing")])
    with pytest.raises(ValueError, match="is not below s3://bucket"):
        find_sources([Path(remote)], Path("s3://bucket"))


def test_files_of_this_machine_are_named_relative_to_a_folder(tmp_path):
    (tmp_path / "a.wav").write_bytes(WAVE)
    write_shard(tmp_path / "t.tar", {"x.wav": WAVE})
    found = find_sources([tmp_path / "a.wav", tmp_path / "t.tar"], tmp_path)
    assert [item.name for item in found.sounds] == ["a.wav", "t.tar/x.wav"]
    assert found.sounds[1].state != found.sounds[0].state
    with brought_here(FileUnit("voice", tuple(found.sounds))) as files:
        assert list(files.paths) == [tmp_path / "a.wav", tmp_path / "t.tar" / "x.wav"], "read where they are"


def test_shards_at_an_address_are_units_whose_files_are_named_as_if_unpacked(remote):
    system = fsspec.filesystem("memory")
    system.pipe_file("/engines/packed/shards.json", b"{}")
    system.pipe_file("/engines/packed/0.tar", b"")
    system.pipe_file("/engines/packed/0.tar.index", b"")
    system.pipe_file("/engines/other/1.tar", b"")
    found = find_sources([Path(remote)], Path("memory://engines"))
    assert [item.name for item in found.archives] == ["other/1.tar", "packed"]
    assert [item.given for item in found.archives] == [
        "memory://engines/other/1.tar",
        "memory://engines/packed",
    ]
    assert len(found.left_out) == 1


def test_files_at_addresses_are_brought_here_and_removed(remote):
    items = [
        *find_sources([Path(remote)]).sounds,
        FileItem("gone", "memory://gone.wav", "memory://gone.wav", ""),
    ]
    with brought_here(FileUnit("voice", tuple(items))) as files:
        (path,) = files.paths
        assert path.name == "a.wav"
        assert path.read_bytes() == WAVE
        assert "memory://gone.wav: cannot be fetched (FileNotFoundError" in files.failed["gone"]
    assert not path.exists()


def test_files_that_a_machine_lacks_are_told_and_tried_again(tmp_path):
    """As on a machine of a cluster that does not see the folder."""
    (tmp_path / "a.wav").write_bytes(WAVE)
    items = find_sources([tmp_path]).sounds
    items.append(FileItem("b.wav", "b.wav", str(tmp_path / "b.wav"), "1"))
    unit = FileUnit("voice", tuple(items))
    with brought_here(unit) as files:
        assert list(files.paths) == [tmp_path / "a.wav"]
        assert f"b.wav: is not there on {socket.gethostname()}" in files.failed["b.wav"]
    work = ShardWork(lambda device: embed_nothing, 3, "mark")
    (tmp_path / "a.wav").unlink()
    rows = work("cpu")(unit)
    assert not rows.complete
    assert len(read_part(to_parquet(rows.table), "part").failed) == 2


def embed_nothing(voices, faces):
    raise AssertionError("there is nothing to embed")


@pytest.mark.parametrize("indexed", [True, False])
def test_files_of_a_shard_are_brought_here_and_damaged_ones_told(tmp_path, indexed):
    path = write_shard(tmp_path / "t.tar", {"p/0.wav": WAVE, "p/0.jpg": JPEG, "p/1.wav": WAVE + b"1"})
    data = bytearray(path.read_bytes())
    data[data.index(WAVE + b"1")] ^= 1
    if indexed:
        path.write_bytes(data)
    else:
        path.with_name("t.tar.index").unlink()
    url = f"file://{path}"
    unit = TarUnit("voice", FileItem("t.tar", url, url, "1"), (".wav",))
    with brought_here(unit) as files:
        named = {item.name: place.read_bytes() for place, item in files.paths.items()}
        if indexed:
            assert named == {"t.tar/p/0.wav": WAVE}
            assert f"{url}: the file p/1.wav is damaged" in files.failed["t.tar/p/1.wav"]
        else:
            assert named == {"t.tar/p/0.wav": WAVE, "t.tar/p/1.wav": WAVE + b"1"}
    assert not any(place.exists() for place in files.paths)
    halves = unit.split()
    assert [(half.start, half.stop) for half in halves] == [(0, 1), (1, 2)]
    assert [half.split() for half in halves] == [[], []]


def test_units_of_files_have_whole_batches_and_distinct_keys():
    items = [FileItem(f"{n}", f"{n}", f"/{n}", "s") for n in range(10)]
    units = cut_units("voice", items, 4)
    assert [len(unit.items) for unit in units] == [4, 4, 2]
    assert len({unit.key for unit in (*units, *cut_units("face", items, 4))}) == 6
    assert [len(half.items) for half in units[0].split()] == [2, 2]
    assert units[2].split()[0].split() == []


def test_a_gallery_is_built_from_a_folder_of_parts(tmp_path, capsys):
    from voiceface.__main__ import main
    from voiceface.embeddings.parts import INDEX_FILE, format_index

    folder, names = tmp_path / "parts", ["b.parquet", "a.parquet", "c.parquet"]
    folder.mkdir()
    tables = [to_table([1, 2]), to_table([], {"x.jpg": "bad"}), to_table([3])]
    for name, table in zip(names, tables):
        named = EmbeddingTable([f"{item}.jpg" for item in table.items], table.vectors, "mark", table.failed)
        (folder / name).write_bytes(part_bytes(named))
    (folder / INDEX_FILE).write_bytes(format_index(names, "mark", 3, ""))
    assert main(["gallery", "build", str(folder), "--out", str(tmp_path / "gallery")]) == 0
    assert "3 items added, 3 items in all" in capsys.readouterr().out
    for words, message in (
        (["--by-folder"], "embed into a table"),
        (["--only", "voices"], "no part has such rows"),
    ):
        assert main(["gallery", "build", str(folder), "--out", str(tmp_path / "other"), *words]) == 1
        assert message in capsys.readouterr().err
    (folder / INDEX_FILE).write_text('{"parts": ["../a"]}')
    assert main(["gallery", "add", str(tmp_path / "gallery"), str(folder)]) == 1
    assert "is no index of parts" in capsys.readouterr().err
