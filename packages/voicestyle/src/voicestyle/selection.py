"""Step 3, selection: choose the image that represents a video."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from voicestyle.config import SelectionConfig
from voicestyle.face_bank import BankImage, FaceBank, FaceBankError

__all__ = [
    "ClipFeatureExtractor",
    "FeatureExtractor",
    "SelectedImage",
    "load_clip_features",
    "select_image",
    "select_images",
]

FeatureExtractor: TypeAlias = Callable[[Sequence[NDArray[np.uint8]]], Tensor]
"""Images (H, W, 3) uint8 of any size to features (N, D)."""
MAX_CANDIDATES = 200  # largest number of images compared with a video


@dataclass(frozen=True)
class SelectedImage:
    """The image that represents a video.

    Attributes:
        video_row: row of the video in the bank.
        image: image to invert.
        similarity: similarity with the video, as configured; NaN if nothing was compared.
        is_frontal: whether it is a frontal image rather than a frame of the video.
    """

    video_row: int
    image: BankImage
    similarity: float
    is_frontal: bool


def select_image(
    video_row: int, bank: FaceBank, config: SelectionConfig, feature_extractor: FeatureExtractor | None
) -> SelectedImage | None:
    """Choose the frontal image of the identity, or else the frame, that is most similar to the video.

    Args:
        video_row: row of the video in the bank.
        bank: face bank.
        config: reference and similarity measure.
        feature_extractor: image features; may be None for "first".

    Returns:
        None if the bank has no readable image for the video.
    """
    frames, frontal = bank.frames[video_row], bank.frontal_images.get(bank.videos[video_row].identity, [])
    if config.method == "first" or feature_extractor is None or (not frontal and len(frames) < 2):
        pool = [*((image, False) for image in frames), *((image, True) for image in frontal)]
        first = next((each for each in pool if bank.try_read(each[0]) is not None), None)
        return None if first is None else SelectedImage(video_row, first[0], float("nan"), first[1])
    candidates, candidate_pixels = _read_images(frontal, bank)
    is_frontal = bool(candidates)
    if not candidates:  # there are none, or none can be read
        candidates, candidate_pixels = _read_images(frames, bank)
    if not candidates:
        return None
    shown, pixels = (
        _read_images(frames[:1] if config.reference == "first" else frames, bank) if frames else ([], [])
    )
    if not shown:  # no frames: choose the identity's most typical frontal image
        pixels = candidate_pixels
    reference = feature_extractor(pixels).float()
    features = feature_extractor(candidate_pixels).float() if pixels is not candidate_pixels else reference
    if config.similarity == "cosine":
        reference, features = F.normalize(reference, dim=1), F.normalize(features, dim=1)
    similarity = features @ reference.mean(0)
    best = int(torch.argmax(similarity))
    return SelectedImage(video_row, candidates[best], float(similarity[best]), is_frontal)


def select_images(
    video_rows: Sequence[int],
    bank: FaceBank,
    config: SelectionConfig,
    feature_extractor: FeatureExtractor | None,
    max_images: int,
) -> list[SelectedImage]:
    """Choose one image for each of the first videos that have any, at most `max_images`; no image twice.

    Raises:
        FaceBankError: no video has a readable image.
    """
    selected: list[SelectedImage] = []
    for row in video_rows:
        candidate = select_image(row, bank, config, feature_extractor)
        if candidate is not None and candidate.image.label not in {each.image.label for each in selected}:
            selected.append(candidate)
        if len(selected) == max_images:
            break
    if not selected:
        raise FaceBankError(
            f"none of the {len(video_rows)} retrieved videos has a readable image in {bank.name}: "
            "give a bank with more images, or choose more prototypes (retrieval.num_prototypes)"
        )
    return selected


def load_clip_features(weights: Path, device: str = "cpu") -> FeatureExtractor:
    """Load image features of CLIP ViT-B/32 by the package open_clip.

    Args:
        weights: state dict of open_clip (.safetensors, .pt). OpenAI's TorchScript archive is a program and is
            refused; open_clip converts it.
        device: device of the network.

    Raises:
        ModuleNotFoundError: open_clip is not installed.
        CheckpointError: the file is corrupt, a program, or belongs to another network.
    """
    try:
        import open_clip
    except ImportError:
        raise ModuleNotFoundError(
            "selection by CLIP needs the package open_clip_torch: pip install open_clip_torch, or choose "
            "selection.method=embedding"
        ) from None
    from voiceface.checkpoints.native import load_into
    from voiceface.checkpoints.published import read_published

    content = read_published(weights)
    state = content.get("state_dict", content)
    model, _, prepare = open_clip.create_model_and_transforms("ViT-B-32-quickgelu", pretrained=None)
    load_into(model, state, source=str(weights))
    return ClipFeatureExtractor(model.to(device).eval().requires_grad_(False), prepare, device)


class ClipFeatureExtractor:
    """Image features of CLIP.

    Args:
        network: has `encode_image`.
        preprocess: converts a PIL image to the network's input, (3, s, s).
        device: device of the network.
    """

    def __init__(self, network: Any, preprocess: Callable[[Any], Tensor], device: str = "cpu") -> None:
        self.network, self.preprocess, self.device = network, preprocess, device

    @torch.inference_mode()
    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return features (N, D) of images."""
        from PIL import Image

        batch = torch.stack([self.preprocess(Image.fromarray(image)) for image in images])
        return self.network.encode_image(batch.to(self.device)).float().cpu()


def _read_images(
    images: Sequence[BankImage], bank: FaceBank
) -> tuple[list[BankImage], list[NDArray[np.uint8]]]:
    """Read the readable ones of the images; of very many, evenly spaced ones."""
    if len(images) > MAX_CANDIDATES:
        images = [images[len(images) * at // MAX_CANDIDATES] for at in range(MAX_CANDIDATES)]
    readable = [(image, pixels) for image in images if (pixels := bank.try_read(image)) is not None]
    return [image for image, _ in readable], [pixels for _, pixels in readable]
