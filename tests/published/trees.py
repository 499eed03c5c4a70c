"""The synthetic population as data folders in the layouts of the published programs."""

import os
import shutil
from pathlib import Path

UNPUBLISHED_LISTS = tuple(f"match{g}_{way}_2_test" for g in ("_g", "") for way in ("v2f", "f2v"))


def link_tree(source: Path, target: Path) -> Path:
    """Copy a folder by hard links, which cost no space."""
    return Path(shutil.copytree(source, target, copy_function=os.link, dirs_exist_ok=True))


def write_voxceleb(population: Path, out: Path) -> Path:
    """VoxCeleb1 with frontal VGGFace images, identity tables and lists: seeking_shape, archetype_agnostic.

    As published, tables end their lines by CR LF and have a row that is not used, and the validation list has
    no line end at its end. The four matching lists of the test identities, which the published folder lacks,
    are present: `UNPUBLISHED_LISTS`.
    """
    link_tree(population / "wav", out / "wav")
    link_tree(population / "faces", out / "VGG_ALL_FRONTAL")
    lists = Path(shutil.copytree(population / "list_wav", out / "list_wav"))
    (lists / "lists.json").unlink()  # published lists come without it
    for number, table in enumerate(sorted(lists.glob("vox1_*.csv")), 1):
        rows = [*table.read_text().splitlines(), f"id1999{number},A._Absent,m,Ireland,none"]
        table.write_bytes("".join(f"{row}\r\n" for row in rows).encode())
    validation = lists / "match_v2f_2_val.txt"
    validation.write_bytes(validation.read_bytes().removesuffix(b"\n"))
    return out


def count_identities(data: Path) -> int:
    """Number of training identities of a folder of `write_voxceleb`, those that are used."""
    rows = (data / "list_wav" / "vox1_train.csv").read_text().splitlines()[1:]
    return sum(not row.endswith(",none") for row in rows)


def write_first_release(population: Path, out: Path) -> Path:
    """The same with recordings below the names of the identities: first release of archetype_agnostic."""
    write_voxceleb(population, out)
    names = {}
    for table in (out / "list_wav").glob("vox1_*.csv"):
        names |= dict(line.split(",")[:2] for line in table.read_text().splitlines())
    for folder in (out / "wav").iterdir():
        folder.rename(out / "wav" / names[folder.name])
    for trials in (out / "list_wav").glob("*.txt"):
        lines = [line.split(" ") for line in trials.read_text().splitlines()]
        for line in lines:
            line[:] = ["/".join([names.get(first, first), *rest]) for first, *rest in map(_split, line)]
        trials.write_text("".join(f"{' '.join(line)}\n" for line in lines))
    return out


def _split(item: str) -> list[str]:
    return item.split("/")
