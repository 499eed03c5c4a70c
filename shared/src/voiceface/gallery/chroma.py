"""Galleries in Chroma: embedded in a folder, or on its server (``chroma://HOST:PORT/NAME``).

Item names are Chroma's ids, metadata is Chroma's, so other programs can read a gallery. Search is by its
graph index (HNSW), approximate. A token goes into the environment variable VOICEFACE_CHROMA_TOKEN.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from voiceface.gallery.index_file import require_new_folder, write_index
from voiceface.gallery.interface import Found, Gallery, GalleryError, GalleryFacts, Metadata, Vectors
from voiceface.gallery.places import Address
from voiceface.io.file_kinds import printable
from voiceface.io.foreign_files import first_line

__all__ = ["ChromaGallery"]

COLLECTION = "gallery"
DATA_FOLDER = "chroma"
FACTS_KEY = "voiceface"
INDEX = {"space": "cosine", "ef_construction": 200, "ef_search": 200, "max_neighbors": 32}
MAX_ROWS = 5_000  # of one request


class ChromaGallery(Gallery):
    """Vectors in a collection of Chroma.

    An addition of more than 5,000 rows is acknowledged in parts of 5,000.
    """

    def __init__(self, place: Path | Address, collection: Any = None, client: Any = None) -> None:
        """Open a gallery.

        Args:
            place: folder or address.
            collection: of Chroma; None: that of the place.
            client: of Chroma; None: one for the place.

        Raises:
            FileNotFoundError: there is no such gallery.
            GalleryError: the collection was made by another program.
            ModuleNotFoundError: Chroma is not installed.
            OSError: no server answers.
        """
        self.place = printable(place)
        self._client = client or _connect(place)
        self._collection = collection
        if collection is None:
            with _asking(self.place):
                self._collection = self._client.get_collection(
                    _collection_name(place), embedding_function=None
                )
        text = (self._collection.metadata or {}).get(FACTS_KEY, "null")
        try:
            values = json.loads(text)
        except (TypeError, ValueError):
            raise GalleryError(f"{self.place}: a collection that another program made") from None
        self.facts = GalleryFacts.from_values(values, self.place)

    @classmethod
    def create(cls, place: Path | Address, facts: GalleryFacts) -> "ChromaGallery":
        """Create an empty gallery.

        Raises:
            GalleryError: there is one already.
            ModuleNotFoundError: Chroma is not installed.
            OSError: no server answers.
        """
        if isinstance(place, Path):
            require_new_folder(place)
        client, name = _connect(place, create=True), _collection_name(place)
        with _asking(printable(place)):
            if name in [each.name for each in client.list_collections()]:
                raise GalleryError(f"{printable(place)} is there already, expected a new name")
            collection = client.create_collection(
                name,
                metadata={FACTS_KEY: json.dumps(facts.to_values())},
                configuration={"hnsw": INDEX},
                embedding_function=None,
            )
        if isinstance(place, Path):
            write_index(place, facts)
        return cls(place, collection, client)

    def __len__(self) -> int:
        """Number of items."""
        with _asking(self.place):
            return int(self._collection.count())

    def describe(self) -> dict[str, str | int | float]:
        """See `Gallery.describe`."""
        return {"collection": self._collection.name, "index": "HNSW of Chroma, approximate"}

    def save(self) -> None:
        """Do nothing: Chroma keeps its files itself."""

    def verify(self) -> None:
        """Check that the collection answers."""
        len(self)

    def close(self) -> None:
        """Let go of the connection; embedded, also of the files."""
        close = getattr(self._client, "close", None)
        if close is not None:
            close()

    def _find_known(self, items: Sequence[str]) -> list[str]:
        known: set[str] = set()
        for start in range(0, len(items), MAX_ROWS):
            with _asking(self.place):
                known |= set(
                    self._collection.get(ids=list(items[start : start + MAX_ROWS]), include=[])["ids"]
                )
        return [item for item in items if item in known]

    def _get(self, items: list[str]) -> tuple[Vectors, list[Metadata]]:
        rows: dict[str, tuple[Any, Metadata]] = {}
        for start in range(0, len(items), MAX_ROWS):
            with _asking(self.place):
                found = self._collection.get(
                    ids=items[start : start + MAX_ROWS], include=["embeddings", "metadatas"]
                )
            rows |= dict(zip(found["ids"], zip(found["embeddings"], found["metadatas"])))
        vectors = np.asarray([rows[item][0] for item in items], np.float32)
        return vectors, [rows[item][1] or {} for item in items]

    def _add(self, items: list[str], vectors: Vectors, metadata: list[dict[str, Any]]) -> None:
        for start in range(0, len(items), MAX_ROWS):
            part = slice(start, start + MAX_ROWS)
            with _asking(self.place):
                self._collection.add(
                    ids=items[part],
                    embeddings=vectors[part],
                    metadatas=[values or None for values in metadata[part]],
                )

    def _remove(self, items: list[str]) -> None:
        for start in range(0, len(items), MAX_ROWS):
            with _asking(self.place):
                self._collection.delete(ids=items[start : start + MAX_ROWS])

    def _search(self, queries: Vectors, top: int) -> list[list[Found]]:
        with _asking(self.place):
            found = self._collection.query(
                query_embeddings=queries, n_results=top, include=["metadatas", "distances"]
            )
        lines = zip(found["ids"], found["distances"], found["metadatas"])
        return [
            [Found(item, 1 - distance, values or {}) for item, distance, values in zip(*line)]
            for line in lines
        ]


def _collection_name(place: Path | Address) -> str:
    return COLLECTION if isinstance(place, Path) else place.name


def _connect(place: Path | Address, *, create: bool = False) -> Any:
    """Client of Chroma for a folder or a server."""
    try:
        import chromadb
        from chromadb.config import Settings
    except ModuleNotFoundError as error:
        if error.name != "chromadb":
            raise
        raise ModuleNotFoundError(
            "the engine chroma needs chromadb: pip install 'voiceface-shared[chroma]'", name="chromadb"
        ) from None
    settings = Settings(anonymized_telemetry=False)
    if isinstance(place, Path):
        folder = place / DATA_FOLDER
        if not create and not folder.is_dir():
            raise FileNotFoundError(f"{printable(folder)} is missing: build the gallery again")
        folder.mkdir(parents=True, exist_ok=True)
        with _asking(printable(place)):
            return chromadb.PersistentClient(str(folder), settings=settings)
    token = os.environ.get("VOICEFACE_CHROMA_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with _asking(str(place), connecting=True):
        return chromadb.HttpClient(
            host=place.host, port=place.port, ssl=place.encrypted, headers=headers, settings=settings
        )


@contextmanager
def _asking(place: str, *, connecting: bool = False) -> Iterator[None]:
    """Turn the errors of Chroma into those of galleries."""
    import httpx
    from chromadb.errors import ChromaError, NotFoundError

    try:
        yield
    except GalleryError:
        raise
    except NotFoundError as error:
        raise FileNotFoundError(f"no gallery at {place} ({first_line(error)})") from None
    except httpx.TransportError as error:
        raise ConnectionError(f"{place}: the server does not answer ({first_line(error)})") from None
    except ValueError as error:
        if not connecting:
            raise GalleryError(f"{place}: {first_line(error)}") from None
        raise ConnectionError(
            f"{place}: no server of Chroma answers there ({first_line(error)}); `chroma run --path FOLDER` "
            "starts one"
        ) from None
    except ChromaError as error:
        raise GalleryError(f"{place}: {first_line(error)}") from None
