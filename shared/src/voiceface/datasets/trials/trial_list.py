"""Trial lists in memory: every item once, the lines as indices."""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from voiceface.datasets.corpus import Corpus
from voiceface.datasets.identities import Identity

__all__ = [
    "Item",
    "TrialList",
    "TrialListError",
    "factorize",
    "identity_indices",
    "read_list_bytes",
    "trial_list_from_columns",
    "trial_list_name",
    "with_labels",
]

Item = TypeVar("Item", str, int)


class TrialListError(ValueError):
    """A trial list that cannot be used; the message names file and line."""


@dataclass(frozen=True)
class TrialList:
    """A trial list as arrays: every item once, the lines as indices.

    L lines with N candidates each.

    Attributes:
        name: name without folder and endings, such as `match_g_v2f_2_test`.
        kind: "match", "verify" or "retrieval".
        direction: "v2f" (probes are clips) or "f2v" (probes are images).
        stratum: what impostors share with the probe: "U" nothing, letters of "GNA" for gender,
            nationality, age group.
        probes: the different probes, or the queries.
        gallery: the different candidates, or the gallery.
        probe_index: (L,) int64 into `probes`; None for retrieval.
        gallery_index: (L, N) int64 into `gallery`, for matching the right one first, for verification
            N = 1; None for retrieval.
        labels: (L,) int8 for verification, 1 where both are of one identity; None where not known and for
            the other kinds.
        sha256: of the list's bytes, uncompressed.
        source: the file it was read from.
        skipped: lines (for retrieval: items) that `check_trial_items` skipped.
        provenance: for lists generated here, how (see `voiceface.datasets.trials.sampling`); None for all
            others.
    """

    name: str
    kind: str
    direction: str
    stratum: str
    probes: list[str]
    gallery: list[str]
    probe_index: npt.NDArray[np.int64] | None = None
    gallery_index: npt.NDArray[np.int64] | None = None
    labels: npt.NDArray[np.int8] | None = None
    sha256: str = ""
    source: Path | None = None
    skipped: int = 0
    provenance: dict[str, Any] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        """Number of lines; of queries for retrieval."""
        return len(self.probes) if self.probe_index is None else len(self.probe_index)

    @property
    def label(self) -> str:
        """Name for tables and reports: spelled out where the published name is misspelled (`reterival`)."""
        return self.name.replace("reterival", "retrieval")

    @property
    def num_candidates(self) -> int:
        """Candidates per line: N for matching, 1 for verification, the size of the gallery for retrieval."""
        return len(self.gallery) if self.gallery_index is None else self.gallery_index.shape[1]

    @property
    def voices(self) -> list[str]:
        """The different clips."""
        return self.probes if self.direction == "v2f" else self.gallery

    @property
    def faces(self) -> list[str]:
        """The different images."""
        return self.gallery if self.direction == "v2f" else self.probes

    @property
    def is_generated(self) -> bool:
        """Whether the list was generated here: its metrics must not pass for those of a published list."""
        return self.provenance is not None


def with_labels(trial_list: TrialList, identity_source: Corpus | Sequence[Identity]) -> TrialList:
    """Add the labels of a verification list: 1 where probe and candidate belong to the same row of the table.

    Of several rows with one voice id or face name the last counts.

    Raises:
        TrialListError: items whose folder no row names (how many, and the first).
    """
    if trial_list.kind != "verify" or trial_list.probe_index is None or trial_list.gallery_index is None:
        return trial_list
    probe = identity_indices(trial_list.probes, identity_source, trial_list.name)[trial_list.probe_index]
    candidate = identity_indices(trial_list.gallery, identity_source, trial_list.name)[
        trial_list.gallery_index[:, 0]
    ]
    return replace(trial_list, labels=(probe == candidate).astype(np.int8))


def identity_indices(
    items: Sequence[str], identity_source: Corpus | Sequence[Identity], list_name: str = "list"
) -> npt.NDArray[np.int64]:
    """Return the index of whoever owns each item, shape (len(items),).

    A corpus knows its files; otherwise the first part of the path tells, a voice id or a face name.

    Raises:
        TrialListError: items whose folder no row names (how many, and the first).
    """
    identities = identity_source.identities if isinstance(identity_source, Corpus) else identity_source
    known = identity_source.item_to_identity if isinstance(identity_source, Corpus) else {}
    rows = {identity.voice_id: index for index, identity in enumerate(identities)}
    rows |= {identity.face_id: index for index, identity in enumerate(identities)}
    found = (known.get(item, rows.get(item.partition("/")[0], -1)) for item in items)
    owners = np.fromiter(found, np.int64, len(items))
    unknown = np.flatnonzero(owners < 0)
    if len(unknown):
        raise TrialListError(
            f"{list_name}: {len(unknown)} of {len(items)} items belong to nobody in the identity table, "
            f"the first is {items[unknown[0]]}; is it the table of another split?"
        )
    return owners


def trial_list_from_columns(
    name: str, kind: str, direction: str, stratum: str, columns: Sequence[Sequence[str]]
) -> TrialList:
    """Build a match or verify list from its columns: probes, then candidates, each of length L."""
    probes, probe_index = factorize(columns[0])
    count = len(columns[0])
    candidates, flat = factorize([item for column in columns[1:] for item in column])
    index = np.ascontiguousarray(flat.reshape(len(columns) - 1, count).T)
    return TrialList(name, kind, direction, stratum, probes, candidates, probe_index, index)


def factorize(items: Sequence[Item]) -> tuple[list[Item], npt.NDArray[np.int64]]:
    """Return the different items in order of appearance, and for every item its index among them."""
    places = {item: index for index, item in enumerate(dict.fromkeys(items))}
    return list(places), np.fromiter(map(places.__getitem__, items), np.int64, len(items))


def trial_list_name(path: Path) -> str:
    """Return the name of a list: the file name without .gz and .txt or .csv."""
    name = path.name.removesuffix(".gz")
    return name.removesuffix(".txt") if name.endswith(".txt") else name.removesuffix(".csv")


def read_list_bytes(path: Path) -> bytes:
    """Read a list's bytes, unpacked.

    Raises:
        TrialListError: the packing is corrupt.
        FileNotFoundError: there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no list at {path}")
    data = path.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError) as error:
        raise TrialListError(f"{path}: corrupt gzip file ({error})") from error
