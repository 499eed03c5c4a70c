"""Memory banks of voice and face embeddings, one row per training video, and their clusterings.

A row is the moving average of the embeddings of a video (docs/cmpc2.md).
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.nn.functional import normalize
from voiceface.runtime import distributed

from cmpc2.losses import Clusterings
from cmpc2.prototypes import Clustering, cluster

__all__ = ["MemoryBank"]


class MemoryBank:
    """Voice and face bank with their latest clusterings; part of the resume state.

    Args:
        num_videos: training videos N.
        embedding_dim: embedding length D.
        momentum: share of the previous row in an update, 0...1, one number or (face, voice).
        generator: for the initial rows, random unit vectors.
        device: device of the banks.

    Raises:
        ValueError: no videos.
    """

    def __init__(
        self,
        num_videos: int,
        embedding_dim: int,
        momentum: float | tuple[float, float] = 0.5,
        *,
        generator: torch.Generator | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if num_videos < 1:
            raise ValueError("expected at least one training video, found none: check the training set")
        face, voice = momentum if isinstance(momentum, tuple) else (momentum, momentum)
        self.momentum = {"voice": voice, "face": face}
        self.banks = {
            modality: normalize(torch.randn(num_videos, embedding_dim, generator=generator), dim=1).to(device)
            for modality in ("voice", "face")
        }
        self.clusterings: Clusterings | None = None

    def __len__(self) -> int:
        return len(self.banks["voice"])

    @torch.no_grad()
    def update(self, index: Tensor, voice: Tensor, face: Tensor) -> None:
        """Update the rows of a batch: normalise(momentum * row + (1 - momentum) * unit embedding).

        Args:
            index: rows, int64 (B,); of a row that occurs several times the last embedding counts.
            voice: embeddings (B, D), of any norm.
            face: embeddings (B, D).
        """
        rows, inverse = torch.unique(index, return_inverse=True)
        order = torch.arange(len(index), device=index.device)
        last = torch.zeros_like(rows).scatter_reduce_(0, inverse, order, "amax", include_self=False)
        for modality, embeddings in (("voice", voice), ("face", face)):
            bank, momentum = self.banks[modality], self.momentum[modality]
            unit = normalize(embeddings.detach().to(bank.dtype), dim=1)[last]
            bank[rows] = normalize(momentum * bank[rows] + (1 - momentum) * unit, dim=1)

    def recluster(
        self, num_clusters: Sequence[int], *, seed: Sequence[int] = (0,), **options: Any
    ) -> Clusterings:
        """Cluster both banks.

        Args:
            num_clusters: numbers of clusters, one clustering each.
            seed: numbers that determine the initial centres.
            options: see `cmpc2.prototypes.cluster`.
        """
        clusterings: dict[str, list[Clustering]] = {}
        for i, (modality, bank) in enumerate(self.banks.items()):
            clusterings[modality] = []
            for count in num_clusters:
                generator = torch.Generator().manual_seed(_mix_seeds([*seed, i, count]))
                clustering = cluster(bank, count, generator=generator, **options)
                clusterings[modality].append(Clustering(**_broadcast_from_main(clustering.to_dict())))
        self.clusterings = Clusterings(clusterings["voice"], clusterings["face"])
        return self.clusterings

    def clear_clusterings(self) -> None:
        """Drop the clusterings; until the next ones only instance contrast is computed."""
        self.clusterings = None

    def state_dict(self) -> dict[str, Any]:
        """Banks and clusterings as nested tensors."""
        clusterings = None
        if self.clusterings is not None:
            pairs = zip(("voice", "face"), self.clusterings)
            clusterings = {modality: [each.to_dict() for each in items] for modality, items in pairs}
        return {"banks": dict(self.banks), "clusterings": clusterings}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of `state_dict`.

        Raises:
            ValueError: banks of another size.
        """
        for modality, bank in self.banks.items():
            stored = state["banks"][modality]
            if stored.shape != bank.shape:
                raise ValueError(
                    f"the saved {modality} bank has shape {tuple(stored.shape)} (videos, embedding length), "
                    f"expected {tuple(bank.shape)}: give the same data and configuration"
                )
            bank.copy_(stored)
        clusterings, device = state["clusterings"], self.banks["voice"].device
        if clusterings is None:
            self.clusterings = None
            return
        self.clusterings = Clusterings(
            *(
                [Clustering(**{key: value.to(device) for key, value in each.items()}) for each in items]
                for items in (clusterings["voice"], clusterings["face"])
            )
        )


def _broadcast_from_main(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Broadcast the values of the main process: sums on GPUs may differ in their last digits."""
    if distributed.world_size() > 1:
        for value in tensors.values():
            torch.distributed.broadcast(value, 0)
    return tensors


def _mix_seeds(numbers: Sequence[int]) -> int:
    """Combine several numbers to one seed."""
    import numpy as np

    return int(np.random.SeedSequence(list(numbers)).generate_state(1, np.uint64)[0] >> np.uint64(1))
