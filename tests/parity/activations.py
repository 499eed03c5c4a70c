"""Inspect networks: parts of state dicts, outputs and inputs of submodules."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


def strip_prefix(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the part of a state dict below a prefix, without the prefix."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


@contextmanager
def record_outputs(network: nn.Module, *names: str) -> Iterator[dict[str, Tensor]]:
    """Record the outputs of the named submodules, by name."""
    seen: dict[str, Tensor] = {}
    hooks = []
    for name in names:

        def keep(module: nn.Module, args: object, output: Tensor, name: str = name) -> None:
            seen[name] = output.detach().clone()

        hooks.append(network.get_submodule(name).register_forward_hook(keep))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def record_inputs(module: nn.Module) -> Iterator[list[Tensor]]:
    """Record the first input of a module."""
    given: list[Tensor] = []

    def keep(_: nn.Module, inputs: Any) -> None:
        given.append(inputs[0].detach().clone())

    hook = module.register_forward_pre_hook(keep)
    try:
        yield given
    finally:
        hook.remove()
