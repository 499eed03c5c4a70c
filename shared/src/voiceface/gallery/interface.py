"""The interface of all galleries, and the checks that they share."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voiceface.io.file_kinds import printable

__all__ = ["Found", "Gallery", "GalleryError", "GalleryFacts", "Metadata", "Modality"]

FORMAT = "voiceface-gallery-1"
MAX_ITEM_BYTES = 2048
Modality = Literal["voice", "face", ""]
Metadata = Mapping[str, str | int | float | bool]
"""What is kept beside a vector: plain values by name."""
Vectors = NDArray[np.float32]


class GalleryError(ValueError):
    """A gallery that cannot be opened, changed or searched as asked."""


@dataclass(frozen=True)
class GalleryFacts:
    """What a gallery states about its vectors.

    Attributes:
        engine: "exact", "faiss", "chroma" or "milvus".
        dimension: length D of a vector.
        fingerprint: of the model that computed them (`Embedder.fingerprint`, `EmbeddingTable.fingerprint`);
            "": not stated.
        modality: "voice", "face", or "" where it is not known.
        encoder: JSON about frozen encoders (`voiceface.encoders.records`); "": not stated.
    """

    engine: str
    dimension: int
    fingerprint: str = ""
    modality: Modality = ""
    encoder: str = ""

    def to_values(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_values(cls, values: Any, source: str) -> "GalleryFacts":
        """Read the values of `to_values`; others may stand beside them.

        Raises:
            GalleryError: values of another form; names `source`.
        """
        found = values.get("format") if isinstance(values, Mapping) else type(values).__name__
        if found != FORMAT:
            raise GalleryError(f"{source}: its format is {printable(found)}, expected {FORMAT}")
        facts = {name: values.get(name) for name in cls.__dataclass_fields__}
        texts = ("engine", "fingerprint", "encoder")
        if (
            not all(isinstance(facts[name], str) for name in texts)
            or type(facts["dimension"]) is not int
            or facts["dimension"] < 1
            or facts["modality"] not in get_args(Modality)
            or not _states_encoders(facts["encoder"])
        ):
            raise GalleryError(f"{source}: no description of a gallery: {printable(json.dumps(facts))[:200]}")
        return cls(**facts)


@dataclass(frozen=True)
class Found:
    """One result of a search.

    Attributes:
        item: its name.
        score: cosine with the query, -1...1.
        metadata: what was kept with it.
    """

    item: str
    score: float
    metadata: Metadata


class Gallery(ABC):
    """Named vectors, searched by cosine; opened by `open_gallery`, made by `create_gallery`.

    Vectors are kept at unit length. What `add` and `remove` have done is on disk, or acknowledged by the
    server, when they return; a process that is killed before leaves the gallery as it was.

    Attributes:
        facts: what it states about its vectors.
        place: folder or address.
    """

    facts: GalleryFacts
    place: str

    @abstractmethod
    def __len__(self) -> int:
        """Number of items."""

    @abstractmethod
    def _find_known(self, items: Sequence[str]) -> list[str]:
        """Those of the given items that are in the gallery, in the given order."""

    @abstractmethod
    def _add(self, items: list[str], vectors: Vectors, metadata: list[dict[str, Any]]) -> None:
        """Add checked rows of unit length."""

    @abstractmethod
    def _remove(self, items: list[str]) -> None:
        """Remove items that are there."""

    @abstractmethod
    def _search(self, queries: Vectors, top: int) -> list[list[Found]]:
        """Search with rows of unit length."""

    @abstractmethod
    def _get(self, items: list[str]) -> tuple[Vectors, list[Metadata]]:
        """Vectors and metadata of items that are there."""

    def known(self, items: Sequence[str]) -> list[str]:
        """Those of some names that are in the gallery, in the given order."""
        names = dict(zip(map(_plain, items), items))
        return [names[name] for name in self._find_known(list(names))] if names else []

    def get(self, items: Sequence[str]) -> tuple[Vectors, list[Metadata]]:
        """Vectors (N, D) of unit length and metadata of items.

        Raises:
            GalleryError: an item is not in the gallery.
        """
        names = list(map(_plain, items))
        self._require_known(names)
        return self._get(names) if names else (np.empty((0, self.facts.dimension), np.float32), [])

    @abstractmethod
    def describe(self) -> dict[str, str | int | float]:
        """Facts about how the gallery is kept, by name, for `voiceface gallery info`."""

    @abstractmethod
    def save(self) -> None:
        """Bring the gallery into its final form: nothing of removed items stays, indices cover all rows."""

    @abstractmethod
    def verify(self) -> None:
        """Check that what is stored is undamaged.

        Raises:
            GalleryError: a file has changed; names it.
        """

    @abstractmethod
    def close(self) -> None:
        """Release files and connections."""

    def add(
        self, items: Sequence[str], vectors: ArrayLike, metadata: Sequence[Metadata] | None = None
    ) -> None:
        """Add items; returns when they are stored for good.

        Args:
            items: N distinct names of 1 to 2,048 bytes in UTF-8, none of which is in the gallery.
            vectors: (N, D), finite, of any length.
            metadata: N mappings of names to texts, numbers or truth values; None: nothing.

        Raises:
            GalleryError: shapes or values are wrong, or an item is there already; nothing was added.
        """
        names = list(map(_plain, items))
        extra: list[dict[str, Any]] = [dict(each) for each in metadata] if metadata is not None else []
        rows = self._unit_rows(vectors, f"{len(names)} items")
        if len(rows) != len(names) or (metadata is not None and len(extra) != len(names)):
            beside = "" if metadata is None else f" and {len(extra)} sets of metadata"
            raise GalleryError(f"{len(names)} items came with {len(rows)} vectors{beside}")
        self._check_items(names)
        _check_metadata(names, extra)
        if not names:
            return
        if known := self._find_known(names):
            raise GalleryError(
                f"{len(known)} of {len(names)} items are in {self.place} already, the first is "
                f"{printable(known[0])}; remove them first"
            )
        self._add(names, rows, extra or [{} for _ in names])

    def remove(self, items: Iterable[str]) -> None:
        """Remove items; `save` also erases what is left of them on disk.

        Raises:
            GalleryError: an item is not in the gallery; nothing was removed.
        """
        names = list(dict.fromkeys(map(_plain, items)))
        self._require_known(names)
        if names:
            self._remove(names)

    def search(self, queries: ArrayLike, top: int = 10) -> list[list[Found]]:
        """Find the items of highest cosine for each query.

        Args:
            queries: (Q, D), or one (D,), of any length.
            top: number of results; fewer come where the gallery has fewer items.

        Returns:
            Q lists, best first; with the engines `exact` and `faiss`, equal scores stand in the order of
            adding.

        Raises:
            GalleryError: queries of another width, or not finite.
        """
        if top < 1:
            raise GalleryError(f"top must be at least 1, got {top}")
        rows = self._unit_rows(queries, "the queries")
        count = min(top, len(self))
        return self._search(rows, count) if count and len(rows) else [[] for _ in range(len(rows))]

    def require_model(
        self, fingerprint: str | Sequence[str], *, dimension: int | None = None, modality: Modality = ""
    ) -> None:
        """Check that vectors of a model can be compared with those of the gallery.

        Args:
            fingerprint: of the model; several: any of them.
            dimension: length of its vectors; None: not checked.
            modality: what the gallery must hold; "": anything.

        Raises:
            GalleryError: another model made the gallery, or it states none, or it holds something else.
        """
        mine = self.facts.fingerprint
        accepted = [fingerprint] if isinstance(fingerprint, str) else list(fingerprint)
        if mine not in accepted:
            fingerprint = accepted[0]
            stated = (
                f"made by another model ({mine[:12]}...)" if mine else "not known to be made by any model"
            )
            wanted = f"this one ({fingerprint[:12]}...)" if fingerprint else "vectors of an unknown model"
            raise GalleryError(
                f"{self.place} was {stated}, and cannot be compared with {wanted}: use the weights that made "
                "it, or build it again from embeddings of these"
            )
        if dimension is not None and dimension != self.facts.dimension:
            raise GalleryError(
                f"{self.place} holds vectors of length {self.facts.dimension}, expected {dimension}"
            )
        if modality and self.facts.modality and self.facts.modality != modality:
            raise GalleryError(f"{self.place} holds {self.facts.modality}s, expected {modality}s")

    def __enter__(self) -> Self:
        """Use the gallery in a `with` block, which closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it; what was added stays."""
        self.close()

    def _unit_rows(self, vectors: ArrayLike, what: str) -> Vectors:
        """Rows of unit length; rows of zeros stay zeros."""
        rows = np.asarray(vectors, np.float32)
        rows = rows[None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or rows.shape[1] != self.facts.dimension:
            raise GalleryError(
                f"{what}: expected vectors (N, {self.facts.dimension}), got shape {rows.shape}"
            )
        lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        broken = np.flatnonzero(~np.isfinite(lengths[:, 0]))
        if len(broken):
            raise GalleryError(f"{what}: row {broken[0]} is not finite")
        return (rows / np.maximum(lengths, np.finfo(np.float64).tiny)).astype(np.float32)

    def _check_items(self, items: list[str]) -> None:
        if len(set(items)) != len(items):
            raise GalleryError(f"{len(items) - len(set(items))} items are given more than once")
        for item in items:
            size = len(item.encode())
            if not 0 < size <= MAX_ITEM_BYTES:
                raise GalleryError(
                    f"the name {printable(item)[:80]!r} has {size} bytes, expected 1 to {MAX_ITEM_BYTES}"
                )

    def _require_known(self, items: list[str]) -> None:
        """Raise GalleryError if an item is not there."""
        if not items:
            return
        known = set(self._find_known(items))
        if absent := [item for item in items if item not in known]:
            raise GalleryError(
                f"{len(absent)} of {len(items)} items are not in {self.place}, the first is "
                f"{printable(absent[0])}"
            )


def _states_encoders(text: str) -> bool:
    """Whether a text is empty, or a JSON list of objects."""
    try:
        values = json.loads(text or "[]")
    except ValueError:
        return False
    return isinstance(values, list) and all(isinstance(each, dict) for each in values)


def _plain(item: str) -> str:
    """Name whose bytes that are not UTF-8 appear as in `voiceface.io.atomic.write_text`."""
    return item.encode("utf-8", "backslashreplace").decode()


def _check_metadata(items: list[str], metadata: list[dict[str, Any]]) -> None:
    for item, values in zip(items, metadata):
        for name, value in values.items():
            if not isinstance(name, str) or not isinstance(value, str | int | float | bool):
                raise GalleryError(
                    f"metadata of {printable(item)}: {name!r} is {type(value).__name__}, expected a text, a "
                    "number or a truth value"
                )
