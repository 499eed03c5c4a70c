"""Gradient accumulation by gradient caching: a batch passes a network part by part, its loss is taken once.

Every part is computed again in the backward pass, so that the activations of one part are in memory at a
time, and losses over all pairs of a batch keep their pairs. Gao et al., "Scaling Deep Contrastive Learning
Batch Size under Memory Limited Setup" (RepL4NLP 2021), by PyTorch's activation checkpointing.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from voiceface.training.run import Run

__all__ = ["forward_in_parts", "prepare_for_parts"]


def prepare_for_parts(run: "Run", settings: Any, model: nn.Module) -> nn.Module:
    """Prepare a model for a run, see `Run.prepare`, and for `forward_in_parts`.

    Args:
        run: the run.
        settings: `training` of the configuration: "batch_size", and "accumulation_steps", if it has that.
        model: any module.

    Raises:
        ValueError: processes and parts cannot share a batch equally.
    """
    parts = getattr(settings, "accumulation_steps", 1)
    if parts > 1 and settings.batch_size % (parts * run.world_size):
        processes = f" for each of {run.world_size} processes" if run.world_size > 1 else ""
        raise ValueError(
            f"training.accumulation_steps: a batch of {settings.batch_size} cannot be divided into {parts} "
            f"equal parts{processes}; choose a multiple of {parts * run.world_size}"
        )
    return run.prepare(model, wrap=parts == 1)


def forward_in_parts(network: nn.Module, parts: int, *inputs: Any) -> Any:
    """Pass a batch through a network in equal parts; the result is differentiable like that of one pass.

    Part k has the rows k, k + parts, ...: with several processes, which hold consecutive rows, a part has the
    rows that it has in one process. Batch normalisation takes the statistics of a part (Hoffer et al., "Train
    longer, generalize better", NeurIPS 2017: ghost batch normalisation), and running statistics take one step
    for each. The backward pass draws the random numbers of the forward pass again.

    Args:
        network: its gradients are averaged by `Run.backward_and_step` (`Run.prepare` with ``wrap=False``).
        parts: 1 calls the network with the inputs as they are.
        inputs: of the network: tensors with rows (B, ...), B divisible by `parts`; None; or tuples of those.

    Returns:
        What the network returns: a tensor (B, ...), None, or a tuple of those, named or not.
    """
    if parts == 1:
        return network(*inputs)
    outputs = [
        checkpoint(network, *_select(inputs, part, parts), use_reentrant=False, context_fn=_contexts(network))
        for part in range(parts)
    ]
    return _interleave(outputs)


def _select(value: Any, part: int, parts: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_select(each, part, parts) for each in value)
    return None if value is None else value[part::parts]


def _interleave(values: list[Any]) -> Any:
    first = values[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        return torch.stack(values, dim=1).flatten(0, 1)
    joined = [_interleave(list(each)) for each in zip(*values, strict=True)]
    return type(first)(*joined) if hasattr(first, "_fields") else tuple(joined)


def _contexts(
    network: nn.Module,
) -> Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
    """Contexts of the forward pass and of its repetition, which leaves buffers as they are."""

    @contextmanager
    def unchanged() -> Iterator[None]:
        saved = [(buffer, buffer.clone()) for buffer in network.buffers()]
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, value in saved:
                    buffer.copy_(value)

    return lambda: (nullcontext(), unchanged())
