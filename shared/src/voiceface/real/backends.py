"""The networks as functions of NumPy arrays, computed by PyTorch or by onnxruntime."""

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from voiceface.real.catalogue import MODELS, RealModel
from voiceface.real.installation import REMEDY, InstalledModel, repair_graph, require_installed

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "Backend",
    "Network",
    "choose_backend",
    "load_network",
    "onnx_network",
    "require_backend",
    "torch_network",
]

Backend = Literal["torch", "onnxruntime"]
Array = NDArray[np.float32]
# Inputs at a time: more make the detector slower, since its first maps leave the cache of a core.
BATCH_SIZES = {"face_detector": 1, "face_mesh": 8, "face_encoder": 8, "voice_encoder": 32}


class Network:
    """A network with its origin: (N, ...) to a tuple of arrays (N, ...).

    Args:
        model: its entry in the catalogue.
        run: computes one batch.
        backend: "torch" or "onnxruntime".
        fingerprint: hash of its values.

    Attributes:
        model: its entry in the catalogue.
        backend: "torch" or "onnxruntime".
        fingerprint: hash of its values, the same for both back ends; names what embeddings were made with.
    """

    def __init__(
        self,
        model: RealModel,
        run: Callable[[Array], tuple[Array, ...]],
        backend: Backend,
        fingerprint: str,
    ) -> None:
        self.model, self.backend, self.fingerprint = model, backend, fingerprint
        self._run, self._batch_size = run, BATCH_SIZES.get(model.name, 8)

    @property
    def licence(self) -> str:
        """Licence of the published file."""
        return self.model.licence

    @property
    def training_data(self) -> str:
        """What is known about the people that it was trained on."""
        return self.model.training_data

    def __call__(self, inputs: NDArray[Any]) -> tuple[Array, ...]:
        """Compute all outputs, a few inputs at a time; the values do not depend on the others in the batch.

        Args:
            inputs: (N, ...), N at least 1; converted to float32.

        Returns:
            One array (N, ...) per output.
        """
        size = self._batch_size
        parts = [
            self._run(np.ascontiguousarray(inputs[start : start + size], np.float32))
            for start in range(0, len(inputs), size)
        ]
        return tuple(np.concatenate(values) for values in zip(*parts))


def choose_backend() -> Backend:
    """The faster back end that is installed: onnxruntime, else PyTorch."""
    return "torch" if _missing_packages() else "onnxruntime"


def require_backend(backend: Backend) -> None:
    """Check that the packages of a back end are installed.

    Raises:
        ModuleNotFoundError: onnxruntime or onnx is missing.
    """
    if backend == "onnxruntime" and (missing := _missing_packages()):
        raise ModuleNotFoundError(
            f"the back end onnxruntime needs {missing[0]}: pip install 'voiceface-shared[onnx]'"
        )


def _missing_packages() -> list[str]:
    """What onnxruntime's back end lacks."""
    return [name for name in ("onnxruntime", "onnx") if importlib.util.find_spec(name) is None]


def load_network(name: str, backend: Backend = "torch", device: str = "cpu") -> Network:
    """Load a network from the cache; its digest is checked.

    Args:
        name: a key of `voiceface.real.catalogue.MODELS`.
        backend: "torch", or "onnxruntime" (`pip install 'voiceface-shared[onnx]'`; CPU).
        device: "cpu", "cuda" or "auto", for PyTorch.

    Raises:
        MissingModelError: it was not fetched; the message names the command.
        voiceface.checkpoints.published.CheckpointError: the file is damaged, or another file; the message
            names it and the command that fetches it. A damaged graph is written anew from intact values.
        ModuleNotFoundError: onnxruntime is not installed.
        ValueError: another back end.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"no back end {backend!r}; expected one of {', '.join(get_args(Backend))}")
    found = require_installed(name)
    from voiceface.checkpoints.native import load_into, load_model
    from voiceface.checkpoints.published import CheckpointError

    stored = load_model(found.weights, system="real", kind=name, remedy=REMEDY)
    fingerprint = str(stored.extra.get("fingerprint", stored.sha256))
    try:
        if backend == "onnxruntime":
            require_backend(backend)
            repair_graph(found, stored.sha256)
            return onnx_network(found, fingerprint)
        from voiceface.real.networks import build_network

        network = build_network(name)
        load_into(network, stored.state, source=str(found.weights))
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {REMEDY}") from None
    return torch_network(MODELS[name], network, fingerprint, device)


def torch_network(model: RealModel, network: "nn.Module", fingerprint: str, device: str = "cpu") -> Network:
    """Compute a PyTorch module; images are laid out with channels last, which is faster on a CPU.

    Args:
        model: entry in the catalogue.
        network: in evaluation mode afterwards.
        fingerprint: hash of its values.
        device: "cpu", "cuda" or "auto".
    """
    import torch

    from voiceface.runtime.devices import choose_device

    place = choose_device(device)
    network = network.eval().to(place)
    if any(parameter.ndim == 4 for parameter in network.parameters()):
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(batch: Array) -> tuple[Array, ...]:
        inputs = torch.from_numpy(batch).to(place)
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            outputs = network(inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple(output.cpu().numpy() for output in outputs)

    return Network(model, run, "torch", fingerprint)


def onnx_network(installed: InstalledModel, fingerprint: str) -> Network:
    """Compute the ONNX graph with onnxruntime, with as many threads as PyTorch uses.

    The graph is written first where it is missing.

    Args:
        installed: network in the cache.
        fingerprint: hash of its values.

    Raises:
        ModuleNotFoundError: onnxruntime or onnx is missing.
    """
    require_backend("onnxruntime")
    import onnxruntime
    import torch

    if not installed.graph.is_file():
        from voiceface.real.onnx_graphs import write_onnx

        write_onnx(installed.model.name, installed.weights, installed.graph)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(installed.graph), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(batch: Array) -> tuple[Array, ...]:
        return tuple(session.run(None, {name: batch}))

    return Network(installed.model, run, "onnxruntime", fingerprint)
