"""Judging a model during training by one matching list (docs/seeking_shape.md)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voiceface.association.config import AssociationConfig
    from voiceface.association.embedder import Embedder
    from voiceface.association.encoders import Encoders
    from voiceface.datasets.corpus import Corpus
    from voiceface.datasets.trials.trial_list import TrialList
    from voiceface.training.run import Run


@dataclass(frozen=True)
class Validation:
    """People and list that a model is judged by during training.

    Attributes:
        corpus: the people.
        trial_list: a matching list.
        on_error: files that cannot be read: "error" ends the run, "skip" leaves their lines out.
    """

    corpus: "Corpus"
    trial_list: "TrialList"
    on_error: str = "error"


def validation_due(config: "AssociationConfig", step: int) -> bool:
    """Whether the model is validated before iteration `step` (after the last one, for step = max_steps)."""
    every = config.training.validation_interval
    return every is not None and step >= max(1, config.training.validation_start) and step % every == 0


def validate(
    run: "Run",
    step: int,
    model: "Encoders",
    config: "AssociationConfig",
    validation: Validation | None,
    *,
    embedder_type: "type[Embedder] | None" = None,
    save_best: bool = True,
) -> float:
    """Measure the matching accuracy on one list; a new best is kept as `checkpoints/best.safetensors`.

    A trial is correct where the right face is strictly closer than every other (as published).

    Args:
        run: the run; its log receives the accuracy.
        step: completed iterations.
        model: the network; in training mode afterwards.
        config: the experiment.
        validation: identities and list.
        embedder_type: reads files for the model; None: the shared one.
        save_best: keep the best checkpoint.

    Returns:
        Accuracy, 0...1.
    """
    import torch

    from voiceface.association import embedder
    from voiceface.embeddings.encoding import encode_files
    from voiceface.metrics.matching import matching_accuracy, pair_scores

    if validation is None:
        raise ValueError(
            "Validation is enabled (training.validation_interval), but no validation split was provided. "
            "Provide one, or set training.validation_interval=null."
        )
    judge = (embedder_type or embedder.Embedder)(model, config, device=run.device)
    corpus, questions = validation.corpus, validation.trial_list
    sides = []
    for items, side in zip((questions.probes, questions.gallery), questions.direction.split("2")):
        load, encode, batch, place = judge.modality_io(side, corpus)
        table = encode_files(
            items,
            place,
            load,
            encode,
            fingerprint=judge.fingerprint,
            batch_size=batch,
            on_error=validation.on_error,
            progress=False,
        )
        sides.append((torch.from_numpy(table.vectors), torch.from_numpy(table.row_indices(items, "mark"))))
    (anchors, anchor_rows), (candidates, candidate_rows) = sides
    asked = anchor_rows[torch.from_numpy(questions.probe_index)]
    offered = candidate_rows[torch.from_numpy(questions.gallery_index)]
    used = (asked >= 0) & (offered >= 0).all(dim=1)
    if not used.any():
        raise ValueError(f"{questions.name}: no line is left to validate on, their files cannot be read")
    scores = pair_scores(anchors, candidates, asked[used], offered[used])
    accuracy = float(matching_accuracy(scores, tie_breaking="strict"))
    model.train()
    run.log(step, {"matching_accuracy": accuracy}, always=True, prefix="val/")
    if accuracy > run.values.get("best_matching_accuracy", 0.0):
        run.values.update(best_matching_accuracy=accuracy, best_step=step)
        if save_best:
            run.save("best", model)
    return accuracy
