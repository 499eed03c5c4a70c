"""Layout of MAV-Celeb: versions and their languages, training folders, lists, identities of the test."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from voiceface.datasets.corpus import Corpus, IdentityRecord, abbreviate
from voiceface.datasets.identities import Identity, read_table_rows
from voiceface.datasets.layouts import (
    PUBLISHED_AUDIO_SUFFIXES,
    PUBLISHED_IMAGE_SUFFIXES,
    find_files,
    is_manifest,
)
from voiceface.datasets.mavceleb.lists import (
    MavCelebError,
    PairList,
    TrainingPair,
    read_pair_list,
    read_training_list,
    with_truth,
)
from voiceface.io.atomic import compute_sha256

__all__ = [
    "LANGUAGES",
    "LIST_FOLDERS",
    "SPEAKER_HEADER",
    "SPEAKER_TABLE",
    "TRUTH_FOLDER",
    "Leak",
    "find_leaks",
    "find_list",
    "find_version",
    "find_version_root",
    "is_mavceleb",
    "open_training_corpus",
    "read_test_identities",
    "read_test_list",
    "require_files",
]

LANGUAGES: dict[str, tuple[str, str]] = {
    "v1": ("English", "Urdu"),
    "v2": ("English", "Hindi"),
    "v3": ("English", "German"),
}
"""Version of MAV-Celeb -> its two languages."""
LIST_FOLDERS = ("lists", "splits", "")
TRUTH_FOLDER = "truth"
SPEAKER_TABLE = Path(TRUTH_FOLDER) / "speakers.csv"
"""Table of identities, where these are known."""
SPEAKER_HEADER = ("identity", "split", "languages", "gender")
_FOLDERS = ("voices", "faces")


@dataclass(frozen=True)
class Leak:
    """What the training data share with a test list.

    Attributes:
        identities: identities of the test that are trained on.
        files: pairs (training file, test file) of the same content.
    """

    identities: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.identities or self.files)

    def describe(self) -> str:
        """One sentence, with the first examples."""
        parts = []
        if self.identities:
            names = abbreviate(self.identities, 3)
            parts.append(f"{len(self.identities)} identities of the test are trained on ({names})")
        if self.files:
            same = " = ".join(self.files[0])
            parts.append(f"{len(self.files)} test files have the content of a training file (first: {same})")
        return "; ".join(parts)


def is_mavceleb(root: str | Path) -> bool:
    """Return whether a folder, or a folder of a version below it, has the layout of MAV-Celeb."""
    base = Path(root)
    return any(_has_layout(place) for place in (base, *(base / version for version in LANGUAGES)))


def find_version_root(root: str | Path, version: str) -> Path:
    """Return the folder of one version: ROOT/VERSION, or ROOT itself.

    Raises:
        MavCelebError: an unknown version, or no folders `voices` and `faces` there.
        FileNotFoundError: no such folder.
    """
    if version not in LANGUAGES:
        raise MavCelebError(f"unknown version {version!r}, expected one of {', '.join(LANGUAGES)}")
    base = Path(root)
    if not base.is_dir():
        raise FileNotFoundError(f"no data folder at {base}")
    for place in (base / version, base):
        if all((place / name).is_dir() for name in _FOLDERS):
            return place
    raise MavCelebError(
        f"{base} has no folders voices and faces, neither in {version} nor directly; expected the layout of "
        "MAV-Celeb (docs/data.md)"
    )


def find_version(root: str | Path) -> str:
    """Return the version of a folder: the only one whose test lists, or folders of languages, it has.

    Raises:
        MavCelebError: none or several fit.
        FileNotFoundError: no such folder.
    """
    base = Path(root)
    if not base.is_dir():
        raise FileNotFoundError(f"no data folder at {base}")
    named = [version for version in LANGUAGES if _has_layout(base / version)]
    fitting = named or [
        version
        for version, languages in LANGUAGES.items()
        if all(_has_language(base, language) for language in languages)
    ]
    if len(fitting) == 1:
        return fitting[0]
    found = ", ".join(fitting) or "none"
    raise MavCelebError(f"{base}: of the versions {', '.join(LANGUAGES)}, {found} fit here; name the version")


def find_list(root: Path, version: str, language: str, part: str) -> Path | None:
    """Find the list of a language in ROOT, ROOT/lists or ROOT/splits; None if there is none.

    Args:
        root: folder of the version.
        version: such as "v1".
        language: such as "English".
        part: "train" or "test"; also "truth", which lies in ROOT/truth.

    Raises:
        MavCelebError: several files fit.
    """
    folders = (TRUTH_FOLDER,) if part == "truth" else LIST_FOLDERS
    ending = "test" if part == "truth" else part
    names = {f"{language}_{ending}.txt".lower(), f"{version}_{language}_{ending}.txt".lower()}
    found = [
        path
        for folder in folders
        if (root / folder).is_dir()
        for path in sorted((root / folder).iterdir())
        if path.name.lower() in names and path.is_file()
    ]
    if len(found) > 1:
        raise MavCelebError(f"several {part} lists of {language}: {', '.join(map(str, found))}; keep one")
    return found[0] if found else None


def read_test_list(root: Path, version: str, language: str) -> PairList:
    """Read the test list of a language, with the labels of ROOT/truth where these are known.

    Raises:
        FileNotFoundError: no list; names the places searched.
        MavCelebError: see `read_pair_list` and `with_truth`.
    """
    path = find_list(root, version, language, "test")
    if path is None:
        places = ", ".join(str(root / folder) for folder in LIST_FOLDERS)
        raise FileNotFoundError(
            f"no test list of {language}: expected {language}_test.txt or {version}_{language}_test.txt in "
            f"one of {places}"
        )
    pairs = read_pair_list(path)
    truth = find_list(root, version, language, "truth")
    return pairs if truth is None else with_truth(pairs, truth)


def open_training_corpus(root: Path, version: str, languages: Sequence[str] | None = None) -> Corpus:
    """Open the training data of some languages as a corpus whose items are paths below the root.

    Files are those of the training lists where there are some, else everything below
    `voices/IDENTITY/LANGUAGE` and `faces/IDENTITY/LANGUAGE`.

    Args:
        root: folder of the version.
        version: such as "v1".
        languages: of this version; None: both.

    Returns:
        Identities with at least a clip or an image in one of the languages, by name; the split is "train",
        the gender is that of ROOT/truth/speakers.csv.

    Raises:
        MavCelebError: an unknown language, no identity, an invalid list, missing files.
    """
    known = LANGUAGES[version]
    chosen = known if languages is None else tuple(languages)
    if wrong := [language for language in chosen if language not in known]:
        raise MavCelebError(f"unknown language {wrong[0]!r}; {version} has {' and '.join(known)}")
    files: dict[str, tuple[set[str], set[str]]] = {}
    for language in chosen:
        path = find_list(root, version, language, "train")
        for pair in read_training_list(path) if path else _walk_training(root, language):
            voices, faces = files.setdefault(pair.identity, (set(), set()))
            voices |= {pair.voice} - {""}
            faces |= {pair.face} - {""}
    if not files:
        raise MavCelebError(
            f"{root}: no training identity speaks {' or '.join(chosen)}; expected "
            f"voices/IDENTITY/{chosen[0]}/... and faces/IDENTITY/{chosen[0]}/..."
        )
    require_files(root, (item for sides in files.values() for side in sides for item in side))
    genders = {name: gender for name, _, gender in _read_speakers(root)}
    records = tuple(
        IdentityRecord(
            Identity(name, name, name, genders.get(name, ""), split="train"),
            label,
            *(tuple(sorted(side)) for side in files[name]),
        )
        for label, name in enumerate(sorted(files))
    )
    return Corpus(records, root, root)


def read_test_identities(root: Path) -> set[str]:
    """Read the names of the identities of the test from ROOT/truth/speakers.csv; empty where unknown.

    Raises:
        IdentityError: an invalid table.
    """
    return {name for name, split, _ in _read_speakers(root) if split == "test"}


def find_leaks(training: Corpus, tests: Iterable[PairList], root: Path) -> Leak:
    """Find what training data share with test lists: identities, and files of the same content.

    Identities of test files are known from ROOT/truth/speakers.csv, or from paths of the list that lie in
    the folder of an identity. Files of the same content are found by their bytes, whatever their names.

    Args:
        training: training identities; items below the same root.
        tests: test lists.
        root: folder of the version.

    Raises:
        MavCelebError: files of a list are missing.
    """
    items = sorted({item for pairs in tests for item in (*pairs.voices, *pairs.faces)})
    require_files(root, items)
    trained = set(training.names)
    named = {item.split("/")[1] for item in items if item.count("/") >= 2}
    same_identity = trained & (read_test_identities(root) | named)
    own = [*training.voices, *training.faces]
    sizes: dict[int, list[str]] = {}
    for item in own:
        sizes.setdefault((root / item).stat().st_size, []).append(item)
    digests: dict[tuple[int, str], str] = {}
    hashed: set[int] = set()
    same: list[tuple[str, str]] = []
    for item in items:
        size = (root / item).stat().st_size
        if size not in sizes:
            continue
        if size not in hashed:
            hashed.add(size)
            digests |= {(size, compute_sha256(root / other)): other for other in sizes[size]}
        other = digests.get((size, compute_sha256(root / item)))
        if other is not None:
            same.append((other, item))
    return Leak(tuple(sorted(same_identity)), tuple(same))


def require_files(root: Path, items: Iterable[str]) -> None:
    """Check that files below a root exist.

    Raises:
        MavCelebError: some are missing; states their number and the first.
    """
    missing = sorted({item for item in items if not (root / item).is_file()})
    if missing:
        raise MavCelebError(
            f"{root}: {len(missing)} listed files are missing: {abbreviate(missing)}; complete the data, or "
            "correct the list"
        )


def _has_layout(place: Path) -> bool:
    """Whether a folder has voices, faces and a list or training folder of a known language."""
    if not all((place / name).is_dir() for name in _FOLDERS) or is_manifest(place / "manifest.csv"):
        return False
    return any(_has_language(place, language) for pair in LANGUAGES.values() for language in pair)


def _has_language(place: Path, language: str) -> bool:
    """Whether a folder has a test list, test files or training files of a language."""
    if any(find_list(place, version, language, "test") for version in LANGUAGES):
        return True
    voices = place / "voices"
    if not voices.is_dir():
        return False
    return (voices / language).is_dir() or any((folder / language).is_dir() for folder in voices.iterdir())


def _walk_training(root: Path, language: str) -> list[TrainingPair]:
    """Training files of a language by folder; a pair without a clip or an image has an empty name there."""
    names = {
        entry.name
        for folder in _FOLDERS
        for entry in (root / folder).iterdir()
        if (entry / language).is_dir() and not entry.name.startswith(".")
    }
    pairs = []
    for name in sorted(names):
        voices = find_files(root, f"voices/{name}/{language}", PUBLISHED_AUDIO_SUFFIXES) or []
        faces = find_files(root, f"faces/{name}/{language}", PUBLISHED_IMAGE_SUFFIXES) or []
        pairs += [TrainingPair(name, voice, "") for voice in voices]
        pairs += [TrainingPair(name, "", face) for face in faces]
    return pairs


def _read_speakers(root: Path) -> list[tuple[str, str, str]]:
    """Name, split and gender of the rows of ROOT/truth/speakers.csv; empty where there is none."""
    path = root / SPEAKER_TABLE
    if not path.is_file():
        return []
    rows = read_table_rows(path, SPEAKER_HEADER, ",", num_optional=1)
    return [(cells[0], cells[1], cells[3]) for _, cells in rows]
