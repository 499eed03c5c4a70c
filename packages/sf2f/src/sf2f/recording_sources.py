"""Recordings that are to become features, and their pictures: VoxCeleb, a population, a manifest."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from voiceface.datasets.identities import META_HEADER, Identity, folder_name
from voiceface.datasets.layouts import AUDIO_SUFFIXES, IMAGE_SUFFIXES, find_face_root, find_files
from voiceface.datasets.manifest import read_manifest

from sf2f.split import (
    CORPORA,
    SPLIT_FILE,
    SPLITS,
    TABLES,
    Split,
    find_meta,
    make_split,
    plain_name,
    read_meta,
    read_split,
)

RECORDINGS = tuple(ending for each in AUDIO_SUFFIXES if each != ".npy" for ending in (each, each.upper()))
PICTURES = tuple(ending for each in IMAGE_SUFFIXES for ending in (each, each.upper()))
RAW = "raw_wav"


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
    def stem(self) -> str:
        """`NAME/SPKID_CLIPID_WAVID`, the path of its features below `CORPUS/mel_spectrograms`."""
        return f"{self.name}/{self.spkid}_{self.clipid}_{self.wavid}"


@dataclass
class Source:
    """What a folder or manifest holds.

    Attributes:
        recordings: with a name.
        nameless: recordings whose speaker no table names, with the reason.
        pictures: file -> path below the new data folder.
        tables: path below the new data folder -> text of a metadata table.
        split: None where the source does not say.
        truth: folder of the truth of invented people.
    """

    recordings: list[Recording] = field(default_factory=list)
    nameless: list[tuple[Path, str]] = field(default_factory=list)
    pictures: dict[Path, str] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    split: Split | None = None
    truth: Path | None = None


def find_source(place: str | Path) -> Source:
    """Recognise a manifest, VoxCeleb's raw recordings, or folders of voice ids with a metadata table.

    Args:
        place: a manifest (.csv), or a folder with `manifest.csv`, with `raw_wav/vox1/{dev,test}` and
            `raw_wav/vox2/{dev,test}`, or with `wav/VOICE ID` and `vox1_meta.csv` (VoxCeleb1, a population).

    Raises:
        FileNotFoundError: nothing there, or a metadata table is absent.
        SourceError: none of these, or no recordings in it.
        IdentityError: a table that cannot be used.
    """
    place = Path(place)
    manifest = place if place.is_file() else place / "manifest.csv"
    if manifest.is_file():
        found = _manifest(manifest)
    elif not place.is_dir():
        raise FileNotFoundError(f"nothing at {place}, expected a data folder or a manifest")
    elif (place / RAW).is_dir():
        found = _voxceleb(place)
    elif (place / "wav").is_dir():
        found = _voices_and_faces(place)
    else:
        raise SourceError(
            f"{place} holds none of manifest.csv, {RAW}/vox1/{{dev,test}} and wav/VOICE ID; see docs/data.md"
        )
    if not found.recordings and not found.nameless:
        raise SourceError(f"{place} holds no recordings ({', '.join(RECORDINGS[::2])})")
    return found


def _manifest(path: Path) -> Source:
    found, rows = Source(), read_manifest(path)
    people: dict[str, Identity] = {}
    for row in rows:
        who, item = row.identity, Path(row.path)
        name = plain_name(folder_name(who.name, f"{path}: identity"))
        people.setdefault(name, who)
        if row.modality == "voice":
            clip = "-".join(item.parts[:-1]) or "0"
            found.recordings.append(Recording(path.parent / item, "vox1", name, name, clip, item.stem))
        else:
            found.pictures[path.parent / item] = f"vox1/masked_faces/{name}/{'-'.join(item.parts)}"
    parts: dict[str, list[str]] = {part: [] for part in SPLITS}
    owner: dict[str, str] = {}
    for who in (row.identity for row in rows):
        name = plain_name(who.name)
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
        found.split = make_split({"vox1": [Identity(name, name, name) for name in people]})
    lines = [META_HEADER] + [(n, n, who.gender, who.nationality, "dev") for n, who in people.items()]
    found.tables["vox1/vox1_meta.csv"] = "".join("\t".join(line) + "\n" for line in lines)
    return found


def _voxceleb(root: Path) -> Source:
    found = Source()
    for corpus in CORPORA:
        for part in ("dev", "test"):
            folder = root / RAW / corpus / part
            if folder.is_dir():
                _named(found, folder, corpus, _names(root, corpus, found))
    return found


def _voices_and_faces(root: Path) -> Source:
    found = Source()
    names = _names(root, "vox1", found)
    _named(found, root / "wav", "vox1", names)
    faces = find_face_root(root)
    for item in find_files(faces, "", PICTURES) or ():
        owner, _, rest = item.partition("/")
        if plain_name(owner) in set(names.values()) and rest:
            found.pictures[faces / item] = f"vox1/masked_faces/{plain_name(owner)}/{rest.replace('/', '-')}"
    if (root / SPLIT_FILE).is_file():
        found.split = read_split(root / SPLIT_FILE)
    if (root / "truth" / "population.json").is_file():
        found.truth = root / "truth"
    return found


def _names(root: Path, corpus: str, found: Source) -> dict[str, str]:
    """Name of each voice id of a corpus; its table is noted."""
    meta = find_meta(root, corpus)
    if meta is None:
        raise FileNotFoundError(
            f"no {TABLES[corpus].file} below {root}, which says who the voice ids of {corpus} are; put it "
            f"into {root / corpus}"
        )
    found.tables[f"{corpus}/{TABLES[corpus].file}"] = meta.read_text("utf-8-sig")
    return {row.voice_id: row.name for row in read_meta(meta, corpus)}


def _named(found: Source, folder: Path, corpus: str, names: dict[str, str]) -> None:
    """Note the recordings below a folder of voice ids."""
    for spkid, clipid, path in _below(folder):
        if spkid in names:
            found.recordings.append(Recording(path, corpus, names[spkid], spkid, clipid, path.stem))
        else:
            found.nameless.append((path, f"{spkid} has no row in {TABLES[corpus].file}"))


def _below(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """(voice id, video, file) of every recording below a folder, sorted."""
    for item in find_files(folder, "", RECORDINGS) or ():
        spkid, *between, _ = item.split("/")
        if item.count("/"):
            yield spkid, "-".join(between) or "0", folder / item
