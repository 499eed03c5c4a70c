"""People in the published layout (specification, section 2): lists by names, fitted truth, the small set.

Letters: N people.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perceptionist.dataset.published_lists import (
    HELD_OUT_LETTERS,
    DataError,
    Item,
    in_split,
    read_names,
    training_lists,
)
from perceptionist.dataset.records import Array, People, Pictures, Truth, Voices, ratios_of, scales_of
from perceptionist.face_models.linear import LinearFaceModel

VOICES, FACES = "fbank", "VGG_ALL_FRONTAL"
HELD_OUT_VOICES, HELD_OUT_TRUTH = "val_sub", "AtoE_sub"


def published_folder(root: Path, split: str, model: LinearFaceModel, truth: str | Path | None) -> People:
    """People of the published layout; arguments and errors as `perceptionist.dataset.open.open_people`."""
    if split != "train":
        return _small_set(root, model)
    lists = training_lists(root / VOICES, root / FACES, read_names(root / "vox1_meta.csv"))

    def side(items: tuple[Item, ...], folder: str) -> tuple[NDArray[np.int64], list[Path]]:
        return np.array([item.label for item in items]), [root / folder / item.path for item in items]

    known = _fitted(Path(truth), lists.names, model) if truth else None
    voices, faces = Voices(*side(lists.voices, VOICES)), Pictures(*side(lists.faces, FACES))
    shares = ratios_of(model, known.shape, known.expression) if known else None
    return People(lists.names, voices, faces, known, shares, notice=model.notice)


def _fitted(root: Path, names: Sequence[str], model: LinearFaceModel) -> Truth:
    """Mean fitted shape of each person; the leading numbers are the model's, and the expression is still."""
    from perceptionist.face_models.bfm import read_bfm_numbers

    shapes = []
    for name in names:
        files = sorted((root / name).glob("*.npy"))
        if not files:
            raise FileNotFoundError(f"{root} holds no fitted coefficients ({name}/*.npy) of {name}")
        fitted = [read_bfm_numbers(path).shape[: model.shape_count] for path in files]
        shapes.append(np.mean(fitted, axis=0))
    shape = np.stack(shapes).astype(np.float32)
    return Truth(shape, np.zeros((len(shape), model.expression_count), np.float32), scales_of(model, shape))


def _small_set(root: Path, model: LinearFaceModel) -> People:
    """`val_sub/<Name>/*.npy` with the truth `AtoE_sub/<Name>/*.xyz`."""
    from perceptionist.meshio.xyz import read_xyz
    from perceptionist.proportions import ratios

    voices, truth = root / HELD_OUT_VOICES, root / HELD_OUT_TRUTH
    if not voices.is_dir() or not truth.is_dir():
        raise FileNotFoundError(
            f"{root} lacks {HELD_OUT_VOICES} or {HELD_OUT_TRUTH}, which judge the training; "
            "set training.validate_every=-1 to go without"
        )
    labels: list[int] = []
    files: list[Path] = []
    shares: list[Array] = []
    names: list[str] = []
    for folder in sorted(path for path in voices.iterdir() if path.is_dir()):
        own, cloud = sorted(folder.rglob("*.npy")), sorted((truth / folder.name).glob("*.xyz"))
        if not own or not cloud or not in_split(folder.name, HELD_OUT_LETTERS):
            continue
        points = read_xyz(cloud[0])
        if len(points) != model.vertex_count:
            raise DataError(
                f"{cloud[0]} holds {len(points)} points, the face model {model.name} {model.vertex_count}"
            )
        labels += [len(names)] * len(own)
        files += own
        names.append(folder.name)
        shares.append(ratios(points, model.pairs))
    if not names:
        raise DataError(f"nobody named A to E has files in both {voices} and {truth}")
    nobody = Pictures(np.zeros(0, np.int64), [])
    return People(
        tuple(names), Voices(np.array(labels), files), nobody, ratios=np.stack(shares), notice=model.notice
    )
