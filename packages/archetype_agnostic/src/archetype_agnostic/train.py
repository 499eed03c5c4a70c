"""Training: `archetype_agnostic train --cfg main --data ROOT --out RUN`."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from voiceface.association.initialisation import InitialWeights, load_initial_weights
from voiceface.association.trainer import Trainer, train_command

from archetype_agnostic.system import SPEC

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from voiceface.training.run import Run

    from archetype_agnostic.config import ArchetypeAgnosticConfig
    from archetype_agnostic.early_stopping import EarlyStopping
    from archetype_agnostic.model import Aasm, ModelOutput

__all__ = [
    "ArchetypeAgnosticTrainer",
    "build_model",
    "compute_losses",
    "main",
    "summarise_identity_weights",
    "train",
    "train_step",
]


class ArchetypeAgnosticTrainer(Trainer["ArchetypeAgnosticConfig", "Aasm"]):
    """Trainer of this system; the order of an iteration is the published one."""

    spec = SPEC
    masks_spectrograms = True
    description = (
        "Train a model: contrast within the batch, from `regauging.start_step` on with loose pairs re-gauged "
        "and identities weighted. --resume continues a run."
    )
    configurations = "main, quick, standard, published"
    face_network = "IR-152"
    early_stopping: "EarlyStopping | None" = None

    @classmethod
    def sample_options(cls, config: "ArchetypeAgnosticConfig") -> dict[str, Any]:
        """Two images and two clips per identity."""
        from archetype_agnostic.config import sample_options

        return sample_options(config.data)

    def build_model(self) -> "Aasm":
        """Build the model as the run starts with it."""
        return build_model(self.config, self.identity_names, self.initial_weights)

    def continue_after(self) -> Callable[[int], bool] | None:
        """Early stopping, if configured."""
        if self.config.stopping.rule != "patience":
            return None
        from voiceface.training.sampling import batches_per_epoch

        from archetype_agnostic.early_stopping import EarlyStopping

        settings = self.config.training
        steps_per_epoch = batches_per_epoch(len(self.samples), settings.batch_size)
        self.early_stopping = EarlyStopping(
            self.run.values, settings.max_steps, steps_per_epoch, self.config.stopping.patience
        )
        return self.early_stopping.should_continue

    def on_validation(self, step: int, accuracy: float) -> None:
        """Report the accuracy to early stopping."""
        if self.early_stopping:
            self.early_stopping.record(step, accuracy)

    def before_step(self, step: int) -> None:
        """Refresh the identity weights if due."""
        if self.config.equilibrium.enabled and self.model.eqm.update(step):
            self.run.log(step, summarise_identity_weights(self.model.eqm.weight), always=True)

    def train_step(self, batch: "dict[str, Tensor]", step: int) -> "dict[str, Tensor | float]":
        """Do one step; see the function `train_step`."""
        return train_step(self.config, self.run, self.network, batch, self.optimiser, step)


train = ArchetypeAgnosticTrainer.train


def train_step(
    config: "ArchetypeAgnosticConfig",
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
        batch: "face" and "face_second" (B, 3, S, S), "voice" and "voice_second" (B, T), "label" (B,): the
            rows of this process.
        optimiser: of the complete model.
        step: iteration, from 0; determines both crops and whether loose pairs are re-gauged.

    Returns:
        The terms, their sum (`total_loss`) and the hit rate of the negatives, by name.
    """
    from voiceface.association.data import sample_crop
    from voiceface.training.accumulation import forward_in_parts
    from voiceface.training.run import unwrap

    model = cast("Aasm", unwrap(network))
    (first, end), (first_second, end_second) = (sample_crop(config.data, run.seed, step, k) for k in (0, 1))
    with run.autocast():
        output = forward_in_parts(
            network,
            config.training.accumulation_steps,
            batch["face"],
            batch["voice"][:, first:end],
            batch["face_second"],
            batch["voice_second"][:, first_second:end_second],
            (batch.get("voice_masks"), batch.get("voice_masks_second")),
        )
    terms, hit_rate = compute_losses(config, model, output, batch["label"], step)
    total = cast("Tensor", sum(terms.values()))
    run.backward_and_step(total, optimiser, clip_norm=config.optimiser.clip_gradient)
    return {"total_loss": total, **terms, "negative_hit_rate": hit_rate}


def compute_losses(
    config: "ArchetypeAgnosticConfig", model: "Aasm", output: "ModelOutput", labels: "Tensor", step: int
) -> tuple[dict[str, "Tensor"], "Tensor"]:
    """Compute all terms of the loss of an iteration, and count hits.

    Args:
        config: the experiment.
        model: holds the identity weights and their counters.
        output: embeddings of this process's rows.
        labels: classes of this process's rows, shape (B,).
        step: iteration, from 0.

    Returns:
        (named scalars, unit coefficients: `sim_loss` and `crosssp_loss`, from `regauging.start_step` on also
        `trip_cross`, `trip_intra_v` and `trip_intra_a`; fraction of negatives ranked below the positive).
    """
    from voiceface.runtime.distributed import all_gather_with_gradient

    from archetype_agnostic.losses import aasm_losses, compute_similarities, count_hits, mean_terms
    from archetype_agnostic.regauging import Margins, bilateral_scores, compute_row_scores, regauging_terms

    loss, regauging = config.loss, config.regauging
    if loss.negatives == "all":
        output, labels = (
            type(output)(*map(all_gather_with_gradient, output)),
            all_gather_with_gradient(labels),
        )
    similarities = compute_similarities(
        output.face, output.voice, output.face_second, output.voice_second, labels
    )
    hits, comparisons = count_hits(similarities)
    if config.equilibrium.enabled and model.eqm.is_counting(step):
        counts = (labels, hits, comparisons)
        if loss.negatives == "local":
            counts = tuple(map(all_gather_with_gradient, counts))  # type: ignore[assignment]
        model.eqm.add_counts(*counts)
    terms = mean_terms(aasm_losses(similarities, loss.temperature, loss.cross_constant, loss.intra_constant))
    if regauging.enabled and step >= regauging.start_step:
        margins = Margins(regauging.trust_threshold, regauging.margin, regauging.inner_margin)
        weights = model.eqm.batch_weights(labels) if config.equilibrium.enabled else None
        terms |= regauging_terms(
            bilateral_scores(compute_row_scores(similarities, regauging.form, margins)),
            weights,
            scale=regauging.scale,
            weighting=regauging.weighting,
            mean_over=regauging.unweighted_mean,
            differentiable=regauging.differentiable,
        )
    return terms, hits.sum() / comparisons.sum().clamp_min(1)


def summarise_identity_weights(weight: "Tensor") -> dict[str, float]:
    """Compute mean and maximum of the identity weights, for the log."""
    return {"weight_mean": float(weight.mean()), "weight_max": float(weight.max())}


def build_model(
    config: "ArchetypeAgnosticConfig", identity_names: list[str], initial_weights: InitialWeights
) -> "Aasm":
    """Build the model that a run starts with: random, or with the given initial weights."""
    from archetype_agnostic import published
    from archetype_agnostic.equilibrium import Equilibrium
    from archetype_agnostic.model import Aasm

    settings = config.equilibrium
    eqm = Equilibrium(
        len(identity_names),
        update_interval=settings.update_interval,
        warm_up=settings.warm_up,
        hit_counting=settings.hit_counting,
        normalise=settings.normalise,
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
        model.freeze(branch)
    return model


def main(argv: Sequence[str] | None = None) -> int:
    """`archetype_agnostic train`."""
    return train_command(ArchetypeAgnosticTrainer, argv)


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("archetype_agnostic.train", None))
