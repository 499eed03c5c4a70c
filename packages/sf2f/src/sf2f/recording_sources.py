"""Sources of recordings and images for `sf2f prepare`: VoxCeleb, a population, a manifest."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from voiceface.datasets.identities import META_HEADER, Identity, IdentityError, parse_folder_name
from voiceface.datasets.layouts import IMAGE_SUFFIXES, find_face_root, find_files
from voiceface.datasets.manifest import read_manifest
from voiceface.io.foreign_files import read_file_text
from voiceface.io.input_files import AUDIO_FILE_SUFFIXES

from sf2f.split import (
    CORPORA,
    METADATA_TABLES,
    SPLIT_FILE,
    SPLITS,
    Split,
    build_split,
    find_metadata,
    normalise_name,
    read_metadata,
    read_split,
)

__all__ = [
    "FACE_SUFFIXES",
    "RAW_FOLDER",
    "RECORDING_SUFFIXES",
    "Recording",
    "RecordingSource",
    "SourceError",
    "detect_source",
]

RECORDING_SUFFIXES = tuple(form for suffix in AUDIO_FILE_SUFFIXES for form in (suffix, suffix.upper()))
FACE_SUFFIXES = tuple(form for suffix in IMAGE_SUFFIXES for form in (suffix, suffix.upper()))
RAW_FOLDER = "raw_wav"


class SourceError(ValueError):
    """A folder or manifest without recordings; the message says what was expected."""


@dataclass(frozen=True)
class Recording:
    """One recording: file, identity, and the IDs that name its feature file."""

    path: Path
    corpus: str
    name: str
    spkid: str
    clipid: str
    wavid: str

    @property
    def relative_stem(self) -> str:
        """`NAME/SPKID_CLIPID_WAVID`, the path of its features below `CORPUS/mel_spectrograms`."""
        return f"{self.name}/{self.spkid}_{self.clipid}_{self.wavid}"


@dataclass
class RecordingSource:
    """Content of a folder or manifest.

    Attributes:
        recordings: recordings of named identities.
        unidentified: recordings without a row in the metadata table, with the reason.
        images: file -> path below the new data folder.
        metadata_tables: path below the new data folder -> text of a metadata table.
        split: None where the source has none.
        ground_truth_folder: ground truth of synthetic identities.
    """

    recordings: list[Recording] = field(default_factory=list)
    unidentified: list[tuple[Path, str]] = field(default_factory=list)
    images: dict[Path, str] = field(default_factory=dict)
    metadata_tables: dict[str, str] = field(default_factory=dict)
    split: Split | None = None
    ground_truth_folder: Path | None = None


def detect_source(path: str | Path) -> RecordingSource:
    """Detect a manifest, the raw recordings of VoxCeleb, or folders of voice IDs with a metadata table.

    Args:
        path: a manifest (.csv), or a folder with `manifest.csv`, with `raw_wav/vox1/{dev,test}` and
            `raw_wav/vox2/{dev,test}`, or with `wav/VOICE ID` and `vox1_meta.csv` (VoxCeleb1, a population).

    Raises:
        FileNotFoundError: no such path, or a metadata table is missing.
        SourceError: none of these, or no recordings.
        IdentityError: an invalid metadata table.
    """
    path = Path(path)
    manifest = path if path.is_file() else path / "manifest.csv"
    if manifest.is_file():
        source = _source_from_manifest(manifest)
    elif not path.is_dir():
        raise FileNotFoundError(f"no file or folder at {path}; expected a data folder or a manifest")
    elif (path / RAW_FOLDER).is_dir():
        source = _source_from_raw_voxceleb(path)
    elif (path / "wav").is_dir():
        source = _source_from_voice_folders(path)
    else:
        raise SourceError(
            f"{path} contains none of manifest.csv, {RAW_FOLDER}/vox1/{{dev,test}} and wav/VOICE ID; see "
            "docs/data.md"
        )
    if not source.recordings and not source.unidentified:
        raise SourceError(f"{path} contains no recordings ({', '.join(RECORDING_SUFFIXES[::2])})")
    return source


def _source_from_manifest(path: Path) -> RecordingSource:
    source, rows = RecordingSource(), read_manifest(path)
    identities: dict[str, Identity] = {}
    for row in rows:
        identity, item = row.identity, Path(row.path)
        name = normalise_name(parse_folder_name(identity.name, f"{path}: identity"))
        identities.setdefault(name, identity)
        if row.modality == "voice":
            clip = "-".join(item.parts[:-1]) or "0"
            source.recordings.append(Recording(path.parent / item, "vox1", name, name, clip, item.stem))
        else:
            source.images[path.parent / item] = f"vox1/masked_faces/{name}/{'-'.join(item.parts)}"
    parts: dict[str, list[str]] = {part: [] for part in SPLITS}
    owner: dict[str, str] = {}
    for identity in (row.identity for row in rows):
        name = normalise_name(identity.name)
        if not identity.split or owner.get(name) == identity.split:
            continue
        if name in owner:
            raise SourceError(
                f"{path}: {name} is in both {owner[name]} and {identity.split}; each identity must be in one "
                "split"
            )
        owner[name] = identity.split
        parts[identity.split].append(name)
    if owner:
        source.split = {"vox1": parts, "vox2": {part: [] for part in SPLITS}}
    else:
        source.split = build_split({"vox1": [Identity(name, name, name) for name in identities]})
    lines = [META_HEADER] + [(n, n, each.gender, each.nationality, "dev") for n, each in identities.items()]
    source.metadata_tables["vox1/vox1_meta.csv"] = "".join("\t".join(line) + "\n" for line in lines)
    return source


def _source_from_raw_voxceleb(root: Path) -> RecordingSource:
    source = RecordingSource()
    for corpus in CORPORA:
        for part in ("dev", "test"):
            folder = root / RAW_FOLDER / corpus / part
            if folder.is_dir():
                _add_recordings(source, folder, corpus, _read_names(root, corpus, source))
    return source


def _source_from_voice_folders(root: Path) -> RecordingSource:
    source = RecordingSource()
    names = _read_names(root, "vox1", source)
    _add_recordings(source, root / "wav", "vox1", names)
    faces = find_face_root(root)
    for item in find_files(faces, "", FACE_SUFFIXES) or ():
        owner, _, rest = item.partition("/")
        if normalise_name(owner) in set(names.values()) and rest:
            source.images[faces / item] = (
                f"vox1/masked_faces/{normalise_name(owner)}/{rest.replace('/', '-')}"
            )
    if (root / SPLIT_FILE).is_file():
        source.split = read_split(root / SPLIT_FILE)
    if (root / "truth" / "population.json").is_file():
        source.ground_truth_folder = root / "truth"
    return source


def _read_names(root: Path, corpus: str, source: RecordingSource) -> dict[str, str]:
    """Identity name of each voice ID of a corpus; stores the table in `source`."""
    meta = find_metadata(root, corpus)
    if meta is None:
        raise FileNotFoundError(
            f"no {METADATA_TABLES[corpus].file} below {root}, which names the voice IDs of {corpus}; "
            f"copy it to {root / corpus}"
        )
    source.metadata_tables[f"{corpus}/{METADATA_TABLES[corpus].file}"] = read_file_text(
        meta, IdentityError, "a metadata table"
    )
    return {row.voice_id: row.name for row in read_metadata(meta, corpus)}


def _add_recordings(source: RecordingSource, folder: Path, corpus: str, names: dict[str, str]) -> None:
    """Add the recordings below a folder of voice IDs."""
    for spkid, clipid, path in _iter_recordings(folder):
        if spkid in names:
            source.recordings.append(Recording(path, corpus, names[spkid], spkid, clipid, path.stem))
        else:
            source.unidentified.append((path, f"{spkid} has no row in {METADATA_TABLES[corpus].file}"))


def _iter_recordings(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Iterate over (voice ID, video, file) of every recording below a folder, sorted."""
    for item in find_files(folder, "", RECORDING_SUFFIXES) or ():
        spkid, *between, _ = item.split("/")
        if item.count("/"):
            yield spkid, "-".join(between) or "0", folder / item
