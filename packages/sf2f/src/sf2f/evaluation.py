"""Evaluation of a generator by its images of unseen identities.

Letters: N identities, S windows of one, P real images of one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from sf2f.generation import (
    WindowEmbeddings,
    embed_speakers,
    face_ground_truth,
    generate_images,
    generate_window_images,
    has_enough_identities,
    load_real_images,
    stack_equal_counts,
)
from sf2f.models import Sf2fModel
from sf2f.speakers import Speakers

if TYPE_CHECKING:
    from voiceface.synthetic.agreement.result import Agreement

__all__ = [
    "RECALL_CUTOFFS",
    "WINDOW_COUNTS",
    "EvaluationOptions",
    "EvaluationResult",
    "GenerationMode",
    "NetworkFiles",
    "build_table_rows",
    "evaluate",
    "format_results",
    "generate_by_mode",
    "select_window_counts",
]

GenerationMode = Literal["naive", "average_facenet_embedding", "average_voice_embedding", "fused"]
WINDOW_COUNTS = (1, 2, 4, 8, 16)
RECALL_CUTOFFS = (1, 2, 5, 10, 20, 50)


@dataclass(frozen=True)
class NetworkFiles:
    """Files of the evaluation networks; metrics of a network that is None are skipped.

    Attributes:
        facenet: FaceNet, for feature distances and retrieval.
        vggface: face classifier of the VGGFace Score.
        inception: 2015 graph, for Inception Score and FID.
        lpips: folder of AlexNet and the LPIPS heads, for the diversity.
    """

    facenet: Path | None = None
    vggface: Path | None = None
    inception: Path | None = None
    lpips: Path | None = None


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


@dataclass(frozen=True)
class EvaluationResult:
    """Result of an evaluation.

    Attributes:
        names: of the identities.
        images: one image of each from all windows, (N, 3, side, side), 0...1.
        single_window_images: one image of each from the first window.
        real_images: their real images.
        window_counts: number of windows of each.
        has_fuser: whether windows are fused by attention; else embeddings are averaged.
        agreement: for synthetic identities, agreement with the ground truth by number of windows; the last
            one uses all.
        ranks: for synthetic identities, rank of each among all by the embedding of the attribute reader, from
            1.
        facenet_metrics: FaceNet distances and recalls, by mode.
        scores: VGGFace Score, Inception Score, FID, diversity, as far as requested.
        chance_recall: recall of a random ranking, by cut-off.
    """

    names: tuple[str, ...]
    images: Tensor
    single_window_images: Tensor
    real_images: tuple[Tensor, ...]
    window_counts: tuple[int, ...]
    has_fuser: bool
    agreement: dict[int, "Agreement"] = field(default_factory=dict)
    ranks: tuple[int, ...] = ()
    facenet_metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    chance_recall: dict[int, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the images."""
        return {
            "format": "sf2f-results-2",
            "num_identities": len(self.names),
            "window_pooling": "fuser" if self.has_fuser else "mean",
            "windows": {"min": min(self.window_counts), "max": max(self.window_counts)},
            "agreement": {str(count): agreement.to_dict() for count, agreement in self.agreement.items()},
            "facenet_metrics": self.facenet_metrics,
            "chance_recall": {f"R@{k}": value for k, value in self.chance_recall.items()},
            "scores": self.scores,
        }


def evaluate(
    model: Sf2fModel,
    speakers: Speakers,
    network_files: NetworkFiles | None = None,
    options: EvaluationOptions | None = None,
    *,
    modes: Sequence[GenerationMode] | None = None,
    bootstrap_samples: int = 1000,
) -> EvaluationResult:
    """Generate images of unseen identities and evaluate them.

    Synthetic identities are always compared with their ground truth
    (`voiceface.synthetic.agreement.agreement`); other metrics need the files of their networks.

    Args:
        model: the generator.
        speakers: the identities; overlap with the training set is checked by `voiceface` commands, not here.
        network_files: files of the evaluation networks.
        options: options of the published metrics.
        modes: generation modes of the FaceNet metrics; None: all that the model supports.
        bootstrap_samples: of the identity-level bootstrap.

    Raises:
        FileNotFoundError, CheckpointError: a file of `network_files` is missing or invalid.
        ValueError: too few identities for a metric.
    """
    options, network_files = options or EvaluationOptions(), network_files or NetworkFiles()
    embeddings = embed_speakers(model, speakers)
    images, single_window_images = generate_images(model, embeddings), generate_images(model, embeddings, 1)
    real_images = tuple(load_real_images(speakers, images.shape[-1]))
    base = EvaluationResult(
        speakers.names,
        images,
        single_window_images,
        real_images,
        tuple(len(each) for each in embeddings.windows),
        model.has_fuser,
    )
    parts: dict[str, Any] = {}
    if has_enough_identities(face_ground_truth(speakers)):
        parts |= _compute_agreement(model, speakers, embeddings, real_images, bootstrap_samples)
    if network_files.facenet is not None:
        parts |= _compute_facenet_metrics(
            model, embeddings, single_window_images, real_images, network_files.facenet, options, modes
        )
    parts["scores"] = _compute_scores(
        single_window_images if not model.has_fuser else images, real_images, network_files, options
    )
    return EvaluationResult(**{**vars(base), **parts})


def select_window_counts(window_counts: Sequence[int]) -> list[int]:
    """Numbers of windows to evaluate: 1, 2, 4, ... that every identity has, and all (the maximum)."""
    return [
        *(count for count in WINDOW_COUNTS if count < max(window_counts) and count <= min(window_counts)),
        max(window_counts),
    ]


def generate_by_mode(model: Sf2fModel, embeddings: WindowEmbeddings, mode: GenerationMode) -> list[Tensor]:
    """Generate the images (n, 3, side, side) of each identity for a published generation mode.

    `naive`: from the first window alone. `average_facenet_embedding`: one of every window; their features are
    averaged. `average_voice_embedding`: one from the mean embedding, bypassing a fuser. `fused`: one from all
    windows through the fuser (the published `naive` with a loader of windows).

    Raises:
        ValueError: `fused` without a fuser.
    """
    if mode == "average_facenet_embedding":
        return generate_window_images(model, embeddings)
    if mode == "naive":
        return list(generate_images(model, embeddings, 1)[:, None])
    if mode == "fused":
        if not model.has_fuser:
            raise ValueError("mode fused needs a stage-2 model; this one has no fuser")
        return list(generate_images(model, embeddings)[:, None])
    means = torch.cat([each.mean(0, keepdim=True) for each in embeddings.windows])
    return list(model.decode_images(means).cpu()[:, None])


def _compute_agreement(
    model: Sf2fModel,
    speakers: Speakers,
    embeddings: WindowEmbeddings,
    real_images: Sequence[Tensor],
    bootstrap_samples: int,
) -> dict[str, Any]:
    """Agreement with the ground truth by number of windows, and the rank of each identity."""
    from torch.nn.functional import normalize
    from voiceface.synthetic.agreement.agreement import agreement_from_predictions, predict_identities
    from voiceface.synthetic.readers.attribute_reader import load_reader

    reader, ground_truth = load_reader("evaluation"), face_ground_truth(speakers)
    assert ground_truth is not None
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


def _compute_facenet_metrics(
    model: Sf2fModel,
    embeddings: WindowEmbeddings,
    single_window_images: Tensor,
    real_images: Sequence[Tensor],
    file: Path,
    options: EvaluationOptions,
    modes: Sequence[GenerationMode] | None,
) -> dict[str, Any]:
    """Distances and recalls of FaceNet features, by mode and similarity."""
    from voiceface.metrics.generation import evaluation_galleries, feature_distances, identity_retrieval

    from sf2f.metrics import FaceEmbedder
    from sf2f.third_party_networks import load_facenet_vggface2

    embedder = FaceEmbedder(load_facenet_vggface2(file), return_pooling=options.pooled_features)
    references = embedder.embed_identities(real_images)
    galleries = evaluation_galleries(len(real_images), options.gallery_sizes)
    selected_modes: Sequence[GenerationMode] = modes or (
        "naive",
        "average_facenet_embedding",
        "average_voice_embedding",
        *(("fused",) if model.has_fuser else ()),  # type: ignore[arg-type]
    )
    facenet_metrics, chance_recall = {}, {}
    for mode in selected_modes:
        embedded = embedder.embed_identities(generate_by_mode(model, embeddings, mode))
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
    return {"facenet_metrics": facenet_metrics, "chance_recall": chance_recall}


def _compute_scores(
    generated: Tensor, real_images: Sequence[Tensor], network_files: NetworkFiles, options: EvaluationOptions
) -> dict[str, float]:
    """VGGFace Score, Inception Score, FID and diversity."""
    from sf2f import metrics as scores
    from sf2f import third_party_networks
    from sf2f.network_config import FACE_BOX

    results: dict[str, float] = {}
    generated_bytes = (generated * 255).to(torch.uint8)  # truncated, as published
    real_bytes = (torch.stack([each[0] for each in real_images]) * 255).round().to(torch.uint8)
    if network_files.vggface is not None:
        score = scores.vggface_score(
            third_party_networks.load_vggface2_resnet50(network_files.vggface),
            generated_bytes,
            channel_order=options.channel_order,
            face_box=FACE_BOX if options.crop_faces else None,
            generator=torch.Generator().manual_seed(options.seed),
        )
        results |= {"VFS": score.mean, "VFS std": score.std}
    if network_files.inception is not None:
        inception = scores.inception_scores(
            third_party_networks.load_inception_2015(network_files.inception), generated_bytes, real_bytes
        )
        results |= {"IS": inception.score.mean, "IS std": inception.score.std, "FID": inception.fid}
    if network_files.lpips is not None:
        from voiceface.metrics.generation import diversity

        lpips_diversity = diversity(
            third_party_networks.load_lpips_alex(network_files.lpips), generated_bytes.float() / 127.5 - 1
        )
        results |= {"LPIPS diversity": lpips_diversity.mean, "LPIPS diversity std": lpips_diversity.std}
    return results


def format_results(result: EvaluationResult) -> str:
    """Format all metrics as text."""
    lines = []
    for count, agreement in result.agreement.items():
        source = (
            "one window" if count == 1 else f"up to {count} windows" + (", fused" if result.has_fuser else "")
        )
        lines += [f"images from {source}:", agreement.format_table(), ""]
    for mode, row in result.facenet_metrics.items():
        lines.append(f"{mode}: " + ", ".join(f"{key} {value:.3f}" for key, value in row.items()))
    if result.chance_recall:
        lines.append(
            "chance level: " + ", ".join(f"R@{k} {value:.3f}" for k, value in result.chance_recall.items())
        )
    lines += [f"{key}: {value:.3f}" for key, value in result.scores.items()]
    if not lines:
        lines.append(
            "No metrics: these identities are not synthetic (or too few), and no evaluation network was "
            "given (--facenet, --vggface, --inception, --lpips). The images were written."
        )
    return "\n".join(lines)


def build_table_rows(result: EvaluationResult) -> Mapping[str, Mapping[str, float]]:
    """FaceNet metrics by mode together with the scores, as in the published table."""
    return {mode: {**row, **result.scores} for mode, row in result.facenet_metrics.items()}
