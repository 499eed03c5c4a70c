"""Data sources: the HQ-VoxCeleb layout, a corpus, a written population, or a synthetic data set in memory.

Letters: M mel bands, T frames.
"""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from voiceface.datasets.disclaimers import SYNTHETIC_DATA_DISCLAIMER

from sf2f import speech
from sf2f.network_config import SpeechConfig
from sf2f.speakers import Array, ArrayOrPath, DataError, Speakers, StoredDtype
from sf2f.speech import FEATURE_SUFFIXES
from sf2f.split import CORPORA, SPLIT_FILE, SPLITS, find_metadata, normalise_name, read_metadata, read_split

if TYPE_CHECKING:
    from voiceface.synthetic.ground_truth import GroundTruth
    from voiceface.synthetic.layout import PopulationSettings

    from sf2f.config import DataConfig

__all__ = [
    "FACE_SUFFIXES",
    "MEL_FOLDER",
    "FaceVariant",
    "extract_features",
    "list_files",
    "list_identities",
    "load_speakers",
    "open_speakers",
    "synthetic_speakers",
]

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
    """Open the identities of a data folder: HQ-VoxCeleb layout, population, or corpus with a manifest.

    The HQ-VoxCeleb layout (docs/data.md; written by `sf2f prepare`) stays on disk. For the other sources,
    features are computed here, in memory, and recordings without speech are skipped with a warning; run `sf2f
    prepare` first for more than some thousand recordings.

    Args:
        root: the folder.
        split: "train", "val" or "test".
        config: how features are computed; stored features only need its number of mel bands.
        face_variant: HQ-VoxCeleb: images with a white background ("masked") or unchanged ones ("origin").
        dtype: dtype of features in memory.
        workers: processes that compute features; None uses every core.
        progress: show a progress bar on standard error.

    Raises:
        FileNotFoundError: the folder, its split or a part of it is missing.
        DataError, ValueError: no identity is left, or files are inconsistent.
    """
    root = Path(root)
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    if not root.is_dir():
        raise FileNotFoundError(
            f"no data folder at {root}; create a synthetic one: voiceface population {root}"
        )
    if any((root / corpus / MEL_FOLDER).is_dir() for corpus in CORPORA):
        return _load_hq_voxceleb(root, split, config.n_mels, face_variant)
    if any((root / corpus / f"{face_variant}_faces").is_dir() for corpus in CORPORA):
        raise DataError(
            f"{root} has images and no features (*/{MEL_FOLDER}); to compute them: sf2f prepare {root} "
            f"--out {root}"
        )
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
    """Generate a population in memory; arguments as `PopulationDataset` and `open_speakers`."""
    from voiceface.synthetic.dataset import PopulationDataset
    from voiceface.synthetic.ground_truth import GroundTruth

    dataset = PopulationDataset(preset, split, workers=workers, progress=progress, **changes)
    names = dataset.identities.face_names
    identities, settings = dataset.identities, dict(vars(dataset.settings))
    truth = GroundTruth(
        tuple(names),
        identities.sex,
        identities.voice_factors,
        identities.face_factors,
        identities.coupling,
        settings,
    )
    mels = {i: _compute_mels(dataset.clips[i], names[i], config, dtype) for i in range(len(names))}
    order = sorted((i for i in mels if mels[i]), key=lambda i: names[i])
    kept_names = tuple(names[i] for i in order)
    return Speakers(
        kept_names,
        ("",) * len(order),
        tuple(mels[i] for i in order),
        tuple(tuple(dataset.images[i]) for i in order),
        tuple("fm"[int(identities.sex[i])] for i in order),
        config.n_mels,
        truth.select(kept_names),
        SYNTHETIC_DATA_DISCLAIMER,
        tuple(dataset.clips[i, 0] for i in order),
    )


def _compute_mels(
    clips: Array, name: str, config: SpeechConfig, dtype: StoredDtype
) -> tuple[ArrayOrPath, ...]:
    """Features of clips (C, S) int16 of one identity; clips without speech are skipped with a warning."""
    mels = []
    for number, clip in enumerate(clips):
        try:
            mel = speech.compute_log_mel(clip, speech.SAMPLE_RATE, config, f"clip {number} of {name}")
            mels.append(mel.astype(dtype))
        except speech.SpeechError as error:
            log.warning("skipped: %s", error)
    return tuple(mels)


def load_speakers(
    source: "str | Path | PopulationSettings", split: str, config: "DataConfig", *, synthetic: bool = False
) -> Speakers:
    """Load the identities that `--data` or `--population` names.

    Args:
        source: a folder, or a preset.
        split: "train", "val" or "test".
        config: how recordings and images are read.
        synthetic: `source` is a preset.
    """
    if synthetic or not isinstance(source, str | Path):
        return synthetic_speakers(str(source) if isinstance(source, Path) else source, split, config.speech)
    speakers = open_speakers(
        source, split, config.speech, face_variant=config.images.face_variant, progress=True
    )
    return speakers.load_into_memory(progress=True) if config.in_memory else speakers


def list_identities(
    root: str | Path, split: str, face_variant: FaceVariant = "masked"
) -> list[tuple[str, str]]:
    """List (corpus, name) of every identity of a split that has a feature and a face folder, sorted."""
    return sorted(_identity_folders(Path(root), split, face_variant))


def list_files(folder: str | Path, suffixes: Sequence[str]) -> list[str]:
    """List the files directly in a folder with one of the suffixes, sorted by name.

    Of files that differ in their suffix only, the one whose suffix comes first is taken.
    """
    rank = {suffix: position for position, suffix in enumerate(suffixes)}
    best: dict[str, Path] = {}
    for path in Path(folder).iterdir():
        if path.suffix in rank and not path.name.startswith("."):
            preferred = best.setdefault(path.stem, path)
            if rank[path.suffix] < rank[preferred.suffix]:
                best[path.stem] = path
    return [str(path) for path in sorted(best.values(), key=lambda path: path.name)]


def _identity_folders(
    root: Path, split: str, face_variant: FaceVariant
) -> dict[tuple[str, str], tuple[Path, Path]]:
    """Map (corpus, name) to feature and face folder for every identity of a split that has both."""
    folders = {}
    for corpus, parts in read_split(root / SPLIT_FILE).items():
        by_kind = []
        for kind in (MEL_FOLDER, f"{face_variant}_faces"):
            folder = root / corpus / kind
            entries = [entry for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []
            by_kind.append({normalise_name(entry.name): entry for entry in entries})
        for name in parts[split]:
            if name in by_kind[0] and name in by_kind[1]:
                folders[corpus, name] = by_kind[0][name], by_kind[1][name]
    return folders


def _load_hq_voxceleb(root: Path, split: str, n_mels: int, face_variant: FaceVariant) -> Speakers:
    """Open the identities of the HQ-VoxCeleb layout; files are read on demand."""
    folders = _identity_folders(root, split, face_variant)
    identities, voices, images, empty = [], [], [], []
    for identity in sorted(folders):
        mel_files, face_files = (
            list_files(folder, suffixes)
            for folder, suffixes in zip(folders[identity], (FEATURE_SUFFIXES, FACE_SUFFIXES))
        )
        if mel_files and face_files:
            identities.append(identity)
            voices.append(tuple(mel_files))
            images.append(tuple(face_files))
        else:
            empty.append("/".join(identity))
    if not identities:
        raise DataError(
            f"no identity in the split {split!r} of {root} has files in both */{MEL_FOLDER} and "
            f"*/{face_variant}_faces ({len(folders)} have both folders); see docs/data.md"
        )
    if empty:
        log.warning("skipped %d identities with an empty folder: %s", len(empty), ", ".join(empty[:5]))
    named = {
        (corpus, name) for corpus, parts in read_split(root / SPLIT_FILE).items() for name in parts[split]
    }
    if absent := sorted(named - folders.keys()):
        log.warning(
            "%d of %d identities of the split %r have no folder in */%s or in */%s_faces: %s",
            *(len(absent), len(named), split, MEL_FOLDER, face_variant),
            ", ".join("/".join(identity) for identity in absent[:5]),
        )
    genders = _read_genders(root)
    corpora, names = zip(*identities)
    truth, disclaimer = _load_ground_truth(root, names)
    identity_genders = tuple(genders.get(each, "") for each in identities)
    return Speakers(names, corpora, tuple(voices), tuple(images), identity_genders, n_mels, truth, disclaimer)


def _read_genders(root: Path) -> dict[tuple[str, str], str]:
    """Read the genders of (corpus, name) from the metadata tables that exist."""
    tables = ((corpus, find_metadata(root, corpus)) for corpus in CORPORA)
    return {(c, row.name): row.gender for c, table in tables if table for row in read_metadata(table, c)}


def _load_corpus(
    root: Path, split: str, config: SpeechConfig, dtype: StoredDtype, workers: int | None, progress: bool
) -> Speakers:
    """Open a corpus or written population and compute the features of its recordings."""
    from voiceface.datasets.corpus import abbreviate, open_corpus
    from voiceface.datasets.layouts import AUDIO_SUFFIXES, IMAGE_SUFFIXES
    from voiceface.io.packed_folders import file_exists

    corpus = open_corpus(root, split, audio_suffixes=AUDIO_SUFFIXES, image_suffixes=IMAGE_SUFFIXES)
    if not any(identity.voices and identity.faces for identity in corpus.records):
        raise DataError(f"no identity in the split {split!r} of {root} has both recordings and images")
    rows: dict[str, tuple[str, list[str], list[str]]] = {}
    for identity in corpus.records:  # rows of a table may share a name
        _, voices, images = rows.setdefault(identity.identity.face_id, (identity.identity.gender, [], []))
        voices += [str(corpus.voice_path(item)) for item in identity.voices]
        images += [str(corpus.face_path(item)) for item in identity.faces]
    paths = sorted({path for _, voices, _ in rows.values() for path in voices})
    if absent := [path for path in paths if not file_exists(path)]:
        raise FileNotFoundError(
            f"{len(absent)} of {len(paths)} recordings of the split {split!r} are absent: "
            f"{abbreviate(absent)}; complete the data, or remove their rows from the manifest"
        )
    recordings = [path for path in paths if Path(path).suffix.lower() not in FEATURE_SUFFIXES]
    computed = extract_features(recordings, config, dtype, workers, progress)
    identities = []
    for name, (gender, voices, images) in sorted(rows.items()):
        items: list[ArrayOrPath] = []
        for path in sorted(dict.fromkeys(voices)):
            item = computed.get(path, path)
            if item is not None:
                items.append(item)
        if items and images:
            identities.append((name, tuple(items), tuple(sorted(dict.fromkeys(images))), gender, min(voices)))
    if not identities:
        raise DataError(f"no recording of the split {split!r} of {root} is usable; see the warnings above")
    if len(identities) < len(rows):
        log.warning("skipped %d identities without a usable recording or image", len(rows) - len(identities))
    names, utterances, faces, genders, previews = zip(*identities)
    truth, disclaimer = _load_ground_truth(root, names)
    corpora = ("",) * len(names)
    previews_are_audio = all(Path(each).suffix.lower() not in FEATURE_SUFFIXES for each in previews)
    return Speakers(
        names,
        corpora,
        utterances,
        faces,
        genders,
        config.n_mels,
        truth,
        disclaimer,
        previews if previews_are_audio else (),
    )


def _load_ground_truth(root: Path, names: Sequence[str]) -> "tuple[GroundTruth | None, str]":
    """Ground truth and disclaimer of a written population; (None, "") for other data."""
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
    """Compute the features of recordings by path; None, with a warning, where a recording is unusable."""
    from voiceface.runtime.process_pool import map_unordered

    mels: dict[str, Array | None] = {}
    work = partial(_extract_features, config=config, dtype=dtype)
    for path, (mel, reason) in map_unordered(work, paths, workers, "features", "clip", progress=progress):
        mels[path] = mel
        if reason:
            log.warning("skipped: %s", reason)
    return mels


def _extract_features(path: str, config: SpeechConfig, dtype: StoredDtype) -> tuple[Array | None, str]:
    """Features of a recording, or the reason why there are none; a missing file raises."""
    try:
        return speech.compute_log_mel_from_file(path, config).astype(dtype), ""
    except ValueError as error:
        return None, str(error)
