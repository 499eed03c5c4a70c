"""Evaluate a model on a table of features: people, files and trial lists without the files themselves."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voiceface.association.evaluation import Evaluation
    from voiceface.datasets.corpus import Corpus
    from voiceface.encoders.tables import FeatureSet

    from fop.embedder import FopEmbedder

__all__ = ["corpus_of_features", "evaluate_features"]


def corpus_of_features(features: "FeatureSet", folder: Path) -> "Corpus":
    """Describe the people of a feature table as a data set, with the names of their files.

    Args:
        features: features of people with both modalities.
        folder: their folder; the files themselves need not exist.
    """
    from voiceface.datasets.corpus import Corpus, IdentityRecord

    files: dict[str, list[list[str]]] = {}
    for side, owners, names in (
        ("v", features.voice_identities, features.voice_files),
        ("f", features.face_identities, features.face_files),
    ):
        files[side] = [[] for _ in features.people]
        for owner, name in zip(owners.tolist(), names):
            files[side][owner].append(name)
    records = (
        IdentityRecord(person, label, tuple(sorted(voices)), tuple(sorted(faces)))
        for label, (person, voices, faces) in enumerate(zip(features.people, files["v"], files["f"]))
    )
    return Corpus(tuple(records), folder, folder)


def evaluate_features(
    model: "FopEmbedder", features: "FeatureSet", args: argparse.Namespace
) -> "tuple[Corpus, Evaluation]":
    """Evaluate a model on features, on trial lists of their files; neither encoder is loaded.

    Args:
        model: the model.
        features: of the people of the split `args.split`; without splits, of everybody.
        args: parsed arguments of `fop test`.

    Raises:
        EncoderError: features of other encoders, or nobody in the split.
        TrialListError, FileNotFoundError: no list can be computed, or lists are missing.
    """
    from voiceface.association.data import rename_for_split
    from voiceface.association.evaluation import evaluate
    from voiceface.association.list_evaluation import print_coverage
    from voiceface.association.trial_lists import load_trial_lists, open_trial_lists
    from voiceface.datasets.trials.trial_list import TrialListError
    from voiceface.metrics.unavailable import UnavailableResult

    if any(features.splits):
        features = features.split(args.split)
    features = features.with_both_modalities()
    corpus = corpus_of_features(features, args.features)
    settings, skips = model.config.evaluation, args.missing == "skip"
    names = args.names or rename_for_split(settings.lists, args.split)
    options: dict[str, Any] = {
        "list_folder": args.lists,
        "generation_seed": args.generate_lists,
        "on_missing": args.missing,
        "skip_ungeneratable": not args.names,
    }
    unavailable: tuple[UnavailableResult, ...] = ()
    if skips:
        lists, unavailable = open_trial_lists(args.features, names, corpus, **options)
        if not lists:
            raise TrialListError(f"none of the lists can be computed: {'; '.join(map(str, unavailable))}")
    else:
        lists = load_trial_lists(args.features, names, corpus, **options)
    print_coverage(lists, unavailable)
    evaluation = evaluate(
        model,
        corpus,
        lists,
        name=f"{args.features.name} {args.split}",
        tie_breaking=args.tie_breaking or settings.tie_breaking,
        on_error=args.missing,
        unavailable=unavailable,
        out=args.out,
        tables=model.embed_features(features),
    )
    return corpus, evaluation
