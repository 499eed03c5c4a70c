"""Galleries in Milvus Lite, by the code that serves a Milvus server."""

import numpy as np
import pytest
from scale_extras import require

require("pymilvus", "milvus_lite")

from voiceface.gallery import create_gallery, open_gallery  # noqa: E402
from voiceface.testing.contracts.galleries import GalleryContract, cosines, sample_vectors  # noqa: E402


class TestMilvus(GalleryContract):
    engine = "milvus"


def test_5000_rows_are_found_as_by_a_product(tmp_path):
    vectors, queries = sample_vectors(5000, 1), sample_vectors(4, 2)
    with create_gallery(tmp_path / "g", vectors.shape[1], engine="milvus") as gallery:
        gallery.add([f"i{row}" for row in range(5000)], vectors)
    with open_gallery(tmp_path / "g") as gallery:
        assert len(gallery) == 5000
        expected = cosines(queries, vectors)
        for line, found in zip(expected, gallery.search(queries, 20), strict=True):
            best = np.argsort(-line)[:20]
            assert [each.item for each in found] == [f"i{row}" for row in best]
            assert [each.score for each in found] == pytest.approx(line[best], abs=2e-6)


def test_a_server_that_does_not_answer_is_told():
    with pytest.raises(ConnectionError, match=r"milvus://127\.0\.0\.1:9/faces"):
        open_gallery("milvus://127.0.0.1:9/faces")
