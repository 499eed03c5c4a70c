"""Training: `archetype_agnostic train --cfg main --data ROOT --out RUN`.

One iteration, in the published order: validation if due, refresh of the identity weights if due, step,
learning rate.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from voiceface.association.initialisation import (
    InitialWeights,
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

    from archetype_agnostic.config import ArchetypeAgnosticConfig
    from archetype_agnostic.model import Aasm, ModelOutput

UNLIMITED_STEPS = sys.maxsize


def train(
    config: "ArchetypeAgnosticConfig",
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
    from voiceface.training.sampling import batches_per_epoch

    from archetype_agnostic.config import sample_options
    from archetype_agnostic.early_stopping import EarlyStopping
    from archetype_agnostic.model import parameter_groups

    names = identity_names(dataset)
    plan = config.training
    with open_run(
        out,
        plan,
        config=to_dict(config),
        system="archetype_agnostic",
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
        model = cast("Aasm", unwrap(network))
        optimiser = build_optimiser(config.optimiser, parameter_groups(model))
        rate = build_lr_schedule(config.schedule, config.optimiser.lr, config.training.max_steps)
        run.track(model=model, optimiser=optimiser)
        pairs = training_dataset(dataset, config, progress=run.is_main, **sample_options(config.data))
        patience = None
        if config.stopping.rule == "patience":
            per_epoch = batches_per_epoch(len(pairs), plan.batch_size)
            patience = EarlyStopping(run.values, plan.max_steps, per_epoch, config.stopping.patience)
        steps = UNLIMITED_STEPS if patience else plan.max_steps
        data = run.batches(pairs, plan.batch_size, max_steps=steps, num_workers=plan.num_workers)
        go_on = patience.should_continue if patience else None
        for step in run.steps(
            plan.max_steps, checkpoint_interval=plan.checkpoint_interval, continue_after=go_on
        ):
            if validation_due(config, step):
                accuracy = validate(run, step, model, config, validation)
                if patience:
                    patience.record(step, accuracy)
            if config.equilibrium.enabled and model.eqm.update(step):
                run.log(step, summarise_identity_weights(model.eqm.weight), always=True)
            set_learning_rate(optimiser, rate(step))
            terms = train_step(config, run, network, next(data), optimiser, step)
            run.log(step, {**terms, "lr": rate(step)})
        if not patience and validation_due(config, plan.max_steps):
            validate(run, plan.max_steps, model, config, validation)
        return run.save_final_model(model.state_dict())


def train_step(
    config: "ArchetypeAgnosticConfig",
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
        batch: "face" and "face_second" (B, 3, S, S), "voice" and "voice_second" (B, T), "label" (B,): this
            process's rows.
        optimiser: of the whole model.
        step: iteration, from 0; decides both crops and whether loose pairs are re-gauged.

    Returns:
        The terms and their sum, by name, and the share of negatives ranked right.
    """
    from voiceface.association.data import sample_crop
    from voiceface.training.run import unwrap

    model = cast("Aasm", unwrap(network))
    (first, end), (first_second, end_second) = (sample_crop(config.data, run.seed, step, k) for k in (0, 1))
    with run.autocast():
        output = network(
            batch["face"],
            batch["voice"][:, first:end],
            batch["face_second"],
            batch["voice_second"][:, first_second:end_second],
        )
    terms, hit_rate = compute_losses(config, model, output, batch["label"], step)
    total = cast("Tensor", sum(terms.values()))
    run.backward_and_step(total, optimiser, clip_norm=config.optimiser.clip_gradient)
    return {"total_loss": total, **terms, "negative_hit_rate": hit_rate}


def compute_losses(
    config: "ArchetypeAgnosticConfig", model: "Aasm", output: "ModelOutput", labels: "Tensor", step: int
) -> tuple[dict[str, "Tensor"], "Tensor"]:
    """All terms of the loss at an iteration; hits are counted on the way.

    Args:
        config: the experiment.
        model: holds the identity weights and their counters.
        output: embeddings of this process's rows.
        labels: classes of this process's rows, shape (B,).
        step: iteration, from 0.

    Returns:
        (named scalars, unit coefficients: `sim_loss` and `crosssp_loss`, from `regauging.start_step` on also
        `trip_cross`, `trip_intra_v` and `trip_intra_a`; share of negatives that the voices rank right).
    """
    from voiceface.runtime.distributed import all_gather_with_gradient

    from archetype_agnostic.losses import aasm_losses, compute_similarities, count_hits, mean_terms
    from archetype_agnostic.regauging import Margins, bilateral_scores, compute_row_scores, regauging_terms

    loss, tight = config.loss, config.regauging
    own = labels
    if loss.negatives == "all":
        output, own = type(output)(*map(all_gather_with_gradient, output)), all_gather_with_gradient(labels)
    found = compute_similarities(output.face, output.voice, output.face_second, output.voice_second, own)
    right, compared = count_hits(found)
    if config.equilibrium.enabled and model.eqm.is_counting(step):
        counted = (own, right, compared)
        if loss.negatives == "local":
            counted = tuple(map(all_gather_with_gradient, counted))  # type: ignore[assignment]
        model.eqm.add_counts(*counted)
    terms = mean_terms(aasm_losses(found, loss.temperature, loss.cross_constant, loss.intra_constant))
    if tight.enabled and step >= tight.start_step:
        margins = Margins(tight.trust_threshold, tight.margin, tight.inner_margin)
        weights = model.eqm.batch_weights(own) if config.equilibrium.enabled else None
        terms |= regauging_terms(
            bilateral_scores(compute_row_scores(found, tight.form, margins)),
            weights,
            scale=tight.scale,
            weighting=tight.weighting,
            mean_over=tight.unweighted_mean,
            differentiable=tight.differentiable,
        )
    return terms, right.sum() / compared.sum().clamp_min(1)


def summarise_identity_weights(weight: "Tensor") -> dict[str, float]:
    """Mean and greatest identity weight, for the log."""
    return {"weight_mean": float(weight.mean()), "weight_max": float(weight.max())}


def build_model(
    config: "ArchetypeAgnosticConfig", identity_names: list[str], initial_weights: InitialWeights
) -> "Aasm":
    """A model as a run begins with it: fresh, or with the weights that `initial_weights` names."""
    from voiceface.association.encoders import freeze

    from archetype_agnostic import published
    from archetype_agnostic.equilibrium import Equilibrium
    from archetype_agnostic.model import Aasm

    chosen = config.equilibrium
    eqm = Equilibrium(
        len(identity_names),
        update_interval=chosen.update_interval,
        warm_up=chosen.warm_up,
        hit_counting=chosen.hit_counting,
        normalise=chosen.normalise,
        identity_names=identity_names,
    )
    model = Aasm(config.model, len(identity_names), eqm)
    if initial_weights.checkpoint:
        load_initial_weights(
            model,
            initial_weights.checkpoint,
            system="archetype_agnostic",
            read_published=published.read_full_checkpoint,
            excluded_keys=["eqm.*"],
        )
    if initial_weights.face_backbone:
        published.load_face_backbone(model, initial_weights.face_backbone)
    if initial_weights.voice_backbone:
        published.load_voice_backbone(model, initial_weights.voice_backbone)
    for branch in config.training.freeze:
        freeze(model.vNet if branch == "face" else model.aNet)
    return model


def main(argv: Sequence[str] | None = None) -> int:
    """`archetype_agnostic train`."""
    parser = argparse.ArgumentParser(
        prog="archetype_agnostic train",
        description="Train a model: contrast inside the batch, from `regauging.start_step` on with loose "
        "pairs re-gauged and identities weighted. --resume continues a run.",
    )
    add_training_arguments(parser, configurations="main, quick, standard, published", face_network="IR-152")
    args = parser.parse_args(argv)

    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory

    from archetype_agnostic.config import ArchetypeAgnosticConfig, sample_options

    keep_freed_memory()
    config = load_config(args.cfg, ArchetypeAgnosticConfig, "archetype_agnostic", args.override)
    start = initial_weights_from_args(args, InitialWeights)
    found = load_training_data(args, config, **sample_options(config.data))
    weights = train(
        config,
        found.dataset,
        args.out,
        validation=found.validation,
        initial_weights=start,
        device=args.device,
        threads=args.threads,
        resume=args.resume,
        disclaimer=found.disclaimer,
    )
    print(f"weights: {weights}")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("archetype_agnostic.train", None))
