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

from voicestyle.bank import Bank, BankError, PictureOf
from voicestyle.config import SelectionConfig

Features: TypeAlias = Callable[[Sequence[NDArray[np.uint8]]], Tensor]
"""Pictures (H, W, 3) uint8 of any size to features (N, D)."""
PER_VIDEO = 200  # candidates that are compared with a video at most


@dataclass(frozen=True)
class Chosen:
    """The picture that stands for a video.

    Attributes:
        row: of the video in the bank.
        picture: what will be inverted.
        likeness: to the video, as the configuration compares; NaN where nothing was compared.
        replaced: it is a frontal picture and not of the video.
    """

    row: int
    picture: PictureOf
    likeness: float
    replaced: bool


def select(row: int, bank: Bank, config: SelectionConfig, features: Features | None) -> Chosen | None:
    """Choose among a person's frontal pictures, or where there are none among the frames, by likeness.

    Args:
        row: video of the bank.
        bank: its pictures.
        config: reference, comparison.
        features: what compares; may be None for "first".

    Returns:
        None where the bank has no readable picture for the video.
    """
    frames, fronts = bank.frames[row], bank.frontal.get(bank.table[row].identity, [])
    if config.by == "first" or features is None or (not fronts and len(frames) < 2):
        pool = [*((picture, False) for picture in frames), *((picture, True) for picture in fronts)]
        first = next((each for each in pool if _readable(each[0]) is not None), None)
        return None if first is None else Chosen(row, first[0], float("nan"), first[1])
    candidates, candidate_arrays = _read(fronts)
    replaced = bool(candidates)
    if not candidates:  # none, or none that can be read
        candidates, candidate_arrays = _read(frames)
    if not candidates:
        return None
    shown, arrays = _read(frames[:1] if config.reference == "first" else frames) if frames else ([], [])
    if not shown:  # nothing to be like: the person's most typical frontal picture
        arrays = candidate_arrays
    reference = features(arrays).float()
    found = features(candidate_arrays).float() if arrays is not candidate_arrays else reference
    if config.compare == "cosine":
        reference, found = F.normalize(reference, dim=1), F.normalize(found, dim=1)
    likeness = found @ reference.mean(0)
    best = int(torch.argmax(likeness))
    return Chosen(row, candidates[best], float(likeness[best]), replaced)


def select_all(
    rows: Sequence[int], bank: Bank, config: SelectionConfig, features: Features | None, most: int
) -> list[Chosen]:
    """One picture for each of the first videos that have any, `most` of them at most; none twice.

    Raises:
        BankError: no video has a readable picture.
    """
    chosen: list[Chosen] = []
    for row in rows:
        found = select(row, bank, config, features)
        if found is not None and found.picture.label not in {each.picture.label for each in chosen}:
            chosen.append(found)
        if len(chosen) == most:
            break
    if not chosen:
        raise BankError(
            f"none of the {len(rows)} videos that the voice leads to has a readable picture in {bank.name}: "
            "give a bank with more pictures, or ask for more prototypes (lookup.prototypes)"
        )
    return chosen


def clip_features(weights: Path, device: str = "cpu") -> Features:
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
            "selection.by=embedding"
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
    return ClipFeatures(model.to(device).eval().requires_grad_(False), prepare, device)


class ClipFeatures:
    """Picture features of CLIP.

    Args:
        network: with `encode_image`.
        prepare: a PIL picture to what the network takes, (3, s, s).
        device: where it is.
    """

    def __init__(self, network: Any, prepare: Callable[[Any], Tensor], device: str = "cpu") -> None:
        self.network, self.prepare, self.device = network, prepare, device

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Features (N, D) of pictures."""
        from PIL import Image

        batch = torch.stack([self.prepare(Image.fromarray(picture)) for picture in pictures])
        return self.network.encode_image(batch.to(self.device)).float().cpu()


def _read(pictures: Sequence[PictureOf]) -> tuple[list[PictureOf], list[NDArray[np.uint8]]]:
    """Those of the pictures that can be read, evenly spaced ones of very many."""
    if len(pictures) > PER_VIDEO:
        pictures = [pictures[len(pictures) * at // PER_VIDEO] for at in range(PER_VIDEO)]
    found = [(picture, array) for picture in pictures if (array := _readable(picture)) is not None]
    return [picture for picture, _ in found], [array for _, array in found]


def _readable(picture: PictureOf) -> NDArray[np.uint8] | None:
    """Its pixels, or None with a warning where it cannot be read."""
    import logging

    try:
        return picture.read()
    except (ValueError, OSError) as error:
        logging.getLogger(__name__).warning("left out: %s", error)
        return None
