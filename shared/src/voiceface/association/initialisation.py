"""Start of a training run: arguments of `train`, training data, initial weights."""

import argparse
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from voiceface.commandline import arguments
from voiceface.datasets import dataset_arguments

if TYPE_CHECKING:
    from torch import Tensor, nn

    from voiceface.association.config import AssociationConfig
    from voiceface.association.validation import Validation

__all__ = [
    "InitialWeights",
    "TrainingData",
    "add_training_arguments",
    "initial_weights_from_args",
    "load_initial_weights",
    "load_training_data",
    "refuse_masks",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InitialWeights:
    """Files that a run starts from; all are optional. A system may add further files.

    Attributes:
        face_backbone: published face network (IR of face.evoLVe).
        voice_backbone: published voice network (thin ResNet-34 of voxceleb_trainer).
        checkpoint: complete model, native or published.
    """

    face_backbone: Path | None = None
    voice_backbone: Path | None = None
    checkpoint: Path | None = None


S = TypeVar("S", bound=InitialWeights)


class TrainingData(NamedTuple):
    """Data of a training run.

    Attributes:
        dataset: training identities, on disk or generated in memory; of the type that the system trains on.
        validation: identities and trial list of the validation; None if the configuration has none.
        disclaimer: stored with the weights, or empty.
    """

    dataset: Any
    validation: "Validation | None"
    disclaimer: str


def load_initial_weights(
    model: "nn.Module",
    path: Path,
    *,
    system: str,
    read_published: "Callable[[Path], Mapping[str, Tensor]]",
    identity_names: Sequence[str] | None = None,
    excluded_keys: Iterable[str] = (),
    classifier_keys: Sequence[str] = (),
) -> None:
    """Copy a complete model, native or published, except for parameters of its training identities.

    Args:
        model: receives the weights.
        path: run folder, native checkpoint (.safetensors), or published checkpoint of the system.
        system: name of the system that the checkpoint must belong to.
        read_published: path of a published checkpoint -> tensors by key.
        identity_names: training identities in class order, compared with those of the file.
        excluded_keys: shell patterns of keys that are never copied, such as those of identity weights.
        classifier_keys: keys of the classifier, one row per identity; re-initialised, with a warning, if the
            file has other identities.

    Raises:
        CheckpointError, FileNotFoundError: missing, corrupt, or of another system or architecture.
    """
    import fnmatch

    from voiceface.checkpoints.native import load_into, load_model
    from voiceface.checkpoints.paths import find_model_file
    from voiceface.checkpoints.published import CheckpointError

    stored_names, path = None, find_model_file(path)
    if path.suffix == ".safetensors":
        loaded = load_model(path, system=system, kind="model")
        state, stored_names = loaded.state, loaded.extra.get("names")
    else:
        state = dict(read_published(path))
    patterns = tuple(excluded_keys)
    state = {
        key: value
        for key, value in state.items()
        if not any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)
    }
    differ = bool(stored_names and identity_names and list(stored_names) != list(identity_names))
    model_state = model.state_dict()
    for key in classifier_keys:
        stored, expected = len(state.get(key, ())), len(model_state[key])
        if stored != expected or differ:
            log.warning(
                "%s was trained on %d other identities; the classifier is re-initialised for %d identities",
                path,
                stored,
                expected,
            )
            state.pop(key, None)
    report = load_into(model, state, strict=False, source=str(path))
    optional = (*patterns, *classifier_keys, "*.torchfb.*")  # the last: constants of voice front ends
    missing = [
        key for key in report.missing if not any(fnmatch.fnmatchcase(key, pattern) for pattern in optional)
    ]
    if report.mismatched or report.unexpected or missing:
        differing = [
            *report.mismatched,
            *(f"{key}: not in the file" for key in missing),
            *(f"{key}: not in the model" for key in report.unexpected),
        ]
        raise CheckpointError(
            f"{path} is of another architecture: {'; '.join(differing[:3])}; set model.* as in the checkpoint"
        )


def add_training_arguments(
    parser: argparse.ArgumentParser, *, configurations: str, face_network: str
) -> None:
    """Add the arguments of `train` that all systems share.

    Args:
        parser: parser of the command.
        configurations: names of bundled configurations, for the help.
        face_network: published name of the face network, for the help.
    """
    arguments.add_training_arguments(parser, configurations=configurations)
    parser.add_argument("--face-backbone", type=Path, help=f"published {face_network} backbone to start from")
    parser.add_argument("--voice-backbone", type=Path, help="published thin ResNet-34 backbone to start from")
    arguments.add_checkpoint_argument(parser, f"{arguments.CHECKPOINT_HELP}, or a published checkpoint")
    dataset_arguments.add_root_arguments(parser)
    dataset_arguments.add_voice_folder_argument(parser)
    parser.add_argument("--lists", type=Path, help="list folder (default: DATA/list_wav)")
    arguments.add_missing_argument(parser, "identities without a folder")


def initial_weights_from_args(args: argparse.Namespace, weights_type: type[S]) -> S:
    """Collect the initial weights from arguments that have the names of the fields of `weights_type`.

    Raises:
        FileNotFoundError: a file does not exist.
    """
    from dataclasses import fields

    weights = weights_type(**{field.name: getattr(args, field.name) for field in fields(weights_type)})
    arguments.require_existing_paths({"data": args.data, "lists": args.lists, **vars(weights)})
    return weights


def load_training_data(
    args: argparse.Namespace,
    config: "AssociationConfig",
    **sample_options: Any,
) -> TrainingData:
    """Load training and validation data as the arguments of `add_training_arguments` state.

    Args:
        args: parsed arguments.
        config: the experiment.
        sample_options: options of `PopulationDataset`, such as ``num_views=2``; for files they are options of
            `training_dataset`.

    Raises:
        ValueError, OSError: the data cannot be used; see the message.
    """
    from voiceface.association.data import load_split, load_validation, synthetic_training_set
    from voiceface.datasets.disclaimers import SYNTHETIC_DATA_DISCLAIMER, get_disclaimer

    validates = config.training.validation_interval is not None
    if args.population:
        if validates:
            raise ValueError(
                "--population has no validation files: add training.validation_interval=null, or use --data"
            )
        dataset = synthetic_training_set(args.population, config, **sample_options)
        return TrainingData(dataset, None, SYNTHETIC_DATA_DISCLAIMER)
    options: dict[str, Any] = {
        "voice_root": args.voice_root,
        "face_root": args.face_root,
        "skip_missing": args.missing == "skip",
        "voice_folder": args.voice_folder,
    }
    corpus, disclaimer = load_split(args.data, "train", **options), get_disclaimer(args.data)
    validation = load_validation(args.data, config, args.lists, **options) if validates else None
    return TrainingData(corpus, validation, disclaimer)


def refuse_masks(config: Any, system: str) -> None:
    """Refuse masks of spectrograms for a system whose training step does not apply them.

    Raises:
        ValueError: the configuration has them.
    """
    augmentation = getattr(config.data, "augmentation", None)
    voice = None if augmentation is None else augmentation.voice
    if voice is not None and voice.spec_augment is not None:
        raise ValueError(
            f"data.augmentation.voice.spec_augment: the training step of {system} does not mask "
            "spectrograms; set it to null"
        )
