"""Tables, lists and truth files of a written population; everything here is quick and written last."""

import csv
import io
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from voiceface.io.atomic import write_bytes, write_json, write_text
from voiceface.synthetic.counter_rng import integers
from voiceface.synthetic.identities import (
    FACTORS,
    NUM_STANDARD_IDENTITIES,
    SPLIT_RANGES,
    Identities,
    compute_factor_digest,
    sample_identities,
)

if TYPE_CHECKING:
    from voiceface.synthetic.layout import PopulationSettings

log = logging.getLogger(__name__)

LIST_HEADER = ("VoxCeleb1_ID", "VGGFace1_ID", "Gender", "Nationality", "Set")
META_HEADER = ("VoxCeleb1 ID", "VGGFace1 ID", "Gender", "Nationality", "Set")
SET_NUMBER = {"train": 1, "val": 2, "test": 4}
# Rows marked "none" (to be skipped) when the standard set is complete, as many as in the published tables.
NUM_EXCLUDED = {"train": 18, "val": 4, "test": 4}


def all_identities(settings: "PopulationSettings") -> Identities:
    """All identities of a population, ascending."""
    return sample_identities(
        settings.ids(),
        seed=settings.seed,
        rho=settings.rho,
        share_sex=settings.share_sex,
        confound=settings.confound,
    )


def assign_sets(settings: "PopulationSettings") -> dict[int, str]:
    """Identity number to "dev", "test" or "none"; "none" only in the complete standard set."""
    result = {k: "test" if split == "test" else "dev" for split in SPLIT_RANGES for k in settings.ids(split)}
    if len(settings.ids()) == NUM_STANDARD_IDENTITIES:
        for split, count in NUM_EXCLUDED.items():
            ids = settings.ids(split)
            rank = integers(settings.seed, np.array(ids), "lists", 1, 1)[:, 0]
            result |= {ids[row]: "none" for row in np.argsort(rank, kind="stable")[:count].tolist()}
    return result


def write_tables(root: Path, settings: "PopulationSettings") -> None:
    """Write the identity tables, the split files and the truth tables."""
    from voiceface.synthetic.layout import get_face_name

    people = all_identities(settings)
    sets = assign_sets(settings)
    names = {k: get_face_name(k, settings) for k in people.ids.tolist()}
    who = zip(people.ids.tolist(), people.voice_ids, people.genders, people.nationalities, people.splits)
    rows = [((voice, names[k], gender, nation, sets[k]), split) for k, voice, gender, nation, split in who]
    write_text(root / "vox1_meta.csv", _format_table(META_HEADER, [row for row, _ in rows], "\t", "\n"))
    for split in SPLIT_RANGES:
        mine = [row for row, where in rows if where == split]
        write_text(root / "list_wav" / f"vox1_{split}.csv", _format_table(LIST_HEADER, mine, ",", "\r\n"))
    by_split = {
        split: [row[1] for row, where in rows if where == split] for split in ("train", "val", "test")
    }
    write_json(root / "split.json", {"vox1": by_split, "vox2": {"train": [], "val": [], "test": []}})
    lines = [f"{row[1]} {SET_NUMBER[where]} \n" for row, where in rows]
    write_text(root / "Splits" / "identity_splits.txt", "".join(lines))
    _write_ground_truth(root, settings, people, names)
    if settings.mesh:
        from voiceface.synthetic.face.head import build_head_model

        build_head_model(settings.face_gain).orthonormal.save(root / "face_model")


def write_trial_lists(root: Path, settings: "PopulationSettings") -> None:
    """Draw the evaluation lists of every split with the ordinary list builder, into `list_wav/`."""
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
            drawn = generate_trial_lists(corpus, seed=settings.seed, split=split)
        except TrialListError as error:
            log.warning("no lists for the split %s: %s", split, error)
            continue
        for one in drawn:
            write_trial_list(root / "list_wav" / f"{one.name}.txt", one)


def write_population_file(root: Path, settings: "PopulationSettings", population_file: Path) -> None:
    """Write `population.json`: settings, factor digest, file counts, and that everything is there."""
    people = all_identities(settings)
    folders = ("wav", "faces", "unzippedFaces", "mesh", "face_model", "list_wav", "Splits")
    files = {name: sum(path.is_file() for path in (root / name).rglob("*")) for name in folders}
    summary = {
        "complete": True,
        "disclaimer": "Synthetic population: generated voices and faces, no real people.",
        "settings": asdict(settings),
        "factors": list(FACTORS),
        "coupling": people.coupling.tolist(),
        "identities": len(people),
        "factor_sha256": compute_factor_digest(people),
        "files": {name: count for name, count in files.items() if count},
    }
    write_json(root / population_file, summary)


def _write_ground_truth(
    root: Path, settings: "PopulationSettings", identities: Identities, face_names: dict[int, str]
) -> None:
    """`truth/identities.csv`, `shape.npy` and `views.npz`, rows in the order of `identities.csv`."""
    from voiceface.synthetic.face.head import save_npy, shape_coefficients
    from voiceface.synthetic.face.render import sample_render_params
    from voiceface.synthetic.layout import image_path

    columns = ["k", "voice_id", "name", "split", "sex", "face_sex", "age", "height_mm", "nationality"]
    columns += [f"v{j}" for j in range(8)] + [f"g{j}" for j in range(8)]
    words = zip(identities.voice_ids, face_names.values(), identities.splits, identities.nationalities)
    rows = []
    for i, (voice, name, split, nation) in enumerate(words):
        numbers = [
            f"{value:.9f}"
            for value in (*identities.voice_factors[i].tolist(), *identities.face_factors[i].tolist())
        ]
        body = [
            int(identities.sex[i]),
            int(identities.face_sex[i]),
            int(identities.age[i]),
            f"{identities.height[i]:.1f}",
            nation,
        ]
        rows.append([int(identities.ids[i]), voice, name, split, *body, *numbers])
    write_text(root / "truth" / "identities.csv", _format_table(columns, rows, ",", "\n"))
    alpha = shape_coefficients(identities)
    save_npy(root / "truth" / "shape.npy", alpha.astype(np.float32))
    which = [(i, picture) for i in range(len(identities)) for picture in range(settings.images)]
    views = [
        sample_render_params(
            identities, i, picture, nuisance=settings.nuisance, shape=alpha[i], face_gain=settings.face_gain
        )
        for i, picture in which
    ]
    arrays = {
        "path": np.array(
            [image_path(int(identities.ids[i]), picture, settings) for i, picture in which], "U"
        ),
        "k": np.array([int(identities.ids[i]) for i, _ in which], np.int64),
        "image": np.array([picture for _, picture in which], np.int64),
        "video": np.array([view.video for view in views], np.int64),
        "expression": np.array([view.expression for view in views], np.float32).reshape(-1, 10),
        "pose_degrees": np.degrees(np.array([view.pose for view in views]).reshape(-1, 3)).astype(np.float32),
        "landmarks": settings.render_size
        * np.array([view.landmarks for view in views], np.float32).reshape(-1, 68, 2),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_bytes(root / "truth" / "views.npz", buffer.getvalue())


def _format_table(
    header: Sequence[str], rows: Sequence[Sequence[object]], delimiter: str, line_end: str
) -> str:
    """Rows as delimited text."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator=line_end)
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
