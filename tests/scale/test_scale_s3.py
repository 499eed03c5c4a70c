"""Addresses of an object store: packed folders, files and tables at s3://, on a server of this machine."""

import logging

import numpy as np
import pytest
import scale_extras

scale_extras.require("moto", "s3fs", "seeking_shape")

import fsspec  # noqa: E402
import s3fs  # noqa: E402
import torch  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402
from seeking_shape.__main__ import main as seeking_shape  # noqa: E402
from voiceface.__main__ import main as voiceface  # noqa: E402
from voiceface.datasets.corpus import open_corpus  # noqa: E402
from voiceface.embeddings.parts import merge_parts, read_part  # noqa: E402
from voiceface.embeddings.table import EmbeddingTable  # noqa: E402
from voiceface.io.foreign_files import read_file_bytes  # noqa: E402

PEOPLE = "population:tiny?people=4&image_size=32&clip_seconds=1&images=2"


@pytest.fixture(scope="module")
def bucket():
    """Address of an empty bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    values = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    values |= dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "test")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        s3fs.S3FileSystem.clear_instance_cache()
        fsspec.filesystem("s3").mkdir("people")
        yield "s3://people"
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(autouse=True)
def one_thread():
    """The number of threads changes the last bits of a network."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def packed(bucket, tmp_path_factory):
    """The same packed folder here and in the bucket."""
    here = tmp_path_factory.mktemp("packed") / "people"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOICEFACE_HOME", str(tmp_path_factory.mktemp("home")))
        for out in (here, f"{bucket}/packed"):
            assert voiceface(["pack", PEOPLE, "--out", str(out), "--shard-mb", "1"]) == 0
        yield here, f"{bucket}/packed"


def embed(source, out, *words):
    words = ("--workers", "0", "--crop", "never", *words)
    return seeking_shape(["embed", str(source), "--out", str(out), *words])


def names_at(place):
    system = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    return {name: facts["ETag"] for name, facts in system.find(place, detail=True).items()}


def test_a_folder_is_packed_to_a_bucket_and_read_from_it(packed):
    here, there = packed
    stored = {name.removeprefix("people/packed/") for name in names_at(there)}
    assert stored == {path.relative_to(here).as_posix() for path in here.rglob("*") if path.is_file()}
    for split in ("train", "val", "test"):
        corpus, other = open_corpus(there, split), open_corpus(here, split)
        assert corpus.records == other.records
        for item in (corpus.voices[0], corpus.voices[-1]):
            data = [read_file_bytes(each.voice_path(item), ValueError, "a file") for each in (corpus, other)]
            assert data[0] == data[1] and len(data[0]) > 30_000
    before = names_at(there)
    assert voiceface(["pack", PEOPLE, "--out", there, "--shard-mb", "1"]) == 0
    after = names_at(there)
    assert {name: mark for name, mark in after.items() if name.endswith(".tar")} == {
        name: mark for name, mark in before.items() if name.endswith(".tar")
    }


def test_a_packed_bucket_is_embedded_as_the_folder(packed, bucket, tmp_path):
    here, there = packed
    assert embed(there, f"{bucket}/table.parquet", "--relative-to", there) == 0
    assert embed(here, tmp_path / "table.parquet", "--relative-to", str(here)) == 0
    fsspec.filesystem("s3").get(f"{bucket}/table.parquet", str(tmp_path / "remote.parquet"))
    table, other = (EmbeddingTable.load(tmp_path / f"{name}.parquet") for name in ("remote", "table"))
    assert sorted(table.items) == sorted(other.items) and len(table) == 4 * (2 + 2)
    order = [table.items.index(item) for item in other.items]
    np.testing.assert_allclose(table.vectors[order], other.vectors, atol=1e-5)
    assert table.fingerprint == other.fingerprint


def test_files_in_a_bucket_are_embedded_and_runs_go_on(packed, bucket, tmp_path, capsys):
    here, _ = packed
    system = fsspec.filesystem("s3")
    for item in open_corpus(here, "train").voices:
        system.pipe_file(f"{bucket}/talks/{item}", read_file_bytes(here / "wav" / item, ValueError, "a file"))
    system.pipe_file(f"{bucket}/talks/broken.wav", b"RIFF\x10\x00\x00\x00WAVE no sound")
    out = f"{bucket}/voices.parquet"
    assert embed(f"{bucket}/talks", out, "--relative-to", f"{bucket}/talks") == 0
    assert f"{bucket}/talks/broken.wav" in capsys.readouterr().err
    parts = names_at(f"{out}.cache/parts")
    assert len(parts) == 1
    part = read_part(system.cat_file(next(iter(parts))), "the part")
    assert set(part.failed) == {"broken.wav"}
    system.rm(out)
    assert embed(f"{bucket}/talks", out, "--relative-to", f"{bucket}/talks") == 0
    assert names_at(f"{out}.cache/parts") == parts
    system.get(out, str(tmp_path / "voices.parquet"))
    table = EmbeddingTable.load(tmp_path / "voices.parquet")
    assert table.items == merge_parts([part]).items and np.array_equal(table.vectors, part.vectors)


def test_missing_buckets_and_keys_are_told(bucket, tmp_path, capsys):
    for place in ("s3://absent/talks", f"{bucket}/absent"):
        assert embed(place, tmp_path / "t.npz") == 1
        message = capsys.readouterr().err
        assert message.startswith("error: ") and place in message and "Traceback" not in message
    assert not (tmp_path / "t.npz").exists()
