"""Training: `sf2f train --cfg NAME --data ROOT --out RUN`.

Stage 1 trains encoder and decoder against discriminators; stage 2 the fuser of a stage-1 run. One iteration
is `sf2f.training_step.iterate`, in the published order.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.commandline import arguments

from sf2f.arguments import DATA

if TYPE_CHECKING:
    from torch import nn
    from voiceface.training.run import Run

    from sf2f.config import Sf2fConfig
    from sf2f.discriminators import Discriminators
    from sf2f.generator import EncoderDecoder
    from sf2f.speakers import Speakers
    from sf2f.training_step import Objective, Optimisers
    from sf2f.validation import Judged


@dataclass(frozen=True)
class Start:
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
    judges: "Speakers | None" = None,
    start: Start | None = None,
    device: str = "cpu",
    threads: int | None = None,
    resume: bool = False,
) -> Path:
    """Train one model.

    Args:
        config: what to train.
        speakers: who it learns from; class k is the k-th of them.
        out: run folder; new or empty unless `resume`.
        judges: held-out people for the validation, where the configuration validates.
        start: files that it starts from.
        device: "cpu", "cuda", or "auto".
        threads: of PyTorch on the CPU; None leaves them as they are.
        resume: go on from the run folder's last saved state.

    Returns:
        The weights file of the generator, `out/model.safetensors`.

    Raises:
        ValueError, OSError: the data, the start files or the run folder do not fit; see the message.
    """
    from voiceface.training.provenance import begin_with
    from voiceface.training.run import open_run

    from sf2f.batches import batches_of
    from sf2f.config import stored
    from sf2f.losses import sizes_of
    from sf2f.models import SYSTEM, save_run
    from sf2f.perceptual_loss import chosen_distance
    from sf2f.training_step import Objective, iterate
    from sf2f.validation import held_out, preview

    start, plan = start or Start(), config.training
    with open_run(
        out,
        plan,
        config=stored(config),
        system=SYSTEM,
        device=device,
        threads=threads,
        resume=resume,
        one_process=True,
    ) as run:
        source = begin_with(run, speakers.classes, start)
        run.extra = {"names": list(speakers.classes), "notice": speakers.notice, "source": source}
        generator, discriminators = networks_of(run, config, len(speakers.names), start)
        average = moving_average(generator, plan.average)
        optimisers = make_optimisers(config, generator, discriminators)
        run.track(
            generator=generator,
            discriminators=discriminators,
            **({"average": average} if average is not None else {}),
            **named(optimisers),
        )
        objective = Objective(
            config.losses, chosen_distance(config, start.facenet, run.device), run.backward, run.autocast
        )
        data = batches_of(run, config, speakers)
        jury = held_out(judges, config, start.facenet, run.device) if judges is not None else None
        rates = make_rates(config)
        for step in run.steps(plan.max_iter, save_every=plan.save_every):
            shown = average.module if average is not None else generator
            if jury is not None and due(plan.validate_every, step):
                validate(run, step, shown, generator, jury)
            batch = next(data)
            settle(run, config, step, generator, optimisers, rates)
            outcome = iterate(
                generator,
                discriminators,
                optimisers,
                batch,
                objective_at(objective, config, step),
                run.generator,
            )
            if average is not None and not outcome.skipped:
                average.update_parameters(generator)
            terms = {"total_loss": outcome.loss, **outcome.generator, **outcome.discriminators}
            run.log(step, {**terms, "skipped": float(outcome.skipped), "lr": rates[0](step)})
            if due(plan.preview_every, step):
                made = outcome.generated.pictures
                real = sizes_of(batch.real, made)
                run.show("pictures", preview(made[-1], real[-1], config.data.pictures.statistics), step)
        shown = average.module if average is not None else generator
        if jury is not None and plan.validate_every > 0:
            validate(run, plan.max_iter, shown, generator, jury)
        return save_run(run, shown, discriminators)


def networks_of(
    run: "Run", config: "Sf2fConfig", classes: int, start: Start
) -> "tuple[EncoderDecoder, Discriminators]":
    """Generator and discriminators, with the weights that the run starts from, on its device.

    Raises:
        ValueError: stage 2 without a stage-1 model.
        CheckpointError: that model is of another architecture.
    """
    from sf2f.discriminators import Discriminators
    from sf2f.generator import EncoderDecoder, freeze_but_fuser
    from sf2f.models import start_from

    generator = EncoderDecoder(config.generator)
    discriminators = Discriminators(config.discriminators, classes, config.generator.encoder.embedding)
    if start.checkpoint is not None:
        start_from(start.checkpoint, generator, discriminators, run.extra["names"])
    elif config.stage == 2 and not run.step:
        raise ValueError("stage 2 trains the fuser of a stage-1 model: give that run as --checkpoint")
    if config.stage == 2:
        plan = config.training
        freeze_but_fuser(generator, plan.train_decoder, plan.frozen_norms)
    generator.train()
    discriminators.train()
    return run.prepare(generator), run.prepare(discriminators)  # type: ignore[return-value]


def moving_average(generator: "EncoderDecoder", decay: float) -> Any:
    """A copy of the generator that follows it, running statistics included; None for decay 0."""
    if not decay:
        return None
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    average = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    return average.requires_grad_(False).eval()


def make_optimisers(
    config: "Sf2fConfig", generator: "EncoderDecoder", discriminators: "Discriminators"
) -> "Optimisers":
    """Adam for everything that learns."""
    from sf2f.training_step import Optimisers, adam

    plan = config.optimiser
    lr = plan.discriminator_lr or plan.lr
    lists = {
        kind: tuple(adam(each.parameters(), lr, plan.beta1) for each in getattr(discriminators, kind))
        for kind in ("image", "identity", "condition")
    }
    learning = [parameter for parameter in generator.parameters() if parameter.requires_grad]
    return Optimisers(adam(learning, plan.lr, plan.beta1), **lists)


def named(optimisers: "Optimisers") -> dict[str, Any]:
    """Every optimiser by the name that the resume state has for it."""
    found = {"generator_optimiser": optimisers.generator}
    for kind in ("image", "identity", "condition"):
        for at, each in enumerate(getattr(optimisers, kind)):
            found[f"{kind}_optimiser_{at}"] = each
    return found


def make_rates(config: "Sf2fConfig") -> tuple[Callable[[int], float], ...]:
    """Step -> learning rate of the generator, of image and conditional, and of identity discriminators."""
    from sf2f.lr_schedule import rate_after_epoch

    plan, chosen, steps = config.schedule, config.optimiser, config.training.max_iter
    after = plan.decay_after

    def share(step: int) -> float:
        return 1.0 if after is None else rate_after_epoch(1.0, step, after, steps, plan.final_share)

    other = chosen.discriminator_lr or chosen.lr
    falls = plan.identity == "decays"
    return (
        lambda step: chosen.lr * share(step),
        lambda step: other * share(step),
        lambda step: other * (share(step) if falls else 1.0),
    )


def settle(
    run: "Run",
    config: "Sf2fConfig",
    step: int,
    generator: "EncoderDecoder",
    optimisers: "Optimisers",
    rates: Sequence[Callable[[int], float]],
) -> None:
    """Modes and learning rates of a step; where the generator's norms become fixed, its moments restart."""
    from voiceface.training.lr_schedules import set_learning_rate

    after = config.training.evaluation_mode_after
    generator.train(after is None or step < after)
    if after is not None and step == after:
        optimisers.generator.state.clear()
    set_learning_rate(optimisers.generator, rates[0](step))
    for each in (*optimisers.image, *optimisers.condition):
        set_learning_rate(each, rates[1](step))
    for each in optimisers.identity:
        set_learning_rate(each, rates[2](step))


def objective_at(objective: "Objective", config: "Sf2fConfig", step: int) -> "Objective":
    """The objective of a step: without the pixel term from `no_pixel_after` on."""
    from dataclasses import replace

    after = config.training.no_pixel_after
    if after is None or step < after:
        return objective
    return replace(objective, losses=objective.losses.model_copy(update={"pixel": 0.0}))


def validate(
    run: "Run", step: int, shown: "nn.Module", generator: "EncoderDecoder", jury: "Judged"
) -> dict[str, float]:
    """Judge the model that would be saved by held-out people and log it; modes are as before afterwards."""
    from sf2f.validation import judge

    found = judge(shown, jury)
    generator.train()
    run.log(step, found, always=True, prefix="val/")
    return found


def due(every: int, step: int) -> bool:
    """Whether something that is done every so many steps is done before this one."""
    return every > 0 and step % every == 0


def main(argv: Sequence[str] | None = None) -> int:
    """`sf2f train`."""
    parser = argparse.ArgumentParser(
        prog="sf2f train",
        description="Train a generator of faces from voices (stage 1), or the fuser of its windows "
        "(stage 2). A run goes on with --resume.",
    )
    arguments.add_training_flags(parser, configurations="v2f, sf2f_1st_stage, quick_...", data=DATA)
    arguments.add_checkpoint_flag(parser, f"{arguments.OURS}, or a published .pt (stage 2: needed)")
    parser.add_argument(
        "--facenet", type=Path, help="weights of FaceNet, where the configuration looks with it"
    )
    args = parser.parse_args(argv)

    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory

    from sf2f.config import Sf2fConfig
    from sf2f.data import speakers_of

    keep_freed_memory()
    config = load_config(args.cfg, Sf2fConfig, "sf2f", args.override)
    start = Start(args.checkpoint, args.facenet)
    arguments.require_given(vars(start))
    where = args.population or args.data
    weights = train(
        config,
        speakers_of(where, "train", config.data, invented=bool(args.population)),
        args.out,
        judges=speakers_of(where, "val", config.data, invented=bool(args.population))
        if config.training.validate_every > 0
        else None,
        start=start,
        device=args.device,
        threads=args.threads,
        resume=args.resume,
    )
    print(f"weights: {weights}")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("sf2f.train", None))
