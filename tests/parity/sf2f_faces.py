"""Parity of image transforms, FaceNet, its loss, and the metrics of generated faces."""

import re

import numpy as np
import torch
from parity.activations import record_inputs
from parity.case import Case, ComparisonLog
from parity.tolerance_rules import ToleranceRule
from sf2f.facenet_loss import FaceNetLoss, preprocess_for_facenet
from sf2f.image_transforms import Box, crop_face, preprocess_face, to_uint8
from sf2f.metrics import preprocess_for_vggface
from torch import Tensor
from voiceface.metrics.frechet import FeatureStatistics, frechet_distance, frechet_from_statistics
from voiceface.metrics.generation import evaluation_galleries, feature_distances, identity_retrieval
from voiceface.metrics.inception_score import inception_score_from_log_probs, to_log_probabilities
from voiceface.models.facenet import InceptionResNet, build_inception_resnet
from voiceface.models.fuse_batchnorm import fuse_batchnorm
from voiceface.models.lpips import LPIPS
from voiceface.models.vggface2_resnet import build_caffe_resnet

CLOSE = ToleranceRule(atol=1e-4, rtol=1e-3)


def load_weights(case: Case) -> dict[str, Tensor]:
    """Filled weights by key, multiplied by the case's gains in single precision."""
    gains = case.meta.get("gain") or {}
    state = case.filled_weights(int(case.config.get("seed", 0)))
    return {
        key: value * gains[key] if key in gains and value.is_floating_point() else value
        for key, value in state.items()
    }


def load_facenet(case: Case) -> InceptionResNet:
    """The filled network, in evaluation mode."""
    state = load_weights(case)
    network = build_inception_resnet(state).eval()
    network.load_state_dict(state)
    network.image_size = int(case.config.get("auto_input_resize", network.image_size or 0)) or None
    return network


def generate_block_images(seed: int, shape: list[int]) -> Tensor:
    """Images that cases do not store: coarse noise in blocks of 8 pixels plus 0.3 of fine noise."""
    rng = np.random.Generator(np.random.PCG64(seed))
    n, channels, height, width = shape
    coarse = rng.standard_normal((n, channels, -(-height // 8), -(-width // 8)), dtype=np.float32)
    fine = rng.standard_normal(shape, dtype=np.float32)
    blocks = coarse.repeat(8, axis=2).repeat(8, axis=3)[:, :, :height, :width]
    return torch.as_tensor(blocks + np.float32(0.3) * fine)


@torch.no_grad()
def inception_resnet_v1(case: Case, log: ComparisonLog) -> None:
    """Embeddings, pooled features, hidden states, and the input resize."""
    network = load_facenet(case)
    given = case.tensor("in_a")
    with record_inputs(network.conv2d_1a) as seen:
        found = network.forward_features(given)
    every = case.stated_number(r"every (\d+)th pixel", 10)
    ours = {
        "out_a": found.embedding,
        "out_a_pooled": network(given, pooled=True),
        "out_resized": seen[0][:, :, ::every, ::every],
    }
    if "in_b_pcg" in case.arrays:
        ours["out_b"] = network(generate_block_images(int(case.arrays["in_b_pcg"]), case.config["b_shape"]))
    stated = re.search(r"subsampled \[([^\]]*)\]", str(case.meta.get("outputs", "")))
    steps = [int(word) for word in re.findall(r"::(\d+)", stated[1])] if stated else [16, 2, 2]
    part = tuple(slice(None, None, step) for step in steps)
    for number, state in enumerate([*found.maps, found.embedding]):
        ours[f"out_hidden{number}"] = state[(slice(None), *part)] if state.ndim == 4 else state
        ours[f"out_hidden{number}_stats"] = summary_statistics(state)
    compare_all(case, log, ours)


def facenet_loss(case: Case, log: ComparisonLog) -> None:
    """The loss, its terms and cosine term; its gradient reaches generated images only."""
    made, real = case.tensor("in_x").requires_grad_(), case.tensor("in_y").requires_grad_()
    network = load_facenet(case)
    loss = FaceNetLoss(network, case.config["weights"]).train()
    states = loss.hidden_states_from_input(made)
    with torch.no_grad():
        theirs = loss.hidden_states_from_input(real)
    ours = {
        "out_loss": loss.loss_from_states(states, theirs),
        "out_components": loss.layer_distances(states, theirs),
    }
    for name in case.arrays:
        if found := re.fullmatch(r"out_loss_(cos.*)", name):
            weight = case.config[f"cos_loss_weight_for_{found[1]}"]
            with_cosine = FaceNetLoss(network, case.config["weights"], cosine_weight=weight)
            ours[name] = with_cosine.loss_from_states(states, theirs)
    compare_all(case, log, ours)
    ours["out_loss"].backward()
    gradient = made.grad is not None and bool(made.grad.abs().sum() > 0) and real.grad is None
    log.compare_equal("gradient reaches the generated images alone", gradient, True)


@torch.no_grad()
def image_ops(case: Case, log: ComparisonLog) -> None:
    """Resize, normalisation, bytes, input of FaceNet and its crop."""
    config = case.config
    size = tuple(config.get("image_size", (64, 64)))
    box: Box = tuple(config["vgg_box"])
    image = case.arrays["in_image"]
    generated = case.tensor("in_generated")
    transformed = preprocess_face(image, size)
    ours = {
        "out_transform": transformed,
        "out_transform_standard_stats": summary_statistics(preprocess_face(image, size, "standard")),
        "out_uint8": to_uint8(generated),
        "out_facenet_input_stats": summary_statistics(preprocess_for_facenet(generated, face_box=None)),
        "out_cropped": preprocess_for_facenet(generated, face_box=box),
        "out_crop_shape_128": list(crop_face(torch.zeros(1, 3, 128, 128), box).shape),
        "out_roundtrip_uint8": to_uint8(transformed)[None],
    }
    compare_all(case, log, ours)


@torch.no_grad()
def vggface2_resnet50(case: Case, log: ComparisonLog) -> None:
    """Logits, pooled features and probabilities of the face classifier, plain and with fused batch norms."""
    state = load_weights(case)
    network = build_caffe_resnet(state).eval()
    network.load_state_dict(state)
    images = 60 * generate_block_images(int(case.arrays["in_pcg"]), case.config["x_shape"])
    every = case.stated_number(r"every (\d+)th of", 8)
    for name, reader in (("", network), ("folded: ", fuse_batchnorm(network))):
        found = reader.forward_features(images)
        ours: dict[str, object] = {
            "out_logits": found.logits[:, ::every],
            "out_logits_stats": summary_statistics(found.logits),
            "out_pool": found.pooled,
            "out_softmax_top5": found.logits[0].softmax(0).topk(5).values.flip(0),
        }
        compare_all(case, log, ours, name)


def retrieval(case: Case, log: ComparisonLog) -> None:
    """Recall by both similarities in all galleries, and distances of matching and other pairs."""
    config = case.config
    predicted, reference = case.tensor("in_pred"), case.tensor("in_dataset")
    ours: dict[str, object] = {}
    for tag, ends in config["galleries"].items():
        rows = [range(begin, end) for begin, end in ends]
        for short, similarity in (("cos", "cosine"), ("l1", "l1")):
            cutoffs = config[f"{short}_recall_k"]
            found = identity_retrieval(predicted, reference, similarity, cutoffs, rows)
            ours[f"out_{tag}_{short}_recall"] = [found.recall[k] for k in cutoffs]
    ours["out_dist_l2_l1_cos_ih"] = list(feature_distances(predicted, reference))
    compare_all(case, log, ours)
    ends = [end for _, end in config["galleries"].get("three", [[0, 100], [100, 200], [200, 300]])]
    same = [[rows.start, rows.stop] for rows in evaluation_galleries(len(predicted), ends)]
    log.compare_equal("galleries by their ends", same, config["galleries"].get("three", same))


def vggface_score(case: Case, log: ComparisonLog) -> None:
    """Score of stored logits, in order and shuffled, and the input of the classifier."""
    config = case.config
    answers = case.tensor("in_logits", torch.float64).log_softmax(1)
    image = case.tensor("in_image0").permute(2, 0, 1)[None]
    every = case.stated_number(r"every (\d+)th pixel", 7)
    given = preprocess_for_vggface(image, mean=config["mean_rgb"], size=config["input_size"])
    ours: dict[str, object] = {
        "out_score_noshuffle": list(inception_score_from_log_probs(answers, config["splits"])[:2]),
        "out_score_perm": list(
            inception_score_from_log_probs(answers, config["splits"], order=case.tensor("in_perm"))[:2]
        ),
        "out_net_input0": given[:, :, ::every, ::every],
    }
    compare_all(case, log, ours)


def inception_score_fid(case: Case, log: ComparisonLog) -> None:
    """Both published scores from probabilities, and the Frechet distance by both implementations."""
    answers = to_log_probabilities(case.tensor("in_probs"))
    real, made = case.tensor("in_act_real"), case.tensor("in_act_fake")
    ours: dict[str, object] = {"out_fid": frechet_distance(real, made)}
    for name in case.arrays:
        if found := re.fullmatch(r"out_is_(test|validation)_(\d+)splits", name):
            remainder = "spread" if found[1] == "test" else "drop"
            ours[name] = list(inception_score_from_log_probs(answers, int(found[2]), remainder)[:2])
    compare_all(case, log, ours)
    blocks = [FeatureStatistics(), FeatureStatistics()]
    for statistics_of, rows in zip(blocks, (real, made)):
        for block in rows.split(7):
            statistics_of.update(block)
    first, second = (each.gaussian() for each in blocks)
    compare_all(case, log, ours | {"out_fid": frechet_from_statistics(first, second)}, "by blocks: ")


@torch.no_grad()
def optional_diversity_lpips(case: Case, log: ComparisonLog) -> None:
    """LPIPS of two images, and of an image with itself."""
    config = case.config
    state = {k: v.abs() if k.startswith("lin") else v for k, v in load_weights(case).items()}
    network = LPIPS(config["net"], scaled=config["version"] != "0.0")
    for word in ("shift", "scale"):
        state[f"scaling_layer.{word}"] = torch.tensor(config[word])[None, :, None, None]
    network.load_state_dict(state)
    a, b = (case.tensor(key).permute(2, 0, 1)[None].float() / 127.5 - 1 for key in ("in_a", "in_b"))
    ours: dict[str, object] = {"out_dist": network(a, b), "out_self": network(a, a)}
    compare_all(case, log, ours)


def compare_all(case: Case, log: ComparisonLog, ours: dict[str, object], prefix: str = "") -> None:
    """Compare every stored output by the first matching tolerance rule of the case."""
    table = case.meta.get("tolerance") or {}
    for name, theirs in case.arrays.items():
        if not name.startswith("out_"):
            continue
        rule = find_first_rule(table, name)
        if name not in ours:
            log.compare_equal(f"{name} is compared", "not compared", "compared")
        else:
            value = ours[name]
            assert isinstance(value, Tensor | list | np.ndarray | float)
            log.compare_by_rule(prefix + name, value, theirs, rule)


def find_first_rule(table: dict[str, object], name: str) -> ToleranceRule:
    """First entry of a tolerance table that matches a name."""
    from fnmatch import fnmatchcase

    from parity.tolerance_rules import TERMS, parse_rule

    if table.keys() <= TERMS.keys():
        return parse_rule(table) or CLOSE
    return next((parse_rule(rule) or CLOSE for key, rule in table.items() if fnmatchcase(name, key)), CLOSE)


def summary_statistics(values: Tensor) -> Tensor:
    """Mean, population standard deviation, minimum, maximum."""
    x = values.double()
    return torch.stack([x.mean(), x.std(correction=0), x.min(), x.max()])
