"""Recordings that are to become features, and their pictures: VoxCeleb, a population, a manifest."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from voiceface.datasets.identities import META_HEADER, Identity, parse_folder_name
from voiceface.datasets.layouts import AUDIO_SUFFIXES, IMAGE_SUFFIXES, find_face_root, find_files
from voiceface.datasets.manifest import read_manifest

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

RECORDING_SUFFIXES = tuple(
    ending for each in AUDIO_SUFFIXES if each != ".npy" for ending in (each, each.upper())
)
FACE_SUFFIXES = tuple(ending for each in IMAGE_SUFFIXES for ending in (each, each.upper()))
RAW_FOLDER = "raw_wav"


class SourceError(ValueError):
    """A folder or manifest that gives no recordings; the message says what was looked for."""


@dataclass(frozen=True)
class Recording:
    """One recording: its file, whose it is, and the ids that name its features."""

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
    """What a folder or manifest holds.

    Attributes:
        recordings: with a name.
        unidentified: recordings whose speaker no table names, with the reason.
        images: file -> path below the new data folder.
        metadata_tables: path below the new data folder -> text of a metadata table.
        split: None where the source does not say.
        ground_truth_folder: folder of the truth of invented people.
    """

    recordings: list[Recording] = field(default_factory=list)
    unidentified: list[tuple[Path, str]] = field(default_factory=list)
    images: dict[Path, str] = field(default_factory=dict)
    metadata_tables: dict[str, str] = field(default_factory=dict)
    split: Split | None = None
    ground_truth_folder: Path | None = None


def detect_source(path: str | Path) -> RecordingSource:
    """Recognise a manifest, VoxCeleb's raw recordings, or folders of voice ids with a metadata table.

    Args:
        path: a manifest (.csv), or a folder with `manifest.csv`, with `raw_wav/vox1/{dev,test}` and
            `raw_wav/vox2/{dev,test}`, or with `wav/VOICE ID` and `vox1_meta.csv` (VoxCeleb1, a population).

    Raises:
        FileNotFoundError: nothing there, or a metadata table is absent.
        SourceError: none of these, or no recordings in it.
        IdentityError: a table that cannot be used.
    """
    path = Path(path)
    manifest = path if path.is_file() else path / "manifest.csv"
    if manifest.is_file():
        found = _source_from_manifest(manifest)
    elif not path.is_dir():
        raise FileNotFoundError(f"nothing at {path}, expected a data folder or a manifest")
    elif (path / RAW_FOLDER).is_dir():
        found = _source_from_raw_voxceleb(path)
    elif (path / "wav").is_dir():
        found = _source_from_voice_folders(path)
    else:
        raise SourceError(
            f"{path} holds none of manifest.csv, {RAW_FOLDER}/vox1/{{dev,test}} and wav/VOICE ID; see docs/data.md"
        )
    if not found.recordings and not found.unidentified:
        raise SourceError(f"{path} holds no recordings ({', '.join(RECORDING_SUFFIXES[::2])})")
    return found


def _source_from_manifest(path: Path) -> RecordingSource:
    found, rows = RecordingSource(), read_manifest(path)
    people: dict[str, Identity] = {}
    for row in rows:
        who, item = row.identity, Path(row.path)
        name = normalise_name(parse_folder_name(who.name, f"{path}: identity"))
        people.setdefault(name, who)
        if row.modality == "voice":
            clip = "-".join(item.parts[:-1]) or "0"
            found.recordings.append(Recording(path.parent / item, "vox1", name, name, clip, item.stem))
        else:
            found.images[path.parent / item] = f"vox1/masked_faces/{name}/{'-'.join(item.parts)}"
    parts: dict[str, list[str]] = {part: [] for part in SPLITS}
    owner: dict[str, str] = {}
    for who in (row.identity for row in rows):
        name = normalise_name(who.name)
        if not who.split or owner.get(name) == who.split:
            continue
        if name in owner:
            raise SourceError(
                f"{path}: {name} is in both {owner[name]} and {who.split}; here a person is in one split only"
            )
        owner[name] = who.split
        parts[who.split].append(name)
    if owner:
        found.split = {"vox1": parts, "vox2": {part: [] for part in SPLITS}}
    else:
        found.split = build_split({"vox1": [Identity(name, name, name) for name in people]})
    lines = [META_HEADER] + [(n, n, who.gender, who.nationality, "dev") for n, who in people.items()]
    found.metadata_tables["vox1/vox1_meta.csv"] = "".join("\t".join(line) + "\n" for line in lines)
    return found


def _source_from_raw_voxceleb(root: Path) -> RecordingSource:
    found = RecordingSource()
    for corpus in CORPORA:
        for part in ("dev", "test"):
            folder = root / RAW_FOLDER / corpus / part
            if folder.is_dir():
                _add_recordings(found, folder, corpus, _read_names(root, corpus, found))
    return found


def _source_from_voice_folders(root: Path) -> RecordingSource:
    found = RecordingSource()
    names = _read_names(root, "vox1", found)
    _add_recordings(found, root / "wav", "vox1", names)
    faces = find_face_root(root)
    for item in find_files(faces, "", FACE_SUFFIXES) or ():
        owner, _, rest = item.partition("/")
        if normalise_name(owner) in set(names.values()) and rest:
            found.images[faces / item] = f"vox1/masked_faces/{normalise_name(owner)}/{rest.replace('/', '-')}"
    if (root / SPLIT_FILE).is_file():
        found.split = read_split(root / SPLIT_FILE)
    if (root / "truth" / "population.json").is_file():
        found.ground_truth_folder = root / "truth"
    return found


def _read_names(root: Path, corpus: str, source: RecordingSource) -> dict[str, str]:
    """Name of each voice id of a corpus; its table is noted."""
    meta = find_metadata(root, corpus)
    if meta is None:
        raise FileNotFoundError(
            f"no {METADATA_TABLES[corpus].file} below {root}, which says who the voice ids of {corpus} are; put it "
            f"into {root / corpus}"
        )
    source.metadata_tables[f"{corpus}/{METADATA_TABLES[corpus].file}"] = meta.read_text("utf-8-sig")
    return {row.voice_id: row.name for row in read_metadata(meta, corpus)}


def _add_recordings(source: RecordingSource, folder: Path, corpus: str, names: dict[str, str]) -> None:
    """Note the recordings below a folder of voice ids."""
    for spkid, clipid, path in _iter_recordings(folder):
        if spkid in names:
            source.recordings.append(Recording(path, corpus, names[spkid], spkid, clipid, path.stem))
        else:
            source.unidentified.append((path, f"{spkid} has no row in {METADATA_TABLES[corpus].file}"))


def _iter_recordings(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """(voice id, video, file) of every recording below a folder, sorted."""
    for item in find_files(folder, "", RECORDING_SUFFIXES) or ():
        spkid, *between, _ = item.split("/")
        if item.count("/"):
            yield spkid, "-".join(between) or "0", folder / item
