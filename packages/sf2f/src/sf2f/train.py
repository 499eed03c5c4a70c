"""Training: `sf2f train --cfg NAME --data ROOT --out RUN`.

Stage 1 trains encoder and decoder against discriminators; stage 2 trains the fuser of a stage-1 run. One step
is `sf2f.training_step.train_step`, in the published order.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.commandline import arguments

from sf2f.arguments import DATA_HELP

if TYPE_CHECKING:
    from torch import nn
    from voiceface.training.run import Run

    from sf2f.config import Sf2fConfig
    from sf2f.discriminators import Discriminators
    from sf2f.generator import EncoderDecoder
    from sf2f.speakers import Speakers
    from sf2f.training_step import Objective, Optimisers
    from sf2f.validation import ValidationData

__all__ = [
    "InitialWeights",
    "apply_schedules",
    "build_ema",
    "build_lr_schedules",
    "build_networks",
    "is_due",
    "main",
    "name_optimisers",
    "objective_for_step",
    "train",
    "validate",
]


@dataclass(frozen=True)
class InitialWeights:
    """Checkpoints that a run starts from.

    Attributes:
        checkpoint: run, checkpoint of this package, or published checkpoint; required in stage 2.
        facenet: FaceNet checkpoint for the perceptual term.
    """

    checkpoint: Path | None = None
    facenet: Path | None = None


def train(
    config: "Sf2fConfig",
    speakers: "Speakers",
    out: str | Path,
    *,
    validation_speakers: "Speakers | None" = None,
    initial_weights: InitialWeights | None = None,
    device: str = "cpu",
    threads: int | None = None,
    resume: bool = False,
) -> Path:
    """Train one model.

    Args:
        config: what to train.
        speakers: training identities; class k is the k-th of them.
        out: run folder; new or empty unless `resume`.
        validation_speakers: held-out identities, if the configuration enables validation.
        initial_weights: checkpoints to start from.
        device: "cpu", "cuda", or "auto".
        threads: PyTorch threads on the CPU; None keeps the current number.
        resume: continue from the run folder's last saved state.

    Returns:
        The checkpoint of the generator, `out/model.safetensors`.

    Raises:
        ValueError, OSError: invalid data, initial weights or run folder; see the message.
    """
    from voiceface.training.provenance import record_provenance
    from voiceface.training.run import open_run

    from sf2f.batches import iter_batches
    from sf2f.config import config_to_dict
    from sf2f.losses import match_image_sizes
    from sf2f.models import SYSTEM, save_final_weights
    from sf2f.perceptual_loss import build_perceptual_loss
    from sf2f.training_step import Objective, build_optimisers, train_step
    from sf2f.validation import build_preview, prepare_validation

    initial_weights, training = initial_weights or InitialWeights(), config.training
    with open_run(
        out,
        training,
        config=config_to_dict(config),
        schema=config,
        system=SYSTEM,
        device=device,
        threads=threads,
        resume=resume,
    ) as run:
        source = record_provenance(run, speakers.identity_names, initial_weights)
        run.extra = {
            "names": list(speakers.identity_names),
            "disclaimer": speakers.disclaimer,
            "source": source,
        }
        generator, discriminators = build_networks(run, config, len(speakers.names), initial_weights)
        ema = build_ema(generator, training.ema_decay)
        optimisers = build_optimisers(generator, discriminators, config.optimiser)
        run.track(
            generator=generator,
            discriminators=discriminators,
            **({"average": ema} if ema is not None else {}),
            **name_optimisers(optimisers),
        )
        objective = Objective(
            config.losses,
            build_perceptual_loss(config, initial_weights.facenet, run.device),
            run.backward_and_step,
            run.autocast,
        )
        data = iter_batches(run, config, speakers)
        validation_data = (
            prepare_validation(validation_speakers, config, initial_weights.facenet, run.device)
            if validation_speakers is not None
            else None
        )
        lr_schedules = build_lr_schedules(config)
        for step in run.steps(training.max_steps, checkpoint_interval=training.checkpoint_interval):
            saved_model = ema.module if ema is not None else generator
            if validation_data is not None and is_due(training.validation_interval, step):
                validate(run, step, saved_model, generator, validation_data)
            batch = next(data)
            apply_schedules(run, config, step, generator, optimisers, lr_schedules)
            result = train_step(
                generator,
                discriminators,
                optimisers,
                batch,
                objective_for_step(objective, config, step),
                run.generator,
            )
            if ema is not None and not result.skipped:
                ema.update_parameters(generator)
            terms = {"total_loss": result.loss, **result.generator_losses, **result.discriminator_losses}
            run.log(step, {**terms, "skipped": float(result.skipped), "lr": lr_schedules[0](step)})
            if is_due(training.preview_interval, step):
                generated = result.generated.images
                real = match_image_sizes(batch.real_images, generated)
                run.log_image(
                    "images", build_preview(generated[-1], real[-1], config.data.images.statistics), step
                )
        saved_model = ema.module if ema is not None else generator
        if validation_data is not None and training.validation_interval is not None:
            validate(run, training.max_steps, saved_model, generator, validation_data)
        return save_final_weights(run, saved_model, discriminators)


def build_networks(
    run: "Run", config: "Sf2fConfig", num_identities: int, initial_weights: InitialWeights
) -> "tuple[EncoderDecoder, Discriminators]":
    """Build generator and discriminators with their initial weights, on the run's device.

    Raises:
        ValueError: stage 2 without a stage-1 model.
        CheckpointError: that model has another architecture.
    """
    from sf2f.discriminators import Discriminators
    from sf2f.generator import EncoderDecoder, freeze_except_fuser
    from sf2f.models import load_initial_weights

    generator = EncoderDecoder(config.generator)
    discriminators = Discriminators(
        config.discriminators, num_identities, config.generator.encoder.embedding_dim
    )
    if initial_weights.checkpoint is not None:
        load_initial_weights(initial_weights.checkpoint, generator, discriminators, run.extra["names"])
    elif config.stage == 2 and not run.step:
        raise ValueError("stage 2 trains the fuser of a stage-1 model; pass that run with --checkpoint")
    if config.stage == 2:
        training = config.training
        freeze_except_fuser(generator, training.train_decoder, training.frozen_norms)
    generator.train()
    discriminators.train()
    for network in (generator, discriminators):
        run.prepare(network, wrap=False)
    return generator, discriminators


def build_ema(generator: "EncoderDecoder", decay: float) -> Any:
    """Build the moving average of the generator, running statistics included; None for decay 0."""
    if not decay:
        return None
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    ema = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    return ema.requires_grad_(False).eval()


def name_optimisers(optimisers: "Optimisers") -> dict[str, Any]:
    """Map names in the resume state to optimisers."""
    named = {"generator_optimiser": optimisers.generator}
    for kind in ("image", "identity", "condition"):
        for index, optimiser in enumerate(getattr(optimisers, kind)):
            named[f"{kind}_optimiser_{index}"] = optimiser
    return named


def build_lr_schedules(config: "Sf2fConfig") -> tuple[Callable[[int], float], ...]:
    """Schedules step -> learning rate: generator, image and conditional, identity discriminators."""
    from sf2f.lr_schedule import lr_after_epoch

    schedule, optimiser, steps = config.schedule, config.optimiser, config.training.max_steps
    decay_after = schedule.decay_after

    def lr_fraction(step: int) -> float:
        return (
            1.0
            if decay_after is None
            else lr_after_epoch(1.0, step, decay_after, steps, schedule.final_lr_fraction)
        )

    discriminator_lr = optimiser.discriminator_lr or optimiser.lr
    identity_decays = schedule.identity_discriminator_lr == "decay"
    return (
        lambda step: optimiser.lr * lr_fraction(step),
        lambda step: discriminator_lr * lr_fraction(step),
        lambda step: discriminator_lr * (lr_fraction(step) if identity_decays else 1.0),
    )


def apply_schedules(
    run: "Run",
    config: "Sf2fConfig",
    step: int,
    generator: "EncoderDecoder",
    optimisers: "Optimisers",
    lr_schedules: Sequence[Callable[[int], float]],
) -> None:
    """Set modes and learning rates of a step; Adam's moments restart at `eval_mode_from_step`."""
    from voiceface.training.lr_schedules import set_learning_rate

    eval_from = config.training.eval_mode_from_step
    generator.train(eval_from is None or step < eval_from)
    if eval_from is not None and step == eval_from:
        optimisers.generator.state.clear()
    set_learning_rate(optimisers.generator, lr_schedules[0](step))
    for optimiser in (*optimisers.image, *optimisers.condition):
        set_learning_rate(optimiser, lr_schedules[1](step))
    for optimiser in optimisers.identity:
        set_learning_rate(optimiser, lr_schedules[2](step))


def objective_for_step(objective: "Objective", config: "Sf2fConfig", step: int) -> "Objective":
    """Objective of a step: without the pixel term from `pixel_loss_until_step` on."""
    from dataclasses import replace

    until = config.training.pixel_loss_until_step
    if until is None or step < until:
        return objective
    return replace(objective, loss_config=objective.loss_config.model_copy(update={"pixel": 0.0}))


def validate(
    run: "Run",
    step: int,
    saved_model: "nn.Module",
    generator: "EncoderDecoder",
    validation_data: "ValidationData",
) -> dict[str, float]:
    """Evaluate the model to be saved on held-out identities and log it; restores the training mode."""
    from voiceface.runtime import distributed

    from sf2f.validation import evaluate_generator

    with distributed.alone():
        metrics = evaluate_generator(saved_model, validation_data)
    generator.train()
    run.log(step, metrics, always=True, prefix="val/")
    return metrics


def is_due(interval: int | None, step: int) -> bool:
    """Whether an action with an interval in steps is due before this step."""
    return interval is not None and step % interval == 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run `sf2f train`."""
    parser = argparse.ArgumentParser(
        prog="sf2f train",
        description="Train a face generator (stage 1), or the window fuser of a stage-1 model (stage 2). "
        "Continue an interrupted run with --resume.",
    )
    arguments.add_training_arguments(parser, configurations="v2f, sf2f_1st_stage, quick_...", data=DATA_HELP)
    arguments.add_checkpoint_argument(
        parser, f"{arguments.CHECKPOINT_HELP}, or a published .pt (required in stage 2)"
    )
    parser.add_argument("--facenet", type=Path, help="FaceNet checkpoint, if the configuration uses it")
    args = parser.parse_args(argv)

    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory

    from sf2f.config import Sf2fConfig

    config = load_config(args.cfg, Sf2fConfig, "sf2f", args.override)
    initial_weights = InitialWeights(args.checkpoint, args.facenet)
    arguments.require_existing_paths({"data": args.data, **vars(initial_weights)})

    from sf2f.data import load_speakers

    source = args.population or args.data
    load = partial(load_speakers, source, config=config.data, synthetic=bool(args.population))
    speakers = load(split="train")
    validation_speakers = None if config.training.validation_interval is None else load(split="val")
    keep_freed_memory()
    checkpoint = train(
        config,
        speakers,
        args.out,
        validation_speakers=validation_speakers,
        initial_weights=initial_weights,
        device=args.device,
        threads=args.threads,
        resume=args.resume,
    )
    print(f"checkpoint: {checkpoint}")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("sf2f.train", None))
