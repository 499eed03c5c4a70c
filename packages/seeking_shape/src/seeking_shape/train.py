"""Training: `seeking_shape train --cfg reweight ...`, then `--cfg main --id-weights FILE`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from voiceface.association import initialisation
from voiceface.association.initialisation import load_initial_weights
from voiceface.association.trainer import Trainer, train_command

from seeking_shape.system import SPEC

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from voiceface.association.demo import DemoStep
    from voiceface.datasets.corpus import Corpus
    from voiceface.training.run import Run

    from seeking_shape.config import SeekingShapeConfig
    from seeking_shape.model import Voice2Face

__all__ = [
    "InitialWeights",
    "SeekingShapeTrainer",
    "build_model",
    "build_training_steps",
    "main",
    "train",
    "train_step",
]


@dataclass(frozen=True)
class InitialWeights(initialisation.InitialWeights):
    """Files that a run starts from; all are optional.

    Attributes:
        id_weights: identity weights that `extract_id_weight` wrote, or the published id_weight.pth.
    """

    id_weights: Path | None = None


class SeekingShapeTrainer(Trainer["SeekingShapeConfig", "Voice2Face"]):
    """Trainer of both runs (`reweight` and `main`); the order of an iteration is the published one."""

    spec = SPEC
    masks_spectrograms = True
    description = (
        "Train a model. Step 1 learns identity weights (--cfg reweight); `extract_id_weight` extracts them; "
        "step 3 trains the model with them (--cfg main --id-weights FILE). --resume continues a run."
    )
    configurations = "reweight, main, quick, ..."
    face_network = "IR-50"
    initial_weights_type = InitialWeights

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add the arguments of `train`."""
        super().add_arguments(parser)
        parser.add_argument("--id-weights", type=Path, help="identity weights of step 1")

    def build_model(self) -> "Voice2Face":
        """Build the model as the run starts with it."""
        return build_model(self.config, self.identity_names, self.initial_weights)

    def before_step(self, step: int) -> None:
        """Update the identity weights if due."""
        if self.config.weights.enabled and self.model.center.update(step):
            fraction = self.model.center.active_fraction
            self.run.log(step, {"active_identity_fraction": fraction}, always=True)

    def train_step(self, batch: "dict[str, Tensor]", step: int) -> "dict[str, Tensor | float]":
        """Do one step; see the function `train_step`."""
        return train_step(self.config, self.run, self.network, batch, self.optimiser, step)


train = SeekingShapeTrainer.train


def train_step(
    config: "SeekingShapeConfig",
    run: "Run",
    network: "torch.nn.Module",
    batch: dict[str, "Tensor"],
    optimiser: "torch.optim.Optimizer",
    step: int,
) -> dict[str, "Tensor | float"]:
    """Do one optimiser step on one batch of distinct identities.

    Args:
        config: the experiment.
        run: the run.
        network: the model as returned by `run.prepare`.
        batch: "face" (B, 3, S, S), "voice" (B, T), "label" (B,): the rows of this process.
        optimiser: of the complete model.
        step: iteration, from 0; determines the crop.

    Returns:
        The weighted terms, their sum (`total_loss`) and the mean hardness, by name.
    """
    from voiceface.association.data import sample_crop
    from voiceface.runtime.distributed import all_gather_with_gradient
    from voiceface.training.accumulation import forward_in_parts
    from voiceface.training.run import unwrap

    from seeking_shape.losses import apply_identity_weights, compute_sample_losses

    center = cast("Voice2Face", unwrap(network)).center
    first, end = sample_crop(config.data, run.seed, step)
    with run.autocast():
        output = forward_in_parts(
            network,
            config.training.accumulation_steps,
            batch["face"],
            batch["voice"][:, first:end],
            batch.get("voice_masks"),
        )
    labels = all_gather_with_gradient(batch["label"])
    face, voice, face_logits, voice_logits = map(all_gather_with_gradient, output)
    losses = compute_sample_losses(
        face,
        voice,
        face_logits,
        voice_logits,
        labels,
        explicit=config.loss.explicit,
        constant=config.loss.explicit_constant,
        label_smoothing=config.loss.label_smoothing,
    )
    weights = None
    if config.weights.enabled:
        center.update_hardness(labels, losses.hardness)
        weights = center.batch_weights(labels)
    terms = apply_identity_weights(
        losses,
        weights,
        weighting=config.loss.identity_loss_weighting,
        loss_weights=config.loss.loss_weight,
    )
    total = cast("Tensor", sum(terms.values()))
    run.backward_and_step(total, optimiser, clip_norm=config.optimiser.clip_gradient)
    return {"total_loss": total, **terms, "mean_hardness": losses.hardness.mean()}


def build_model(
    config: "SeekingShapeConfig", identity_names: list[str], initial_weights: InitialWeights
) -> "Voice2Face":
    """Build the model that a run starts with: random, or with the given initial weights."""
    from seeking_shape import published
    from seeking_shape.extract_id_weight import read_identity_weights
    from seeking_shape.model import Voice2Face
    from seeking_shape.reweighting import IdentityWeights

    weights = config.weights.model_dump(exclude={"enabled"})
    model = Voice2Face(
        config.model,
        len(identity_names),
        IdentityWeights(len(identity_names), identity_names=identity_names, **weights),
    )
    if initial_weights.checkpoint:
        load_initial_weights(
            model,
            initial_weights.checkpoint,
            system="seeking_shape",
            read_published=published.read_full_checkpoint,
            identity_names=identity_names,
            excluded_keys=["center.*"],
            classifier_keys=["F.cls.weight"],
        )
    if initial_weights.face_backbone:
        published.load_face_backbone(model, initial_weights.face_backbone)
    if initial_weights.voice_backbone:
        published.load_voice_backbone(model, initial_weights.voice_backbone)
    if initial_weights.id_weights:
        model.center.weight.copy_(read_identity_weights(initial_weights.id_weights, identity_names))
    for branch in config.training.freeze:
        model.freeze(branch)
    return model


def build_training_steps(
    out: Path, population: Path, *, preset: str = "quick", seed: int | None = None, device: str = "cpu"
) -> "tuple[list[DemoStep], dict[str, Path]]":
    """Build the three training steps of the demo; see `voiceface.association.demo.build_training_steps`."""
    from voiceface.association.demo import DemoStep, train_if_needed
    from voiceface.runtime.config import load_config

    from seeking_shape.config import SeekingShapeConfig
    from seeking_shape.extract_id_weight import extract_identity_weights

    runs = {"re-weighting": out / "reweight", "main": out / "main"}
    weights = out / "id_weight.safetensors"
    override = [] if seed is None else [f"training.seed={seed}"]
    reweight_config, main_config = (
        load_config(name, SeekingShapeConfig, "seeking_shape", override)
        for name in (f"{preset}_reweight", preset)
    )

    def reweight(corpus: "Corpus", disclaimer: str) -> None:
        run = runs["re-weighting"]
        train_if_needed(train, run, reweight_config, corpus, device=device, disclaimer=disclaimer)

    def extract(*_: object) -> None:
        extract_identity_weights(runs["re-weighting"], weights)

    def train_main(corpus: "Corpus", disclaimer: str) -> None:
        initial = InitialWeights(id_weights=weights)
        options = {"device": device, "disclaimer": disclaimer, "initial_weights": initial}
        train_if_needed(train, runs["main"], main_config, corpus, **options)

    return [
        DemoStep("learning identity weights of {identities} identities", reweight),
        DemoStep("extracting the identity weights", extract),
        DemoStep("training the model with them", train_main),
    ], runs


def main(argv: Sequence[str] | None = None) -> int:
    """`seeking_shape train`."""
    return train_command(SeekingShapeTrainer, argv)


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("seeking_shape.train", None))
