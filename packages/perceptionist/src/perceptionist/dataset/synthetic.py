"""Data sets of a synthetic population, generated in memory or read from its folder.

Letters: N identities, P images.
"""

import csv
import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from voiceface.datasets.disclaimers import SYNTHETIC_DATA_DISCLAIMER
from voiceface.datasets.layouts import find_voices
from voiceface.io.foreign_files import read_json, reading
from voiceface.io.packed_folders import file_exists
from voiceface.io.safe_pickle import read_npy, read_npz

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
from perceptionist.network_config import SpeechConfig

if TYPE_CHECKING:
    from voiceface.audio.frontends import PerceptionistLogMel
    from voiceface.synthetic.layout import PopulationSettings

    from perceptionist.face_models.synthetic_head import PopulationHead

__all__ = [
    "extract_unpadded_features",
    "generate_synthetic_dataset",
    "load_synthetic_folder",
    "population_head",
]


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
    """Generate a split in memory; arguments as `PopulationDataset` and `load_dataset`."""
    from voiceface.synthetic.camera import sample_render_params
    from voiceface.synthetic.dataset import PopulationDataset

    population = PopulationDataset(preset, split, workers=num_workers, progress=progress, **overrides)
    head = _require_synthetic_model(model)
    num_identities, num_clips = population.clips.shape[:2]
    num_images = population.images.shape[1]
    order = np.argsort(np.asarray(population.identities.face_names))
    ground_truths = [population.ground_truth(i) for i in order]
    alpha, gain = np.stack([each.shape for each in ground_truths]), population.settings.face_gain
    options: dict[str, Any] = {
        "nuisance": population.settings.nuisance,
        "face_gain": gain,
    }
    views = [
        sample_render_params(population.identities, int(i), p, **options)
        for i in order
        for p in range(num_images)
    ]
    voices = [population.clips[i, c] for i in order for c in range(num_clips)]
    return _build_dataset(
        model,
        [population.identities.face_names[i] for i in order],
        alpha,
        np.array([each.sex for each in ground_truths]),
        Utterances(
            np.repeat(np.arange(num_identities), num_clips),
            [extract_unpadded_features(each, config) for each in voices],
        ),
        FaceImages(
            np.repeat(np.arange(num_identities), num_images),
            [population.images[i, p] for i in order for p in range(num_images)],
        ),
        views,
        replace(head, face_gain=gain),
    )


def load_synthetic_folder(
    root: Path, split: str, model: LinearFaceModel, config: SpeechConfig, with_utterances: bool
) -> VoiceFaceDataset:
    """Load a split of a written population; arguments and errors as `dataset.open.load_dataset`."""
    from voiceface.synthetic.camera import RenderParams

    head, settings = _require_synthetic_model(model), _read_settings(root)
    folder = root / "truth"
    what, remedy = "the truth of a population", "write the population again"
    with reading(folder / "identities.csv", DataError, what, remedy=remedy) as file:
        rows = list(csv.DictReader(io.TextIOWrapper(file, "utf-8", newline="")))
        table = read_npy(folder / "shape.npy")
        view_names = ("path", "expression", "pose_degrees", "landmarks")
        view_table = read_npz(folder / "views.npz", names=view_names)
        if absent := set(view_names) - set(view_table):
            raise ValueError(f"views.npz lacks {', '.join(sorted(absent))}")
        places = sorted(
            (i for i, row in enumerate(rows) if row["split"] == split), key=lambda i: rows[i]["name"]
        )
        genders = np.array([int(rows[i]["sex"]) for i in places])
        side, gain = settings.render_size, settings.face_gain
    if not places:
        raise DataError(f"The split {split!r} of the population {root} has no identities.")
    names = [rows[i]["name"] for i in places]
    clips: list[tuple[int, Path]] = []
    for label, i in enumerate(places if with_utterances else []):
        own = [
            root / "wav" / name for name in find_voices(root / "wav", rows[i]["voice_id"], (".wav",)) or ()
        ]
        if not own:
            raise FileNotFoundError(f"{root} has no recordings of {rows[i]['voice_id']} below wav/.")
        clips += [(label, path) for path in own]
    features = _extract_all_features([path for _, path in clips], config)
    kept = [(label, each) for (label, _), each in zip(clips, features) if each is not None]
    label_of = {name: label for label, name in enumerate(names)}
    owners = [str(path).partition("/")[0] for path in view_table["path"]]
    view_rows = [row for row, owner in enumerate(owners) if owner in label_of]
    views = [
        RenderParams(
            np.radians(view_table["pose_degrees"][row]),
            view_table["expression"][row],
            0.0,
            np.zeros(2),
            view_table["landmarks"][row] / side,
            0,
        )
        for row in view_rows
    ]
    faces = FaceImages(
        np.array([label_of[owners[row]] for row in view_rows]),
        [root / "faces" / str(view_table["path"][row]) for row in view_rows],
    )
    missing = [str(path) for path in faces.items if isinstance(path, Path) and not file_exists(path)]
    if missing:
        raise FileNotFoundError(f"{len(missing)} images of {root} are missing; the first is {missing[0]}.")
    labels = np.array([label for label, _ in kept], np.int64)
    utterances = Utterances(labels, [each for _, each in kept])
    population = replace(head, face_gain=gain)
    return _build_dataset(model, names, table[places], genders, utterances, faces, views, population)


def extract_unpadded_features(
    samples: Array, config: SpeechConfig, source: str = "a clip"
) -> NDArray[np.float32]:
    """Extract features (frames, 64) of a recording, int16 at 16 kHz, without repetition to 1000 frames."""
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
    population: "PopulationHead",
) -> VoiceFaceDataset:
    """Build the data set in coefficients of the face model; `alpha` (N, 40) are those of the population."""
    import torch
    from voiceface.synthetic.camera import LANDMARK_BOX_SIZE
    from voiceface.synthetic.head import shape_space

    from perceptionist.face_models.linear import FaceParameters
    from perceptionist.face_models.synthetic_head import (
        equivalent_coefficients,
        expression_coefficients,
        pose_parameters,
    )

    head = _require_synthetic_model(model)
    change = head.model.orthonormal.shape_from_semantic
    alpha = equivalent_coefficients(alpha, population, head)
    shape = (alpha @ change.T).astype(np.float32)
    neutral = np.zeros((len(shape), model.num_expression), np.float32)
    moved = np.array([view.expression for view in views], float).reshape(-1, model.num_expression)
    moved = equivalent_coefficients(moved, population, head, "expression")
    codes = expression_coefficients(moved, head)
    poses = [
        pose_parameters(replace(view, expression=expression), alpha[label], head=head)
        for view, expression, label in zip(views, moved, images.labels, strict=True)
    ]
    image_parameters = None
    if poses:
        parts = (np.stack(poses), shape[images.labels], codes)
        whitened = model.cpu().whiten(FaceParameters(*(torch.from_numpy(part) for part in parts)))
        image_parameters = whitened.numpy().astype(np.float32)
    scales = scales_from_shape(model, shape, LANDMARK_BOX_SIZE)
    voice_dependent = np.abs(shape_space.factor_loadings()).max(axis=1) > 0
    return VoiceFaceDataset(
        tuple(identities),
        utterances,
        images,
        GroundTruth(shape, neutral, scales, image_parameters),
        ratios_from_coefficients(model, shape, neutral),
        genders,
        np.asarray(np.linalg.inv(change).T[:, voice_dependent], np.float64),
        SYNTHETIC_DATA_DISCLAIMER,
    )


def _extract_all_features(paths: Iterable[Path], config: SpeechConfig) -> list[NDArray[np.float32] | None]:
    """Features of audio files; None, with a warning, for files without voice."""
    found: list[NDArray[np.float32] | None] = []
    for path in paths:
        samples, _ = speech.read_recording(path, config)
        try:
            found.append(extract_unpadded_features(samples, config, str(path)))
        except speech.SpeechError as error:
            log.warning("skipped: %s", error)
            found.append(None)
    return found


def population_head(root: str | Path | None = None, preset: str | None = None) -> str:
    """Name of the face model that the images of a population were drawn with.

    Args:
        root: folder; if it is no population, the name of the embedded head.
        preset: instead of a folder.
    """
    from voiceface.synthetic.layout import POPULATION_FILE, build_settings

    from perceptionist.face_models.synthetic_head import EMBEDDED_HEAD, PopulationHead

    if preset is not None:
        return PopulationHead(build_settings(preset).face_gain).name
    if root is None or not (Path(root) / POPULATION_FILE).is_file():
        return EMBEDDED_HEAD.name
    return PopulationHead(_read_settings(Path(root)).face_gain).name


def _read_settings(root: Path) -> "PopulationSettings":
    """Settings of a population whose heads this version can build."""
    from voiceface.synthetic.layout import POPULATION_FILE, PopulationSettings

    file = root / POPULATION_FILE
    what, remedy = "the truth of a population", "write the population again"
    state = read_json(file, DataError, what, remedy=remedy)
    try:
        settings = PopulationSettings(**state["settings"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{file} has no settings of a population ({error}); {remedy}") from error
    return settings.require_current(file)


def _require_synthetic_model(model: LinearFaceModel) -> "PopulationHead":
    """The head that the ground truth is stated in."""
    from perceptionist.face_models.synthetic_head import find_head

    head = find_head(model.name)
    if head is None:
        raise DataError(
            "The ground truth of a population is stated in its own heads, not in the face model "
            f"{model.name!r}. Omit --face-model, or pass a folder of perceptionist face-model."
        )
    return head


@lru_cache(maxsize=1)
def _get_frontend() -> "PerceptionistLogMel":
    from voiceface.audio.frontends import PerceptionistLogMel

    return PerceptionistLogMel(min_frames=1)
