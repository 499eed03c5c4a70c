"""Training images: of a directory, of a written population, or rendered in memory."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from voicestyle.stylegan2.config import ImagesConfig

__all__ = [
    "ImageDataset",
    "build_synthetic_images",
    "load_square_image",
    "open_images",
]

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
MAX_CACHED_BYTES = 2_000_000_000  # smaller datasets are decoded once and kept in memory
log = logging.getLogger(__name__)


class ImageDataset:
    """Square images of one size; implements `voiceface.training.sampling.RandomAccessDataset`.

    Args:
        images: images (S, S, 3) uint8 RGB as one array (P, S, S, 3), or files.
        size: S.
        flip: mirror at random.
        disclaimer: text to show with every result, or empty.
    """

    def __init__(
        self,
        images: NDArray[np.uint8] | Sequence[Path],
        size: int,
        *,
        flip: bool = True,
        disclaimer: str = "",
    ) -> None:
        self.size, self.flip, self.disclaimer = size, flip, disclaimer
        if not isinstance(images, np.ndarray) and len(images) * size * size * 3 <= MAX_CACHED_BYTES:
            images = np.stack([load_square_image(path, size) for path in images])
        self.images = images

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def read(self, index: int) -> NDArray[np.uint8]:
        """Return one image, (S, S, 3)."""
        item = self.images[index]
        return load_square_image(item, self.size) if isinstance(item, Path) else item

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return one image in -1...1, mirrored or not: {"image": (3, S, S) float32}."""
        image = self.read(index)
        if self.flip and rng.random() < 0.5:
            image = image[:, ::-1]
        return {"image": np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / 127.5 - 1}


def open_images(root: str | Path, size: int, *, flip: bool = True) -> ImageDataset:
    """Open the images below a directory; of a population only those of its training identities.

    Raises:
        FileNotFoundError: the directory is missing, or contains no image.
    """
    from voiceface.datasets.disclaimers import SYNTHETIC_DATA_DISCLAIMER

    root = Path(root)
    if (root / "truth" / "population.json").is_file():
        from voiceface.datasets.corpus import open_corpus

        corpus = open_corpus(root, "train")
        return ImageDataset(
            [corpus.face_path(item) for item in corpus.faces],
            size,
            flip=flip,
            disclaimer=SYNTHETIC_DATA_DISCLAIMER,
        )
    if not root.is_dir():
        raise FileNotFoundError(f"no directory of images at {root}; check the path")
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise FileNotFoundError(f"no images ({', '.join(sorted(IMAGE_SUFFIXES))}) in {root}")
    return ImageDataset(files, size, flip=flip)


def build_synthetic_images(
    config: "ImagesConfig", size: int, *, num_workers: int | None = None, progress: bool = True
) -> ImageDataset:
    """Render images of synthetic training identities at `size` pixels.

    Raises:
        ValueError: all of them own glasses, and none of those are wanted.
    """
    from voiceface.datasets.disclaimers import SYNTHETIC_DATA_DISCLAIMER
    from voiceface.synthetic.dataset import PopulationDataset
    from voiceface.synthetic.head.glasses import own_glasses
    from voiceface.synthetic.layout import build_settings

    settings = build_settings(
        "standard",
        train=config.num_identities,
        clips=0,
        images=config.images_per_identity,
        render_size=size,
        nuisance=config.nuisance,
    )
    dataset = PopulationDataset(settings, "train", workers=num_workers, progress=progress)
    images = dataset.images
    if not config.glasses:
        images = images[~own_glasses(settings.seed, settings.ids("train"))]
        if not len(images):
            raise ValueError(
                f"data.glasses: all {config.num_identities} identities own glasses; raise data.num_identities"
            )
    return ImageDataset(
        images.reshape(-1, size, size, 3),
        size,
        flip=config.flip,
        disclaimer=SYNTHETIC_DATA_DISCLAIMER,
    )


def load_square_image(path: Path, size: int) -> NDArray[np.uint8]:
    """Load an image, resize its shorter side to `size` (Lanczos) and centre-crop it: (S, S, 3) uint8."""
    from PIL import Image
    from voiceface.images.loading import load_image

    image = Image.fromarray(load_image(path))
    scale = size / min(image.size)
    resized = [max(size, round(side * scale)) for side in image.size]
    if tuple(resized) != image.size:
        image = image.resize((resized[0], resized[1]), Image.Resampling.LANCZOS)
    left, top = (resized[0] - size) // 2, (resized[1] - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)), np.uint8)
