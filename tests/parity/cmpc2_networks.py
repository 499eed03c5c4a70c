"""Parity of CMPC's networks."""

import numpy as np
import torch
from cmpc2.architecture import infer_branch, infer_model_config
from cmpc2.model import FV_Wrapper
from cmpc2.resnet import ResNet
from parity.case import Case, ComparisonLog, load_fill_rule
from torch import Tensor
from torch.nn.functional import cosine_similarity
from voiceface.checkpoints.native import load_into


def generate_input(spec: dict) -> Tensor:
    """An input that is given by a rule."""
    generator = np.random.Generator(np.random.PCG64(spec["seed"]))
    if spec["rule"] == "normal":
        return torch.from_numpy(generator.standard_normal(spec["shape"], dtype=np.float32))
    low, high = (float(word) for word in spec["rule"].partition("(")[2].rstrip(")").split(","))
    return torch.from_numpy(generator.uniform(low, high, spec["shape"]).astype(np.float32))


def load_inputs(case: Case) -> dict[str, Tensor]:
    """All inputs by name: stored ones, else by their rules."""
    rules = {k: v for k, v in (case.meta.get("inputs") or {}).items() if isinstance(v, dict)}
    return {name: generate_input(rule) for name, rule in rules.items()}


@torch.no_grad()
def fv_wrapper(case: Case, log: ComparisonLog) -> None:
    """Both branches on inputs of several sizes, stages of the voice branch, similarity of the first pair."""
    state = case.filled_weights()
    config = infer_model_config(state)
    length = next(
        (case.arrays[k].shape[1] for k in case.arrays if k in ("voice0", "face0")), config.embedding_dim
    )
    model = FV_Wrapper(config=config.model_copy(update={"embedding_dim": length}))
    load_into(model, state)
    if "parameters" in case.config:
        count = sum(item.numel() for item in model.parameters())
        log.compare_equal("parameters", count, case.config["parameters"])
    model.eval()
    found: dict[str, Tensor] = {}
    for name, value in load_inputs(case).items():
        found[name] = model.encode_voice(value) if name.startswith("voice") else model.encode_face(value)
        case.compare(log, name, found[name])
        if not any(key.startswith(f"{name}_layer") for key in case.arrays):
            continue
        branch = model.voice_subnet if name.startswith("voice") else model.face_subnet
        shapes = case.config.get(f"{name}_layer_shapes", {})
        for number, maps in enumerate(branch.forward_intermediates(value), 1):
            if str(number) in shapes:
                log.compare_equal(f"{name} shape of layer {number}", list(maps.shape), shapes[str(number)])
            if (key := f"{name}_layer{number}_stats") in case.arrays:
                case.compare(log, key, torch.stack([maps.mean(), maps.std(), maps.min(), maps.max()]))
    voices = [name for name in found if name.startswith("voice")]
    faces = [name for name in found if name.startswith("face")]
    if voices and faces:
        voice, face = found[voices[0]][:1], found[faces[0]][:1]
        if "similarity_loss" in case.arrays:
            case.compare(log, "similarity_loss", (1 - cosine_similarity(voice, face)).reshape(-1))
        pair = model(load_inputs(case)[voices[0]], load_inputs(case)[faces[0]])
        log.compare_close(
            "both branches at once", torch.cat(pair), torch.cat([found[voices[0]], found[faces[0]]]), 1e-5
        )


@torch.no_grad()
def fv_other_backbones(case: Case, log: ComparisonLog) -> None:
    """Other networks and lengths of the embedding: the array NAME_LENGTH belongs to the layout NAME."""
    fill = load_fill_rule(case.inputs.fill).fill_all
    seed = int(case.meta.get("fill_seed") or 0)
    for name, value in load_inputs(case).items():
        layout = case.meta["layout"][name]
        state = {key: torch.as_tensor(weight) for key, weight in fill(layout, seed).items()}
        arch, widths, blocks = infer_branch(state)
        for key in case.arrays:
            if key.startswith(f"{name}_") and key.rpartition("_")[2].isdigit():
                length = int(key.rpartition("_")[2])
                network = ResNet(arch, state["conv1.weight"].shape[1], length, widths, blocks)
                load_into(network, state)
                case.compare(log, key, network.eval()(value))
