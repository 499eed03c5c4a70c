"""StyleGAN2 checkpoints: published, converted and native ones.

Our modules keep the published parameter names; sizes are inferred from the shapes, and no code of a file is
executed. A file may lack `noises.*`, as older files do (a fixed set is generated), and the FIR kernels, which
are constants; a file with other kernels is refused.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from voiceface.checkpoints.native import load_into, load_model
from voiceface.checkpoints.published import CheckpointError, read_published
from voiceface.runtime.config import ConfigError, validate_config

from voicestyle.stylegan2.discriminator import Discriminator, DiscriminatorConfig
from voicestyle.stylegan2.generator import Generator, GeneratorConfig
from voicestyle.stylegan2.operators import fir_kernel

__all__ = [
    "StateDict",
    "build_discriminator",
    "build_generator",
    "infer_discriminator_config",
    "infer_generator_config",
    "load_generator",
]

StateDict = Mapping[str, Tensor]
SYSTEM = "voicestyle"
OPTIONAL_KEYS = ("noises.*", "*kernel")
NOISE_SEED = 0


def load_generator(path: str | Path) -> Generator:
    """Load a generator: native (.safetensors), `g_ema` of a published file, or a bare state dict.

    Its `latent_avg` is set if the file has it.

    Raises:
        CheckpointError: the file is corrupt, unsafe or of another network, or a key is missing, unknown or
            misshapen.
        FileNotFoundError: the file is missing.
    """
    source = Path(path)
    if source.suffix == ".safetensors":
        loaded = load_model(source, system=SYSTEM, kind="generator")
        try:
            config = validate_config(loaded.config["generator"], GeneratorConfig, str(source))
        except (KeyError, ConfigError) as error:
            raise CheckpointError(f"{source} does not state the sizes of its generator: {error}") from None
        state = dict(loaded.state)
        centre = state.pop("latent_avg", None)
        return build_generator(state, str(source), config, latent_avg=centre)
    content = read_published(source)
    if isinstance(content.get("g_ema"), Mapping):
        return build_generator(content["g_ema"], f"{source} (g_ema)", latent_avg=content.get("latent_avg"))
    return build_generator({k: v for k, v in content.items() if isinstance(v, Tensor)}, str(source))


def build_generator(
    state: StateDict,
    source: str = "the state dict",
    config: GeneratorConfig | None = None,
    *,
    latent_avg: Tensor | None = None,
) -> Generator:
    """Build a generator from a state dict, frozen and in evaluation mode.

    Args:
        state: published keys.
        source: origin of the state dict, for messages.
        config: sizes; None infers them from the shapes.
        latent_avg: (D,) or (1, D), mean of w.

    Raises:
        CheckpointError: the keys are another network's, or one is missing, unknown or misshapen.
    """
    network = Generator(config or infer_generator_config(state, source))
    _check_kernels(state, source)
    missing = not any(key.startswith("noises.") for key in state)
    ignore = [pattern for pattern in OPTIONAL_KEYS if missing or pattern != "noises.*"]
    load_into(network, state, ignore=ignore, source=source)
    if missing:
        generator = torch.Generator().manual_seed(NOISE_SEED)
        for buffer in network.stored_noise():
            buffer.copy_(torch.randn(buffer.shape, generator=generator))
    network.latent_avg = _as_latent_avg(latent_avg)
    return network.eval().requires_grad_(False)


def build_discriminator(
    state: StateDict, source: str = "the state dict", config: DiscriminatorConfig | None = None
) -> Discriminator:
    """Build a discriminator from a state dict; arguments and errors as `build_generator`."""
    network = Discriminator(config or infer_discriminator_config(state, source))
    _check_kernels(state, source)
    load_into(network, state, ignore=OPTIONAL_KEYS, source=source)
    return network.eval().requires_grad_(False)


def infer_generator_config(state: StateDict, source: str = "the state dict") -> GeneratorConfig:
    """Infer the sizes of a generator from the shapes of its weights.

    Raises:
        CheckpointError: the keys are not those of a generator.
    """
    layers = [key for key in state if re.fullmatch(r"style\.\d+\.weight", key)]
    blocks = len([key for key in state if re.fullmatch(r"to_rgbs\.\d+\.conv\.weight", key)])
    needed = [f"convs.{2 * block}.conv.weight" for block in range(blocks)]
    if not layers or not blocks or not {"conv1.conv.weight", *needed} <= state.keys():
        raise _unexpected_keys_error(
            state, source, "generator", "style.1.weight, conv1.conv.weight, convs.0.conv.weight"
        )
    widths = [int(state[key].shape[1]) for key in ("conv1.conv.weight", *needed)]
    return _build_config(
        GeneratorConfig,
        source,
        size=4 << blocks,
        channels=widths,
        channel_cap=max(widths),
        style_dim=int(state[layers[0]].shape[1]),
        n_mlp=len(layers),
    )


def infer_discriminator_config(state: StateDict, source: str = "the state dict") -> DiscriminatorConfig:
    """Infer the sizes of a discriminator; errors as `infer_generator_config`."""
    blocks = len([key for key in state if re.fullmatch(r"convs\.\d+\.skip\.1\.weight", key)])
    needed = [f"convs.{block}.skip.1.weight" for block in range(blocks, 0, -1)]
    if not blocks or not {"convs.0.0.weight", "final_conv.0.weight", *needed} <= state.keys():
        raise _unexpected_keys_error(
            state, source, "discriminator", "convs.0.0.weight, convs.1.skip.1.weight, final_conv.0.weight"
        )
    widths = [int(state[key].shape[0]) for key in (*needed, "convs.0.0.weight")]
    return _build_config(
        DiscriminatorConfig, source, size=4 << blocks, channels=widths, channel_cap=max(widths)
    )


def _check_kernels(state: StateDict, source: str) -> None:
    """Refuse FIR kernels other than [1, 3, 3, 1]; their gain follows from their position."""
    plain = fir_kernel()
    for key, value in state.items():
        if key.rpartition(".")[2] == "kernel":
            total = float(value.sum())
            fits = value.shape == plain.shape and bool(
                torch.allclose(value.float(), plain * total, atol=1e-5 * abs(total))
            )
            if not fits:
                raise CheckpointError(
                    f"{source}: {key} is another filter than [1, 3, 3, 1], which alone is supported; "
                    f"found {tuple(value.shape)} {value.flatten()[:4].tolist()}"
                )


def _as_latent_avg(latent_avg: Tensor | None) -> Tensor | None:
    """Reshape (D,) or (1, D) to (1, D) float32."""
    return None if latent_avg is None else torch.as_tensor(latent_avg).float().reshape(1, -1)


def _build_config(model: Any, source: str, **sizes: Any) -> Any:
    """Validate a configuration; report errors as errors of the file."""
    try:
        return validate_config({**sizes}, model, source)
    except ConfigError as error:
        raise CheckpointError(f"{source} has sizes that no network of this kind has: {error}") from None


def _unexpected_keys_error(
    state: StateDict, source: str, network: str, expected_keys: str
) -> CheckpointError:
    keys = ", ".join(list(state)[:4]) or "nothing"
    return CheckpointError(
        f"{source} contains no StyleGAN2 {network}: expected keys {expected_keys}, found {keys}"
    )
