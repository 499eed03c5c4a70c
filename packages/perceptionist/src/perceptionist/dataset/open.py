"""Load a training or validation set from a folder: a synthetic population, or the published layout."""

from dataclasses import replace
from pathlib import Path

from perceptionist import speech
from perceptionist.dataset.records import FaceImages, Utterances, VoiceFaceDataset
from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.network_config import SpeechConfig

__all__ = [
    "load_dataset",
]


def load_dataset(
    root: str | Path,
    split: str,
    model: LinearFaceModel,
    config: SpeechConfig = speech.DEFAULT_CONFIG,
    *,
    truth: str | Path | None = None,
    with_utterances: bool = True,
    in_memory: bool = False,
) -> VoiceFaceDataset:
    """Load a split of a synthetic population or of data in the published layout (docs/data.md).

    Args:
        root: the folder.
        split: "train", "val" or "test"; the published layout has "train" (names F to Z) and, for both
            others, the small set `val_sub` with its ground truth in `AtoE_sub`.
        model: face model that the ground truth is stated in.
        config: from recordings to features.
        truth: published layout: folder with `<Name>/*.npy`, fitted coefficients of the full model.
        with_utterances: False loads images only.
        in_memory: decode images and read stored features once.

    Raises:
        FileNotFoundError: the folder or a part of it is missing.
        DataError, ValueError: files that do not fit together.
    """
    from perceptionist.dataset.synthetic import load_synthetic_folder
    from perceptionist.dataset.voxceleb3d import (
        FACE_FOLDER,
        HELD_OUT_VOICE_FOLDER,
        VOICE_FOLDER,
        load_published_folder,
    )

    root = Path(root)
    if (root / "truth" / "population.json").is_file():
        dataset = load_synthetic_folder(root, split, model, config, with_utterances)
    elif any((root / folder).is_dir() for folder in (VOICE_FOLDER, FACE_FOLDER, HELD_OUT_VOICE_FOLDER)):
        dataset = load_published_folder(root, split, model, truth)
    else:
        raise FileNotFoundError(
            f"{root} is neither a population (truth/population.json) nor in the published layout "
            f"({VOICE_FOLDER}, {FACE_FOLDER}, vox1_meta.csv). See docs/data.md, or write a synthetic "
            "population: "
            f"voiceface population {root}"
        )
    if not in_memory:
        return dataset
    utterances, images = dataset.utterances, dataset.images
    return replace(
        dataset,
        utterances=Utterances(utterances.labels, [utterances.read(i) for i in range(len(utterances))]),
        images=FaceImages(images.labels, [images.read(i) for i in range(len(images))]),
    )
