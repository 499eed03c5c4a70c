"""How right the systems are: on synthetic identities by the truth, on others by the folders' layout.

Letters: N identities, V voices, F faces.
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
    from voiceface.synthetic.layout import PopulationSettings

Array = NDArray[np.float64]
MEAN_FACE, GENDER_MEAN_FACE = "mean face", "mean face of the same gender"


@dataclass(frozen=True)
class GroundTruthHeads:
    """True heads of synthetic identities.

    Attributes:
        vertices: (N, V, 3) frontal, without expression.
        triangles: (T, 3), wound outwards.
        landmarks: (68,) vertex numbers.
        sex: (N,) 1 = man, of the face.
        baselines: word -> (V, 3) or (N, V, 3): what is predicted without a voice.
    """

    vertices: Array
    triangles: NDArray[np.int32]
    landmarks: NDArray[np.int64]
    sex: NDArray[np.int64]
    baselines: dict[str, Array]


@dataclass(frozen=True)
class MatchingMetrics:
    """How well one system ranks faces for voices whose owner is known.

    Attributes:
        matching_accuracy: chance that the right face scores above a wrong one, mean over identities.
        rank1_rate: share of voices whose right face comes first.
        rank1_chance: the same of a random order.
        median_rank: median place of the right face.
        num_utterances, num_identities: how many.
    """

    matching_accuracy: Interval
    rank1_rate: Interval
    rank1_chance: float
    median_rank: float
    num_utterances: int
    num_identities: int


def generate_ground_truth_heads(settings: "PopulationSettings", ids: Sequence[int]) -> GroundTruthHeads:
    """True heads of the identities `ids` of a population, made anew from its settings."""
    from voiceface.synthetic.face import head_bases
    from voiceface.synthetic.face.geometry_truth import generate_face_ground_truth
    from voiceface.synthetic.face.head import build_head_model

    head, truth = build_head_model(settings.face_gain), generate_face_ground_truth(settings, ids)
    shift = head_bases.sex_shift()
    signs = 2.0 * truth.sex[:, None] - 1.0
    means = {
        MEAN_FACE: head.compute_vertices(0 * shift),
        GENDER_MEAN_FACE: head.compute_vertices(signs * shift),
    }
    return GroundTruthHeads(
        head.compute_vertices(truth.shape), head.triangles, head.landmarks, truth.sex, means
    )


def facial_proportions(landmarks: Array) -> Array:
    """Widths of forehead, cheeks, ears and midline over the distance of the outer eye corners.

    Args:
        landmarks: (..., 68, 3).

    Returns:
        (..., 4).
    """
    from voiceface.synthetic.face.head import RATIO_LANDMARK_PAIRS

    found = pair_distances(landmarks, [list(pair) for pair in RATIO_LANDMARK_PAIRS.values()])
    return found[..., 1:] / found[..., :1]


def compare_mesh_errors(
    meshes: Sequence[NDArray[Any] | None],
    landmarks: NDArray[Any],
    heads: GroundTruthHeads,
    **bootstrap_options: Any,
) -> ErrorComparison | None:
    """Mean absolute error of the four proportions beside those of mean faces; None of fewer than two meshes.

    Args:
        meshes: a mesh of each identity, or None.
        landmarks: (68,) vertex numbers of these meshes.
        heads: the truth of the same identities.
        bootstrap_options: of `voiceface.metrics.geometry.compare_errors`.
    """
    rows = [row for row, mesh in enumerate(meshes) if mesh is not None]
    if len(rows) < 2:
        return None
    made = facial_proportions(np.stack([np.asarray(meshes[row], float)[landmarks] for row in rows]))
    true = facial_proportions(heads.vertices[rows][:, heads.landmarks])

    def error(predicted: Array) -> Array:
        return np.abs(predicted - true).mean(axis=-1)

    baselines = {}
    for word, mean in heads.baselines.items():
        chosen = mean if mean.ndim == 2 else mean[rows]
        baselines[word] = error(facial_proportions(chosen[..., heads.landmarks, :]))
    return compare_errors(error(made), baselines, np.arange(len(rows)), **bootstrap_options)


def measure_image_agreement(
    generated: Sequence[NDArray[np.uint8] | None],
    real_files: Sequence[Sequence[Path]],
    settings: "PopulationSettings",
    ids: Sequence[int],
) -> "Agreement | None":
    """Agreement of generated images with the ground truth, as predicted by the attribute reader.

    The result is None without two generated images of each gender.

    Args:
        generated: one image of each identity, or None.
        real_files: real images of each; the first one gives the reference value of a real image.
        settings, ids: the identities.
    """
    import torch

    from voiceface.images.loading import load_image
    from voiceface.synthetic.agreement.agreement import measure_agreement
    from voiceface.synthetic.face.geometry_truth import generate_face_ground_truth
    from voiceface.synthetic.readers.attribute_reader import load_reader

    rows = [row for row, picture in enumerate(generated) if picture is not None]
    truth = generate_face_ground_truth(settings, [ids[row] for row in rows])
    if min((truth.sex == sex).sum() for sex in (0, 1)) < 2:
        return None
    count = min(len(real_files[row]) for row in rows)
    made = torch.stack([_to_chw_tensor(generated[row]) for row in rows])
    real = torch.stack(
        [torch.stack([_to_chw_tensor(load_image(file)) for file in real_files[row][:count]]) for row in rows]
    )
    return measure_agreement(load_reader("evaluation"), made, real, truth)


def compute_matching_metrics(
    scores: Array, voice_identities: Sequence[str], face_identities: Sequence[str], **bootstrap_options: Any
) -> MatchingMetrics | None:
    """Metrics of one system where folders say who is who; None without a voice with right and wrong faces.

    Args:
        scores: (V, F), NaN where a file could not be used.
        voice_identities, face_identities: identity of each, empty where not known.
        bootstrap_options: `replicates`, `confidence`, `seed` of the intervals.
    """
    found = per_utterance_metrics(scores, voice_identities, face_identities)
    if not len(found):
        return None
    two, first, place, chance, who = found.T
    people = np.unique(who, return_inverse=True)[1]
    return MatchingMetrics(
        mean_interval(two, people, **bootstrap_options),
        mean_interval(first, people, **bootstrap_options),
        float(chance.mean()),
        float(np.median(place)),
        len(found),
        len(set(people.tolist())),
    )


def per_utterance_metrics(
    scores: Array, voice_identities: Sequence[str], face_identities: Sequence[str]
) -> Array:
    """A row for every voice that has a right and a wrong face.

    Returns:
        (L, 5): share of wrong faces below the best right one, whether that is first, its place, the chance of
        being first, number of the identity. Ties count half.
    """
    rows = []
    number = {name: at for at, name in enumerate(dict.fromkeys(voice_identities))}
    owners = np.array(face_identities)
    for row, person in enumerate(voice_identities):
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


def compare_matching(
    scores: Mapping[str, Array],
    voice_identities: Sequence[str],
    face_identities: Sequence[str],
    **bootstrap_options: Any,
) -> dict[str, PairedDifference]:
    """Chance of the right one of two: the first system minus every other, on what all could use."""
    shared = np.isfinite(np.stack(list(scores.values()))).all(axis=0)
    tables = {
        name: per_utterance_metrics(np.where(shared, table, np.nan), voice_identities, face_identities)
        for name, table in scores.items()
    }
    first, *others = tables
    if not len(tables[first]):
        return {}
    people = np.unique(tables[first][:, 4], return_inverse=True)[1]
    return {
        name: paired_difference(tables[first][:, 0], tables[name][:, 0], people, **bootstrap_options)
        for name in others
    }


def _to_chw_tensor(image: Any) -> Any:
    """An image (H, W, 3) as a tensor (3, H, W) uint8."""
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
