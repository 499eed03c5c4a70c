"""Pictures to learn from: a folder's, a written population's, or invented ones."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from voicestyle.stylegan2.config import PicturesConfig

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
MOST_BYTES = 2_000_000_000  # pictures that take less are decoded once and kept
log = logging.getLogger(__name__)


class PictureSet:
    """Square pictures of one size, drawn from as the training loop wants it.

    Args:
        items: pictures (S, S, 3) uint8, R G B, as one array (P, S, S, 3), or files.
        size: S, side.
        flip: mirror at random.
        notice: what must be said beside everything that is made of them, or empty.
    """

    def __init__(
        self,
        items: NDArray[np.uint8] | Sequence[Path],
        size: int,
        *,
        flip: bool = True,
        notice: str = "",
    ) -> None:
        self.size, self.flip, self.notice = size, flip, notice
        if not isinstance(items, np.ndarray) and len(items) * size * size * 3 <= MOST_BYTES:
            items = np.stack([square_picture(path, size) for path in items])
        self.items = items

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.items)

    def read(self, index: int) -> NDArray[np.uint8]:
        """One picture, (S, S, 3)."""
        item = self.items[index]
        return square_picture(item, self.size) if isinstance(item, Path) else item

    def draw(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """One picture in -1...1, mirrored or not: {"picture": (3, S, S) float32}."""
        picture = self.read(index)
        if self.flip and rng.random() < 0.5:
            picture = picture[:, ::-1]
        return {"picture": np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32) / 127.5 - 1}


def open_pictures(root: str | Path, size: int, *, flip: bool = True) -> PictureSet:
    """Pictures of a folder and the folders in it; of a population only those of its training people.

    Raises:
        FileNotFoundError: no such folder, or no picture in it.
    """
    from voiceface.datasets.disclaimers import SYNTHETIC_NOTICE

    root = Path(root)
    if (root / "truth" / "population.json").is_file():
        from voiceface.datasets.corpus import open_corpus

        corpus = open_corpus(root, "train")
        return PictureSet(
            [corpus.face_path(item) for item in corpus.faces], size, flip=flip, notice=SYNTHETIC_NOTICE
        )
    if not root.is_dir():
        raise FileNotFoundError(f"no folder of pictures at {root}; check the path")
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"no pictures ({', '.join(sorted(SUFFIXES))}) in {root}")
    return PictureSet(files, size, flip=flip)


def invented_pictures(
    config: "PicturesConfig", size: int, *, workers: int | None = None, progress: bool = True
) -> PictureSet:
    """Pictures of invented training identities, drawn at `size` pixels."""
    from voiceface.datasets.disclaimers import SYNTHETIC_NOTICE
    from voiceface.synthetic.dataset import PopulationDataset
    from voiceface.synthetic.layout import settings_of

    settings = settings_of(
        "standard",
        train=config.people,
        clips=0,
        pictures=config.pictures,
        picture_side=size,
        nuisance=config.nuisance,
    )
    found = PopulationDataset(settings, "train", workers=workers, progress=progress)
    return PictureSet(
        found.pictures.reshape(-1, size, size, 3), size, flip=config.flip, notice=SYNTHETIC_NOTICE
    )


def square_picture(path: Path, size: int) -> NDArray[np.uint8]:
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
