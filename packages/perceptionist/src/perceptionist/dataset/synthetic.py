"""Invented people: a population made in memory or read from its folder, in the numbers of its face model.

Letters: N people, V recordings, P pictures.
"""

import csv
import json
import logging
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from voiceface.datasets.disclaimers import SYNTHETIC_NOTICE

from perceptionist import speech
from perceptionist.dataset.published_lists import DataError
from perceptionist.dataset.records import Array, People, Pictures, Truth, Voices, ratios_of, scales_of
from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.speech import SpeechConfig

if TYPE_CHECKING:
    from voiceface.audio.frontends import PerceptionistLogMel
    from voiceface.synthetic.layout import Settings

log = logging.getLogger(__name__)


def invented_people(
    preset: "Settings | str",
    split: str,
    model: LinearFaceModel,
    config: SpeechConfig = speech.DEFAULT,
    *,
    workers: int | None = None,
    progress: bool = True,
    **changes: Any,
) -> People:
    """People of a population made in memory; arguments as `PopulationDataset` and `open_people`."""
    from voiceface.synthetic.dataset import PopulationDataset
    from voiceface.synthetic.face.render import view_of

    found = PopulationDataset(preset, split, workers=workers, progress=progress, **changes)
    _require_population(model)
    count, clips = found.clips.shape[:2]
    pictures = found.pictures.shape[1]
    order = np.argsort(np.asarray(found.people.names))
    truths = [found.truth(i) for i in order]
    alpha, gain = np.stack([each.alpha for each in truths]), found.settings.face_gain
    how: dict[str, Any] = {"nuisance": found.settings.nuisance, "face_gain": gain}
    views = [view_of(found.people, int(i), p, **how) for i in order for p in range(pictures)]
    voices = [found.clips[i, c] for i in order for c in range(clips)]
    return _population(
        model,
        [found.people.names[i] for i in order],
        alpha * gain,
        np.array([each.sex for each in truths]),
        Voices(np.repeat(np.arange(count), clips), [bands_of(each, config) for each in voices]),
        Pictures(
            np.repeat(np.arange(count), pictures),
            [found.pictures[i, p] for i in order for p in range(pictures)],
        ),
        views,
        gain,
    )


def population_folder(
    root: Path, split: str, model: LinearFaceModel, config: SpeechConfig, voices: bool
) -> People:
    """People of a written population; arguments and errors as `perceptionist.dataset.open.open_people`."""
    from voiceface.synthetic.face.render import View

    _require_population(model)
    folder = root / "truth"
    try:
        settings = json.loads((folder / "population.json").read_text("utf-8"))["settings"]
        with (folder / "identities.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        table = np.load(folder / "shape.npy", allow_pickle=False)
        with np.load(folder / "views.npz", allow_pickle=False) as archive:
            seen = {key: archive[key] for key in ("path", "expression", "pose_degrees", "landmarks")}
        places = sorted(
            (i for i, row in enumerate(rows) if row["split"] == split), key=lambda i: rows[i]["name"]
        )
        sexes = np.array([int(rows[i]["sex"]) for i in places])
        side, gain = settings["picture_side"], settings["face_gain"]
    except (ValueError, KeyError, TypeError, EOFError) as error:
        raise DataError(f"{folder} cannot be read ({error!r}); write the population again") from error
    if not places:
        raise DataError(f"the split {split!r} of the population {root} holds nobody")
    names = [rows[i]["name"] for i in places]
    clips: list[tuple[int, Path]] = []
    for label, i in enumerate(places if voices else []):
        own = sorted((root / "wav" / rows[i]["voice_id"]).rglob("*.wav"))
        if not own:
            raise FileNotFoundError(f"{root} has no recordings of {rows[i]['voice_id']} below wav/")
        clips += [(label, path) for path in own]
    heard = _heard([path for _, path in clips], config) if voices else []
    kept = [(label, bands) for (label, _), bands in zip(clips, heard) if bands is not None]
    place = {name: label for label, name in enumerate(names)}
    owners = [str(path).partition("/")[0] for path in seen["path"]]
    mine = [row for row, owner in enumerate(owners) if owner in place]
    views = [
        View(
            np.radians(seen["pose_degrees"][row]),
            seen["expression"][row],
            0.0,
            np.zeros(2),
            seen["landmarks"][row] / side,
            0,
        )
        for row in mine
    ]
    faces = Pictures(
        np.array([place[owners[row]] for row in mine]),
        [root / "faces" / str(seen["path"][row]) for row in mine],
    )
    absent = [str(path) for path in faces.items if isinstance(path, Path) and not path.is_file()]
    if absent:
        raise FileNotFoundError(f"{len(absent)} pictures of {root} are not there, the first is {absent[0]}")
    labels = np.array([label for label, _ in kept], np.int64)
    found = Voices(labels, [bands for _, bands in kept])
    return _population(model, names, table[places] * gain, sexes, found, faces, views, gain)


def bands_of(samples: Array, config: SpeechConfig, source: str = "a clip") -> NDArray[np.float32]:
    """Features (frames, 64) of a recording, int16 at 16 kHz, not repeated."""
    import torch

    wave = speech.as_samples(samples, source)
    if config.remove_silence:
        wave = speech.without_silence(wave, config=config, source=source)
    found = _front_end()(torch.from_numpy(wave.astype(np.float64))[None])
    return np.ascontiguousarray(found[0].T.numpy())


def _population(
    model: LinearFaceModel,
    names: Sequence[str],
    alpha: Array,
    sexes: Array,
    voices: Voices,
    faces: Pictures,
    views: Sequence[Any],
    gain: float,
) -> People:
    """People of a population in the numbers of its face model; `alpha` (N, 40) has the gain in it."""
    import torch
    from voiceface.synthetic.face import head_bases
    from voiceface.synthetic.face.head import head_model

    from perceptionist.face_models.linear import Parameters
    from perceptionist.face_models.synthetic_head import expression_numbers, pose_numbers

    change = head_model(1.0).orthonormal.shape_from_semantic
    shape = (alpha @ change.T).astype(np.float32)
    still = np.zeros((len(shape), model.expression_count), np.float32)
    moved = [np.asarray(view.expression, float) * gain for view in views]
    codes = (
        expression_numbers(np.stack(moved)) if moved else np.zeros((0, model.expression_count), np.float32)
    )
    poses = [
        pose_numbers(_scaled(view, gain), alpha[label])
        for view, label in zip(views, faces.labels, strict=True)
    ]
    pictures = None
    if poses:
        parts = (np.stack(poses), shape[faces.labels], codes)
        whitened = model.cpu().whiten(Parameters(*(torch.from_numpy(part) for part in parts)))
        pictures = whitened.numpy().astype(np.float32)
    tied = np.abs(head_bases.loadings()).max(axis=1) > 0
    return People(
        tuple(names),
        voices,
        faces,
        Truth(shape, still, scales_of(model, shape), pictures),
        ratios_of(model, shape, still),
        sexes,
        np.asarray(np.linalg.inv(change).T[:, tied], np.float64),
        SYNTHETIC_NOTICE,
    )


def _scaled(view: Any, gain: float) -> Any:
    from dataclasses import replace

    return replace(view, expression=np.asarray(view.expression, float) * gain)


def _heard(paths: Iterable[Path], config: SpeechConfig) -> list[NDArray[np.float32] | None]:
    """Features of sound files; those in which no voice is found are left out, and told."""
    found: list[NDArray[np.float32] | None] = []
    for path in paths:
        samples, _ = speech.read_recording(path, config)
        try:
            found.append(bands_of(samples, config, str(path)))
        except speech.SpeechError as error:
            log.warning("left out: %s", error)
            found.append(None)
    return found


def _require_population(model: LinearFaceModel) -> None:
    if model.name != "population":
        raise DataError(
            f"the truth of a population is stated in its own head, not in the face model {model.name!r}: "
            "leave --face-model out"
        )


@lru_cache(maxsize=1)
def _front_end() -> "PerceptionistLogMel":
    from voiceface.audio.frontends import PerceptionistLogMel

    return PerceptionistLogMel(shortest=1)
