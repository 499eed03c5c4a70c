"""The state of one server: systems, invented people, the own gallery, what visitors have sent."""

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from voiceface.io.file_kinds import printable
from voiceface.studio.answers import SystemRunner, explain
from voiceface.studio.evaluations import Evaluations
from voiceface.studio.galleries import Collection, Entry
from voiceface.studio.invention import SHAPE_LABELS
from voiceface.studio.people import InventedPerson, write_people
from voiceface.studio.queues import Worker
from voiceface.studio.schemas import (
    FaceRecord,
    GalleryItem,
    GalleryState,
    StudioState,
    SystemState,
    VoiceRecord,
)
from voiceface.studio.settings import StudioSettings
from voiceface.studio.storage import MediaItem, MediaStore, UnknownItemError
from voiceface.suite.plugins import AssociationSystem, System, SystemSet

__all__ = ["Studio", "select_systems"]

MAX_ENTRIES = 100_000  # candidates whose pictures and recordings can be asked for


def select_systems(settings: StudioSettings, found: SystemSet | None = None) -> SystemSet:
    """The systems of a server.

    Raises:
        ValueError: a system is not available, or weights are given for one that is not selected.
    """
    from voiceface.suite.plugins import find_systems

    systems = find_systems() if found is None else found
    systems = systems.select(settings.systems) if settings.systems else systems
    systems = systems.without_unready()
    names = {system.name for system in systems.found}
    if unknown := set(settings.weights) - names:
        raise ValueError(
            f"--weights names {', '.join(sorted(unknown))}, which is not among the systems of the studio "
            f"({', '.join(sorted(names)) or 'none'})"
        )
    return systems


class Studio:
    """Everything behind the routes.

    Args:
        settings: of the server.
        systems: from `select_systems`.
    """

    def __init__(self, settings: StudioSettings, systems: SystemSet) -> None:
        self.settings, self.systems = settings, systems
        limits = settings.limits
        self.evaluations = Evaluations(settings.results, settings.data)
        self.store = MediaStore(limits.kept_items, limits.kept_seconds, limits.kept_bytes)
        self.runners = {system.name: self._runner(system) for system in systems.found}
        self.reading = Worker("recordings and pictures", limits.waiting_jobs)
        self.inventing = Worker("inventions", limits.waiting_jobs)
        self._people: list[InventedPerson] = []
        self._people_lock = threading.Lock()
        self.people_collection: Collection | None = None
        dropped = self.store.folder / "gallery"
        dropped.mkdir(mode=0o700)
        self.dropped = Collection("own", "dropped", dropped, self.store.folder / "embeddings")
        self.folder = self._own_folder(settings.gallery)
        self.left_out: dict[str, str] = {}
        self._removed: set[str] = set()
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._lock = threading.Lock()
        self.refresh_gallery()

    def close(self) -> None:
        """End all threads and remove all files of visitors."""
        for worker in (*(runner.worker for runner in self.runners.values()), self.reading, self.inventing):
            worker.close(seconds=2.0)
        self.store.close()

    def state(self) -> StudioState:
        """What this server can do."""
        import voiceface
        from voiceface.faces.own_pictures import NO_NETWORKS, PictureReader
        from voiceface.synthetic.head.shape_space import SHAPE_NAMES

        finds = PictureReader("auto").finds_faces
        return StudioState(
            version=voiceface.__version__,
            systems=[self._describe(runner) for runner in self.runners.values()],
            unavailable=self.systems.unavailable,
            finds_faces=finds,
            no_faces_note="" if finds else NO_NETWORKS,
            upload_megabytes=self.settings.limits.upload_bytes / 2**20,
            sound_seconds=self.settings.limits.sound_seconds,
            own_gallery=bool(self.gallery_items()),
            shape_names=[SHAPE_LABELS.get(name, name) for name in SHAPE_NAMES],
        )

    @property
    def has_people(self) -> bool:
        """Whether the invented people are at hand, so that asking for them takes no time."""
        return bool(self._people)

    def people(self) -> list[InventedPerson]:
        """The invented people; written by the first call."""
        with self._people_lock:
            if not self._people:
                folder, people = write_people(self.settings.cache, self.settings.num_people)
                collection = Collection(
                    "people", "people", folder, self.settings.cache / f"{folder.name}_embeddings"
                )
                collection.set_files([each.face for each in people], [each.voice for each in people])
                for each in people:
                    for path in (each.face, each.voice):
                        collection.names[path], collection.identities[path] = each.name, each.id
                self.people_collection, self._people = collection, people
            return self._people

    def person(self, identifier: str) -> InventedPerson:
        """One of them.

        Raises:
            UnknownItemError: nobody of this name.
        """
        found = next((each for each in self.people() if each.id == identifier), None)
        if found is None:
            raise UnknownItemError("nobody of the invented people has this name")
        return found

    def collections(self, scope: str) -> list[Collection]:
        """What is ranked: "people" or "own"."""
        if scope == "people":
            self.people()
            return [self.people_collection] if self.people_collection is not None else []
        return [each for each in (self.folder, self.dropped) if each is not None]

    def remember(self, entry: Entry) -> None:
        """Let the picture or recording of a candidate be asked for."""
        with self._lock:
            self._entries[entry.id] = entry
            self._entries.move_to_end(entry.id)
            while len(self._entries) > MAX_ENTRIES:
                self._entries.popitem(last=False)

    def entry(self, identifier: str) -> Entry:
        """A candidate that was named before.

        Raises:
            UnknownItemError: none of them, or its file is gone.
        """
        with self._lock:
            found = self._entries.get(identifier)
        if found is None or not found.path.is_file():
            raise UnknownItemError("no such candidate")
        return found

    def hear(self, item: MediaItem) -> VoiceRecord:
        """Read a recording; the item is removed if it cannot be used.

        Raises:
            ValueError, OSError: as of `voiceface.studio.voices.hear_voice`, in the visitor's words.
        """
        from voiceface.studio.voices import hear_voice

        try:
            heard = hear_voice(item.path, self.settings.limits)
        except (ValueError, OSError) as error:
            self.store.remove(item.id)
            raise ValueError(explain(error, item.path, item.name)) from None
        item.values["spectrogram"] = heard.spectrogram
        known = heard._asdict()
        del known["spectrogram"]
        return VoiceRecord(id=item.id, name=item.name, person=item.identity, **known)

    def look(self, item: MediaItem) -> FaceRecord:
        """Read a picture; the item is removed if it cannot be used.

        Raises:
            ValueError, OSError: as of `voiceface.studio.pictures.look_at_picture`, in the visitor's words.
        """
        from voiceface.studio.pictures import look_at_picture

        try:
            seen = look_at_picture(item.path, self.settings.limits)
        except (ValueError, OSError) as error:
            self.store.remove(item.id)
            raise ValueError(explain(error, item.path, item.name)) from None
        item.values["shown"] = seen.shown
        known = seen._asdict()
        del known["shown"]
        return FaceRecord(id=item.id, name=item.name, person=item.identity, **known)

    def refresh_gallery(self) -> None:
        """Look at the folder of the own gallery again."""
        if self.folder is None:
            return
        from voiceface.io.own_files import find_own_files

        found = find_own_files([self.folder.root])
        self.left_out = {
            printable(each.path.relative_to(self.folder.root).as_posix()): each.reason
            for each in found.left_out
        }
        collection = self.folder

        def kept(paths: Sequence[Path]) -> list[Path]:
            return [path for path in paths if self._file_id(collection, path) not in self._removed]

        self.folder.set_files(kept(found.pictures), kept(found.sounds))

    def gallery_items(self) -> list[tuple[GalleryItem, Path, Collection]]:
        """Files of the own gallery."""
        rows = []
        for collection in (self.folder, self.dropped):
            if collection is None:
                continue
            for kind, paths in collection.files.items():
                for path in paths:
                    name = collection.shown_name(path)
                    values: dict[str, Any] = {
                        "id": self._file_id(collection, path),
                        "name": name,
                        "kind": kind,
                    }
                    rows.append((GalleryItem(origin=collection.origin, **values), path, collection))  # type: ignore[arg-type]
        return rows

    def gallery(self) -> GalleryState:
        """The own gallery, for the page; its files can then be asked for."""
        rows = self.gallery_items()
        for item, path, _ in rows:
            self.remember(Entry(item.id, path, item.kind, item.name))
        folder = "" if self.folder is None else self.folder.root.name
        return GalleryState(folder=folder, items=[item for item, _, _ in rows], left_out=self.left_out)

    def drop(self, content: bytes, name: str) -> None:
        """Add a visitor's file to the own gallery.

        Raises:
            ValueError: neither a picture nor a recording, too large a one, or too many of them.
        """
        from voiceface.io.own_files import find_own_files
        from voiceface.studio.pictures import require_few_pixels
        from voiceface.studio.storage import short_name
        from voiceface.studio.voices import require_short

        shown, limits = short_name(name), self.settings.limits
        count = sum(map(len, self.dropped.files.values()))
        size = sum(path.stat().st_size for path in self.dropped.root.iterdir())
        if count >= limits.gallery_files or size + len(content) > limits.gallery_bytes:
            raise ValueError(
                f"{shown}: {count} files of {size / 2**20:.0f} MB have been added already, expected at most "
                f"{limits.gallery_files} of {limits.gallery_bytes / 2**20:.0f} MB; remove some, or start the "
                "studio with --gallery FOLDER"
            )
        path = self.dropped.root / secrets.token_hex(12)
        path.write_bytes(content)
        try:
            found = find_own_files([path])
            require_few_pixels(path, limits.pixels)
            if not found.pictures:
                require_short(path, limits)
        except (ValueError, OSError) as error:
            path.unlink(missing_ok=True)
            raise ValueError(explain(error, path, shown)) from None
        kind = "face" if found.pictures else "voice"
        self.dropped.names[path] = shown
        self.dropped.files[kind] = [*self.dropped.files[kind], path]

    def remove_from_gallery(self, identifier: str) -> None:
        """Take a file out of the own gallery; those of the visitor's folder stay where they are.

        Raises:
            UnknownItemError: none of them.
        """
        for item, path, collection in self.gallery_items():
            if item.id == identifier:
                collection.files[item.kind] = [each for each in collection.files[item.kind] if each != path]
                if collection is self.dropped:
                    path.unlink(missing_ok=True)
                else:
                    self._removed.add(identifier)
                return
        raise UnknownItemError("no such file in the gallery")

    def _runner(self, system: System) -> SystemRunner:
        is_slow = not getattr(system, "is_fast", True)

        def use_one_thread() -> None:
            import torch

            torch.set_num_threads(1)  # of this thread; the systems work beside each other

        worker = Worker(
            system.name,
            self.settings.limits.waiting_jobs,
            prepare=(lambda: None) if is_slow else use_one_thread,
        )
        return SystemRunner(system, self.settings.weights.get(system.name), self.settings.device, worker)

    def _describe(self, runner: SystemRunner) -> SystemState:
        return SystemState(
            name=runner.system.name,
            kind=runner.kind,  # type: ignore[arg-type]
            description=runner.system.description,
            ranks_voices=isinstance(runner.system, AssociationSystem),
            is_fast=runner.is_fast,
            weights="bundled" if runner.weights is None else runner.weights.name,
            is_loaded=runner.model is not None,
            notice=runner.notice,
        )

    def _own_folder(self, folder: Path | None) -> Collection | None:
        if folder is None:
            return None
        root = folder.resolve()
        key = hashlib.sha256(str(root).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return Collection("own", "folder", root, self.settings.cache / f"gallery_{key}")

    @staticmethod
    def _file_id(collection: Collection, path: Path) -> str:
        return collection.item_id(path.relative_to(collection.root).as_posix())
