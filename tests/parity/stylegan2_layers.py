"""Parity of StyleGAN2's operators and layers, and of the conversion of images to bytes."""

import re
from typing import Any

import torch
from parity.case import Case, ComparisonLog
from parity.tolerance_rules import ToleranceRule
from parity.voicestyle_inputs import load_weights
from torch import Tensor
from voicestyle.stylegan2.images import to_uint8
from voicestyle.stylegan2.layers import EqualLinear, ModulatedConv2d, PixelNorm, StyledConv, ToRGB
from voicestyle.stylegan2.layers import downsample as halve
from voicestyle.stylegan2.layers import upsample as double
from voicestyle.stylegan2.operators import fir_kernel
from voicestyle.stylegan2.operators import fused_leaky_relu as activated
from voicestyle.stylegan2.operators import upfirdn2d as resampled

LOOSE = ToleranceRule(atol=1e-5, rtol=1e-4)


def upfirdn2d(case: Case, log: ComparisonLog) -> None:
    """Check every variant, and the gradient of one."""
    x = case.tensor("x").requires_grad_()
    for stated in case.config["variants"]:
        kernel = case.tensor(f"kernel_{stated['kernel']}")
        y = resampled(x, kernel, stated["up"], stated["down"], stated["pad"])
        case.compare(log, stated["output"], y, default=LOOSE)
    if "grad_weight" in case.arrays:
        y = resampled(x, *_gradient_arguments(case))
        (gradient,) = torch.autograd.grad((y * case.tensor("grad_weight")).sum(), x)
        case.compare(log, "grad_x", gradient, default=LOOSE)


@torch.no_grad()
def fir_layers(case: Case, log: ComparisonLog) -> None:
    """Check resampling layers and their kernels."""
    x = case.tensor("x")
    blurred_up = resampled(x, fir_kernel(gain=4.0), pad=(2, 1))
    blurred_down = resampled(x, fir_kernel(), pad=(2, 2))
    larger, smaller = double(), halve()
    ours: dict[str, Any] = {
        "upsample": larger(x),
        "downsample": smaller(x),
        "blur_up": blurred_up,
        "blur_down": blurred_down,
        "kernel_upsample": larger.kernel,
        "kernel_downsample": smaller.kernel,
        "kernel_blur_up": fir_kernel(gain=4.0),
    }
    for name in ours.keys() & case.array_names:
        case.compare(log, name, ours[name], default=LOOSE)
    for word, layer in (("upsample_pad", larger), ("downsample_pad", smaller)):
        if word in case.config:
            log.compare_equal(word, list(layer.pad), list(case.config[word]))


@torch.no_grad()
def fused_leaky_relu(case: Case, log: ComparisonLog) -> None:
    """Check with and without bias, for images and rows, and with another slope."""
    x4, x2, bias = (case.tensor(name) for name in ("x4", "x2", "bias"))
    case.compare(log, "y4", activated(x4, bias), default=LOOSE)
    case.compare(log, "y2", activated(x2, bias), default=LOOSE)
    case.compare(log, "y4_nobias", activated(x4), default=LOOSE)
    case.compare(log, "y4_slope01_scale1", activated(x4, bias, 0.1, 1.0), default=LOOSE)


@torch.no_grad()
def equal_linear(case: Case, log: ComparisonLog) -> None:
    """Check with activation and learning rate factor, and without."""
    x = case.tensor("x")
    case.compare(log, "pixel_norm", PixelNorm()(x), default=LOOSE)
    for name in sorted(case.array_names):
        kind = name.removeprefix("y_").partition("_")[0]
        if not name.startswith("y_") or f"weight_{kind}" not in case.array_names:
            continue
        lr_mul = float(case.config.get("lr_mul", 0.01)) if "lrmul" in name else 1.0
        weight, bias = case.tensor(f"weight_{kind}"), case.tensor(f"bias_{kind}")
        layer = EqualLinear(*reversed(weight.shape), lr_mul=lr_mul, activate=kind == "lrelu")
        layer.load_state_dict({"weight": weight, "bias": bias})
        case.compare(log, name, layer(x), default=LOOSE)


@torch.no_grad()
def modulated_conv(case: Case, log: ComparisonLog) -> None:
    """Check both implementations of every layer in single precision, and in double with equal tolerances."""
    config = case.config
    for name, stated in config["cases"].items():
        state = load_weights(case, name)
        resample = next((word for word in ("up", "down") if stated.get(f"{word}sample")), None)
        layer = ModulatedConv2d(
            int(config["in"]),
            int(config["out"]),
            int(stated["kernel_size"]),
            int(config["style_dim"]),
            demodulate=bool(stated.get("demodulate", True)),
            resample=resample,  # type: ignore[arg-type]
        )
        _load_layer(layer, state)
        for form in ("scaled", "grouped"):
            layer.implementation = form  # type: ignore[assignment]
            y = layer(case.tensor("x"), case.tensor("style"))
            log.compare_by_rule(f"{name} ({form})", y, case.arrays[name], case.rule(name, default=LOOSE))
        layer.double()
        y = layer(case.tensor("x", torch.float64), case.tensor("style", torch.float64))
        log.compare_by_rule(f"{name} (double)", y, case.arrays[name], case.rule(name, default=LOOSE))


@torch.no_grad()
def styled_conv_torgb(case: Case, log: ComparisonLog) -> None:
    """Check a styled convolution, and images of a block with and without the previous one."""
    x, style, noise = (case.tensor(name) for name in ("x", "style", "noise"))
    state = load_weights(case, "styled_conv")
    outputs, inputs = state["conv.weight"].shape[1:3]
    enlarges = noise.shape[2] == 2 * x.shape[2]
    layer = StyledConv(inputs, outputs, style.shape[1], resample="up" if enlarges else None)
    _load_layer(layer, state)
    styled = layer(x, style, noise)
    case.compare(log, "styled", styled, default=LOOSE)
    state = load_weights(case, "to_rgb")
    to_rgb = ToRGB(state["conv.weight"].shape[2], style.shape[1])
    _load_layer(to_rgb, state)
    case.compare(log, "rgb", to_rgb(styled, style, case.tensor("skip")), default=LOOSE)
    case.compare(log, "rgb_noskip", to_rgb(styled, style), default=LOOSE)


def make_image(case: Case, log: ComparisonLog) -> None:
    """Check the bytes of images."""
    case.compare(log, "u8", to_uint8(case.tensor("x")).astype(int))


def _gradient_arguments(case: Case) -> tuple[Tensor, Any, Any, list[int]]:
    """Return kernel, factors and padding of the stored gradient, from the description of the outputs."""
    text = str(case.meta.get("outputs", ""))
    number = r"(\d+|[\[(][\d, ]+[\])])"
    stated = re.search(rf"kernel_(\w+), up {number}, down {number}, pad [\[(]([-\d, ]+)[\])]", text)
    if stated is None:
        raise ValueError(f"{case.name}: the outputs do not say which gradient grad_x is")
    up, down, pad = ([int(word) for word in re.findall(r"-?\d+", part)] for part in stated.groups()[1:])
    factors = [each[0] if len(each) == 1 else each for each in (up, down)]
    return case.tensor(f"kernel_{stated[1]}"), *factors, pad


def _load_layer(layer: torch.nn.Module, state: dict[str, Tensor]) -> None:
    """Load weights into a layer; kernels are constants and must agree."""
    own = dict(layer.named_buffers())
    kernels = {key: value for key, value in state.items() if key.endswith("kernel")}
    for key, value in kernels.items():
        if not torch.allclose(own[key], value):
            raise ValueError(f"{key} differs: {value.tolist()}")
    layer.load_state_dict({key: value for key, value in state.items() if key not in kernels})
