"""The synthetic population as data folders in the layouts of the published programs."""

import os
import shutil
from pathlib import Path


def link_tree(source: Path, target: Path) -> Path:
    """Copy a folder by hard links, which cost no space."""
    return Path(shutil.copytree(source, target, copy_function=os.link, dirs_exist_ok=True))


def write_voxceleb(population: Path, out: Path) -> Path:
    """VoxCeleb1 with frontal VGGFace images, identity tables and lists: seeking_shape, archetype_agnostic."""
    link_tree(population / "wav", out / "wav")
    link_tree(population / "faces", out / "VGG_ALL_FRONTAL")
    shutil.copytree(population / "list_wav", out / "list_wav")
    (out / "list_wav" / "lists.json").unlink()  # published lists come without it
    return out
