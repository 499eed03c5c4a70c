"""Metrics of generated images, in the groups that one evaluation network computes.

Letters: N identities, S windows of one, P real images of one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from voiceface.metrics.unavailable import UnavailableResult

from sf2f.evaluation_networks import EvaluationNetworks
from sf2f.generation import (
    GenerationMode,
    WindowEmbeddings,
    face_ground_truth,
    generate_by_mode,
    generate_images,
    has_enough_identities,
    stack_equal_counts,
)
from sf2f.models import Sf2fModel
from sf2f.speakers import Speakers

if TYPE_CHECKING:
    from voiceface.models.facenet import InceptionResNet

__all__ = [
    "DIVERSITY",
    "FACENET",
    "GROUND_TRUTH",
    "INCEPTION",
    "RECALL_CUTOFFS",
    "VGGFACE",
    "WINDOW_COUNTS",
    "EvaluationOptions",
    "compute_agreement",
    "compute_facenet_metrics",
    "compute_scores",
    "select_window_counts",
]

WINDOW_COUNTS = (1, 2, 4, 8, 16)
RECALL_CUTOFFS = (1, 2, 5, 10, 20, 50)
GROUND_TRUTH, FACENET = "agreement with the ground truth", "FaceNet metrics"
VGGFACE, INCEPTION, DIVERSITY = "VGGFace Score", "Inception Score and FID", "LPIPS diversity"


@dataclass(frozen=True)
class EvaluationOptions:
    """Options of the published metrics.

    Attributes:
        channel_order: input of the VGGFace Score: "rgb" as published, "bgr" as the classifier was trained.
        crop_faces: crop faces for the VGGFace Score, as the published code does at the end of training, but
            not in its test.
        pooled_features: FaceNet's pooled features instead of its embeddings.
        gallery_sizes: end indices of the galleries, such as 100, 200, 300; None: one gallery of all.
        seed: of the shuffling before the five splits of the VGGFace Score.
    """

    channel_order: Literal["rgb", "bgr"] = "rgb"
    crop_faces: bool = False
    pooled_features: bool = False
    gallery_sizes: tuple[int, ...] | None = None
    seed: int = 0


def select_window_counts(window_counts: Sequence[int]) -> list[int]:
    """Numbers of windows to evaluate: 1, 2, 4, ... that every identity has, and all (the maximum)."""
    return [
        *(count for count in WINDOW_COUNTS if count < max(window_counts) and count <= min(window_counts)),
        max(window_counts),
    ]


def compute_agreement(
    model: Sf2fModel,
    speakers: Speakers,
    embeddings: WindowEmbeddings,
    real_images: Sequence[Tensor],
    bootstrap_samples: int,
) -> dict[str, Any]:
    """Agreement with the ground truth by number of windows, and the rank of each identity.

    Raises:
        ValueError: fewer than two identities of a gender.
    """
    from torch.nn.functional import normalize
    from voiceface.synthetic.agreement.agreement import agreement_from_predictions, predict_identities
    from voiceface.synthetic.readers.attribute_reader import load_reader

    reader, ground_truth = load_reader("evaluation"), face_ground_truth(speakers)
    if ground_truth is None or not has_enough_identities(ground_truth):
        counts = [] if ground_truth is None else [int((ground_truth.sex == sex).sum()) for sex in (0, 1)]
        raise ValueError(f"expected two identities of each gender at least, found {counts}")
    real_prediction = predict_identities(reader, stack_equal_counts(real_images))
    agreement, prediction = {}, None
    for count in select_window_counts([len(each) for each in embeddings.windows]):
        prediction = predict_identities(reader, generate_images(model, embeddings, count)[:, None])
        agreement[count] = agreement_from_predictions(
            reader, prediction, real_prediction, ground_truth, replicates=bootstrap_samples
        )
    assert prediction is not None
    similarities = normalize(prediction.embedding.mean(1)) @ normalize(real_prediction.embedding.mean(1)).T
    ranks = 1 + (similarities > similarities.diag()[:, None]).sum(1)
    return {"agreement": agreement, "ranks": tuple(ranks.tolist())}


def compute_facenet_metrics(
    model: Sf2fModel,
    embeddings: WindowEmbeddings,
    real_images: Sequence[Tensor],
    network: "InceptionResNet",
    options: EvaluationOptions,
    modes: Sequence[GenerationMode] | None,
) -> dict[str, Any]:
    """Distances and recalls of FaceNet features, by mode and similarity; modes that fail are unavailable."""
    from voiceface.metrics.generation import evaluation_galleries, feature_distances, identity_retrieval

    from sf2f.metrics import FaceEmbedder

    embedder = FaceEmbedder(network, return_pooling=options.pooled_features)
    references = embedder.embed_identities(real_images)
    galleries = evaluation_galleries(len(real_images), options.gallery_sizes)
    selected_modes: Sequence[GenerationMode] = modes or (
        "naive",
        "average_facenet_embedding",
        "average_voice_embedding",
        *(("fused",) if model.has_fuser else ()),  # type: ignore[arg-type]
    )
    facenet_metrics, chance_recall = {}, {}
    unavailable = []
    for mode in selected_modes:
        try:
            generated = generate_by_mode(model, embeddings, mode)
        except ValueError as error:
            unavailable.append(UnavailableResult.from_error(f"{FACENET}, {mode}", error))
            continue
        embedded = embedder.embed_identities(generated)
        row = {key: float(value) for key, value in feature_distances(embedded, references)._asdict().items()}
        for similarity, suffix in (("cosine", ""), ("l1", " (L1)")):
            retrieval = identity_retrieval(
                embedded,
                references,
                similarity,  # type: ignore[arg-type]
                RECALL_CUTOFFS,
                galleries,
            )
            row |= {f"R@{k}{suffix}": value for k, value in retrieval.recall.items()}
            chance_recall = retrieval.chance
        facenet_metrics[mode] = row
    return {
        "facenet_metrics": facenet_metrics,
        "chance_recall": chance_recall,
        "unavailable": tuple(unavailable),
    }


def compute_scores(
    name: str,
    generated: Tensor,
    real_images: Sequence[Tensor],
    networks: EvaluationNetworks,
    options: EvaluationOptions,
) -> Mapping[str, float]:
    """Compute one group of scores.

    Args:
        name: `VGGFACE`, `INCEPTION` or `DIVERSITY`; its network must be loaded.
        generated: one image of each identity, (N, 3, side, side), 0...1.
        real_images: real images of each, (P, 3, side, side).
        networks: the networks.
        options: options of the published metrics.

    Raises:
        ValueError: too few identities for the metric.
    """
    from sf2f import metrics as scores
    from sf2f.network_config import FACE_BOX

    generated_bytes = (generated * 255).to(torch.uint8)  # truncated, as published
    if name == VGGFACE:
        assert networks.vggface is not None
        score = scores.vggface_score(
            networks.vggface,
            generated_bytes,
            channel_order=options.channel_order,
            face_box=FACE_BOX if options.crop_faces else None,
            generator=torch.Generator().manual_seed(options.seed),
        )
        return {"VFS": score.mean, "VFS std": score.std}
    if name == INCEPTION:
        assert networks.inception is not None
        real_bytes = (torch.stack([each[0] for each in real_images]) * 255).round().to(torch.uint8)
        inception = scores.inception_scores(networks.inception, generated_bytes, real_bytes)
        return {"IS": inception.score.mean, "IS std": inception.score.std, "FID": inception.fid}
    from voiceface.metrics.generation import diversity

    assert networks.lpips is not None
    lpips_diversity = diversity(networks.lpips, generated_bytes.float() / 127.5 - 1)
    return {"LPIPS diversity": lpips_diversity.mean, "LPIPS diversity std": lpips_diversity.std}
