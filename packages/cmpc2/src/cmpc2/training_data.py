"""Training data: videos of a corpus folder, of a training table, or generated in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from voiceface.association.initialisation import TrainingData
from voiceface.association.validation import Validation
from voiceface.datasets.corpus import Corpus, open_corpus
from voiceface.datasets.disclaimers import SYNTHETIC_DATA_DISCLAIMER, get_disclaimer
from voiceface.datasets.layouts import PUBLISHED_AUDIO_SUFFIXES
from voiceface.io.packed_folders import folder_exists

from cmpc2.config import Cmpc2Config
from cmpc2.data import PairDataset, synthetic_training_set
from cmpc2.prototype_retrieval import read_training_table
from cmpc2.videos import VideoSet, exchange_images, videos_from_corpus, videos_from_table

__all__ = ["load_training_data", "pairs_from_corpus"]

STORED_VOICE_SUFFIXES = (*PUBLISHED_AUDIO_SUFFIXES, ".pkl")  # the last: features as published


def load_training_data(
    config: Cmpc2Config,
    *,
    data: Path | None = None,
    population: str | None = None,
    table: Path | None = None,
    splits: Sequence[str] = ("train", "val"),
    voice_root: Path | None = None,
    face_root: Path | None = None,
    list_folder: Path | None = None,
    skip_missing: bool = False,
    progress: bool = True,
) -> TrainingData:
    """Load training and validation data of `train`.

    Args:
        config: the experiment.
        data: corpus folder.
        population: preset to generate in memory, in place of `data`.
        table: training table with the videos in order.
        splits: of the corpus folder; the validation split is not trained on.
        voice_root: utterances or stored features, if not below `data`.
        face_root: images by video, if not below `data`.
        list_folder: folder of the validation list.
        skip_missing: skip identities or videos without files.
        progress: show progress bars.

    Raises:
        ValueError, OSError: the data cannot be used; see the message.
    """
    from voiceface.association.data import load_trial_lists

    validates = config.training.validation_interval is not None
    seed, fraction = config.training.seed, config.data.mismatched_fraction
    if population:
        if validates:
            raise ValueError(
                "--population has no validation files: add training.validation_interval=null, or use --data"
            )
        pairs = synthetic_training_set(population, config, progress=progress)
        pairs.videos = exchange_images(pairs.videos, fraction, seed)
        return TrainingData(pairs, None, _build_disclaimer(SYNTHETIC_DATA_DISCLAIMER, fraction))
    if data is None:
        raise ValueError("give a corpus folder (--data) or a preset to generate (--population)")
    roots: dict[str, Any] = {"voice_root": voice_root, "face_root": face_root or _find_video_faces(data)}
    if table:
        voices, faces = voice_root or data / "wav", roots["face_root"] or data / "unzippedFaces"
        videos = videos_from_table(read_training_table(table), voices, faces, skip_missing=skip_missing)
    else:
        parts = [
            videos_from_corpus(_open_split(data, split, **roots, skip_missing=skip_missing), data)
            for split in splits
            if not (validates and split == "val")
        ]
        videos = VideoSet(
            tuple(video for part in parts for video in part.videos), parts[0].voice_root, parts[0].face_root
        )
    validation = None
    if validates:
        corpus = _open_split(
            data, "val", skip_missing=skip_missing, voice_root=voice_root, face_root=face_root
        )
        (trial_list,) = load_trial_lists(
            data,
            [config.evaluation.validation_list],
            corpus,
            list_folder=list_folder,
            generation_seed=seed,
            on_missing="skip" if skip_missing else "error",
        )
        validation = Validation(corpus, trial_list, "skip" if skip_missing else "error")
    pairs = PairDataset(
        exchange_images(videos, fraction, seed), config.data, config.model.face.image_size, progress=progress
    )
    return TrainingData(pairs, validation, _build_disclaimer(get_disclaimer(data), fraction))


def pairs_from_corpus(
    corpus: Corpus, data: Path, config: Cmpc2Config, *, cache: Path | None = None
) -> PairDataset:
    """Build the training pairs of a corpus; identities are used for metadata only, nothing is cached."""
    return PairDataset(videos_from_corpus(corpus, data), config.data, config.model.face.image_size)


def _open_split(
    data: Path, split: str, *, skip_missing: bool, voice_root: Path | None, face_root: Path | None
) -> Corpus:
    """Open a split of a corpus folder, of recordings or stored features."""
    corpus = open_corpus(
        data,
        split,
        voice_root=voice_root,
        face_root=face_root,
        on_missing="skip" if skip_missing else "error",
        audio_suffixes=STORED_VOICE_SUFFIXES,
    )
    return corpus.with_both_modalities() if skip_missing else corpus


def _find_video_faces(data: Path) -> Path | None:
    """Find the folder of images by video, if there is one."""
    folder = data / "unzippedFaces"
    return folder if folder_exists(folder) else None


def _build_disclaimer(disclaimer: str, fraction: float) -> str:
    """Extend a disclaimer by the fraction of mismatched pairs."""
    if not fraction:
        return disclaimer
    mismatched = f"{fraction:.0%} of the training videos had the images of another video, on purpose."
    return f"{disclaimer} {mismatched}".strip()
