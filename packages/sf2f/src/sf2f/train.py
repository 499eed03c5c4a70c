"""Training: `sf2f train --cfg NAME --data ROOT --out RUN`.

Stage 1 trains encoder and decoder against discriminators; stage 2 the fuser of a stage-1 run. One iteration
is `sf2f.training_step.train_step`, in the published order.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class InitialWeights:
    """Files that a run starts from.

    Attributes:
        checkpoint: stage 2 (needed) and stage 1: a run or weights file of ours, or a published checkpoint.
        facenet: weights of FaceNet, for the perceptual term.
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
        speakers: who it learns from; class k is the k-th of them.
        out: run folder; new or empty unless `resume`.
        validation_speakers: held-out people for the validation, where the configuration validates.
        initial_weights: files that it starts from.
        device: "cpu", "cuda", or "auto".
        threads: of PyTorch on the CPU; None leaves them as they are.
        resume: go on from the run folder's last saved state.

    Returns:
        The weights file of the generator, `out/model.safetensors`.

    Raises:
        ValueError, OSError: the data, the start files or the run folder do not fit; see the message.
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

    initial_weights, plan = initial_weights or InitialWeights(), config.training
    with open_run(
        out,
        plan,
        config=config_to_dict(config),
        system=SYSTEM,
        device=device,
        threads=threads,
        resume=resume,
        single_process=True,
    ) as run:
        source = record_provenance(run, speakers.identity_names, initial_weights)
        run.extra = {
            "names": list(speakers.identity_names),
            "disclaimer": speakers.disclaimer,
            "source": source,
        }
        generator, discriminators = build_networks(run, config, len(speakers.names), initial_weights)
        average = build_ema(generator, plan.ema_decay)
        optimisers = build_optimisers(generator, discriminators, config.optimiser)
        run.track(
            generator=generator,
            discriminators=discriminators,
            **({"average": average} if average is not None else {}),
            **name_optimisers(optimisers),
        )
        objective = Objective(
            config.losses,
            build_perceptual_loss(config, initial_weights.facenet, run.device),
            run.backward_and_step,
            run.autocast,
        )
        data = iter_batches(run, config, speakers)
        jury = (
            prepare_validation(validation_speakers, config, initial_weights.facenet, run.device)
            if validation_speakers is not None
            else None
        )
        rates = build_lr_schedules(config)
        for step in run.steps(plan.max_steps, checkpoint_interval=plan.checkpoint_interval):
            shown = average.module if average is not None else generator
            if jury is not None and is_due(plan.validation_interval, step):
                validate(run, step, shown, generator, jury)
            batch = next(data)
            apply_schedules(run, config, step, generator, optimisers, rates)
            outcome = train_step(
                generator,
                discriminators,
                optimisers,
                batch,
                objective_for_step(objective, config, step),
                run.generator,
            )
            if average is not None and not outcome.skipped:
                average.update_parameters(generator)
            terms = {"total_loss": outcome.loss, **outcome.generator_losses, **outcome.discriminator_losses}
            run.log(step, {**terms, "skipped": float(outcome.skipped), "lr": rates[0](step)})
            if is_due(plan.preview_interval, step):
                made = outcome.generated.images
                real = match_image_sizes(batch.real_images, made)
                run.log_image(
                    "images", build_preview(made[-1], real[-1], config.data.images.statistics), step
                )
        shown = average.module if average is not None else generator
        if jury is not None and plan.validation_interval is not None:
            validate(run, plan.max_steps, shown, generator, jury)
        return save_final_weights(run, shown, discriminators)


def build_networks(
    run: "Run", config: "Sf2fConfig", num_identities: int, initial_weights: InitialWeights
) -> "tuple[EncoderDecoder, Discriminators]":
    """Generator and discriminators, with the weights that the run starts from, on its device.

    Raises:
        ValueError: stage 2 without a stage-1 model.
        CheckpointError: that model is of another architecture.
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
        raise ValueError("stage 2 trains the fuser of a stage-1 model: give that run as --checkpoint")
    if config.stage == 2:
        plan = config.training
        freeze_except_fuser(generator, plan.train_decoder, plan.frozen_norms)
    generator.train()
    discriminators.train()
    return run.prepare(generator), run.prepare(discriminators)  # type: ignore[return-value]


def build_ema(generator: "EncoderDecoder", decay: float) -> Any:
    """A copy of the generator that follows it, running statistics included; None for decay 0."""
    if not decay:
        return None
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    average = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    return average.requires_grad_(False).eval()


def name_optimisers(optimisers: "Optimisers") -> dict[str, Any]:
    """Every optimiser by the name that the resume state has for it."""
    found = {"generator_optimiser": optimisers.generator}
    for kind in ("image", "identity", "condition"):
        for at, each in enumerate(getattr(optimisers, kind)):
            found[f"{kind}_optimiser_{at}"] = each
    return found


def build_lr_schedules(config: "Sf2fConfig") -> tuple[Callable[[int], float], ...]:
    """Step -> learning rate of the generator, of image and conditional, and of identity discriminators."""
    from sf2f.lr_schedule import lr_after_epoch

    plan, chosen, steps = config.schedule, config.optimiser, config.training.max_steps
    after = plan.decay_after

    def share(step: int) -> float:
        return 1.0 if after is None else lr_after_epoch(1.0, step, after, steps, plan.final_lr_fraction)

    other = chosen.discriminator_lr or chosen.lr
    falls = plan.identity_discriminator_lr == "decay"
    return (
        lambda step: chosen.lr * share(step),
        lambda step: other * share(step),
        lambda step: other * (share(step) if falls else 1.0),
    )


def apply_schedules(
    run: "Run",
    config: "Sf2fConfig",
    step: int,
    generator: "EncoderDecoder",
    optimisers: "Optimisers",
    lr_schedules: Sequence[Callable[[int], float]],
) -> None:
    """Modes and learning rates of a step; where the generator's norms become fixed, its moments restart."""
    from voiceface.training.lr_schedules import set_learning_rate

    after = config.training.eval_mode_from_step
    generator.train(after is None or step < after)
    if after is not None and step == after:
        optimisers.generator.state.clear()
    set_learning_rate(optimisers.generator, lr_schedules[0](step))
    for each in (*optimisers.image, *optimisers.condition):
        set_learning_rate(each, lr_schedules[1](step))
    for each in optimisers.identity:
        set_learning_rate(each, lr_schedules[2](step))


def objective_for_step(objective: "Objective", config: "Sf2fConfig", step: int) -> "Objective":
    """The objective of a step: without the pixel term from `pixel_loss_until_step` on."""
    from dataclasses import replace

    after = config.training.pixel_loss_until_step
    if after is None or step < after:
        return objective
    return replace(objective, loss_config=objective.loss_config.model_copy(update={"pixel": 0.0}))


def validate(
    run: "Run",
    step: int,
    saved_model: "nn.Module",
    generator: "EncoderDecoder",
    validation_data: "ValidationData",
) -> dict[str, float]:
    """Judge the model that would be saved by held-out people and log it; modes are as before afterwards."""
    from sf2f.validation import evaluate_generator

    found = evaluate_generator(saved_model, validation_data)
    generator.train()
    run.log(step, found, always=True, prefix="val/")
    return found


def is_due(interval: int | None, step: int) -> bool:
    """Whether something that is done every so many steps is done before this one."""
    return interval is not None and step % interval == 0


def main(argv: Sequence[str] | None = None) -> int:
    """`sf2f train`."""
    parser = argparse.ArgumentParser(
        prog="sf2f train",
        description="Train a generator of faces from voices (stage 1), or the fuser of its windows "
        "(stage 2). A run goes on with --resume.",
    )
    arguments.add_training_arguments(parser, configurations="v2f, sf2f_1st_stage, quick_...", data=DATA_HELP)
    arguments.add_checkpoint_argument(
        parser, f"{arguments.CHECKPOINT_HELP}, or a published .pt (stage 2: needed)"
    )
    parser.add_argument(
        "--facenet", type=Path, help="weights of FaceNet, where the configuration looks with it"
    )
    args = parser.parse_args(argv)

    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory

    from sf2f.config import Sf2fConfig
    from sf2f.data import load_speakers

    keep_freed_memory()
    config = load_config(args.cfg, Sf2fConfig, "sf2f", args.override)
    start = InitialWeights(args.checkpoint, args.facenet)
    arguments.require_existing_paths(vars(start))
    where = args.population or args.data
    weights = train(
        config,
        load_speakers(where, "train", config.data, synthetic=bool(args.population)),
        args.out,
        validation_speakers=load_speakers(where, "val", config.data, synthetic=bool(args.population))
        if config.training.validation_interval is not None
        else None,
        initial_weights=start,
        device=args.device,
        threads=args.threads,
        resume=args.resume,
    )
    print(f"weights: {weights}")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("sf2f.train", None))
