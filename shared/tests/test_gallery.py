"""Exact galleries: the contract, joined segments, crashes, damaged files, several processes, the commands."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from voiceface.__main__ import main
from voiceface.commands import gallery as gallery_command
from voiceface.embeddings.table import EmbeddingTable
from voiceface.gallery import GalleryError, create_gallery, exact, is_gallery, open_gallery
from voiceface.gallery.places import ENGINES, parse_address
from voiceface.gallery.tables import read_files, rows_of_table, select_modality
from voiceface.io.file_facts import FileFacts
from voiceface.metrics import nearest
from voiceface.testing.contracts.galleries import GalleryContract, cosines, sample_vectors


class TestExact(GalleryContract):
    engine = "exact"


def test_blocks_and_threads_do_not_change_scores(monkeypatch):
    vectors = torch.nn.functional.normalize(torch.randn(3000, 16, generator=torch.manual_seed(0)), dim=1)
    vectors[2000:2010] = vectors[5]  # copies of a row tie, and stand in their order
    queries = vectors[:200]
    alive = torch.ones(3000, dtype=torch.bool)
    alive[7] = False
    parts = [vectors[:100], vectors[100:1500], vectors[1500:1500], vectors[1500:]]
    scores, rows = nearest.nearest_rows(queries, parts, 12, alive)
    assert rows[5, :11].tolist() == [5, *range(2000, 2010)]
    assert (scores[5, :11] == scores[5, 0]).all()
    assert not (rows == 7).any()
    expected = (queries.double() @ vectors.double().T).masked_fill(~alive, -2)
    assert torch.allclose(scores, expected.topk(12).values, atol=1e-12)
    monkeypatch.setattr(nearest, "SCORES", 2**12)
    monkeypatch.setattr(nearest, "QUERY_BLOCK", 7)
    again = nearest.nearest_rows(queries, [vectors], 12, alive)
    assert torch.equal(again[0], scores) and torch.equal(again[1], rows)


def test_segments_are_joined_and_large_ones_stay(tmp_path, monkeypatch):
    vectors = sample_vectors(400)
    monkeypatch.setattr(exact, "JOINED_BYTES", 100 * vectors[0].nbytes)
    with create_gallery(tmp_path / "g", vectors.shape[1]) as gallery:
        for start in range(0, 400, 8):
            gallery.add([f"i{row}" for row in range(start, start + 8)], vectors[start : start + 8])
        assert gallery.describe()["segments"] < 9
        assert len(list((tmp_path / "g").glob("*.npy"))) == 4 * gallery.describe()["segments"]
        found = gallery.search(vectors[:3], 400)
        order = np.argsort(-cosines(vectors[:3], vectors), axis=1, kind="stable")
        assert [[each.item for each in line] for line in found] == [
            [f"i{row}" for row in line] for line in order
        ]


def test_saving_erases_removed_rows(tmp_path):
    vectors = sample_vectors(30)
    with create_gallery(tmp_path / "g", vectors.shape[1]) as gallery:
        gallery.add([f"person-{row}" for row in range(30)], vectors)
        gallery.remove(["person-17"])
        unit, _ = gallery.get(["person-18"])
        gallery.save()
    bytes_left = b"".join(path.read_bytes() for path in (tmp_path / "g").iterdir())
    erased = vectors[17] / np.linalg.norm(vectors[17].astype(np.float64))
    assert b"person-17" not in bytes_left and erased.astype(np.float32).tobytes() not in bytes_left
    assert b"person-18" in bytes_left and unit.tobytes() in bytes_left


def test_readers_keep_their_state_and_writers_take_the_newest(tmp_path):
    vectors = sample_vectors(20)
    first = create_gallery(tmp_path / "g", vectors.shape[1])
    first.add(["a", "b"], vectors[:2])
    reader, second = open_gallery(tmp_path / "g"), open_gallery(tmp_path / "g")
    first.add(["c"], vectors[2:3])
    second.remove(["a"])
    second.save()
    assert reader.search(vectors[0], 3)[0][0].item == "a" and len(reader) == 2
    first.add(["d"], vectors[3:4])
    with pytest.raises(GalleryError, match="the first is d"):
        second.add(["d"], vectors[3:4])
    second.remove(["d"])
    assert len(open_gallery(tmp_path / "g")) == 2
    assert reader.search(vectors[1], 1)[0][0].item == "b"


ADDING = """
import sys
import numpy as np
from voiceface.gallery import open_gallery
gallery = open_gallery(sys.argv[1])
vectors = np.random.default_rng(3).normal(size=(100_000, 24)).astype(np.float32)
for start in range(0, 100_000, 40):
    gallery.add([f"i{row}" for row in range(start, start + 40)], vectors[start:start + 40])
    print(start + 40, flush=True)
"""


@pytest.mark.parametrize("batches", [1, 9, 30])
def test_a_killed_process_loses_nothing_that_was_acknowledged(tmp_path, batches):
    folder = tmp_path / "g"
    create_gallery(folder, 24).close()
    process = subprocess.Popen([sys.executable, "-c", ADDING, folder], stdout=subprocess.PIPE, text=True)
    for _ in range(batches):
        process.stdout.readline()
    time.sleep(0.003 * batches)
    process.send_signal(signal.SIGKILL)
    acknowledged = 40 * (batches + len(process.stdout.readlines()))
    assert process.wait() == -signal.SIGKILL
    vectors = np.random.default_rng(3).normal(size=(100_000, 24)).astype(np.float32)
    with open_gallery(folder) as gallery:
        gallery.verify()
        assert len(gallery) in (acknowledged, acknowledged + 40)
        kept, _ = gallery.get([f"i{row}" for row in range(len(gallery))])
        unit = vectors[: len(gallery)] / np.linalg.norm(vectors[: len(gallery)], axis=1, keepdims=True)
        assert np.allclose(kept, unit, atol=1e-6)
        gallery.add(["after"], vectors[-1:])
        assert len(list(folder.glob("*.npy"))) == 4 * gallery.describe()["segments"]


def test_an_addition_that_meets_a_full_disk_leaves_the_old_state(tmp_path, monkeypatch):
    vectors = sample_vectors(9)
    gallery = create_gallery(tmp_path / "g", vectors.shape[1])
    gallery.add(["a"], vectors[:1])

    def full(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"could not write .*npy"):
            gallery.add(["b"], vectors[1:2])
    assert len(gallery) == len(open_gallery(tmp_path / "g")) == 1
    gallery.add(["b"], vectors[1:2])
    assert len(open_gallery(tmp_path / "g")) == 2


@pytest.mark.parametrize(
    ("pattern", "damage", "words"),
    [
        ("*.text.npy", lambda data: data[:-1] + b"\xff", "SHA-256"),
        ("*.offsets.npy", lambda data: data[:-3], r"offsets\.npy"),
        ("*.hashes.npy", lambda data: data[:-8] + bytes(8), "SHA-256"),
        ("*.vectors.npy", lambda data: data[: len(data) // 2], r"vectors\.npy"),
        ("*.vectors.npy", lambda data: b"", r"vectors\.npy"),
        ("gallery.json", lambda data: data[:-9], r"gallery\.json"),
        (
            "gallery.json",
            lambda data: data.replace(b"gallery-1", b"gallery-9"),
            "expected voiceface-gallery-1",
        ),
        ("gallery.json", lambda data: data.replace(b"exact", b"other"), "no engine"),
        ("gallery.json", lambda data: data.replace(b'"rows": 9', b'"rows": 8'), "states"),
    ],
)
def test_damaged_files_are_named(tmp_path, pattern, damage, words):
    vectors = sample_vectors(9)
    create_gallery(tmp_path / "g", vectors.shape[1]).add([f"i{row}" for row in range(9)], vectors)
    (path,) = (tmp_path / "g").glob(pattern)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(GalleryError, match=words):
        open_gallery(tmp_path / "g")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"removed": ["a"]}, "list of segments or of removed rows"),
        ({"removed": [0.5]}, "list of segments or of removed rows"),
        ({"removed": [9**30]}, "rows that are not there"),
        ({"segments": [1]}, "list of segments or of removed rows"),
        ({"segments": {}}, "list of segments or of removed rows"),
        ({"encoder": "x"}, "no description"),
        ({"encoder": '["x"]'}, "no description"),
        ({"dimension": True}, "no description"),
        ({"engine": "exakt"}, "no engine 'exakt'"),
    ],
)
def test_a_wrong_entry_of_the_index_is_told(tmp_path, entry, words):
    create_gallery(tmp_path / "g", 4).add(["a"], np.ones((1, 4)))
    path = tmp_path / "g" / "gallery.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entry))
    with pytest.raises(GalleryError, match=rf"gallery\.json.*{words}"):
        open_gallery(tmp_path / "g")


@pytest.mark.parametrize(
    ("content", "words"), [(b"\xe9\n", r"names\.txt is not UTF-8"), (b"\n", "no items to remove")]
)
def test_lists_of_names_to_remove_are_checked(tmp_path, content, words):
    create_gallery(tmp_path / "g", 4).add(["a"], np.ones((1, 4)))
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(GalleryError, match=words):
        gallery_command.main(["remove", str(tmp_path / "g"), "--items-from", str(tmp_path / "names.txt")])
    assert len(open_gallery(tmp_path / "g")) == 1


def test_changed_vectors_are_found_on_demand(tmp_path):
    vectors = sample_vectors(9)
    create_gallery(tmp_path / "g", vectors.shape[1]).add([f"i{row}" for row in range(9)], vectors)
    (path,) = (tmp_path / "g").glob("*.vectors.npy")
    path.write_bytes(path.read_bytes()[:-1] + b"\x11")
    with open_gallery(tmp_path / "g") as gallery, pytest.raises(GalleryError, match=r"vectors\.npy"):
        gallery.verify()


def test_missing_places_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gallery\.json"):
        open_gallery(tmp_path / "nothing")
    assert not is_gallery(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(GalleryError, match="new or empty"):
        create_gallery(tmp_path, 3)
    with pytest.raises(GalleryError, match="no engine"):
        create_gallery(tmp_path / "g", 3, engine="other")


@pytest.mark.parametrize(
    ("text", "server", "name"),
    [
        ("milvus://host/faces", "http://host:19530", "faces"),
        ("chroma:/host:81/all_faces", "http://host:81", "all_faces"),  # as `Path` writes it
        ("milvus+https://h.example.org:443/f00", "https://h.example.org:443", "f00"),
    ],
)
def test_addresses_are_read(text, server, name):
    address = parse_address(text)
    assert (address.server, address.name) == (server, name)
    assert parse_address(str(address)) == address and is_gallery(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("other://host/faces", "engines chroma, milvus"),
        ("chroma://host", "3 to 64 letters"),
        ("chroma://host/a b", "3 to 64 letters"),
        ("chroma://host:x/faces", "expected ENGINE"),
        ("milvus://me:secret@host/faces", "VOICEFACE_MILVUS_TOKEN"),
        ("milvus+ftp://host/faces", "expected ENGINE"),
    ],
)
def test_wrong_addresses_are_told_without_their_passwords(text, words):
    with pytest.raises(GalleryError, match=words) as caught:
        open_gallery(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("engine", "module", "extra"),
    [("faiss", "faiss", "faiss"), ("chroma", "chromadb", "chroma"), ("milvus", "pymilvus", "milvus")],
)
def test_an_absent_extra_is_told_with_the_command_that_brings_it(
    tmp_path, monkeypatch, capsys, engine, module, extra
):
    monkeypatch.setitem(sys.modules, module, None)
    EmbeddingTable(["a.jpg"], sample_vectors(1)).save(tmp_path / "t.npz")
    words = ["gallery", "build", str(tmp_path / "t.npz"), "--out", str(tmp_path / "g"), "--engine", engine]
    assert main(words) == 1
    assert f"pip install 'voiceface-shared[{extra}]'" in capsys.readouterr().err
    assert not (tmp_path / "g").exists()


def test_the_command_knows_every_engine():
    assert tuple(ENGINES) == gallery_command.ENGINES


@pytest.fixture
def table(tmp_path):
    """Twelve embeddings: four voices, eight faces of two people."""
    items = [*(f"v/{n}.wav" for n in range(4)), *(f"p{n // 4}/{n}.jpg" for n in range(8))]
    facts = {
        "p0/0.jpg": FileFacts("p0/0.jpg", "picture", ("small: 12 pixels",)),
        "v/0.wav": FileFacts("v/0.wav", "recording"),
    }
    return EmbeddingTable(items, sample_vectors(12), "a" * 64, facts=facts)


def test_a_table_is_split_by_modality_and_grouped_by_folder(table):
    with pytest.raises(GalleryError, match="4 voices and 8 faces"):
        select_modality(table, "", "t")
    faces, modality = select_modality(table, "face", "t")
    assert (modality, faces.items) == ("face", table.items[4:])
    assert select_modality(faces, "", "t") == (faces, "face")
    with pytest.raises(GalleryError, match="no voices"):
        select_modality(faces, "voice", "t")
    other = EmbeddingTable(["x", "y"], sample_vectors(2))
    assert select_modality(other, "", "t") == (other, "")
    rows = rows_of_table(faces, by_folder=True)
    assert rows.items == ["p0", "p1"]
    unit = faces.vectors / np.linalg.norm(faces.vectors, axis=1, keepdims=True)
    mean = unit[:4].mean(0)
    assert np.allclose(rows.vectors[0], mean / np.linalg.norm(mean), atol=1e-6)
    assert rows.metadata[0]["resultant"] == pytest.approx(np.linalg.norm(mean))
    assert [path.as_posix() for path in read_files("p1", rows.metadata[1])] == faces.items[4:]


def test_commands_build_extend_search_and_shrink(table, tmp_path, capsys):
    place, path, more = tmp_path / "gallery", tmp_path / "t.npz", tmp_path / "more.npz"
    table.save(path)
    EmbeddingTable(["p1/7.jpg", "p2/0.jpg"], sample_vectors(2, 5), "a" * 64).save(more)
    assert main(["gallery", "build", str(path), "--out", str(place)]) == 1
    assert "--only faces" in capsys.readouterr().err and not place.exists()
    assert main(["gallery", "build", str(path), "--out", str(place), "--only", "faces"]) == 0
    assert "8 items" in capsys.readouterr().out
    assert main(["gallery", "add", str(place), str(more)]) == 1
    assert "p1/7.jpg" in capsys.readouterr().err
    assert main(["gallery", "add", str(place), str(more), "--existing", "skip"]) == 0
    assert "1 item added, 9 items in all" in capsys.readouterr().out
    out = tmp_path / "found.json"
    assert main(["gallery", "search", str(place), str(path), "--top", "2", "--json", str(out)]) == 0
    results = json.loads(out.read_text())["results"]
    assert results["p0/3.jpg"][0]["item"] == "p0/3.jpg" and len(results["v/0.wav"]) == 2
    assert main(["gallery", "remove", str(place), "p0/3.jpg"]) == 0
    assert "8 items left" in capsys.readouterr().out
    assert main(["gallery", "info", str(place), "--verify"]) == 0
    shown = capsys.readouterr().out
    assert "8 faces of length 24, engine exact" in shown and "a" * 64 in shown and "verified" in shown


def test_commands_refuse_tables_of_another_model(table, tmp_path, capsys):
    place, path, other = tmp_path / "gallery", tmp_path / "t.npz", tmp_path / "other.npz"
    table.save(path)
    EmbeddingTable(["q"], sample_vectors(1), "b" * 64).save(other)
    assert main(["gallery", "build", str(path), "--out", str(place), "--only", "faces"]) == 0
    assert main(["gallery", "add", str(place), str(other)]) == 1
    assert "another model" in capsys.readouterr().err
    assert main(["gallery", "search", str(place), str(other)]) == 1
    assert "another model" in capsys.readouterr().err
    assert main(["gallery", "info", str(tmp_path / "nothing")]) == 1
    assert "gallery.json" in capsys.readouterr().err
