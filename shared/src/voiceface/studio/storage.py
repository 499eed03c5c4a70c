"""Recordings and pictures of visitors: in one temporary folder, under random names, for a limited time."""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["MediaItem", "MediaStore", "UnknownItemError", "short_name"]

JANITOR = "import shutil, sys; sys.stdin.read(); shutil.rmtree(sys.argv[1], ignore_errors=True)"
"""Program that removes the folder when the server has ended, in whatever way: its input then ends."""


class UnknownItemError(KeyError):
    """No such item, or it has expired."""


@dataclass
class MediaItem:
    """One recording or picture.

    Attributes:
        id: random name, known to its visitor alone.
        kind: "voice" or "face".
        path: the file.
        name: how the visitor calls it.
        identity: invented person that it shows; "": not one of them.
        size: of the file, bytes; 0 for a file that is not the visitor's.
        used: time of the last use, s.
        values: what has been found out about it, by name.
    """

    id: str
    kind: str
    path: Path
    name: str
    identity: str = ""
    size: int = 0
    used: float = 0.0
    is_owned: bool = True
    values: dict[str, Any] = field(default_factory=dict)


class MediaStore:
    """Keeps the items of visitors; `close` removes everything.

    Args:
        max_items: the oldest one goes when there are more.
        max_seconds: how long an unused one is kept.
        max_bytes: the oldest one goes when all files together are larger.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        max_items: int = 200,
        max_seconds: float = 1800.0,
        max_bytes: int = 2**30,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_items, self.max_seconds, self.max_bytes = max_items, max_seconds, max_bytes
        self._clock = clock
        self.folder = Path(tempfile.mkdtemp(prefix="voiceface-studio-"))
        self._items: OrderedDict[str, MediaItem] = OrderedDict()
        self._lock = threading.Lock()
        self._janitor: subprocess.Popen[bytes] | None = None
        if os.name == "posix":
            self._janitor = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", JANITOR, str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the server
            )

    def add(self, kind: str, content: bytes, name: str) -> MediaItem:
        """Keep bytes of a visitor.

        Args:
            kind: "voice" or "face".
            content: the file; it is written under a name of its own, without an ending.
            name: how the visitor calls it, for messages alone.
        """
        identifier = secrets.token_urlsafe(16)
        path = self.folder / secrets.token_hex(16)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        return self._keep(MediaItem(identifier, kind, path, short_name(name), size=len(content)))

    def add_invented(self, kind: str, path: Path, name: str, identity: str) -> MediaItem:
        """Keep a file of an invented person, which stays where it is."""
        item = MediaItem(secrets.token_urlsafe(16), kind, path, name, identity, is_owned=False)
        return self._keep(item)

    def get(self, identifier: str, kind: str) -> MediaItem:
        """Find an item.

        Raises:
            UnknownItemError: it does not exist, or has expired.
        """
        with self._lock:
            item = self._items.get(identifier)
            if item is None or item.kind != kind:
                raise UnknownItemError(f"no such {kind}, or it has been removed: send it again")
            item.used = self._clock()
            self._items.move_to_end(identifier)
            return item

    def remove(self, identifier: str) -> None:
        """Remove an item; nothing happens if there is none."""
        with self._lock:
            if (item := self._items.pop(identifier, None)) is not None:
                _delete(item)

    def __len__(self) -> int:
        """Number of items."""
        return len(self._items)

    def close(self) -> None:
        """Remove all files."""
        with self._lock:
            self._items.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._janitor is not None and self._janitor.stdin is not None:
            with contextlib.suppress(OSError):
                self._janitor.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._janitor.wait(5)

    def _keep(self, item: MediaItem) -> MediaItem:
        with self._lock:
            now = item.used = self._clock()
            self._items[item.id] = item
            while self._items:
                oldest = next(iter(self._items.values()))
                is_small = sum(each.size for each in self._items.values()) <= self.max_bytes
                if is_small and len(self._items) <= self.max_items and now - oldest.used <= self.max_seconds:
                    break
                _delete(self._items.pop(oldest.id))
        return item


def _delete(item: MediaItem) -> None:
    if item.is_owned:
        item.path.unlink(missing_ok=True)


def short_name(name: str) -> str:
    """The last part of a name that a visitor gave, without control characters."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable())[:80] or "without a name"
