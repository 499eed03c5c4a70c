"""Clustering of the memory banks during and after training, and the file of their prototypes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voiceface.training.run import Run

    from cmpc2.config import Cmpc2Config
    from cmpc2.data import PairDataset
    from cmpc2.memory import MemoryBank

__all__ = ["recluster", "recluster_final", "save_memory"]


def recluster(config: "Cmpc2Config", memory: "MemoryBank", step: int) -> None:
    """Cluster both banks; the initial centres are a function of the run's seed and the iteration."""
    if config.loss.prototypes or config.loss.recalibration.enabled:
        memory.recluster(
            config.clustering.num_clusters,
            seed=(config.training.seed, step),
            temperature=config.loss.prototype_temperature,
            **config.clustering.kmeans_options(),
        )


def recluster_final(config: "Cmpc2Config", memory: "MemoryBank") -> None:
    """Cluster the final banks, without empty clusters: prototypes of the trained model."""
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

    assert memory.clusterings is not None
    state = {"bank/face": memory.banks["face"]}
    for modality, clusterings in zip(("voice", "face"), memory.clusterings):
        for count, clustering in zip(config.clustering.num_clusters, clusterings):
            for name in ("centroids", "assignment", "density"):
                state[f"{modality}/{count}/{name}"] = clustering.to_dict()[name]
    save_model(
        run.out / "memory.safetensors",
        state,
        system="cmpc2",
        kind="memory",
        config=to_dict(config),
        extra={key: run.extra[key] for key in ("videos", "disclaimer")},
    )
    write_training_table(run.out / "training.csv", dataset.videos.table_rows)
