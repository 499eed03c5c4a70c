"""How right the systems are: on invented people by the truth, on others by the folders' layout.

Letters: N people, V voices, F faces.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voiceface.metrics.bootstrap import Interval, PairedDifference, mean_interval, paired_difference
from voiceface.metrics.geometry import ErrorComparison, compare_errors, pair_distances

if TYPE_CHECKING:
    from voiceface.synthetic.agreement.result import Agreement
    from voiceface.synthetic.layout import Settings

Array = NDArray[np.float64]
MEAN, OWN_SEX = "mean face", "mean of the own sex"


@dataclass(frozen=True)
class Heads:
    """True heads of invented people.

    Attributes:
        vertices: (N, V, 3) frontal, without expression.
        triangles: (T, 3), wound outwards.
        landmarks: (68,) vertex numbers.
        sexes: (N,) 1 = man, of the face.
        means: word -> (V, 3) or (N, V, 3): what is predicted without a voice.
    """

    vertices: Array
    triangles: NDArray[np.int32]
    landmarks: NDArray[np.int64]
    sexes: NDArray[np.int64]
    means: dict[str, Array]


@dataclass(frozen=True)
class Matched:
    """How well one system ranks faces for voices whose owner is known.

    Attributes:
        two: chance that the right face scores above a wrong one, mean over people.
        first: share of voices whose right face comes first.
        chance_first: the same of a random order.
        place: median place of the right face.
        voices, people: how many.
    """

    two: Interval
    first: Interval
    chance_first: float
    place: float
    voices: int
    people: int


def heads_of(settings: "Settings", ids: Sequence[int]) -> Heads:
    """True heads of the identities `ids` of a population, made anew from its settings."""
    from voiceface.synthetic.face import head_bases
    from voiceface.synthetic.face.geometry_truth import face_truth_of
    from voiceface.synthetic.face.head import head_model

    head, truth = head_model(settings.face_gain), face_truth_of(settings, ids)
    shift = head_bases.sex_shift()
    signs = 2.0 * truth.sex[:, None] - 1.0
    means = {MEAN: head.vertices(0 * shift), OWN_SEX: head.vertices(signs * shift)}
    return Heads(head.vertices(truth.shape), head.triangles, head.landmarks, truth.sex, means)


def proportions(landmarks: Array) -> Array:
    """Widths of forehead, cheeks, ears and midline over the distance of the outer eye corners.

    Args:
        landmarks: (..., 68, 3).

    Returns:
        (..., 4).
    """
    from voiceface.synthetic.face.head import MEASURING_PAIRS

    found = pair_distances(landmarks, [list(pair) for pair in MEASURING_PAIRS.values()])
    return found[..., 1:] / found[..., :1]


def mesh_errors(
    meshes: Sequence[NDArray[Any] | None], landmarks: NDArray[Any], heads: Heads, **rule: Any
) -> ErrorComparison | None:
    """Mean absolute error of the four proportions beside those of mean faces; None of fewer than two meshes.

    Args:
        meshes: a mesh of each person, or None.
        landmarks: (68,) vertex numbers of these meshes.
        heads: the truth of the same people.
        rule: of `voiceface.metrics.geometry.compare_errors`.
    """
    rows = [row for row, mesh in enumerate(meshes) if mesh is not None]
    if len(rows) < 2:
        return None
    made = proportions(np.stack([np.asarray(meshes[row], float)[landmarks] for row in rows]))
    true = proportions(heads.vertices[rows][:, heads.landmarks])

    def error(predicted: Array) -> Array:
        return np.abs(predicted - true).mean(axis=-1)

    baselines = {}
    for word, mean in heads.means.items():
        chosen = mean if mean.ndim == 2 else mean[rows]
        baselines[word] = error(proportions(chosen[..., heads.landmarks, :]))
    return compare_errors(error(made), baselines, np.arange(len(rows)), **rule)


def picture_agreement(
    pictures: Sequence[NDArray[np.uint8] | None],
    true_files: Sequence[Sequence[Path]],
    settings: "Settings",
    ids: Sequence[int],
) -> "Agreement | None":
    """What a judge reads from made pictures beside the truth; None of fewer than three pictures.

    Args:
        pictures: one of each person, or None.
        true_files: true pictures of each; the first is kept for the ceiling.
        settings, ids: the people.
    """
    import torch

    from voiceface.images import loading as images
    from voiceface.synthetic.agreement.agreement import agree
    from voiceface.synthetic.face.geometry_truth import face_truth_of
    from voiceface.synthetic.readers.attribute_reader import load

    rows = [row for row, picture in enumerate(pictures) if picture is not None]
    if len(rows) < 3:
        return None
    count = min(len(true_files[row]) for row in rows)
    made = torch.stack([_planes(pictures[row]) for row in rows])
    real = torch.stack(
        [torch.stack([_planes(images.decode(file)) for file in true_files[row][:count]]) for row in rows]
    )
    return agree(load("judge"), made, real, face_truth_of(settings, [ids[row] for row in rows]))


def matched(scores: Array, voices: Sequence[str], faces: Sequence[str], **rule: Any) -> Matched | None:
    """Figures of one system where folders say who is who; None without a voice with right and wrong faces.

    Args:
        scores: (V, F), NaN where a file could not be used.
        voices, faces: person of each, empty where not known.
        rule: `replicates`, `confidence`, `seed` of the intervals.
    """
    found = lines_of(scores, voices, faces)
    if not len(found):
        return None
    two, first, place, chance, who = found.T
    people = np.unique(who, return_inverse=True)[1]
    return Matched(
        mean_interval(two, people, **rule),
        mean_interval(first, people, **rule),
        float(chance.mean()),
        float(np.median(place)),
        len(found),
        len(set(people.tolist())),
    )


def lines_of(scores: Array, voices: Sequence[str], faces: Sequence[str]) -> Array:
    """A row for every voice that has a right and a wrong face.

    Returns:
        (L, 5): share of wrong faces below the best right one, whether that is first, its place, the chance of
        being first, number of the person. Ties count half.
    """
    rows = []
    number = {name: at for at, name in enumerate(dict.fromkeys(voices))}
    owners = np.array(faces)
    for row, person in enumerate(voices):
        usable = np.isfinite(scores[row])
        right, wrong = usable & (owners == person), usable & (owners != person)
        if not person or not right.any() or not wrong.any():
            continue
        best = scores[row][right].max()
        above, equal = (scores[row][wrong] > best).sum(), (scores[row][wrong] == best).sum()
        two = 1 - (above + equal / 2) / wrong.sum()
        share = right.sum() / usable.sum()
        rows.append([two, float(above == 0) / (1 + equal), 1 + above + equal / 2, share, number[person]])
    return np.array(rows, float).reshape(-1, 5)


def differences(
    scores: Mapping[str, Array], voices: Sequence[str], faces: Sequence[str], **rule: Any
) -> dict[str, PairedDifference]:
    """Chance of the right one of two: the first system minus every other, on what all could use."""
    shared = np.isfinite(np.stack(list(scores.values()))).all(axis=0)
    tables = {
        name: lines_of(np.where(shared, table, np.nan), voices, faces) for name, table in scores.items()
    }
    first, *others = tables
    if not len(tables[first]):
        return {}
    people = np.unique(tables[first][:, 4], return_inverse=True)[1]
    return {
        name: paired_difference(tables[first][:, 0], tables[name][:, 0], people, **rule) for name in others
    }


def _planes(picture: Any) -> Any:
    """A picture (H, W, 3) as a tensor (3, H, W) uint8."""
    import torch

    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)
