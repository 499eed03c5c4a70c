"""Parity of inversion and voice guidance: schedules, noise maps, aggregation, whole short runs."""

import re
from collections.abc import Sequence

import numpy as np
import torch
from parity.case import Book, Case
from parity.rules import Rule
from parity.voicestyle_pictures import SLICES, recogniser
from parity.voicestyle_weights import drawn, seeded, weights
from torch import Tensor
from voiceface.checkpoints.native import load_into
from voiceface.checkpoints.published import apply_key_table
from voiceface.models.lpips import LPIPS
from voicestyle.aggregation import aggregate
from voicestyle.config import GuidanceConfig, InversionConfig
from voicestyle.descent import latent_statistics, noise_factor, noise_regulariser, ramp, standardise
from voicestyle.guidance import FaceView, fit, guide
from voicestyle.identity import IdentityNetwork
from voicestyle.inversion import invert, target_picture
from voicestyle.stylegan2 import readers
from voicestyle.stylegan2.pictures import to_bytes

EARLY = 5


class RecordedDraws:
    """The numbers that a case recorded, by what they were drawn for."""

    def __init__(self, case: Case) -> None:
        self.by_role = {str(each["role"]): each for each in case.meta["inputs"]["random_draws"]}
        self.step = 0

    def z(self) -> Tensor:
        """Draws of the mean latent."""
        return self._drawn("z for")

    def normal(self, role: str, shape: Sequence[int], rows: Sequence[int]) -> Tensor:
        """Initial noise maps by number, then latent noise step by step."""
        if role == "latent":
            self.step += 1
            found = self._drawn(rf"latent noise of step {self.step - 1}$")
        else:
            found = self._drawn(rf"initial noise {role}$")
        return found.reshape(len(found), *shape)[list(rows)]

    def _drawn(self, pattern: str) -> Tensor:
        stated = next(each for role, each in self.by_role.items() if re.match(pattern, role))
        return drawn({"rule": "normal", **stated})


def noise_regularizer(case: Case, book: Book) -> None:
    """Regulariser of noise maps, its gradient, and their standardisation."""
    sizes, batch, stated = case.config["sizes"], int(case.config["batch"]), case.meta["inputs"]["noise_i"]
    first = int(str(stated["seed"]).split("+")[0])
    shapes = [(batch, 1, side, side) for side in sizes]
    maps = [
        drawn({"rule": stated["rule"], "seed": first + i, "shape": shape}) for i, shape in enumerate(shapes)
    ]
    for i in range(len(maps)):
        if f"noise{i}" in case.array_names:
            case.judge(book, f"noise{i}", maps[i])
    maps = [each.requires_grad_() for each in maps]
    total = noise_regulariser(maps, coupled=True)
    alone = torch.stack([noise_regulariser([each], coupled=True) for each in maps]).detach()
    gradients = torch.autograd.grad(total, maps)
    with torch.no_grad():
        plain = [each.detach().clone() for each in maps]
        standardise(plain, coupled=True)
    for name in sorted(case.array_names):
        number = int(found[0]) if (found := re.findall(r"\d+$", name)) else None
        if "grad" in name:
            case.judge(book, name, gradients[number if number is not None else 3])
        elif name.startswith("normalized"):
            case.judge(book, name, plain[int(number or 0)])
        elif "total" in name:
            case.judge(book, name, total.detach())
        elif "each" in name:
            case.judge(book, name, alone)


def lr_schedule(case: Case, book: Book) -> None:
    """Learning rate and strength of latent noise, step by step."""
    config = case.config
    rates = [float(each) for each in config["initial_lr"]]
    for steps in config["steps"]:
        shares = [step / steps for step in range(steps)]
        factors = np.array([ramp(t, float(config["rampup"]), float(config["rampdown"])) for t in shares])
        noise = np.array(
            [noise_factor(t, float(config["noise"]), float(config["noise_ramp"])) for t in shares]
        )
        for name in sorted(case.array_names):
            if not name.endswith(f"_{steps}"):
                continue
            if name.startswith("noise"):
                case.judge(book, name, noise)
                continue
            digits = re.match(r"lr(\d*)_", name)
            told = float(f"{digits[1][0]}.{digits[1][1:]}") if digits and digits[1] else rates[0]
            case.judge(book, name, told * factors)


def latent_aggregate(case: Case, book: Book) -> None:
    """Mean of the codes of several pictures."""
    names = case.array_names
    given = next(name for name in ("latents", "latent", "w") if name in names)
    for name in sorted(names - {given}):
        case.judge(book, name, aggregate(case.tensor(given)))


def projector_run(case: Case, book: Book) -> None:
    """A whole short inversion of several pictures, coupled as published."""
    config, draws = case.config, RecordedDraws(case)
    layouts = case.meta["layout"]
    name = next(each for each in layouts if each.startswith("generator"))
    network = readers.generator_of(weights(case, name))
    trunk = next(each for each in layouts if each.startswith("lpips"))
    perceptual = LPIPS(trunk.removeprefix("lpips_"))  # type: ignore[arg-type]
    load_into(perceptual, apply_key_table(weights(case, trunk), SLICES), source=case.name)
    plan = InversionConfig(
        steps=int(config["steps"]),
        lr=float(config["lr"]),
        noise=float(config["noise"]),
        noise_ramp=float(config["noise_ramp"]),
        noise_regularise=float(config["noise_regularize"]),
        perceptual=float(config["perceptual_weight"]),
        mse=float(config["mse_weight"]) or 1e-30,  # so that its value is in the history
        identity=float(config["id_weight"]),
        space="w_plus" if config.get("w_plus") else "w",
        batching="coupled",
        keep_every=1,
    )
    side = min(256, network.config.size)
    targets = torch.stack([target_picture(each, side) for each in case.arrays["images_u8"]])
    statistics = latent_statistics(network, draws.z())
    identity = (
        IdentityNetwork(recogniser(weights(case, "irse50"), case.name)) if "irse50" in layouts else None
    )
    found = invert(targets, network, statistics, plan, draws, perceptual, identity)
    start = statistics.mean.expand(len(targets), -1)
    before = torch.stack([start, *found.kept[:-1]])
    rule = case.rule("latents", otherwise=Rule(2e-2, 1e-2))
    book.within("latent_mean", start, case.arrays["latent_mean"], rule)
    book.within("latent_before_step", before, case.arrays["latent_before_step"], rule)
    book.within("latent_final", found.codes, case.arrays["latent_final"], rule)
    strength = found.history["strength"][:, 0]
    case.judge(book, "noise_strength", strength)
    values = {
        "perceptual": found.history["perceptual"].sum(1) / (plan.perceptual or 1),
        "identity": found.history["identity"][:, 0] / (plan.identity or 1) if plan.identity else None,
        "noise_reg": found.history["noise"][:, 0] / (plan.noise_regularise or 1),
        "mse": found.history["mse"][:, 0] / plan.mse,
    }
    for key, value in values.items():
        if value is None or key not in case.array_names:
            continue
        stored = case.arrays[key]
        first = case.rule("step0_losses", otherwise=Rule(1e-4, 1e-3))
        book.within(f"{key}, step 0", value[:1], stored[:1], first)
        book.within(key, value, stored, case.rule("losses", otherwise=Rule(2e-3, 1e-2)))


def voice_optimize_run(case: Case, book: Book) -> None:
    """A whole short guidance by a voice."""
    from cmpc2.published import model_of

    config, draws = case.config, RecordedDraws(case)
    layouts = case.meta["layout"]
    name = next(each for each in layouts if each.startswith("generator"))
    network = readers.generator_of(weights(case, name))
    state = weights(case, next(each for each in layouts if each not in (name,)))
    model = model_of(state).eval().requires_grad_(False)
    model.load_state_dict(state)
    plan = GuidanceConfig(
        steps=int(config["step"]),
        lr=float(config["optimize_lr"]),
        noise=float(config["noise"]),
        noise_ramp=float(config["noise_ramp"]),
        noise_regularise=float(config["noise_regularize"]),
        published_regularise=float(config["latent_regularize"]),
        space="w_plus" if config["w_plus"] else "w",
        keep_every=1,
    )
    with torch.no_grad():
        voices = model.encode_voices(seeded(case, "audio"))
    faces = FaceView(model.face_subnet)
    start = seeded(case, "latent_init")
    statistics = latent_statistics(network, draws.z())
    found = guide(start, voices, faces, network, statistics, plan, draws)
    first = start if plan.space == "w" else start[:, None].expand(-1, network.config.codes, -1)
    before, stored = torch.stack([first, *found.kept[:-1]]), case.arrays["latent_before_step"]
    allowed = case.meta["tolerance"]
    early, late = allowed["latent_before_step"], allowed["similarity"]
    away = (before.numpy() - stored.reshape(before.shape)).__abs__()
    book.below("latent_before_step, early", float(away[:EARLY].max()), float(early["atol_first_5"]))
    book.below("latent_before_step", float(away.max()), float(early["atol_all"]))
    book.below("latent_before_step, mean", float(away.mean()), float(early["mean_abs_all"]))
    similar, expected = found.history["similarity"][:, 0], case.arrays["similarity"]
    rtol = float(late["rtol"])
    book.within("similarity, early", similar[:EARLY], expected[:EARLY], Rule(late["atol_first_5"], rtol))
    book.within("similarity", similar, expected, Rule(late["atol"], rtol))
    case.judge(book, "noise_reg", found.history["noise"][:, 0] / plan.noise_regularise)
    case.judge(book, "noise_strength", found.history["strength"][:, 0])
    pictures, _ = fit(found.codes, found.noise, voices, faces, network)
    off = np.abs(to_bytes(pictures)[0].astype(int) - case.arrays["image_u8"].astype(int)).mean()
    words = re.findall(r"[\d.]+", str(allowed.get("image_u8", "8")))
    book.below("image_u8, mean", float(off), float(words[-1]))
