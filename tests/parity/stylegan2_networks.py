"""Parity of StyleGAN2's networks, losses, augmentation, factorisation and Fréchet distance."""

import re

import torch
from parity.case import Case, ComparisonLog
from parity.tolerance_rules import ToleranceRule
from parity.voicestyle_inputs import generate_array, load_input, load_weights
from torch import Tensor
from voiceface.metrics.frechet import frechet_distance
from voicestyle.stylegan2 import checkpoints as readers
from voicestyle.stylegan2 import losses
from voicestyle.stylegan2.augment import SYM6, AdaptiveAugment, apply_colours, warp
from voicestyle.stylegan2.config import StyleGAN2Config
from voicestyle.stylegan2.factorise import factorise
from voicestyle.stylegan2.generator import Generator
from voicestyle.stylegan2.training import ema_decay

LOOSE = ToleranceRule(atol=1e-3, rtol=2e-3)


@torch.no_grad()
def generator(case: Case, log: ComparisonLog) -> None:
    """Check latents and images of every stored call."""
    config, network = case.config, readers.build_generator(load_weights(case))
    stored = case.array_names
    _compare_sizes(log, network, config)
    z = load_input(case, "z1" if "z1" in case.meta["inputs"] else "z")
    second = load_input(case, "z2") if "z2" in case.meta["inputs"] else None
    ours: dict[str, Tensor] = {"w": network.mapping(z)}
    if stored & {"img", "img_stride8", "img_stats", "std"}:
        ours["img"] = network(z, randomize_noise=False)[0]
        ours["std"] = summary_statistics(ours["img"])
    if "mix" in stored and second is not None:
        at = int(config["inject_index"])
        ours["mix"] = network([z, second], inject_index=at, randomize_noise=False)[0]
    if "trunc" in stored:
        centre = load_input(case, "truncation_latent")
        psi = float(config["truncation"])
        ours["trunc"] = network(z, truncation=psi, truncation_latent=centre, randomize_noise=False)[0]
    if "img_wplus" in stored:
        codes = load_input(case, "wplus")
        ours["img_wplus"] = network(codes, input_is_latent=True, randomize_noise=False)[0]
    if "img_zero_noise" in stored:
        zeros = [torch.zeros_like(noise) for noise in network.stored_noise()]
        ours["img_zero_noise"] = network(z, noise=zeros)[0]
    if "noise_i" in case.meta["inputs"]:
        ours["img_noise"] = network(z, noise=load_noise_maps(case, network))[0]
    for name in sorted(stored):
        whole = name.removesuffix("_stats").removesuffix("_corner")
        whole = re.sub(r"_stride\d+$", "", whole)
        if name in ours:
            case.compare(log, name, ours[name], default=LOOSE)
        elif whole in ours:
            case.compare(log, name, _stored_part(name, ours[whole], case), default=LOOSE)


def generator_grad(case: Case, log: ComparisonLog) -> None:
    """Check the gradient of a weighted mean of the image with respect to the latent."""
    network = readers.build_generator(load_weights(case)).requires_grad_(False)
    w, c = load_input(case, "w").requires_grad_(), load_input(case, "c")
    picture, _ = network(w, input_is_latent=True, randomize_noise=False)
    (gradient,) = torch.autograd.grad((picture * c).mean(), w)
    case.compare(log, "img", picture, default=LOOSE)
    case.compare(log, "grad_w", gradient, default=LOOSE)


@torch.no_grad()
def discriminator(case: Case, log: ComparisonLog) -> None:
    """Check scores, and features at 4 pixels."""
    network = readers.build_discriminator(
        load_weights(case),
        config=readers.infer_discriminator_config(load_weights(case)).model_copy(
            update={"stddev_group": int(case.config.get("stddev_group", 4))}
        ),
    )
    if "parameters" in case.config:
        count = sum(value.numel() for value in network.parameters())
        log.compare_equal("parameters", count, int(case.config["parameters"]))
    x = load_input(case, "x")
    trunk = network.forward_features(x)
    case.compare(log, "score", network(x), default=LOOSE)
    case.compare(log, "trunk_stats", summary_statistics(trunk), default=LOOSE)
    if "trunk_sample" in case.arrays:
        part = tuple(slice(side) for side in case.arrays["trunk_sample"].shape)
        case.compare(log, "trunk_sample", trunk[part], default=LOOSE)


def gan_losses(case: Case, log: ComparisonLog) -> None:
    """Check losses of stored scores, and R1 and path length of networks with filled weights."""
    real, fake = case.tensor("real_pred"), case.tensor("fake_pred")
    case.compare(log, "d_logistic", losses.discriminator_loss(real, fake), default=LOOSE)
    case.compare(log, "g_nonsat", losses.generator_loss(fake), default=LOOSE)
    names = case.meta["layout"]
    critic = readers.build_discriminator(
        load_weights(case, next(n for n in names if n.startswith("discriminator")))
    )
    x = load_input(case, "x").requires_grad_()
    scores = critic(x)
    case.compare(log, "r1_scores", scores, default=LOOSE)
    case.compare(log, "r1", losses.r1_penalty(scores, x), default=LOOSE)
    network = readers.build_generator(load_weights(case, next(n for n in names if n.startswith("generator"))))
    network.requires_grad_(True)
    picture, codes = network(load_input(case, "z"), return_latents=True, randomize_noise=False)
    assert codes is not None
    lengths = losses.path_lengths(picture, codes, load_input(case, "path_noise"))
    before = torch.tensor(float(case.config["mean_path_length_before"]))
    penalty, mean = losses.path_length_penalty(lengths, before, float(case.config["decay"]))
    ours = {"path_lengths": lengths, "path_mean": mean, "path_penalty": penalty}
    ours["path_img_stats"] = summary_statistics(picture)
    for name, value in ours.items():
        case.compare(log, name, value, default=LOOSE)


def load_noise_maps(case: Case, network: Generator) -> list[Tensor]:
    """Generate the noise maps of a case: one rule for all, the seed of map i is stated as `first+i`."""
    stated = case.meta["inputs"]["noise_i"]
    first = int(re.match(r"\d+", str(stated["seed"]))[0])  # type: ignore[index]
    return [
        generate_array({"rule": stated["rule"], "shape": tuple(noise.shape)}, first + number)
        for number, noise in enumerate(network.stored_noise())
    ]


def summary_statistics(values: Tensor) -> Tensor:
    """Mean, unbiased standard deviation, minimum, maximum."""
    x = values.detach().double()
    return torch.stack([x.mean(), x.std(), x.min(), x.max()])


def _stored_part(name: str, picture: Tensor, case: Case) -> Tensor:
    """Return the stored part of an image: statistics, a corner, or strided rows and columns."""
    if name.endswith("_stats"):
        return summary_statistics(picture)
    if name.endswith("_corner"):
        rows, columns = case.arrays[name].shape[2:]
        return picture[:, :, :rows, :columns]
    text = str(case.meta.get("outputs", ""))
    rows, columns = (re.search(rf"{axis} (\d*)::(\d+)", text) for axis in ("rows", "columns"))
    step = int(re.search(r"_stride(\d+)$", name)[1])  # type: ignore[index]
    first = [int(found[1] or 0) if found else 0 for found in (rows, columns)]
    return picture[:, :, first[0] :: step, first[1] :: step]


def _compare_sizes(log: ComparisonLog, network: Generator, config: dict[str, object]) -> None:
    """Compare the sizes of the network with those that the case states."""
    found = {
        "size": network.config.size,
        "style_dim": network.config.style_dim,
        "n_mlp": network.config.n_mlp,
        "n_latent": network.config.n_latent,
        "num_layers": len(network.config.noise_sides),
        "parameters": sum(value.numel() for value in network.parameters()),
    }
    for name in found.keys() & config.keys():
        log.compare_equal(name, found[name], config[name])


def ada_tune(case: Case, log: ComparisonLog) -> None:
    """Check probability and mean sign after every batch, and the decay of the moving average."""
    config = case.config
    ada = AdaptiveAugment(float(config["target"]), int(config["length"]), int(config["update_every"]))
    found = []
    for scores in case.tensor("preds"):
        ada.tune(scores)
        found.append((ada.p, ada.r_t))
    ours = torch.tensor(found, dtype=torch.float64)
    case.compare(log, "p", ours[:, 0])
    case.compare(log, "r_t", ours[:, 1])
    if "ema_decay_f64" in case.arrays:
        case.compare(log, "ema_decay_f64", ema_decay(StyleGAN2Config(), 0))


@torch.no_grad()
def ada_augment(case: Case, log: ComparisonLog) -> None:
    """Check the warp in single and double precision, and the colours."""
    picture, inverse, colours = (case.tensor(name) for name in ("img", "G_inverse", "C"))
    taps = case.config.get("sym6") or SYM6
    case.compare(log, "affine", warp(picture, inverse, taps), default=LOOSE)
    case.compare(log, "affine", warp(picture.double(), inverse.double(), taps), default=LOOSE)
    case.compare(log, "color", apply_colours(picture, colours), default=LOOSE)


@torch.no_grad()
def closed_form_factor(case: Case, log: ComparisonLog) -> None:
    """Check singular values and directions of the stacked modulations."""
    found = factorise(load_weights(case))
    case.compare(log, "singular_values", found.strengths, default=LOOSE)
    for name in case.arrays:
        if first := re.fullmatch(r"eigvec_abs_first(\d+)", name):
            case.compare(log, name, found.directions[:, : int(first[1])].abs(), default=LOOSE)


def fid(case: Case, log: ComparisonLog) -> None:
    """Check the Fréchet distance of two sets of features."""
    a, b = (case.tensor(name, torch.float64) for name in ("a", "b"))
    case.compare(log, "fid_f64", frechet_distance(a, b), default=LOOSE)
