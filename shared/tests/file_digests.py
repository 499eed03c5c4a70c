"""Contents of a folder in tests, as hashes."""

from pathlib import Path

from voiceface.io.atomic import compute_sha256

__all__ = ["file_digests"]


def file_digests(root: Path) -> dict[str, str]:
    """Map the paths of all files below a folder to the hashes of their bytes."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {path.relative_to(root).as_posix(): compute_sha256(path) for path in files}
