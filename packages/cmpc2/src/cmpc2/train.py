"""Training: `cmpc2 train --cfg main --data ROOT --out RUN`.

One iteration, in the published order: cluster the banks if due, forward pass, update of the banks, losses,
optimiser step.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.association.trainer import Trainer, train_command
from voiceface.commandline import arguments
from voiceface.datasets import dataset_arguments

from cmpc2.memory_updates import recluster, recluster_final, save_memory
from cmpc2.system import SPEC

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from voiceface.training.run import Run

    from cmpc2.config import Cmpc2Config
    from cmpc2.data import PairDataset
    from cmpc2.losses import Clusterings, LossTerms
    from cmpc2.memory import MemoryBank
    from cmpc2.model import FV_Wrapper
    from cmpc2.training_data import TrainingData

__all__ = [
    "Cmpc2Trainer",
    "InitialWeights",
    "build_model",
    "build_optimiser",
    "compute_losses",
    "main",
    "train",
    "train_step",
]


@dataclass(frozen=True)
class InitialWeights:
    """Files that a run starts from; all are optional.

    Attributes:
        checkpoint: complete model, native or published.
        imagenet: torchvision's ImageNet weights of the same network, for both branches.
    """

    checkpoint: Path | None = None
    imagenet: Path | None = None


class Cmpc2Trainer(Trainer["Cmpc2Config", "FV_Wrapper"]):
    """Trainer on a `PairDataset`; identities are used for metadata only.

    The run folder also contains `memory.safetensors` (prototypes of both banks, and the face bank) and
    `training.csv` (the videos of their rows).
    """

    spec = SPEC
    masks_spectrograms = True
    description = (
        "Train voice and face networks on videos without identity labels: instance contrast, from "
        "`clustering.start_step` on prototype contrast and recalibrated pairs. --resume continues a run."
    )
    configurations = "main, published, quick, standard"
    initial_weights_type = InitialWeights
    dataset: "PairDataset"
    memory: "MemoryBank"

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add the arguments of `train`."""
        arguments.add_training_arguments(parser, configurations=cls.configurations)
        parser.add_argument("--table", type=Path, help="training.csv with the training videos in order")
        parser.add_argument(
            "--splits", default="train,val", help="splits of --data to train on (default: train,val)"
        )
        arguments.add_checkpoint_argument(parser, f"{arguments.CHECKPOINT_HELP}, or a published checkpoint")
        parser.add_argument("--imagenet", type=Path, help="ImageNet weights for both branches (torchvision)")
        dataset_arguments.add_root_arguments(parser)
        parser.add_argument("--lists", type=Path, help="list folder (default: DATA/list_wav)")
        arguments.add_missing_argument(parser, "identities or videos without files")

    @classmethod
    def read_initial_weights(cls, args: argparse.Namespace) -> InitialWeights:
        """Collect the files to start from, and check that every named path exists."""
        arguments.require_existing_paths(
            {name: getattr(args, name) for name in ("data", "lists", "checkpoint", "imagenet", "table")}
        )
        return InitialWeights(args.checkpoint, args.imagenet)

    @classmethod
    def load_data(cls, args: argparse.Namespace, config: "Cmpc2Config") -> "TrainingData":
        """Load training and validation data that the arguments name."""
        from cmpc2.training_data import load_training_data

        return load_training_data(
            config,
            data=args.data,
            population=args.population,
            table=args.table,
            splits=args.splits.split(","),
            voice_root=args.voice_root,
            face_root=args.face_root,
            list_folder=args.lists,
            skip_missing=args.missing == "skip",
        )

    def list_identities(self) -> list[str]:
        """List the identities of the training videos; raise ValueError for more clusters than videos."""
        _check_num_clusters(self.config, len(self.dataset))
        return self.dataset.videos.identity_names

    def metadata(self) -> dict[str, Any]:
        """Number of training videos."""
        return {"videos": len(self.dataset)}

    def provenance(self) -> list[str]:
        """List the training videos."""
        return [f"{row.identity} {row.video_id}" for row in self.dataset.videos.table_rows]

    def build_model(self) -> "FV_Wrapper":
        """Build the model as the run starts with it."""
        return build_model(self.config, self.initial_weights)

    def build_optimiser(self) -> "torch.optim.Optimizer":
        """Build the configured optimiser."""
        return build_optimiser(self.config, self.model)

    def build_lr_schedule(self) -> Callable[[int], float]:
        """Cosine cycles with warm-up."""
        from voiceface.training.lr_schedules import cosine_warmup_cycles

        settings = self.config.optimiser
        cycle = settings.cycle or self.config.training.max_steps
        return cosine_warmup_cycles(settings.max_lr, settings.min_lr, cycle, settings.warm_up)

    def tracked(self) -> dict[str, Any]:
        """Memory banks, initialised with the run's seed."""
        import torch

        from cmpc2.memory import MemoryBank

        self.memory = MemoryBank(
            len(self.dataset),
            self.config.model.embedding_dim,
            self.config.memory.momentum,
            generator=torch.Generator().manual_seed(self.config.training.seed),
            device=self.run.device,
        )
        return {"memory": self.memory}

    def training_set(self) -> Any:
        """Every video once per epoch, or sampling with replacement, as configured."""
        from cmpc2.data import SamplingWithReplacement

        with_replacement = self.config.training.sampling == "replacement"
        return SamplingWithReplacement(self.dataset) if with_replacement else self.dataset

    def save_best(self) -> bool:
        """Whether validation keeps the best checkpoint."""
        return bool(self.config.training.best_checkpoint == "validation")

    def before_step(self, step: int) -> None:
        """Cluster the banks if due."""
        if self.config.clustering.is_due(step):
            recluster(self.config, self.memory, step)

    def train_step(self, batch: "dict[str, Tensor]", step: int) -> "dict[str, Tensor | float]":
        """Do one step; see the function `train_step`."""
        return train_step(self.config, self.run, self.network, self.memory, batch, self.optimiser)

    def after_step(self, step: int, terms: "dict[str, Tensor | float]") -> None:
        """Drop the clusterings, and save the checkpoint of the lowest loss, if configured."""
        settings = self.config.training
        if self.config.clustering.lifetime == "one_step":
            self.memory.clear_clusterings()
        if settings.best_checkpoint == "lowest_loss" and (step + 1) % settings.checkpoint_interval == 0:
            _save_lowest_loss(self.run, step, terms["total_loss"], self.model)

    def finish(self) -> None:
        """Cluster the final banks and write the prototypes."""
        recluster_final(self.config, self.memory)
        if self.run.is_main:
            save_memory(self.run, self.config, self.dataset, self.memory)


train = Cmpc2Trainer.train


def train_step(
    config: "Cmpc2Config",
    run: "Run",
    network: "torch.nn.Module",
    memory: "MemoryBank",
    batch: dict[str, "Tensor"],
    optimiser: "torch.optim.Optimizer",
) -> dict[str, "Tensor | float"]:
    """Do one optimiser step; the banks are updated with the embeddings before it.

    Args:
        config: the experiment.
        run: the run.
        network: the model as returned by `run.prepare`.
        memory: banks and latest clusterings.
        batch: "voice" (B, 1, 64, T), "face" (B, 3, S, S), "index" (B,): the rows of this process.
        optimiser: of the complete model.

    Returns:
        The total loss and the means of its terms, by name.
    """
    from voiceface.runtime.distributed import all_gather_with_gradient
    from voiceface.training.accumulation import forward_in_parts

    with run.autocast():
        voice, face = forward_in_parts(
            network, config.training.accumulation_steps, batch["voice"], batch["face"]
        )
    voice, face = voice.float(), face.float()
    local = (batch["index"], voice, face)
    gathered = tuple(map(all_gather_with_gradient, local))
    memory.update(*gathered)
    index, voice, face = local if config.training.negatives == "local" else gathered
    terms = compute_losses(config, index, voice, face, memory.clusterings)
    total = terms.total
    run.backward_and_step(total, optimiser, clip_norm=config.optimiser.clip_gradient)
    return {
        "total_loss": total,
        "instance": (terms.instance_voice + terms.instance_face).mean(),
        "prototype": (terms.prototype_voice + terms.prototype_face).mean(),
        "weight": terms.weight.mean(),
    }


def compute_losses(
    config: "Cmpc2Config",
    index: "Tensor",
    voice: "Tensor",
    face: "Tensor",
    clusterings: "Clusterings | None",
) -> "LossTerms":
    """Compute all losses of a batch: rows in the banks (B,), embeddings (B, D), latest clusterings."""
    from cmpc2.losses import cmpc_terms

    loss = config.loss
    return cmpc_terms(
        voice,
        face,
        index,
        clusterings,
        temperature=loss.temperature,
        form=loss.prototype_negatives,
        prototypes=loss.prototypes,
        **loss.recalibration.options(),
    )


def build_model(config: "Cmpc2Config", initial_weights: InitialWeights) -> "FV_Wrapper":
    """Build the model that a run starts with: random, or with the given initial weights."""
    import torch
    from voiceface.association.initialisation import load_initial_weights

    from cmpc2.model import FV_Wrapper
    from cmpc2.published import read_published_model

    model = FV_Wrapper(
        pretrain=initial_weights.imagenet or False, config=config.model, voice_frontend=config.data.voice
    )
    if initial_weights.checkpoint:
        load_initial_weights(
            model, initial_weights.checkpoint, system="cmpc2", read_published=read_published_model
        )
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def build_optimiser(config: "Cmpc2Config", model: "FV_Wrapper") -> "torch.optim.Optimizer":
    """Build the configured optimiser over all parameters; the learning rate is set before every step."""
    from voiceface.training import optimisers, settings

    optimiser = config.optimiser
    options = settings.OptimiserConfig(
        method=optimiser.method,
        lr=optimiser.max_lr,
        momentum=optimiser.momentum,
        betas=optimiser.betas,
        weight_decay=optimiser.weight_decay,
    )
    return optimisers.build_optimiser(options, [{"params": list(model.parameters())}])


def _check_num_clusters(config: "Cmpc2Config", num_videos: int) -> None:
    """Raise ValueError for more clusters than training videos."""
    largest = max(config.clustering.num_clusters)
    if largest > num_videos:
        suggestion = f"[{max(1, num_videos // 12)},{max(2, num_videos // 6)},{max(3, num_videos // 4)}]"
        raise ValueError(
            f"clustering.num_clusters: {largest} clusters of {num_videos} training videos; set fewer, such "
            f"as {suggestion}"
        )


def _save_lowest_loss(run: "Run", step: int, total: "Tensor | float", model: "FV_Wrapper") -> None:
    """Save the checkpoint of the batch with the lowest loss so far, as published."""
    loss = total if isinstance(total, float) else total.item()
    if loss < run.values.get("lowest_loss", float("inf")):
        run.values.update(lowest_loss=loss, best_step=step)
        run.save("best", model)


def main(argv: Sequence[str] | None = None) -> int:
    """`cmpc2 train`."""
    return train_command(Cmpc2Trainer, argv)


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("cmpc2.train", None))
