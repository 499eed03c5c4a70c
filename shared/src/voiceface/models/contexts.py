"""Forward and backward passes without gradients of parameters, or without a change of running statistics."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["parameters_frozen", "preserve_buffers"]


@contextmanager
def parameters_frozen(*modules: nn.Module) -> Iterator[None]:
    """Context in which the parameters of modules get no gradient; their inputs still do.

    In the published adversarial training, gradients of the generator's losses accumulate in the
    discriminators and are cleared unused.
    """
    trainable = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


def preserve_buffers(*modules: nn.Module) -> Callable[[], None]:
    """Save the buffers of modules, such as the running statistics of batch norms.

    Returns:
        A function that restores the saved values in place.
    """
    saved = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]

    def restore() -> None:
        for buffer, value in saved:
            buffer.copy_(value)

    return restore
