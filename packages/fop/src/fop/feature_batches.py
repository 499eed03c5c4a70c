"""Batches of paired features, gathered from tables in memory."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor

from fop.pairing import Pairing, batches_per_epoch, iterate_batches, num_pairs, require_aligned_rows

if TYPE_CHECKING:
    from voiceface.encoders.tables import FeatureSet

    from fop.config import TrainingConfig

__all__ = ["FeatureBatches"]


class FeatureBatches:
    """Pairs of a feature set in batches.

    Args:
        features: of the training people.
        pairing: see `fop.pairing.epoch_pairs`.
        settings: batch size, order of the rows, last batch.
        views: rows of each pair; see `fop.pairing.epoch_pairs`.

    Attributes:
        num_pairs: pairs of an epoch.
        batches_per_epoch: batches of an epoch.

    Raises:
        ValueError: rows that do not match (`rows`), people without voice or face (`random`), or too few pairs
            for one batch.
    """

    def __init__(
        self, features: "FeatureSet", pairing: Pairing, settings: "TrainingConfig", views: int = 1
    ) -> None:
        self.pairing, self.settings, self.views = pairing, settings, views
        self.voice_identities, self.face_identities = features.voice_identities, features.face_identities
        if pairing == "rows":
            require_aligned_rows(self.voice_identities, self.face_identities)
        else:
            _require_both_modalities(features)
        self.keep_last = settings.last_batch == "keep"
        self.num_pairs = num_pairs(self.voice_identities, self.face_identities, pairing)
        self.batches_per_epoch = batches_per_epoch(
            self.num_pairs, settings.batch_size // views, self.keep_last
        )
        self.voices, self.faces = torch.from_numpy(features.voices), torch.from_numpy(features.faces)

    def to(self, device: torch.device | str) -> Self:
        """Move the tables to a device."""
        self.voices, self.faces = self.voices.to(device), self.faces.to(device)
        return self

    def iterate(
        self, seed: int, *, start_step: int, max_steps: int, rank: int = 0, world_size: int = 1
    ) -> Iterator[dict[str, Tensor]]:
        """Yield batches `start_step` to ``max_steps - 1``.

        "voice" (B, Dv), "face" (B, Df), "label" (B,), and "row" (B,), the rows of the voices. Of several
        views, the first of all pairs come first. The tensors of a batch are overwritten by the next one.

        Args:
            seed: of the run.
            start_step: first batch; batch t does not depend on it.
            max_steps: batches of the whole run.
            rank: this process takes an equal share of the rows of every batch.
            world_size: processes that share each batch.

        Raises:
            ValueError: the processes cannot share the batches equally, or there are several views.
        """
        settings = self.settings
        size = settings.batch_size // world_size
        if world_size > 1 and settings.batch_size % world_size:
            raise ValueError(
                f"a batch of {settings.batch_size} cannot be shared equally by {world_size} processes; "
                f"choose a multiple of {world_size}"
            )
        if world_size > 1 and self.views > 1:
            raise ValueError(
                f"several processes: the objective needs {self.views} rows of each pair in one process; "
                "start it without torchrun"
            )
        if world_size > 1 and self.keep_last and self.num_pairs % settings.batch_size:
            raise ValueError("several processes need full batches: set training.last_batch=drop")
        rows = iterate_batches(
            self.voice_identities,
            self.face_identities,
            settings.batch_size,
            pairing=self.pairing,
            seed=seed,
            start_step=start_step,
            max_steps=max_steps,
            keep_last=self.keep_last,
            one_order=settings.row_order == "once",
            views=self.views,
        )
        own = slice(rank * size, (rank + 1) * size) if world_size > 1 else slice(None)
        return self._gather((pairs.voices.ravel()[own], pairs.faces.ravel()[own]) for pairs in rows)

    def _gather(self, rows: Iterator[tuple[np.ndarray, np.ndarray]]) -> Iterator[dict[str, Tensor]]:
        """Copy the rows of each batch into buffers that are used again."""
        device = self.voices.device
        buffers: dict[int, tuple[Tensor, Tensor]] = {}
        for voices, faces in rows:
            count = len(voices)
            if count not in buffers:
                shapes = ((count, table.shape[1]) for table in (self.voices, self.faces))
                buffers[count] = tuple(self.voices.new_empty(shape) for shape in shapes)  # type: ignore[assignment]
            voice, face = buffers[count]
            row = torch.from_numpy(voices).to(device)
            torch.index_select(self.voices, 0, row, out=voice)
            torch.index_select(self.faces, 0, torch.from_numpy(faces).to(device), out=face)
            labels = torch.from_numpy(self.voice_identities[voices]).to(device)
            yield {"voice": voice, "face": face, "label": labels, "row": row}


def _require_both_modalities(features: "FeatureSet") -> None:
    """Check that every person has a voice and a face: each is a class."""
    for what, found in (("voice", features.voice_identities), ("face", features.face_identities)):
        missing = np.setdiff1d(np.arange(len(features.people)), found)
        if len(missing):
            raise ValueError(
                f"{len(missing)} of {len(features.people)} training people have no {what}, the first is "
                f"{features.people[missing[0]].name}: leave them out (`FeatureSet.with_both_modalities`)"
            )
