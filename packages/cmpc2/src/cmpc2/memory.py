"""The two banks of embeddings, one row a training video, and the clusterings made of them (docs/cmpc2.md).

A bank row is the running mean of what its video's voice, or face, looked like lately.
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


class MemoryBank:
    """Voice and face bank and their latest clusterings; restored with a run.

    Args:
        size: training videos N.
        dimension: length D of an embedding.
        momentum: share of the old row that an update keeps, one number or (face, voice).
        generator: for the first rows, random unit vectors.
        device: where the banks lie.

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
            raise ValueError("a memory needs at least one training video; the training set is empty")
        face, voice = momentum if isinstance(momentum, tuple) else (momentum, momentum)
        self.momentum = {"voice": voice, "face": face}
        self.banks = {
            side: normalize(torch.randn(num_videos, embedding_dim, generator=generator), dim=1).to(device)
            for side in ("voice", "face")
        }
        self.clusterings: Clusterings | None = None

    def __len__(self) -> int:
        return len(self.banks["voice"])

    @torch.no_grad()
    def update(self, index: Tensor, voice: Tensor, face: Tensor) -> None:
        """Move the rows of a batch towards its embeddings: normalise(m row + (1 - m) unit embedding).

        Args:
            index: rows, int64 (B,); of one that occurs several times the last embedding counts.
            voice: embeddings (B, D) of any length.
            face: embeddings (B, D).
        """
        rows, inverse = torch.unique(index, return_inverse=True)
        places = torch.arange(len(index), device=index.device)
        last = torch.zeros_like(rows).scatter_reduce_(0, inverse, places, "amax", include_self=False)
        for side, vectors in (("voice", voice), ("face", face)):
            bank, share = self.banks[side], self.momentum[side]
            fresh = normalize(vectors.detach().to(bank.dtype), dim=1)[last]
            bank[rows] = normalize(share * bank[rows] + (1 - share) * fresh, dim=1)

    def recluster(
        self, num_clusters: Sequence[int], *, seed: Sequence[int] = (0,), **options: Any
    ) -> Clusterings:
        """Cluster both banks anew.

        Args:
            counts: numbers of clusters, one clustering each.
            seed: numbers that decide the starting centres.
            options: see `cmpc2.prototypes.cluster`.
        """
        made: dict[str, list[Clustering]] = {}
        for place, (side, bank) in enumerate(self.banks.items()):
            made[side] = []
            for count in num_clusters:
                generator = torch.Generator().manual_seed(_mix_seeds([*seed, place, count]))
                found = cluster(bank, count, generator=generator, **options)
                made[side].append(Clustering(**_broadcast_from_main(found.to_dict())))
        self.clusterings = Clusterings(made["voice"], made["face"])
        return self.clusterings

    def clear_clusterings(self) -> None:
        """Drop the clusterings: what follows is instance contrast alone, until the next ones."""
        self.clusterings = None

    def state_dict(self) -> dict[str, Any]:
        """Banks and clusterings as nested tensors."""
        found = self.clusterings
        packed = None
        if found is not None:
            packed = {side: [each.to_dict() for each in getattr(found, side)] for side in ("voice", "face")}
        return {"banks": dict(self.banks), "clusterings": packed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave.

        Raises:
            ValueError: banks of another size.
        """
        for side, bank in self.banks.items():
            stored = state["banks"][side]
            if stored.shape != bank.shape:
                raise ValueError(
                    f"the saved {side} bank is {tuple(stored.shape)}, here are {tuple(bank.shape)} "
                    "(videos, length of an embedding): give the same data and configuration"
                )
            bank.copy_(stored)
        packed, device = state["clusterings"], self.banks["voice"].device
        if packed is None:
            self.clusterings = None
            return
        sides = {
            side: [
                Clustering(**{key: value.to(device) for key, value in each.items()}) for each in packed[side]
            ]
            for side in ("voice", "face")
        }
        self.clusterings = Clusterings(sides["voice"], sides["face"])


def _broadcast_from_main(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The main process's values on every process: a GPU's sums may differ in their last digits."""
    if distributed.world_size() > 1:
        for value in tensors.values():
            torch.distributed.broadcast(value, 0)
    return tensors


def _mix_seeds(numbers: Sequence[int]) -> int:
    """One seed out of several numbers."""
    import numpy as np

    return int(np.random.SeedSequence(list(numbers)).generate_state(1, np.uint64)[0] >> np.uint64(1))
