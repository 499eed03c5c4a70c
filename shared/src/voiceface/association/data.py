"""Corpora as association systems read them: who is trained on, who is asked about, and by which lists."""

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
    """One split of a corpus folder; identities without clips or images are an error unless skipped.

    Those who are left have classes without gaps: whoever is missing takes no part in the identity weights.

    Args:
        root: corpus folder.
        split: "train", "val" or "test".
        voice_root: folder of the recordings, if not below `root`.
        face_root: folder of the images, if not below `root`.
        skip_missing: leave identities without a folder out.
        voice_folder: which name of an identity their folder of recordings has, see `open_corpus`.
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
    place = {label: index for index, label in enumerate(dict.fromkeys(corpus.labels))}
    return replace(
        corpus, records=tuple(replace(person, label=place[person.label]) for person in corpus.records)
    )


def identity_names(dataset: "Corpus | PopulationDataset") -> list[str]:
    """Face name of every class, in class order; rows with one face name share a class."""
    if not isinstance(dataset, Corpus):
        return list(dataset.identities.face_names)
    names = {person.label: person.identity.face_id or person.identity.name for person in dataset.records}
    return [names.get(label, "") for label in range(dataset.num_classes)]


def training_dataset(
    dataset: "Corpus | PopulationDataset",
    config: AssociationConfig,
    *,
    progress: bool = True,
    **sample_options: Any,
) -> "PairDataset | PopulationDataset":
    """Random image and random clip of every training identity; a population in memory gives them itself.

    Args:
        dataset: who is trained on.
        config: the experiment.
        progress: show a bar while files are decoded.
        sample_options: what else a draw holds, such as ``views=2``; see `PairDataset`.
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
    """The training identities of a population preset, made in memory: nothing is written to the disk.

    Args:
        preset: name of the preset.
        config: the experiment.
        progress: show a bar.
        sample_options: what else a draw holds, such as ``views=2``; see `PopulationDataset`.
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
    """First and end sample of what iteration `step` uses of every clip, a function of seed and step.

    `clip_index` tells the first clips of a batch (0) from the second ones (1), where identities have two.
    """
    rng = np.random.Generator(
        np.random.PCG64(np.random.SeedSequence((seed, CROP_RNG_STREAM + clip_index, step)))
    )
    shortest, longest = data.crop_samples
    first, length = sample_crop_interval(rng, data.clip_samples, shortest, longest)
    return first, first + length


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
    """Trial lists by name, from the list folder, or drawn where they are missing.

    Args:
        root: corpus folder; lists lie in its `list_wav` (or `lists`) unless `list_folder` says otherwise.
        names: list names without ending.
        corpus: the identities asked about.
        list_folder: list folder.
        generation_seed: seed to draw missing lists with, by the published rule; they are marked as generated
            lists.
        on_missing: lists that name files or identities that are not there: "error", or "skip" those lines.
        skip_ungeneratable: skip, with a warning, lists that cannot be drawn from these identities, such as
            same-sex ones where nobody's sex is known.

    Raises:
        TrialListError, FileNotFoundError: lists are missing, with all their names; or files they name; or no
            list is left.
    """
    places = [list_folder] if list_folder else [root / "list_wav", root / "lists"]
    found, missing = [], []
    for name in names:
        paths = [place / f"{name}{ending}" for place in places for ending in (".txt", ".txt.gz")]
        path = next((path for path in paths if path.is_file()), None)
        if path:
            found.append(_read_trial_list(path, corpus, on_missing))
        elif generation_seed is None:
            missing.append(name)
        else:
            try:
                found.append(_generate_trial_list(name, corpus, generation_seed))
            except TrialListError as error:
                if not skip_ungeneratable:
                    raise
                log.warning("skipped %s: %s", name, error)
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} trial lists are not in {', '.join(map(str, places))}: "
            f"{', '.join(missing)}. Put them there, or generate them by the published rule with "
            "--generate-lists SEED"
        )
    if not found:
        raise TrialListError(
            f"none of {len(names)} trial lists can be drawn from these {len(corpus)} identities"
        )
    return tuple(found)


def rename_for_split(names: Sequence[str], split: str) -> list[str]:
    """The same lists for another split: `match_v2f_2_test` becomes `match_v2f_2_val`; other endings stay."""
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
    """Identities and list that training is judged by; a missing list is drawn with the run's seed."""
    from voiceface.association.validation import Validation

    corpus = load_split(
        root,
        "val",
        voice_root=voice_root,
        face_root=face_root,
        skip_missing=skip_missing,
        voice_folder=voice_folder,
    )
    absent = "skip" if skip_missing else "error"
    (questions,) = load_trial_lists(
        root,
        [config.evaluation.validation_list],
        corpus,
        list_folder=list_folder,
        generation_seed=config.training.seed,
        on_missing=absent,
    )
    return Validation(corpus, questions, absent)


def _read_trial_list(path: Path, corpus: Corpus, on_missing: str) -> TrialList:
    """A list with the lines whose files are there; identities skipped of the corpus have none."""
    if on_missing == "error" or path.name.startswith("veriflist"):  # these say voices by name
        return check_trial_items(read_trial_list(path, corpus), corpus, on_missing)
    return with_identities(check_trial_items(read_trial_list(path), corpus, on_missing), corpus)


def _generate_trial_list(name: str, corpus: Corpus, seed: int) -> TrialList:
    """The list that a published name asks for."""
    words = name.split("_")
    kind = {"match": "match", "verify": "verify", "reterival": "retrieval", "retrieval": "retrieval"}.get(
        words[0]
    )
    way = next((word for word in words if word in ("v2f", "f2v")), None)
    if kind is None or way is None:
        raise TrialListError(
            f"no list {name}, and its name does not say how to draw one (match[_g]_v2f_2_test, ...)"
        )
    before = words[1 : words.index(way)]
    numbers = [int(word) for word in words if word.isdigit()]
    return generate_trial_list(
        corpus,
        kind,
        way,
        stratum=before[0].upper() if before else "U",
        num_candidates=numbers[0] if numbers else 2,
        seed=seed,
        split=words[-1],
        name=name,
    )
