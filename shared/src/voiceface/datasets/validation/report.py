"""Report of a dataset validation: counts, errors, warnings, and whether training can start."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.datasets.corpus import Corpus, IdentityRecord, abbreviate
from voiceface.datasets.layouts import find_files
from voiceface.io.foreign_files import digest_file

if TYPE_CHECKING:
    from voiceface.datasets.validation.file_probe import FileRecord

__all__ = [
    "CONSTANT_PIXEL_STD",
    "DURATION_EDGES",
    "MIN_DURATION",
    "SAMPLE_RATE",
    "SILENCE_PEAK",
    "DatasetReport",
    "PartSummary",
    "SplitCount",
    "TrialListCoverage",
    "assess",
    "check_trial_lists",
    "compare_with_tables",
    "count_files",
    "count_identities",
    "find_duplicates",
    "warn_of_contents",
]

SAMPLE_RATE = 16000
MIN_DURATION = 0.5
SILENCE_PEAK = 8 / 32768
CONSTANT_PIXEL_STD = 2.0
DURATION_EDGES = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 15.0, 30.0, 60.0, float("inf"))


@dataclass
class SplitCount:
    """Counts of one split; hours of audio."""

    identities: int = 0
    male: int = 0
    female: int = 0
    unknown_gender: int = 0
    classes: int = 0
    voices: int = 0
    faces: int = 0
    hours: float = 0.0


@dataclass
class TrialListCoverage:
    """One list: its trials and missing items; `error` if it cannot be read."""

    name: str
    trials: int = 0
    items: int = 0
    missing: int = 0
    examples: list[str] = field(default_factory=list)
    generated: bool = False
    error: str = ""


@dataclass
class PartSummary:
    """One folder or file of a published layout: what needs it, and what it holds.

    Attributes:
        name: with the pattern of its files, such as `fbank/<id>/<video>/*.npy`.
        needed_for: commands or steps.
        present: whether the folder or file exists.
        identities: number of folders below it.
        files: number of files.
        invalid: files that cannot be read, or have another shape.
    """

    name: str
    needed_for: str
    present: bool = False
    identities: int = 0
    files: int = 0
    invalid: int = 0


@dataclass
class DatasetReport:
    """Report of `voiceface check`; plain values that can be written as JSON.

    `suspicious` maps a kind of defect to its files; `duplicates` holds groups of files with the same content;
    `layout` and `parts` describe a published layout, and are empty for others; `errors` are reasons why
    training cannot start.
    """

    decoded: bool = False
    splits: dict[str, SplitCount] = field(default_factory=dict)
    sample_rates: dict[str, int] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)
    voice_formats: dict[str, int] = field(default_factory=dict)
    face_formats: dict[str, int] = field(default_factory=dict)
    image_sizes: dict[str, int] = field(default_factory=dict)
    durations: dict[str, int] = field(default_factory=dict)
    acoustics: dict[str, dict[str, int]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    suspicious: dict[str, list[str]] = field(default_factory=dict)
    missing_folders: list[str] = field(default_factory=list)
    unreferenced_folders: list[str] = field(default_factory=list)
    without_voices: list[str] = field(default_factory=list)
    without_faces: list[str] = field(default_factory=list)
    ignored_suffixes: dict[str, int] = field(default_factory=dict)
    in_several_splits: list[str] = field(default_factory=list)
    trial_lists: list[TrialListCoverage] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)
    duplicates_across_identities: int = 0
    duplicates_across_splits: int = 0
    layout: str = ""
    parts: list[PartSummary] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def trainable(self) -> bool:
        """Whether training can start."""
        return not self.errors


def count_identities(
    report: DatasetReport, corpus: Corpus, records: dict[tuple[str, str], "FileRecord"]
) -> None:
    """Fill in the counts per split and the identities without clips or images."""
    labels: dict[str, set[str]] = {}
    for record in corpus.records:
        split = record.identity.split or "no split"
        count = report.splits.setdefault(split, SplitCount())
        count.identities += 1
        count.male += record.identity.gender == "m"
        count.female += record.identity.gender == "f"
        count.unknown_gender += record.identity.gender == ""
        count.voices += len(record.voices)
        count.faces += len(record.faces)
        count.hours += sum(records["voice", item].duration for item in record.voices) / 3600
        labels.setdefault(split, set()).add(record.identity.face_id)
    for split, names in labels.items():
        report.splits[split].classes = len(names)
        report.splits[split].hours = round(report.splits[split].hours, 4)
    report.without_voices, report.without_faces = corpus.without_voices, corpus.without_faces
    ids: dict[str, set[str]] = {}
    for record in corpus.records:
        for name in {record.identity.voice_id, record.identity.face_id}:
            ids.setdefault(name, set()).add(record.identity.split)
    report.in_several_splits = sorted(name for name, splits in ids.items() if len(splits) > 1)


def count_files(report: DatasetReport, records: dict[tuple[str, str], "FileRecord"]) -> None:
    """Fill in formats, durations, unreadable and suspicious files."""
    readable = {key: record for key, record in records.items() if not record.error}
    report.unreadable = {item: record.error for (_, item), record in sorted(records.items()) if record.error}
    voices = [record for (modality, _), record in readable.items() if modality == "voice"]
    faces = [record for (modality, _), record in readable.items() if modality == "face"]
    sound = [record for record in voices if record.sample_rate]
    report.sample_rates = _count_values(str(record.sample_rate) for record in sound)
    report.channels = _count_values(str(record.num_channels) for record in sound)
    report.voice_formats = _count_values(record.format for record in voices)
    report.face_formats = _count_values(record.format for record in faces)
    report.image_sizes = _count_values(f"{record.width}x{record.height}" for record in faces)
    for low, high in pairwise(DURATION_EDGES):
        count = sum(low <= record.duration < high for record in sound)
        report.durations[f"{low:g} s or more" if high == float("inf") else f"{low:g}-{high:g} s"] = count
    tests = {
        f"shorter than {MIN_DURATION} s": lambda r: r.sample_rate and 0 < r.duration < MIN_DURATION,
        "silent": lambda r: 0 <= r.peak <= SILENCE_PEAK,
        "feature files (.npy), not sound": lambda r: r.format.startswith("NPY"),
        "constant images": lambda r: 0 <= r.pixel_std < CONSTANT_PIXEL_STD,
        "grey images": lambda r: r.is_grey,
        "images that are not square": lambda r: r.width != r.height,
    }
    for what, holds in tests.items():
        if items := sorted(item for (_, item), record in readable.items() if holds(record)):
            report.suspicious[what] = items


def find_duplicates(
    report: DatasetReport, corpus: Corpus, records: dict[tuple[str, str], "FileRecord"]
) -> None:
    """Group files with the same content; partial digests are confirmed by digests of all bytes."""
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
            exact.setdefault(digest_file(path), []).append(item)
        report.duplicates += [same for same in exact.values() if len(same) > 1]
    report.duplicates.sort()
    for same in report.duplicates:
        indices = {corpus.item_to_identity[item] for item in same}
        report.duplicates_across_identities += len(indices) > 1
        report.duplicates_across_splits += len({corpus.records[i].identity.split for i in indices}) > 1


def compare_with_tables(
    report: DatasetReport, corpus: Corpus, table_names: Collection[str], has_tables: bool
) -> None:
    """Fill in folders without a row and files with ignored suffixes."""
    counted = set(corpus.item_to_identity)
    used = {name for row in corpus.identities for name in (row.voice_id, row.face_id)}
    endings: Counter[str] = Counter()
    for root in dict.fromkeys((corpus.voice_root, corpus.face_root)):
        if not has_tables or not root.is_dir():
            continue
        names = {entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")}
        report.unreferenced_folders += sorted(f"{root.name}/{name}" for name in names - set(table_names))
        for name in sorted(names & used):
            for item in find_files(root, name, ("",)) or ():
                if item not in counted:
                    endings[Path(item).suffix or "no ending"] += 1
    report.ignored_suffixes = dict(sorted(endings.items()))


def check_trial_lists(
    report: DatasetReport, corpus: Corpus, paths: Sequence[Path], scaled_face_root: Path
) -> None:
    """Fill in the coverage of trial lists.

    Args:
        report: to fill in.
        corpus: all identities of all splits.
        paths: the lists.
        scaled_face_root: root of the images whose paths hold a crop scale (`Name/1.6/...`); may be missing.
    """
    from voiceface.datasets.trials.coverage import find_missing_items
    from voiceface.datasets.trials.reading import read_trial_list

    present: set[str] = set(corpus.item_to_identity)
    if scaled_face_root != corpus.face_root:
        for record in corpus.records:
            present |= set(find_files(scaled_face_root, record.identity.face_id, (".jpg",)) or ())
    for path in paths:
        cover = TrialListCoverage(path.name)
        try:
            named = path.name.startswith("veriflist")  # these give voices by name
            trial_list = read_trial_list(path, corpus.identities if named else None)
            missing = find_missing_items(trial_list, present)
            cover.trials, cover.missing, cover.examples = len(trial_list), len(missing), missing[:3]
            cover.items, cover.generated = (
                len(trial_list.probes) + len(trial_list.gallery),
                trial_list.is_generated,
            )
        except (ValueError, OSError) as error:
            cover.error = str(error).replace(str(path), path.name)
        report.trial_lists.append(cover)


def assess(report: DatasetReport, corpus: Corpus, records: dict[tuple[str, str], "FileRecord"]) -> None:
    """Fill in errors and warnings."""
    add_error, add_warning = report.errors.append, report.warnings.append
    has_splits = any(record.identity.split for record in corpus.records)
    training = [p for p in corpus.records if p.identity.split == "train" or not has_splits]
    needed = [p for p in corpus.records if p.identity.split in ("train", "val") or not has_splits]
    pairable = [p for p in training if p.voices and p.faces]
    if len({p.label for p in pairable}) < 2:
        add_error(f"training needs at least 2 identities with clips and images, found {len(pairable)}")
    if report.missing_folders:
        add_error(
            f"{len(report.missing_folders)} folders that the tables name are missing (or skip their "
            "identities)"
        )
    lacking = [p.identity.name for p in needed if not (p.voices and p.faces)]
    if lacking:
        add_error(
            f"{len(lacking)} identities of training or validation lack clips or images: "
            f"{abbreviate(lacking, 3)}"
        )
    needed_items = _all_items(needed)
    bad = [item for item in report.unreadable if item in needed_items]
    if bad:
        add_error(f"{len(bad)} files of training or validation cannot be read: {abbreviate(bad, 3)}")
    if len(report.unreadable) > len(bad):
        add_warning(f"{len(report.unreadable) - len(bad)} files of the test split cannot be read")
    other = [
        item
        for (what, item), r in records.items()
        if what == "voice" and r.sample_rate not in (0, SAMPLE_RATE)
    ]
    if blocked := [item for item in other if item in needed_items]:
        add_error(
            f"{len(blocked)} clips are not at {SAMPLE_RATE} Hz (convert them, or train with resampling)"
        )
    elif other:
        add_warning(f"{len(other)} clips of the test split are not at {SAMPLE_RATE} Hz")
    for cover in report.trial_lists:
        text = cover.error or f"{cover.name}: {cover.missing} of {cover.items} listed files are missing"
        if cover.error or cover.missing:
            (add_error if "_val." in cover.name else add_warning)(text)
    if has_splits and not any(p.identity.split == "val" for p in corpus.records):
        add_warning("the validation split is empty")
    if report.in_several_splits:
        add_warning(
            f"{len(report.in_several_splits)} identities are in several splits: "
            f"{abbreviate(report.in_several_splits, 3)}"
        )
    if report.unreferenced_folders:
        add_warning(
            f"{len(report.unreferenced_folders)} folders are not referenced by the identity table: "
            f"{abbreviate(report.unreferenced_folders, 3)}"
        )
    if report.ignored_suffixes:
        endings = ", ".join(f"{count} {ending}" for ending, count in report.ignored_suffixes.items())
        add_warning(f"files with other endings are not used: {endings} (see --audio-suffix, --image-suffix)")
    if several := sum(count for channels, count in report.channels.items() if channels != "1"):
        add_warning(f"{several} clips have more than one channel; the first is used")
    warn_of_contents(report)


def warn_of_contents(report: DatasetReport) -> None:
    """Add the warnings about suspicious and identical files."""
    for what, items in report.suspicious.items():
        report.warnings.append(f"{len(items)} {what}: {abbreviate(items, 3)}")
    if report.duplicates:
        across = (
            f"{report.duplicates_across_identities} across identities, "
            f"{report.duplicates_across_splits} across splits"
        )
        first = " = ".join(report.duplicates[0][:3])
        report.warnings.append(
            f"{len(report.duplicates)} groups of identical files, {across}; first: {first}"
        )


def _all_items(identity_records: Sequence[IdentityRecord]) -> set[str]:
    """All files of some identities."""
    return {item for record in identity_records for item in (*record.voices, *record.faces)}


def _count_values(values: Iterable[str]) -> dict[str, int]:
    """Count values, most frequent first, then by name."""
    counts = Counter(values)
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
