"""Where speakers come from: the HQ-VoxCeleb layout, a corpus, a written population, or invented in memory.

Letters: M mel bands, T frames.
"""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from voiceface.datasets.disclaimers import SYNTHETIC_DATA_DISCLAIMER

from sf2f import speech
from sf2f.speakers import Array, ArrayOrPath, DataError, Speakers, StoredDtype
from sf2f.speech import FEATURE_SUFFIXES, SpeechConfig
from sf2f.split import CORPORA, SPLIT_FILE, SPLITS, find_metadata, normalise_name, read_metadata, read_split

if TYPE_CHECKING:
    from voiceface.synthetic.ground_truth import GroundTruth
    from voiceface.synthetic.layout import PopulationSettings

    from sf2f.config import DataConfig

FaceVariant = Literal["masked", "origin"]
MEL_FOLDER = "mel_spectrograms"
FACE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
log = logging.getLogger(__name__)


def open_speakers(
    root: str | Path,
    split: str,
    config: SpeechConfig = speech.DEFAULT_CONFIG,
    *,
    face_variant: FaceVariant = "masked",
    dtype: StoredDtype = "float16",
    workers: int | None = 1,
    progress: bool = False,
) -> Speakers:
    """People of a data folder: the HQ-VoxCeleb layout, a written population, or a corpus with a manifest.

    The HQ-VoxCeleb layout (specification, section 2.4; `sf2f prepare` makes it) stays on the disk. Of the
    others, recordings become features here, in memory, and those without a voice are left out with a warning;
    for more than some thousand recordings run `sf2f prepare` first.

    Args:
        root: the folder.
        split: "train", "val" or "test".
        config: recordings to features; of stored features only the number of bands counts.
        face_variant: HQ-VoxCeleb: pictures with the background painted white, or as they were.
        dtype: type of features in memory.
        workers: processes that make features; None takes every core.
        progress: show a bar on standard error.

    Raises:
        FileNotFoundError: the folder, its split or a part of it is not there.
        DataError, ValueError: nobody is left, or files that do not fit together.
    """
    root = Path(root)
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    if not root.is_dir():
        raise FileNotFoundError(f"no data folder at {root}; invent one: voiceface population {root}")
    if any((root / corpus / MEL_FOLDER).is_dir() for corpus in CORPORA):
        return _load_hq_voxceleb(root, split, config.n_mels, face_variant)
    return _load_corpus(root, split, config, dtype, workers, progress)


def synthetic_speakers(
    preset: "PopulationSettings | str",
    split: str,
    config: SpeechConfig = speech.DEFAULT_CONFIG,
    *,
    dtype: StoredDtype = "float16",
    workers: int | None = None,
    progress: bool = True,
    **changes: Any,
) -> Speakers:
    """People of a population made in memory; arguments as `PopulationDataset` and `open_speakers`."""
    from voiceface.synthetic.dataset import PopulationDataset
    from voiceface.synthetic.ground_truth import GroundTruth

    found = PopulationDataset(preset, split, workers=workers, progress=progress, **changes)
    names = found.identities.face_names
    people, settings = found.identities, dict(vars(found.settings))
    truth = GroundTruth(
        tuple(names), people.sex, people.voice_factors, people.face_factors, people.coupling, settings
    )
    voices = {i: _compute_mels(found.clips[i], names[i], config, dtype) for i in range(len(names))}
    order = sorted((i for i in voices if voices[i]), key=lambda i: names[i])
    chosen = tuple(names[i] for i in order)
    return Speakers(
        chosen,
        ("",) * len(order),
        tuple(voices[i] for i in order),
        tuple(tuple(found.images[i]) for i in order),
        tuple("fm"[int(people.sex[i])] for i in order),
        config.n_mels,
        truth.select(chosen),
        SYNTHETIC_DATA_DISCLAIMER,
        tuple(found.clips[i, 0] for i in order),
    )


def _compute_mels(
    clips: Array, name: str, config: SpeechConfig, dtype: StoredDtype
) -> tuple[ArrayOrPath, ...]:
    """Features of a person's clips (C, S) int16; those in which nothing is voiced are left out, and told."""
    found = []
    for number, clip in enumerate(clips):
        try:
            mel = speech.compute_log_mel(clip, speech.SAMPLE_RATE, config, f"clip {number} of {name}")
            found.append(mel.astype(dtype))
        except speech.SpeechError as error:
            log.warning("left out: %s", error)
    return tuple(found)


def load_speakers(
    source: "str | Path | PopulationSettings", split: str, config: "DataConfig", *, synthetic: bool = False
) -> Speakers:
    """Who the flags `--data` or `--population` of a command name.

    Args:
        source: a folder, or a preset.
        split: "train", "val" or "test".
        config: how recordings and pictures are read.
        synthetic: `source` is a preset.
    """
    if synthetic or not isinstance(source, str | Path):
        return synthetic_speakers(str(source) if isinstance(source, Path) else source, split, config.speech)
    found = open_speakers(
        source, split, config.speech, face_variant=config.images.face_variant, progress=True
    )
    return found.load_into_memory(progress=True) if config.in_memory else found


def list_identities(
    root: str | Path, split: str, face_variant: FaceVariant = "masked"
) -> list[tuple[str, str]]:
    """(corpus, name) of everybody in a split who has both folders, sorted (specification, section 2.4)."""
    return sorted(_identity_folders(Path(root), split, face_variant))


def list_files(folder: str | Path, suffixes: Sequence[str]) -> list[str]:
    """Paths of the files of a folder with one of these endings, sorted by name; not those below it.

    Of files that differ in their ending alone, only the one whose ending stands first counts.
    """
    rank = {suffix: place for place, suffix in enumerate(suffixes)}
    best: dict[str, Path] = {}
    for path in Path(folder).iterdir():
        if path.suffix in rank and not path.name.startswith("."):
            known = best.setdefault(path.stem, path)
            if rank[path.suffix] < rank[known.suffix]:
                best[path.stem] = path
    return [str(path) for path in sorted(best.values(), key=lambda path: path.name)]


def _identity_folders(
    root: Path, split: str, face_variant: FaceVariant
) -> dict[tuple[str, str], tuple[Path, Path]]:
    """Feature and face folder of everybody in a split who has both."""
    found = {}
    for corpus, parts in read_split(root / SPLIT_FILE).items():
        sides = []
        for kind in (MEL_FOLDER, f"{face_variant}_faces"):
            place = root / corpus / kind
            own = [entry for entry in place.iterdir() if entry.is_dir()] if place.is_dir() else []
            sides.append({normalise_name(entry.name): entry for entry in own})
        for name in parts[split]:
            if name in sides[0] and name in sides[1]:
                found[corpus, name] = sides[0][name], sides[1][name]
    return found


def _load_hq_voxceleb(root: Path, split: str, n_mels: int, face_variant: FaceVariant) -> Speakers:
    folders = _identity_folders(root, split, face_variant)
    people, voices, pictures, empty = [], [], [], []
    for person in sorted(folders):
        mine, own = (
            list_files(place, kinds)
            for place, kinds in zip(folders[person], (FEATURE_SUFFIXES, FACE_SUFFIXES))
        )
        if mine and own:
            people.append(person)
            voices.append(tuple(mine))
            pictures.append(tuple(own))
        else:
            empty.append("/".join(person))
    if not people:
        raise DataError(
            f"nobody in the split {split!r} of {root} has files in both */{MEL_FOLDER} and */{face_variant}_faces "
            f"({len(folders)} have both folders); see docs/data.md"
        )
    if empty:
        log.warning("left out %d people with an empty folder: %s", len(empty), ", ".join(empty[:5]))
    sex = _read_genders(root)
    corpora, names = zip(*people)
    truth, notice = _load_ground_truth(root, names)
    sexes = tuple(sex.get(each, "") for each in people)
    return Speakers(names, corpora, tuple(voices), tuple(pictures), sexes, n_mels, truth, notice)


def _read_genders(root: Path) -> dict[tuple[str, str], str]:
    """What the metadata tables that are there say of people's sex."""
    places = ((corpus, find_metadata(root, corpus)) for corpus in CORPORA)
    return {(c, row.name): row.gender for c, place in places if place for row in read_metadata(place, c)}


def _load_corpus(
    root: Path, split: str, config: SpeechConfig, dtype: StoredDtype, workers: int | None, progress: bool
) -> Speakers:
    from voiceface.datasets.corpus import open_corpus
    from voiceface.datasets.layouts import AUDIO_SUFFIXES, IMAGE_SUFFIXES

    found = open_corpus(root, split, audio_suffixes=AUDIO_SUFFIXES, image_suffixes=IMAGE_SUFFIXES)
    if not any(person.voices and person.faces for person in found.records):
        raise DataError(f"nobody in the split {split!r} of {root} has both recordings and pictures")
    rows: dict[str, tuple[str, list[str], list[str]]] = {}
    for person in found.records:  # rows of a table may share a name
        _, voices, pictures = rows.setdefault(person.identity.face_id, (person.identity.gender, [], []))
        voices += [str(found.voice_path(item)) for item in person.voices]
        pictures += [str(found.face_path(item)) for item in person.faces]
    paths = sorted({path for _, voices, _ in rows.values() for path in voices})
    recordings = [path for path in paths if Path(path).suffix.lower() not in FEATURE_SUFFIXES]
    heard = extract_features(recordings, config, dtype, workers, progress)
    people = []
    for name, (gender, voices, pictures) in sorted(rows.items()):
        items: list[ArrayOrPath] = []
        for path in sorted(dict.fromkeys(voices)):
            item = heard.get(path, path)
            if item is not None:
                items.append(item)
        if items and pictures:
            people.append((name, tuple(items), tuple(sorted(dict.fromkeys(pictures))), gender, min(voices)))
    if not people:
        raise DataError(f"no recording of the split {split!r} of {root} can be used; see the warnings")
    if len(people) < len(rows):
        log.warning("left out %d people without a recording or picture to use", len(rows) - len(people))
    names, utterances, faces, genders, sounds = zip(*people)
    truth, notice = _load_ground_truth(root, names)
    corpora = ("",) * len(names)
    heard_there = all(Path(each).suffix.lower() not in FEATURE_SUFFIXES for each in sounds)
    return Speakers(
        names,
        corpora,
        utterances,
        faces,
        genders,
        config.n_mels,
        truth,
        notice,
        sounds if heard_there else (),
    )


def _load_ground_truth(root: Path, names: Sequence[str]) -> "tuple[GroundTruth | None, str]":
    """Truth of invented people and what readers must be told; nothing for others."""
    from voiceface.synthetic.ground_truth import read_ground_truth

    if not (root / "truth" / "population.json").is_file():
        return None, ""
    return read_ground_truth(root).select(names), SYNTHETIC_DATA_DISCLAIMER


def extract_features(
    paths: Sequence[str],
    config: SpeechConfig,
    dtype: StoredDtype = "float16",
    workers: int | None = 1,
    progress: bool = False,
) -> dict[str, Array | None]:
    """Features of recordings by path; None, with a warning, for those that give none."""
    from voiceface.runtime.process_pool import map_unordered

    found: dict[str, Array | None] = {}
    work = partial(_extract_features, config=config, dtype=dtype)
    for path, (mel, reason) in map_unordered(work, paths, workers, "features", "clip", progress=progress):
        found[path] = mel
        if reason:
            log.warning("left out: %s", reason)
    return found


def _extract_features(path: str, config: SpeechConfig, dtype: StoredDtype) -> tuple[Array | None, str]:
    """Features of a recording, or why there are none; a file that is not there ends everything."""
    try:
        return speech.compute_log_mel_from_file(path, config).astype(dtype), ""
    except ValueError as error:
        return None, str(error)
