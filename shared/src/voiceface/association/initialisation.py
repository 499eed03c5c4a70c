"""What a training run starts from: weights, people, optimiser and schedule, and the flags that say so."""

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
    from voiceface.datasets.corpus import Corpus
    from voiceface.synthetic.dataset import PopulationDataset

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """Files that a run starts from; everything is optional. A system extends it by files of its own.

    Attributes:
        face_backbone: published face network (IR of face.evoLVe).
        voice_backbone: published voice network (thin ResNet-34 of voxceleb_trainer).
        checkpoint: a whole model, ours or published.
    """

    face_backbone: Path | None = None
    voice_backbone: Path | None = None
    checkpoint: Path | None = None


S = TypeVar("S", bound=Start)


class TrainingPeople(NamedTuple):
    """Who a run learns from.

    Attributes:
        people: on the disk, or invented in memory.
        validation: people and list that judge the model, where the configuration validates.
        notice: what readers of the model must be told, or empty.
    """

    people: "Corpus | PopulationDataset"
    validation: "Validation | None"
    notice: str


def load_start(
    model: "nn.Module",
    path: Path,
    *,
    system: str,
    read_published: "Callable[[Path], Mapping[str, Tensor]]",
    names: Sequence[str] | None = None,
    left_out: Iterable[str] = (),
    other_people: Sequence[str] = (),
) -> None:
    """Copy a whole model, ours or published, except for what belongs to the people it was trained on.

    Args:
        model: receives the weights.
        path: run folder or .safetensors of ours, or any published checkpoint of the system.
        system: whose weights they must be.
        read_published: tensors of a published checkpoint by key.
        names: the training people in class order, to be compared with the file's.
        left_out: shell patterns of keys that are never copied, such as those of identity weights.
        other_people: keys of the classifier, one row a person; they start afresh, with a warning, where the
            file knows other people.

    Raises:
        CheckpointError, FileNotFoundError: absent, damaged, of another system or architecture.
    """
    import fnmatch

    from voiceface.checkpoints.native import load_into, load_model
    from voiceface.checkpoints.paths import model_file
    from voiceface.checkpoints.published import CheckpointError

    known, path = None, model_file(path)
    if path.suffix == ".safetensors":
        loaded = load_model(path, system=system)
        state, known = loaded.state, loaded.extra.get("names")
    else:
        state = dict(read_published(path))
    patterns = tuple(left_out)
    state = {
        key: value
        for key, value in state.items()
        if not any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)
    }
    own = model.state_dict()
    for key in other_people:
        here, there = len(own[key]), len(state.get(key, ()))
        if there != here or (known and names and list(known) != list(names)):
            log.warning(
                "%s knows %d other people, here are %d: the classifier starts afresh", path, there, here
            )
            state.pop(key, None)
    report = load_into(model, state, strict=False, source=str(path))
    spared = (*patterns, *other_people, "*.torchfb.*")  # the last: constants of voice front ends
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


def add_training_flags(parser: argparse.ArgumentParser, *, configurations: str, face_network: str) -> None:
    """The flags that `train` of every system has.

    Args:
        parser: of the command.
        configurations: some bundled names, for the help.
        face_network: published name of the face network, for the help.
    """
    arguments.add_training_flags(parser, configurations=configurations)
    parser.add_argument("--face-backbone", type=Path, help=f"published {face_network} weights to start from")
    parser.add_argument("--voice-backbone", type=Path, help="published thin ResNet-34 weights to start from")
    arguments.add_checkpoint_flag(parser, f"{arguments.OURS}, or a published file")
    dataset_arguments.add_root_flags(parser)
    dataset_arguments.add_voice_folder_flag(parser)
    parser.add_argument("--lists", type=Path, help="list folder (default DATA/list_wav)")
    parser.add_argument("--skip-missing", action="store_true", help="leave people without a folder out")


def start_of(args: argparse.Namespace, kind: type[S]) -> S:
    """The files to start from, out of parsed flags that are named as the fields of `kind`.

    Raises:
        FileNotFoundError: a named file is not there.
    """
    from dataclasses import fields

    start = kind(**{field.name: getattr(args, field.name) for field in fields(kind)})
    arguments.require_given(vars(start))
    return start


def open_training(
    args: argparse.Namespace,
    config: "AssociationConfig",
    **drawing: Any,
) -> TrainingPeople:
    """The people that the flags of `add_training_flags` name.

    Args:
        args: parsed flags.
        config: the experiment.
        drawing: what draws of an invented population hold besides, such as ``views=2``; for people on the
            disk `training_pairs` is told.

    Raises:
        ValueError, OSError: the data cannot be used; see the message.
    """
    from voiceface.association.data import invented, open_split, validation_of
    from voiceface.datasets.disclaimers import SYNTHETIC_NOTICE, notice_of

    judged = config.training.validate_every > 0
    if args.population:
        if judged:
            raise ValueError(
                "--population has no validation files: add training.validate_every=-1, or use --data"
            )
        return TrainingPeople(invented(args.population, config, **drawing), None, SYNTHETIC_NOTICE)
    where: dict[str, Any] = {
        "voice_root": args.voice_root,
        "face_root": args.face_root,
        "skip_missing": args.skip_missing,
        "voice_folder": args.voice_folder,
    }
    corpus, notice = open_split(args.data, "train", **where), notice_of(args.data)
    validation = validation_of(args.data, config, args.lists, **where) if judged else None
    return TrainingPeople(corpus, validation, notice)
