"""Shards: samples of a tar archive with and without its index, here and at an address; damage is named."""

import io
import pickle
import tarfile

import fsspec
import pytest
from tar_shards import write_shard
from voiceface.io.shard_index import INDEX_SUFFIX, split_key
from voiceface.io.shards import ShardError, open_shard

LONG = "wav/" + "folder/" * 30 + "clip"
FILES = {
    "wav/a/1.wav": b"first" * 300,
    "wav/a/1.json": b"{}",
    "wav/a/2.seg.wav": b"",
    f"{LONG}.wav": bytes(range(256)) * 5,
    "faces/\u00c9va/1.jpg": b"\xff\xd8",
}
SAMPLES = [
    ("wav/a/1", {"wav": FILES["wav/a/1.wav"], "json": b"{}"}),
    ("wav/a/2", {"seg.wav": b""}),
    (LONG, {"wav": FILES[f"{LONG}.wav"]}),
    ("faces/\u00c9va/1", {"jpg": b"\xff\xd8"}),
]


@pytest.fixture
def shard_path(tmp_path):
    return write_shard(tmp_path / "x.tar", FILES)


def test_a_shard_gives_samples_in_order_by_number_and_by_name(shard_path):
    with open_shard(shard_path) as shard:
        assert len(shard) == 4
        assert list(shard.iterate()) == SAMPLES
        assert list(shard.iterate(1, 3)) == SAMPLES[1:3]
        assert [shard[number] for number in (3, 0, -2)] == [SAMPLES[3], SAMPLES[0], SAMPLES[2]]
        assert shard.keys == [key for key, _ in SAMPLES]
        assert shard.read_file("wav/a/1.json") == b"{}"
        assert list(pickle.loads(pickle.dumps(shard)).iterate()) == SAMPLES


def test_an_ordinary_tar_program_reads_the_archive(shard_path):
    with tarfile.open(shard_path) as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive}
    assert found == FILES


def test_archives_of_others_are_read_without_an_index(tmp_path):
    path = tmp_path / "other.tar"
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with tarfile.open(path, "w", format=form) as archive:
            archive.addfile(_info("wav", type=tarfile.DIRTYPE))
            for name, data in FILES.items():
                archive.addfile(_info(name, size=len(data), mtime=1.5), io.BytesIO(data))
        assert list(open_shard(path).iterate()) == SAMPLES


@pytest.mark.parametrize("with_index", [True, False])
def test_a_shard_at_an_address_gives_the_same(shard_path, with_index):
    memory = fsspec.filesystem("memory")
    url = f"memory://test_shards_{with_index}/x.tar"
    memory.pipe_file(url, shard_path.read_bytes())
    if with_index:
        memory.pipe_file(url + INDEX_SUFFIX, shard_path.with_name("x.tar.index").read_bytes())
    shard = open_shard(url)
    assert list(shard.iterate()) == [shard[number] for number in range(4)] == SAMPLES
    assert list(shard.iterate(2)) == SAMPLES[2:]
    memory.pipe_file(url, shard_path.read_bytes().replace(b"first", b"farst"))
    if with_index:
        with pytest.raises(ShardError, match=r"x\.tar: the file wav/a/1\.wav is damaged.*voiceface pack"):
            next(shard.iterate())
    with pytest.raises(FileNotFoundError, match="absent"):
        open_shard("memory://test_shards/absent.tar")


def test_damage_is_named_by_shard_and_file(shard_path):
    shard_path.write_bytes(shard_path.read_bytes().replace(b"first", b"farst", 1))
    shard = open_shard(shard_path)
    with pytest.raises(ShardError, match=r"x\.tar: the file wav/a/1\.wav is damaged.*voiceface pack"):
        shard.read(0)
    assert shard.read(1) == SAMPLES[1]


def test_a_wrong_size_and_a_damaged_index_are_refused_at_opening(shard_path):
    whole, index = shard_path.read_bytes(), shard_path.with_name("x.tar.index")
    shard_path.write_bytes(whole[:-512])
    with pytest.raises(ShardError, match=r"x\.tar is corrupt.*pack the data again"):
        open_shard(shard_path)
    shard_path.write_bytes(whole)
    stored = index.read_bytes()
    for damaged in (stored[:-1], stored[:70] + b"\xff" + stored[71:], b"", b"PK" + stored[2:]):
        index.write_bytes(damaged)
        with pytest.raises(ShardError, match=r"x\.tar\.index is no index of a shard, or damaged"):
            open_shard(shard_path)


@pytest.mark.parametrize(
    ("name", "fields", "finding"),
    [
        ("../a.wav", {}, "leaves its folder"),
        ("a/../../b.wav", {}, "leaves its folder"),
        ("/etc/passwd", {}, "absolute"),
        ("C:/a.wav", {}, "absolute"),
        ("a\\b.wav", {}, "backslash"),
        ("a.wav", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "symbolic link"),
        ("a.wav", {"type": tarfile.LNKTYPE, "linkname": "b.wav"}, "hard link"),
        ("a.wav", {"type": tarfile.CHRTYPE}, "a device"),
        ("a.wav", {"type": tarfile.FIFOTYPE}, "named pipe"),
        ("a.wav", {"type": tarfile.GNUTYPE_SPARSE}, "sparse"),
        ("a.wav", {"size": 2**40}, "more than the archive"),
        ("a.wav", {"pax_headers": {"GNU.sparse.major": "1"}}, "sparse"),
        ("a.wav", {"pax_headers": {"linkpath": "/etc/passwd"}}, "links are refused"),
        ("a.wav", {"pax_headers": {"path": "../a.wav"}}, "leaves its folder"),
    ],
)
def test_entries_that_could_do_harm_are_refused(tmp_path, name, fields, finding):
    path = tmp_path / "x.tar"
    header = _info(name, **fields).tobuf(
        tarfile.PAX_FORMAT if "pax_headers" in fields else tarfile.GNU_FORMAT
    )
    path.write_bytes(header + bytes(2048))
    with pytest.raises(ShardError, match=finding):
        open_shard(path)


def test_two_files_of_one_name_and_an_archive_without_an_end_are_refused(tmp_path):
    path = tmp_path / "x.tar"
    path.write_bytes(_info("a.wav").tobuf() * 2 + bytes(1024))
    with pytest.raises(ShardError, match="another member has it"):
        open_shard(path)
    path.write_bytes(_info("a.wav").tobuf())
    with pytest.raises(ShardError, match="without an end mark"):
        open_shard(path)
    path.write_bytes(b"no archive" * 200)
    with pytest.raises(ShardError, match="header at byte 0 is damaged"):
        open_shard(path)


def test_keys_end_at_the_first_dot_of_the_last_part():
    names = ["a.b/c.wav", "a/.hidden", "a/plain", "x.tar.gz"]
    assert [split_key(name) for name in names] == [
        ("a.b/c", "wav"),
        ("a/.hidden", ""),
        ("a/plain", ""),
        ("x", "tar.gz"),
    ]


def _info(name, **fields):
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info
