"""Validation on features: matching accuracy, equal error rate, choice of the best checkpoint."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from voiceface.embeddings.sharing import own_share
from voiceface.metrics.impostor_scores import measure_impostor_scores, spread
from voiceface.metrics.matching import matching_accuracy, row_blocks
from voiceface.metrics.verification import equal_error_rate
from voiceface.runtime.distributed import all_gather_objects

from fop.scores import ScoreName, score_matrix, score_rows

if TYPE_CHECKING:
    from voiceface.datasets.trials.trial_list import TrialList
    from voiceface.encoders.tables import FeatureSet
    from voiceface.training.run import Run

    from fop.config import FopConfig
    from fop.model import FopModel

__all__ = [
    "FeatureValidation",
    "encode_features",
    "expected_matching_accuracy",
    "measure",
    "require_finite",
    "validate",
]

ROWS_OF_BLOCK = 2048


@dataclass(frozen=True)
class FeatureValidation:
    """People that select the checkpoint.

    Attributes:
        features: their features.
        trial_list: a matching list of their files; None: every voice against every pair of faces.
        people: what they are, for records: "validation" or "test".
    """

    features: "FeatureSet"
    trial_list: "TrialList | None" = None
    people: str = "validation"


@torch.no_grad()
def encode_features(
    model: "FopModel", features: "FeatureSet", device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Embed all voices (N, Dv) and faces (M, Df) of a feature set, in evaluation mode.

    Called on every process of a run, each embeds a share of the rows.

    Returns:
        (N, D) and (M, D), on the CPU. The mode of the model is as before.
    """
    training = model.training
    model.eval()
    voices = _encode_rows(model.encode_voices, features.voices, device)
    faces = _encode_rows(model.encode_faces, features.faces, device)
    model.train(training)
    return voices, faces


def _encode_rows(encode: Callable[[Tensor], Tensor], rows: np.ndarray, device: torch.device | str) -> Tensor:
    """Embed rows in blocks; of several processes each embeds its share of the blocks."""
    own = torch.from_numpy(rows[own_share(len(rows), ROWS_OF_BLOCK)])
    blocks = [encode(block.to(device)).float().cpu() for block in own.split(ROWS_OF_BLOCK)]
    shares = all_gather_objects(torch.cat(blocks).numpy() if len(own) else None)
    return torch.from_numpy(np.concatenate([share for share in shares if share is not None]))


def expected_matching_accuracy(scores: Tensor, same: Tensor) -> float:
    """Accuracy of choosing the right one of two candidates, over all pairs of candidates; ties count half.

    Args:
        scores: of every probe with every candidate, (N, M).
        same: whether they are one person, bool (N, M).

    Returns:
        Mean over the probes with candidates of both kinds, 0...1; 0.5 is chance.

    Raises:
        ValueError: no such probe.
    """
    targets, others = same.sum(1), (~same).sum(1)
    usable = (targets > 0) & (others > 0)
    if not usable.any():
        raise ValueError("matching needs a probe with a candidate of the same and one of another person")
    probe, candidate = (same & usable[:, None]).nonzero(as_tuple=True)
    wins = torch.empty(len(probe), dtype=torch.float64)
    for rows in row_blocks(len(probe), scores.shape[1] * 8):
        block, right = scores[probe[rows]], scores[probe[rows], candidate[rows]][:, None]
        other = ~same[probe[rows]]
        beaten = ((block < right) & other).sum(1) + ((block == right) & other).sum(1) / 2
        wins[rows] = beaten.double() / others[probe[rows]]
    per_probe = torch.zeros(len(scores), dtype=torch.float64).index_add_(0, probe, wins)
    return float((per_probe[usable] / targets[usable]).mean())


def measure(
    voices: Tensor, faces: Tensor, validation: FeatureValidation, score: ScoreName, *, eer: bool = False
) -> dict[str, float]:
    """Measure embeddings of validation people.

    Args:
        voices: (N, D), of `validation.features`.
        faces: (M, D).
        validation: people, and their trial list if there is one.
        score: how voices and faces are compared.
        eer: compute the equal error rate of all pairs, too.

    Returns:
        "matching_accuracy", 0...1: of the trial list (a tie is a miss, as in the other systems), else over
        all voices and pairs of faces (a tie counts half); and "eer", 0...1. Without a list and for the equal
        error rate, at most 2000 voices and faces are used, evenly spaced.

    Raises:
        ValueError: no trial can be evaluated.
    """
    found: dict[str, float] = {}
    features, trials = validation.features, validation.trial_list
    if trials is not None:
        found["matching_accuracy"] = _list_accuracy(voices, faces, features, trials, score)
    if trials is None or eer:
        rows, columns = (spread(len(side)) for side in (voices, faces))
        scores = score_matrix(voices[rows], faces[columns], score)
        people = (features.voice_identities[rows][:, None], features.face_identities[columns][None, :])
        same = torch.from_numpy(np.equal(*people))
        if trials is None:
            found["matching_accuracy"] = expected_matching_accuracy(scores, same)
        if eer:
            found["eer"] = float(equal_error_rate(scores.flatten(), same.flatten().to(torch.int8)).rate)
    return found


def _list_accuracy(
    voices: Tensor, faces: Tensor, features: "FeatureSet", trials: "TrialList", score: ScoreName
) -> float:
    sides = {"v": (voices, features.voice_table()), "f": (faces, features.face_table())}
    (probes, probe_table), (gallery, gallery_table) = (sides[side] for side in trials.direction.split("2"))
    probe_rows, gallery_rows = (
        torch.from_numpy(table.row_indices(items, "mark"))
        for items, table in ((trials.probes, probe_table), (trials.gallery, gallery_table))
    )
    probe_index = probe_rows[torch.from_numpy(trials.probe_index)]
    gallery_index = gallery_rows[torch.from_numpy(trials.gallery_index)]
    used = (probe_index >= 0) & (gallery_index >= 0).all(dim=1)
    if not used.any():
        raise ValueError(f"{trials.name}: no trial has features of all its files; check the validation split")
    scores = score_rows(probes[probe_index[used]][:, None], gallery[gallery_index[used]], score)
    return float(matching_accuracy(scores, tie_breaking="strict"))


def validate(
    run: "Run", step: int, model: "FopModel", config: "FopConfig", validation: FeatureValidation
) -> float:
    """Measure the model after `step` steps, log it, and keep the best as `checkpoints/best.safetensors`.

    Args:
        run: the run; the scores of impostor pairs of its best model are stored with it.
        step: completed steps.
        model: the network.
        config: the experiment; `training.selected_by` and `best_checkpoint` decide what is kept.
        validation: the people.

    Returns:
        Matching accuracy, 0...1.

    Raises:
        ValueError: embeddings are not finite.
    """
    settings = config.training
    voices, faces = encode_features(model, validation.features, run.device)
    require_finite((voices, faces), step, config)
    found = measure(voices, faces, validation, config.evaluation.score, eer=settings.selected_by == "eer")
    run.log(step, found, always=True, prefix="val/" if validation.people == "validation" else "test/")
    quality = -found["eer"] if settings.selected_by == "eer" else found["matching_accuracy"]
    if quality > run.values.get("best_quality", -float("inf")):
        run.values.update(best_quality=quality, best_step=step)
        if settings.best_checkpoint != "none":
            record_impostor_scores(run, step, voices, faces, validation)
            run.save("best", model)
    return found["matching_accuracy"]


def require_finite(values: Iterable[Tensor], step: int, config: "FopConfig") -> None:
    """Check embeddings or weights after `step` steps.

    Raises:
        ValueError: one is not finite: the training has diverged.
    """
    if not all(bool(value.isfinite().all()) for value in values):
        raise ValueError(
            f"the model is not finite after {step} steps, the training has diverged: lower optimiser.lr "
            f"({config.optimiser.lr:g}) and train in another folder"
        )


def record_impostor_scores(
    run: "Run", step: int, voices: Tensor, faces: Tensor, validation: FeatureValidation
) -> None:
    """Store the cosines of voices with the faces of other people with the run; see `ImpostorScores`."""
    features = validation.features
    scores = measure_impostor_scores(
        voices.numpy(),
        faces.numpy(),
        features.voice_identities.tolist(),
        features.face_identities.tolist(),
        source=f"{validation.people} identities of the training",
    )
    if scores is not None:
        run.values.update(impostor_scores=scores.to_values(), impostor_scores_step=step)
        run.extra["impostor_scores"] = scores.to_values()
