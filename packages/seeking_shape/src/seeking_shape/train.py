"""Training: `seeking_shape train --cfg reweight --data ROOT --out RUN`, then `--cfg main --id-weights FILE`.

One iteration, in the published order: validation if due, weight update if due, step, learning rate.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from voiceface.association import initialisation
from voiceface.association.initialisation import (
    add_training_arguments,
    initial_weights_from_args,
    load_initial_weights,
    load_training_data,
)
from voiceface.association.validation import Validation, validate, validation_due
from voiceface.training.optimisers import build_lr_schedule, build_optimiser

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from voiceface.datasets.corpus import Corpus
    from voiceface.synthetic.dataset import PopulationDataset
    from voiceface.training.run import Run

    from seeking_shape.config import SeekingShapeConfig
    from seeking_shape.model import Voice2Face


@dataclass(frozen=True)
class InitialWeights(initialisation.InitialWeights):
    """Files that a run starts from; everything is optional.

    Attributes:
        id_weights: identity weights that `extract_id_weight` wrote, or the published id_weight.pth.
    """

    id_weights: Path | None = None


def train(
    config: "SeekingShapeConfig",
    dataset: "Corpus | PopulationDataset",
    out: str | Path,
    *,
    validation: Validation | None = None,
    initial_weights: InitialWeights | None = None,
    device: str = "cpu",
    threads: int | None = None,
    resume: bool = False,
    disclaimer: str = "",
) -> Path:
    """Train one model.

    Args:
        config: what to train.
        dataset: the training people, on the disk or invented in memory; class k is the k-th distinct name.
        out: run folder; new or empty unless `resume`.
        validation: what to judge the model by where the configuration validates.
        initial_weights: weights to begin with; from scratch without.
        device: "cpu", "cuda", or "auto".
        threads: of PyTorch on the CPU; None leaves them as they are.
        resume: go on from the run folder's last saved state.
        disclaimer: what readers of the model must be told; stored with the weights.

    Returns:
        The weights file, `out/model.safetensors`.

    Raises:
        ValueError, OSError: the data, the start weights or the run folder do not fit; see the message.
    """
    from voiceface.association.data import identity_names, training_dataset
    from voiceface.runtime.config import to_dict
    from voiceface.training.lr_schedules import set_learning_rate
    from voiceface.training.provenance import record_provenance
    from voiceface.training.run import open_run, unwrap

    from seeking_shape.model import parameter_groups

    names = identity_names(dataset)
    with open_run(
        out,
        config.training,
        config=to_dict(config),
        system="seeking_shape",
        device=device,
        threads=threads,
        resume=resume,
    ) as run:
        run.extra = {
            "names": names,
            "disclaimer": disclaimer,
            "source": record_provenance(run, names, initial_weights),
        }
        network = run.prepare(build_model(config, names, initial_weights or InitialWeights()))
        model = cast("Voice2Face", unwrap(network))
        optimiser = build_optimiser(config.optimiser, parameter_groups(model))
        rate = build_lr_schedule(config.schedule, config.optimiser.lr, config.training.max_steps)
        run.track(model=model, optimiser=optimiser)
        data = run.batches(
            training_dataset(dataset, config, progress=run.is_main),
            config.training.batch_size,
            max_steps=config.training.max_steps,
            num_workers=config.training.num_workers,
        )
        for step in run.steps(
            config.training.max_steps, checkpoint_interval=config.training.checkpoint_interval
        ):
            if validation_due(config, step):
                validate(run, step, model, config, validation)
            if config.weights.enabled and model.center.update(step):
                run.log(step, {"active_identity_fraction": model.center.active_fraction}, always=True)
            set_learning_rate(optimiser, rate(step))
            terms = train_step(config, run, network, next(data), optimiser, step)
            run.log(step, {**terms, "lr": rate(step)})
        if validation_due(config, config.training.max_steps):
            validate(run, config.training.max_steps, model, config, validation)
        return run.save_final_model(model.state_dict())


def train_step(
    config: "SeekingShapeConfig",
    run: "Run",
    network: "torch.nn.Module",
    batch: dict[str, "Tensor"],
    optimiser: "torch.optim.Optimizer",
    step: int,
) -> dict[str, "Tensor | float"]:
    """One optimiser step on one batch of distinct people.

    Args:
        config: the experiment.
        run: the run.
        network: the model as `run.prepare` gave it.
        batch: "face" (B, 3, S, S), "voice" (B, T), "label" (B,): this process's rows.
        optimiser: of the whole model.
        step: iteration, from 0; decides the crop.

    Returns:
        The weighted terms, their sum and the gradient-free hardness, by name.
    """
    from voiceface.association.data import sample_crop
    from voiceface.runtime.distributed import all_gather_with_gradient
    from voiceface.training.run import unwrap

    from seeking_shape.losses import apply_identity_weights, compute_sample_losses

    center = cast("Voice2Face", unwrap(network)).center
    first, end = sample_crop(config.data, run.seed, step)
    with run.autocast():
        output = network(batch["face"], batch["voice"][:, first:end])
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
    """A model as a run begins with it: fresh, or with the weights that `initial_weights` names."""
    from voiceface.association.encoders import freeze

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
        freeze(model.F if branch == "face" else model.V)
    return model


def main(argv: Sequence[str] | None = None) -> int:
    """`seeking_shape train`."""
    parser = argparse.ArgumentParser(
        prog="seeking_shape train",
        description="Train a model. Step 1 learns identity weights (--cfg reweight); `extract_id_weight` "
        "takes them out; step 3 trains the model with them (--cfg main --id-weights FILE). "
        "A run goes on with --resume.",
    )
    add_training_arguments(parser, configurations="reweight, main, quick, ...", face_network="IR-50")
    parser.add_argument("--id-weights", type=Path, help="identity weights of step 1")
    args = parser.parse_args(argv)

    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory

    from seeking_shape.config import SeekingShapeConfig

    keep_freed_memory()
    config = load_config(args.cfg, SeekingShapeConfig, "seeking_shape", args.override)
    start = initial_weights_from_args(args, InitialWeights)
    people, validation, notice = load_training_data(args, config)
    weights = train(
        config,
        people,
        args.out,
        validation=validation,
        initial_weights=start,
        device=args.device,
        threads=args.threads,
        resume=args.resume,
        disclaimer=notice,
    )
    print(f"weights: {weights}")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("seeking_shape.train", None))
