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
from voiceface.datasets.disclaimers import SYNTHETIC_DATA_DISCLAIMER

from perceptionist import speech
from perceptionist.dataset.published_lists import DataError
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
from perceptionist.speech import SpeechConfig

if TYPE_CHECKING:
    from voiceface.audio.frontends import PerceptionistLogMel
    from voiceface.synthetic.layout import PopulationSettings

log = logging.getLogger(__name__)


def generate_synthetic_dataset(
    preset: "PopulationSettings | str",
    split: str,
    model: LinearFaceModel,
    config: SpeechConfig = speech.DEFAULT_CONFIG,
    *,
    num_workers: int | None = None,
    progress: bool = True,
    **overrides: Any,
) -> VoiceFaceDataset:
    """People of a population made in memory; arguments as `PopulationDataset` and `load_dataset`."""
    from voiceface.synthetic.dataset import PopulationDataset
    from voiceface.synthetic.face.render import sample_render_params

    found = PopulationDataset(preset, split, workers=num_workers, progress=progress, **overrides)
    _require_synthetic_model(model)
    count, clips = found.clips.shape[:2]
    pictures = found.images.shape[1]
    order = np.argsort(np.asarray(found.identities.face_names))
    truths = [found.ground_truth(i) for i in order]
    alpha, gain = np.stack([each.shape for each in truths]), found.settings.face_gain
    how: dict[str, Any] = {"nuisance": found.settings.nuisance, "face_gain": gain}
    views = [sample_render_params(found.identities, int(i), p, **how) for i in order for p in range(pictures)]
    voices = [found.clips[i, c] for i in order for c in range(clips)]
    return _build_dataset(
        model,
        [found.identities.face_names[i] for i in order],
        alpha * gain,
        np.array([each.sex for each in truths]),
        Utterances(
            np.repeat(np.arange(count), clips), [extract_unpadded_features(each, config) for each in voices]
        ),
        FaceImages(
            np.repeat(np.arange(count), pictures),
            [found.images[i, p] for i in order for p in range(pictures)],
        ),
        views,
        gain,
    )


def load_synthetic_folder(
    root: Path, split: str, model: LinearFaceModel, config: SpeechConfig, with_utterances: bool
) -> VoiceFaceDataset:
    """People of a written population; arguments and errors as `perceptionist.dataset.open.load_dataset`."""
    from voiceface.synthetic.face.render import RenderParams

    _require_synthetic_model(model)
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
    for label, i in enumerate(places if with_utterances else []):
        own = sorted((root / "wav" / rows[i]["voice_id"]).rglob("*.wav"))
        if not own:
            raise FileNotFoundError(f"{root} has no recordings of {rows[i]['voice_id']} below wav/")
        clips += [(label, path) for path in own]
    heard = _extract_all_features([path for _, path in clips], config) if with_utterances else []
    kept = [(label, bands) for (label, _), bands in zip(clips, heard) if bands is not None]
    place = {name: label for label, name in enumerate(names)}
    owners = [str(path).partition("/")[0] for path in seen["path"]]
    mine = [row for row, owner in enumerate(owners) if owner in place]
    views = [
        RenderParams(
            np.radians(seen["pose_degrees"][row]),
            seen["expression"][row],
            0.0,
            np.zeros(2),
            seen["landmarks"][row] / side,
            0,
        )
        for row in mine
    ]
    faces = FaceImages(
        np.array([place[owners[row]] for row in mine]),
        [root / "faces" / str(seen["path"][row]) for row in mine],
    )
    absent = [str(path) for path in faces.items if isinstance(path, Path) and not path.is_file()]
    if absent:
        raise FileNotFoundError(f"{len(absent)} pictures of {root} are not there, the first is {absent[0]}")
    labels = np.array([label for label, _ in kept], np.int64)
    found = Utterances(labels, [bands for _, bands in kept])
    return _build_dataset(model, names, table[places] * gain, sexes, found, faces, views, gain)


def extract_unpadded_features(
    samples: Array, config: SpeechConfig, source: str = "a clip"
) -> NDArray[np.float32]:
    """Features (frames, 64) of a recording, int16 at 16 kHz, not repeated."""
    import torch

    wave = speech.to_int16_samples(samples, source)
    if config.remove_silence:
        wave = speech.remove_silence(wave, config=config, source=source)
    found = _get_frontend()(torch.from_numpy(wave.astype(np.float64))[None])
    return np.ascontiguousarray(found[0].T.numpy())


def _build_dataset(
    model: LinearFaceModel,
    identities: Sequence[str],
    alpha: Array,
    genders: Array,
    utterances: Utterances,
    images: FaceImages,
    views: Sequence[Any],
    face_gain: float,
) -> VoiceFaceDataset:
    """People of a population in the numbers of its face model; `alpha` (N, 40) has the gain in it."""
    import torch
    from voiceface.synthetic.face import head_bases
    from voiceface.synthetic.face.head import build_head_model

    from perceptionist.face_models.linear import FaceParameters
    from perceptionist.face_models.synthetic_head import expression_coefficients, pose_parameters

    change = build_head_model(1.0).orthonormal.shape_from_semantic
    shape = (alpha @ change.T).astype(np.float32)
    still = np.zeros((len(shape), model.num_expression), np.float32)
    moved = [np.asarray(view.expression, float) * face_gain for view in views]
    codes = (
        expression_coefficients(np.stack(moved)) if moved else np.zeros((0, model.num_expression), np.float32)
    )
    poses = [
        pose_parameters(_scale_expression(view, face_gain), alpha[label])
        for view, label in zip(views, images.labels, strict=True)
    ]
    pictures = None
    if poses:
        parts = (np.stack(poses), shape[images.labels], codes)
        whitened = model.cpu().whiten(FaceParameters(*(torch.from_numpy(part) for part in parts)))
        pictures = whitened.numpy().astype(np.float32)
    tied = np.abs(head_bases.factor_loadings()).max(axis=1) > 0
    return VoiceFaceDataset(
        tuple(identities),
        utterances,
        images,
        GroundTruth(shape, still, scales_from_shape(model, shape), pictures),
        ratios_from_coefficients(model, shape, still),
        genders,
        np.asarray(np.linalg.inv(change).T[:, tied], np.float64),
        SYNTHETIC_DATA_DISCLAIMER,
    )


def _scale_expression(view: Any, gain: float) -> Any:
    from dataclasses import replace

    return replace(view, expression=np.asarray(view.expression, float) * gain)


def _extract_all_features(paths: Iterable[Path], config: SpeechConfig) -> list[NDArray[np.float32] | None]:
    """Features of sound files; those in which no voice is found are left out, and told."""
    found: list[NDArray[np.float32] | None] = []
    for path in paths:
        samples, _ = speech.read_recording(path, config)
        try:
            found.append(extract_unpadded_features(samples, config, str(path)))
        except speech.SpeechError as error:
            log.warning("left out: %s", error)
            found.append(None)
    return found


def _require_synthetic_model(model: LinearFaceModel) -> None:
    if model.name != "population":
        raise DataError(
            f"the truth of a population is stated in its own head, not in the face model {model.name!r}: "
            "leave --face-model out"
        )


@lru_cache(maxsize=1)
def _get_frontend() -> "PerceptionistLogMel":
    from voiceface.audio.frontends import PerceptionistLogMel

    return PerceptionistLogMel(min_frames=1)
