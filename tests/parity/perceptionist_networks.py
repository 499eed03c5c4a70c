"""Parity of perceptionist's networks: voice, generator, face and its heads, regressor, refiners, head."""

import re
from fnmatch import fnmatchcase

import torch
from parity.activations import record_outputs, strip_prefix
from parity.case import Case, ComparisonLog
from parity.perceptionist_faces import load_sibling_face_model
from parity.tolerance_rules import ToleranceRule
from perceptionist import published_networks
from torch import Tensor, nn
from torch.nn import functional as F

LOOSE = ToleranceRule(atol=2e-5, rtol=2e-4)


def load_weights(case: Case, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Filled weights by key; those that the case multiplies are multiplied in single precision."""
    state = case.filled_weights(int(case.config.get("seed", 0)))
    for pattern, factor in case.config.get("scale_after_fill", {}).items():
        for key in state:
            if fnmatchcase(key, pattern):
                state[key] = state[key] * float(factor)
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}


@torch.no_grad()
def voice_embed(case: Case, log: ComparisonLog) -> None:
    """Embeddings, and the statistics inside."""
    network = published_networks.build_voice_network(load_weights(case))
    stages = {m[0]: f"model.{m[1]}" for m in (re.match(r"stage(\d+)_mean_std", k) for k in case.arrays) if m}
    with record_outputs(network, *stages.values()) as seen:
        embedding = network(case.tensor("x"))
    ours = {"embedding": embedding, "embedding_l2": F.normalize(embedding)}
    ours |= {name: _summary_statistics(seen[place])[:2] for name, place in stages.items()}
    for name, value in ours.items():
        if name in case.arrays:
            expected = case.arrays[name]
            case.compare(log, name, value.reshape(expected.shape), default=LOOSE)


@torch.no_grad()
def voice_embed_lengths(case: Case, log: ComparisonLog) -> None:
    """Clips of other lengths, down to one frame."""
    network = published_networks.build_voice_network(load_weights(case))
    for name in case.arrays:
        if name.startswith("x_"):
            stored = name.replace("x_", "embedding_", 1)
            ours = network(case.tensor(name)).reshape(case.arrays[stored].shape)
            case.compare(log, stored, ours, default=LOOSE)


@torch.no_grad()
def generator(case: Case, log: ComparisonLog) -> None:
    """Pictures of every stored embedding."""
    network = published_networks.build_generator(load_weights(case))
    for name in case.arrays:
        if name.startswith("embedding"):
            image = network(case.tensor(name).flatten(1))
            case.compare(log, name.replace("embedding", "image", 1), image, default=LOOSE)


@torch.no_grad()
def face_embed_heads(case: Case, log: ComparisonLog) -> None:
    """Face embedding, discriminator and classifier."""
    state = load_weights(case)
    network = published_networks.build_face_network(
        {k: v for k, v in state.items() if k.startswith("model.")}
    )
    heads = {
        "real_logit": published_networks.build_discriminator(strip_prefix("d.", state)),
        "class_logit": published_networks.build_classifier(strip_prefix("c.", state)),
    }
    embedding = network(case.tensor("face"))
    case.compare(log, "embedding", embedding.reshape(case.arrays["embedding"].shape), default=LOOSE)
    for name, head in heads.items():
        case.compare(log, name, head(embedding), default=LOOSE)


@torch.no_grad()
def regressor(case: Case, log: ComparisonLog) -> None:
    """Parameters, pooled and inner features, in evaluation and in training mode; every block's statistics."""
    network = published_networks.build_image_to_3d(load_weights(case))
    pictures = case.tensor("image_f16", torch.float32)
    blocks = [f"features.{number}" for number in range(len(network.features))]
    with record_outputs(network, *blocks) as seen:
        found = network(pictures)
    part = _inter_slices(case)
    ours = {
        "attr": found.parameters,
        "pool": found.pooled,
        "inter_sub": found.inter[part],
        "inter_stats": _summary_statistics(found.inter),
        "block_stats": torch.stack([_summary_statistics(seen[block]) for block in blocks]),
    }
    disable_dropout(network).to(memory_format=torch.contiguous_format).train()
    found = network(pictures)
    ours |= {
        "train_attr": found.parameters,
        "train_pool": found.pooled,
        "train_inter_sub": found.inter[part],
    }
    state = network.state_dict()
    for name in case.arrays:
        if running := re.fullmatch(r"train_running_(mean|var)_(\d+)", name):
            ours[name] = state[f"features.{running[2]}.1.running_{running[1]}"]
    for name, value in ours.items():
        if name in case.arrays:
            # the general rule; `_summary_statistics` arrays are whole, so that no spread is taken from them
            rule = case.rule("train", default=LOOSE) if name.startswith("train_") else case.rule()
            log.compare_by_rule(name, value, case.arrays[name], rule)


@torch.no_grad()
def supervised_head(case: Case, log: ComparisonLog) -> None:
    """Whitened numbers, and the mesh that the face model makes of them."""
    head = published_networks.build_supervised_head(load_weights(case))
    model, config = load_sibling_face_model(case), case.config
    if "scale_mean" in config and "scale_std" in config:
        model.scale = (float(config["scale_mean"]), float(config["scale_std"]))
    numbers = head(case.tensor("embedding").flatten(1))
    case.compare(log, "params", numbers)
    case.compare(log, "vertices", model.vertices_from_supervised(numbers))


@torch.no_grad()
def expert_refiners(case: Case, log: ComparisonLog) -> None:
    """Landmark refinement, and landmarks back to parameters."""
    state = load_weights(case)
    refine = published_networks.build_forward_direction(strip_prefix("forwardDirection.", state))
    reverse = published_networks.build_reverse_direction(strip_prefix("reverseDirection.", state))
    landmarks = case.tensor("landmarks")
    codes = (case.tensor(name) for name in ("pool", "shape_code", "expr_code"))
    case.compare(log, "residual", refine(landmarks, *codes))
    case.compare(log, "reverse_params", reverse(landmarks))


def disable_dropout(network: nn.Module) -> nn.Module:
    """The network with its dropouts switched off."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


def _summary_statistics(values: Tensor) -> Tensor:
    """Mean, sample standard deviation, minimum, maximum."""
    x = values.double()
    return torch.stack([x.mean(), x.std(), x.min(), x.max()])


def _inter_slices(case: Case) -> tuple[slice, ...]:
    """The part of the inner features that is stored, as the case states it."""
    stated = re.search(r"\binter\[([^\]]*)\]", str(case.meta.get("outputs", "")))
    words = stated[1].split(",") if stated else [":", "::4", "::2", "::2"]
    return tuple(slice(None, None, int(word.strip(" :") or 1)) for word in words)
