"""Parity of sf2f's faces: picture operations, FaceNet, its loss, the metrics of generated faces."""

import re

import numpy as np
import torch
from parity.activations import taken
from parity.case import Book, Case
from parity.rules import Rule
from sf2f.facenet_loss import FaceNetLoss, facenet_input
from sf2f.image_transforms import Box, crop_face, face_to_network, to_bytes
from sf2f.metrics import vggface_input
from torch import Tensor
from voiceface.metrics.frechet import FeatureStatistics, frechet_distance, frechet_of
from voiceface.metrics.generation import feature_distances, galleries_of, identity_retrieval
from voiceface.metrics.inception_score import class_score, log_of_probabilities
from voiceface.models.facenet import InceptionResNet, inception_resnet_of
from voiceface.models.fuse_batchnorm import folded
from voiceface.models.lpips import LPIPS
from voiceface.models.vggface2_resnet import caffe_resnet_of

CLOSE = Rule(atol=1e-4, rtol=1e-3)


def weights(case: Case) -> dict[str, Tensor]:
    """Filled weights by key, multiplied by the case's gains in single precision."""
    gains = case.meta.get("gain") or {}
    state = case.filled(int(case.config.get("seed", 0)))
    return {
        key: value * gains[key] if key in gains and value.is_floating_point() else value
        for key, value in state.items()
    }


def facenet(case: Case) -> InceptionResNet:
    """The filled network, in evaluation."""
    state = weights(case)
    network = inception_resnet_of(state).eval()
    network.load_state_dict(state)
    network.side = int(case.config.get("auto_input_resize", network.side or 0)) or None
    return network


def block_pictures(seed: int, shape: list[int]) -> Tensor:
    """The pictures that cases do not store: coarse noise in blocks of 8 pixels, and 0.3 of fine noise."""
    rng = np.random.Generator(np.random.PCG64(seed))
    n, channels, height, width = shape
    coarse = rng.standard_normal((n, channels, -(-height // 8), -(-width // 8)), dtype=np.float32)
    fine = rng.standard_normal(shape, dtype=np.float32)
    blocks = coarse.repeat(8, axis=2).repeat(8, axis=3)[:, :, :height, :width]
    return torch.as_tensor(blocks + np.float32(0.3) * fine)


@torch.no_grad()
def inception_resnet_v1(case: Case, book: Book) -> None:
    """Embeddings, pooled features, hidden states, and the resize at the entrance."""
    network = facenet(case)
    given = case.tensor("in_a")
    with taken(network.conv2d_1a) as seen:
        found = network.found(given)
    every = case.stride(r"every (\d+)th pixel", 10)
    ours = {
        "out_a": found.embedding,
        "out_a_pooled": network(given, pooled=True),
        "out_resized": seen[0][:, :, ::every, ::every],
    }
    if "in_b_pcg" in case.arrays:
        ours["out_b"] = network(block_pictures(int(case.arrays["in_b_pcg"]), case.config["b_shape"]))
    stated = re.search(r"subsampled \[([^\]]*)\]", str(case.meta.get("outputs", "")))
    steps = [int(word) for word in re.findall(r"::(\d+)", stated[1])] if stated else [16, 2, 2]
    part = tuple(slice(None, None, step) for step in steps)
    for number, state in enumerate([*found.maps, found.embedding]):
        ours[f"out_hidden{number}"] = state[(slice(None), *part)] if state.ndim == 4 else state
        ours[f"out_hidden{number}_stats"] = statistics(state)
    judge_all(case, book, ours)


def facenet_loss(case: Case, book: Book) -> None:
    """The loss, its terms, its cosine term, and that its gradient reaches the made pictures alone."""
    made, real = case.tensor("in_x").requires_grad_(), case.tensor("in_y").requires_grad_()
    network = facenet(case)
    loss = FaceNetLoss(network, case.config["weights"]).train()
    states = loss.states_of_input(made)
    with torch.no_grad():
        theirs = loss.states_of_input(real)
    ours = {"out_loss": loss.of_states(states, theirs), "out_components": loss.terms(states, theirs)}
    for name in case.arrays:
        if found := re.fullmatch(r"out_loss_(cos.*)", name):
            weight = case.config[f"cos_loss_weight_for_{found[1]}"]
            with_cosine = FaceNetLoss(network, case.config["weights"], cosine_weight=weight)
            ours[name] = with_cosine.of_states(states, theirs)
    judge_all(case, book, ours)
    ours["out_loss"].backward()
    gradient = made.grad is not None and bool(made.grad.abs().sum() > 0) and real.grad is None
    book.equal("gradient reaches the made pictures alone", gradient, True)


@torch.no_grad()
def image_ops(case: Case, book: Book) -> None:
    """Resize, normalise, bytes, FaceNet's input and its crop."""
    config = case.config
    size = tuple(config.get("image_size", (64, 64)))
    box: Box = tuple(config["vgg_box"])
    picture = case.arrays["in_image"]
    generated = case.tensor("in_generated")
    transformed = face_to_network(picture, size)
    ours = {
        "out_transform": transformed,
        "out_transform_standard_stats": statistics(face_to_network(picture, size, "standard")),
        "out_uint8": to_bytes(generated),
        "out_facenet_input_stats": statistics(facenet_input(generated, box=None)),
        "out_cropped": facenet_input(generated, box=box),
        "out_crop_shape_128": list(crop_face(torch.zeros(1, 3, 128, 128), box).shape),
        "out_roundtrip_uint8": to_bytes(transformed)[None],
    }
    judge_all(case, book, ours)


@torch.no_grad()
def vggface2_resnet50(case: Case, book: Book) -> None:
    """Logits, pooled features and probabilities of the face classifier, as it is and folded."""
    state = weights(case)
    network = caffe_resnet_of(state).eval()
    network.load_state_dict(state)
    pictures = 60 * block_pictures(int(case.arrays["in_pcg"]), case.config["x_shape"])
    every = case.stride(r"every (\d+)th of", 8)
    for name, reader in (("", network), ("folded: ", folded(network))):
        found = reader.found(pictures)
        ours: dict[str, object] = {
            "out_logits": found.logits[:, ::every],
            "out_logits_stats": statistics(found.logits),
            "out_pool": found.pooled,
            "out_softmax_top5": found.logits[0].softmax(0).topk(5).values.flip(0),
        }
        judge_all(case, book, ours, name)


def retrieval(case: Case, book: Book) -> None:
    """Recall by both similarities in all galleries, and distances of matched and unmatched pairs."""
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
    judge_all(case, book, ours)
    ends = [end for _, end in config["galleries"].get("three", [[0, 100], [100, 200], [200, 300]])]
    same = [[rows.start, rows.stop] for rows in galleries_of(len(predicted), ends)]
    book.equal("galleries by their ends", same, config["galleries"].get("three", same))


def vggface_score(case: Case, book: Book) -> None:
    """The score of stored logits, in order and shuffled, and what the classifier is given."""
    config = case.config
    answers = case.tensor("in_logits", torch.float64).log_softmax(1)
    picture = case.tensor("in_image0").permute(2, 0, 1)[None]
    every = case.stride(r"every (\d+)th pixel", 7)
    given = vggface_input(picture, mean=config["mean_rgb"], side=config["input_size"])
    ours: dict[str, object] = {
        "out_score_noshuffle": list(class_score(answers, config["splits"])[:2]),
        "out_score_perm": list(class_score(answers, config["splits"], order=case.tensor("in_perm"))[:2]),
        "out_net_input0": given[:, :, ::every, ::every],
    }
    judge_all(case, book, ours)


def inception_score_fid(case: Case, book: Book) -> None:
    """Both published scores from probabilities, and the Frechet distance by both of our ways."""
    answers = log_of_probabilities(case.tensor("in_probs"))
    real, made = case.tensor("in_act_real"), case.tensor("in_act_fake")
    ours: dict[str, object] = {"out_fid": frechet_distance(real, made)}
    for name in case.arrays:
        if found := re.fullmatch(r"out_is_(test|validation)_(\d+)splits", name):
            remainder = "spread" if found[1] == "test" else "drop"
            ours[name] = list(class_score(answers, int(found[2]), remainder)[:2])
    judge_all(case, book, ours)
    blocks = [FeatureStatistics(), FeatureStatistics()]
    for statistics_of, rows in zip(blocks, (real, made)):
        for block in rows.split(7):
            statistics_of.update(block)
    first, second = (each.gaussian() for each in blocks)
    judge_all(case, book, ours | {"out_fid": frechet_of(first, second)}, "by blocks: ")


@torch.no_grad()
def optional_diversity_lpips(case: Case, book: Book) -> None:
    """LPIPS of two pictures, and of one to itself."""
    config = case.config
    state = {k: v.abs() if k.startswith("lin") else v for k, v in weights(case).items()}
    network = LPIPS(config["net"], scaled=config["version"] != "0.0")
    for word in ("shift", "scale"):
        state[f"scaling_layer.{word}"] = torch.tensor(config[word])[None, :, None, None]
    network.load_state_dict(state)
    a, b = (case.tensor(key).permute(2, 0, 1)[None].float() / 127.5 - 1 for key in ("in_a", "in_b"))
    ours: dict[str, object] = {"out_dist": network(a, b), "out_self": network(a, a)}
    judge_all(case, book, ours)


def judge_all(case: Case, book: Book, ours: dict[str, object], prefix: str = "") -> None:
    """Compare every stored output by the first rule of the case that fits its name; none may be left out."""
    table = case.meta.get("tolerance") or {}
    for name, theirs in case.arrays.items():
        if not name.startswith("out_"):
            continue
        rule = first_rule(table, name)
        if name not in ours:
            book.equal(f"{name} is compared", "not compared", "compared")
        else:
            value = ours[name]
            assert isinstance(value, Tensor | list | np.ndarray | float)
            book.within(prefix + name, value, theirs, rule)


def first_rule(table: dict[str, object], name: str) -> Rule:
    """The first entry of a tolerance table that fits a name."""
    from fnmatch import fnmatchcase

    from parity.rules import TERMS, rule_of

    if table.keys() <= TERMS.keys():
        return rule_of(table) or CLOSE
    return next((rule_of(rule) or CLOSE for key, rule in table.items() if fnmatchcase(name, key)), CLOSE)


def statistics(values: Tensor) -> Tensor:
    """Mean, population standard deviation, minimum, maximum."""
    x = values.double()
    return torch.stack([x.mean(), x.std(correction=0), x.min(), x.max()])
