"""Step 3, selection: which picture stands for a video. Specification, section 11."""

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

FeatureExtractor: TypeAlias = Callable[[Sequence[NDArray[np.uint8]]], Tensor]
"""Pictures (H, W, 3) uint8 of any size to features (N, D)."""
MAX_CANDIDATES = 200  # candidates that are compared with a video at most


@dataclass(frozen=True)
class SelectedImage:
    """The picture that stands for a video.

    Attributes:
        video_row: of the video in the bank.
        image: what will be inverted.
        similarity: to the video, as the configuration compares; NaN where nothing was compared.
        is_frontal: it is a frontal picture and not of the video.
    """

    video_row: int
    image: BankImage
    similarity: float
    is_frontal: bool


def select_image(
    video_row: int, bank: FaceBank, config: SelectionConfig, feature_extractor: FeatureExtractor | None
) -> SelectedImage | None:
    """Choose among a person's frontal pictures, or where there are none among the frames, by likeness.

    Args:
        video_row: video of the bank.
        bank: its pictures.
        config: reference, comparison.
        feature_extractor: what compares; may be None for "first".

    Returns:
        None where the bank has no readable picture for the video.
    """
    frames, fronts = bank.frames[video_row], bank.frontal_images.get(bank.videos[video_row].identity, [])
    if config.method == "first" or feature_extractor is None or (not fronts and len(frames) < 2):
        pool = [*((picture, False) for picture in frames), *((picture, True) for picture in fronts)]
        first = next((each for each in pool if _try_read(each[0]) is not None), None)
        return None if first is None else SelectedImage(video_row, first[0], float("nan"), first[1])
    candidates, candidate_arrays = _read_images(fronts)
    replaced = bool(candidates)
    if not candidates:  # none, or none that can be read
        candidates, candidate_arrays = _read_images(frames)
    if not candidates:
        return None
    shown, arrays = (
        _read_images(frames[:1] if config.reference == "first" else frames) if frames else ([], [])
    )
    if not shown:  # nothing to be like: the person's most typical frontal picture
        arrays = candidate_arrays
    reference = feature_extractor(arrays).float()
    found = feature_extractor(candidate_arrays).float() if arrays is not candidate_arrays else reference
    if config.similarity == "cosine":
        reference, found = F.normalize(reference, dim=1), F.normalize(found, dim=1)
    likeness = found @ reference.mean(0)
    best = int(torch.argmax(likeness))
    return SelectedImage(video_row, candidates[best], float(likeness[best]), replaced)


def select_images(
    video_rows: Sequence[int],
    bank: FaceBank,
    config: SelectionConfig,
    feature_extractor: FeatureExtractor | None,
    max_images: int,
) -> list[SelectedImage]:
    """One picture for each of the first videos that have any, `max_images` of them at most; none twice.

    Raises:
        BankError: no video has a readable picture.
    """
    chosen: list[SelectedImage] = []
    for row in video_rows:
        found = select_image(row, bank, config, feature_extractor)
        if found is not None and found.image.label not in {each.image.label for each in chosen}:
            chosen.append(found)
        if len(chosen) == max_images:
            break
    if not chosen:
        raise FaceBankError(
            f"none of the {len(video_rows)} videos that the voice leads to has a readable picture in {bank.name}: "
            "give a bank with more pictures, or ask for more prototypes (retrieval.num_prototypes)"
        )
    return chosen


def load_clip_features(weights: Path, device: str = "cpu") -> FeatureExtractor:
    """Picture features of CLIP ViT-B/32, by the package open_clip where it is installed.

    Args:
        weights: a state dict of open_clip (.safetensors, .pt). The TorchScript archive that OpenAI gives away
            is a program and is refused; open_clip converts it.
        device: where it runs.

    Raises:
        ModuleNotFoundError: open_clip is not installed.
        CheckpointError: damaged, a program, or another network's.
    """
    try:
        import open_clip
    except ImportError:
        raise ModuleNotFoundError(
            "selection by CLIP needs the package open_clip_torch: pip install open_clip_torch, or choose "
            "selection.method=embedding"
        ) from None
    from voiceface.checkpoints.native import load_into
    from voiceface.checkpoints.published import CheckpointError, read_published, require_file

    if weights.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        require_file(weights)
        try:
            state = load_file(weights)
        except SafetensorError as error:
            raise CheckpointError(f"{weights} is damaged or no safetensors file ({error})") from None
    else:
        content = read_published(weights)
        state = content.get("state_dict", content)
    model, _, prepare = open_clip.create_model_and_transforms("ViT-B-32-quickgelu", pretrained=None)
    load_into(model, {k.removeprefix("module."): v for k, v in state.items()}, source=str(weights))
    return ClipFeatureExtractor(model.to(device).eval().requires_grad_(False), prepare, device)


class ClipFeatureExtractor:
    """Picture features of CLIP.

    Args:
        network: with `encode_image`.
        preprocess: a PIL picture to what the network takes, (3, s, s).
        device: where it is.
    """

    def __init__(self, network: Any, preprocess: Callable[[Any], Tensor], device: str = "cpu") -> None:
        self.network, self.preprocess, self.device = network, preprocess, device

    @torch.inference_mode()
    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Features (N, D) of pictures."""
        from PIL import Image

        batch = torch.stack([self.preprocess(Image.fromarray(picture)) for picture in images])
        return self.network.encode_image(batch.to(self.device)).float().cpu()


def _read_images(images: Sequence[BankImage]) -> tuple[list[BankImage], list[NDArray[np.uint8]]]:
    """Those of the pictures that can be read, evenly spaced ones of very many."""
    if len(images) > MAX_CANDIDATES:
        images = [images[len(images) * at // MAX_CANDIDATES] for at in range(MAX_CANDIDATES)]
    found = [(picture, array) for picture in images if (array := _try_read(picture)) is not None]
    return [picture for picture, _ in found], [array for _, array in found]


def _try_read(image: BankImage) -> NDArray[np.uint8] | None:
    """Its pixels, or None with a warning where it cannot be read."""
    import logging

    try:
        return image.read()
    except (ValueError, OSError) as error:
        logging.getLogger(__name__).warning("left out: %s", error)
        return None
