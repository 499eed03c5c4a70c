"""Trial lists in memory: items once, trials as indices."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from voiceface.datasets.corpus import Corpus
from voiceface.datasets.identities import Identity, find_second_spelling
from voiceface.io.foreign_files import decode_text, decompress_gzip, reading

__all__ = [
    "Item",
    "TrialList",
    "TrialListError",
    "factorize",
    "identity_indices",
    "read_list_text",
    "split_lines",
    "trial_list_from_columns",
    "trial_list_name",
    "with_labels",
]

Item = TypeVar("Item", str, int)
_LINE_END = re.compile(r"\r\n|\r|\n")


class TrialListError(ValueError):
    """An invalid trial list; the message names file and line."""


@dataclass(frozen=True)
class TrialList:
    """A trial list as arrays: L trials with N candidates each.

    Attributes:
        name: name without folder and endings, such as `match_g_v2f_2_test`.
        kind: "match", "verify" or "retrieval".
        direction: "v2f" (probes are clips) or "f2v" (probes are images).
        stratum: attributes that impostors share with the probe: "U" none, letters of "GNA" for gender,
            nationality, age group.
        probes: distinct probes, or the queries.
        gallery: distinct candidates, or the gallery.
        probe_index: (L,) int64 into `probes`; None for retrieval.
        gallery_index: (L, N) int64 into `gallery`, for matching the target first, for verification N = 1;
            None for retrieval.
        labels: (L,) int8 for verification, 1 for the same identity; None if unknown and for other kinds.
        sha256: of the uncompressed bytes of the list.
        source: its file.
        skipped: trials (for retrieval: items) that `check_trial_items` skipped.
        provenance: of lists generated here, see `voiceface.datasets.trials.sampling`; None for others.
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
        """Number of trials; of queries for retrieval."""
        return len(self.probes) if self.probe_index is None else len(self.probe_index)

    @property
    def label(self) -> str:
        """Name for tables and reports, with the spelling of published names (`reterival`) corrected."""
        return self.name.replace("reterival", "retrieval")

    @property
    def num_candidates(self) -> int:
        """Candidates per trial: N for matching, 1 for verification, the size of the gallery for retrieval."""
        return len(self.gallery) if self.gallery_index is None else self.gallery_index.shape[1]

    @property
    def voices(self) -> list[str]:
        """Distinct clips."""
        return self.probes if self.direction == "v2f" else self.gallery

    @property
    def faces(self) -> list[str]:
        """Distinct images."""
        return self.gallery if self.direction == "v2f" else self.probes

    @property
    def is_generated(self) -> bool:
        """Whether the list was generated here and is not a published one."""
        return self.provenance is not None


def with_labels(trial_list: TrialList, identity_source: Corpus | Sequence[Identity]) -> TrialList:
    """Add the labels of a verification list: 1 if probe and candidate belong to the same row of the table.

    Of several rows with one voice id or face name, the last counts.

    Raises:
        TrialListError: items without an identity; states their number and the first.
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
    """Return the index of each item's identity, int64 (len(items),).

    Items that a corpus does not contain are assigned by the first part of their path, a voice id or face
    name.

    Raises:
        TrialListError: items without an identity; states their number and the first.
    """
    identities = identity_source.identities if isinstance(identity_source, Corpus) else identity_source
    known = identity_source.item_to_identity if isinstance(identity_source, Corpus) else {}
    rows = {identity.voice_id: index for index, identity in enumerate(identities)}
    rows |= {identity.face_id: index for index, identity in enumerate(identities)}
    found = (known.get(item, rows.get(item.partition("/")[0], -1)) for item in items)
    indices = np.fromiter(found, np.int64, len(items))
    unknown = np.flatnonzero(indices < 0)
    if len(unknown):
        name = items[unknown[0]].partition("/")[0]
        if (twin := find_second_spelling([*rows, name])) is not None and name in twin:
            raise TrialListError(
                f"{list_name}: {name!r} is spelled with other Unicode characters than in the table "
                f"({twin[1]!a} and {twin[0]!a}); write both in the same form (NFC)"
            )
        raise TrialListError(
            f"{list_name}: {len(unknown)} of {len(items)} items have no identity in the table, the first is "
            f"{items[unknown[0]]}; check that the table belongs to this split"
        )
    return indices


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
    """Return the distinct items in order of appearance, and the index of every item among them."""
    places = {item: index for index, item in enumerate(dict.fromkeys(items))}
    return list(places), np.fromiter(map(places.__getitem__, items), np.int64, len(items))


def trial_list_name(path: Path) -> str:
    """Return the name of a list: its file name without .gz and .txt or .csv."""
    name = path.name.removesuffix(".gz")
    return name.removesuffix(".txt") if name.endswith(".txt") else name.removesuffix(".csv")


def read_list_text(path: Path) -> tuple[str, bytes]:
    """Read the text of a list and its bytes, decompressed.

    Raises:
        TrialListError: a corrupt gzip file, or no text.
        FileNotFoundError: there is no such file.
    """
    what = "a list"
    with reading(path, TrialListError, what) as file:
        data = file.read()
    if data[:2] == b"\x1f\x8b":
        data = decompress_gzip(data, path, TrialListError, what)
    return decode_text(data, path, TrialListError, what), data


def split_lines(text: str) -> list[str]:
    """Split a text at line ends; blanks at the ends of lines and empty lines at the end do not count."""
    lines = [line.rstrip(" \t") for line in _LINE_END.split(text)]
    while lines and not lines[-1]:
        lines.pop()
    return lines
