"""How a training run of an association system begins: arguments, training data, initial weights."""

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

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InitialWeights:
    """Files that a run starts from; everything is optional. A system extends it by files of its own.

    Attributes:
        face_backbone: published face network (IR of face.evoLVe).
        voice_backbone: published voice network (thin ResNet-34 of voxceleb_trainer).
        checkpoint: a whole model, ours or published.
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
    """Copy a whole model, ours or published, except for what belongs to the people it was trained on.

    Args:
        model: receives the weights.
        path: run folder or .safetensors of ours, or any published checkpoint of the system.
        system: whose weights they must be.
        read_published: tensors of a published checkpoint by key.
        identity_names: the training people in class order, to be compared with the file's.
        excluded_keys: shell patterns of keys that are never copied, such as those of identity weights.
        classifier_keys: keys of the classifier, one row a person; they start afresh, with a warning, where
            the file knows other people.

    Raises:
        CheckpointError, FileNotFoundError: absent, damaged, of another system or architecture.
    """
    import fnmatch

    from voiceface.checkpoints.native import load_into, load_model
    from voiceface.checkpoints.paths import find_model_file
    from voiceface.checkpoints.published import CheckpointError

    known, path = None, find_model_file(path)
    if path.suffix == ".safetensors":
        loaded = load_model(path, system=system, kind="model")
        state, known = loaded.state, loaded.extra.get("names")
    else:
        state = dict(read_published(path))
    patterns = tuple(excluded_keys)
    state = {
        key: value
        for key, value in state.items()
        if not any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)
    }
    own = model.state_dict()
    for key in classifier_keys:
        here, there = len(own[key]), len(state.get(key, ()))
        if there != here or (known and identity_names and list(known) != list(identity_names)):
            log.warning(
                "%s knows %d other people, here are %d: the classifier starts afresh", path, there, here
            )
            state.pop(key, None)
    report = load_into(model, state, strict=False, source=str(path))
    spared = (*patterns, *classifier_keys, "*.torchfb.*")  # the last: constants of voice front ends
    missing = [
        key for key in report.missing if not any(fnmatch.fnmatchcase(key, pattern) for pattern in spared)
    ]
    if report.mismatched or report.unexpected or missing:
        differing = [
            *report.mismatched,
            *(f"{key}: not in the file" for key in missing),
            *(f"{key}: not in the network" for key in report.unexpected),
        ]
        raise CheckpointError(f"{path} is of another architecture: {'; '.join(differing[:3])}")


def add_training_arguments(
    parser: argparse.ArgumentParser, *, configurations: str, face_network: str
) -> None:
    """The flags that `train` of every system has.

    Args:
        parser: of the command.
        configurations: some bundled names, for the help.
        face_network: published name of the face network, for the help.
    """
    arguments.add_training_arguments(parser, configurations=configurations)
    parser.add_argument("--face-backbone", type=Path, help=f"published {face_network} weights to start from")
    parser.add_argument("--voice-backbone", type=Path, help="published thin ResNet-34 weights to start from")
    arguments.add_checkpoint_argument(parser, f"{arguments.CHECKPOINT_HELP}, or a published file")
    dataset_arguments.add_root_arguments(parser)
    dataset_arguments.add_voice_folder_argument(parser)
    parser.add_argument("--lists", type=Path, help="list folder (default DATA/list_wav)")
    arguments.add_missing_argument(parser, "identities without a folder")


def initial_weights_from_args(args: argparse.Namespace, weights_type: type[S]) -> S:
    """The files to start from, out of parsed flags that are named as the fields of `weights_type`.

    Raises:
        FileNotFoundError: a named file is not there.
    """
    from dataclasses import fields

    start = weights_type(**{field.name: getattr(args, field.name) for field in fields(weights_type)})
    arguments.require_existing_paths({"data": args.data, "lists": args.lists, **vars(start)})
    return start


def load_training_data(
    args: argparse.Namespace,
    config: "AssociationConfig",
    **sample_options: Any,
) -> TrainingData:
    """The people that the flags of `add_training_arguments` name.

    Args:
        args: parsed flags.
        config: the experiment.
        sample_options: what draws of a synthetic population hold besides, such as ``views=2``; for people on
            the disk `training_dataset` is told.

    Raises:
        ValueError, OSError: the data cannot be used; see the message.
    """
    from voiceface.association.data import load_split, load_validation, synthetic_training_set
    from voiceface.datasets.disclaimers import SYNTHETIC_DATA_DISCLAIMER, get_disclaimer

    judged = config.training.validation_interval is not None
    if args.population:
        if judged:
            raise ValueError(
                "--population has no validation files: add training.validation_interval=null, or use --data"
            )
        return TrainingData(
            synthetic_training_set(args.population, config, **sample_options), None, SYNTHETIC_DATA_DISCLAIMER
        )
    where: dict[str, Any] = {
        "voice_root": args.voice_root,
        "face_root": args.face_root,
        "skip_missing": args.missing == "skip",
        "voice_folder": args.voice_folder,
    }
    corpus, disclaimer = load_split(args.data, "train", **where), get_disclaimer(args.data)
    validation = load_validation(args.data, config, args.lists, **where) if judged else None
    return TrainingData(corpus, validation, disclaimer)
