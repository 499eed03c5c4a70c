"""Addresses of other stores, on servers of this machine: gs:// on an emulator, http:// of a folder."""

import functools
import http.server
import os
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import scale_extras

scale_extras.require("gcp_storage_emulator", "gcsfs", "aiohttp", "seeking_shape")
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks another service about every bucket

import fsspec  # noqa: E402
import torch  # noqa: E402
from gcp_storage_emulator.server import create_server  # noqa: E402
from seeking_shape.__main__ import main as seeking_shape  # noqa: E402
from voiceface.__main__ import main as voiceface  # noqa: E402
from voiceface.datasets.corpus import open_corpus  # noqa: E402
from voiceface.embeddings.table import EmbeddingTable  # noqa: E402
from voiceface.engines.file_sources import find_sources  # noqa: E402
from voiceface.io.foreign_files import read_file_bytes  # noqa: E402

PEOPLE = "population:tiny?people=4&image_size=32&clip_seconds=1&images=2"


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """No line for each request."""


@pytest.fixture
def bucket(monkeypatch):
    """Address of an empty bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket="people")
    server.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    kind = fsspec.get_filesystem_class("gs")
    kind.clear_instance_cache()
    yield "gs://people"
    kind.clear_instance_cache()
    server.stop()


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """A packed folder of this machine; networks on one thread, whose number changes the last bits."""
    torch.set_num_threads(1)
    monkeypatch.setenv("VOICEFACE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "www" / "packed"
    assert voiceface(["pack", PEOPLE, "--out", str(folder), "--shard-mb", "1"]) == 0
    return folder


@pytest.fixture
def site(packed):
    """Address of the folder above the packed one, on a web server."""
    handler = functools.partial(QuietHandler, directory=str(packed.parent))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def embed(source, out):
    words = ("--relative-to", str(source), "--workers", "0", "--crop", "never")
    return seeking_shape(["embed", str(source), "--out", str(out), *words])


def assert_embedded_as_the_folder(path, packed):
    assert embed(packed, packed.parent / "table.parquet") == 0
    table, other = EmbeddingTable.load(path), EmbeddingTable.load(packed.parent / "table.parquet")
    assert sorted(table.items) == sorted(other.items) and len(table) == 4 * (2 + 2)
    order = [table.items.index(item) for item in other.items]
    np.testing.assert_allclose(table.vectors[order], other.vectors, atol=1e-5)


def assert_read_as_the_folder(there, packed):
    corpus, other = open_corpus(there, "train"), open_corpus(packed, "train")
    assert corpus.records == other.records
    paths = [each.voice_path(other.voices[0]) for each in (corpus, other)]
    assert len({read_file_bytes(path, ValueError, "a file") for path in paths}) == 1


def test_a_folder_is_packed_to_google_storage_read_and_embedded(bucket, packed, tmp_path):
    there, out = f"{bucket}/packed", f"{bucket}/table.parquet"
    assert voiceface(["pack", PEOPLE, "--out", there, "--shard-mb", "1"]) == 0
    assert_read_as_the_folder(there, packed)
    for _ in range(2):
        assert embed(there, out) == 0
    store, path = fsspec.core.url_to_fs(out)
    store.get_file(path, str(tmp_path / "there.parquet"))
    assert_embedded_as_the_folder(tmp_path / "there.parquet", packed)
    assert len(store.find(f"{path}.cache/parts")) == 6, "voices and faces of three archives"


def test_a_folder_of_a_web_server_is_read_and_embedded(site, packed, tmp_path):
    assert_read_as_the_folder(f"{site}/packed", packed)
    assert embed(f"{site}/packed", tmp_path / "there.parquet") == 0
    assert_embedded_as_the_folder(tmp_path / "there.parquet", packed)


def test_loose_files_of_a_web_server_are_found_with_their_states(site, packed):
    talks = packed.parent / "talks" / "sub"
    talks.mkdir(parents=True)
    (talks / "a.wav").write_bytes(b"RIFF")
    (talks.parent / "notes.txt").write_bytes(b"text")
    for place in (f"{site}/talks", f"{site}/talks/"):
        (item,) = find_sources([Path(place)], Path(f"{site}/talks")).sounds
        assert (item.name, item.source) == ("sub/a.wav", f"{site}/talks/sub/a.wav")
    (talks / "a.wav").write_bytes(b"RIFF 2")
    assert find_sources([Path(item.source)]).sounds[0].state.startswith("6 ")
    assert item.state.startswith("4 ") and "GMT" in item.state
    with pytest.raises(OSError, match="absent"):
        find_sources([Path(f"{site}/absent")])
