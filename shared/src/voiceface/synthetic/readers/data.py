"""Images that attribute readers learn from: synthetic identities of no preset, and what happens to an
image on the way.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from voiceface.runtime.process_pool import map_unordered
from voiceface.synthetic.face.geometry_truth import build_face_ground_truth
from voiceface.synthetic.face.head_bases import SHAPE_NAMES
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.readers.attribute_reader import IMAGE_SIZE

FIRST_FREE_ID = 100_000  # identity numbers below belong to the presets, the largest included
MIN_IMAGES, NUM_IMAGE_COUNTS = 3, 4  # images of an identity: 3, 4, 5 or 6 in turn
NUISANCE_LEVELS = (0.3, 1.0)
_NUM_AUGMENTATION_GROUPS = 4
_MIRROR_SIGN_FLIPS = ("asn", "asm", "asj")  # coefficients that a mirror turns round
_MIRROR_UNDEFINED = ("rbf0", "rbf1", "rbf2", "rbf3")  # coefficients that no value describes in a mirror


@dataclass(frozen=True)
class FaceDataset:
    """Images of N identities and the truth behind them.

    Attributes:
        images: (T, 3, 64, 64) uint8, red, green, blue, identity by identity.
        nuisance: (T,) how much the image varies, 0.3 or 1.
        first_image, num_images: (N,) first image of an identity, number of images.
        sex: (N,) 1 = man. factors: (N, 8). shape: (N, 40). skin: (N, 3) in [0, 1]; all float32.
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
    """Draw the images of the identities first ... first + identities - 1.

    Images change between nuisance 0.3 and 1 and between 64 and 128 pixels (brought to 64); every third one
    has been through a JPEG file.

    Args:
        first_id: first identity number, at least 100,000, beyond all presets.
        num_identities: number of identities.
        seed: of the population.
        workers: processes; the result does not depend on it.
        progress: show a bar on standard error.

    Raises:
        ValueError: identities of a preset, or nobody.
    """
    if first_id < FIRST_FREE_ID or num_identities < 1:
        raise ValueError(
            f"expected at least one identity and identity numbers from {FIRST_FREE_ID:,}, those below are "
            "for "
            f"presets: got {num_identities} from {first_id:,}"
        )
    ids = range(first_id, first_id + num_identities)
    jobs = [(seed, k) for k in ids]
    made: dict[int, NDArray[np.uint8]] = {}
    for (_, k), found in map_unordered(_render_identity, jobs, workers, "faces", "person", progress=progress):
        made[k] = found
    truth = build_face_ground_truth(sample_identities(np.asarray(ids), seed=seed, rho=0.0))
    count = torch.tensor([_num_images(k) for k in ids])
    stack = np.concatenate([made.pop(k) for k in ids])
    return FaceDataset(
        images=torch.from_numpy(np.ascontiguousarray(stack.transpose(0, 3, 1, 2))),
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
    """Different identities, and two different images of each.

    Args:
        dataset: the set.
        num_identities: how many; at most as many as there are.
        generator: source of the draws.

    Returns:
        Rows of the identities (P,), indices of their first (P,) and of their second images (P,).
    """
    rows = torch.randperm(len(dataset), generator=generator)[:num_identities]
    start, count = dataset.first_image[rows], dataset.num_images[rows]
    one, two = torch.rand((2, len(rows)), generator=generator)
    place = (one * count).long()
    other = (place + 1 + (two * (count - 1)).long()) % count
    return rows, start + place, start + other


def augment_images(images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """What an image may go through: shift, coarser sampling, blur, mirror, colour, noise.

    Args:
        images: (B, 3, 64, 64) uint8.
        generator: source of the draws.

    Returns:
        Images (B, 3, 64, 64) float in [0, 1]; (B,) bool, mirrored.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    value = torch.cat(
        [_degrade_images(part.float() / 255.0, generator) for part in images.chunk(_NUM_AUGMENTATION_GROUPS)]
    )
    many = len(value)
    mirrored = torch.rand(many, generator=generator) < 0.5
    value = torch.where(mirrored[:, None, None, None], value.flip(-1), value)
    contrast, tint = uniform(0.92, 1.08, many, 1, 1, 1), uniform(0.97, 1.03, many, 3, 1, 1)
    value = ((value - 0.5) * contrast + 0.5 + uniform(-0.04, 0.04, many, 1, 1, 1)) * tint
    value = value + uniform(0.0, 0.03, many, 1, 1, 1) * torch.randn(value.shape, generator=generator)
    return value.clamp(0.0, 1.0), mirrored


def mirror_shape(shape: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
    """Shape (B, 40) of heads of which some are mirrored (B,), and 1 where it is known (B, 40)."""
    sign, known = torch.ones(len(SHAPE_NAMES)), torch.ones(len(SHAPE_NAMES))
    sign[[SHAPE_NAMES.index(name) for name in _MIRROR_SIGN_FLIPS]] = -1.0
    known[[SHAPE_NAMES.index(name) for name in _MIRROR_UNDEFINED]] = 0.0
    turned = mirrored[:, None]
    return torch.where(turned, shape * sign, shape), torch.where(turned, known, torch.ones(()))


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Blur (B, C, H, W) by a Gaussian of `sigma` pixels; edges are repeated."""
    reach = max(1, int(3 * sigma + 0.5))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).to(images)
    channels = images.shape[1]
    wide = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    wide = F.conv2d(wide, weights.expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(wide, weights[:, None].expand(channels, 1, -1, 1), groups=channels)


def _degrade_images(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift by up to 2 pixels; in half of the cases coarser sampling, in a third Gaussian blur."""
    chance = torch.rand(4, generator=generator).tolist()
    right, down = torch.randint(0, 5, (2,), generator=generator).tolist()
    wide = F.pad(images, (2, 2, 2, 2), mode="replicate")
    images = wide[..., down : down + IMAGE_SIZE, right : right + IMAGE_SIZE]
    if chance[0] < 0.5:
        coarse = 32 + int(28 * chance[1])
        images = F.interpolate(images, (coarse, coarse), mode="bilinear", align_corners=False, antialias=True)
        images = F.interpolate(images, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False)
    return gaussian_blur(images, 0.4 + 1.1 * chance[3]) if chance[2] < 1 / 3 else images


def _num_images(identity: int) -> int:
    return MIN_IMAGES + identity % NUM_IMAGE_COUNTS


def _image_nuisance(image_index: int) -> float:
    return NUISANCE_LEVELS[image_index % 2]


def _render_identity(job: tuple[int, int]) -> NDArray[np.uint8]:
    """Images (P, 64, 64, 3) of one identity."""
    import cv2

    from voiceface.synthetic.face.render import prepare_face, render_image

    seed, k = job
    people = sample_identities([k], seed=seed, rho=0.0)
    face = prepare_face(people, 0)
    found = np.empty((_num_images(k), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    for picture in range(len(found)):
        side = IMAGE_SIZE * (1 + picture // 2 % 2)
        drawn = render_image(
            people, 0, picture, image_size=side, nuisance=_image_nuisance(picture), face=face
        )
        image = drawn.image
        if picture % 3 == 0:
            coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, drawn.jpeg_quality])[1]
            image = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
        found[picture] = (
            image
            if side == IMAGE_SIZE
            else cv2.resize(image, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA)
        )
    return found
