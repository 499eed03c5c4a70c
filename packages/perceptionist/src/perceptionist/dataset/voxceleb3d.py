"""People in the published layout (specification, section 2): lists by names, fitted truth, the small set.

Letters: N people.
"""

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

VOICE_FOLDER, FACE_FOLDER = "fbank", "VGG_ALL_FRONTAL"
HELD_OUT_VOICE_FOLDER, HELD_OUT_TRUTH_FOLDER = "val_sub", "AtoE_sub"


def load_published_folder(
    root: Path, split: str, model: LinearFaceModel, truth: str | Path | None
) -> VoiceFaceDataset:
    """People of the published layout; arguments and errors as `perceptionist.dataset.open.load_dataset`."""
    if split != "train":
        return _load_held_out_set(root, model)
    lists = build_training_lists(
        root / VOICE_FOLDER, root / FACE_FOLDER, read_identity_names(root / "vox1_meta.csv")
    )

    def side(items: tuple[LabelledFile, ...], folder: str) -> tuple[NDArray[np.int64], list[Path]]:
        return np.array([item.label for item in items]), [root / folder / item.path for item in items]

    known = _load_fitted_ground_truth(Path(truth), lists.identities, model) if truth else None
    voices, faces = Utterances(*side(lists.voices, VOICE_FOLDER)), FaceImages(*side(lists.faces, FACE_FOLDER))
    shares = ratios_from_coefficients(model, known.shape, known.expression) if known else None
    return VoiceFaceDataset(lists.identities, voices, faces, known, shares, disclaimer=model.disclaimer)


def _load_fitted_ground_truth(root: Path, identities: Sequence[str], model: LinearFaceModel) -> GroundTruth:
    """Mean fitted shape of each person; the leading numbers are the model's, and the expression is still."""
    from perceptionist.face_models.bfm import read_bfm_coefficients

    shapes = []
    for name in identities:
        files = sorted((root / name).glob("*.npy"))
        if not files:
            raise FileNotFoundError(f"{root} holds no fitted coefficients ({name}/*.npy) of {name}")
        fitted = [read_bfm_coefficients(path).shape[: model.num_shape] for path in files]
        shapes.append(np.mean(fitted, axis=0))
    shape = np.stack(shapes).astype(np.float32)
    return GroundTruth(
        shape, np.zeros((len(shape), model.num_expression), np.float32), scales_from_shape(model, shape)
    )


def _load_held_out_set(root: Path, model: LinearFaceModel) -> VoiceFaceDataset:
    """`val_sub/<Name>/*.npy` with the truth `AtoE_sub/<Name>/*.xyz`."""
    from perceptionist.meshio.xyz import read_xyz
    from perceptionist.proportions import ratios

    voices, truth = root / HELD_OUT_VOICE_FOLDER, root / HELD_OUT_TRUTH_FOLDER
    if not voices.is_dir() or not truth.is_dir():
        raise FileNotFoundError(
            f"{root} lacks {HELD_OUT_VOICE_FOLDER} or {HELD_OUT_TRUTH_FOLDER}, which judge the training; "
            "set training.validation_interval=null to go without"
        )
    labels: list[int] = []
    files: list[Path] = []
    shares: list[Array] = []
    names: list[str] = []
    for folder in sorted(path for path in voices.iterdir() if path.is_dir()):
        own, cloud = sorted(folder.rglob("*.npy")), sorted((truth / folder.name).glob("*.xyz"))
        if not own or not cloud or not is_in_split(folder.name, HELD_OUT_INITIALS):
            continue
        points = read_xyz(cloud[0])
        if len(points) != model.num_vertices:
            raise DataError(
                f"{cloud[0]} holds {len(points)} points, the face model {model.name} {model.num_vertices}"
            )
        labels += [len(names)] * len(own)
        files += own
        names.append(folder.name)
        shares.append(ratios(points, model.pairs))
    if not names:
        raise DataError(f"nobody named A to E has files in both {voices} and {truth}")
    nobody = FaceImages(np.zeros(0, np.int64), [])
    return VoiceFaceDataset(
        tuple(names),
        Utterances(np.array(labels), files),
        nobody,
        ratios=np.stack(shares),
        disclaimer=model.disclaimer,
    )
