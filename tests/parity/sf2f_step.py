"""Parity of one iteration of sf2f: terms, gradients, running statistics, weights after the step."""

from typing import Any

import numpy as np
from parity.case import Book, Case
from parity.rules import Rule, rule_of
from parity.sf2f_faces import block_pictures, facenet, first_rule
from parity.sf2f_networks import NOISE, kept, weights
from sf2f.discriminators import Discriminators
from sf2f.facenet_loss import FaceNetLoss
from sf2f.generator import EncoderDecoder, freeze_but_fuser
from sf2f.published import PublishedCheckpoint, config_of, discriminators_of
from sf2f.published_options import losses_of_options
from sf2f.training_step import Batch, Objective, iterate, optimisers_of
from torch import Tensor, nn
from voiceface.checkpoints.native import load_into

PREFIXES = {"image": "IM", "identity": "AC"}
SPREAD = 1.8  # real pictures of the cases are this times the hyperbolic tangent of block pictures


def train_step(case: Case, book: Book) -> None:
    """Everything that one iteration leaves behind, against what is stored."""
    config = case.config
    generator, discriminators = networks_of(case)
    optimisers = optimisers_of(generator, discriminators, float(config["lr"]))
    for optimiser in optimisers.all:
        for group in optimiser.param_groups:
            group["betas"] = tuple(config["betas"])
    objective = Objective(losses_of_options({"optim": config["optim"]}, case.name))
    if objective.losses.perceptual:
        network = facenet(_case_of_facenet(case))
        objective = Objective(objective.losses, FaceNetLoss(network, cosine_weight=objective.losses.cosine))
    stated = config["target"]
    real = SPREAD * block_pictures(int(stated["pcg"]), stated["shape"]).tanh()
    batch = Batch(case.tensor("in_mel"), real, case.tensor("in_label"))
    noise = case.tensor("in_noise").flatten(1) if "in_noise" in case.arrays else None
    outcome = iterate(generator, discriminators, optimisers, batch, objective, noise)

    book.equal("the iteration was skipped", outcome.skipped, False)
    terms = {**outcome.generator, "total_loss": outcome.loss}
    _table(case, book, "losses", terms, config["generator_losses_weighted"])
    _table(case, book, "losses", outcome.discriminators, config["discriminator_losses"])
    _table(case, book, "grad_norms", _gradients(generator), config["generator_grad_norms"])
    named = _named(discriminators)
    slopes = {f"{name}.{k}": v for name, each in named.items() for k, v in _gradients(each).items()}
    _table(case, book, "grad_norms", slopes, config["discriminator_grad_norms"])
    sums = {
        f"{name}.{key}": buffer.double().sum()
        for name, each in {"G": generator, **named}.items()
        for key, buffer in each.named_buffers()
        if name != "G" or not key.endswith("num_batches_tracked")
    }
    _table(case, book, "buffers", sums, config["buffers_after_sum"])
    judge = next(iter((*discriminators.image, *discriminators.identity)))
    ours = {"out_total": outcome.loss, "out_disc0_first_weight_after": next(judge.parameters()).detach()}
    ours |= {f"out_img{at}": picture for at, picture in enumerate(outcome.generated.pictures)}
    for name, theirs in case.arrays.items():
        if name.startswith("out_"):
            _array(case, book, name, kept(ours[name], theirs.shape), theirs)


def networks_of(case: Case) -> tuple[EncoderDecoder, Discriminators]:
    """Filled networks of the layout, in training mode; with windows of speakers only the fuser learns."""
    prefixes = {key.partition(".")[0] for key in case.meta["layout"]}
    states = {
        kind: [weights(case, f"{name}.") for name in sorted(prefixes) if name.startswith(short)]
        for kind, short in PREFIXES.items()
    }
    found = PublishedCheckpoint(weights(case, "G."), {**states, "condition": []}, source=case.name)
    sizes = config_of(found)
    if "in_noise" in case.arrays:
        encoder = sizes.encoder.model_copy(update={"noise": NOISE})
        sizes = sizes.model_copy(update={"encoder": encoder})
    generator = EncoderDecoder(sizes)
    load_into(generator, found.generator)
    if case.arrays["in_mel"].ndim == 4:
        freeze_but_fuser(generator)
    return generator.train(), discriminators_of(found)


def _case_of_facenet(case: Case) -> Case:
    """The case whose network the perceptual term uses."""
    beside = case.path.with_name("inception_resnet_v1.json")
    found = Case(beside, case.inputs) if beside.is_file() else case.beside("out_a_pooled", "out_resized")
    if found is None:
        raise FileNotFoundError(f"{case.name} needs the case inception_resnet_v1 beside it")
    return found


def _named(discriminators: Discriminators) -> dict[str, nn.Module]:
    return {
        f"{short}{at}": network
        for kind, short in PREFIXES.items()
        for at, network in enumerate(getattr(discriminators, kind))
    }


def _gradients(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.norm() for name, p in network.named_parameters() if p.grad is not None}


def _table(case: Case, book: Book, group: str, ours: dict[str, Tensor], theirs: dict[str, float]) -> None:
    """Numbers by name: the same names, and each within the group's tolerance."""
    book.equal(f"names of {group}", sorted(ours), sorted(theirs))
    rule = rule_of((case.meta.get("tolerance") or {}).get(group)) or Rule(rtol=1e-3)
    for name in ours.keys() & theirs.keys():
        book.within(f"{group}: {name}", ours[name], np.asarray(theirs[name]), rule)


def _array(case: Case, book: Book, name: str, ours: Tensor, theirs: np.ndarray[Any, Any]) -> None:
    """An array; where the rule has a least share of elements that must agree, that share."""
    table = case.meta.get("tolerance") or {}
    rule, share = first_rule(table, name), (table.get(name) or {}).get("min_fraction")
    if share is None:
        book.within(name, ours, theirs, rule)
        return
    off = np.abs(ours.numpy() - theirs) > rule.allowed(theirs)
    book.below(f"{name}: share off", float(off.mean()), 1 - float(share))
