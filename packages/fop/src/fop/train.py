"""Training: `fop train --cfg main --data ROOT --out RUN`, or on features: `--features FOLDER`."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.association.trainer import Trainer, train_command
from voiceface.commandline import arguments
from voiceface.datasets import dataset_arguments

from fop.system import SPEC

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from voiceface.association.initialisation import TrainingData
    from voiceface.encoders.tables import FeatureSet

    from fop.config import FopConfig
    from fop.feature_batches import FeatureBatches
    from fop.fused_step import FusedStep
    from fop.model import FopModel
    from fop.objectives.objective import Objective
    from fop.validation import FeatureValidation

__all__ = ["FopTrainer", "InitialWeights", "main", "train"]


@dataclass(frozen=True)
class InitialWeights:
    """Files that a run starts from; all are optional.

    Attributes:
        checkpoint: complete model, native or published.
    """

    checkpoint: Path | None = None


class FopTrainer(Trainer["FopConfig", "FopModel"]):
    """Trainer on a `FeatureSet`; class k is its identity k.

    The run folder also contains `objective.safetensors`, if the objective has parameters. With
    `training.best_checkpoint` other than none, `model.safetensors` has the weights of the best checkpoint.
    """

    spec = SPEC
    description = (
        "Train a head on features of frozen encoders. --data encodes the files first (kept in OUT/features); "
        "--features and --csv-voices with --csv-faces take features. --resume continues a run."
    )
    configurations = "main, quick, standard, published, published_fame"
    initial_weights_type = InitialWeights
    dataset: "FeatureSet"
    validation: "FeatureValidation | None"  # type: ignore[assignment]
    objective: "Objective"
    samples: "FeatureBatches"
    fused_step: "FusedStep | None"

    def __init__(self, config: "FopConfig", dataset: "FeatureSet", **options: Any) -> None:
        from fop.feature_batches import FeatureBatches
        from fop.objectives import find_objective

        super().__init__(_resolve(config, dataset), dataset, **options)
        views = find_objective(config.loss.objective).views
        self.samples = FeatureBatches(dataset, config.data.pairing, config.training, views)
        self._stage = -1

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add the arguments of `train`."""
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("--data", type=arguments.data_folder, help=f"{arguments.CORPUS_HELP}: encoded")
        source.add_argument("--features", type=Path, help="folder that `voiceface encode --data` wrote")
        source.add_argument("--csv-voices", type=Path, help="published form: voice features, label last")
        parser.add_argument("--csv-faces", type=Path, help="published form: face features, label last")
        arguments.add_run_arguments(parser, configurations=cls.configurations)
        parser.add_argument(
            "--validation-features",
            type=Path,
            nargs="+",
            metavar="PATH",
            help="features that select the checkpoint: a folder, or CSV files of voices and of faces",
        )
        arguments.add_checkpoint_argument(parser, f"{arguments.CHECKPOINT_HELP}, or a published checkpoint")
        dataset_arguments.add_root_arguments(parser)
        dataset_arguments.add_voice_folder_argument(parser)
        parser.add_argument("--lists", type=Path, help="list folder (default: DATA/list_wav)")
        arguments.add_missing_argument(parser, "identities without a folder")

    @classmethod
    def check_arguments(cls, parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
        """Refuse arguments that do not belong together."""
        if (args.csv_voices is None) != (args.csv_faces is None):
            parser.error("--csv-voices and --csv-faces belong together: give both")
        if args.data and args.validation_features:
            parser.error("--validation-features: with --data, the split val of DATA validates")
        if args.validation_features and len(args.validation_features) > 2:
            parser.error("--validation-features: expected a folder, or two CSV files")

    @classmethod
    def read_initial_weights(cls, args: argparse.Namespace) -> InitialWeights:
        """Collect the files to start from, and check that every named path exists."""
        names = ("data", "features", "csv_voices", "csv_faces", "lists", "checkpoint")
        arguments.require_existing_paths({name: getattr(args, name) for name in names})
        return InitialWeights(args.checkpoint)

    @classmethod
    def load_data(cls, args: argparse.Namespace, config: "FopConfig") -> "TrainingData":
        """Load or compute the features that the arguments name."""
        from voiceface.encoders.tables import FeatureSet
        from voiceface.training.run_directory import FEATURES_FOLDER, check_run_directory

        from fop import training_data

        check_run_directory(args.out, args.resume)  # before hours of encoding
        if args.data:
            return training_data.load_encoded_data(
                config,
                args.data,
                args.out / FEATURES_FOLDER,
                list_folder=args.lists,
                skip_missing=args.missing == "skip",
                device=args.device,
                voice_root=args.voice_root,
                face_root=args.face_root,
                voice_folder=args.voice_folder,
            )
        if args.features:
            features = FeatureSet.load(args.features)
        else:
            features = training_data.read_published_features(args.csv_voices, args.csv_faces)
        given = args.validation_features
        return training_data.load_feature_data(
            config, features, training_data.read_features(given) if given else None
        )

    def list_identities(self) -> list[str]:
        """List the training people in class order."""
        return list(self.dataset.identities)

    def metadata(self) -> dict[str, Any]:
        """Encoders of the features, and what they were trained on."""
        encoders = (self.dataset.voice_encoder, self.dataset.face_encoder)
        return {
            "encoders": [encoder.to_values() for encoder in encoders],
            "voices": len(self.dataset.voices),
            "faces": len(self.dataset.faces),
        }

    def provenance(self) -> list[str]:
        """List the training people, the encoders and the files."""
        encoders = (self.dataset.voice_encoder, self.dataset.face_encoder)
        return [
            *self.identity_names,
            *(f"{encoder.name} {encoder.fingerprint}" for encoder in encoders),
            *self.dataset.voice_files,
            *self.dataset.face_files,
        ]

    def build_model(self) -> "FopModel":
        """Build the model as the run starts with it, and the objective beside it."""
        from voiceface.association.initialisation import load_initial_weights

        from fop.model import FopModel
        from fop.objectives import build_objective, find_objective
        from fop.published import read_published_model

        classes = len(self.identity_names)
        classified = find_objective(self.config.loss.objective).needs_classifier
        model = FopModel(self.config.model, classes if classified else None)
        if self.initial_weights.checkpoint:
            load_initial_weights(
                model,
                self.initial_weights.checkpoint,
                system="fop",
                read_published=read_published_model,
                identity_names=self.identity_names,
                classifier_keys=["logits_layer.weight", "logits_layer.bias"] if classified else [],
            )
        self.objective = build_objective(self.config.loss, model, classes).to(self.run.device)
        return model

    def build_optimiser(self) -> "torch.optim.Optimizer":
        """Build the configured optimiser over model and objective; the published groups have equal values."""
        from voiceface.training.optimisers import build_optimiser

        parameters = [each for group in self.model.parameter_groups() for each in group["params"]]
        parameters += self.objective.parameters()
        return build_optimiser(self.config.optimiser, [{"params": parameters}], fused=True)

    def tracked(self) -> dict[str, Any]:
        """The objective, if it has a state; it gets to know the training features here."""
        from fop.fused_step import build_fused_step
        from fop.objectives.objective import TrainingFeatures

        samples = self.samples.to(self.run.device)
        self.fused_step = build_fused_step(self.run, self.model, self.objective)
        self.objective.start(self.model, TrainingFeatures(samples.voices, samples.faces), self.run.seed)
        return {"objective": _State(self.objective)} if self.objective.state_dict() else {}

    def training_set(self) -> "FeatureBatches":
        """Features on the device of the run, see `tracked`."""
        return self.samples

    def num_steps(self) -> int:
        """Epochs of all stages, or `training.max_steps` if that is less."""
        settings = self.config.training
        steps = settings.epochs * self.samples.batches_per_epoch * self.objective.num_stages
        return int(min(steps, settings.max_steps or steps))

    def checkpoint_steps(self) -> int:
        """Steps between checkpoints, of whole epochs."""
        return int(self.config.training.checkpoint_interval * self.samples.batches_per_epoch)

    def validation_due(self, step: int) -> bool:
        """After every `training.validation_interval` epochs, and at the end."""
        interval = self.config.training.validation_interval
        if interval is None or not step:
            return False
        return step % (interval * self.samples.batches_per_epoch) == 0 or step == self.num_steps()

    def validate(self, step: int) -> float:
        """Compute the matching accuracy of the validation people, 0...1, after `step` steps."""
        from fop.validation import validate

        if self.validation is None:
            raise ValueError(
                "Validation is enabled (training.validation_interval), but no features for it were provided. "
                "Provide some, or set training.validation_interval=null and training.best_checkpoint=none."
            )
        return validate(self.run, step, self.model, self.config, self.validation)

    def batches(self, max_steps: int) -> "Iterator[dict[str, Tensor]]":
        """Batches of pairs from the run's current step on."""
        run = self.run
        return self.samples.iterate(
            run.seed, start_step=run.step, max_steps=max_steps, rank=run.rank, world_size=run.world_size
        )

    def before_step(self, step: int) -> None:
        """Tell the objective the stage and the step."""
        stage = step // (self.config.training.epochs * self.samples.batches_per_epoch)
        if stage != self._stage:
            self._stage = stage
            self.objective.start_stage(stage)
        self.objective.before_step(step)

    def train_step(self, batch: "dict[str, Tensor]", step: int) -> "dict[str, Tensor | float]":
        """Do one optimiser step on the rows of this process, see `FeatureBatches.iterate`."""
        import torch
        from voiceface.runtime.distributed import all_gather_with_gradient as gather

        from fop.model import FopOutput
        from fop.objectives.objective import PairFeatures

        clip = self.config.optimiser.clip_gradient
        if self.fused_step:
            terms = self.fused_step(batch["face"], batch["voice"], batch["label"])
            self.run.step_optimisers(self.optimiser, clip_norm=clip)
            return {"total_loss": terms.pop("loss"), **terms}
        with self.run.autocast():
            output = self.network(batch["face"], batch["voice"])
        output = FopOutput(*(None if each is None else gather(each.float()) for each in output))  # type: ignore[arg-type]
        labels, rows = gather(torch.stack([batch["label"], batch["row"]], dim=1)).unbind(1)
        terms = self.objective(output, labels, PairFeatures(batch["voice"], batch["face"], rows))
        self.run.backward_and_step(loss := terms.pop("loss"), self.optimiser, clip_norm=clip)
        return {"total_loss": loss, **terms}

    def finish(self) -> None:
        """Take the best weights where validation selects them, and write the objective's parameters.

        Raises:
            ValueError: the weights are not finite; no model is written.
        """
        from voiceface.checkpoints.native import load_into, load_model

        from fop.validation import require_finite

        best = self.run.out / "checkpoints" / "best.safetensors"
        if self.config.training.best_checkpoint != "none" and self.run.is_main:
            self.run.extra["best_step"] = self.run.values["best_step"]
            load_into(self.model, load_model(best, system="fop", kind="model").state, source=str(best))
        require_finite(self.model.state_dict().values(), self.run.step, self.config)
        state = {key: each for key, each in self.objective.state_dict().items() if hasattr(each, "shape")}
        if state:  # without what is not stored as tensors
            self.run.save_final_model(state, kind="objective", name="objective.safetensors")

    def record_impostor_scores(self) -> None:
        """Measure the scores of impostor pairs with the final model, unless the best checkpoint has them."""
        from fop.validation import encode_features, record_impostor_scores

        if self.validation is None or self.config.training.best_checkpoint != "none":
            return
        voices, faces = encode_features(self.model, self.validation.features, self.run.device)
        record_impostor_scores(self.run, self.run.step, voices, faces, self.validation)


train = FopTrainer.train


class _State:
    """State of an objective for the resume file; as a module it would be a checkpoint of its own."""

    def __init__(self, objective: "Objective") -> None:
        self.objective = objective

    def state_dict(self) -> dict[str, Any]:
        """Parameters, buffers and further state."""
        return self.objective.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them."""
        self.objective.load_state_dict(state)


def _resolve(config: "FopConfig", features: "FeatureSet") -> "FopConfig":
    """Configuration with the encoders and the lengths of the features.

    Raises:
        ValueError: the configuration states other lengths, or rows do not match.
    """
    dims = {"voice_dim": features.voices.shape[1], "face_dim": features.faces.shape[1]}
    for name, found in dims.items():
        if (stated := getattr(config.model, name)) not in (None, found):
            raise ValueError(
                f"model.{name} is {stated}, found features of length {found}: use features of the encoder "
                "that the configuration is made for, or set it to null"
            )
    encoders = {"voice_encoder": features.voice_encoder.name, "face_encoder": features.face_encoder.name}
    return config.model_copy(
        update={
            "model": config.model.model_copy(update=dims),
            "data": config.data.model_copy(update=encoders),
        }
    )


def main(argv: Sequence[str] | None = None) -> int:
    """`fop train`."""
    return train_command(FopTrainer, argv)


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("fop.train", None))
