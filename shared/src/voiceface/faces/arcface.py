"""Face encoders of others by path: any ArcFace network as an ONNX file, used as `FaceEncoder` is.

Convention (Deng et al., 2019): RGB of 112 pixels, aligned by five points, (x - 127.5) / 127.5; embeddings are
compared by cosine.
"""

import os
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voiceface.faces.crops import crop_face
from voiceface.faces.onnx_files import OnnxFile, open_onnx, wrong_file

if TYPE_CHECKING:
    from voiceface.faces.finding import FoundFace

__all__ = ["ArcFaceEncoder", "load_arcface"]

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
SIDE = 112
MEAN = 127.5


class ArcFaceEncoder:
    """Embeds aligned faces; from `load_arcface`.

    Args:
        graph: the opened file.
        channels_last: its input is (N, 112, 112, 3).
        batch_size: inputs at a time, as the graph has it.

    Attributes:
        fingerprint: of the file; names what embeddings were made with.
        embedding_dim: length D of an embedding.
    """

    def __init__(self, graph: OnnxFile, *, channels_last: bool = False, batch_size: int = 8) -> None:
        self.graph, self.channels_last, self.batch_size = graph, channels_last, batch_size
        self.fingerprint = graph.digest
        self.embedding_dim = self.embed(np.zeros((1, SIDE, SIDE, 3), np.uint8)).shape[1]

    def align(self, image: Image, face: "FoundFace") -> Image:
        """Cut a face out of its picture as the network expects it, (112, 112, 3)."""
        return crop_face(image, face.points, "arcface", SIDE)

    def embed(self, chips: Image) -> Array:
        """Embed aligned faces.

        Args:
            chips: RGB, (N, 112, 112, 3) uint8, from `align`.

        Returns:
            (N, D), to be compared by cosine; not normalised.

        Raises:
            ValueError: another shape.
            voiceface.faces.onnx_files.FaceModelFileError: the graph gives no (N, D).
        """
        chips = np.asarray(chips)
        if chips.ndim != 4 or chips.shape[1:] != (SIDE, SIDE, 3):
            raise ValueError(f"chips must be (N, {SIDE}, {SIDE}, 3), found {chips.shape}")
        if not len(chips):
            return np.zeros((0, self.embedding_dim), np.float32)
        inputs = (chips.astype(np.float32) - MEAN) / MEAN
        if not self.channels_last:
            inputs = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
        starts = range(0, len(inputs), self.batch_size)
        parts = [self.graph.run(inputs[start : start + self.batch_size])[0] for start in starts]
        lengths = [len(inputs[start : start + self.batch_size]) for start in starts]
        if any(part.ndim != 2 or len(part) != length for part, length in zip(parts, lengths)):
            raise wrong_file(self.graph, "an ArcFace encoder", "embeddings N x D")
        return np.concatenate(parts).astype(np.float32)


def load_arcface(path: str | os.PathLike[str]) -> ArcFaceEncoder:
    """Load an ArcFace network.

    Args:
        path: its ONNX file, such as `w600k_r50.onnx`.

    Raises:
        FileNotFoundError: no such file.
        voiceface.faces.onnx_files.FaceModelFileError: another graph: expected faces (N, 3, 112, 112) or
            (N, 112, 112, 3), and one output (N, D).
    """
    what = "an ArcFace encoder"
    graph = open_onnx(path, what)
    (shape,) = graph.inputs.values()
    layouts: dict[tuple[int | None, ...], bool] = {(3, SIDE, SIDE): False, (SIDE, SIDE, 3): True}
    outputs = list(graph.outputs.values())
    if len(shape) != 4 or shape[1:] not in layouts or len(outputs) != 1 or len(outputs[0]) != 2:
        raise wrong_file(graph, what, f"one of N x 3 x {SIDE} x {SIDE} and one of N x D")
    return ArcFaceEncoder(graph, channels_last=layouts[shape[1:]], batch_size=shape[0] or 8)
