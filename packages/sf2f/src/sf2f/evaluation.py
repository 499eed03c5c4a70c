"""Evaluation of a generator by its images of unseen identities.

Letters: N identities, S windows of one, P real images of one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor
from voiceface.metrics.unavailable import NOT_COMPUTED_YET, UnavailableResult, describe_unavailable

from sf2f.evaluation_inputs import load_evaluation_inputs
from sf2f.evaluation_metrics import (
    DIVERSITY,
    FACENET,
    GROUND_TRUTH,
    INCEPTION,
    VGGFACE,
    EvaluationOptions,
    compute_agreement,
    compute_facenet_metrics,
    compute_scores,
)
from sf2f.evaluation_networks import EvaluationNetworks, NetworkFiles, load_networks
from sf2f.generation import GenerationMode, embed_windows, generate_images
from sf2f.models import Sf2fModel
from sf2f.speakers import Speakers

if TYPE_CHECKING:
    from voiceface.synthetic.agreement.result import Agreement

__all__ = [
    "EvaluationResult",
    "build_table_rows",
    "evaluate",
    "format_results",
]


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
        rows: index of each identity among the given ones.
        unavailable: identities and metrics that were asked for and could not be used or computed.
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
    rows: tuple[int, ...] = ()
    unavailable: tuple[UnavailableResult, ...] = ()

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
            "unavailable": [each.to_dict() for each in self.unavailable],
        }


def evaluate(
    model: Sf2fModel,
    speakers: Speakers,
    networks: NetworkFiles | EvaluationNetworks | None = None,
    options: EvaluationOptions | None = None,
    *,
    modes: Sequence[GenerationMode] | None = None,
    bootstrap_samples: int = 1000,
    on_result: Callable[[EvaluationResult], None] | None = None,
) -> EvaluationResult:
    """Generate images of unseen identities and evaluate them.

    Synthetic identities are always compared with their ground truth
    (`voiceface.synthetic.agreement.agreement`); other metrics need their networks. Networks and files are
    read before anything is generated. A metric that cannot be computed does not cost the others: it is listed
    in `EvaluationResult.unavailable`, as are identities whose files cannot be read.

    Args:
        model: the generator.
        speakers: the identities; overlap with the training set is checked by `voiceface` commands, not here.
        networks: the evaluation networks, or their files.
        options: options of the published metrics.
        modes: generation modes of the FaceNet metrics; None: all that the model supports.
        bootstrap_samples: of the identity-level bootstrap.
        on_result: called with the images, and after every group of metrics with the results so far; metrics
            still to come are among the unavailable ones.

    Raises:
        FileNotFoundError, CheckpointError: files of networks are missing or invalid.
        DataError: the files of no identity can be read.
    """
    options = options or EvaluationOptions()
    if not isinstance(networks, EvaluationNetworks):
        networks = load_networks(networks or NetworkFiles())
    inputs = load_evaluation_inputs(model, speakers)
    embeddings = embed_windows(model, inputs.windows)
    images, single_window_images = generate_images(model, embeddings), generate_images(model, embeddings, 1)
    result = EvaluationResult(
        inputs.speakers.names,
        images,
        single_window_images,
        inputs.real_images,
        tuple(len(each) for each in embeddings.windows),
        model.has_fuser,
        rows=inputs.rows,
        unavailable=inputs.unavailable,
    )
    steps: dict[str, Callable[[], dict[str, Any]]] = {}
    if speakers.ground_truth is not None:
        steps[GROUND_TRUTH] = partial(
            compute_agreement, model, inputs.speakers, embeddings, inputs.real_images, bootstrap_samples
        )
    if networks.facenet is not None:
        steps[FACENET] = partial(
            compute_facenet_metrics, model, embeddings, inputs.real_images, networks.facenet, options, modes
        )
    scored = single_window_images if not model.has_fuser else images
    groups = ((VGGFACE, networks.vggface), (INCEPTION, networks.inception), (DIVERSITY, networks.lpips))
    for name in [name for name, network in groups if network is not None]:
        steps[name] = partial(_score_group, name, scored, inputs.real_images, networks, options)
    due = list(steps)
    _report_progress(result, due, on_result)
    for name, compute in steps.items():
        try:
            result = _merge(result, compute())
        except (ValueError, OSError) as error:
            missing = UnavailableResult.from_error(name, error)
            result = replace(result, unavailable=(*result.unavailable, missing))
        due.remove(name)
        _report_progress(result, due, on_result)
    return result


def _score_group(name: str, *inputs: Any) -> dict[str, Any]:
    """Scores of `compute_scores` as fields of the result."""
    return {"scores": dict(compute_scores(name, *inputs))}


def _merge(result: EvaluationResult, parts: Mapping[str, Any]) -> EvaluationResult:
    """Add a group of metrics; scores and unavailable results are added to those already there."""
    changes = dict(parts)
    changes["scores"] = {**result.scores, **parts.get("scores", {})}
    changes["unavailable"] = (*result.unavailable, *parts.get("unavailable", ()))
    return replace(result, **changes)


def _report_progress(
    result: EvaluationResult, due: Sequence[str], on_result: Callable[[EvaluationResult], None] | None
) -> None:
    """Hand over the results so far; those that are still due have that as their reason."""
    if on_result is not None:
        missing = (UnavailableResult(name, NOT_COMPUTED_YET) for name in due)
        on_result(replace(result, unavailable=(*result.unavailable, *missing)))


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
    if result.unavailable:
        lines.append(describe_unavailable(result.unavailable))
    if not lines:
        lines.append(
            "No metrics: these identities are not synthetic (or too few), and no evaluation network was "
            "given (--facenet, --vggface, --inception, --lpips). The images were written."
        )
    return "\n".join(lines)


def build_table_rows(result: EvaluationResult) -> Mapping[str, Mapping[str, float]]:
    """FaceNet metrics by mode together with the scores, as in the published table."""
    return {mode: {**row, **result.scores} for mode, row in result.facenet_metrics.items()}
