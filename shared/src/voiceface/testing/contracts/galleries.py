"""Contract that every engine of galleries meets, compared with a product of matrices."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from voiceface.gallery import Gallery, GalleryError, create_gallery, open_gallery
from voiceface.gallery.interface import Metadata

__all__ = ["GalleryContract"]

DIMENSION = 24
Vectors = NDArray[np.float32]


def sample_vectors(count: int, seed: int = 0) -> Vectors:
    """Vectors (count, 24) of different lengths."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, DIMENSION)).astype(np.float32) * rng.uniform(0.1, 9, (count, 1)).astype(
        np.float32
    )


def cosines(queries: Vectors, vectors: Vectors) -> NDArray[np.float64]:
    """Cosines of all queries with all vectors, in double precision."""
    unit = [
        rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for rows in (np.float64(queries), np.float64(vectors))
    ]
    return unit[0] @ unit[1].T


class GalleryContract:
    """What is added is found, in the right order, until it is removed; a subclass names the engine."""

    engine = "exact"

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path | str:
        """Place of a gallery that is not there yet."""
        return tmp_path / "gallery"

    @pytest.fixture
    def gallery(self, place: Path | str) -> Gallery:
        """Create a gallery of 60 items."""
        gallery = create_gallery(
            place, DIMENSION, engine=self.engine, fingerprint="f" * 64, modality="face", encoder="[]"
        )
        metadata: list[Metadata] = [
            {"number": number, "text": f"ä{number}", "share": 0.5} for number in range(60)
        ]
        gallery.add([f"id{n}/ü{n}.jpg" for n in range(60)], sample_vectors(60), metadata)
        return gallery

    def test_search_finds_the_highest_cosines(self, gallery: Gallery) -> None:
        queries = sample_vectors(7, seed=1)
        expected = cosines(queries, sample_vectors(60))
        for scores, found in zip(expected, gallery.search(queries, 10), strict=True):
            best = np.argsort(-scores, kind="stable")[:10]
            assert [each.metadata["number"] for each in found] == best.tolist()
            assert [each.item for each in found] == [f"id{n}/ü{n}.jpg" for n in best]
            assert [each.score for each in found] == pytest.approx(scores[best], abs=2e-6)
            assert found[0].metadata == {"number": best[0], "text": f"ä{best[0]}", "share": 0.5}

    def test_search_gives_no_more_than_there_is(self, gallery: Gallery) -> None:
        assert [len(found) for found in gallery.search(sample_vectors(2), 1000)] == [60, 60]
        (alone,) = gallery.search(sample_vectors(3)[2], 1)
        assert alone[0].item == "id2/ü2.jpg"

    def test_an_opened_gallery_is_the_same(self, gallery: Gallery, place: Path | str) -> None:
        before = gallery.search(sample_vectors(5), 5)
        gallery.save()
        gallery.close()
        with open_gallery(place) as again:
            assert len(again) == 60
            assert again.facts.engine == self.engine
            assert (again.facts.dimension, again.facts.fingerprint) == (DIMENSION, "f" * 64)
            assert (again.facts.modality, again.facts.encoder) == ("face", "[]")
            after = again.search(sample_vectors(5), 5)
            assert [[each.item for each in line] for line in after] == [
                [each.item for each in line] for line in before
            ]
            vectors, metadata = again.get(["id3/ü3.jpg", "id1/ü1.jpg"])
            unit = sample_vectors(60)[[3, 1]]
            assert np.allclose(vectors, unit / np.linalg.norm(unit, axis=1, keepdims=True), atol=1e-6)
            assert [each["number"] for each in metadata] == [3, 1]

    def test_what_is_removed_is_not_found(self, gallery: Gallery, place: Path | str) -> None:
        query = sample_vectors(60)[[11]]
        gallery.remove(["id11/ü11.jpg", "id12/ü12.jpg"])
        for save in (False, True):
            if save:
                gallery.save()
            assert len(gallery) == 58
            names = [each.item for each in gallery.search(query, 60)[0]]
            assert len(names) == 58
            assert not {"id11/ü11.jpg", "id12/ü12.jpg"} & set(names)
        gallery.add(["id11/ü11.jpg"], query)
        gallery.close()
        with open_gallery(place) as again:
            assert len(again) == 59
            assert again.search(query, 1)[0][0].item == "id11/ü11.jpg"

    def test_wrong_additions_change_nothing(self, gallery: Gallery) -> None:
        wrong = np.full((1, DIMENSION), np.nan, np.float32)
        for items, vectors, words in (
            (["id1/ü1.jpg", "new"], sample_vectors(2), "id1/ü1.jpg"),
            (["a", "a"], sample_vectors(2), "more than once"),
            (["a", "b"], sample_vectors(3), "3 vectors"),
            (["a"], sample_vectors(1)[:, :5], "24"),
            (["a"], wrong, "not finite"),
            ([""], sample_vectors(1), "0 bytes"),
        ):
            with pytest.raises(GalleryError, match=words):
                gallery.add(items, vectors)
        with pytest.raises(GalleryError, match="metadata"):
            gallery.add(["a"], sample_vectors(1), [{"list": [1]}])  # type: ignore[dict-item]
        with pytest.raises(GalleryError, match="absent"):
            gallery.remove(["id1/ü1.jpg", "absent"])
        with pytest.raises(GalleryError, match="absent"):
            gallery.get(["absent"])
        assert len(gallery) == 60
        assert gallery.known(["a", "id1/ü1.jpg", "b"]) == ["id1/ü1.jpg"]

    def test_names_of_any_bytes_are_kept(self, gallery: Gallery) -> None:
        name = "x\udcff 'a' \"b\" c/d\\n.jpg"
        gallery.add([name, "名"], sample_vectors(2, 7))
        assert gallery.known(["?", name, "名"]) == [name, "名"]
        (found,) = gallery.search(sample_vectors(2, 7)[0], 1)
        assert found[0].item == "x\\udcff 'a' \"b\" c/d\\n.jpg"
        with pytest.raises(GalleryError, match="already"):
            gallery.add([name], sample_vectors(1))
        gallery.remove([found[0].item])
        assert gallery.known([name]) == []

    def test_another_model_is_refused(self, gallery: Gallery) -> None:
        gallery.require_model("f" * 64, dimension=DIMENSION, modality="face")
        with pytest.raises(GalleryError, match="another model"):
            gallery.require_model("e" * 64)
        with pytest.raises(GalleryError, match="holds faces, expected voices"):
            gallery.require_model("f" * 64, modality="voice")
        with pytest.raises(GalleryError, match="length 24"):
            gallery.require_model("f" * 64, dimension=128)
        with pytest.raises(GalleryError, match="expected vectors"):
            gallery.search(np.ones((1, 3)))

    def test_an_existing_place_is_not_overwritten(self, gallery: Gallery, place: Path | str) -> None:
        with pytest.raises(GalleryError, match="there already"):
            create_gallery(place, DIMENSION, engine=self.engine)
        assert len(gallery) == 60
