"""Layout of face banks on disk: videos, single images and frontal images."""

from collections.abc import Sequence
from pathlib import Path

from cmpc2.prototype_retrieval import TrainingVideo
from voiceface.faces.own_pictures import PictureReader

from voicestyle.face_bank import BankImage, ImageFile
from voicestyle.stylegan2.dataset import IMAGE_SUFFIXES

__all__ = [
    "find_frontal_images",
    "find_videos",
    "list_images",
    "locate_bank_folders",
    "videos_from_images",
]


SCALE_FOLDER = "1.6"  # directory between name and video in VoxCeleb's face archive

TRACK_FOLDERS, FRONTAL_FOLDERS = (
    ("unzippedFaces", "voxceleb/unzippedFaces"),
    ("VGG_ALL_FRONTAL", "voxceleb/VGG_ALL_FRONTAL"),
)


def find_videos(
    root: Path, pictures: PictureReader | None = None
) -> tuple[list[TrainingVideo], list[list[BankImage]]]:
    """Find videos in a directory, `<name>/1.6/<video>/<frame>`; any other image is a video of one frame.

    Args:
        root: the directory.
        pictures: reads images outside of this layout as people's own; None: as data folders are read.

    Raises:
        FileNotFoundError: the directory is missing, or contains no image.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no directory at {root}: --bank names a directory of face images")
    videos: dict[tuple[str, str], list[BankImage]] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        parts = path.relative_to(root).parts
        label = "/".join(parts)
        reader = pictures
        if len(parts) == 4 and parts[1] == SCALE_FOLDER:
            key, reader = (parts[0], parts[2]), None
        else:
            key = parts[0] if len(parts) > 1 else path.stem, "/".join(parts[1:]) or path.name
        videos.setdefault(key, []).append(ImageFile(path, label, reader))
    if not videos:
        raise FileNotFoundError(
            f"no face images ({', '.join(sorted(IMAGE_SUFFIXES))}) in {root}: the bank is empty"
        )
    rows = [TrainingVideo(name, "1", "", "", "", "", video) for name, video in videos]
    return rows, list(videos.values())


def videos_from_images(
    files: Sequence[Path], pictures: PictureReader | None = None
) -> tuple[list[TrainingVideo], list[list[BankImage]]]:
    """Make a video of one frame of each file; its identity is named after the file's directory.

    Args:
        files: images.
        pictures: reads them as people's own pictures; None: as data folders are read.

    Raises:
        FileNotFoundError: there are no files.
    """
    if not files:
        raise FileNotFoundError("the bank is empty: expected at least one image")
    rows = [TrainingVideo(path.parent.name, "1", "", "", "", "", path.name) for path in files]
    labels = [f"{path.parent.name}/{path.name}" for path in files]
    if len(set(labels)) < len(labels):  # such as a/x/1.jpg and b/x/1.jpg
        labels = [path.as_posix() for path in files]
    return rows, [[ImageFile(path, label, pictures)] for path, label in zip(files, labels)]


def list_images(folder: Path) -> list[Path]:
    """List the image files of a directory, without hidden files; empty if the directory is missing."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")]


def locate_bank_folders(root: Path, frontal: Path | None = None) -> tuple[Path, Path | None]:
    """Directories of the videos and of the frontal images, in the published layout or as given."""
    tracks = next((root / name for name in TRACK_FOLDERS if (root / name).is_dir()), root)
    if frontal is None:
        frontal = next((root / name for name in FRONTAL_FOLDERS if (root / name).is_dir()), None)
    elif not frontal.is_dir():
        raise FileNotFoundError(f"no directory at {frontal}: --frontal names a directory of <name>/<image>")
    return tracks, None if frontal == tracks else frontal


def find_frontal_images(root: Path | None, names: Sequence[str]) -> dict[str, list[BankImage]]:
    """Find the images `<name>/<image>` of these identities."""
    images: dict[str, list[BankImage]] = {}
    for name in dict.fromkeys(names) if root else ():
        folder = root / name  # type: ignore[operator]
        files = [ImageFile(path, f"{name}/{path.name}") for path in list_images(folder)]
        if files:
            images[name] = [*files]
    return images
