"""Who a run learns from and who it is judged by: recordings, pictures, truth.

Letters: N people, V recordings, P pictures, S shape and E expression numbers.
"""

from pathlib import Path
from typing import Any

from perceptionist import speech
from perceptionist.dataset.records import VoiceFaceDataset
from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.speech import SpeechConfig


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
    """People of a folder: a written population, or the published layout (specification, section 2).

    Args:
        root: the folder.
        split: "train", "val" or "test"; the published layout has "train" (names F to Z) and, for both
            others, the small set `val_sub` with its truth in `AtoE_sub`.
        model: face model that the truth is stated in.
        config: recordings to features.
        truth: published layout: folder with `<Name>/*.npy`, fitted coefficients of the full model.
        with_utterances: False leaves the recordings out, where only pictures are wanted.
        in_memory: decode pictures and read stored features once.

    Raises:
        FileNotFoundError: the folder or a part of it is not there.
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
        people = load_synthetic_folder(root, split, model, config, with_utterances)
    elif (
        (root / VOICE_FOLDER).is_dir()
        or (root / FACE_FOLDER).is_dir()
        or (root / HELD_OUT_VOICE_FOLDER).is_dir()
    ):
        people = load_published_folder(root, split, model, truth)
    else:
        raise FileNotFoundError(
            f"{root} is neither a population (truth/population.json) nor of the published layout "
            f"({VOICE_FOLDER}, {FACE_FOLDER}, vox1_meta.csv): see docs/data.md, or make one: voiceface population {root}"
        )
    if not in_memory:
        return people
    kept = [
        type(side)(side.labels, [side.read(i) for i in range(len(side))])
        for side in (people.utterances, people.images)
    ]
    return _replace(people, voices=kept[0], faces=kept[1])


def _replace(dataset: VoiceFaceDataset, **changes: Any) -> VoiceFaceDataset:
    from dataclasses import replace

    return replace(dataset, **changes)
