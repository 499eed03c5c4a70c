"""Validation of a folder in the layout of MAV-Celeb: training files, test lists and files, leaks."""

from pathlib import Path

from voiceface.datasets.corpus import Corpus, IdentityRecord
from voiceface.datasets.identities import Identity
from voiceface.datasets.mavceleb.layout import (
    LANGUAGES,
    LIST_FOLDERS,
    find_leaks,
    find_list,
    find_version,
    find_version_root,
    open_training_corpus,
    read_test_list,
)
from voiceface.datasets.mavceleb.lists import MavCelebError, PairList
from voiceface.datasets.validation.checker import find_cache_directory
from voiceface.datasets.validation.report import (
    DatasetReport,
    PartSummary,
    TrialListCoverage,
    assess,
    count_files,
    count_identities,
    find_duplicates,
)

__all__ = ["check_mavceleb"]

_TEST_FILES = "(test files)"


def check_mavceleb(
    root: str | Path,
    *,
    decode: bool = False,
    cache_dir: str | Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> DatasetReport:
    """Check a folder of MAV-Celeb: lists and files of both languages, and that the test is not trained on.

    Args:
        root: folder of a version, or the folder above it.
        decode: decode every file instead of reading its header.
        cache_dir: folder of the journal; None for ROOT/.voiceface or, if not writable, a temporary folder.
        workers: processes; None for all cores.
        progress: show a bar on standard error.

    Returns:
        The report; test files count as files of the test split, whose identities are not known. Test
        identities or test files among the training data are errors.

    Raises:
        MavCelebError: no known version, or no training identity.
    """
    from voiceface.datasets.validation.file_probe import probe_files

    version = find_version(root)
    base = find_version_root(root, version)
    report = DatasetReport(decoded=decode, layout=f"MAV-Celeb {version}")
    training = open_training_corpus(base, version)
    lists = [
        pairs for language in LANGUAGES[version] if (pairs := _read_list(report, base, version, language))
    ]
    tested = _test_record(base, lists, len(training))
    corpus = Corpus((*training.records, tested), base, base)
    jobs = [("voice", item) for item in corpus.voices] + [("face", item) for item in corpus.faces]
    folder = Path(cache_dir) if cache_dir is not None else find_cache_directory(base)
    paths = [(what, str(base / item)) for what, item in jobs]
    found = probe_files(paths, decode=decode, cache_dir=folder, workers=workers, progress=progress)
    records = dict(zip(jobs, found))
    known = Corpus(tuple(each for each in corpus.records if each.voices or each.faces), base, base)
    count_identities(report, known, records)
    if "test" in report.splits:
        count = report.splits["test"]
        count.identities = count.classes = count.unknown_gender = 0
    count_files(report, records)
    find_duplicates(report, known, records)
    for language in LANGUAGES[version]:
        report.parts += _describe_language(base, version, language, lists)
    assess(report, known, records)
    report.warnings = [text for text in report.warnings if text != "the validation split is empty"]
    try:
        leak = find_leaks(training, lists, base)
    except MavCelebError:
        return report  # missing files are reported with their list
    if leak:
        report.errors.append(leak.describe())
    return report


def _read_list(report: DatasetReport, base: Path, version: str, language: str) -> PairList | None:
    """Read a test list and report its coverage; None if it cannot be used."""
    path = find_list(base, version, language, "test")
    cover = TrialListCoverage(path.name if path else f"{language}_test.txt")
    report.trial_lists.append(cover)
    try:
        pairs = read_test_list(base, version, language)
    except (MavCelebError, OSError) as error:
        cover.error = str(error) if path is None else str(error).replace(str(path), path.name)
        return None
    items = dict.fromkeys((*pairs.voices, *pairs.faces))
    missing = [item for item in items if not (base / item).is_file()]
    cover.trials, cover.items, cover.missing, cover.examples = (
        len(pairs),
        len(items),
        len(missing),
        missing[:3],
    )
    return pairs


def _test_record(base: Path, lists: list[PairList], label: int) -> IdentityRecord:
    """All files of the test lists that exist, as one entry."""
    sides = (
        {item for pairs in lists for item in column(pairs) if (base / item).is_file()}
        for column in (lambda pairs: pairs.voices, lambda pairs: pairs.faces)
    )
    identity = Identity(_TEST_FILES, _TEST_FILES, _TEST_FILES, split="test")
    return IdentityRecord(identity, label, *(tuple(sorted(side)) for side in sides))


def _describe_language(base: Path, version: str, language: str, lists: list[PairList]) -> list[PartSummary]:
    """Training files and test list of a language as parts of the layout."""
    try:
        training = open_training_corpus(base, version, [language])
    except MavCelebError:
        training = Corpus((), base, base)
    files = len(training.voices) + len(training.faces)
    train = PartSummary(f"voices, faces/<id>/{language}/", "training", bool(files), len(training), files)
    pairs = next((each for each in lists if each.name.lower().endswith(f"{language}_test".lower())), None)
    items = len(set(pairs.voices) | set(pairs.faces)) if pairs else 0
    known = "test, labels known" if pairs is not None and pairs.labels is not None else "test"
    place = f"{LIST_FOLDERS[0]}/{language}_test.txt"
    return [train, PartSummary(place, known, pairs is not None, 0, items)]
