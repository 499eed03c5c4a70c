"""Finding files below a folder, and refusing paths that lead out of it."""

import os
from collections.abc import Collection
from pathlib import Path


def find_files(root: str | Path, folder: str, suffixes: Collection[str]) -> list[str] | None:
    """List the files with one of `suffixes` below root/folder, to any depth.

    Names that begin with a full stop (what file managers and interrupted copies leave) and files with other
    suffixes are passed over. Links to folders are followed unless they lead back up.

    Args:
        root: folder that the paths are relative to.
        folder: name below root; "" takes root itself.
        suffixes: endings that count, full stop included, case as written.

    Returns:
        Sorted paths relative to root with forward slashes, or None when there is no such folder.
    """
    endings = tuple(suffixes)
    top = os.path.join(root, folder) if folder else str(root)  # noqa: PTH118 - text is faster, and paths are many
    found: list[str] = []
    pending = [(top, folder)]
    visited: set[str] = set()
    try:
        while pending:
            place, name = pending.pop()
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    item = f"{name}/{entry.name}" if name else entry.name
                    if entry.is_dir():
                        if entry.is_symlink():
                            target = os.path.realpath(entry.path)
                            if target in visited or f"{os.path.realpath(place)}/".startswith(f"{target}/"):
                                continue
                            visited.add(target)
                        pending.append((entry.path, item))
                    elif entry.name.endswith(endings):
                        found.append(item)
    except (FileNotFoundError, NotADirectoryError):
        if not Path(top).is_dir():
            return None
        raise
    found.sort()
    return found


def inside(item: str) -> bool:
    """Tell whether a relative path with forward slashes stays below the root it is relative to."""
    if not item or item[0] == "/" or item[1:2] == ":" or "\\" in item or "\0" in item:
        return False
    return ".." not in item or ".." not in item.split("/")
