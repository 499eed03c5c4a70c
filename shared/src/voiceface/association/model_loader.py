"""How a model is opened for people's own files, as plain values that other processes get as well."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from voiceface.association.onnx_command import load_for_embedding
from voiceface.association.system import SystemSpec

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder
    from voiceface.embeddings.table import EmbeddingTable

__all__ = ["ModelLoader"]

ARGUMENTS = (
    *("onnx", "resample", "on_corrupt", "long_recordings"),
    *("crop", "face_finder", "every_face", "workers"),
)


@dataclass(frozen=True)
class ModelLoader:
    """Opens a model as the command `embed` asks for it.

    Attributes:
        spec: the system.
        weights: checkpoint or run folder; None: the bundled weights.
        values: further arguments of the command, by name.
    """

    spec: SystemSpec
    weights: Path | None
    values: tuple[tuple[str, Any], ...]

    @classmethod
    def from_arguments(cls, spec: SystemSpec, args: argparse.Namespace) -> Self:
        """Take the arguments of `embed`."""
        return cls(spec, args.weights, tuple((name, getattr(args, name)) for name in ARGUMENTS))

    def open(self, device: str, sounds: Sequence[Any] = (), pictures: Sequence[Any] = ()) -> "Embedder":
        """Load the model, with its reader of pictures.

        Args:
            device: of the model.
            sounds: recordings that will be embedded.
            pictures: sources of faces that will be embedded.

        Raises:
            ValueError, OSError, ModuleNotFoundError: as
                `voiceface.faces.own_pictures.PictureReader.from_arguments` and `load_for_embedding`.
        """
        from voiceface.faces.own_pictures import PictureReader

        args = argparse.Namespace(weights=self.weights, device=device, **dict(self.values))
        reader = PictureReader.from_arguments(args)
        model = load_for_embedding(self.spec, args, sounds, pictures)
        model.require()
        model.pictures = reader.with_convention(model.face_crop)
        model.long_recordings = args.long_recordings
        return model

    def for_workers(self) -> Self:
        """The same with absolute paths."""
        values = tuple((name, _absolute(value)) for name, value in self.values)
        return replace(self, weights=_absolute(self.weights), values=values)

    def __call__(self, device: str) -> "Callable[[Sequence[Path], Sequence[Path]], EmbeddingTable]":
        """Build the function of `voiceface.association.shard_embedding.ShardWork`."""
        from voiceface.association.embedding import embed

        workers = dict(self.values)["workers"]
        return partial(embed, self.open(device), workers=workers, progress=False)


def _absolute(value: Any) -> Any:
    if isinstance(value, list):
        return [_absolute(each) for each in value]
    return value.absolute() if isinstance(value, Path) else value
