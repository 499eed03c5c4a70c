"""What a training run learns from: videos of a corpus folder, of a training table, or generated in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from voiceface.association.data import load_split
from voiceface.association.initialisation import TrainingData
from voiceface.association.validation import Validation
from voiceface.datasets.corpus import Corpus
from voiceface.datasets.disclaimers import SYNTHETIC_DATA_DISCLAIMER, get_disclaimer

from cmpc2.config import Cmpc2Config
from cmpc2.data import PairDataset, synthetic_training_set
from cmpc2.prototype_retrieval import read_training_table
from cmpc2.videos import VideoSet, exchange_images, videos_from_corpus, videos_from_table


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
    """The videos that the flags of `train` name.

    Args:
        config: the experiment.
        data: corpus folder.
        population: preset to generate in memory instead.
        table: training table that names the videos and their order.
        splits: of the corpus folder; a split whose people judge the model takes no part.
        voice_root: recordings or stored features, if not below `data`.
        face_root: pictures by video, if not below `data`.
        lists: folder of the validation list.
        skip_missing: leave out people or videos without files.
        progress: show bars.

    Raises:
        ValueError, OSError: the data cannot be used; see the message.
    """
    from voiceface.association.data import load_trial_lists

    judged = config.training.validation_interval is not None
    seed, share = config.training.seed, config.data.mismatched_fraction
    if population:
        if judged:
            raise ValueError(
                "--population has no validation files: add training.validation_interval=null, or use --data"
            )
        pairs = synthetic_training_set(population, config, progress=progress)
        pairs.videos = exchange_images(pairs.videos, share, seed)
        return TrainingData(pairs, None, _build_disclaimer(SYNTHETIC_DATA_DISCLAIMER, share))
    if data is None:
        raise ValueError("give a corpus folder (--data) or a preset to generate (--population)")
    where: dict[str, Any] = {"voice_root": voice_root, "face_root": face_root or _find_video_faces(data)}
    if table:
        voices, faces = (
            where[side] or data / usual
            for side, usual in (("voice_root", "wav"), ("face_root", "unzippedFaces"))
        )
        videos = videos_from_table(read_training_table(table), voices, faces, skip_missing=skip_missing)
    else:
        used = [split for split in splits if not (judged and split == "val")]
        parts = [
            videos_from_corpus(load_split(data, split, **where, skip_missing=skip_missing), data)
            for split in used
        ]
        videos = VideoSet(
            tuple(video for part in parts for video in part.videos), parts[0].voice_root, parts[0].face_root
        )
    validation = None
    if judged:
        corpus = load_split(
            data, "val", skip_missing=skip_missing, voice_root=voice_root, face_root=face_root
        )
        (questions,) = load_trial_lists(
            data,
            [config.evaluation.validation_list],
            corpus,
            list_folder=list_folder,
            generation_seed=seed,
            on_missing="skip" if skip_missing else "error",
        )
        validation = Validation(corpus, questions, "skip" if skip_missing else "error")
    pairs = PairDataset(
        exchange_images(videos, share, seed), config.data, config.model.face.image_size, progress=progress
    )
    return TrainingData(pairs, validation, _build_disclaimer(get_disclaimer(data), share))


def pairs_from_corpus(corpus: Corpus, data: Path, config: Cmpc2Config) -> PairDataset:
    """Build the training pairs of a corpus; identities are used for nothing but the metadata."""
    return PairDataset(videos_from_corpus(corpus, data), config.data, config.model.face.image_size)


def _find_video_faces(data: Path) -> Path | None:
    """The folder of pictures by video, where there is one."""
    place = data / "unzippedFaces"
    return place if place.is_dir() else None


def _build_disclaimer(disclaimer: str, fraction: float) -> str:
    """Add that pairs were made wrong on purpose."""
    if not fraction:
        return disclaimer
    exchanged = f"{fraction:.0%} of the training videos had the pictures of another video, on purpose."
    return f"{disclaimer} {exchanged}".strip()
