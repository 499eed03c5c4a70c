"""Training loop and `train` command that all association systems share."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from voiceface.association.initialisation import (
    InitialWeights,
    TrainingData,
    add_training_arguments,
    initial_weights_from_args,
    load_training_data,
    refuse_masks,
)
from voiceface.association.validation import (
    Validation,
    encode_validation,
    record_impostor_scores,
    validate,
    validation_due,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from voiceface.association.encoders import Encoders
    from voiceface.association.system import SystemSpec
    from voiceface.training.run import Run

__all__ = ["ConfigT", "ModelT", "Trainer", "train_command"]

ConfigT = TypeVar("ConfigT")
ModelT = TypeVar("ModelT", bound="Encoders")


class Trainer(Generic[ConfigT, ModelT]):
    """One training run.

    A system overrides `build_model` and `train_step`, and the hooks it needs. The order of one iteration is:
    validation if due, `before_step`, learning rate, `train_step`, log, `after_step`.

    Args:
        config: the experiment.
        dataset: training identities, on disk or generated in memory; class k is the k-th distinct name.
        validation: identities and trial list, required if the configuration validates.
        initial_weights: weights to start from; None: random.

    Attributes:
        run: the run, from `fit` on; with it `network` (as `Run.prepare` returns it), `model` (the network
            without the wrapper of several processes), `optimiser` and `samples` (the training set).
        identity_names: training identities; in class order by default.
    """

    spec: ClassVar["SystemSpec"]
    description: ClassVar[str] = "Train a model. --resume continues a run."
    configurations: ClassVar[str] = "main, quick"
    face_network: ClassVar[str] = "IR-50"
    initial_weights_type: ClassVar[type] = InitialWeights
    masks_spectrograms: ClassVar[bool] = False
    """Whether `train_step` gives `voice_masks` of a batch to the network (`data.augmentation`)."""

    run: "Run"
    network: "torch.nn.Module"
    model: ModelT
    optimiser: "torch.optim.Optimizer"
    samples: Any

    def __init__(
        self,
        config: ConfigT,
        dataset: Any,
        *,
        validation: Validation | None = None,
        initial_weights: Any = None,
    ) -> None:
        self.config: Any = config
        self.dataset = dataset
        self.validation = validation
        self.initial_weights = initial_weights or self.initial_weights_type()
        if not self.masks_spectrograms:
            refuse_masks(config, self.spec.name)
        self.identity_names = self.list_identities()

    # What a system defines.

    def build_model(self) -> ModelT:
        """Build the model as a run starts with it: random, or with the initial weights."""
        raise NotImplementedError

    def train_step(self, batch: "dict[str, Tensor]", step: int) -> "dict[str, Tensor | float]":
        """Do one optimiser step, counted from 0; return the total loss and its terms for the log."""
        raise NotImplementedError

    # Hooks with defaults.

    def list_identities(self) -> list[str]:
        """List the training identities in class order."""
        from voiceface.association.data import identity_names

        return identity_names(self.dataset)

    @classmethod
    def sample_options(cls, config: Any) -> dict[str, Any]:
        """Options of `PairDataset` and `PopulationDataset`: contents of a training sample."""
        return {}

    def training_set(self) -> Any:
        """Build the random-access data set that batches are sampled from."""
        from voiceface.association.data import training_dataset

        return training_dataset(
            self.dataset, self.config, progress=self.run.is_main, **self.sample_options(self.config)
        )

    def metadata(self) -> dict[str, Any]:
        """Further entries for the checkpoint's metadata."""
        return {}

    def provenance(self) -> list[str]:
        """List the names by which a resumed run recognises its training data."""
        return self.identity_names

    def build_optimiser(self) -> "torch.optim.Optimizer":
        """Build the configured optimiser over the model's parameter groups."""
        from voiceface.training.optimisers import build_optimiser

        return build_optimiser(self.config.optimiser, self.model.parameter_groups())

    def build_lr_schedule(self) -> Callable[[int], float]:
        """Build the learning rate as a function of the step."""
        from voiceface.training.optimisers import build_lr_schedule

        return build_lr_schedule(self.config.schedule, self.config.optimiser.lr, self.num_steps())

    def num_steps(self) -> int:
        """Steps of the run; with `continue_after` at least these."""
        return int(self.config.training.max_steps)

    def checkpoint_steps(self) -> int:
        """Steps between checkpoints."""
        return int(self.config.training.checkpoint_interval)

    def validation_due(self, step: int) -> bool:
        """Whether the model is validated after `step` steps."""
        return validation_due(self.config, step)

    def batches(self, max_steps: int) -> Iterator[Any]:
        """Batches of `samples` from the run's current step on, as far as `max_steps`."""
        settings = self.config.training
        return self.run.batches(
            self.samples,
            settings.batch_size,
            max_steps=max_steps,
            num_workers=settings.num_workers,
            shuffle_buffer=settings.shuffle_buffer,
        )

    def tracked(self) -> dict[str, Any]:
        """Further objects with a state that is saved and restored, by name."""
        return {}

    def continue_after(self) -> Callable[[int], bool] | None:
        """Rule that decides after `max_steps` whether another step follows; None: the run ends there."""
        return None

    def save_best(self) -> bool:
        """Whether validation keeps the best checkpoint."""
        return True

    def on_validation(self, step: int, accuracy: float) -> None:
        """Called after a validation during training with its accuracy, 0...1."""

    def before_step(self, step: int) -> None:
        """Called before a step."""

    def after_step(self, step: int, terms: "dict[str, Tensor | float]") -> None:
        """Called after a step with its logged terms."""

    def finish(self) -> None:
        """Called after the last step, before the model is saved."""

    # The loop.

    def fit(
        self,
        out: str | Path,
        *,
        device: str = "cpu",
        threads: int | None = None,
        resume: bool = False,
        disclaimer: str = "",
    ) -> Path:
        """Train, and save the model; for arguments, result and errors see `train`."""
        from voiceface.runtime.config import to_dict
        from voiceface.training.accumulation import prepare_for_parts
        from voiceface.training.lr_schedules import set_learning_rate
        from voiceface.training.provenance import record_provenance
        from voiceface.training.run import open_run, unwrap

        settings = self.config.training
        options: dict[str, Any] = {"device": device, "threads": threads, "resume": resume}
        options |= {"config": to_dict(self.config), "schema": self.config}
        with open_run(out, settings, system=self.spec.name, **options) as run:
            self.run = run
            run.extra = {
                "names": self.identity_names,
                **self.metadata(),
                "disclaimer": disclaimer,
                "source": record_provenance(run, self.provenance(), self.initial_weights),
            }
            if scores := run.values.get("impostor_scores"):  # of the run that is resumed
                run.extra["impostor_scores"] = scores
            self.network = prepare_for_parts(run, settings, self.build_model())
            self.model = unwrap(self.network)  # type: ignore[assignment]  # run.prepare wraps what it is given
            self.optimiser = self.build_optimiser()
            learning_rate = self.build_lr_schedule()
            run.track(model=self.model, optimiser=self.optimiser, **self.tracked())
            self.samples = self.training_set()
            continue_after = self.continue_after()
            num_steps = self.num_steps()
            batches = self.batches(sys.maxsize if continue_after else num_steps)
            for step in run.steps(
                num_steps, checkpoint_interval=self.checkpoint_steps(), continue_after=continue_after
            ):
                if self.validation_due(step):
                    self.on_validation(step, self.validate(step))
                self.before_step(step)
                set_learning_rate(self.optimiser, learning_rate(step))
                terms = self.train_step(next(batches), step)
                run.log(step, {**terms, "lr": learning_rate(step)})
                self.after_step(step, terms)
            if continue_after is None and self.validation_due(num_steps):
                self.validate(num_steps)
            self.finish()
            self.record_impostor_scores()
            return run.save_final_model(self.model.state_dict())

    def validate(self, step: int) -> float:
        """Compute the matching accuracy on the validation list, 0...1, after `step` steps."""
        options = {"embedder_type": self.spec.resolve("embedder"), "save_best": self.save_best()}
        return validate(self.run, step, self.model, self.config, self.validation, **options)

    def record_impostor_scores(self) -> None:
        """Measure the scores of impostor pairs with the final model, unless the last validation did."""
        if self.validation is None or self.run.values.get("impostor_scores_step") == self.run.step:
            return
        tables = encode_validation(
            self.model,
            self.config,
            self.validation,
            device=self.run.device,
            embedder_type=self.spec.resolve("embedder"),
        )
        record_impostor_scores(self.run, self.run.step, tables, self.validation)

    @classmethod
    def train(
        cls,
        config: ConfigT,
        dataset: Any,
        out: str | Path,
        *,
        validation: Validation | None = None,
        initial_weights: Any = None,
        device: str = "cpu",
        threads: int | None = None,
        resume: bool = False,
        disclaimer: str = "",
    ) -> Path:
        """Train one model.

        Args:
            config: the experiment.
            dataset: training identities, on disk or generated in memory.
            out: run folder; new or empty unless `resume`.
            validation: identities and trial list, required if the configuration validates.
            initial_weights: weights to start from; None: random.
            device: "cpu", "cuda" or "auto".
            threads: threads of PyTorch on the CPU; None leaves them as they are.
            resume: resume the run in `out` from its last saved state.
            disclaimer: stored with the weights and shown with every result.

        Returns:
            The checkpoint, `out/model.safetensors`.

        Raises:
            ValueError, OSError: data, initial weights or run folder do not fit; see the message.
        """
        trainer = cls(config, dataset, validation=validation, initial_weights=initial_weights)
        return trainer.fit(out, device=device, threads=threads, resume=resume, disclaimer=disclaimer)

    # The command.

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add the arguments of `train`."""
        add_training_arguments(parser, configurations=cls.configurations, face_network=cls.face_network)

    @classmethod
    def check_arguments(cls, parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
        """Call `parser.error` for arguments that do not belong together."""

    @classmethod
    def read_initial_weights(cls, args: argparse.Namespace) -> Any:
        """Collect the files to start from, and check that every named path exists."""
        return initial_weights_from_args(args, cls.initial_weights_type)

    @classmethod
    def load_data(cls, args: argparse.Namespace, config: ConfigT) -> TrainingData:
        """Load training and validation data that the arguments name."""
        return load_training_data(args, config, **cls.sample_options(config))  # type: ignore[arg-type]


def train_command(trainer: type[Trainer], argv: Sequence[str] | None) -> int:
    """`PROGRAM train`.

    Args:
        trainer: the system's trainer.
        argv: words of the command line.
    """
    parser = argparse.ArgumentParser(prog=f"{trainer.spec.name} train", description=trainer.description)
    trainer.add_arguments(parser)
    args = parser.parse_args(argv)
    trainer.check_arguments(parser, args)

    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory

    config = load_config(args.cfg, trainer.spec.resolve("config"), trainer.spec.name, args.override)
    initial_weights = trainer.read_initial_weights(args)
    data = trainer.load_data(args, config)
    keep_freed_memory()
    checkpoint = trainer.train(
        config,
        data.dataset,
        args.out,
        validation=data.validation,
        initial_weights=initial_weights,
        device=args.device,
        threads=args.threads,
        resume=args.resume,
        disclaimer=data.disclaimer,
    )
    print(f"weights: {checkpoint}")
    return 0
