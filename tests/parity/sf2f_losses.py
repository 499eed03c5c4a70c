"""Parity of sf2f's losses: adversarial, pixel, gradient penalty."""

import re
from collections.abc import Callable

import numpy as np
import torch
from parity.case import Case, ComparisonLog
from parity.sf2f_faces import compare_all
from parity.sf2f_networks import load_weights
from sf2f.losses import discriminator_loss, generator_loss, generator_terms, match_image_sizes
from sf2f.network_config import LossConfig
from torch import Tensor


def losses_gan_l1(case: Case, log: ComparisonLog) -> None:
    """Every kind of adversarial loss, pixel terms of several sizes, gradient penalty."""
    real, made = case.tensor("in_real"), case.tensor("in_fake")
    ours: dict[str, Tensor] = {"out_extreme_g": generator_loss(case.tensor("in_extreme"))}
    for name in case.arrays:
        if found := re.fullmatch(r"out_(gan|wgan|lsgan)_g", name):
            kind = found[1]
            ours[name] = generator_loss(made, kind)  # type: ignore[arg-type]
            ours[f"out_{kind}_d"] = discriminator_loss(real, made, kind)  # type: ignore[arg-type]
    inputs = {name: _normal_samples(stated) for name, stated in case.config["l1_inputs"].items()}
    target = inputs.pop("target")
    images = tuple(sorted(inputs.values(), key=lambda each: each.shape[-1]))
    config = LossConfig(pixel=float(case.config["l1_weight"]))
    terms = generator_terms(images, match_image_sizes(target, images), torch.zeros(0), config=config)
    ours["out_l1_multi"] = torch.stack(list(terms.values()))
    ours["out_l1_multi_total"] = ours["out_l1_multi"].sum()
    state = load_weights(case)

    def critic(x: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(x, state["weight"], state["bias"]).tanh()

    ours["out_gp"] = gradient_penalty(
        critic, case.tensor("in_gp_real"), case.tensor("in_gp_fake"), case.tensor("in_gp_eps")
    )
    compare_all(case, log, {name: value.reshape(case.arrays[name].shape) for name, value in ours.items()})


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, generated: Tensor, fraction: Tensor
) -> Tensor:
    """WGAN-GP penalty of the published code, which no released configuration uses; the package has none.

    Args:
        critic: images (N, 3, H, W) to logits (N, ...).
        real, generated: images of one shape.
        fraction: of the real image in each mixture, N numbers.
    """
    weight = fraction.reshape(-1, *[1] * (real.ndim - 1))
    mixed = (weight * real + (1 - weight) * generated).requires_grad_()
    (slope,) = torch.autograd.grad(critic(mixed).flatten(1).mean(1).sum(), mixed)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def _normal_samples(stated: dict) -> Tensor:
    """Standard normal numbers of a stated seed and shape."""
    rng = np.random.Generator(np.random.PCG64(int(stated["pcg"])))
    return torch.as_tensor(rng.standard_normal(stated["shape"], dtype=np.float32))
