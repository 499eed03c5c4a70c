"""Parity of sf2f's discriminators, in evaluation and training mode."""

import torch
from parity.case import Case, ComparisonLog
from parity.sf2f_faces import compare_all, generate_block_images
from parity.sf2f_networks import load_weights
from sf2f.discriminators import ConditionDiscriminator, Discriminators
from sf2f.published_options import discriminators_config_from_options
from torch import Tensor, nn
from voiceface.checkpoints.native import load_into


def disc_image(case: Case, log: ComparisonLog) -> None:
    """Patch logits."""
    _compare_outputs(case, log, "image")


def disc_identity(case: Case, log: ComparisonLog) -> None:
    """Logits of both heads, cross entropy of identities."""
    _compare_outputs(case, log, "identity")


@torch.no_grad()
def optional_disc_conditional(case: Case, log: ComparisonLog) -> None:
    """Patch logits given a vector."""
    config, condition = case.config, case.tensor("in_cond").flatten(1)
    generic = {key: config[key] for key in ("normalization", "activation", "padding")}
    tree = {"discriminator": {"generic": generic, "condition": {"arch": config["arch"]}}}
    backbone = discriminators_config_from_options(tree, case.name).condition[-1]
    network = ConditionDiscriminator(backbone, int(config["cond_dim"])).eval()
    load_into(network, load_weights(case))
    compare_all(case, log, {"out_score": network(case.tensor("in_img"), condition)})


@torch.no_grad()
def _compare_outputs(case: Case, log: ComparisonLog, kind: str) -> None:
    """Compare the last discriminator of a kind on the images of the case."""
    config = case.config
    found = discriminators_config_from_options({"discriminator": config["arch"]}, case.name)
    network: nn.Module = getattr(Discriminators(found, int(config["num_id"] or 1)), kind)[-1]
    load_into(network, load_weights(case))
    images = _load_images(case)
    ours: dict[str, object] = {}
    for mode in ("eval", "train"):
        logits = network.train(mode == "train")(images)
        if isinstance(logits, Tensor):
            ours[f"out_{mode}_score"] = logits
        else:
            labels = case.tensor("in_label")
            ours[f"out_{mode}_real"], ours[f"out_{mode}_idlogits"] = logits
            ours[f"out_{mode}_ce"] = nn.functional.cross_entropy(logits.identity, labels)
    compare_all(case, log, ours)


def _load_images(case: Case) -> Tensor:
    """Stored images, or those generated from the stored seed."""
    if "in_img" in case.arrays:
        return case.tensor("in_img")
    side = int(case.config["image_size"])
    return generate_block_images(int(case.arrays["pcg_seed"]), [int(case.config["batch"]), 3, side, side])
