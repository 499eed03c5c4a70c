"""Training sets, evaluation splits and trial lists of a corpus or a synthetic population."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voiceface.association.config import AssociationConfig, DataConfig
from voiceface.association.encoders import sample_crop_interval
from voiceface.association.trial_lists import load_trial_lists
from voiceface.datasets.augmentation import build_augmentation
from voiceface.datasets.corpus import Corpus, open_corpus
from voiceface.datasets.pair_dataset import PairDataset

if TYPE_CHECKING:
    from voiceface.association.validation import Validation
    from voiceface.synthetic.dataset import PopulationDataset

__all__ = [
    "CROP_RNG_STREAM",
    "identity_names",
    "keep_complete_identities",
    "load_split",
    "load_trial_lists",
    "load_validation",
    "rename_for_split",
    "sample_crop",
    "synthetic_training_set",
    "training_dataset",
]

CROP_RNG_STREAM = 2


def load_split(
    root: Path,
    split: str,
    *,
    voice_root: Path | None = None,
    face_root: Path | None = None,
    skip_missing: bool = False,
    voice_folder: str = "voxceleb1_id",
) -> Corpus:
    """Load one split of a corpus folder; identities without clips or images are an error unless skipped.

    The remaining identities are numbered without gaps.

    Args:
        root: corpus folder.
        split: "train", "val" or "test".
        voice_root: folder of the utterances, if not below `root`.
        face_root: folder of the images, if not below `root`.
        skip_missing: skip identities without a folder.
        voice_folder: identity column that names the folders of utterances, see `open_corpus`.
    """
    missing = "skip" if skip_missing else "error"
    corpus = open_corpus(
        root,
        split,
        voice_root=voice_root,
        face_root=face_root,
        on_missing=missing,
        voice_folder=voice_folder,
    )
    if not skip_missing:
        return corpus
    return keep_complete_identities(corpus)


def keep_complete_identities(corpus: Corpus) -> Corpus:
    """Keep the identities with clips and images; their classes are numbered without gaps."""
    corpus = corpus.with_both_modalities()
    index = {label: i for i, label in enumerate(dict.fromkeys(corpus.labels))}
    return replace(
        corpus, records=tuple(replace(record, label=index[record.label]) for record in corpus.records)
    )


def identity_names(dataset: "Corpus | PopulationDataset") -> list[str]:
    """List the face name of every class, in class order; rows with the same face name share a class."""
    if not isinstance(dataset, Corpus):
        return list(dataset.identities.face_names)
    names = {record.label: record.identity.face_id or record.identity.name for record in dataset.records}
    return [names.get(label, "") for label in range(dataset.num_classes)]


def training_dataset(
    dataset: "Corpus | PopulationDataset",
    config: AssociationConfig,
    *,
    progress: bool = True,
    **sample_options: Any,
) -> "PairDataset | PopulationDataset":
    """Build the data set of random image and clip pairs; a population in memory is returned as it is.

    Args:
        dataset: training identities.
        config: the experiment.
        progress: show a progress bar while files are decoded.
        sample_options: options of `PairDataset`, such as ``num_views=2``.
    """
    if not isinstance(dataset, Corpus):
        return dataset
    return PairDataset(
        dataset,
        augmentation=build_augmentation(config.data.augmentation),
        image_size=config.model.face.image_size,
        length=config.data.clip_samples,
        rotation=config.data.rotation,
        resize_mode=config.data.resize_mode,
        channels=config.data.channels,
        colour_jitter=config.data.colour_jitter,
        sample_scale=config.data.sample_scale,
        resample=config.data.resample,
        on_corrupt=config.data.corrupt_audio,
        in_memory=config.data.in_memory,
        progress=progress,
        **sample_options,
    )


def synthetic_training_set(
    preset: str, config: AssociationConfig, *, progress: bool = True, **sample_options: Any
) -> "PopulationDataset":
    """Generate the training identities of a population preset in memory.

    Args:
        preset: name of the preset.
        config: the experiment.
        progress: show a progress bar.
        sample_options: options of `PopulationDataset`, such as ``num_views=2``.
    """
    from voiceface.synthetic.dataset import PopulationDataset

    return PopulationDataset(
        preset,
        "train",
        augmentation=build_augmentation(config.data.augmentation),
        image_size=config.model.face.image_size,
        clip_length=config.data.clip_samples,
        rotation=config.data.rotation,
        resize_mode=config.data.resize_mode,
        channels=config.data.channels,
        colour_jitter=config.data.colour_jitter,
        progress=progress,
        **sample_options,
    )


def sample_crop(data: DataConfig, seed: int, step: int, clip_index: int = 0) -> tuple[int, int]:
    """Sample the crop of iteration `step`, one for all clips of the batch: (start, end) in samples.

    Args:
        data: configured clip and crop lengths.
        seed: of the run; the crop is a function of seed, step and `clip_index` alone.
        step: iteration, from 0.
        clip_index: 0 for the first clips of a batch, 1 for the second ones if identities have two.
    """
    rng = np.random.Generator(
        np.random.PCG64(np.random.SeedSequence((seed, CROP_RNG_STREAM + clip_index, step)))
    )
    shortest, longest = data.crop_samples
    start, length = sample_crop_interval(rng, data.clip_samples, shortest, longest)
    return start, start + length


def rename_for_split(names: Sequence[str], split: str) -> list[str]:
    """Rename test lists for another split: `match_v2f_2_test` to `match_v2f_2_val`; other names are kept."""
    return [f"{name.removesuffix('test')}{split}" if name.endswith("_test") else name for name in names]


def load_validation(
    root: Path,
    config: AssociationConfig,
    list_folder: Path | None = None,
    *,
    voice_root: Path | None = None,
    face_root: Path | None = None,
    skip_missing: bool = False,
    voice_folder: str = "voxceleb1_id",
    split: str = "val",
) -> "Validation":
    """Load validation identities (of `split`) and list; a missing list is generated with the run's seed."""
    from voiceface.association.validation import Validation

    corpus = load_split(
        root,
        split,
        voice_root=voice_root,
        face_root=face_root,
        skip_missing=skip_missing,
        voice_folder=voice_folder,
    )
    on_missing = "skip" if skip_missing else "error"
    (trial_list,) = load_trial_lists(
        root,
        [config.evaluation.validation_list],
        corpus,
        list_folder=list_folder,
        generation_seed=config.training.seed,
        on_missing=on_missing,
    )
    return Validation(corpus, trial_list, on_missing)
