"""Parts of the layout of Voxceleb-3D, and their files by identity."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from voiceface.datasets.layouts import find_files

__all__ = [
    "HELD_OUT_INITIALS",
    "PARTS",
    "TRAINING_INITIALS",
    "Part",
    "base_folder",
    "find_part",
    "group_by_identity",
]

HELD_OUT_INITIALS, TRAINING_INITIALS = "ABCDE", "FGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Part:
    """Files of one kind in the layout.

    Attributes:
        name: pattern of the files below the data folder.
        modality: key of the probe.
        needed_for: steps that read it.
    """

    name: str
    modality: str
    needed_for: str

    @property
    def folder(self) -> str:
        """The folder below the data folder."""
        return self.name.partition("/")[0]

    def holds(self, item: str) -> bool:
        """Whether a file, by its path below the data folder, belongs to this part."""
        if not item.startswith(f"{self.folder}/"):
            return False
        is_overlay = item.endswith("_b.jpg")
        if self.folder == "A2E_val" and item.endswith(".jpg"):
            return is_overlay == self.name.endswith("_b.jpg")
        return item.endswith(Path(self.name).suffix)


PARTS = (
    Part("fbank/<id>/<video>/*.npy", "features", "train, test"),
    Part("VGG_ALL_FRONTAL/<Name>/*.jpg", "face", "train"),
    Part("val_sub/<Name>/*.npy", "features", "validation"),
    Part("AtoE_sub/<Name>/*.xyz", "points", "validation"),
    Part("A2E_val/<Name>/*.xyz", "points", "test, evaluate"),
    Part("A2E_val/<Name>/*.obj", "mesh", "-"),
    Part("A2E_val/<Name>/*.npy", "coefficients", "overlay"),
    Part("A2E_val/<Name>/*.jpg", "face", "overlay"),
    Part("A2E_val/<Name>/*_b.jpg", "face", "-"),
    Part("preprocessed_MFCC/<id>/<video>/*.npy", "features", "demo"),
    Part("face_types/*.obj", "mesh", "--references"),
)


def base_folder(root: Path, item: str) -> Path:
    """The folder that an item is relative to: the reference shapes may lie beside the data folder."""
    beside = item.startswith("face_types/") and not (root / "face_types").is_dir()
    return root.parent if beside else root


def find_part(root: Path, part: Part) -> list[str] | None:
    """Files of a part, relative to the data folder; None without its folder."""
    files = find_files(base_folder(root, part.name), part.folder, (Path(part.name).suffix,))
    return None if files is None else [item for item in files if part.holds(item)]


def group_by_identity(items: Iterable[str], names: Mapping[str, str]) -> dict[str, list[str]]:
    """Files by the name of their identity: the folder, or the name that the table gives for it."""
    groups: dict[str, list[str]] = defaultdict(list)
    for item in items:
        if item.count("/") > 1:
            folder = item.split("/")[1]
            groups[names.get(folder, folder)].append(item)
    return groups
