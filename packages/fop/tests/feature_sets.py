"""Small feature sets for the tests of fop: people whose voices and faces share a hidden vector."""

from pathlib import Path

import numpy as np
from voiceface.datasets.identities import Identity
from voiceface.encoders.interface import EncoderInfo
from voiceface.encoders.tables import FeatureSet

__all__ = ["make_features", "write_published_csv"]


def make_features(
    people: int = 8,
    voices: int = 6,
    faces: int = 6,
    *,
    voice_dim: int = 12,
    face_dim: int = 20,
    splits: tuple[str, ...] = (),
    seed: int = 0,
    noise: float = 0.3,
) -> FeatureSet:
    """Make features of people in turn of `splits`; row i of both modalities is one person if counts agree.

    Args:
        people: number of people.
        voices, faces: rows of each.
        voice_dim, face_dim: lengths of the features.
        splits: of the people, repeated; empty: not stated.
        seed: of the features; the maps from hidden vectors to features do not depend on it.
        noise: deviation of a row from its person.
    """
    rng, maps = np.random.default_rng(seed), np.random.default_rng(99)
    hidden = rng.standard_normal((people, 4)).astype(np.float32)
    tables, owners = [], []
    for rows, dim in ((voices, voice_dim), (faces, face_dim)):
        mapping = maps.standard_normal((4, dim)).astype(np.float32)
        owner = np.repeat(np.arange(people), rows)
        features = hidden[owner] @ mapping + noise * rng.standard_normal((len(owner), dim))
        tables.append(features.astype(np.float32))
        owners.append(owner)
    names = [f"person{index:03d}" for index in range(people)]
    return FeatureSet(
        tables[0],
        tables[1],
        owners[0],
        owners[1],
        tuple(
            Identity(name, name, name, split=splits[index % len(splits)] if splits else "")
            for index, name in enumerate(names)
        ),
        tuple(f"{names[owner]}/{row}.wav" for row, owner in enumerate(owners[0].tolist())),
        tuple(f"{names[owner]}/{row}.jpg" for row, owner in enumerate(owners[1].tolist())),
        EncoderInfo("voices of tests", "voice", voice_dim, trained_on=("voxceleb1",), fingerprint="v"),
        EncoderInfo("faces of tests", "face", face_dim, fingerprint="f"),
    )


def write_published_csv(features: FeatureSet, folder: Path) -> tuple[Path, Path]:
    """Write the training files of the published programs: features, label in the last column, no header."""
    paths = folder / "voices.csv", folder / "faces.csv"
    for path, table, owners in zip(
        paths, (features.voices, features.faces), (features.voice_identities, features.face_identities)
    ):
        np.savetxt(path, np.column_stack([table, owners]), fmt="%.6g", delimiter=",")
    return paths
