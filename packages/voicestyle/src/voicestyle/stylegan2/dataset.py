"""Pictures to learn from: a folder's, a written population's, or invented ones."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from voicestyle.stylegan2.config import ImagesConfig

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
MAX_CACHED_BYTES = 2_000_000_000  # pictures that take less are decoded once and kept
log = logging.getLogger(__name__)


class ImageDataset:
    """Square pictures of one size, drawn from as the training loop wants it.

    Args:
        images: pictures (S, S, 3) uint8, R G B, as one array (P, S, S, 3), or files.
        size: S, side.
        flip: mirror at random.
        disclaimer: what must be said beside everything that is made of them, or empty.
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
        """Number of pictures."""
        return len(self.images)

    def read(self, index: int) -> NDArray[np.uint8]:
        """One picture, (S, S, 3)."""
        item = self.images[index]
        return load_square_image(item, self.size) if isinstance(item, Path) else item

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """One picture in -1...1, mirrored or not: {"image": (3, S, S) float32}."""
        picture = self.read(index)
        if self.flip and rng.random() < 0.5:
            picture = picture[:, ::-1]
        return {"image": np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32) / 127.5 - 1}


def open_images(root: str | Path, size: int, *, flip: bool = True) -> ImageDataset:
    """Pictures of a folder and the folders in it; of a population only those of its training people.

    Raises:
        FileNotFoundError: no such folder, or no picture in it.
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
        raise FileNotFoundError(f"no folder of pictures at {root}; check the path")
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise FileNotFoundError(f"no pictures ({', '.join(sorted(IMAGE_SUFFIXES))}) in {root}")
    return ImageDataset(files, size, flip=flip)


def build_synthetic_images(
    config: "ImagesConfig", size: int, *, num_workers: int | None = None, progress: bool = True
) -> ImageDataset:
    """Pictures of invented training identities, drawn at `size` pixels."""
    from voiceface.datasets.disclaimers import SYNTHETIC_DATA_DISCLAIMER
    from voiceface.synthetic.dataset import PopulationDataset
    from voiceface.synthetic.layout import build_settings

    settings = build_settings(
        "standard",
        train=config.num_identities,
        clips=0,
        pictures=config.images_per_identity,
        picture_side=size,
        nuisance=config.nuisance,
    )
    found = PopulationDataset(settings, "train", workers=num_workers, progress=progress)
    return ImageDataset(
        found.images.reshape(-1, size, size, 3), size, flip=config.flip, disclaimer=SYNTHETIC_DATA_DISCLAIMER
    )


def load_square_image(path: Path, size: int) -> NDArray[np.uint8]:
    """A file's picture, its shorter side brought to `size` (Lanczos), the middle cut out: (S, S, 3) uint8."""
    from PIL import Image
    from voiceface.images.loading import decode

    image = Image.fromarray(decode(path))
    scale = size / min(image.size)
    wide = [max(size, round(side * scale)) for side in image.size]
    if tuple(wide) != image.size:
        image = image.resize((wide[0], wide[1]), Image.Resampling.LANCZOS)
    left, top = (wide[0] - size) // 2, (wide[1] - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)), np.uint8)
