"""Parity of StyleGAN2's networks, losses, augmentation, factorisation and distances of features."""

import re

import torch
from parity.case import Book, Case
from parity.rules import Rule
from parity.voicestyle_weights import drawn, seeded, weights
from torch import Tensor
from voiceface.metrics.frechet import frechet_distance
from voicestyle.stylegan2 import losses, readers
from voicestyle.stylegan2.augment import SYM6, AdaptiveAugment, recolour, warp
from voicestyle.stylegan2.config import StyleGan2Config
from voicestyle.stylegan2.factorise import factorise
from voicestyle.stylegan2.generator import Generator
from voicestyle.stylegan2.training import average_decay

LOOSE = Rule(atol=1e-3, rtol=2e-3)


@torch.no_grad()
def generator(case: Case, book: Book) -> None:
    """Codes and pictures in every way of the call that the case stores."""
    config, network = case.config, readers.generator_of(weights(case))
    stored = case.array_names
    _sizes(book, network, config)
    z = seeded(case, "z1" if "z1" in case.meta["inputs"] else "z")
    second = seeded(case, "z2") if "z2" in case.meta["inputs"] else None
    ours: dict[str, Tensor] = {"w": network.mapping(z)}
    if stored & {"img", "img_stride8", "img_stats", "std"}:
        ours["img"] = network(z, randomize_noise=False)[0]
        ours["std"] = statistics(ours["img"])
    if "mix" in stored and second is not None:
        at = int(config["inject_index"])
        ours["mix"] = network([z, second], inject_index=at, randomize_noise=False)[0]
    if "trunc" in stored:
        centre = seeded(case, "truncation_latent")
        psi = float(config["truncation"])
        ours["trunc"] = network(z, truncation=psi, truncation_latent=centre, randomize_noise=False)[0]
    if "img_wplus" in stored:
        codes = seeded(case, "wplus")
        ours["img_wplus"] = network(codes, input_is_latent=True, randomize_noise=False)[0]
    if "img_zero_noise" in stored:
        zeros = [torch.zeros_like(noise) for noise in network.stored_noise()]
        ours["img_zero_noise"] = network(z, noise=zeros)[0]
    if "noise_i" in case.meta["inputs"]:
        ours["img_noise"] = network(z, noise=noise_maps(case, network))[0]
    for name in sorted(stored):
        whole = name.removesuffix("_stats").removesuffix("_corner")
        whole = re.sub(r"_stride\d+$", "", whole)
        if name in ours:
            case.judge(book, name, ours[name], otherwise=LOOSE)
        elif whole in ours:
            case.judge(book, name, _part(name, ours[whole], case), otherwise=LOOSE)


def generator_grad(case: Case, book: Book) -> None:
    """Gradient of a weighted mean of the picture with respect to the code."""
    network = readers.generator_of(weights(case)).requires_grad_(False)
    w, c = seeded(case, "w").requires_grad_(), seeded(case, "c")
    picture, _ = network(w, input_is_latent=True, randomize_noise=False)
    (gradient,) = torch.autograd.grad((picture * c).mean(), w)
    case.judge(book, "img", picture, otherwise=LOOSE)
    case.judge(book, "grad_w", gradient, otherwise=LOOSE)


@torch.no_grad()
def discriminator(case: Case, book: Book) -> None:
    """Scores, and what is left at 4 pixels."""
    network = readers.discriminator_of(
        weights(case),
        config=readers.discriminator_config_of(weights(case)).model_copy(
            update={"stddev_group": int(case.config.get("stddev_group", 4))}
        ),
    )
    if "parameters" in case.config:
        count = sum(value.numel() for value in network.parameters())
        book.equal("parameters", count, int(case.config["parameters"]))
    x = seeded(case, "x")
    trunk = network.trunk(x)
    case.judge(book, "score", network(x), otherwise=LOOSE)
    case.judge(book, "trunk_stats", statistics(trunk), otherwise=LOOSE)
    if "trunk_sample" in case.arrays:
        part = tuple(slice(side) for side in case.arrays["trunk_sample"].shape)
        case.judge(book, "trunk_sample", trunk[part], otherwise=LOOSE)


def gan_losses(case: Case, book: Book) -> None:
    """Losses of stored scores, R1 and path length of filled networks."""
    real, fake = case.tensor("real_pred"), case.tensor("fake_pred")
    case.judge(book, "d_logistic", losses.discriminator_loss(real, fake), otherwise=LOOSE)
    case.judge(book, "g_nonsat", losses.generator_loss(fake), otherwise=LOOSE)
    names = case.meta["layout"]
    critic = readers.discriminator_of(weights(case, next(n for n in names if n.startswith("discriminator"))))
    x = seeded(case, "x").requires_grad_()
    scores = critic(x)
    case.judge(book, "r1_scores", scores, otherwise=LOOSE)
    case.judge(book, "r1", losses.r1_penalty(scores, x), otherwise=LOOSE)
    network = readers.generator_of(weights(case, next(n for n in names if n.startswith("generator"))))
    network.requires_grad_(True)
    picture, codes = network(seeded(case, "z"), return_latents=True, randomize_noise=False)
    assert codes is not None
    lengths = losses.path_lengths(picture, codes, seeded(case, "path_noise"))
    before = torch.tensor(float(case.config["mean_path_length_before"]))
    penalty, mean = losses.path_penalty(lengths, before, float(case.config["decay"]))
    ours = {"path_lengths": lengths, "path_mean": mean, "path_penalty": penalty}
    ours["path_img_stats"] = statistics(picture)
    for name, value in ours.items():
        case.judge(book, name, value, otherwise=LOOSE)


def noise_maps(case: Case, network: Generator) -> list[Tensor]:
    """The noise list of a case: one rule for all maps, the seed of map i stated as `first+i`."""
    stated = case.meta["inputs"]["noise_i"]
    first = int(re.match(r"\d+", str(stated["seed"]))[0])  # type: ignore[index]
    return [
        drawn({"rule": stated["rule"], "shape": tuple(noise.shape)}, first + number)
        for number, noise in enumerate(network.stored_noise())
    ]


def statistics(values: Tensor) -> Tensor:
    """Mean, unbiased deviation, minimum, maximum."""
    x = values.detach().double()
    return torch.stack([x.mean(), x.std(), x.min(), x.max()])


def _part(name: str, picture: Tensor, case: Case) -> Tensor:
    """The stored part of a picture: its statistics, a corner, or every so many rows and columns."""
    if name.endswith("_stats"):
        return statistics(picture)
    if name.endswith("_corner"):
        rows, columns = case.arrays[name].shape[2:]
        return picture[:, :, :rows, :columns]
    text = str(case.meta.get("outputs", ""))
    rows, columns = (re.search(rf"{axis} (\d*)::(\d+)", text) for axis in ("rows", "columns"))
    step = int(re.search(r"_stride(\d+)$", name)[1])  # type: ignore[index]
    first = [int(found[1] or 0) if found else 0 for found in (rows, columns)]
    return picture[:, :, first[0] :: step, first[1] :: step]


def _sizes(book: Book, network: Generator, config: dict[str, object]) -> None:
    """What the case says of the network's sizes."""
    found = {
        "size": network.config.size,
        "style_dim": network.config.style_dim,
        "n_mlp": network.config.n_mlp,
        "n_latent": network.config.codes,
        "num_layers": len(network.config.noise_sides),
        "parameters": sum(value.numel() for value in network.parameters()),
    }
    for name in found.keys() & config.keys():
        book.equal(name, found[name], config[name])


def ada_tune(case: Case, book: Book) -> None:
    """Probability and mean sign after every batch; decay of the running mean."""
    config = case.config
    ada = AdaptiveAugment(float(config["target"]), int(config["length"]), int(config["update_every"]))
    found = []
    for scores in case.tensor("preds"):
        ada.tune(scores)
        found.append((ada.p, ada.r_t))
    ours = torch.tensor(found, dtype=torch.float64)
    case.judge(book, "p", ours[:, 0])
    case.judge(book, "r_t", ours[:, 1])
    if "ema_decay_f64" in case.arrays:
        case.judge(book, "ema_decay_f64", average_decay(StyleGan2Config(), 0))


@torch.no_grad()
def ada_augment(case: Case, book: Book) -> None:
    """The warp, in single and in double precision, and the colours."""
    picture, inverse, colours = (case.tensor(name) for name in ("img", "G_inverse", "C"))
    taps = case.config.get("sym6") or SYM6
    case.judge(book, "affine", warp(picture, inverse, taps), otherwise=LOOSE)
    case.judge(book, "affine", warp(picture.double(), inverse.double(), taps), otherwise=LOOSE)
    case.judge(book, "color", recolour(picture, colours), otherwise=LOOSE)


@torch.no_grad()
def closed_form_factor(case: Case, book: Book) -> None:
    """Singular values and directions of the stacked modulations."""
    found = factorise(weights(case))
    case.judge(book, "singular_values", found.strengths, otherwise=LOOSE)
    for name in case.arrays:
        if first := re.fullmatch(r"eigvec_abs_first(\d+)", name):
            case.judge(book, name, found.directions[:, : int(first[1])].abs(), otherwise=LOOSE)


def fid(case: Case, book: Book) -> None:
    """Fréchet distance of two sets of features."""
    a, b = (case.tensor(name, torch.float64) for name in ("a", "b"))
    case.judge(book, "fid_f64", frechet_distance(a, b), otherwise=LOOSE)
