"""Galleries with an index of faiss: the contract, recall, rows beside the index, removed rows, damage."""

import json

import numpy as np
import pytest
from scale_extras import require

require("faiss")

from voiceface.gallery import GalleryError, create_gallery, faiss_index, open_gallery  # noqa: E402
from voiceface.testing.contracts.galleries import GalleryContract, cosines  # noqa: E402


class TestWithoutIndex(GalleryContract):
    """Few rows are searched exactly."""

    engine = "faiss"


class TestGraph(GalleryContract):
    engine = "faiss"

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        monkeypatch.setattr(faiss_index, "MIN_ROWS", 40)


class TestLists(TestGraph):
    @pytest.fixture(autouse=True)
    def smaller(self, small, monkeypatch):
        monkeypatch.setattr(faiss_index, "MAX_GRAPH_ROWS", 50)


def people(count, seed=0, dimension=32):
    """Vectors of people with ten rows each."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((count // 10, dimension))
    return (np.repeat(centres, 10, axis=0) + 0.5 * rng.standard_normal((count, dimension))).astype(np.float32)


@pytest.fixture(params=["HNSW", "IVF-SQ8"])
def kind(request, monkeypatch):
    monkeypatch.setattr(faiss_index, "MIN_ROWS", 1000)
    monkeypatch.setattr(faiss_index, "MAX_GRAPH_ROWS", 10_000 if request.param == "HNSW" else 0)
    return request.param


def nearest(queries, vectors, rows, top=10):
    return [
        [f"i{rows[i]}" for i in np.argsort(-line, kind="stable")[:top]]
        for line in cosines(queries, vectors[rows])
    ]


def recall(found, wanted):
    names = [{each.item for each in line} for line in found]
    return np.mean([len(a & set(b)) / len(b) for a, b in zip(names, wanted, strict=True)])


def test_a_wrong_statement_about_the_index_is_told(tmp_path, kind):
    with create_gallery(tmp_path / "g", 32, engine="faiss") as gallery:
        gallery.add([f"i{row}" for row in range(2000)], people(2000))
        gallery.save()
    path = tmp_path / "g" / "gallery.json"
    values = json.loads(path.read_text())
    del values["search"]["sha256"]
    path.write_text(json.dumps(values))
    with pytest.raises(GalleryError, match=r"gallery\.json.*sha256"):
        open_gallery(tmp_path / "g")


def test_recall_is_measured_stored_and_kept_when_rows_come_and_go(tmp_path, kind):
    vectors, queries = people(6000), people(6000)[::40] + 0.2
    rows = np.arange(6000)
    with create_gallery(tmp_path / "g", 32, engine="faiss") as gallery:
        gallery.add([f"i{row}" for row in rows[:3000]], vectors[:3000])
        assert gallery.describe()["index"] == "none: searched exactly"
        gallery.save()
        facts = gallery.describe()
        assert kind in facts["index"] and facts["rows in the index"] == 3000
        assert facts["recall@10 against exact search"] >= 0.99
        found = gallery.search(queries, 10)
        assert recall(found, nearest(queries, vectors, rows[:3000])) >= 0.97
        exact = cosines(queries, vectors)
        assert [each.score for each in found[3]] == pytest.approx(
            [exact[3, int(each.item[1:])] for each in found[3]], abs=1e-6
        )
        gallery.add([f"i{row}" for row in rows[3000:5000]], vectors[3000:5000])
        gallery.remove([f"i{row}" for row in rows[:5000:2]])
        left = rows[1:5000:2]
        for _ in range(2):
            found = gallery.search(queries, 10)
            assert recall(found, nearest(queries, vectors, left)) >= 0.97
            assert all(int(each.item[1:]) % 2 for line in found for each in line)
            gallery.save()
            assert gallery.describe()["rows in the index"] == len(gallery) == 2500
        gallery.add([f"i{row}" for row in rows[5000:]], vectors[5000:])
        gallery.save()
        assert gallery.describe()["rows in the index"] == 3500
        gallery.verify()
    with open_gallery(tmp_path / "g") as again:
        assert recall(again.search(queries, 10), nearest(queries, vectors, np.r_[left, rows[5000:]])) >= 0.97
        assert len(list((tmp_path / "g").glob("*.faiss"))) == 1


def test_a_damaged_index_is_told_and_built_again(tmp_path, kind, caplog):
    vectors = people(2000)
    with create_gallery(tmp_path / "g", 32, engine="faiss") as gallery:
        gallery.add([f"i{row}" for row in range(2000)], vectors)
        gallery.save()
    (path,) = (tmp_path / "g").glob("*.faiss")
    data = path.read_bytes()
    path.write_bytes(data[:2000] + b"\x55" * 8 + data[2008:])
    with open_gallery(tmp_path / "g") as gallery:
        found = gallery.search(vectors[:5], 10)
        assert "damaged" in caplog.text
        assert [[each.item for each in line] for line in found] == nearest(
            vectors[:5], vectors, np.arange(2000)
        )
        gallery.add(["new"], vectors[:1])
        gallery.save()
        gallery.verify()
        assert gallery.describe()["rows in the index"] == 2001
