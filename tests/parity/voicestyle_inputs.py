"""Weights and inputs of the cases of voicestyle and cmpc2: fill rule, rescaling, random arrays."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from parity.case import Case, load_fill_rule
from torch import Tensor


def load_weights(case: Case, network: str | None = None) -> dict[str, Tensor]:
    """Load the weights of a case or of one of its networks, rescaled as the cases' README states.

    Args:
        case: the case; without its own layout the layout of the case that `config.see` names.
        network: name of the network if the case has several; None if it has one, or if `see` names it.
    """
    if not case.meta.get("layout") and "see" in case.config:
        words = str(case.config["see"]).split()
        case = Case(case.path.with_name(f"{words[0]}.json"), case.inputs)
        layouts = case.meta["layout"]
        network = network or next((word for word in words[1:] if word in layouts), None)
    meta = case.meta
    layout, seed = _network_entry(meta["layout"], network), meta.get("fill_seed")
    rules = meta.get("rescale_after_fill") or []
    rules = rules.get(network, []) if isinstance(rules, Mapping) else rules
    constants = _network_entry(meta.get("constant_tensors") or {}, network)
    filled = load_fill_rule(case.inputs.fill).fill_all(layout, int(_network_entry(seed, network) or 0))
    return {key: _rescale(key, value, rules, constants) for key, value in filled.items()}


def load_input(case: Case, name: str) -> Tensor:
    """Load an input: the stored array of this name, else the one that its rule gives."""
    if name in case.arrays:
        return case.tensor(name)
    return generate_array(case.meta["inputs"][name])


def generate_array(spec: Mapping[str, Any], seed: int | None = None) -> Tensor:
    """Generate the array of a rule `normal` (also `0.5*normal + 0.1`) or `uniform(a,b)`.

    The rule's own seed is used unless another is given.
    """
    rng = np.random.Generator(np.random.PCG64(int(spec["seed"]) if seed is None else seed))
    rule = str(spec["rule"])
    if normal := re.match(r"(?:([\d.]+) ?\* ?)?normal(?: ?([+-] ?[\d.]+))?", rule):
        factor, shift = float(normal[1] or 1), float((normal[2] or "0").replace(" ", ""))
        return factor * torch.as_tensor(rng.standard_normal(spec["shape"], dtype=np.float32)) + shift
    ends = re.match(r"uniform\(([^,]+),([^)]+)\)", rule)
    if ends is None:
        raise ValueError(f"no such rule of an input is known: {rule!r}")
    return torch.as_tensor(rng.uniform(float(ends[1]), float(ends[2]), spec["shape"]).astype(np.float32))


def _network_entry(table: Any, network: str | None) -> Any:
    """Return the entry of a network in a table by networks, or the table itself."""
    return (
        table[network] if network is not None and isinstance(table, Mapping) and network in table else table
    )


def _rescale(key: str, value: Any, rules: Any, constants: Mapping[str, Any]) -> Tensor:
    """Apply the first rule whose pattern matches, then every matching `then_multiply_by`."""
    tensor = torch.as_tensor(value)
    found = [rule for rule in rules if re.search(rule["pattern"], key)]
    first = next((rule for rule in found if "then_multiply_by" not in rule), None)
    if first is not None and first.get("const"):
        tensor = torch.as_tensor(constants[key], dtype=torch.float32).reshape(tensor.shape)
    elif first is not None:
        if first.get("abs"):
            tensor = tensor.abs()
        tensor = tensor * _parse_factor(first.get("mul", 1.0), tensor) + float(first.get("add", 0.0))
    for rule in found:
        if "then_multiply_by" in rule:
            tensor = tensor * float(rule["then_multiply_by"])
    return tensor


def _parse_factor(stated: object, tensor: Tensor) -> float:
    """Parse a number, or a multiple of the square root of the fan-in."""
    if isinstance(stated, int | float):
        return float(stated)
    number, _, root = str(stated).rpartition("*")
    if root != "sqrt_fan_in":
        raise ValueError(f"no such factor is known: {stated!r}")
    return float(number or 1.0) * math.sqrt(math.prod(tensor.shape[1:]))
