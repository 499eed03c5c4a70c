"""Generator of StyleGAN2 with skip connections (config-f).

Letters: N images, S side of the image, D length of a latent, L layers, 2 log2(S) - 2.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from voiceface.runtime.config import Config
from voiceface.runtime.distributed import draw_rows

from voicestyle.stylegan2.layers import ConstantInput, EqualLinear, PixelNorm, StyledConv, ToRGB

__all__ = [
    "Generator",
    "GeneratorConfig",
    "NetworkConfig",
]

SIZES = tuple(2**power for power in range(3, 11))
BASE_CHANNELS = 512  # channels up to 32 pixels; from 64 on `BASE_CHANNELS` 32 / side times the multiplier


class NetworkConfig(Config):
    """Image side and channels of a generator or discriminator; the defaults are config-f for 256 pixels."""

    size: int = Field(default=256, description="side of the images, pixels; a power of two, 8 to 1024")
    channels: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        default=None, description="channels at 4, 8, 16, ... pixels; null: the published table"
    )
    channel_multiplier: int = Field(default=2, ge=1, description="of the published table, from 64 pixels on")
    channel_cap: int = Field(default=512, ge=1, description="most channels of any layer")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.size not in SIZES:
            raise ValueError(f"expected a size among {', '.join(map(str, SIZES))}, found {self.size}")
        if self.channels is not None and len(self.channels) != self.num_blocks + 1:
            raise ValueError(
                f"expected {self.num_blocks + 1} channel numbers, for 4 to {self.size} pixels, "
                f"found {len(self.channels)}"
            )
        return self

    @property
    def num_blocks(self) -> int:
        """Number of upsamplings from 4 pixels to `size`."""
        return self.size.bit_length() - 3

    def channels_at(self, block: int) -> int:
        """Channels at 4 * 2^block pixels."""
        if self.channels is not None:
            return min(self.channels[block], self.channel_cap)
        side = 4 << block
        return min(
            BASE_CHANNELS if side <= 32 else BASE_CHANNELS * 32 // side * self.channel_multiplier,
            self.channel_cap,
        )


class GeneratorConfig(NetworkConfig):
    """A generator and its mapping network."""

    style_dim: int = Field(default=512, ge=1, description="length D of z and w")
    n_mlp: int = Field(default=8, ge=1, description="layers of the mapping network")
    lr_mlp: float = Field(default=0.01, gt=0, description="factor of the mapping network's learning rate")

    @property
    def n_latent(self) -> int:
        """L, latents per image."""
        return 2 * self.num_blocks + 2

    @property
    def noise_sides(self) -> tuple[int, ...]:
        """Sides of the 2 log2(S) - 3 noise maps: 4, 8, 8, 16, 16, ..."""
        return tuple(4 << (number + 1) // 2 for number in range(self.n_latent - 1))


class Generator(nn.Module):
    """Latents to images.

    `mapping` maps z to w; `expand_latents` gives one latent per layer (truncation, mixing); `synthesise`
    generates images. `forward` does all three.

    Attributes:
        config: sizes.
        latent_avg: (D,), mean of w if it is known, else None; not part of the state dict.
    """

    latent_avg: Tensor | None

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GeneratorConfig()
        dim = config.style_dim
        layers = [EqualLinear(dim, dim, lr_mul=config.lr_mlp, activate=True) for _ in range(config.n_mlp)]
        self.style = nn.Sequential(PixelNorm(), *layers)
        width = config.channels_at(0)
        self.input = ConstantInput(width)
        self.conv1 = StyledConv(width, width, dim)
        self.to_rgb1 = ToRGB(width, dim, with_upsample=False)
        self.convs, self.to_rgbs, self.noises = nn.ModuleList(), nn.ModuleList(), nn.Module()
        for number, side in enumerate(config.noise_sides):
            self.noises.register_buffer(f"noise_{number}", torch.randn(1, 1, side, side))
        for block in range(1, config.num_blocks + 1):
            before, width = width, config.channels_at(block)
            self.convs.append(StyledConv(before, width, dim, resample="up"))
            self.convs.append(StyledConv(width, width, dim))
            self.to_rgbs.append(ToRGB(width, dim))
        self.register_buffer("latent_avg", None, persistent=False)

    def forward(
        self,
        styles: Tensor | Sequence[Tensor],
        *,
        return_latents: bool = False,
        inject_index: int | None = None,
        truncation: float = 1.0,
        truncation_latent: Tensor | None = None,
        input_is_latent: bool = False,
        noise: Sequence[Tensor] | None = None,
        randomize_noise: bool = True,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Generate images, nominally in -1...1, not clamped.

        Args:
            styles, inject_index, truncation, truncation_latent, input_is_latent: see `expand_latents`.
            return_latents: also return the latents.
            noise: see `synthesise`.
            randomize_noise: without `noise`: generate new maps, or use the stored ones.
            generator: random generator; None for PyTorch's global one.

        Returns:
            Images (N, 3, S, S), and the latents (N, L, D) or None.
        """
        latents = self.expand_latents(
            styles,
            inject_index=inject_index,
            truncation=truncation,
            truncation_latent=truncation_latent,
            input_is_latent=input_is_latent,
            generator=generator,
        )
        if noise is None:
            noise = self.make_noise(len(latents), generator) if randomize_noise else self.stored_noise()
        return self.synthesise(latents, noise), latents if return_latents else None

    def render(self, latents: Tensor, truncation: float = 1.0) -> Tensor:
        """Generate images (N, 3, S, S) of w (N, D) with the stored noise; `truncation` as of `forward`."""
        images, _ = self(latents, input_is_latent=True, randomize_noise=False, truncation=truncation)
        return images

    @property
    def like(self) -> Tensor:
        """A tensor of the device and type of the weights."""
        return self.input.input

    def mapping(self, z: Tensor) -> Tensor:
        """Map normal z (N, D) to w (N, D)."""
        return self.style(z)

    def broadcast_latents(self, latents: Tensor) -> Tensor:
        """Repeat w (N, D) for every layer, (N, L, D); latents (N, L, D) are returned unchanged."""
        return latents if latents.ndim == 3 else latents[:, None].expand(-1, self.config.n_latent, -1)

    def expand_latents(
        self,
        styles: Tensor | Sequence[Tensor],
        *,
        inject_index: int | None = None,
        truncation: float = 1.0,
        truncation_latent: Tensor | None = None,
        input_is_latent: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return one latent per layer, (N, L, D).

        Args:
            styles: z (N, D), or w if `input_is_latent`; two of them are mixed; (N, L, D) are latents of the
                layers.
            inject_index: with two styles, the first layer of the second; None: random in 1...L-1.
            truncation: psi; below 1 every latent becomes c + psi (w - c).
            truncation_latent: centre c, (1, D) or (D,); None for `latent_avg`.
            input_is_latent: the styles are w.
            generator: random generator of the inject index.

        Raises:
            ValueError: shapes or number of styles, an inject index beyond the layers, or the centre is
            unknown.
        """
        given = [styles] if isinstance(styles, Tensor) else list(styles)
        count, dim = self.config.n_latent, self.config.style_dim
        for style in given:
            if style.shape[-1] != dim or style.ndim not in (2, 3) or style.shape[1:-1] not in ((), (count,)):
                raise ValueError(
                    f"a style must be (N, {dim}) or (N, {count}, {dim}), found {tuple(style.shape)}"
                )
        if len(given) not in (1, 2):
            raise ValueError(f"expected one style, or two to mix, found {len(given)}")
        if not input_is_latent:
            given = [self.mapping(z.flatten(0, -2)).reshape(z.shape) for z in given]
        if truncation < 1:
            centre = self.latent_avg if truncation_latent is None else truncation_latent
            if centre is None:
                raise ValueError(
                    "truncation needs a centre: give truncation_latent, such as mean_latent(10_000)"
                )
            given = [centre + truncation * (w - centre) for w in given]
        layers = [self.broadcast_latents(w) for w in given]
        if len(layers) == 1:
            return layers[0]
        if inject_index is None:
            inject_index = int(
                torch.randint(1, count, (), generator=generator, device=_draw_device(generator))
            )
        if not 0 <= inject_index <= count:
            raise ValueError(f"inject_index must lie in 0...{count}, found {inject_index}")
        return torch.cat([layers[0][:, :inject_index], layers[1][:, inject_index:]], 1)

    def synthesise(self, latents: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """Generate images.

        Args:
            latents: (N, L, D).
            noise: a map (N or 1, 1, r, r) for each of `config.noise_sides`.

        Returns:
            (N, 3, S, S).

        Raises:
            ValueError: wrong number of noise maps.
        """
        if len(noise) != len(self.config.noise_sides):
            raise ValueError(f"expected {len(self.config.noise_sides)} noise maps, found {len(noise)}")
        x = self.input(len(latents)).contiguous(memory_format=torch.channels_last)
        x = self.conv1(x, latents[:, 0], noise[0])
        image = self.to_rgb1(x, latents[:, 1])
        for block, to_rgb in enumerate(self.to_rgbs):
            at = 2 * block + 1
            x = self.convs[at - 1](x, latents[:, at], noise[at])
            x = self.convs[at](x, latents[:, at + 1], noise[at + 1])
            image = to_rgb(x, latents[:, at + 2], image)
        return image.contiguous()

    def make_noise(self, batch_size: int = 1, generator: torch.Generator | None = None) -> list[Tensor]:
        """Generate normal noise maps (count, 1, r, r), of several processes those of its own images."""
        like = self.input.input
        draw = partial(
            torch.randn, generator=generator, dtype=like.dtype, device=_draw_device(generator, like)
        )
        return [draw_rows(draw, (batch_size, 1, side, side)).to(like) for side in self.config.noise_sides]

    def stored_noise(self) -> list[Tensor]:
        """Noise maps (1, 1, r, r) that are stored with the weights."""
        return [self.noises.get_buffer(f"noise_{number}") for number in range(len(self.config.noise_sides))]

    @torch.no_grad()
    def mean_latent(
        self, num_samples: int, generator: torch.Generator | None = None, *, chunk_size: int = 4096
    ) -> Tensor:
        """Mean w of `num_samples` normal z, (1, D)."""
        like, total = self.input.input, torch.zeros(1, self.config.style_dim, dtype=torch.float64)
        for start in range(0, num_samples, chunk_size):
            rows = min(chunk_size, num_samples - start)
            z = torch.randn(
                rows,
                self.config.style_dim,
                generator=generator,
                dtype=like.dtype,
                device=_draw_device(generator, like),
            )
            total += self.mapping(z.to(like)).sum(0, keepdim=True, dtype=torch.float64).cpu()
        return (total / num_samples).to(like)


def _draw_device(generator: torch.Generator | None, like: Tensor | None = None) -> torch.device | None:
    """Device on which to sample: the random generator's, else that of the weights."""
    return generator.device if generator is not None else like.device if like is not None else None
