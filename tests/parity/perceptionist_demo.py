"""Parity of perceptionist's demo: stored features to image, mesh and overlays."""

import re
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import torch
from parity.case import Array, Case, ComparisonLog
from parity.perceptionist_faces import load_sibling_face_model
from parity.tolerance_rules import ToleranceRule
from perceptionist.face_models.pose import PUBLISHED_Y_FLIP
from perceptionist.generator import Generator, resize_bilinear
from perceptionist.image_to_3d import ImageTo3D
from perceptionist.visualisation import images_to_uint8, overlay_mesh, pose_mesh
from perceptionist.voice_network import VoiceNetwork
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)
PREFIXES = dict(voice="e.", generator="g.", student="student.backbone.", expert="module.IGM.backbone.")


def demo_pipeline(case: Case, log: ComparisonLog) -> None:
    """The published demo, from stored features."""
    weights = case.filled_weights(int(case.config["seed"]) if "seed" in case.config else None)
    for key, factor in case.config.get("scale_after_fill", {}).items():
        weights[key] = weights[key] * factor
    voice, generator, student, expert = (
        _load_network(network, weights, PREFIXES[name])
        for name, network in (
            *(("voice", VoiceNetwork()), ("generator", Generator())),
            *(("student", ImageTo3D()), ("expert", ImageTo3D())),
        )
    )
    model = load_sibling_face_model(case)
    flip = re.search(r"y\s*->\s*(\d+(?:\.\d+)?)\s*-\s*y", str(case.meta.get("outputs", "")))
    with torch.no_grad():
        embedding = voice.encode(case.tensor("features").T[None])
        face = generator(embedding)
        large = resize_bilinear(face, expert.config.image_size)
        expert_parameters = expert(large).parameters
        frontal = model.frontal_vertices(student(large).parameters)
        placed, pose = pose_mesh(
            model, frontal, expert_parameters, float(flip[1]) if flip else PUBLISHED_Y_FLIP
        )
    ours = {
        "embedding": embedding[:, :, None, None],
        "face64": face,
        "pose": model.unwhiten(expert_parameters).pose,
        "R": pose.rotation,
        "offset": pose.translation,
        "mesh": frontal,
        "mesh_image_space": placed,
    }
    for name, value in ours.items():
        case.compare(log, name, value, default=number_rule(case))
    image = np.ascontiguousarray(images_to_uint8(large, "published")[0][..., ::-1])
    limit = float(case.meta["tolerance"].get("atol_image", 1))
    log.compare_close("image_bgr", image, case.arrays["image_bgr"], atol=limit)
    beyond = re.search(r"(\d+(?:\.\d+)?)\s*%", str(case.meta["tolerance"].get("note", "")))
    share = float(beyond[1]) / 100 if beyond else 0.0
    for name in [name for name in case.arrays if name.startswith("overlay")]:
        digits = re.search(r"alpha(\d)(\d*)", name)
        alpha = float(f"{digits[1]}.{digits[2] or 0}") if digits else 1.0
        rendered = overlay_mesh(image, placed[0], model, alpha, coverage="inclusive")
        _compare_bytes(log, name, rendered, case.arrays[name], limit, share)


def number_rule(case: Case) -> ToleranceRule:
    """The case's tolerance of numbers; that of images is stated in words."""
    return ToleranceRule(**case.tolerance())


def _compare_bytes(
    log: ComparisonLog, name: str, ours: Array, theirs: Array, limit: float, share: float
) -> None:
    """Compare bytes, of which a fraction may exceed the limit."""
    if ours.shape != theirs.shape:
        log.compare_equal(f"{name}: shape", ours.shape, theirs.shape)
        return
    far = np.abs(ours.astype(float) - theirs.astype(float)) > limit
    log.compare_limit(f"{name}: share of values off by more than {limit:g}", float(far.mean()), share)


def _load_network(network: Network, weights: Mapping[str, Tensor], prefix: str) -> Network:
    """A network with the filled weights below a prefix, in evaluation mode."""
    own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    known = network.state_dict().keys()
    network.load_state_dict({key: value for key, value in own.items() if key in known})
    return network.eval()
