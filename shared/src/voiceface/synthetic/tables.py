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
    SPLIT_RANGES,
    STANDARD_SIZE,
    People,
    draw_people,
    factor_digest,
)

if TYPE_CHECKING:
    from voiceface.synthetic.layout import Settings

log = logging.getLogger(__name__)

HEADER = ("VoxCeleb1_ID", "VGGFace1_ID", "Gender", "Nationality", "Set")
META_HEADER = ("VoxCeleb1 ID", "VGGFace1 ID", "Gender", "Nationality", "Set")
SET_NUMBER = {"train": 1, "val": 2, "test": 4}
# Rows marked "none" (to be skipped) when the standard set is complete, as many as in the published tables.
NONE_ROWS = {"train": 18, "val": 4, "test": 4}


def people_of(settings: "Settings") -> People:
    """All identities of a population, ascending."""
    return draw_people(
        settings.ids(),
        seed=settings.seed,
        rho=settings.rho,
        share_sex=settings.share_sex,
        confound=settings.confound,
    )


def set_column(settings: "Settings") -> dict[int, str]:
    """Identity number to "dev", "test" or "none"; "none" only in the complete standard set."""
    result = {k: "test" if split == "test" else "dev" for split in SPLIT_RANGES for k in settings.ids(split)}
    if len(settings.ids()) == STANDARD_SIZE:
        for split, count in NONE_ROWS.items():
            ids = settings.ids(split)
            rank = integers(settings.seed, np.array(ids), "lists", 1, 1)[:, 0]
            result |= {ids[row]: "none" for row in np.argsort(rank, kind="stable")[:count].tolist()}
    return result


def write_all(root: Path, settings: "Settings") -> None:
    """Write the identity tables, the split files and the truth tables."""
    from voiceface.synthetic.layout import name_of

    people = people_of(settings)
    sets = set_column(settings)
    names = {k: name_of(k, settings) for k in people.k.tolist()}
    who = zip(people.k.tolist(), people.voice_ids, people.genders, people.nationalities, people.splits)
    rows = [((voice, names[k], gender, nation, sets[k]), split) for k, voice, gender, nation, split in who]
    write_text(root / "vox1_meta.csv", _table(META_HEADER, [row for row, _ in rows], "\t", "\n"))
    for split in SPLIT_RANGES:
        mine = [row for row, where in rows if where == split]
        write_text(root / "list_wav" / f"vox1_{split}.csv", _table(HEADER, mine, ",", "\r\n"))
    by_split = {
        split: [row[1] for row, where in rows if where == split] for split in ("train", "val", "test")
    }
    write_json(root / "split.json", {"vox1": by_split, "vox2": {"train": [], "val": [], "test": []}})
    lines = [f"{row[1]} {SET_NUMBER[where]} \n" for row, where in rows]
    write_text(root / "Splits" / "identity_splits.txt", "".join(lines))
    _write_truth(root, settings, people, names)
    if settings.mesh:
        from voiceface.synthetic.face.head import head_model

        head_model(settings.face_gain).orthonormal.save(root / "face_model")


def write_lists(root: Path, settings: "Settings") -> None:
    """Draw the evaluation lists of every split with the ordinary list builder, into `list_wav/`."""
    from voiceface.datasets.corpus import open_corpus
    from voiceface.datasets.trials.reading import write_list
    from voiceface.datasets.trials.sampling import draw_all
    from voiceface.datasets.trials.trial_list import ListError

    if not settings.clips or not settings.pictures:
        return
    for split in SPLIT_RANGES:
        if not settings.ids(split):
            continue
        corpus = open_corpus(root, split, on_missing="skip").complete()
        try:
            drawn = draw_all(corpus, seed=settings.seed, split=split)
        except ListError as error:
            log.warning("no lists for the split %s: %s", split, error)
            continue
        for one in drawn:
            write_list(root / "list_wav" / f"{one.name}.txt", one)


def write_summary(root: Path, settings: "Settings", marker: Path) -> None:
    """Write `population.json`: settings, factor digest, file counts, and that everything is there."""
    people = people_of(settings)
    folders = ("wav", "faces", "unzippedFaces", "mesh", "face_model", "list_wav", "Splits")
    files = {name: sum(path.is_file() for path in (root / name).rglob("*")) for name in folders}
    summary = {
        "complete": True,
        "notice": "Synthetic population: invented voices and faces, no real person.",
        "settings": asdict(settings),
        "factors": list(FACTORS),
        "coupling": people.c.tolist(),
        "identities": len(people),
        "factor_sha256": factor_digest(people),
        "files": {name: count for name, count in files.items() if count},
    }
    write_json(root / marker, summary)


def _write_truth(root: Path, settings: "Settings", people: People, names: dict[int, str]) -> None:
    """`truth/identities.csv`, `shape.npy` and `views.npz`, rows in the order of `identities.csv`."""
    from voiceface.synthetic.face.head import identity_coefficients, save_array
    from voiceface.synthetic.face.render import view_of
    from voiceface.synthetic.layout import picture_path

    columns = ["k", "voice_id", "name", "split", "sex", "face_sex", "age", "height_mm", "nationality"]
    columns += [f"v{j}" for j in range(8)] + [f"g{j}" for j in range(8)]
    words = zip(people.voice_ids, names.values(), people.splits, people.nationalities)
    rows = []
    for i, (voice, name, split, nation) in enumerate(words):
        numbers = [f"{value:.9f}" for value in (*people.v[i].tolist(), *people.g[i].tolist())]
        body = [
            int(people.sex[i]),
            int(people.face_sex[i]),
            int(people.age[i]),
            f"{people.height[i]:.1f}",
            nation,
        ]
        rows.append([int(people.k[i]), voice, name, split, *body, *numbers])
    write_text(root / "truth" / "identities.csv", _table(columns, rows, ",", "\n"))
    alpha = identity_coefficients(people)
    save_array(root / "truth" / "shape.npy", alpha.astype(np.float32))
    which = [(i, picture) for i in range(len(people)) for picture in range(settings.pictures)]
    views = [
        view_of(people, i, picture, nuisance=settings.nuisance, alpha=alpha[i], face_gain=settings.face_gain)
        for i, picture in which
    ]
    arrays = {
        "path": np.array([picture_path(int(people.k[i]), picture, settings) for i, picture in which], "U"),
        "k": np.array([int(people.k[i]) for i, _ in which], np.int64),
        "picture": np.array([picture for _, picture in which], np.int64),
        "video": np.array([view.video for view in views], np.int64),
        "expression": np.array([view.expression for view in views], np.float32).reshape(-1, 10),
        "pose_degrees": np.degrees(np.array([view.pose for view in views]).reshape(-1, 3)).astype(np.float32),
        "landmarks": settings.picture_side
        * np.array([view.landmarks for view in views], np.float32).reshape(-1, 68, 2),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_bytes(root / "truth" / "views.npz", buffer.getvalue())


def _table(header: Sequence[str], rows: Sequence[Sequence[object]], delimiter: str, end: str) -> str:
    """Rows as delimited text."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator=end)
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
