"""Parity of one training step of sf2f: terms, gradients, running statistics, weights after the step."""

from typing import Any

import numpy as np
from parity.case import Case, ComparisonLog
from parity.sf2f_faces import find_first_rule, generate_block_images, load_facenet
from parity.sf2f_networks import NOISE, load_weights, subsample_to_shape
from parity.tolerance_rules import ToleranceRule, parse_rule
from sf2f import training_step
from sf2f.config import OptimiserConfig
from sf2f.discriminators import Discriminators
from sf2f.facenet_loss import FaceNetLoss
from sf2f.generator import EncoderDecoder, freeze_except_fuser
from sf2f.published import PublishedCheckpoint, build_discriminators, infer_generator_config
from sf2f.published_options import loss_config_from_options
from sf2f.training_step import Batch, Objective, build_optimisers
from torch import Tensor, nn
from voiceface.checkpoints.native import load_into

PREFIXES = {"image": "IM", "identity": "AC"}
TARGET_SCALE = 1.8  # real images of the cases are this times the hyperbolic tangent of block images


def train_step(case: Case, log: ComparisonLog) -> None:
    """Compare everything that one step changes with the stored values."""
    config = case.config
    generator, discriminators = build_networks(case)
    optimisers = build_optimisers(generator, discriminators, OptimiserConfig(lr=float(config["lr"])))
    for optimiser in optimisers.all:
        for group in optimiser.param_groups:
            group["betas"] = tuple(config["betas"])
    objective = Objective(loss_config_from_options({"optim": config["optim"]}, case.name))
    if objective.loss_config.perceptual:
        network = load_facenet(_find_facenet_case(case))
        objective = Objective(
            objective.loss_config, FaceNetLoss(network, cosine_weight=objective.loss_config.cosine)
        )
    stated = config["target"]
    real = TARGET_SCALE * generate_block_images(int(stated["pcg"]), stated["shape"]).tanh()
    batch = Batch(case.tensor("in_mel"), real, case.tensor("in_label"))
    noise = case.tensor("in_noise").flatten(1) if "in_noise" in case.arrays else None
    outcome = training_step.train_step(generator, discriminators, optimisers, batch, objective, noise)

    log.compare_equal("the iteration was skipped", outcome.skipped, False)
    terms = {**outcome.generator_losses, "total_loss": outcome.loss}
    _compare_table(case, log, "losses", terms, config["generator_losses_weighted"])
    _compare_table(case, log, "losses", outcome.discriminator_losses, config["discriminator_losses"])
    _compare_table(case, log, "grad_norms", _gradient_norms(generator), config["generator_grad_norms"])
    named = _named_discriminators(discriminators)
    slopes = {f"{name}.{k}": v for name, each in named.items() for k, v in _gradient_norms(each).items()}
    _compare_table(case, log, "grad_norms", slopes, config["discriminator_grad_norms"])
    sums = {
        f"{name}.{key}": buffer.double().sum()
        for name, each in {"G": generator, **named}.items()
        for key, buffer in each.named_buffers()
        if name != "G" or not key.endswith("num_batches_tracked")
    }
    _compare_table(case, log, "buffers", sums, config["buffers_after_sum"])
    judge = next(iter((*discriminators.image, *discriminators.identity)))
    ours = {"out_total": outcome.loss, "out_disc0_first_weight_after": next(judge.parameters()).detach()}
    ours |= {f"out_img{at}": image for at, image in enumerate(outcome.generated.images)}
    for name, theirs in case.arrays.items():
        if name.startswith("out_"):
            _compare_array(case, log, name, subsample_to_shape(ours[name], theirs.shape), theirs)


def build_networks(case: Case) -> tuple[EncoderDecoder, Discriminators]:
    """Filled networks in training mode; with windows of speakers only the fuser is trainable."""
    prefixes = {key.partition(".")[0] for key in case.meta["layout"]}
    states = {
        kind: [load_weights(case, f"{name}.") for name in sorted(prefixes) if name.startswith(short)]
        for kind, short in PREFIXES.items()
    }
    found = PublishedCheckpoint(load_weights(case, "G."), {**states, "condition": []}, source=case.name)
    sizes = infer_generator_config(found)
    if "in_noise" in case.arrays:
        encoder = sizes.encoder.model_copy(update={"noise_std": NOISE})
        sizes = sizes.model_copy(update={"encoder": encoder})
    generator = EncoderDecoder(sizes)
    load_into(generator, found.generator)
    if case.arrays["in_mel"].ndim == 4:
        freeze_except_fuser(generator)
    return generator.train(), build_discriminators(found)


def _find_facenet_case(case: Case) -> Case:
    """The case whose network the perceptual term uses."""
    beside = case.path.with_name("inception_resnet_v1.json")
    found = (
        Case(beside, case.inputs) if beside.is_file() else case.find_sibling("out_a_pooled", "out_resized")
    )
    if found is None:
        raise FileNotFoundError(f"{case.name} needs the case inception_resnet_v1 beside it")
    return found


def _named_discriminators(discriminators: Discriminators) -> dict[str, nn.Module]:
    return {
        f"{short}{at}": network
        for kind, short in PREFIXES.items()
        for at, network in enumerate(getattr(discriminators, kind))
    }


def _gradient_norms(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.norm() for name, p in network.named_parameters() if p.grad is not None}


def _compare_table(
    case: Case, log: ComparisonLog, group: str, ours: dict[str, Tensor], theirs: dict[str, float]
) -> None:
    """Compare named numbers: equal names, and values within the tolerance of the group."""
    log.compare_equal(f"names of {group}", sorted(ours), sorted(theirs))
    rule = parse_rule((case.meta.get("tolerance") or {}).get(group)) or ToleranceRule(rtol=1e-3)
    for name in ours.keys() & theirs.keys():
        log.compare_by_rule(f"{group}: {name}", ours[name], np.asarray(theirs[name]), rule)


def _compare_array(
    case: Case, log: ComparisonLog, name: str, ours: Tensor, theirs: np.ndarray[Any, Any]
) -> None:
    """Compare an array; if the rule has `min_fraction`, only that fraction must agree."""
    table = case.meta.get("tolerance") or {}
    rule, share = find_first_rule(table, name), (table.get(name) or {}).get("min_fraction")
    if share is None:
        log.compare_by_rule(name, ours, theirs, rule)
        return
    off = np.abs(ours.numpy() - theirs) > rule.tolerances(theirs)
    log.compare_limit(f"{name}: share off", float(off.mean()), 1 - float(share))
