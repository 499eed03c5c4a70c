"""Training data of attribute readers: images of synthetic identities of no preset, and their augmentation."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from voiceface.runtime.process_pool import map_unordered
from voiceface.synthetic.head.geometry_truth import build_face_ground_truth
from voiceface.synthetic.head.shape_space import SHAPE_NAMES
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.readers.attribute_reader import IMAGE_SIZE

__all__ = [
    "FIRST_FREE_ID",
    "MIN_IMAGES",
    "NUISANCE_LEVELS",
    "NUM_IMAGE_COUNTS",
    "FaceDataset",
    "augment_images",
    "gaussian_blur",
    "generate_face_dataset",
    "mirror_shape",
    "sample_image_pairs",
]

FIRST_FREE_ID = 100_000  # lower identity numbers belong to presets
MIN_IMAGES, NUM_IMAGE_COUNTS = 3, 4  # images of an identity: 3, 4, 5 or 6 in turn
NUISANCE_LEVELS = (0.3, 1.0)
_NUM_AUGMENTATION_GROUPS = 4
_MIRROR_SIGN_FLIPS = ("asn", "asm", "asj")  # coefficients whose sign changes in a mirrored image
_MIRROR_UNDEFINED = ("rbf0", "rbf1", "rbf2", "rbf3")  # coefficients without a value in a mirrored image


@dataclass(frozen=True)
class FaceDataset:
    """Images of N identities with their ground truth.

    Attributes:
        images: (T, 3, 64, 64) uint8 RGB, grouped by identity.
        nuisance: (T,) nuisance of the image, 0.3 or 1.
        first_image: (N,) index of the first image of each identity.
        num_images: (N,) number of images of each identity.
        sex: (N,) float32, 1 = male.
        factors: (N, 8) float32.
        shape: (N, 40) float32.
        skin: (N, 3) float32 in [0, 1].
    """

    images: Tensor
    nuisance: Tensor
    first_image: Tensor
    num_images: Tensor
    sex: Tensor
    factors: Tensor
    shape: Tensor
    skin: Tensor

    def __len__(self) -> int:
        """Number of identities."""
        return len(self.first_image)


def generate_face_dataset(
    first_id: int, num_identities: int, *, seed: int = 0, workers: int = 1, progress: bool = True
) -> FaceDataset:
    """Render the images of the identities first_id ... first_id + num_identities - 1.

    Nuisance alternates between 0.3 and 1, the rendered size between 64 and 128 pixels (resized to 64); every
    third image is compressed as JPEG.

    Args:
        first_id: first identity number, at least 100,000, beyond all presets.
        num_identities: number of identities.
        seed: population seed.
        workers: processes; the result does not depend on it.
        progress: show a progress bar on standard error.

    Raises:
        ValueError: identities of a preset, or no identities.
    """
    if first_id < FIRST_FREE_ID or num_identities < 1:
        raise ValueError(
            f"expected at least one identity and first_id >= {FIRST_FREE_ID:,} (lower numbers belong to "
            f"presets), got {num_identities} from {first_id:,}"
        )
    ids = range(first_id, first_id + num_identities)
    jobs = [(seed, k) for k in ids]
    results = map_unordered(_render_identity, jobs, workers, "faces", "identity", progress=progress)
    rendered = {k: images for (_, k), images in results}
    truth = build_face_ground_truth(sample_identities(np.asarray(ids), seed=seed, rho=0.0))
    count = torch.tensor([_num_images(k) for k in ids])
    images = np.concatenate([rendered.pop(k) for k in ids])
    return FaceDataset(
        images=torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
        nuisance=torch.tensor([_image_nuisance(i) for k in ids for i in range(_num_images(k))]),
        first_image=count.cumsum(0) - count,
        num_images=count,
        sex=torch.from_numpy(truth.sex).float(),
        factors=torch.from_numpy(truth.factors).float(),
        shape=torch.from_numpy(truth.shape).float(),
        skin=torch.from_numpy(truth.skin).float(),
    )


def sample_image_pairs(
    dataset: FaceDataset, num_identities: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Sample identities without replacement, and two different images of each.

    Args:
        dataset: the images.
        num_identities: identities to sample; at most all.
        generator: random number generator.

    Returns:
        Rows of the identities, indices of their first and of their second images, (P,) each.
    """
    rows = torch.randperm(len(dataset), generator=generator)[:num_identities]
    start, count = dataset.first_image[rows], dataset.num_images[rows]
    uniforms = torch.rand((2, len(rows)), generator=generator)
    first = (uniforms[0] * count).long()
    second = (first + 1 + (uniforms[1] * (count - 1)).long()) % count
    return rows, start + first, start + second


def augment_images(images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Augment images: shift, downsampling, blur, mirroring, colour, noise.

    Args:
        images: (B, 3, 64, 64) uint8.
        generator: random number generator.

    Returns:
        Images (B, 3, 64, 64) float32 in [0, 1], and whether each is mirrored, (B,) bool.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    value = torch.cat(
        [_degrade_images(part.float() / 255.0, generator) for part in images.chunk(_NUM_AUGMENTATION_GROUPS)]
    )
    count = len(value)
    mirrored = torch.rand(count, generator=generator) < 0.5
    value = torch.where(mirrored[:, None, None, None], value.flip(-1), value)
    contrast, tint = uniform(0.92, 1.08, count, 1, 1, 1), uniform(0.97, 1.03, count, 3, 1, 1)
    value = ((value - 0.5) * contrast + 0.5 + uniform(-0.04, 0.04, count, 1, 1, 1)) * tint
    value = value + uniform(0.0, 0.03, count, 1, 1, 1) * torch.randn(value.shape, generator=generator)
    return value.clamp(0.0, 1.0), mirrored


def mirror_shape(shape: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror shape coefficients (B, 40) where `mirrored` (B,); returns them and 1 where they are defined."""
    sign, known = torch.ones(len(SHAPE_NAMES)), torch.ones(len(SHAPE_NAMES))
    sign[[SHAPE_NAMES.index(name) for name in _MIRROR_SIGN_FLIPS]] = -1.0
    known[[SHAPE_NAMES.index(name) for name in _MIRROR_UNDEFINED]] = 0.0
    rows = mirrored[:, None]
    return torch.where(rows, shape * sign, shape), torch.where(rows, known, torch.ones(()))


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Blur images (B, C, H, W) by a Gaussian of `sigma` pixels; edges are repeated."""
    radius = max(1, int(3 * sigma + 0.5))
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).to(images)
    channels = images.shape[1]
    padded = F.pad(images, (radius, radius, radius, radius), mode="replicate")
    rows = F.conv2d(padded, weights.expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(rows, weights[:, None].expand(channels, 1, -1, 1), groups=channels)


def _degrade_images(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift by up to 2 pixels; downsample with probability 1/2; blur with probability 1/3."""
    uniforms = torch.rand(4, generator=generator).tolist()
    right, down = torch.randint(0, 5, (2,), generator=generator).tolist()
    padded = F.pad(images, (2, 2, 2, 2), mode="replicate")
    images = padded[..., down : down + IMAGE_SIZE, right : right + IMAGE_SIZE]
    if uniforms[0] < 0.5:
        size = 32 + int(28 * uniforms[1])
        images = F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True)
        images = F.interpolate(images, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False)
    return gaussian_blur(images, 0.4 + 1.1 * uniforms[3]) if uniforms[2] < 1 / 3 else images


def _num_images(identity: int) -> int:
    return MIN_IMAGES + identity % NUM_IMAGE_COUNTS


def _image_nuisance(image_index: int) -> float:
    return NUISANCE_LEVELS[image_index % 2]


def _render_identity(job: tuple[int, int]) -> NDArray[np.uint8]:
    """Render the images (P, 64, 64, 3) of one identity."""
    import cv2

    from voiceface.synthetic.head.render import prepare_face, render_image

    seed, k = job
    identity = sample_identities([k], seed=seed, rho=0.0)
    face = prepare_face(identity, 0)
    images = np.empty((_num_images(k), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    for index in range(len(images)):
        size, nuisance = IMAGE_SIZE * (1 + index // 2 % 2), _image_nuisance(index)
        rendered = render_image(identity, 0, index, image_size=size, nuisance=nuisance, face=face)
        image = rendered.image
        if index % 3 == 0:
            encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, rendered.jpeg_quality])[1]
            image = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
        if size != IMAGE_SIZE:
            resized = cv2.resize(image, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA)
            image = np.asarray(resized, np.uint8)
        images[index] = image
    return images
