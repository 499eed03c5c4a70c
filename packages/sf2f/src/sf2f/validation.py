"""Validation on held-out identities during training, and preview images for the log."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sf2f.config import Sf2fConfig
from sf2f.generation import (
    contact_sheet,
    embed_speakers,
    face_ground_truth,
    generate_images,
    has_enough_identities,
    load_real_images,
    stack_equal_counts,
)
from sf2f.image_transforms import denormalise
from sf2f.models import Sf2fModel
from sf2f.network_config import Statistics
from sf2f.speakers import Speakers

if TYPE_CHECKING:
    from voiceface.synthetic.head.geometry_truth import FaceGroundTruth
    from voiceface.synthetic.readers.attribute_reader import AttributePrediction, AttributeReader

__all__ = [
    "LOGGED_METRICS",
    "ValidationData",
    "build_preview",
    "evaluate_generator",
    "prepare_validation",
]

LOGGED_METRICS = (
    "gender accuracy",
    "factors",
    "shape",
    "rank-1 identification",
    "rank-10 identification",
    "same-gender 1:2 matching",
)


@dataclass(frozen=True)
class ValidationData:
    """Held-out identities with everything that stays constant during training.

    Attributes:
        speakers: the identities.
        real_images: their images, (P, 3, side, side) each, 0...1.
        config: of the run.
        ground_truth: of synthetic identities, else None.
        attribute_reader: network that reads attributes of synthetic faces, else None.
        attribute_prediction: its output for the real images, else None.
        facenet: FaceNet with embeddings (N, D) of the identities if given, else None.
    """

    speakers: Speakers
    real_images: tuple[Tensor, ...]
    config: Sf2fConfig
    ground_truth: "FaceGroundTruth | None" = None
    attribute_reader: "AttributeReader | None" = None
    attribute_prediction: "AttributePrediction | None" = None
    facenet: Any = None


def prepare_validation(
    speakers: Speakers,
    config: Sf2fConfig,
    facenet: str | Path | None = None,
    device: torch.device | str = "cpu",
) -> ValidationData:
    """Prepare held-out identities.

    Args:
        speakers: the identities.
        config: of the run.
        facenet: FaceNet checkpoint, or None.
        device: device of FaceNet.
    """
    real_images = tuple(load_real_images(speakers, config.generator.image_sizes[-1]))
    data = ValidationData(speakers, real_images, config, face_ground_truth(speakers))
    if has_enough_identities(data.ground_truth):
        from voiceface.synthetic.agreement.agreement import predict_identities
        from voiceface.synthetic.readers.attribute_reader import load_reader

        reader = load_reader("evaluation")
        prediction = predict_identities(reader, stack_equal_counts(real_images))
        data = replace(data, attribute_reader=reader, attribute_prediction=prediction)
    if facenet is not None:
        from sf2f.metrics import FaceEmbedder
        from sf2f.third_party_networks import load_facenet_vggface2

        embedder = FaceEmbedder(load_facenet_vggface2(facenet).to(device), config.perceptual.face_box)
        data = replace(data, facenet=(embedder, embedder.embed_identities(real_images)))
    return data


def evaluate_generator(generator: nn.Module, validation_data: ValidationData) -> dict[str, float]:
    """Metrics of a generator on held-out identities, from one image of all their windows.

    `pixel_l1`: mean absolute difference from the mean of the real images, 0...1. For synthetic identities
    also the metrics of `voiceface.synthetic.agreement.agreement`; with FaceNet `cosine_similarity` and
    `recall_at_10`. The generator is left in evaluation mode.
    """
    model = Sf2fModel(generator.eval(), validation_data.config.data)  # type: ignore[arg-type]
    generated = generate_images(model, embed_speakers(model, validation_data.speakers))
    mean = torch.stack([each.mean(0) for each in validation_data.real_images])
    metrics = {"pixel_l1": float((generated - mean).abs().mean())}
    if (
        validation_data.attribute_reader is not None
        and validation_data.ground_truth is not None
        and validation_data.attribute_prediction is not None
    ):
        from voiceface.synthetic.agreement.agreement import agreement_from_predictions, predict_identities

        prediction = predict_identities(validation_data.attribute_reader, generated[:, None])
        agreement = agreement_from_predictions(
            validation_data.attribute_reader,
            prediction,
            validation_data.attribute_prediction,
            validation_data.ground_truth,
            replicates=2,
        ).metrics
        metrics |= {_log_key(name): agreement[name].value for name in LOGGED_METRICS if name in agreement}
    if validation_data.facenet is not None:
        from voiceface.metrics.generation import feature_distances, identity_retrieval

        embedder, references = validation_data.facenet
        embeddings = embedder.embed_images(generated)
        metrics["cosine_similarity"] = float(feature_distances(embeddings, references).cosine)
        metrics["recall_at_10"] = float(identity_retrieval(embeddings, references, cutoffs=[10]).recall[10])
    return metrics


def _log_key(metric: str) -> str:
    """Key of an agreement metric in the log: letters, digits and underscores only."""
    return re.sub(r"\W+", "_", metric)


def build_preview(generated: Tensor, real: Tensor, statistics: Statistics, count: int = 8) -> np.ndarray:
    """Generated images (N, 3, S, S), normalised, above the real ones of the same identities, as bytes."""
    both = torch.cat([generated[:count], real[:count]]).detach().float().cpu()
    return contact_sheet(denormalise(both, statistics), min(count, len(generated)))
