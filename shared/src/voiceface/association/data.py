"""Corpora as association systems read them: who is trained on, who is asked about, and by which lists."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voiceface.association.config import AssociationConfig, DataConfig
from voiceface.association.encoders import draw_crop
from voiceface.datasets.corpus import Corpus, open_corpus
from voiceface.datasets.pair_dataset import PairDataset
from voiceface.datasets.trials.coverage import check_items
from voiceface.datasets.trials.reading import read_list, with_people
from voiceface.datasets.trials.sampling import draw_list
from voiceface.datasets.trials.trial_list import EvaluationList, ListError

if TYPE_CHECKING:
    from voiceface.association.validation import Validation
    from voiceface.synthetic.dataset import PopulationDataset

log = logging.getLogger(__name__)

CROP_STREAM = 2


def open_split(
    root: Path,
    split: str,
    *,
    voice_root: Path | None = None,
    face_root: Path | None = None,
    skip_missing: bool = False,
    voice_folder: str = "voxceleb1_id",
) -> Corpus:
    """One split of a corpus folder; people without clips or pictures are an error unless skipped.

    Those who are left have classes without gaps: whoever is absent takes no part in the identity weights.

    Args:
        root: corpus folder.
        split: "train", "val" or "test".
        voice_root: folder of the recordings, if not below `root`.
        face_root: folder of the pictures, if not below `root`.
        skip_missing: leave people without a folder out.
        voice_folder: which name of a person their folder of recordings has, see `open_corpus`.
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
    corpus = corpus.complete()
    place = {label: index for index, label in enumerate(dict.fromkeys(corpus.labels))}
    return replace(
        corpus, people=tuple(replace(person, label=place[person.label]) for person in corpus.people)
    )


def class_names(people: "Corpus | PopulationDataset") -> list[str]:
    """Face name of every class, in class order; rows with one face name share a class."""
    if not isinstance(people, Corpus):
        return list(people.people.names)
    names = {person.label: person.identity.face_id or person.identity.name for person in people.people}
    return [names.get(label, "") for label in range(people.classes)]


def training_pairs(
    people: "Corpus | PopulationDataset",
    config: AssociationConfig,
    *,
    progress: bool = True,
    **drawing: Any,
) -> "PairDataset | PopulationDataset":
    """Random picture and random clip of every training person; a population in memory gives them itself.

    Args:
        people: who is trained on.
        config: the experiment.
        progress: show a bar while files are decoded.
        drawing: what else a draw holds, such as ``views=2``; see `PairDataset`.
    """
    if not isinstance(people, Corpus):
        return people
    return PairDataset(
        people,
        side=config.model.face.side,
        length=config.data.clip_samples,
        rotation=config.data.rotation,
        fit=config.data.fit,
        channels=config.data.channels,
        colour_jitter=config.data.colour_jitter,
        sample_scale=config.data.sample_scale,
        resample=config.data.resample,
        policy=config.data.damaged,
        in_memory=config.data.in_memory,
        progress=progress,
        **drawing,
    )


def invented(
    preset: str, config: AssociationConfig, *, progress: bool = True, **drawing: Any
) -> "PopulationDataset":
    """The training people of a population preset, made in memory: nothing is written to the disk.

    Args:
        preset: name of the preset.
        config: the experiment.
        progress: show a bar.
        drawing: what else a draw holds, such as ``views=2``; see `PopulationDataset`.
    """
    from voiceface.synthetic.dataset import PopulationDataset

    return PopulationDataset(
        preset,
        "train",
        side=config.model.face.side,
        length=config.data.clip_samples,
        rotation=config.data.rotation,
        fit=config.data.fit,
        channels=config.data.channels,
        colour_jitter=config.data.colour_jitter,
        progress=progress,
        **drawing,
    )


def crop_of(data: DataConfig, seed: int, step: int, which: int = 0) -> tuple[int, int]:
    """First and end sample of what iteration `step` uses of every clip, a function of seed and step.

    `which` tells the first clips of a batch (0) from the second ones (1), where people have two.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, CROP_STREAM + which, step))))
    shortest, longest = data.crop_samples
    first, length = draw_crop(rng, data.clip_samples, shortest, longest)
    return first, first + length


def lists_of(
    root: Path,
    names: Sequence[str],
    corpus: Corpus,
    *,
    folder: Path | None = None,
    draw: int | None = None,
    on_absent: str = "error",
    drawable_only: bool = False,
) -> tuple[EvaluationList, ...]:
    """Evaluation lists by name, from the list folder, or drawn where they are missing.

    Args:
        root: corpus folder; lists lie in its `list_wav` (or `lists`) unless `folder` says otherwise.
        names: list names without ending.
        corpus: the people asked about.
        folder: list folder.
        draw: seed to draw missing lists with, by the published rule; they are marked as own lists.
        on_absent: lists that name files or people who are not there: "error", or "skip" those lines.
        drawable_only: leave out, with a warning, lists that cannot be drawn from these people, such as
            same-sex ones where nobody's sex is known.

    Raises:
        ListError, FileNotFoundError: lists are missing, with all their names; or files they name; or no
            list is left.
    """
    places = [folder] if folder else [root / "list_wav", root / "lists"]
    found, missing = [], []
    for name in names:
        paths = [place / f"{name}{ending}" for place in places for ending in (".txt", ".txt.gz")]
        path = next((path for path in paths if path.is_file()), None)
        if path:
            found.append(_read(path, corpus, on_absent))
        elif draw is None:
            missing.append(name)
        else:
            try:
                found.append(_drawn(name, corpus, draw))
            except ListError as error:
                if not drawable_only:
                    raise
                log.warning("left out %s: %s", name, error)
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} evaluation lists are not in {', '.join(map(str, places))}: "
            f"{', '.join(missing)}. Put them there, or draw your own by the published rule with --draw SEED"
        )
    if not found:
        raise ListError(f"none of {len(names)} evaluation lists can be drawn from these {len(corpus)} people")
    return tuple(found)


def names_for_split(names: Sequence[str], split: str) -> list[str]:
    """The same lists for another split: `match_v2f_2_test` becomes `match_v2f_2_val`; other endings stay."""
    return [f"{name.removesuffix('test')}{split}" if name.endswith("_test") else name for name in names]


def validation_of(
    root: Path,
    config: AssociationConfig,
    folder: Path | None = None,
    *,
    voice_root: Path | None = None,
    face_root: Path | None = None,
    skip_missing: bool = False,
    voice_folder: str = "voxceleb1_id",
) -> "Validation":
    """People and list that training is judged by; a missing list is drawn with the run's seed."""
    from voiceface.association.validation import Validation

    corpus = open_split(
        root,
        "val",
        voice_root=voice_root,
        face_root=face_root,
        skip_missing=skip_missing,
        voice_folder=voice_folder,
    )
    absent = "skip" if skip_missing else "error"
    (questions,) = lists_of(
        root,
        [config.evaluation.validation_list],
        corpus,
        folder=folder,
        draw=config.training.seed,
        on_absent=absent,
    )
    return Validation(corpus, questions, absent)


def _read(path: Path, corpus: Corpus, on_absent: str) -> EvaluationList:
    """A list with the lines whose files are there; people left out of the corpus have none."""
    if on_absent == "error" or path.name.startswith("veriflist"):  # these say voices by name
        return check_items(read_list(path, corpus), corpus, on_absent)
    return with_people(check_items(read_list(path), corpus, on_absent), corpus)


def _drawn(name: str, corpus: Corpus, seed: int) -> EvaluationList:
    """The list that a published name asks for."""
    words = name.split("_")
    kind = {"match": "match", "verify": "verify", "reterival": "retrieval", "retrieval": "retrieval"}.get(
        words[0]
    )
    way = next((word for word in words if word in ("v2f", "f2v")), None)
    if kind is None or way is None:
        raise ListError(
            f"no list {name}, and its name does not say how to draw one (match[_g]_v2f_2_test, ...)"
        )
    before = words[1 : words.index(way)]
    numbers = [int(word) for word in words if word.isdigit()]
    return draw_list(
        corpus,
        kind,
        way,
        stratum=before[0].upper() if before else "U",
        candidates=numbers[0] if numbers else 2,
        seed=seed,
        split=words[-1],
        name=name,
    )
