"""Validation of a model during training on one matching list (docs/seeking_shape.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voiceface.association.config import AssociationConfig
    from voiceface.association.embedder import Embedder
    from voiceface.association.encoders import Encoders
    from voiceface.datasets.corpus import Corpus
    from voiceface.datasets.trials.trial_list import TrialList
    from voiceface.embeddings.table import EmbeddingTable
    from voiceface.training.run import Run

__all__ = ["Validation", "encode_validation", "record_impostor_scores", "validate", "validation_due"]


@dataclass(frozen=True)
class Validation:
    """Identities and trial list of the validation.

    Attributes:
        corpus: validation identities.
        trial_list: a matching list.
        on_error: unreadable files: "error" ends the run, "skip" skips their trials.
    """

    corpus: "Corpus"
    trial_list: "TrialList"
    on_error: str = "error"


def validation_due(config: "AssociationConfig", step: int) -> bool:
    """Whether the model is validated before iteration `step` (after the last one, for step = max_steps)."""
    interval = config.training.validation_interval
    return interval is not None and step >= max(1, config.training.validation_start) and step % interval == 0


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
    """Compute the matching accuracy on one list; save the best model as `checkpoints/best.safetensors`.

    A trial is correct if the positive has a strictly higher score than every distractor (as published).

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

    Raises:
        ValueError: no validation data, or no readable trial.
    """
    import torch

    from voiceface.metrics.matching import matching_accuracy, pair_scores

    if validation is None:
        raise ValueError(
            "Validation is enabled (training.validation_interval), but no validation split was provided. "
            "Provide one, or set training.validation_interval=null."
        )
    trials = validation.trial_list
    tables = encode_validation(model, config, validation, device=run.device, embedder_type=embedder_type)
    record_impostor_scores(run, step, tables, validation)
    (probes, probe_rows), (gallery, gallery_rows) = (
        (torch.from_numpy(table.vectors), torch.from_numpy(table.row_indices(items, "mark")))
        for items, table in zip((trials.probes, trials.gallery), tables)
    )
    probe_index = probe_rows[torch.from_numpy(trials.probe_index)]
    gallery_index = gallery_rows[torch.from_numpy(trials.gallery_index)]
    used = (probe_index >= 0) & (gallery_index >= 0).all(dim=1)
    if not used.any():
        raise ValueError(
            f"{trials.name}: the files of every trial are unreadable; check the validation split"
        )
    scores = pair_scores(probes, gallery, probe_index[used], gallery_index[used])
    accuracy = float(matching_accuracy(scores, tie_breaking="strict"))
    model.train()
    run.log(step, {"matching_accuracy": accuracy}, always=True, prefix="val/")
    if accuracy > run.values.get("best_matching_accuracy", 0.0):
        run.values.update(best_matching_accuracy=accuracy, best_step=step)
        if save_best:
            run.save("best", model)
    return accuracy


def encode_validation(
    model: "Encoders",
    config: "AssociationConfig",
    validation: Validation,
    *,
    device: Any = "cpu",
    embedder_type: "type[Embedder] | None" = None,
) -> "list[EmbeddingTable]":
    """Encode the probes and the gallery of the validation list; the model is in evaluation mode afterwards.

    Of several processes each encodes a share of the files; all return the same tables.

    Args:
        model: the network.
        config: the experiment.
        validation: identities and list.
        device: where the network is.
        embedder_type: reads files for the model; None: the shared one.

    Returns:
        Embeddings of the probes and of the gallery.

    Raises:
        EmbeddingError: a file cannot be read, as `validation.on_error` says.
    """
    from voiceface.association import embedder
    from voiceface.embeddings.sharing import embed_in_shares

    encoder = (embedder_type or embedder.Embedder)(model, config, device=device)
    corpus, trials = validation.corpus, validation.trial_list
    tables = []
    for items, modality in zip((trials.probes, trials.gallery), trials.direction.split("2")):
        embed = partial(encoder.embed_items, modality, corpus=corpus, progress=False)
        batch_size = encoder.modality_io(modality, corpus)[2]
        tables.append(embed_in_shares(embed, items, batch_size, on_error=validation.on_error))
    return tables


def record_impostor_scores(
    run: "Run", step: int, tables: "Sequence[EmbeddingTable]", validation: Validation
) -> None:
    """Store the scores of impostor pairs with the run, and with every checkpoint that it saves from now on.

    Args:
        run: the run.
        step: completed iterations.
        tables: from `encode_validation`.
        validation: identities and list.
    """
    from voiceface.metrics.impostor_scores import measure_impostor_scores

    voices, faces = tables if validation.trial_list.direction.startswith("v") else reversed(tables)
    identify = validation.corpus.get_identity_index
    scores = measure_impostor_scores(
        voices.vectors,
        faces.vectors,
        [identify(item) for item in voices.items],
        [identify(item) for item in faces.items],
        source="validation identities of the training",
    )
    if scores is not None:
        run.values.update(impostor_scores=scores.to_values(), impostor_scores_step=step)
        run.extra["impostor_scores"] = scores.to_values()
