"""Light on skin, cloth and hair, and texture values at pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Light",
    "add_gloss",
    "cache_sized_parts",
    "compute_irradiance",
    "make_light",
    "normalised",
    "sample_texture",
    "shade_hair",
    "tint_occlusion",
]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

# Red light scatters further under the skin than blue: shadow edges are softer in red, hollows are redder.
_WRAP = np.array([0.32, 0.27, 0.22], np.float32)
_OCCLUSION_POWER = np.array([0.95, 1.15, 1.20], np.float32)
_SHADOW_EDGE = np.array([0.14, 0.0, -0.06], np.float32)
_TEXTURE_ROW = 512
_PIXELS_AT_ONCE = 1 << 14  # so many are shaded within the caches of a processor


@dataclass(frozen=True)
class Light:
    """Light of a picture in camera space.

    Attributes:
        direction: (3,) unit vector to the lamp.
        half: (3,) unit vector half-way between lamp and viewer.
        fill: (3,) unit vector to a weak second lamp.
        ambient, lamp, fill_strength: amounts of light.
    """

    direction: Floats
    half: Floats
    fill: Floats
    ambient: float
    lamp: float
    fill_strength: float


def make_light(light: Floats, fill_uniform: float, nuisance: float) -> Light:
    """Build the light from the eight numbers of `light_vector` and a uniform for the second lamp."""
    side = -1.0 if light[0] > 0 else 1.0
    fill = np.array([0.75 * side, 0.05, 0.66], np.float32)
    strength = 0.14 + 0.10 * min(nuisance, 1.5) * (fill_uniform - 0.5)
    direction, half = light[:3].astype(np.float32), light[3:6].astype(np.float32)
    return Light(direction, half, fill, 1.02 * float(light[6]), float(light[7]), float(strength))


def tint_occlusion(occlusion: Floats) -> Floats:
    """Colour of the ambient light (V, 3) where its amount is `occlusion` (V,): hollows of skin are redder."""
    return np.asarray(np.maximum(occlusion, 1e-4)[:, None] ** _OCCLUSION_POWER, np.float32)


def compute_irradiance(normals: Floats, sky: Floats, visibility: Floats, light: Light) -> Floats:
    """Compute diffuse light at vertices, (V, 3).

    A hemisphere of ambient light, a lamp with wrapped diffuse reflection and soft shadow, and a weak lamp
    from the other side.

    Args:
        normals: (V, 3) unit normals in camera space.
        sky: (V, 3) from `tint_occlusion`.
        visibility: (V,) of the lamp, 0 to 1.
        light: the lamps.
    """
    facing = (normals @ light.direction)[:, None]
    lamp = np.maximum((facing + _WRAP) / (1.0 + _WRAP), 0.0)
    seen = visibility[:, None]
    lamp *= np.float32(light.lamp) * seen * (1.0 + _SHADOW_EDGE * (1.0 - seen))
    other = np.maximum((normals @ light.fill + 0.3) / 1.3, 0.0) * sky[:, 1]
    lamp += np.float32(light.ambient) * sky
    lamp += np.float32(light.fill_strength) * other[:, None]
    return np.asarray(lamp, np.float32)


def add_gloss(colour: Floats, normals: Floats, gloss: Floats, visibility: Floats, light: Light) -> None:
    """Add the specular light of the lamp, broad and narrow, stronger at grazing angles, in place."""
    broad = np.maximum(normals @ light.half, 0.0)
    for _ in range(3):
        broad = np.square(broad)
    narrow = np.square(np.square(broad))
    away = 1.0 - np.clip(normals[:, 2], 0.0, 1.0)
    grazing = 0.6 + 0.9 * (away * away * away)
    colour += ((0.10 * broad + 0.16 * narrow) * gloss * grazing * visibility * np.float32(light.lamp))[
        :, None
    ]


def shade_hair(
    colour: Floats, jitter: Floats, normals: Floats, tangents: Floats, layer: float, light: Light
) -> Floats:
    """Shade strands, (N, 3): diffuse light by the sine between strand and lamp, and two highlights.

    The diffuse term is that of Kajiya and Kay, "Rendering fur with three dimensional textures" (SIGGRAPH
    1989); the highlights are tilted along the strand to either side, as Marschner et al. measured them
    ("Light scattering from human hair fibers", SIGGRAPH 2003, section 4).

    Args:
        colour: (N, 3) linear.
        jitter: (N,) about -0.5 to 0.5, differs between strands.
        normals: (N, 3) unit normals of the hull in camera space.
        tangents: (N, 3) unit vectors along the strands.
        layer: depth in the hair, 0 inner to 1 outer.
        light: the lamps.
    """
    along, facing = tangents @ light.direction, normals @ light.direction
    half, lift = tangents @ light.half, normals @ light.half
    first = 1.0 - (half + (0.12 + 0.32 * jitter) * lift) ** 2
    second = 1.0 - (half + (-0.18 + 0.45 * jitter) * lift) ** 2
    wrapped = np.clip((facing + 0.45) / 1.45, 0.0, 1.0)
    diffuse = wrapped * (0.55 + 0.45 * np.sqrt(np.maximum(1.0 - along * along, 0.0)))
    depth = 0.62 + 0.38 * layer
    first, second = (np.square(np.maximum(each, 0.0)) for each in (first, second))
    eighth = np.square(np.square(first))
    shine = np.square(np.square(eighth)) * eighth * 0.05  # the 40th power
    glow = np.square(np.square(second)) * second * 0.35  # the 10th power
    sky = 0.75 + 0.25 * normals[:, 1]
    lit = 0.80 * light.ambient * sky + 0.85 * light.lamp * diffuse
    lit += 0.9 * light.fill_strength * np.clip(normals @ light.fill, 0.0, 1.0) + light.lamp * wrapped * glow
    out = colour * (lit * depth)[:, None]
    out += (light.lamp * wrapped * shine * depth)[:, None] * np.array([1.0, 0.96, 0.9], np.float32)
    return np.asarray(out, np.float32)


def cache_sized_parts(count: int) -> list[slice]:
    """Parts of 0 ... count, so many pixels that arrays of a few numbers for each stay in the caches."""
    return [slice(start, start + _PIXELS_AT_ONCE) for start in range(0, count, _PIXELS_AT_ONCE)]


def normalised(vectors: Floats) -> Floats:
    """Scale vectors (N, 3) to length 1."""
    length = np.sqrt(np.einsum("ij,ij->i", vectors, vectors)) + np.float32(1e-9)
    return np.asarray(vectors / np.repeat(length, 3).reshape(-1, 3), np.float32)


def sample_texture(texture: Floats, x: Floats, y: Floats) -> Floats:
    """Sample a texture (H, W, C) at texels x, y (N,), bilinearly; its edge continues outside. (N, C)."""
    import cv2

    rows = max(1, -(-len(x) // _TEXTURE_ROW))  # no texels: shells without a pixel that is seen
    place = np.zeros((2, rows * _TEXTURE_ROW), np.float32)
    place[0, : len(x)], place[1, : len(x)] = x, y
    across, down = place.reshape(2, rows, _TEXTURE_ROW)
    found = cv2.remap(texture, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found.reshape(rows * _TEXTURE_ROW, -1)[: len(x)])
