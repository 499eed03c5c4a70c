"""Files that are ranked: invented people, and the visitor's own gallery; embedded once by each system."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.gallery import Found, Gallery, GalleryError, create_gallery, open_gallery
from voiceface.gallery.tables import add_rows, read_facts, rows_of_table
from voiceface.io.atomic import write_json
from voiceface.io.file_facts import FaceFacts
from voiceface.io.file_kinds import printable

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder

__all__ = ["Collection", "Entry", "search_collection"]

log = logging.getLogger(__name__)
BATCH = 16
MANIFEST = "files.json"


@dataclass(frozen=True)
class Entry:
    """One candidate, for the page.

    Attributes:
        id: opaque name.
        path: its file.
        kind: "face" or "voice".
        name: for readers.
        identity: invented person; "": nobody of them.
        face: the face of the picture, if one was looked for.
        note: what makes its score doubtful.
    """

    id: str
    path: Path
    kind: str
    name: str
    identity: str = ""
    face: FaceFacts | None = None
    note: str = ""


class Collection:
    """Files below one folder.

    Args:
        scope: "people" or "own".
        origin: "people", "folder" or "dropped".
        root: folder of the files.
        index: folder of their embeddings.
    """

    def __init__(self, scope: str, origin: str, root: Path, index: Path) -> None:
        self.scope, self.origin, self.root, self.index = scope, origin, root, index
        self.files: dict[str, list[Path]] = {"face": [], "voice": []}
        self.names: dict[Path, str] = {}
        self.identities: dict[Path, str] = {}

    def set_files(self, faces: Iterable[Path], voices: Iterable[Path]) -> None:
        """Say what belongs to it."""
        self.files = {"face": list(faces), "voice": list(voices)}

    def item_id(self, item: str) -> str:
        """Opaque name of a file or of one face of it."""
        return hashlib.sha256(f"{self.origin}\0{item}".encode("utf-8", "surrogateescape")).hexdigest()[:20]

    def shown_name(self, path: Path) -> str:
        """Name of a file for readers; bytes that are no text are escaped."""
        return printable(self.names.get(path) or path.relative_to(self.root).as_posix())

    def entry(self, item: str, kind: str, metadata: Any = None) -> Entry:
        """Build the record of an item of its gallery."""
        path, number = self.root / item, ""
        if "#" in item and not path.exists():  # one face of several in a picture
            name, _, number = item.rpartition("#")
            path = self.root / name
        records = read_facts(metadata) if metadata else ()
        facts = records[0] if records else None
        shown = self.shown_name(path) + (f" #{number}" if number else "")
        return Entry(
            self.item_id(item),
            path,
            kind,
            shown,
            self.identities.get(path, ""),
            None if facts is None else facts.face,
            "" if facts is None else ", ".join(facts.short_notes),
        )

    def synchronise(
        self, model: "Embedder", kind: str, on_progress: Callable[[int, int], None]
    ) -> tuple[Gallery, dict[str, str]]:
        """Embed what is new, and drop what has gone.

        Args:
            model: loaded system.
            kind: "face" or "voice".
            on_progress: (files that are done, files to do); what it raises ends the work.

        Returns:
            The gallery, and the files that cannot be used with their reasons.
        """
        reader = model.pictures.identity if kind == "face" else str(model.long_recordings)
        key = hashlib.sha256(f"{model.fingerprint} {reader}".encode()).hexdigest()[:24]
        folder = self.index / f"{kind}-{key}"
        gallery, known = _open(folder, model, kind)
        wanted = {path.relative_to(self.root).as_posix(): path for path in self.files[kind]}
        stamps = {name: _stamp(path) for name, path in wanted.items()}
        gone = [name for name, state in known.items() if stamps.get(name) != state["stamp"]]
        if gone:
            gallery.remove([item for name in gone for item in known[name]["items"]])
            for name in gone:
                del known[name]
        todo = [name for name in wanted if name not in known and stamps[name]]
        for start in range(0, len(todo), BATCH):
            on_progress(start, len(todo))
            part = todo[start : start + BATCH]
            rows, failed = _embed(model, kind, [wanted[name] for name in part], self.root)
            if rows is not None:
                add_rows(gallery, rows, skip_existing=True)
            for name in part:
                items = (
                    [] if rows is None else [i for i in rows.items if i == name or i.startswith(f"{name}#")]
                )
                known[name] = {"stamp": stamps[name], "items": items, "problem": failed.get(name, "")}
            write_json(folder / MANIFEST, known)
        if gone or todo:
            gallery.save()
            write_json(folder / MANIFEST, known)
        return gallery, {name: state["problem"] for name, state in known.items() if state["problem"]}

    def forget(self) -> None:
        """Remove all embeddings."""
        shutil.rmtree(self.index, ignore_errors=True)


def search_collection(
    collections: Iterable[tuple[Collection, Gallery]], vector: Any, kind: str, top: int
) -> list[tuple[Found, Entry]]:
    """Search several galleries of one system; best first, ties by name."""
    found = [
        (each, collection.entry(each.item, kind, each.metadata))
        for collection, gallery in collections
        for each in gallery.search(vector, top)[0]
    ]
    return sorted(found, key=lambda pair: (-pair[0].score, pair[1].name))[:top]


def _open(folder: Path, model: "Embedder", kind: str) -> tuple[Gallery, dict[str, Any]]:
    """The gallery of a folder with its manifest; a damaged one is made anew."""
    try:
        known = json.loads((folder / MANIFEST).read_text())
        gallery = open_gallery(folder)
        items = [item for state in known.values() for item in state["items"]]
        if len(items) != len(gallery) or len(gallery.known(items)) != len(items):
            raise GalleryError("its list of files belongs to another state")
        return gallery, known
    except FileNotFoundError:
        pass
    except (GalleryError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("embeddings of the studio are computed again: %s", error)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    modality: Any = kind
    gallery = create_gallery(folder, model.embedding_dim, fingerprint=model.fingerprint, modality=modality)
    return gallery, {}


def _embed(model: "Embedder", kind: str, paths: list[Path], root: Path) -> tuple[Any, dict[str, str]]:
    """Rows of some files, and the reasons of those that cannot be used."""
    from voiceface.association.embedding import embed
    from voiceface.embeddings.table import EmbeddingError

    sides: tuple[list[Path], list[Path]] = (paths, []) if kind == "voice" else ([], paths)
    try:
        table = embed(model, *sides, relative_to=root, workers=1, progress=False)
    except EmbeddingError as error:
        if not error.failures:
            raise
        return None, _without_root(error.failures, root)
    return rows_of_table(table), _without_root(table.failed, root)


def _without_root(failed: dict[str, str], root: Path) -> dict[str, str]:
    return {name: reason.replace(f"{root.as_posix()}/", "") for name, reason in failed.items()}


def _stamp(path: Path) -> str:
    """Size and time of a file; "" if it is gone."""
    try:
        state = path.stat()
    except OSError:
        return ""
    return f"{state.st_size} {state.st_mtime_ns}"
