"""ONNX files of others: opened by onnxruntime, with the shapes of their inputs and outputs."""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceface.io.atomic import compute_sha256
from voiceface.io.file_kinds import printable
from voiceface.io.foreign_files import reading

__all__ = ["FaceModelFileError", "OnnxFile", "open_onnx", "wrong_file"]

Array = NDArray[np.float32]
MAX_BYTES = 2_000_000_000


class FaceModelFileError(ValueError):
    """A file is no network of the expected kind; the message says what was found and expected."""


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX graph, ready to run on the CPU.

    Attributes:
        name: of the file, for messages.
        digest: SHA-256 of the file.
        inputs: name -> shape; None for sizes that are free.
        outputs: name -> shape.
        session: of onnxruntime.
    """

    name: str
    digest: str
    inputs: dict[str, tuple[int | None, ...]]
    outputs: dict[str, tuple[int | None, ...]]
    session: Any

    def run(self, batch: NDArray[Any]) -> list[Array]:
        """Compute all outputs for the only input.

        Raises:
            FaceModelFileError: the graph cannot be computed.
        """
        try:
            (name,) = self.inputs
            return [np.asarray(value) for value in self.session.run(None, {name: batch})]
        except Exception as error:  # onnxruntime has no common class of errors
            line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise FaceModelFileError(f"{self.name}: its graph cannot be computed ({line})") from error


def open_onnx(path: str | os.PathLike[str], what: str) -> OnnxFile:
    """Open an ONNX file.

    Args:
        path: the file.
        what: what is expected, with an article, for messages.

    Raises:
        FileNotFoundError: no such file.
        FaceModelFileError: corrupt, or no ONNX graph with one input.
        ModuleNotFoundError: onnxruntime is not installed.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise ModuleNotFoundError(
            f"{what} needs onnxruntime: pip install onnxruntime, or 'voiceface-shared[onnx]'"
        )
    import onnxruntime
    import torch

    with reading(path, FaceModelFileError, what, max_bytes=MAX_BYTES) as file:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(file.read(), options, providers=["CPUExecutionProvider"])
        found = OnnxFile(
            printable(path),
            compute_sha256(path),
            {each.name: _shape(each.shape) for each in session.get_inputs()},
            {each.name: _shape(each.shape) for each in session.get_outputs()},
            session,
        )
    if len(found.inputs) != 1:
        raise wrong_file(found, what, "one input")
    return found


def wrong_file(found: OnnxFile, what: str, expected: str) -> FaceModelFileError:
    """Build the error about a graph with other inputs or outputs."""
    shown = [
        ", ".join(f"{name} {_format(shape)}" for name, shape in list(each.items())[:4])
        + (", ..." if len(each) > 4 else "")
        for each in (found.inputs, found.outputs)
    ]
    return FaceModelFileError(
        f"{found.name} is not {what}: it has the inputs {shown[0] or 'none'} and {len(found.outputs)} "
        f"outputs ({shown[1]}), expected {expected}"
    )


def _shape(sizes: Sequence[Any]) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) and size > 0 else None for size in sizes)


def _format(shape: Sequence[int | None]) -> str:
    return " x ".join("?" if size is None else str(size) for size in shape) or "scalar"
