"""Passes through networks that leave less behind: no gradients of weights, no spoilt statistics."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["parameters_frozen", "preserve_buffers"]


@contextmanager
def parameters_frozen(*modules: nn.Module) -> Iterator[None]:
    """Passes inside give these modules' parameters no gradient; their input still gets one.

    Published adversarial training lets gradients of the generator's side pile up in the discriminators and
    clears them unused.
    """
    learning = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def preserve_buffers(*modules: nn.Module) -> Callable[[], None]:
    """Remember the buffers of modules, such as the running statistics of batch norms.

    Returns:
        A function that puts the remembered values back, in place.
    """
    kept = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]

    def restore() -> None:
        for buffer, value in kept:
            buffer.copy_(value)

    return restore
