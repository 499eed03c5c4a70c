"""What a check of a data folder found: counts, faults, and whether training can start."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.datasets.corpus import Corpus, Person
from voiceface.datasets.layouts import find_files
from voiceface.io.atomic import sha256_of

if TYPE_CHECKING:
    from voiceface.datasets.validation.file_probe import FileRecord

RATE = 16000
SHORT_SECONDS = 0.5
SILENT_LEVEL = 8 / 32768
CONSTANT_SPREAD = 2.0
SECONDS_EDGES = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 15.0, 30.0, 60.0, float("inf"))


@dataclass
class SplitCount:
    """What one split holds; hours are of sound."""

    identities: int = 0
    male: int = 0
    female: int = 0
    unknown: int = 0
    classes: int = 0
    voices: int = 0
    faces: int = 0
    hours: float = 0.0


@dataclass
class ListCoverage:
    """One list: lines, and items that the data lack; `error` where it cannot be read."""

    name: str
    lines: int = 0
    items: int = 0
    absent: int = 0
    examples: list[str] = field(default_factory=list)
    own: bool = False
    error: str = ""


@dataclass
class Findings:
    """Everything that `voiceface check` reports; plain values, so that it can be written as JSON.

    `suspicious` maps a kind of oddity to the files that have it; `duplicates` holds groups of files with the
    same content; `blockers` are reasons why training cannot start, `warnings` what should be known.
    """

    deep: bool = False
    splits: dict[str, SplitCount] = field(default_factory=dict)
    rates: dict[str, int] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)
    voice_forms: dict[str, int] = field(default_factory=dict)
    face_forms: dict[str, int] = field(default_factory=dict)
    face_sides: dict[str, int] = field(default_factory=dict)
    durations: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    suspicious: dict[str, list[str]] = field(default_factory=dict)
    missing_folders: list[str] = field(default_factory=list)
    folders_without_row: list[str] = field(default_factory=list)
    without_voices: list[str] = field(default_factory=list)
    without_faces: list[str] = field(default_factory=list)
    uncounted: dict[str, int] = field(default_factory=dict)
    in_two_splits: list[str] = field(default_factory=list)
    lists: list[ListCoverage] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)
    duplicates_across_people: int = 0
    duplicates_across_splits: int = 0
    blockers: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def can_train(self) -> bool:
        """Whether training can start."""
        return not self.blockers


def count_people(found: Findings, corpus: Corpus, records: dict[tuple[str, str], "FileRecord"]) -> None:
    """Fill in the counts per split, and who lacks what."""
    labels: dict[str, set[str]] = {}
    for person in corpus.people:
        split = person.identity.split or "no split"
        count = found.splits.setdefault(split, SplitCount())
        count.identities += 1
        count.male += person.identity.gender == "m"
        count.female += person.identity.gender == "f"
        count.unknown += person.identity.gender == ""
        count.voices += len(person.voices)
        count.faces += len(person.faces)
        count.hours += sum(records["voice", item].seconds for item in person.voices) / 3600
        labels.setdefault(split, set()).add(person.identity.face_id)
    for split, names in labels.items():
        found.splits[split].classes = len(names)
        found.splits[split].hours = round(found.splits[split].hours, 4)
    found.without_voices, found.without_faces = corpus.without_voices, corpus.without_faces
    ids: dict[str, set[str]] = {}
    for person in corpus.people:
        for name in {person.identity.voice_id, person.identity.face_id}:
            ids.setdefault(name, set()).add(person.identity.split)
    found.in_two_splits = sorted(name for name, splits in ids.items() if len(splits) > 1)


def count_files(found: Findings, records: dict[tuple[str, str], "FileRecord"]) -> None:
    """Fill in formats, durations, unreadable and suspicious files."""
    whole = {key: record for key, record in records.items() if not record.error}
    found.unreadable = {item: record.error for (_, item), record in sorted(records.items()) if record.error}
    voices = [record for (modality, _), record in whole.items() if modality == "voice"]
    faces = [record for (modality, _), record in whole.items() if modality == "face"]
    sound = [record for record in voices if record.rate]
    found.rates = _counted(str(record.rate) for record in sound)
    found.channels = _counted(str(record.channels) for record in sound)
    found.voice_forms = _counted(record.form for record in voices)
    found.face_forms = _counted(record.form for record in faces)
    found.face_sides = _counted(f"{record.width}x{record.height}" for record in faces)
    for low, high in pairwise(SECONDS_EDGES):
        count = sum(low <= record.seconds < high for record in sound)
        found.durations[f"{low:g} s or more" if high == float("inf") else f"{low:g}-{high:g} s"] = count
    tests = {
        f"shorter than {SHORT_SECONDS} s": lambda r: r.rate and 0 < r.seconds < SHORT_SECONDS,
        "silent": lambda r: 0 <= r.level <= SILENT_LEVEL,
        "feature files (.npy), not sound": lambda r: r.form.startswith("NPY"),
        "constant pictures": lambda r: 0 <= r.spread < CONSTANT_SPREAD,
        "grey pictures": lambda r: r.grey,
        "pictures that are not square": lambda r: r.width != r.height,
    }
    for what, holds in tests.items():
        if items := sorted(item for (_, item), record in whole.items() if holds(record)):
            found.suspicious[what] = items


def find_duplicates(found: Findings, corpus: Corpus, records: dict[tuple[str, str], "FileRecord"]) -> None:
    """Group files with the same content; digests over part of the bytes are confirmed by whole ones."""
    groups: dict[tuple[str, str], list[str]] = {}
    for (modality, item), record in sorted(records.items()):
        if not record.error:
            groups.setdefault((modality, record.digest), []).append(item)
    for (modality, _), items in groups.items():
        if len(items) < 2:
            continue
        exact: dict[str, list[str]] = {}
        for item in items:
            path = corpus.voice_path(item) if modality == "voice" else corpus.face_path(item)
            exact.setdefault(sha256_of(path), []).append(item)
        found.duplicates += [same for same in exact.values() if len(same) > 1]
    found.duplicates.sort()
    for same in found.duplicates:
        people = {corpus.owners[item] for item in same}
        found.duplicates_across_people += len(people) > 1
        found.duplicates_across_splits += len({corpus.people[i].identity.split for i in people}) > 1


def compare_folders(found: Findings, corpus: Corpus, known: Collection[str], by_table: bool) -> None:
    """Fill in folders that no row names, and files with endings that do not count."""
    counted = set(corpus.owners)
    used = {name for row in corpus.identities for name in (row.voice_id, row.face_id)}
    endings: Counter[str] = Counter()
    for root in dict.fromkeys((corpus.voice_root, corpus.face_root)):
        if not by_table or not root.is_dir():
            continue
        names = {entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")}
        found.folders_without_row += sorted(f"{root.name}/{name}" for name in names - set(known))
        for name in sorted(names & used):
            for item in find_files(root, name, ("",)) or ():
                if item not in counted:
                    endings[Path(item).suffix or "no ending"] += 1
    found.uncounted = dict(sorted(endings.items()))


def check_lists(found: Findings, corpus: Corpus, paths: Sequence[Path], second_faces: Path | None) -> None:
    """Fill in which lists name files that are not there.

    Args:
        found: is filled in.
        corpus: everybody, all splits.
        paths: the lists.
        second_faces: root of the pictures whose paths hold a crop scale (`Name/1.6/...`).
    """
    from voiceface.datasets.trials.coverage import absent_items
    from voiceface.datasets.trials.reading import read_list

    present: set[str] = set(corpus.owners)
    if second_faces is not None and second_faces != corpus.face_root:
        for person in corpus.people:
            present |= set(find_files(second_faces, person.identity.face_id, (".jpg",)) or ())
    for path in paths:
        cover = ListCoverage(path.name)
        try:
            named = path.name.startswith("veriflist")  # these give voices by name
            questions = read_list(path, corpus.identities if named else None)
            absent = absent_items(questions, present)
            cover.lines, cover.absent, cover.examples = len(questions), len(absent), absent[:3]
            cover.items, cover.own = len(questions.anchors) + len(questions.candidates), questions.is_own
        except (ValueError, OSError) as error:
            cover.error = str(error).replace(str(path), path.name)
        found.lists.append(cover)


def judge(found: Findings, corpus: Corpus, records: dict[tuple[str, str], "FileRecord"]) -> None:
    """Fill in blockers and warnings."""
    block, warn = found.blockers.append, found.warnings.append
    has_splits = any(person.identity.split for person in corpus.people)
    training = [p for p in corpus.people if p.identity.split == "train" or not has_splits]
    needed = [p for p in corpus.people if p.identity.split in ("train", "val") or not has_splits]
    able = [p for p in training if p.voices and p.faces]
    if len({p.label for p in able}) < 2:
        block(f"training needs at least 2 people with clips and pictures, found {len(able)}")
    if found.missing_folders:
        block(f"{len(found.missing_folders)} folders that the tables name are absent (or skip their people)")
    lacking = [p.identity.name for p in needed if not (p.voices and p.faces)]
    if lacking:
        block(f"{len(lacking)} people of training or validation lack clips or pictures: {_some(lacking)}")
    mine = _items_of(needed)
    bad = [item for item in found.unreadable if item in mine]
    if bad:
        block(f"{len(bad)} files of training or validation cannot be read: {_some(bad)}")
    if len(found.unreadable) > len(bad):
        warn(f"{len(found.unreadable) - len(bad)} files of the test split cannot be read")
    other = [item for (what, item), r in records.items() if what == "voice" and r.rate not in (0, RATE)]
    if blocked := [item for item in other if item in mine]:
        block(f"{len(blocked)} clips are not at {RATE} Hz (convert them, or train with resampling)")
    elif other:
        warn(f"{len(other)} clips of the test split are not at {RATE} Hz")
    for cover in found.lists:
        text = cover.error or f"{cover.name}: {cover.absent} of {cover.items} listed files are absent"
        if cover.error or cover.absent:
            (block if "_val." in cover.name else warn)(text)
    if has_splits and not any(p.identity.split == "val" for p in corpus.people):
        warn("nobody is in the validation split")
    if found.in_two_splits:
        warn(f"{len(found.in_two_splits)} identities are in several splits: {_some(found.in_two_splits)}")
    if found.folders_without_row:
        warn(f"{len(found.folders_without_row)} folders belong to nobody: {_some(found.folders_without_row)}")
    if found.uncounted:
        endings = ", ".join(f"{count} {ending}" for ending, count in found.uncounted.items())
        warn(f"files with other endings are not used: {endings} (see --audio-suffix, --image-suffix)")
    for what, items in found.suspicious.items():
        warn(f"{len(items)} {what}: {_some(items)}")
    if several := sum(count for channels, count in found.channels.items() if channels != "1"):
        warn(f"{several} clips have more than one channel; the first is used")
    if found.duplicates:
        across = (
            f"{found.duplicates_across_people} across people, {found.duplicates_across_splits} across splits"
        )
        first = " = ".join(found.duplicates[0][:3])
        warn(f"{len(found.duplicates)} groups of identical files, {across}; first: {first}")


def _items_of(people: Sequence[Person]) -> set[str]:
    """Every file of some people."""
    return {item for person in people for item in (*person.voices, *person.faces)}


def _counted(values: Iterable[str]) -> dict[str, int]:
    """Count values, the most frequent first, then by name."""
    counts = Counter(values)
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _some(names: Sequence[str], most: int = 3) -> str:
    """The first few of many names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
