"""Training: `cmpc2 train --cfg main --data ROOT --out RUN`.

One iteration, in the published order: cluster the banks if due, forward, update the banks, loss, step. The
latest clusterings serve until the next ones.
"""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from voiceface.commandline import arguments
from voiceface.datasets import dataset_arguments

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from voiceface.association.validation import Validation
    from voiceface.training.run import Run

    from cmpc2.config import Cmpc2Config
    from cmpc2.data import PairDataset
    from cmpc2.losses import Clusterings, LossTerms
    from cmpc2.memory import MemoryBank
    from cmpc2.model import FV_Wrapper

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InitialWeights:
    """Files that a run starts from; everything is optional.

    Attributes:
        checkpoint: a whole model, ours or published.
        imagenet: torchvision's ImageNet weights of the same network, for both branches.
    """

    checkpoint: Path | None = None
    imagenet: Path | None = None


def train(
    config: "Cmpc2Config",
    dataset: "PairDataset",
    out: str | Path,
    *,
    validation: "Validation | None" = None,
    initial_weights: InitialWeights | None = None,
    device: str = "cpu",
    threads: int | None = None,
    resume: bool = False,
    disclaimer: str = "",
) -> Path:
    """Train one model.

    Args:
        config: what to train.
        pairs: the training videos.
        out: run folder; new or empty unless `resume`.
        validation: people and list that judge the model where the configuration validates.
        initial_weights: weights to begin with; from scratch without.
        device: "cpu", "cuda" or "auto".
        threads: of PyTorch on the CPU; None leaves them as they are.
        resume: go on from the run folder's last saved state.
        disclaimer: what readers of the model must be told; stored with the weights.

    Returns:
        The weights file, `out/model.safetensors`. Beside it lie `memory.safetensors` (prototypes of both
        banks, the face bank) and `training.csv` (its rows).

    Raises:
        ValueError, OSError: data, start weights or run folder do not fit; see the message.
    """
    import torch
    from voiceface.runtime.config import to_dict
    from voiceface.training.lr_schedules import cosine_warmup_cycles, set_learning_rate
    from voiceface.training.provenance import record_provenance
    from voiceface.training.run import open_run, unwrap

    from cmpc2.data import SamplingWithReplacement
    from cmpc2.memory import MemoryBank

    plan = config.training
    _check_num_clusters(config, len(dataset))
    with open_run(
        out, plan, config=to_dict(config), system="cmpc2", device=device, threads=threads, resume=resume
    ) as run:
        names = dataset.videos.identity_names
        source = record_provenance(
            run, [f"{row.identity} {row.video_id}" for row in dataset.videos.table_rows], initial_weights
        )
        run.extra = {"names": names, "videos": len(dataset), "disclaimer": disclaimer, "source": source}
        network = run.prepare(build_model(config, initial_weights or InitialWeights()))
        model = cast("FV_Wrapper", unwrap(network))
        optimiser = build_optimiser(config, model)
        chosen = config.optimiser
        rate = cosine_warmup_cycles(
            chosen.max_lr, chosen.min_lr, chosen.cycle or plan.max_steps, chosen.warm_up
        )
        seeded = torch.Generator().manual_seed(plan.seed)
        memory = MemoryBank(
            len(dataset),
            config.model.embedding_dim,
            config.memory.momentum,
            generator=seeded,
            device=run.device,
        )
        run.track(model=model, optimiser=optimiser, memory=memory)
        drawn = SamplingWithReplacement(dataset) if plan.sampling == "replacement" else dataset
        data = run.batches(drawn, plan.batch_size, max_steps=plan.max_steps, num_workers=plan.num_workers)
        for step in run.steps(plan.max_steps, checkpoint_interval=plan.checkpoint_interval):
            if _validation_due(config, step):
                validate(run, step, model, config, validation)
            if config.clustering.is_due(step):
                recluster(config, memory, step)
            set_learning_rate(optimiser, rate(step))
            terms = train_step(config, run, network, memory, next(data), optimiser)
            if config.clustering.lifetime == "one_step":
                memory.clear_clusterings()
            run.log(step, {**terms, "lr": rate(step)})
            if plan.best_checkpoint == "lowest_loss" and (step + 1) % plan.checkpoint_interval == 0:
                _keep_lowest_loss(run, step, terms["total_loss"], model)
        if _validation_due(config, plan.max_steps):
            validate(run, plan.max_steps, model, config, validation)
        recluster_final(config, memory)
        if run.is_main:
            save_memory(run, config, dataset, memory)
        return run.save_final_model(model.state_dict())


def train_step(
    config: "Cmpc2Config",
    run: "Run",
    network: "torch.nn.Module",
    memory: "MemoryBank",
    batch: dict[str, "Tensor"],
    optimiser: "torch.optim.Optimizer",
) -> dict[str, "Tensor | float"]:
    """One optimiser step; the banks are updated with what the networks gave before it.

    Args:
        config: the experiment.
        run: the run.
        network: the model as `run.prepare` gave it.
        memory: banks and latest clusterings.
        batch: "voice" (B, 1, 64, T), "face" (B, 3, S, S), "index" (B,): this process's rows.
        optimiser: of the whole model.

    Returns:
        The total and the means of its terms, by name.
    """
    from voiceface.runtime.distributed import all_gather_with_gradient

    with run.autocast():
        voice, face = network(batch["voice"], batch["face"])
    voice, face = voice.float(), face.float()
    everybody = [all_gather_with_gradient(item) for item in (batch["index"], voice, face)]
    memory.update(*everybody)
    own = config.training.negatives == "local"
    index, voice, face = (batch["index"], voice, face) if own else everybody
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
    """All terms of the loss of a batch (B,): rows in the banks, embeddings (B, D), latest clusterings."""
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


def recluster(config: "Cmpc2Config", memory: "MemoryBank", step: int) -> None:
    """Cluster both banks; starting centres follow from the run's seed and the iteration."""
    if config.loss.prototypes or config.loss.recalibration.enabled:
        memory.recluster(
            config.clustering.num_clusters,
            seed=(config.training.seed, step),
            temperature=config.loss.prototype_temperature,
            **config.clustering.kmeans_options(),
        )


def build_model(config: "Cmpc2Config", initial_weights: InitialWeights) -> "FV_Wrapper":
    """A model as a run begins with it: fresh, or with the weights that `initial_weights` names."""
    import torch

    from cmpc2.embedder import load_model_file
    from cmpc2.model import FV_Wrapper

    model = FV_Wrapper(
        pretrain=initial_weights.imagenet or False, config=config.model, voice_frontend=config.data.voice
    )
    if initial_weights.checkpoint:
        load_model_file(model, initial_weights.checkpoint)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def build_optimiser(config: "Cmpc2Config", model: "FV_Wrapper") -> "torch.optim.Optimizer":
    """Build the configured optimiser over all parameters; its rate is set before every step."""
    from voiceface.training import optimisers, settings

    chosen = config.optimiser
    options = settings.OptimiserConfig(
        method=chosen.method,
        lr=chosen.max_lr,
        momentum=chosen.momentum,
        betas=chosen.betas,
        weight_decay=chosen.weight_decay,
    )
    return optimisers.build_optimiser(options, [{"params": list(model.parameters())}])


def validate(
    run: "Run",
    step: int,
    model: "FV_Wrapper",
    config: "Cmpc2Config",
    validation: "Validation | None",
) -> float:
    """Validate with CMPC's front ends; a new best is kept where `training.best_checkpoint` says so.

    Returns:
        Matching accuracy, 0...1; ties count as misses.
    """
    from voiceface.association import validation as association_validation

    from cmpc2.embedder import Embedder

    return association_validation.validate(
        run,
        step,
        model,  # type: ignore[arg-type]
        config,  # type: ignore[arg-type]
        validation,
        embedder_type=Embedder,
        save_best=config.training.best_checkpoint == "validation",
    )


def recluster_final(config: "Cmpc2Config", memory: "MemoryBank") -> None:
    """Cluster once more, so that the stored prototypes are those of the finished model; none is empty."""
    memory.recluster(
        config.clustering.num_clusters,
        seed=(config.training.seed, config.training.max_steps),
        temperature=config.loss.prototype_temperature,
        **{
            **config.clustering.kmeans_options(),
            "empty_clusters": "reseed",
            "final_assignment": "consistent",
        },
    )


def save_memory(run: "Run", config: "Cmpc2Config", dataset: "PairDataset", memory: "MemoryBank") -> None:
    """Write prototypes of both banks with their videos: `memory.safetensors` and `training.csv`."""
    from voiceface.checkpoints.native import save_model
    from voiceface.runtime.config import to_dict

    from cmpc2.prototype_retrieval import write_training_table

    found = memory.clusterings
    assert found is not None
    state = {"bank/face": memory.banks["face"]}
    for side in ("voice", "face"):
        for count, clustering in zip(config.clustering.num_clusters, getattr(found, side)):
            for name in ("centroids", "assignment", "density"):
                state[f"{side}/{count}/{name}"] = clustering.to_dict()[name]
    save_model(
        run.out / "memory.safetensors",
        state,
        system="cmpc2",
        kind="memory",
        config=to_dict(config),
        extra={key: run.extra[key] for key in ("videos", "disclaimer")},
    )
    write_training_table(run.out / "training.csv", dataset.videos.table_rows)


def _check_num_clusters(config: "Cmpc2Config", num_videos: int) -> None:
    """Refuse more clusters than there are videos, before anything is done."""
    most = max(config.clustering.num_clusters)
    if most > num_videos:
        raise ValueError(
            f"clustering.num_clusters asks for {most} clusters of {num_videos} training videos: "
            "ask for fewer, "
            f"such as [{max(1, num_videos // 12)},{max(2, num_videos // 6)},{max(3, num_videos // 4)}]"
        )


def _validation_due(config: "Cmpc2Config", step: int) -> bool:
    every = config.training.validation_interval
    return every is not None and step > 0 and step % every == 0


def _keep_lowest_loss(run: "Run", step: int, total: "Tensor | float", model: "FV_Wrapper") -> None:
    """As published: the checkpoint of the batch with the lowest loss so far."""
    loss = total if isinstance(total, float) else total.item()
    if loss < run.values.get("lowest_loss", float("inf")):
        run.values.update(lowest_loss=loss, best_step=step)
        run.save("best", model)


def main(argv: Sequence[str] | None = None) -> int:
    """`cmpc2 train`."""
    parser = argparse.ArgumentParser(
        prog="cmpc2 train",
        description="Train voice and face networks on videos without identity labels: instance contrast, "
        "from `clustering.start_step` on prototype contrast and recalibrated pairs. --resume continues.",
    )
    arguments.add_training_arguments(parser, configurations="main, published, quick, standard")
    parser.add_argument("--table", type=Path, help="training.csv that names the videos and their order")
    parser.add_argument(
        "--splits", default="train,val", help="splits of --data to train on (default train,val)"
    )
    arguments.add_checkpoint_argument(parser, f"{arguments.CHECKPOINT_HELP}, or a published file")
    parser.add_argument("--imagenet", type=Path, help="ImageNet weights for both branches (torchvision)")
    dataset_arguments.add_root_arguments(parser)
    parser.add_argument("--lists", type=Path, help="list folder (default DATA/list_wav)")
    arguments.add_missing_argument(parser, "identities or videos without files")
    args = parser.parse_args(argv)

    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory

    from cmpc2.config import Cmpc2Config

    keep_freed_memory()
    config = load_config(args.cfg, Cmpc2Config, "cmpc2", args.override)
    arguments.require_existing_paths(
        {name: getattr(args, name) for name in ("data", "lists", "checkpoint", "imagenet", "table")}
    )

    from cmpc2.training_data import load_training_data

    found = load_training_data(
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
    weights = train(
        config,
        found.dataset,
        args.out,
        validation=found.validation,
        initial_weights=InitialWeights(args.checkpoint, args.imagenet),
        device=args.device,
        threads=args.threads,
        resume=args.resume,
        disclaimer=found.disclaimer,
    )
    print(f"weights: {weights}")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("cmpc2.train", None))
