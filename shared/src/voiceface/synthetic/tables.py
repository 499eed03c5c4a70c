"""Tables, trial lists and ground truth of a written population; written after clips and images."""

import csv
import io
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voiceface.io.atomic import write_bytes, write_json, write_text
from voiceface.synthetic.counter_rng import integers
from voiceface.synthetic.identities import (
    FACTORS,
    NUM_STANDARD_IDENTITIES,
    SPLIT_RANGES,
    Identities,
    compute_factor_digest,
)
from voiceface.synthetic.layout import VIEWS_FILE

if TYPE_CHECKING:
    from voiceface.synthetic.layout import PopulationSettings

__all__ = ["assign_sets", "format_views", "write_population_file", "write_tables", "write_trial_lists"]

log = logging.getLogger(__name__)

_LIST_HEADER = ("VoxCeleb1_ID", "VGGFace1_ID", "Gender", "Nationality", "Set")
_META_HEADER = ("VoxCeleb1 ID", "VGGFace1 ID", "Gender", "Nationality", "Set")
_SET_NUMBER = {"train": 1, "val": 2, "test": 4}
# Identities of the complete standard set that are marked "none" (excluded), as many as in the published
# tables.
_NUM_EXCLUDED = {"train": 18, "val": 4, "test": 4}


def assign_sets(settings: "PopulationSettings") -> dict[int, str]:
    """Map identity numbers to "dev", "test" or "none"; "none" occurs in the complete standard set only."""
    sets = {k: "test" if split == "test" else "dev" for split in SPLIT_RANGES for k in settings.ids(split)}
    if len(settings.ids()) == NUM_STANDARD_IDENTITIES:
        for split, count in _NUM_EXCLUDED.items():
            ids = settings.ids(split)
            rank = integers(settings.seed, np.array(ids), "lists", 1, 1)[:, 0]
            sets |= {ids[row]: "none" for row in np.argsort(rank, kind="stable")[:count].tolist()}
    return sets


def write_tables(root: Path, settings: "PopulationSettings", *, with_views: bool = True) -> None:
    """Write the identity tables, the split files and the ground truth.

    Args:
        root: of the population.
        settings: of the population.
        with_views: also write the poses and landmarks of all images.
    """
    from voiceface.synthetic.layout import get_face_name

    identities, sets = settings.sample_identities(), assign_sets(settings)
    numbers, splits = identities.ids.tolist(), identities.splits
    names = {k: get_face_name(k, settings) for k in numbers}
    columns = (
        *(identities.voice_ids, names.values(), identities.genders, identities.nationalities),
        [sets[k] for k in numbers],
    )
    rows = list(zip(*columns))
    write_text(root / "vox1_meta.csv", _format_table(_META_HEADER, rows, "\t", "\n"))
    for split in SPLIT_RANGES:
        selected = [row for row, name in zip(rows, splits) if name == split]
        table = _format_table(_LIST_HEADER, selected, ",", "\r\n")
        write_text(root / "list_wav" / f"vox1_{split}.csv", table)
    by_split = {
        split: [row[1] for row, name in zip(rows, splits) if name == split]
        for split in ("train", "val", "test")
    }
    write_json(root / "split.json", {"vox1": by_split, "vox2": {"train": [], "val": [], "test": []}})
    lines = [f"{row[1]} {_SET_NUMBER[split]} \n" for row, split in zip(rows, splits)]
    write_text(root / "Splits" / "identity_splits.txt", "".join(lines))
    _write_ground_truth(root, settings, identities, names)
    if with_views:
        write_bytes(root / VIEWS_FILE, format_views(settings))
    if settings.mesh:
        from voiceface.synthetic.head.model import build_head_model

        head = build_head_model(settings.face_gain)
        head.orthonormal.save(root / "face_model")


def write_trial_lists(root: Path, settings: "PopulationSettings") -> None:
    """Generate the trial lists of every split into `list_wav/`."""
    from voiceface.datasets.corpus import open_corpus
    from voiceface.datasets.trials.reading import write_trial_list
    from voiceface.datasets.trials.sampling import generate_trial_lists
    from voiceface.datasets.trials.trial_list import TrialListError

    if not settings.clips or not settings.images:
        return
    for split in SPLIT_RANGES:
        if not settings.ids(split):
            continue
        corpus = open_corpus(root, split, on_missing="skip").with_both_modalities()
        try:
            lists = generate_trial_lists(corpus, seed=settings.seed, split=split)
        except TrialListError as error:
            log.warning("no trial lists for split %s: %s", split, error)
            continue
        for trial_list in lists:
            write_trial_list(root / "list_wav" / f"{trial_list.name}.txt", trial_list)


def write_population_file(root: Path, settings: "PopulationSettings", population_file: Path) -> None:
    """Write `population.json`: settings, factor digest, file counts, and that the population is complete."""
    identities = settings.sample_identities()
    folders = ("wav", "faces", "unzippedFaces", "mesh", "face_model", "list_wav", "Splits")
    files = {name: sum(path.is_file() for path in (root / name).rglob("*")) for name in folders}
    summary = {
        "complete": True,
        "disclaimer": "Synthetic population: generated voices and faces, no real people.",
        "settings": asdict(settings),
        "factors": list(FACTORS),
        "coupling": identities.coupling.tolist(),
        "identities": len(identities),
        "factor_sha256": compute_factor_digest(identities),
        "files": {name: count for name, count in files.items() if count},
    }
    write_json(root / population_file, summary)


def _write_ground_truth(
    root: Path, settings: "PopulationSettings", identities: Identities, face_names: dict[int, str]
) -> None:
    """Write `truth/identities.csv` and `shape.npy`, rows in the order of `identities.csv`."""
    from voiceface.synthetic.head.linear_model import save_npy
    from voiceface.synthetic.head.shape_space import shape_coefficients

    columns = ["k", "voice_id", "name", "split", "sex", "face_sex", "age", "height_mm", "nationality"]
    columns += [f"v{j}" for j in range(8)] + [f"g{j}" for j in range(8)]
    factors = np.hstack([identities.voice_factors, identities.face_factors])
    data = (
        *(identities.ids.tolist(), identities.voice_ids, face_names.values(), identities.splits),
        *(identities.sex.tolist(), identities.face_sex.tolist(), identities.age.tolist()),
        *([f"{height:.1f}" for height in identities.height.tolist()], identities.nationalities),
        *([f"{value:.9f}" for value in column] for column in factors.T.tolist()),
    )
    rows = list(zip(*data))
    write_text(root / "truth" / "identities.csv", _format_table(columns, rows, ",", "\n"))
    save_npy(root / "truth" / "shape.npy", shape_coefficients(identities).astype(np.float32))


def format_views(settings: "PopulationSettings") -> bytes:
    """Content of `truth/views.npz`: poses and landmarks of all images, in the order of `identities.csv`."""
    from voiceface.synthetic.camera import sample_render_params
    from voiceface.synthetic.head.shape_space import shape_coefficients
    from voiceface.synthetic.layout import image_path

    identities = settings.sample_identities()
    alpha = shape_coefficients(identities)
    items = [(i, k, image) for i, k in enumerate(identities.ids.tolist()) for image in range(settings.images)]
    options: dict[str, Any] = {"nuisance": settings.nuisance, "face_gain": settings.face_gain}
    views = [sample_render_params(identities, i, image, shape=alpha[i], **options) for i, _, image in items]
    landmarks = np.array([view.landmarks for view in views], np.float32).reshape(-1, 68, 2)
    pose = np.array([view.pose for view in views]).reshape(-1, 3)
    arrays = {
        "path": np.array([image_path(k, image, settings) for _, k, image in items], "U"),
        "k": np.array([k for _, k, _ in items], np.int64),
        "image": np.array([image for *_, image in items], np.int64),
        "video": np.array([view.video for view in views], np.int64),
        "expression": np.array([view.expression for view in views], np.float32).reshape(-1, 10),
        "pose_degrees": np.degrees(pose).astype(np.float32),
        "landmarks": settings.render_size * landmarks,
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _format_table(
    header: Sequence[str], rows: Sequence[Sequence[object]], delimiter: str, line_end: str
) -> str:
    """Format rows as delimited text."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator=line_end)
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
