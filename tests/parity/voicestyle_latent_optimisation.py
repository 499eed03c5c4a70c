"""Parity of inversion and guidance: schedules, noise maps, aggregation, short complete runs."""

import re
from collections.abc import Sequence

import numpy as np
import torch
from parity.case import Case, ComparisonLog
from parity.tolerance_rules import ToleranceRule
from parity.voicestyle_image_losses import LPIPS_KEY_TABLE, build_recogniser
from parity.voicestyle_inputs import generate_array, load_input, load_weights
from torch import Tensor
from voiceface.checkpoints.native import load_into
from voiceface.checkpoints.published import apply_key_table
from voiceface.models.lpips import LPIPS
from voicestyle.aggregation import aggregate_latents
from voicestyle.config import GuidanceConfig, InversionConfig
from voicestyle.guidance import FaceEncoder, guide, synthesise_and_score
from voicestyle.identity_loss import IRIdentityEncoder
from voicestyle.inversion import invert, prepare_target
from voicestyle.latent_optimisation import compute_latent_statistics, latent_noise_strength, lr_ramp
from voicestyle.noise import noise_regularisation_loss, normalise_noise_maps
from voicestyle.stylegan2 import checkpoints as readers
from voicestyle.stylegan2.images import to_uint8

NUM_EARLY_STEPS = 5


class RecordedNoise:
    """Random numbers recorded in a case, by their role."""

    def __init__(self, case: Case) -> None:
        self.by_role = {str(each["role"]): each for each in case.meta["inputs"]["random_draws"]}
        self.step = 0

    def z(self) -> Tensor:
        """Samples of the mean latent."""
        return self._generate("z for")

    def normal(self, role: str, shape: Sequence[int], rows: Sequence[int]) -> Tensor:
        """Initial noise maps by number, then latent noise step by step."""
        if role == "latent":
            self.step += 1
            found = self._generate(rf"latent noise of step {self.step - 1}$")
        else:
            found = self._generate(rf"initial noise {role}$")
        return found.reshape(len(found), *shape)[list(rows)]

    def _generate(self, pattern: str) -> Tensor:
        stated = next(each for role, each in self.by_role.items() if re.match(pattern, role))
        return generate_array({"rule": "normal", **stated})


def noise_regularizer(case: Case, log: ComparisonLog) -> None:
    """Check the regulariser of noise maps, its gradient, and their normalisation."""
    sizes, batch, stated = case.config["sizes"], int(case.config["batch"]), case.meta["inputs"]["noise_i"]
    first = int(str(stated["seed"]).split("+")[0])
    shapes = [(batch, 1, side, side) for side in sizes]
    maps = [
        generate_array({"rule": stated["rule"], "seed": first + i, "shape": shape})
        for i, shape in enumerate(shapes)
    ]
    for i in range(len(maps)):
        if f"noise{i}" in case.array_names:
            case.compare(log, f"noise{i}", maps[i])
    maps = [each.requires_grad_() for each in maps]
    total = noise_regularisation_loss(maps, coupled=True)
    alone = torch.stack([noise_regularisation_loss([each], coupled=True) for each in maps]).detach()
    gradients = torch.autograd.grad(total, maps)
    with torch.no_grad():
        plain = [each.detach().clone() for each in maps]
        normalise_noise_maps(plain, coupled=True)
    for name in sorted(case.array_names):
        number = int(found[0]) if (found := re.findall(r"\d+$", name)) else None
        if "grad" in name:
            case.compare(log, name, gradients[number if number is not None else 3])
        elif name.startswith("normalized"):
            case.compare(log, name, plain[int(number or 0)])
        elif "total" in name:
            case.compare(log, name, total.detach())
        elif "each" in name:
            case.compare(log, name, alone)


def lr_schedule(case: Case, log: ComparisonLog) -> None:
    """Check learning rate and latent noise strength, step by step."""
    config = case.config
    rates = [float(each) for each in config["initial_lr"]]
    for steps in config["steps"]:
        shares = [step / steps for step in range(steps)]
        factors = np.array([lr_ramp(t, float(config["rampup"]), float(config["rampdown"])) for t in shares])
        noise = np.array(
            [latent_noise_strength(t, float(config["noise"]), float(config["noise_ramp"])) for t in shares]
        )
        for name in sorted(case.array_names):
            if not name.endswith(f"_{steps}"):
                continue
            if name.startswith("noise"):
                case.compare(log, name, noise)
                continue
            digits = re.match(r"lr(\d*)_", name)
            told = float(f"{digits[1][0]}.{digits[1][1:]}") if digits and digits[1] else rates[0]
            case.compare(log, name, told * factors)


def latent_aggregate(case: Case, log: ComparisonLog) -> None:
    """Check the mean of the latents of several images."""
    names = case.array_names
    given = next(name for name in ("latents", "latent", "w") if name in names)
    for name in sorted(names - {given}):
        case.compare(log, name, aggregate_latents(case.tensor(given)))


def projector_run(case: Case, log: ComparisonLog) -> None:
    """Check a short inversion of several images, coupled as published."""
    config, draws = case.config, RecordedNoise(case)
    layouts = case.meta["layout"]
    name = next(each for each in layouts if each.startswith("generator"))
    network = readers.build_generator(load_weights(case, name))
    trunk = next(each for each in layouts if each.startswith("lpips"))
    perceptual = LPIPS(trunk.removeprefix("lpips_"))  # type: ignore[arg-type]
    load_into(perceptual, apply_key_table(load_weights(case, trunk), LPIPS_KEY_TABLE), source=case.name)
    plan = InversionConfig(
        num_steps=int(config["steps"]),
        lr=float(config["lr"]),
        latent_noise=float(config["noise"]),
        latent_noise_ramp=float(config["noise_ramp"]),
        noise_regularisation=float(config["noise_regularize"]),
        perceptual_weight=float(config["perceptual_weight"]),
        mse_weight=float(config["mse_weight"]) or 1e-30,  # not 0, so that the history contains it
        identity_weight=float(config["id_weight"]),
        space="w_plus" if config.get("w_plus") else "w",
        batching="coupled",
        snapshot_interval=1,
    )
    side = min(256, network.config.size)
    targets = torch.stack([prepare_target(each, side) for each in case.arrays["images_u8"]])
    statistics = compute_latent_statistics(network, draws.z())
    identity = (
        IRIdentityEncoder(build_recogniser(load_weights(case, "irse50"), case.name))
        if "irse50" in layouts
        else None
    )
    found = invert(targets, network, statistics, plan, draws, perceptual, identity)
    start = statistics.mean.expand(len(targets), -1)
    before = torch.stack([start, *found.snapshots[:-1]])
    rule = case.rule("latents", default=ToleranceRule(2e-2, 1e-2))
    log.compare_by_rule("latent_mean", start, case.arrays["latent_mean"], rule)
    log.compare_by_rule("latent_before_step", before, case.arrays["latent_before_step"], rule)
    log.compare_by_rule("latent_final", found.latents, case.arrays["latent_final"], rule)
    strength = found.history["strength"][:, 0]
    case.compare(log, "noise_strength", strength)
    values = {
        "perceptual": found.history["perceptual"].sum(1) / (plan.perceptual_weight or 1),
        "identity": found.history["identity"][:, 0] / (plan.identity_weight or 1)
        if plan.identity_weight
        else None,
        "noise_reg": found.history["noise"][:, 0] / (plan.noise_regularisation or 1),
        "mse": found.history["mse"][:, 0] / plan.mse_weight,
    }
    for key, value in values.items():
        if value is None or key not in case.array_names:
            continue
        stored = case.arrays[key]
        first = case.rule("step0_losses", default=ToleranceRule(1e-4, 1e-3))
        log.compare_by_rule(f"{key}, step 0", value[:1], stored[:1], first)
        log.compare_by_rule(key, value, stored, case.rule("losses", default=ToleranceRule(2e-3, 1e-2)))


def voice_optimize_run(case: Case, log: ComparisonLog) -> None:
    """Check a short guidance by a voice."""
    from cmpc2.architecture import infer_model_config
    from cmpc2.model import FV_Wrapper

    config, draws = case.config, RecordedNoise(case)
    layouts = case.meta["layout"]
    name = next(each for each in layouts if each.startswith("generator"))
    network = readers.build_generator(load_weights(case, name))
    state = load_weights(case, next(each for each in layouts if each not in (name,)))
    model = FV_Wrapper(config=infer_model_config(state)).eval().requires_grad_(False)
    model.load_state_dict(state)
    plan = GuidanceConfig(
        num_steps=int(config["step"]),
        lr=float(config["optimize_lr"]),
        latent_noise=float(config["noise"]),
        latent_noise_ramp=float(config["noise_ramp"]),
        noise_regularisation=float(config["noise_regularize"]),
        published_regularisation=float(config["latent_regularize"]),
        space="w_plus" if config["w_plus"] else "w",
        snapshot_interval=1,
    )
    with torch.no_grad():
        voices = model.encode_voices(load_input(case, "audio"))
    faces = FaceEncoder(model.face_subnet)
    start = load_input(case, "latent_init")
    statistics = compute_latent_statistics(network, draws.z())
    found = guide(start, voices, faces, network, statistics, plan, draws)
    first = start if plan.space == "w" else start[:, None].expand(-1, network.config.n_latent, -1)
    before, stored = torch.stack([first, *found.snapshots[:-1]]), case.arrays["latent_before_step"]
    allowed = case.meta["tolerance"]
    early, late = allowed["latent_before_step"], allowed["similarity"]
    away = (before.numpy() - stored.reshape(before.shape)).__abs__()
    log.compare_limit(
        "latent_before_step, early", float(away[:NUM_EARLY_STEPS].max()), float(early["atol_first_5"])
    )
    log.compare_limit("latent_before_step", float(away.max()), float(early["atol_all"]))
    log.compare_limit("latent_before_step, mean", float(away.mean()), float(early["mean_abs_all"]))
    similar, expected = found.history["similarity"][:, 0], case.arrays["similarity"]
    rtol = float(late["rtol"])
    log.compare_by_rule(
        "similarity, early",
        similar[:NUM_EARLY_STEPS],
        expected[:NUM_EARLY_STEPS],
        ToleranceRule(late["atol_first_5"], rtol),
    )
    log.compare_by_rule("similarity", similar, expected, ToleranceRule(late["atol"], rtol))
    case.compare(log, "noise_reg", found.history["noise"][:, 0] / plan.noise_regularisation)
    case.compare(log, "noise_strength", found.history["strength"][:, 0])
    pictures, _ = synthesise_and_score(found.latents, found.noise_maps, voices, faces, network)
    off = np.abs(to_uint8(pictures)[0].astype(int) - case.arrays["image_u8"].astype(int)).mean()
    words = re.findall(r"[\d.]+", str(allowed.get("image_u8", "8")))
    log.compare_limit("image_u8, mean", float(off), float(words[-1]))
