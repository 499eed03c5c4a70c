"""Data in the published layout (docs/data.md): training lists, fitted ground truth, the held-out set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perceptionist.dataset.published_lists import (
    HELD_OUT_INITIALS,
    DataError,
    LabelledFile,
    build_training_lists,
    is_in_split,
    read_identity_names,
)
from perceptionist.dataset.records import (
    Array,
    FaceImages,
    GroundTruth,
    Utterances,
    VoiceFaceDataset,
    ratios_from_coefficients,
    scales_from_shape,
)
from perceptionist.face_models.linear import LinearFaceModel

__all__ = [
    "load_published_folder",
]


VOICE_FOLDER, FACE_FOLDER = "fbank", "VGG_ALL_FRONTAL"
HELD_OUT_VOICE_FOLDER, HELD_OUT_TRUTH_FOLDER = "val_sub", "AtoE_sub"


def load_published_folder(
    root: Path, split: str, model: LinearFaceModel, truth: str | Path | None
) -> VoiceFaceDataset:
    """Load data in the published layout; arguments and errors as `dataset.open.load_dataset`."""
    if split != "train":
        return _load_held_out_set(root, model)
    lists = build_training_lists(
        root / VOICE_FOLDER, root / FACE_FOLDER, read_identity_names(root / "vox1_meta.csv")
    )

    ground_truth = _load_fitted_ground_truth(Path(truth), lists.identities, model) if truth else None
    ratios = None
    if ground_truth:
        ratios = ratios_from_coefficients(model, ground_truth.shape, ground_truth.expression)
    return VoiceFaceDataset(
        lists.identities,
        Utterances(*_labels_and_paths(lists.voices, root / VOICE_FOLDER)),
        FaceImages(*_labels_and_paths(lists.faces, root / FACE_FOLDER)),
        ground_truth,
        ratios,
        disclaimer=model.disclaimer,
    )


def _labels_and_paths(files: tuple[LabelledFile, ...], folder: Path) -> tuple[NDArray[np.int64], list[Path]]:
    return np.array([file.label for file in files]), [folder / file.path for file in files]


def _load_fitted_ground_truth(root: Path, identities: Sequence[str], model: LinearFaceModel) -> GroundTruth:
    """Mean fitted shape of each identity (the model's leading coefficients), with neutral expression."""
    from perceptionist.face_models.bfm import read_bfm_coefficients

    shapes = []
    for name in identities:
        files = sorted((root / name).glob("*.npy"))
        if not files:
            raise FileNotFoundError(f"{root} has no fitted coefficients ({name}/*.npy) of {name}")
        fitted = [read_bfm_coefficients(path).shape[: model.num_shape] for path in files]
        shapes.append(np.mean(fitted, axis=0))
    shape = np.stack(shapes).astype(np.float32)
    return GroundTruth(
        shape, np.zeros((len(shape), model.num_expression), np.float32), scales_from_shape(model, shape)
    )


def _load_held_out_set(root: Path, model: LinearFaceModel) -> VoiceFaceDataset:
    """Load `val_sub/<Name>/*.npy` with the ground truth `AtoE_sub/<Name>/*.xyz`."""
    from perceptionist.meshio.xyz import read_xyz
    from perceptionist.proportions import ratios

    voices, truth = root / HELD_OUT_VOICE_FOLDER, root / HELD_OUT_TRUTH_FOLDER
    if not voices.is_dir() or not truth.is_dir():
        raise FileNotFoundError(
            f"{root} lacks {HELD_OUT_VOICE_FOLDER} or {HELD_OUT_TRUTH_FOLDER}, which validation needs. Add "
            "them, or set "
            "training.validation_interval=null."
        )
    labels: list[int] = []
    files: list[Path] = []
    identity_ratios: list[Array] = []
    names: list[str] = []
    for folder in sorted(path for path in voices.iterdir() if path.is_dir()):
        own, cloud = sorted(folder.rglob("*.npy")), sorted((truth / folder.name).glob("*.xyz"))
        if not own or not cloud or not is_in_split(folder.name, HELD_OUT_INITIALS):
            continue
        points = read_xyz(cloud[0])
        if len(points) != model.num_vertices:
            raise DataError(
                f"{cloud[0]} has {len(points)} points, the face model {model.name} has {model.num_vertices} "
                "vertices; "
                "expected equal numbers. Pass the face model of the meshes as --face-model."
            )
        labels += [len(names)] * len(own)
        files += own
        names.append(folder.name)
        identity_ratios.append(ratios(points, model.pairs))
    if not names:
        raise DataError(f"No identity named A to E has files in both {voices} and {truth}.")
    no_images = FaceImages(np.zeros(0, np.int64), [])
    return VoiceFaceDataset(
        tuple(names),
        Utterances(np.array(labels), files),
        no_images,
        ratios=np.stack(identity_ratios),
        disclaimer=model.disclaimer,
    )
