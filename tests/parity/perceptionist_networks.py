"""Parity of perceptionist's networks: voice, generator, face and its heads, regressor, refiners, head."""

import re
from fnmatch import fnmatchcase

import torch
from parity.activations import below, recorded
from parity.case import Book, Case
from parity.perceptionist_faces import model_beside
from parity.rules import Rule
from perceptionist import published
from perceptionist.voice_network import unit
from torch import Tensor, nn

LOOSE = Rule(atol=2e-5, rtol=2e-4)


def weights(case: Case, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Filled weights by key; those that the case multiplies are multiplied in single precision."""
    state = case.filled(int(case.config.get("seed", 0)))
    for pattern, factor in case.config.get("scale_after_fill", {}).items():
        for key in state:
            if fnmatchcase(key, pattern):
                state[key] = state[key] * float(factor)
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}


@torch.no_grad()
def voice_embed(case: Case, book: Book) -> None:
    """Embeddings, and the statistics inside."""
    network = published.voice_network_of(weights(case))
    stages = {m[0]: f"model.{m[1]}" for m in (re.match(r"stage(\d+)_mean_std", k) for k in case.arrays) if m}
    with recorded(network, *stages.values()) as seen:
        embedding = network(case.tensor("x"))
    ours = {"embedding": embedding, "embedding_l2": unit(embedding)}
    ours |= {name: _statistics(seen[place])[:2] for name, place in stages.items()}
    for name, value in ours.items():
        if name in case.arrays:
            expected = case.arrays[name]
            case.judge(book, name, value.reshape(expected.shape), otherwise=LOOSE)


@torch.no_grad()
def voice_embed_lengths(case: Case, book: Book) -> None:
    """Clips of other lengths, down to one frame."""
    network = published.voice_network_of(weights(case))
    for name in case.arrays:
        if name.startswith("x_"):
            stored = name.replace("x_", "embedding_", 1)
            ours = network(case.tensor(name)).reshape(case.arrays[stored].shape)
            case.judge(book, stored, ours, otherwise=LOOSE)


@torch.no_grad()
def generator(case: Case, book: Book) -> None:
    """Pictures of every stored embedding."""
    network = published.generator_of(weights(case))
    for name in case.arrays:
        if name.startswith("embedding"):
            image = network(case.tensor(name).flatten(1))
            case.judge(book, name.replace("embedding", "image", 1), image, otherwise=LOOSE)


@torch.no_grad()
def face_embed_heads(case: Case, book: Book) -> None:
    """Face embedding, discriminator and classifier."""
    state = weights(case)
    network = published.face_network_of({k: v for k, v in state.items() if k.startswith("model.")})
    heads = {
        "real_logit": published.discriminator_of(below("d.", state)),
        "class_logit": published.classifier_of(below("c.", state)),
    }
    embedding = network(case.tensor("face"))
    case.judge(book, "embedding", embedding.reshape(case.arrays["embedding"].shape), otherwise=LOOSE)
    for name, head in heads.items():
        case.judge(book, name, head(embedding), otherwise=LOOSE)


@torch.no_grad()
def regressor(case: Case, book: Book) -> None:
    """Parameters, pooled and inner features, in evaluation and in training mode; every block's statistics."""
    network = published.image_to_3d_of(weights(case))
    pictures = case.tensor("image_f16", torch.float32)
    blocks = [f"features.{number}" for number in range(len(network.features))]
    with recorded(network, *blocks) as seen:
        found = network(pictures)
    part = _inter_part(case)
    ours = {
        "attr": found.parameters,
        "pool": found.pooled,
        "inter_sub": found.inter[part],
        "inter_stats": _statistics(found.inter),
        "block_stats": torch.stack([_statistics(seen[block]) for block in blocks]),
    }
    without_dropout(network).to(memory_format=torch.contiguous_format).train()
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
            # the general rule; `_stats` arrays are whole, so that no spread is taken from them
            rule = case.rule("train", otherwise=LOOSE) if name.startswith("train_") else case.rule()
            book.within(name, value, case.arrays[name], rule)


@torch.no_grad()
def supervised_head(case: Case, book: Book) -> None:
    """Whitened numbers, and the mesh that the face model makes of them."""
    head = published.supervised_head_of(weights(case))
    model, config = model_beside(case), case.config
    if "scale_mean" in config and "scale_std" in config:
        model.scale = (float(config["scale_mean"]), float(config["scale_std"]))
    numbers = head(case.tensor("embedding").flatten(1))
    case.judge(book, "params", numbers)
    case.judge(book, "vertices", model.supervised(numbers))


@torch.no_grad()
def expert_refiners(case: Case, book: Book) -> None:
    """Landmark refinement, and landmarks back to parameters."""
    state = weights(case)
    refine = published.forward_direction_of(below("forwardDirection.", state))
    reverse = published.reverse_direction_of(below("reverseDirection.", state))
    landmarks = case.tensor("landmarks")
    codes = (case.tensor(name) for name in ("pool", "shape_code", "expr_code"))
    case.judge(book, "residual", refine(landmarks, *codes))
    case.judge(book, "reverse_params", reverse(landmarks))


def without_dropout(network: nn.Module) -> nn.Module:
    """The network with its dropouts switched off."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


def _statistics(values: Tensor) -> Tensor:
    """Mean, sample standard deviation, minimum, maximum."""
    x = values.double()
    return torch.stack([x.mean(), x.std(), x.min(), x.max()])


def _inter_part(case: Case) -> tuple[slice, ...]:
    """The part of the inner features that is stored, as the case states it."""
    stated = re.search(r"\binter\[([^\]]*)\]", str(case.meta.get("outputs", "")))
    words = stated[1].split(",") if stated else [":", "::4", "::2", "::2"]
    return tuple(slice(None, None, int(word.strip(" :") or 1)) for word in words)
