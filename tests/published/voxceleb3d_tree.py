"""The synthetic population in the layout of Voxceleb-3D: perceptionist."""

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from trees import link_tree

NUM_SHAPE, NUM_EXPRESSION = 199, 29  # coefficients of the full BFM-2009
LAST_HELD_OUT_INITIAL = "E"


def write_voxceleb3d(population: Path, out: Path, face_model: Path) -> Path:
    """Write images, table, validation and test parts, without `fbank`.

    Args:
        population: its folder.
        out: data folder to write.
        face_model: `train.configs`, which the meshes belong to.
    """
    from perceptionist.face_models.io import resolve_face_model
    from perceptionist.meshio.io import write_mesh
    from perceptionist.meshio.mesh import Mesh
    from perceptionist.meshio.xyz import write_xyz
    from perceptionist.speech import extract_file_features

    link_tree(population / "faces", out / "VGG_ALL_FRONTAL")
    shutil.copy(population / "vox1_meta.csv", out)
    model = resolve_face_model(face_model)
    rng = np.random.default_rng(0)
    for voice_id, name in held_out_identities(population):
        shape = torch.from_numpy(rng.normal(0, 0.1, (1, model.num_shape)).astype(np.float32))
        vertices = model.vertices(shape)[0].T.numpy()
        face = out / "A2E_val" / name / "00000001"
        write_mesh(face.with_suffix(".obj"), Mesh(vertices, model.triangles))
        write_xyz(face.with_suffix(".xyz"), vertices)
        np.save(face.with_suffix(".npy"), draw_coefficients(rng))
        write_xyz(out / "AtoE_sub" / name / "00000001.xyz", vertices)
        (out / "val_sub" / name).mkdir(parents=True)
        for clip in sorted((population / "wav" / voice_id).rglob("*.wav"))[:2]:
            stem = f"{clip.parent.name}_{clip.stem}"
            np.save(out / "val_sub" / name / f"{stem}.npy", extract_file_features(clip))
    return out


def write_fitted_coefficients(population: Path, out: Path) -> Path:
    """Write `<Name>/*.npy` of the training identities, two faces of each."""
    rng = np.random.default_rng(1)
    for _, name in read_names(population):
        if name[0] > LAST_HELD_OUT_INITIAL:
            (out / name).mkdir(parents=True)
            for number in range(2):
                np.save(out / name / f"{number:08d}.npy", draw_coefficients(rng))
    return out


def held_out_identities(population: Path) -> Iterator[tuple[str, str]]:
    """Voice id and name of the identities of validation and test, names from A to E."""
    return ((voice_id, name) for voice_id, name in read_names(population) if name[0] <= LAST_HELD_OUT_INITIAL)


def read_names(population: Path) -> list[tuple[str, str]]:
    """Voice id and name of every identity."""
    with (population / "vox1_meta.csv").open(newline="") as file:
        return [(row["VoxCeleb1 ID"], row["VGGFace1 ID"]) for row in csv.DictReader(file, delimiter="\t")]


def draw_coefficients(rng: np.random.Generator) -> np.ndarray:
    """Sample shape and expression coefficients, (228,) float32."""
    return rng.normal(0, 0.1, NUM_SHAPE + NUM_EXPRESSION).astype(np.float32)
