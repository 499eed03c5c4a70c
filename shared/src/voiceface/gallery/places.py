"""Places of galleries: folders, and addresses of servers."""

import re
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from urllib.parse import urlsplit

from voiceface.gallery.index_file import INDEX_FILE, read_index
from voiceface.gallery.interface import Gallery, GalleryError, GalleryFacts, Modality
from voiceface.io.file_kinds import printable

__all__ = [
    "ENGINES",
    "Address",
    "create_gallery",
    "is_address",
    "is_gallery",
    "open_gallery",
    "parse_address",
]

ENGINES = {
    "exact": "voiceface.gallery.exact:ExactGallery",
    "faiss": "voiceface.gallery.faiss_index:FaissGallery",
    "chroma": "voiceface.gallery.chroma:ChromaGallery",
    "milvus": "voiceface.gallery.milvus:MilvusGallery",
}
"""Engine -> class that creates and opens its galleries."""
SERVERS = {"chroma": 8000, "milvus": 19530}
"""Engine that has servers -> its usual port."""


@dataclass(frozen=True)
class Address:
    """Address of a gallery on a server: ``ENGINE://HOST[:PORT]/NAME``, encrypted ``ENGINE+https://...``.

    Attributes:
        engine: "chroma" or "milvus".
        host: name or address of the server.
        port: its port.
        name: of the gallery, a collection of the server.
        encrypted: use TLS.
    """

    engine: str
    host: str
    port: int
    name: str
    encrypted: bool = False

    @property
    def server(self) -> str:
        """Address of the server: "http://host:port"."""
        return f"http{'s' * self.encrypted}://{self.host}:{self.port}"

    def __str__(self) -> str:
        """The address as it is written."""
        scheme = f"{self.engine}+https" if self.encrypted else self.engine
        return f"{scheme}://{self.host}:{self.port}/{self.name}"


def is_address(place: str | Path) -> bool:
    """Whether a place is an address and no folder."""
    return bool(re.match(r"[a-z+]{2,}:/", str(place)))  # `Path` makes one slash of two; C: is a drive


def is_gallery(place: str | Path) -> bool:
    """Whether a place is an address, or a folder with a gallery."""
    return is_address(place) or (Path(place) / INDEX_FILE).is_file()


def parse_address(text: str) -> Address:
    """Read an address.

    Raises:
        GalleryError: another form, or no known engine.
    """
    form = f"expected ENGINE://HOST[:PORT]/NAME with one of the engines {', '.join(SERVERS)}"
    try:
        parts = urlsplit(re.sub(r"^([a-z+]+:)/(?!/)", r"\1//", text))
        engine, _, scheme = parts.scheme.partition("+")
        port, host, name = parts.port, parts.hostname, parts.path.strip("/")
    except ValueError as error:
        raise GalleryError(f"{printable(text)}: {error}; {form}") from None
    if engine not in SERVERS or scheme not in ("", "http", "https") or not host:
        raise GalleryError(f"{printable(text)}: {form}")
    if parts.username is not None or parts.password is not None:
        raise GalleryError(
            f"an address holds no password: set VOICEFACE_{engine.upper()}_TOKEN in the environment"
        )
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{2,63}", name) or parts.query or parts.fragment:
        raise GalleryError(
            f"{printable(text)}: the name of a gallery has 3 to 64 letters, digits and underscores and "
            f"begins with a letter, got {printable(name)!r}"
        )
    return Address(engine, host, port or SERVERS[engine], name, scheme == "https")


def create_gallery(
    place: str | Path,
    dimension: int,
    *,
    engine: str | None = None,
    fingerprint: str = "",
    modality: Modality = "",
    encoder: str = "",
) -> Gallery:
    """Create an empty gallery.

    Args:
        place: folder, new or empty, or the address of a server.
        dimension: length of the vectors.
        engine: one of `ENGINES`; None: that of the address, or "exact" in a folder.
        fingerprint: of the model that computes the vectors; "": not stated.
        modality: "voice" or "face"; "": not stated.
        encoder: JSON about frozen encoders, as in `EmbeddingTable.encoder`.

    Raises:
        GalleryError: something is there already, or the engine does not fit.
        ModuleNotFoundError: the extra of the engine is not installed; says how to get it.
        OSError: no server answers, or the folder cannot be written.
    """
    target: Any = parse_address(str(place)) if is_address(place) else Path(place)
    if isinstance(target, Address) and engine not in (None, target.engine):
        raise GalleryError(f"{target} is of the engine {target.engine}, not {engine}")
    engine = target.engine if isinstance(target, Address) else engine or "exact"
    facts = GalleryFacts(engine, dimension, fingerprint, modality, encoder)
    gallery: Gallery = _class_of(engine, printable(place)).create(target, facts)
    return gallery


def open_gallery(place: str | Path) -> Gallery:
    """Open a gallery.

    Args:
        place: folder or address.

    Raises:
        FileNotFoundError: no gallery is there.
        GalleryError: it is damaged.
        ModuleNotFoundError: the extra of the engine is not installed; says how to get it.
        OSError: no server answers.
    """
    target: Any = parse_address(str(place)) if is_address(place) else Path(place)
    if isinstance(target, Address):
        engine, source = target.engine, str(target)
    else:
        source = printable(target / INDEX_FILE)
        engine = GalleryFacts.from_values(read_index(target), source).engine
    gallery: Gallery = _class_of(engine, source)(target)
    return gallery


def _class_of(engine: str, source: str) -> Any:
    if engine not in ENGINES:
        raise GalleryError(
            f"{source}: there is no engine {printable(engine)!r} of galleries, expected one of "
            f"{', '.join(ENGINES)}"
        )
    return resolve_name(ENGINES[engine])
