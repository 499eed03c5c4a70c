"""Training sets, evaluation splits and trial lists of a corpus or a synthetic population."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voiceface.association.config import AssociationConfig, DataConfig
from voiceface.association.encoders import sample_crop_interval
from voiceface.datasets.augmentation import build_augmentation
from voiceface.datasets.corpus import Corpus, open_corpus
from voiceface.datasets.pair_dataset import PairDataset
from voiceface.datasets.trials.coverage import check_trial_items
from voiceface.datasets.trials.reading import read_trial_list, with_identities
from voiceface.datasets.trials.sampling import generate_trial_list
from voiceface.datasets.trials.trial_list import TrialList, TrialListError

if TYPE_CHECKING:
    from voiceface.association.validation import Validation
    from voiceface.synthetic.dataset import PopulationDataset

__all__ = [
    "CROP_RNG_STREAM",
    "identity_names",
    "load_split",
    "load_trial_lists",
    "load_validation",
    "rename_for_split",
    "sample_crop",
    "synthetic_training_set",
    "training_dataset",
]

log = logging.getLogger(__name__)

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


def load_trial_lists(
    root: Path,
    names: Sequence[str],
    corpus: Corpus,
    *,
    list_folder: Path | None = None,
    generation_seed: int | None = None,
    on_missing: str = "error",
    skip_ungeneratable: bool = False,
) -> tuple[TrialList, ...]:
    """Read trial lists by name; generate missing ones if a seed is given.

    Args:
        root: corpus folder; lists are in its `list_wav` (or `lists`) unless `list_folder` is given.
        names: list names without suffix.
        corpus: identities of the trials.
        list_folder: list folder.
        generation_seed: seed to generate missing lists with, by the published rule; they are marked as
            generated.
        on_missing: trials whose files or identities are missing: "error", or "skip" them.
        skip_ungeneratable: skip, with a warning, lists that cannot be generated from these identities, such
            as same-gender lists if no gender is known.

    Raises:
        TrialListError, FileNotFoundError: lists are missing (all are named), or files that they name; or no
            list is left.
    """
    folders = [list_folder] if list_folder else [root / "list_wav", root / "lists"]
    trial_lists, missing = [], []
    for name in names:
        paths = [folder / f"{name}{suffix}" for folder in folders for suffix in (".txt", ".txt.gz")]
        path = next((path for path in paths if path.is_file()), None)
        if path:
            trial_lists.append(_read_trial_list(path, corpus, on_missing))
        elif generation_seed is None:
            missing.append(name)
        else:
            try:
                trial_lists.append(_generate_trial_list(name, corpus, generation_seed))
            except TrialListError as error:
                if not skip_ungeneratable:
                    raise
                log.warning("skipped %s: %s", name, error)
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} trial lists are not in {', '.join(map(str, folders))}: "
            f"{', '.join(missing)}. Put them there, or generate them by the published rule with "
            "--generate-lists SEED"
        )
    if not trial_lists:
        raise TrialListError(
            f"none of {len(names)} trial lists can be generated from these {len(corpus)} identities: "
            "put the lists into the list folder"
        )
    return tuple(trial_lists)


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
) -> "Validation":
    """Load validation identities and list; a missing list is generated with the run's seed."""
    from voiceface.association.validation import Validation

    corpus = load_split(
        root,
        "val",
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


def _read_trial_list(path: Path, corpus: Corpus, on_missing: str) -> TrialList:
    """Read a list; trials with missing files are an error or skipped, as are identities not in the corpus."""
    if on_missing == "error" or path.name.startswith("veriflist"):  # their voices are given by name
        return check_trial_items(read_trial_list(path, corpus), corpus, on_missing)
    return with_identities(check_trial_items(read_trial_list(path), corpus, on_missing), corpus)


def _generate_trial_list(name: str, corpus: Corpus, seed: int) -> TrialList:
    """Generate the list that a published name denotes, such as `match_g_v2f_2_test`."""
    parts = name.split("_")
    kinds = {"match": "match", "verify": "verify", "reterival": "retrieval", "retrieval": "retrieval"}
    kind = kinds.get(parts[0])
    direction = next((part for part in parts if part in ("v2f", "f2v")), None)
    if kind is None or direction is None:
        raise TrialListError(
            f"no list {name}, and none can be generated: expected a name such as match_v2f_2_test or "
            "match_g_v2f_2_test"
        )
    strata = parts[1 : parts.index(direction)]
    numbers = [int(part) for part in parts if part.isdigit()]
    return generate_trial_list(
        corpus,
        kind,
        direction,
        stratum=strata[0].upper() if strata else "U",
        num_candidates=numbers[0] if numbers else 2,
        seed=seed,
        split=parts[-1],
        name=name,
    )
