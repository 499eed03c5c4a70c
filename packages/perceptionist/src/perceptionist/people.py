"""Who a run learns from and who it is judged by: recordings, pictures, truth, from folders or invented.

Letters: N people, V recordings, P pictures, S shape and E expression numbers.
"""

import csv
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from voiceface.association.data import SYNTHETIC_NOTICE

from perceptionist import speech
from perceptionist.data import HELD_OUT_LETTERS, DataError, Item, in_split, read_names, training_lists
from perceptionist.face_model import LinearFaceModel
from perceptionist.speech import SpeechConfig

if TYPE_CHECKING:
    from voiceface.features import PerceptionistLogMel
    from voiceface.population.layout import Settings

Array = NDArray[Any]
FRAMES = 1000  # shorter recordings are repeated to so many
VOICES, FACES = "fbank", "VGG_ALL_FRONTAL"
HELD_OUT_VOICES, HELD_OUT_TRUTH = "val_sub", "AtoE_sub"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Voices:
    """Recordings of people.

    Attributes:
        labels: (V,) whose.
        items: features (frames, 64), not repeated, or stored feature files.
    """

    labels: NDArray[np.int64]
    items: Sequence[Array | Path]

    def __len__(self) -> int:
        return len(self.items)

    def read(self, index: int) -> NDArray[np.float32]:
        """Features (frames, 64) of one recording, at least 1000 frames."""
        item = self.items[index]
        bands = speech.read_features(item) if isinstance(item, Path) else item
        if len(bands) >= FRAMES:
            return bands
        return np.tile(bands, (-(-FRAMES // len(bands)), 1))[:FRAMES]


@dataclass(frozen=True)
class Pictures:
    """Pictures of people: labels (P,), and R G B arrays (h, w, 3), uint8, or files."""

    labels: NDArray[np.int64]
    items: Sequence[Array | Path]

    def __len__(self) -> int:
        return len(self.items)

    def read(self, index: int) -> NDArray[np.uint8]:
        """One picture, (h, w, 3) uint8, R G B."""
        from voiceface.images import decode

        item = self.items[index]
        return decode(item) if isinstance(item, Path) else item


@dataclass(frozen=True)
class Truth:
    """What is true of people, in numbers of a face model.

    Attributes:
        shape: (N, S) un-whitened. expression: (N, E) un-whitened, of the face that a voice is to give.
        scale: (N,) pixels per unit of the model.
        pictures: (P, 12 + S + E) whitened parameters of each picture; None where not known.
    """

    shape: NDArray[np.float32]
    expression: NDArray[np.float32]
    scale: NDArray[np.float32]
    pictures: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class People:
    """Some people with what is known of them.

    Attributes:
        names: (N,), alphabetical; the place is the class number.
        voices, faces: their recordings and pictures.
        truth: their faces in numbers; None where not known.
        ratios: (N, 4) true proportions (`perceptionist.proportions.MEASURES`); None where not known.
        sexes: (N,) 1 for men; None where not known.
        judged: (S, K) brings un-whitened shape numbers to those that explained variance is stated for.
        notice: what readers of results must be told, or empty.
    """

    names: tuple[str, ...]
    voices: Voices
    faces: Pictures
    truth: Truth | None = None
    ratios: NDArray[np.float64] | None = None
    sexes: NDArray[np.int64] | None = None
    judged: NDArray[np.float64] | None = None
    notice: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


def open_people(
    root: str | Path,
    split: str,
    model: LinearFaceModel,
    config: SpeechConfig = speech.DEFAULT,
    *,
    truth: str | Path | None = None,
    voices: bool = True,
    in_memory: bool = False,
) -> People:
    """People of a folder: a written population, or the published layout (specification, section 2).

    Args:
        root: the folder.
        split: "train", "val" or "test"; the published layout has "train" (names F to Z) and, for both
            others, the small set `val_sub` with its truth in `AtoE_sub`.
        model: face model that the truth is stated in.
        config: recordings to features.
        truth: published layout: folder with `<Name>/*.npy`, fitted coefficients of the full model.
        voices: False leaves the recordings out, where only pictures are wanted.
        in_memory: decode pictures and read stored features once.

    Raises:
        FileNotFoundError: the folder or a part of it is not there.
        DataError, ValueError: files that do not fit together.
    """
    root = Path(root)
    if (root / "truth" / "population.json").is_file():
        people = _population_folder(root, split, model, config, voices)
    elif (root / VOICES).is_dir() or (root / FACES).is_dir() or (root / HELD_OUT_VOICES).is_dir():
        people = _published_folder(root, split, model, truth)
    else:
        raise FileNotFoundError(
            f"{root} is neither a population (truth/population.json) nor of the published layout "
            f"({VOICES}, {FACES}, vox1_meta.csv): see docs/data.md, or make one: voiceface population {root}"
        )
    if not in_memory:
        return people
    kept = [
        type(side)(side.labels, [side.read(i) for i in range(len(side))])
        for side in (people.voices, people.faces)
    ]
    return _replaced(people, voices=kept[0], faces=kept[1])


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
    from voiceface.population.render import view_of
    from voiceface.population.stream import PopulationDataset

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


def bands_of(samples: Array, config: SpeechConfig, source: str = "a clip") -> NDArray[np.float32]:
    """Features (frames, 64) of a recording, int16 at 16 kHz, not repeated."""
    import torch

    wave = speech.as_samples(samples, source)
    if config.remove_silence:
        wave = speech.without_silence(wave, config=config, source=source)
    found = _front_end()(torch.from_numpy(wave.astype(np.float64))[None])
    return np.ascontiguousarray(found[0].T.numpy())


def scales_of(
    model: LinearFaceModel, shape: Array, share: float = 0.6, side: float = 120.0
) -> NDArray[np.float32]:
    """Pixels per unit (N,) at which the landmarks' box of faces (N, S) takes its share of a picture."""
    import torch

    numbers = torch.from_numpy(np.asarray(shape, np.float32))
    still = torch.zeros(len(numbers), model.expression_count)
    marks = model.cpu().points(numbers, still)[:, :2]
    box = 0.5 * (marks.amax(2) - marks.amin(2)).sum(1)
    return (share * side / box).numpy()


def ratios_of(model: LinearFaceModel, shape: Array, expression: Array) -> NDArray[np.float64]:
    """Proportions (B, 4) of faces, (B, S) and (B, E) un-whitened, without making whole meshes."""
    import torch

    from perceptionist.proportions import MEASURES, REFERENCE_DISTANCE, ratios

    words = (REFERENCE_DISTANCE, *MEASURES)
    corners = [corner for word in words for corner in model.pairs[word]]
    where = model.mean.device
    numbers = torch.as_tensor(np.asarray(shape), dtype=torch.float32, device=where)
    codes = torch.as_tensor(np.asarray(expression), dtype=torch.float32, device=where)
    points = model.points(numbers, codes, np.array(corners)).transpose(1, 2).cpu().numpy()
    return ratios(points, {word: (2 * place, 2 * place + 1) for place, word in enumerate(words)})


def _population_folder(
    root: Path, split: str, model: LinearFaceModel, config: SpeechConfig, voices: bool
) -> People:
    from voiceface.population.render import View

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
    from voiceface.population import bases
    from voiceface.population.head import head_model

    from perceptionist.face_model import Parameters
    from perceptionist.population_face import expression_numbers, pose_numbers

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
    tied = np.abs(bases.loadings()).max(axis=1) > 0
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


def _published_folder(root: Path, split: str, model: LinearFaceModel, truth: str | Path | None) -> People:
    if split != "train":
        return _small_set(root, model)
    lists = training_lists(root / VOICES, root / FACES, read_names(root / "vox1_meta.csv"))

    def side(items: tuple[Item, ...], folder: str) -> tuple[NDArray[np.int64], list[Path]]:
        return np.array([item.label for item in items]), [root / folder / item.path for item in items]

    known = _fitted(Path(truth), lists.names, model) if truth else None
    voices, faces = Voices(*side(lists.voices, VOICES)), Pictures(*side(lists.faces, FACES))
    shares = ratios_of(model, known.shape, known.expression) if known else None
    return People(lists.names, voices, faces, known, shares, notice=model.notice)


def _fitted(root: Path, names: Sequence[str], model: LinearFaceModel) -> Truth:
    """Mean fitted shape of each person; the leading numbers are the model's, and the expression is still."""
    from perceptionist.face_model_files import read_bfm_numbers

    shapes = []
    for name in names:
        files = sorted((root / name).glob("*.npy"))
        if not files:
            raise FileNotFoundError(f"{root} holds no fitted coefficients ({name}/*.npy) of {name}")
        fitted = [read_bfm_numbers(path).shape[: model.shape_count] for path in files]
        shapes.append(np.mean(fitted, axis=0))
    shape = np.stack(shapes).astype(np.float32)
    return Truth(shape, np.zeros((len(shape), model.expression_count), np.float32), scales_of(model, shape))


def _small_set(root: Path, model: LinearFaceModel) -> People:
    """`val_sub/<Name>/*.npy` with the truth `AtoE_sub/<Name>/*.xyz`."""
    from perceptionist.mesh_files import read_xyz
    from perceptionist.proportions import ratios

    voices, truth = root / HELD_OUT_VOICES, root / HELD_OUT_TRUTH
    if not voices.is_dir() or not truth.is_dir():
        raise FileNotFoundError(
            f"{root} lacks {HELD_OUT_VOICES} or {HELD_OUT_TRUTH}, which judge the training; "
            "set training.validate_every=-1 to go without"
        )
    labels: list[int] = []
    files: list[Path] = []
    shares: list[Array] = []
    names: list[str] = []
    for folder in sorted(path for path in voices.iterdir() if path.is_dir()):
        own, cloud = sorted(folder.rglob("*.npy")), sorted((truth / folder.name).glob("*.xyz"))
        if not own or not cloud or not in_split(folder.name, HELD_OUT_LETTERS):
            continue
        points = read_xyz(cloud[0])
        if len(points) != model.vertex_count:
            raise DataError(
                f"{cloud[0]} holds {len(points)} points, the face model {model.name} {model.vertex_count}"
            )
        labels += [len(names)] * len(own)
        files += own
        names.append(folder.name)
        shares.append(ratios(points, model.pairs))
    if not names:
        raise DataError(f"nobody named A to E has files in both {voices} and {truth}")
    nobody = Pictures(np.zeros(0, np.int64), [])
    return People(
        tuple(names), Voices(np.array(labels), files), nobody, ratios=np.stack(shares), notice=model.notice
    )


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
    from voiceface.features import PerceptionistLogMel

    return PerceptionistLogMel(shortest=1)


def _replaced(people: People, **parts: Any) -> People:
    from dataclasses import replace

    return replace(people, **parts)
