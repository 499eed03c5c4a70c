"""What goes into which shard: a function of the files of a data folder alone."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import NamedTuple

from voiceface.datasets.corpus import abbreviate
from voiceface.datasets.identities import SPLITS, Identity
from voiceface.datasets.layouts import (
    AUDIO_SUFFIXES,
    FACE_ROOTS,
    IMAGE_SUFFIXES,
    VOICE_ROOTS,
    find_files,
    is_manifest,
    is_voxceleb3d,
    read_identities,
)
from voiceface.datasets.manifest import read_manifest
from voiceface.io.packed_folders import RECORD_FILE, packed_folder
from voiceface.io.shard_folders import VirtualFolder
from voiceface.io.shard_index import split_key
from voiceface.io.tar_members import (
    BLOCK_SIZE,
    MAX_MEMBER_BYTES,
    MAX_NAME_BYTES,
    find_name_fault,
    padding_of,
)

__all__ = [
    "DESCRIPTION_SUFFIX",
    "OTHER_SPLIT",
    "PackError",
    "PackPlan",
    "PackedSample",
    "ShardPlan",
    "plan_packing",
]

OTHER_SPLIT = "other"
"""Shards of files without a split."""
DESCRIPTION_SUFFIX = ".json"
MEDIA_SUFFIXES = {*AUDIO_SUFFIXES, *IMAGE_SUFFIXES} - {".npy"}  # of files beside a manifest
MAX_SAMPLES = 1_000_000  # of a shard
_IDENTITY_KEYS = ("identity", "voice_id", "face_id", "gender", "nationality", "split", "age")


class PackError(ValueError):
    """A data folder that cannot be packed."""


class PackedSample(NamedTuple):
    """Files of one key: their names in the archive, their bytes, and the description that is added.

    Bytes of a generated file are not known beforehand: an estimate, below zero.
    """

    key: str
    files: tuple[tuple[str, int], ...]
    description: bytes

    @property
    def members(self) -> list[tuple[str, int]]:
        """Names and bytes of all files, the description included."""
        added = [(self.key + DESCRIPTION_SUFFIX, len(self.description))] if self.description else []
        return [*self.files, *added]


class ShardPlan(NamedTuple):
    """A shard: name of the archive, split, samples."""

    name: str
    split: str
    samples: list[PackedSample]


@dataclass(frozen=True)
class PackPlan:
    """What is packed.

    Attributes:
        root: the data folder.
        shards: in order: the splits train, val, test, other; in a split identity after identity.
        plain_files: files that stay files, such as tables and lists; names relative to the root.
        left_out: recordings and pictures that belong to nobody, such as videos beside a manifest.
        missing: files that a manifest names and that do not exist.
        source: of generated files, a digest of what they depend on; else "".
    """

    root: Path
    shards: list[ShardPlan]
    plain_files: list[str]
    left_out: list[str]
    missing: list[str]
    source: str = ""


def plan_packing(root: str | Path, *, shard_bytes: int, on_missing: str = "error") -> PackPlan:
    """Plan the shards of a data folder.

    A sample is the files of one key, and a description: who it is, and the split.

    Args:
        root: data folder with a manifest or the published tables, or of a population that is generated.
        shard_bytes: an archive ends before the sample that would make it larger.
        on_missing: files of a manifest that do not exist: "error", or "skip".

    Raises:
        FileNotFoundError: no folder, no identity table, or missing files.
        PackError: the folder is packed already, has no files to pack, or files that cannot be packed.
    """
    base = Path(root)
    if not base.is_dir():
        raise FileNotFoundError(f"no data folder at {base}")
    folder = packed_folder(base)
    if folder is not None and not folder.is_generated:
        raise PackError(f"{base} is packed already; copy it, or unpack it with tar and pack the result")
    if is_voxceleb3d(base):
        raise PackError(f"{base} has the layout of Voxceleb-3D, expected a manifest or split tables")
    has_manifest = is_manifest(base / "manifest.csv")
    owners = _owners_of_manifest(base) if has_manifest else _owners_of_tables(base)
    sizes: dict[str, int] = {}
    missing: list[str] = []
    if folder is not None:
        sizes = _estimate_sizes(folder, owners)
    for name in owners if folder is None else ():
        try:
            sizes[name] = (base / name).stat().st_size
        except OSError:
            missing.append(name)
    if missing and on_missing == "error":
        raise FileNotFoundError(
            f"{len(missing)} files of {base / 'manifest.csv'} are missing: {abbreviate(missing)}. Complete "
            "the data, or skip these files (--missing skip)"
        )
    _check_names(base, sizes)
    shards: list[ShardPlan] = []
    for split in (*SPLITS, OTHER_SPLIT):
        wanted = [name for name in sizes if (_split_of(owners[name])) == split]
        shards += _divide(split, _collect_samples(base, wanted, sizes, owners), shard_bytes)
    if not shards:
        raise PackError(f"{base}: no recordings or pictures to pack")
    if folder is not None:
        plain = [path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file()]
        plain.remove(RECORD_FILE)
        plain += [name for name in (*folder.below("mesh"), "truth/views.npz") if folder.has(name)]
        return PackPlan(base, shards, sorted(plain), [], missing, folder.stamp(next(iter(owners)))[1])
    plain, left_out = _find_plain_files(base, set(owners), has_manifest)
    return PackPlan(base, shards, plain, left_out, missing)


def _estimate_sizes(folder: VirtualFolder, names: Iterable[str]) -> dict[str, int]:
    """Bytes of generated files, below zero: of each ending those of its first file."""
    first: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for name in names:
        ending = split_key(name)[1]
        if ending not in first:
            first[ending] = -len(folder.read(name))
        sizes[name] = first[ending]
    return sizes


def _owners_of_manifest(base: Path) -> dict[str, Identity | None]:
    """Files of a manifest with their identities, identity after identity."""
    rows = read_manifest(base / "manifest.csv")
    order = {name: number for number, name in enumerate(dict.fromkeys(row.identity.name for row in rows))}
    rows.sort(key=lambda row: (order[row.identity.name], row.modality == "face", row.path))
    return {row.path: row.identity for row in rows}


def _owners_of_tables(base: Path) -> dict[str, Identity | None]:
    """All files below the folders of voices and faces with their identities, in the order of the tables."""
    people: dict[str, Identity] = {}
    order: dict[str, int] = {}
    for number, identity in enumerate(read_identities(base, None, include_unused=True)):
        for folder in (identity.voice_id, identity.face_id):
            people.setdefault(folder, identity)
            order.setdefault(folder, number)
    found: list[tuple[int, str, Identity | None]] = []
    for place in (*VOICE_ROOTS, *FACE_ROOTS):
        for name in find_files(base, place, ("",)) or ():
            folder = name[len(place) + 1 :].partition("/")[0]
            found.append((order.get(folder, len(order)), name, people.get(folder)))
    found.sort(key=lambda item: item[0])  # stable: voices before faces
    return {name: identity for _, name, identity in found}


def _split_of(identity: Identity | None) -> str:
    """Split of an identity; rows that are not used have none."""
    return identity.split if identity is not None and identity.split in SPLITS else OTHER_SPLIT


def _check_names(base: Path, sizes: dict[str, int]) -> None:
    """Refuse what an archive cannot hold."""
    for name, size in sizes.items():
        fault = find_name_fault(name)
        if not fault and len(name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES - 8:
            fault = "it is too long"
        if not fault and size > MAX_MEMBER_BYTES:
            fault = f"it has {size:,} bytes, more than {MAX_MEMBER_BYTES:,}"
        if fault:
            raise PackError(f"{base / name!r} cannot be packed: {fault}; rename or remove it")


def _collect_samples(
    base: Path, names: Sequence[str], sizes: dict[str, int], owners: dict[str, Identity | None]
) -> list[PackedSample]:
    """Samples in the order of their first files."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(split_key(name)[0], []).append(name)
    samples = []
    for key, files in groups.items():
        people = {owners[name] for name in files}
        if len(people) > 1:
            raise PackError(
                f"{', '.join(files)} in {base} have one key, {key}, and different identities; rename one"
            )
        description = _describe(owners[files[0]])
        if any(name == key + DESCRIPTION_SUFFIX for name in files):
            description = b""
        samples.append(PackedSample(key, tuple((name, sizes[name]) for name in files), description))
    return samples


def _describe(identity: Identity | None) -> bytes:
    """Description of a sample: what is known of its identity."""
    values = dict(zip(_IDENTITY_KEYS, astuple(identity))) if identity is not None else {}
    return json.dumps({key: value for key, value in values.items() if value not in ("", None)}).encode()


def _divide(split: str, samples: Iterable[PackedSample], shard_bytes: int) -> list[ShardPlan]:
    """Shards of a split; a sample is never divided."""
    shards: list[ShardPlan] = []
    filled = 0
    for sample in samples:
        size = sum(BLOCK_SIZE + abs(length) + padding_of(length) for _, length in sample.members)
        if not shards or filled + size > shard_bytes or len(shards[-1].samples) >= MAX_SAMPLES:
            shards.append(ShardPlan(f"{split}-{len(shards):06d}.tar", split, []))
            filled = 0
        shards[-1].samples.append(sample)
        filled += size
    return shards


def _find_plain_files(base: Path, packed: set[str], has_manifest: bool) -> tuple[list[str], list[str]]:
    """Files that stay files, and recordings and pictures that are left out."""
    plain: list[str] = []
    left_out: list[str] = []
    for name in find_files(base, "", ("",)) or ():
        if name in packed:
            continue
        is_media = has_manifest and Path(name).suffix.lower() in MEDIA_SUFFIXES
        (left_out if is_media else plain).append(name)
    return plain, left_out
