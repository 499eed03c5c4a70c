"""What `train` reads: features of a data folder, of a feature folder, or of published CSV files."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from voiceface.association.data import load_split, load_validation
from voiceface.association.initialisation import TrainingData
from voiceface.datasets.disclaimers import get_disclaimer
from voiceface.datasets.identities import Identity
from voiceface.encoders.fop_csv import PUBLISHED_WIDTHS
from voiceface.encoders.interface import EncoderInfo, Modality
from voiceface.encoders.records import is_same_encoder
from voiceface.encoders.registry import load_encoder
from voiceface.encoders.tables import FeatureSet, read_fop_csv
from voiceface.io.file_kinds import printable

from fop.config import FopConfig
from fop.validation import FeatureValidation

if TYPE_CHECKING:
    from voiceface.datasets.corpus import Corpus

__all__ = [
    "encode_training_set",
    "hold_out_people",
    "load_encoded_data",
    "load_feature_data",
    "read_features",
    "read_published_features",
]

SPLITS = {"validation": "val", "test": "test"}
"""Split of the people that select the checkpoint."""
HOLD_OUT_STREAM = 4  # use of a run's seed


def encode_training_set(
    corpus: "Corpus", data: Path, config: FopConfig, *, cache: Path | None = None, device: str = "cpu"
) -> FeatureSet:
    """Encode all files of a corpus with the encoders of the configuration.

    Args:
        corpus: the people.
        data: its folder; not used, the corpus names its files.
        config: `data.voice_encoder`, `data.face_encoder` and `training.num_workers` are used.
        cache: folder of finished features, from which a stopped run is resumed; None: no cache.
        device: device of the encoders.

    Raises:
        EncoderError: an encoder is not installed, or files cannot be read.
    """
    encoders = (
        load_encoder(config.data.voice_encoder, "voice", device=device),
        load_encoder(config.data.face_encoder, "face", device=device),
    )
    return FeatureSet.from_corpus(corpus, *encoders, cache=cache, workers=config.training.num_workers)


def load_encoded_data(
    config: FopConfig,
    data: Path,
    cache: Path,
    *,
    list_folder: Path | None = None,
    skip_missing: bool = False,
    device: str = "cpu",
    **roots: Any,
) -> TrainingData:
    """Encode the training people of a data folder, and those that select the checkpoint.

    People without a voice or without a face are not trained on; stderr says how many.

    Args:
        config: the experiment.
        data: data folder.
        cache: folder of finished features.
        list_folder: folder of the validation list; None: that of `data`. A missing list is generated.
        skip_missing: leave out people without files.
        device: device of the encoders.
        roots: `voice_root`, `face_root`, `voice_folder`, as `voiceface.association.data.load_split`.

    Raises:
        ValueError, OSError: the data cannot be used; see the message.
    """
    options = {**roots, "skip_missing": skip_missing}
    corpus = load_split(data, "train", **options)
    validation = None
    if config.training.validation_interval is not None:
        people = _people(config)
        split = SPLITS[people]
        found = load_validation(data, config, list_folder, split=split, **options)  # type: ignore[arg-type]
        chosen = encode_training_set(found.corpus, data, config, cache=cache, device=device)
        validation = FeatureValidation(chosen, found.trial_list, people)
    complete = corpus.with_both_modalities()
    _report_left_out(len(corpus.records), len(complete.records))
    features = encode_training_set(complete, data, config, cache=cache, device=device)
    return TrainingData(features, validation, _disclaimer(features, get_disclaimer(data)))  # type: ignore[arg-type]


def load_feature_data(
    config: FopConfig, features: FeatureSet, validation: FeatureSet | None = None
) -> TrainingData:
    """Divide features into those of training people and those that select the checkpoint.

    In this order: the features of `validation`; the split `val` of `features` (`test` for
    `training.best_checkpoint=test`); people held out of the training people by the seed, as many as
    `data.validation_share` says. People without a voice or a face are not trained on, where
    `data.pairing=random`.

    Args:
        config: the experiment.
        features: of the split `train`, or without splits; of other splits, those are left out.
        validation: features of the people that select the checkpoint; with splits, the same split is used.

    Raises:
        EncoderError: there are splits, but nobody is in `train`.
        ValueError: the configuration validates, and nobody is left for it; or `validation` has training
            people, or features of other encoders.
    """
    wanted = config.training.validation_interval is not None
    people = _people(config)
    split = SPLITS[people]
    training = _take_training_people(features, config)
    chosen = validation if wanted else None
    if chosen is not None:
        chosen = chosen.split(split) if split in chosen.splits else chosen
        _require_other_people(training, chosen)
    if wanted and chosen is None and split in features.splits:
        chosen = features.split(split)
    if wanted and chosen is None:
        if people == "test" or not config.data.validation_share:
            raise ValueError(
                f"nobody to validate on: the features have no split {split!r}; give --validation-features, "
                "or set training.validation_interval=null and training.best_checkpoint=none"
                + ("" if people == "test" else ", or data.validation_share above 0")
            )
        training, chosen = hold_out_people(training, config.data.validation_share, config.training.seed)
    found = None if chosen is None else FeatureValidation(chosen, None, people)
    return TrainingData(training, found, _disclaimer(features))  # type: ignore[arg-type]


def _take_training_people(features: FeatureSet, config: FopConfig) -> FeatureSet:
    """People of the split `train`, or, where no split is stated, everybody."""
    training = features.split("train") if any(features.splits) else features
    if config.data.pairing == "rows":
        return training
    complete = training.with_both_modalities()
    _report_left_out(len(training.people), len(complete.people))
    return complete


def _report_left_out(people: int, complete: int) -> None:
    """Say on stderr how many training people lack a modality."""
    if complete < people:
        print(
            f"{people - complete} of {people} training people left out: no voice or no face", file=sys.stderr
        )


def _require_other_people(training: FeatureSet, validation: FeatureSet) -> None:
    """Check that nobody is trained on who selects the checkpoint, and that the encoders are the same.

    People of CSV files are numbered by each file: their numbers are not compared.
    """
    unknown = []
    for known, other in (
        (training.voice_encoder, validation.voice_encoder),
        (training.face_encoder, validation.face_encoder),
    ):
        same = is_same_encoder(known, other)
        unknown += [f"{known.modality}s"] if same is None else []
        if same is False:
            raise ValueError(
                f"--validation-features: {known.modality} features of length {other.dimension} by "
                f"{other.name}, expected those of the training, of length {known.dimension} by {known.name}; "
                "encode with it"
            )
    if unknown:
        print(
            f"warning: --validation-features: nothing states the encoder of {' and '.join(unknown)}; their "
            "lengths are those of the training, the encoder was not checked",
            file=sys.stderr,
        )
    common = {name for name in training.identities if not name.isdigit()} & set(validation.identities)
    if common:
        raise ValueError(
            f"--validation-features: {len(common)} of {len(validation.people)} people are trained on, such "
            f"as {printable(min(common))}; expected other people, leave these out"
        )


def hold_out_people(features: FeatureSet, share: float, seed: int) -> tuple[FeatureSet, FeatureSet]:
    """Divide people at random.

    Args:
        features: of people with both modalities; others stay with the first part.
        share: of the people in the second part, above 0; two people at least.
        seed: of the run.

    Returns:
        Features of the rest, and of the people held out.

    Raises:
        ValueError: fewer than four people.
    """
    total = len(features.people)
    both = np.intersect1d(features.voice_identities, features.face_identities)
    if len(both) < 4:
        raise ValueError(
            f"{len(both)} people with voice and face, at least 4 are needed to hold some out for validation; "
            "set training.validation_interval=null and training.best_checkpoint=none"
        )
    count = min(max(2, round(share * len(both))), len(both) - 2)
    held = np.random.default_rng([seed, HOLD_OUT_STREAM]).permutation(both)[:count]
    rest = np.setdiff1d(np.arange(total), held)
    return features.subset(rest.tolist()), features.subset(np.sort(held).tolist())


def read_published_features(voices: str | Path, faces: str | Path) -> FeatureSet:
    """Read the training files of the published programs: rows of features with the label in the last column.

    Args:
        voices: CSV without header, 512 columns and the label.
        faces: CSV without header, 4096 columns and the label.

    Returns:
        Features; people are named by their labels, in ascending order.

    Raises:
        EncoderError: a file is no such table.
        FileNotFoundError: no such file.
    """
    voice_rows, face_rows = (read_fop_csv(path, labelled=True) for path in (voices, faces))
    assert voice_rows.labels is not None and face_rows.labels is not None
    values = np.unique(np.concatenate([voice_rows.labels, face_rows.labels]))
    return FeatureSet(
        voice_rows.features,
        face_rows.features,
        np.searchsorted(values, voice_rows.labels),
        np.searchsorted(values, face_rows.labels),
        tuple(Identity(name, name, name) for name in map(str, values.tolist())),
        _name_rows(voices, len(voice_rows.features)),
        _name_rows(faces, len(face_rows.features)),
        _describe(voices, "voice", voice_rows.features.shape[1]),
        _describe(faces, "face", face_rows.features.shape[1]),
    )


def read_features(paths: Sequence[Path]) -> FeatureSet:
    """Read a folder of features, or two CSV files, of voices and of faces.

    Raises:
        ValueError: neither one nor two paths, or the files cannot be used.
    """
    if len(paths) == 1:
        return FeatureSet.load(paths[0])
    if len(paths) == 2:
        return read_published_features(*paths)
    raise ValueError(
        f"{len(paths)} paths ({', '.join(map(printable, paths))}), expected one folder of features, or the "
        "CSV files of voices and of faces"
    )


def _name_rows(path: str | Path, count: int) -> tuple[str, ...]:
    """Names of the rows of a CSV file, which has none."""
    return tuple(f"{Path(path).name}#{row + 1}" for row in range(count))


def _describe(path: str | Path, modality: Modality, width: int) -> EncoderInfo:
    """What is known about the encoder of a CSV file."""
    published = PUBLISHED_WIDTHS.get((modality, width))
    return EncoderInfo(
        f"table:{Path(path).name}", modality, width, trained_on=published.trained_on if published else ()
    )


def _people(config: FopConfig) -> str:
    """Who selects the checkpoint."""
    return "test" if config.training.best_checkpoint == "test" else "validation"


def _disclaimer(features: FeatureSet, own: str = "") -> str:
    return " ".join(dict.fromkeys(text for text in (own, *features.disclaimers) if text))
