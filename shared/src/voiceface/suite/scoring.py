"""Metrics of the systems' outputs: against synthetic ground truth, or identity labels from folder names.

Letters: N identities, V utterances or vertices, F gallery entries.
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

__all__ = [
    "GENDER_MEAN_FACE",
    "MEAN_FACE",
    "GroundTruthHeads",
    "MatchingMetrics",
    "compare_matching",
    "compare_mesh_errors",
    "compute_matching_metrics",
    "facial_proportions",
    "generate_ground_truth_heads",
    "measure_image_agreement",
    "per_utterance_metrics",
]

Array = NDArray[np.float64]
MEAN_FACE, GENDER_MEAN_FACE = "mean face", "mean face of the same gender"


@dataclass(frozen=True)
class GroundTruthHeads:
    """Ground-truth heads of synthetic identities.

    Attributes:
        vertices: (N, V, 3) frontal, without expression.
        triangles: (T, 3) vertex indices, counter-clockwise seen from outside.
        landmarks: (68,) vertex indices.
        sex: (N,) 1 for male faces, 0 for female ones.
        baselines: name -> (V, 3) or (N, V, 3) vertices predicted without an utterance.
    """

    vertices: Array
    triangles: NDArray[np.int32]
    landmarks: NDArray[np.int64]
    sex: NDArray[np.int64]
    baselines: dict[str, Array]


@dataclass(frozen=True)
class MatchingMetrics:
    """Matching and identification metrics of one system on labelled utterances.

    Attributes:
        matching_accuracy: 1:2 matching accuracy over all wrong candidates, mean over identities.
        rank1_rate: rank-1 identification rate.
        rank1_chance: chance level of `rank1_rate`.
        median_rank: median rank of the correct face.
        num_utterances, num_identities: size of the evaluated set.
    """

    matching_accuracy: Interval
    rank1_rate: Interval
    rank1_chance: float
    median_rank: float
    num_utterances: int
    num_identities: int


def generate_ground_truth_heads(settings: "PopulationSettings", ids: Sequence[int]) -> GroundTruthHeads:
    """Generate the ground-truth heads of the identities `ids` of a population from its settings."""
    from voiceface.synthetic.head import shape_space
    from voiceface.synthetic.head.geometry_truth import generate_face_ground_truth
    from voiceface.synthetic.head.model import build_head_model

    head = build_head_model(settings.require_current().face_gain)
    truth = generate_face_ground_truth(settings, ids)
    shift = shape_space.sex_shift()
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
    from voiceface.synthetic.head.linear_model import RATIO_LANDMARK_PAIRS

    distances = pair_distances(landmarks, [list(pair) for pair in RATIO_LANDMARK_PAIRS.values()])
    return distances[..., 1:] / distances[..., :1]


def compare_mesh_errors(
    meshes: Sequence[NDArray[Any] | None],
    landmarks: NDArray[Any],
    heads: GroundTruthHeads,
    **bootstrap_options: Any,
) -> ErrorComparison | None:
    """Compare the mean absolute error of four proportions with those of mean faces.

    The result is None for fewer than two meshes.

    Args:
        meshes: mesh of each identity, or None.
        landmarks: (68,) vertex indices of these meshes.
        heads: ground truth of the same identities.
        bootstrap_options: options of `voiceface.metrics.geometry.compare_errors`.
    """
    rows = [row for row, mesh in enumerate(meshes) if mesh is not None]
    if len(rows) < 2:
        return None
    generated = facial_proportions(np.stack([np.asarray(meshes[row], float)[landmarks] for row in rows]))
    expected = facial_proportions(heads.vertices[rows][:, heads.landmarks])

    def error(predicted: Array) -> Array:
        return np.abs(predicted - expected).mean(axis=-1)

    baselines = {}
    for name, mean in heads.baselines.items():
        vertices = mean if mean.ndim == 2 else mean[rows]
        baselines[name] = error(facial_proportions(vertices[..., heads.landmarks, :]))
    return compare_errors(error(generated), baselines, np.arange(len(rows)), **bootstrap_options)


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
    from voiceface.synthetic.head.geometry_truth import generate_face_ground_truth
    from voiceface.synthetic.readers.attribute_reader import load_reader

    rows = [row for row, image in enumerate(generated) if image is not None]
    truth = generate_face_ground_truth(settings, [ids[row] for row in rows])
    if min((truth.sex == sex).sum() for sex in (0, 1)) < 2:
        return None
    count = min(len(real_files[row]) for row in rows)
    images = torch.stack([_to_chw_tensor(generated[row]) for row in rows])
    real = torch.stack(
        [torch.stack([_to_chw_tensor(load_image(file)) for file in real_files[row][:count]]) for row in rows]
    )
    return measure_agreement(load_reader("evaluation"), images, real, truth)


def compute_matching_metrics(
    scores: Array, voice_identities: Sequence[str], face_identities: Sequence[str], **bootstrap_options: Any
) -> MatchingMetrics | None:
    """Compute the metrics of one system; None without an utterance with correct and wrong candidates.

    Args:
        scores: (V, F), NaN for unusable files.
        voice_identities, face_identities: identity of each, empty if unknown.
        bootstrap_options: `replicates`, `confidence`, `seed` of the intervals.
    """
    rows = per_utterance_metrics(scores, voice_identities, face_identities)
    if not len(rows):
        return None
    accuracy, rank1, rank, chance, number = rows.T
    clusters = np.unique(number, return_inverse=True)[1]
    return MatchingMetrics(
        mean_interval(accuracy, clusters, **bootstrap_options),
        mean_interval(rank1, clusters, **bootstrap_options),
        float(chance.mean()),
        float(np.median(rank)),
        len(rows),
        len(set(clusters.tolist())),
    )


def per_utterance_metrics(
    scores: Array, voice_identities: Sequence[str], face_identities: Sequence[str]
) -> Array:
    """Metrics of every utterance that has a correct and a wrong candidate; ties count half.

    Returns:
        (L, 5): fraction of wrong candidates below the best correct one, whether that is at rank 1, its rank,
        chance level of rank 1, number of the identity.
    """
    rows = []
    number = {name: index for index, name in enumerate(dict.fromkeys(voice_identities))}
    candidates = np.array(face_identities)
    for row, identity in enumerate(voice_identities):
        usable = np.isfinite(scores[row])
        correct, wrong = usable & (candidates == identity), usable & (candidates != identity)
        if not identity or not correct.any() or not wrong.any():
            continue
        best = scores[row][correct].max()
        above, equal = (scores[row][wrong] > best).sum(), (scores[row][wrong] == best).sum()
        accuracy = 1 - (above + equal / 2) / wrong.sum()
        rank1, rank1_chance = float(above == 0) / (1 + equal), correct.sum() / usable.sum()
        rows.append([accuracy, rank1, 1 + above + equal / 2, rank1_chance, number[identity]])
    return np.array(rows, float).reshape(-1, 5)


def compare_matching(
    scores: Mapping[str, Array],
    voice_identities: Sequence[str],
    face_identities: Sequence[str],
    **bootstrap_options: Any,
) -> dict[str, PairedDifference]:
    """Paired differences of the matching accuracy, first system minus each other one, on common files."""
    shared = np.isfinite(np.stack(list(scores.values()))).all(axis=0)
    tables = {
        name: per_utterance_metrics(np.where(shared, table, np.nan), voice_identities, face_identities)
        for name, table in scores.items()
    }
    first, *others = tables
    if not len(tables[first]):
        return {}
    clusters = np.unique(tables[first][:, 4], return_inverse=True)[1]
    return {
        name: paired_difference(tables[first][:, 0], tables[name][:, 0], clusters, **bootstrap_options)
        for name in others
    }


def _to_chw_tensor(image: Any) -> Any:
    """An image (H, W, 3) as a tensor (3, H, W) uint8."""
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
