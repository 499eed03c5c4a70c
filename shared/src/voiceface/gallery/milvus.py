"""Galleries in Milvus: on a server or cluster (``milvus://HOST:PORT/NAME``), or in a folder by Milvus Lite.

Milvus Lite compares all rows in Python and is slow: it is there to try and to test what runs on a server. A
password goes into the environment variable VOICEFACE_MILVUS_TOKEN ("user:password", or a token).
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from voiceface.gallery.index_file import read_index, require_new_folder, write_index
from voiceface.gallery.interface import (
    MAX_ITEM_BYTES,
    Found,
    Gallery,
    GalleryError,
    GalleryFacts,
    Metadata,
    Vectors,
)
from voiceface.gallery.places import Address
from voiceface.io.file_kinds import printable
from voiceface.io.foreign_files import first_line

__all__ = ["MilvusGallery"]

COLLECTION = "gallery"
DATA_FILE = "milvus.db"
MAX_ROWS, MAX_BYTES = 5_000, 16 * 2**20  # of one request
MAX_TOP = 16_384  # results that Milvus gives
TIMEOUT = 60  # seconds


class MilvusGallery(Gallery):
    """Vectors in a collection of Milvus, with the fields key, item, vector and metadata (JSON).

    Keys are hashes of the names, as Milvus takes keys as parts of expressions. An addition of more than 5,000
    rows is acknowledged in parts.
    """

    def __init__(self, place: Path | Address, client: Any = None) -> None:
        """Open a gallery.

        Args:
            place: folder or address.
            client: of Milvus; None: one for the place.

        Raises:
            FileNotFoundError: there is no such gallery.
            GalleryError: the collection was made by another program.
            ModuleNotFoundError: pymilvus is not installed.
            OSError: no server answers.
        """
        self.place = printable(place)
        self._client = client or _connect(place)
        self._name = _collection_name(place)
        local = isinstance(place, Path)
        self._index = "none: searched exactly" if local else "chosen by Milvus (AUTOINDEX)"
        with _asking(self.place):
            if not self._client.has_collection(self._name):
                raise FileNotFoundError(f"no gallery at {self.place}")
            self._client.load_collection(self._name)
            text = self._client.describe_collection(self._name)["description"]
        try:
            # Milvus Lite does not keep the description.
            values = read_index(place) if isinstance(place, Path) else json.loads(text)
        except json.JSONDecodeError:
            raise GalleryError(f"{self.place}: a collection that another program made") from None
        self.facts = GalleryFacts.from_values(values, self.place)

    @classmethod
    def create(cls, place: Path | Address, facts: GalleryFacts) -> "MilvusGallery":
        """Create an empty gallery.

        Raises:
            GalleryError: there is one already.
            ModuleNotFoundError: pymilvus is not installed.
            OSError: no server answers.
        """
        if isinstance(place, Path):
            require_new_folder(place)
        client, name = _connect(place, create=True), _collection_name(place)
        from pymilvus import DataType

        with _asking(printable(place)):
            if client.has_collection(name):
                raise GalleryError(f"{printable(place)} is there already, expected a new name")
            schema = client.create_schema(description=json.dumps(facts.to_values()))
            schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=32)
            schema.add_field("item", DataType.VARCHAR, max_length=MAX_ITEM_BYTES)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=facts.dimension)
            schema.add_field("metadata", DataType.JSON)
            index = client.prepare_index_params()
            kind = "FLAT" if isinstance(place, Path) else "AUTOINDEX"
            index.add_index("vector", index_type=kind, metric_type="COSINE")
            client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")
        if isinstance(place, Path):
            write_index(place, facts)
        return cls(place, client)

    def __len__(self) -> int:
        """Number of items."""
        with _asking(self.place):
            return int(self._client.query(self._name, filter="", output_fields=["count(*)"])[0]["count(*)"])

    def describe(self) -> dict[str, str | int | float]:
        """See `Gallery.describe`."""
        return {"collection": self._name, "index": self._index}

    def save(self) -> None:
        """Have the server write what it holds in memory; its log has it already."""
        with _asking(self.place):
            self._client.flush(self._name)

    def verify(self) -> None:
        """Check that the collection answers."""
        len(self)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _find_known(self, items: Sequence[str]) -> list[str]:
        known = {each["item"] for each in self._rows(items, ["item"])}
        return [item for item in items if item in known]

    def _get(self, items: list[str]) -> tuple[Vectors, list[Metadata]]:
        rows = {each["item"]: each for each in self._rows(items, ["item", "vector", "metadata"])}
        vectors = np.asarray([rows[item]["vector"] for item in items], np.float32)
        return vectors, [rows[item]["metadata"] for item in items]

    def _rows(self, items: Sequence[str], fields: list[str]) -> Iterator[dict[str, Any]]:
        for part in self._parts(len(items)):
            keys = list(map(_key, items[part]))
            with _asking(self.place):
                yield from self._client.get(self._name, ids=keys, output_fields=fields, timeout=TIMEOUT)

    def _add(self, items: list[str], vectors: Vectors, metadata: list[dict[str, Any]]) -> None:
        for part in self._parts(len(items)):
            rows = [
                {"key": _key(item), "item": item, "vector": vector, "metadata": values}
                for item, vector, values in zip(items[part], vectors[part], metadata[part])
            ]
            with _asking(self.place):
                self._client.insert(self._name, rows, timeout=TIMEOUT)

    def _remove(self, items: list[str]) -> None:
        for part in self._parts(len(items)):
            with _asking(self.place):
                self._client.delete(self._name, ids=list(map(_key, items[part])), timeout=TIMEOUT)

    def _search(self, queries: Vectors, top: int) -> list[list[Found]]:
        if top > MAX_TOP:
            raise GalleryError(f"Milvus gives at most {MAX_TOP} results of a query, {top} were asked for")
        with _asking(self.place):
            lines = self._client.search(
                self._name,
                data=list(queries),
                limit=top,
                output_fields=["item", "metadata"],
                search_params={"metric_type": "COSINE"},
                timeout=TIMEOUT,
            )
        return [
            [
                Found(each["entity"]["item"], float(each["distance"]), each["entity"]["metadata"])
                for each in line
            ]
            for line in lines
        ]

    def _parts(self, count: int) -> Iterator[slice]:
        step = max(1, min(MAX_ROWS, MAX_BYTES // (4 * self.facts.dimension)))
        for start in range(0, count, step):
            yield slice(start, start + step)


def _key(item: str) -> str:
    return hashlib.blake2b(item.encode(), digest_size=16).hexdigest()


def _collection_name(place: Path | Address) -> str:
    return COLLECTION if isinstance(place, Path) else place.name


def _connect(place: Path | Address, *, create: bool = False) -> Any:
    """Client of Milvus for a folder or a server."""
    try:
        from pymilvus import MilvusClient

        if isinstance(place, Path):
            import milvus_lite  # noqa: F401  # imported by pymilvus, whose own error is longer
    except ModuleNotFoundError as error:
        if error.name not in ("pymilvus", "milvus_lite"):
            raise
        extra = "milvus" if error.name == "pymilvus" else "milvus-lite"
        raise ModuleNotFoundError(
            f"the engine milvus needs {error.name}: pip install 'voiceface-shared[{extra}]'", name=error.name
        ) from None
    if isinstance(place, Path):
        if not create and not (place / DATA_FILE).exists():
            raise FileNotFoundError(f"{printable(place / DATA_FILE)} is missing: build the gallery again")
        place.mkdir(parents=True, exist_ok=True)
        with _asking(printable(place)):
            return MilvusClient(uri=str(place / DATA_FILE))
    with _asking(str(place), connecting=True):
        token = os.environ.get("VOICEFACE_MILVUS_TOKEN", "")
        return MilvusClient(uri=place.server, token=token, timeout=10)


@contextmanager
def _asking(place: str, *, connecting: bool = False) -> Iterator[None]:
    """Turn the errors of Milvus into those of galleries."""
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except MilvusException as error:
        text = f"{place}: {first_line(error.message)}"
        if connecting:
            raise ConnectionError(f"{text}; is a server of Milvus running there?") from None
        raise GalleryError(text) from None
