"""Images of the identities of a data set: from one window, from several, from all.

Letters: N identities, S windows of one, D embedding size, P real images of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from voiceface.io.atomic import write_png

from sf2f.models import Sf2fModel
from sf2f.sampling import load_identity_faces, load_identity_windows
from sf2f.speakers import Speakers

if TYPE_CHECKING:
    from voiceface.synthetic.head.geometry_truth import FaceGroundTruth

__all__ = [
    "BATCH_SIZE",
    "GenerationMode",
    "WindowEmbeddings",
    "contact_sheet",
    "decode_in_batches",
    "embed_speakers",
    "embed_windows",
    "face_ground_truth",
    "generate_by_mode",
    "generate_images",
    "generate_window_images",
    "has_enough_identities",
    "image_to_uint8",
    "load_real_images",
    "stack_equal_counts",
    "write_image",
]

BATCH_SIZE = 256
GenerationMode = Literal["naive", "average_facenet_embedding", "average_voice_embedding", "fused"]


@dataclass(frozen=True)
class WindowEmbeddings:
    """Window embeddings of identities.

    Attributes:
        windows: for each identity, embeddings (S, D), in the order of their recordings.
    """

    windows: tuple[Tensor, ...]

    def __len__(self) -> int:
        """Number of identities."""
        return len(self.windows)


def embed_speakers(model: Sf2fModel, speakers: Speakers, *, noise_seed: int = 0) -> WindowEmbeddings:
    """Encode all windows of all identities, recordings sorted, without random choices of windows.

    Args:
        model: the generator.
        speakers: the identities.
        noise_seed: seed of the embedding noise of models with `noise_in_evaluation` (published v2f).
    """
    windows_config = model.data.windows.model_copy(update={"missing": "mask"})
    windows = [
        load_identity_windows(speakers, identity, windows_config, model.data.mel)
        for identity in range(len(speakers))
    ]
    return embed_windows(model, windows, noise_seed=noise_seed)


def embed_windows(
    model: Sf2fModel, windows: Sequence[NDArray[np.float32]], *, noise_seed: int = 0
) -> WindowEmbeddings:
    """Encode windows (S, M, W) of each identity; see `embed_speakers`."""
    stacked = torch.from_numpy(np.concatenate(windows))
    device = next(model.generator.parameters()).device
    noise = torch.Generator().manual_seed(noise_seed)
    embeddings = torch.cat([model.embed(batch.to(device), noise) for batch in stacked.split(BATCH_SIZE)])
    return WindowEmbeddings(tuple(embeddings.split([len(each) for each in windows])))


def generate_images(model: Sf2fModel, embeddings: WindowEmbeddings, max_windows: int | None = None) -> Tensor:
    """Generate one image per identity.

    Args:
        model: the generator.
        embeddings: embeddings of windows.
        max_windows: use only the first ones; None uses all. A single window bypasses the fuser, as published.

    Returns:
        (N, 3, side, side), 0...1, on the CPU.
    """
    pooled = [
        each[:1]
        if max_windows == 1 or (len(each) == 1 and not model.has_fuser)
        else model.pool_embeddings(each[:max_windows])
        for each in embeddings.windows
    ]
    return decode_in_batches(model, torch.cat(pooled))


def generate_window_images(model: Sf2fModel, embeddings: WindowEmbeddings) -> list[Tensor]:
    """Generate an image of every window: (S, 3, side, side) per identity, 0...1, on the CPU."""
    images = decode_in_batches(model, torch.cat(embeddings.windows))
    return list(images.split([len(each) for each in embeddings.windows]))


def decode_in_batches(model: Sf2fModel, embeddings: Tensor) -> Tensor:
    """Decode embeddings (N, D) to images (N, 3, side, side), 0...1, on the CPU, in batches."""
    return torch.cat([model.decode_images(batch).cpu() for batch in embeddings.split(BATCH_SIZE)])


def generate_by_mode(model: Sf2fModel, embeddings: WindowEmbeddings, mode: GenerationMode) -> list[Tensor]:
    """Generate the images (n, 3, side, side) of each identity for a published generation mode.

    `naive`: from the first window alone. `average_facenet_embedding`: one of every window; their features are
    averaged. `average_voice_embedding`: one from the mean embedding, bypassing a fuser. `fused`: one from all
    windows through the fuser (the published `naive` with a loader of windows).

    Raises:
        ValueError: `fused` without a fuser.
    """
    if mode == "average_facenet_embedding":
        return generate_window_images(model, embeddings)
    if mode == "naive":
        return list(generate_images(model, embeddings, 1)[:, None])
    if mode == "fused":
        if not model.has_fuser:
            raise ValueError("mode fused needs a stage-2 model; this one has no fuser")
        return list(generate_images(model, embeddings)[:, None])
    means = torch.cat([each.mean(0, keepdim=True) for each in embeddings.windows])
    return list(model.decode_images(means).cpu()[:, None])


def load_real_images(speakers: Speakers, image_size: int) -> list[Tensor]:
    """Load all images of each identity, (P, 3, side, side), 0...1."""
    size = (image_size, image_size)
    return [
        torch.from_numpy(load_identity_faces(speakers, identity, size)) for identity in range(len(speakers))
    ]


def face_ground_truth(speakers: Speakers) -> "FaceGroundTruth | None":
    """Ground truth of the faces of synthetic identities, in their order; None for other data."""
    if speakers.ground_truth is None:
        return None
    from voiceface.synthetic.head import geometry_truth
    from voiceface.synthetic.layout import PopulationSettings, get_face_name

    settings = PopulationSettings(**speakers.ground_truth.settings)
    index_by_name = {get_face_name(index, settings): index for index in settings.ids("all")}
    return geometry_truth.generate_face_ground_truth(
        settings, [index_by_name[name] for name in speakers.names]
    )


def has_enough_identities(ground_truth: "FaceGroundTruth | None") -> bool:
    """Whether agreement with the ground truth is measurable: two identities of each gender at least."""
    return ground_truth is not None and min(int((ground_truth.sex == sex).sum()) for sex in (0, 1)) >= 2


def stack_equal_counts(images: Sequence[Tensor]) -> Tensor:
    """Stack the images of identities to (N, P, 3, side, side), P being the smallest number of images."""
    count = min(len(each) for each in images)
    return torch.stack([each[:count] for each in images])


def image_to_uint8(image: Tensor) -> "np.ndarray":
    """Convert an image (3, H, W), 0...1, to (H, W, 3) uint8, rounded."""
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def write_image(path: Path, image: Tensor) -> None:
    """Write an image (3, H, W), 0...1, as PNG, atomically; folders are created."""
    write_png(path, image_to_uint8(image))


def contact_sheet(images: Tensor, columns: int = 8, gap: int = 2) -> "np.ndarray":
    """Arrange images (N, 3, H, W), 0...1, in a grid on white, (rows, columns, 3) uint8."""
    count, _, height, width = images.shape
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for index, image in enumerate(map(image_to_uint8, images)):
        top, left = (
            gap + position * (side + gap) for position, side in zip(divmod(index, columns), (height, width))
        )
        sheet[top : top + height, left : left + width] = image
    return sheet
