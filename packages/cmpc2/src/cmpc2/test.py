"""Evaluation: matching, verification and retrieval on lists, as figures, a results file and a report.

`cmpc2 test --data ROOT --out DIR [--lists PUBLISHED_FOLDER] [--weights FILE] [--bank training.csv]`
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments
from voiceface.commandline.messages import print_disclaimers
from voiceface.datasets import dataset_arguments

import cmpc2

if TYPE_CHECKING:
    from voiceface.association.evaluation import Evaluation
    from voiceface.datasets.corpus import Corpus

    from cmpc2.embedder import Embedder

SUBTITLE = "Cross-modal prototype contrast: matching, verification and retrieval on unseen people."
CMPC_LIST_PREFIXES = ("matching_", "veriflist_", "wav_", "jpg_")


def main(argv: Sequence[str] | None = None) -> int:
    """`cmpc2 test`."""
    parser = argparse.ArgumentParser(
        prog="cmpc2 test",
        description="Evaluate a model: every matching, verification and retrieval list of CMPC that is there "
        "(random clips drawn from seed, row and view), or a corpus's own lists. Table, results.json, "
        "results.txt, report.html.",
    )
    arguments.add_weights_argument(parser)
    parser.add_argument("--data", type=Path, required=True, help=arguments.CORPUS_HELP)
    parser.add_argument("--out", type=Path, required=True, help="folder for results and report")
    parser.add_argument("--lists", type=Path, help="list folder (default DATA, DATA/list_wav)")
    parser.add_argument("--list", action="append", dest="names", help="list name, repeatable (default: all)")
    parser.add_argument(
        "--split", choices=dataset_arguments.SPLITS, help="people (CMPC's lists: all, else test)"
    )
    parser.add_argument(
        "--bank", type=Path, help="training.csv of the model's bank: who took part in training"
    )
    parser.add_argument("--generate-lists", type=int, metavar="SEED", help="generate missing lists by rule")
    parser.add_argument(
        "--tie-breaking", choices=["expected", "first"], help="default: the configuration's rule"
    )
    parser.add_argument("--cache", type=Path, help="embedding cache (default OUT/cache)")
    arguments.add_missing_argument(parser, "identities, files and trials whose data is missing")
    arguments.add_on_corrupt_argument(parser)
    dataset_arguments.add_root_arguments(parser)
    parser.add_argument(
        "--bootstrap-samples", type=int, default=1000, help="of the bootstrap; 0: no intervals"
    )
    arguments.add_workers_argument(parser)
    arguments.add_device_argument(parser)
    args = parser.parse_args(argv)

    from cmpc2.prototype_retrieval import read_training_table

    model = cmpc2.load_embedder(args.weights, device=args.device, on_corrupt=args.on_corrupt)
    print_disclaimers(model.disclaimer)
    if args.tie_breaking:
        settings = model.config.evaluation.model_copy(update={"tie_breaking": args.tie_breaking})
        model.config = model.config.model_copy(update={"evaluation": settings})
    bank = {row.identity for row in read_training_table(args.bank)} if args.bank else set()
    lists = _find_cmpc_lists(args)
    corpus, found = (
        _evaluate_published_lists(model, lists, args, bank)
        if lists
        else _evaluate_corpus_lists(model, args, bank)
    )
    report = _write_results(model, corpus, found, args, lists)
    print(found.results.table())
    if found.all_pairs:
        from voiceface.evaluation.all_pairs import all_pairs_table

        print(f"\nall pairs of unseen identities\n{all_pairs_table(found.all_pairs)}")
    print(f"report: {report}")
    return 0


def _find_cmpc_lists(args: argparse.Namespace) -> list[Path]:
    """Published lists that are there; none where a corpus has others."""
    from cmpc2.evaluation import find_trial_lists

    folder = args.lists or args.data
    try:
        paths = find_trial_lists(folder, args.names or ())
    except FileNotFoundError:
        if args.lists and args.names:
            raise
        return []
    return [path for path in paths if path.name.startswith(CMPC_LIST_PREFIXES)]


def _evaluate_published_lists(
    model: "Embedder", paths: Sequence[Path], args: argparse.Namespace, training_identities: set[str]
) -> "tuple[Corpus, Evaluation]":
    """Figures on CMPC's lists, whose people may belong to any split."""
    from voiceface.association.evaluation import Evaluation
    from voiceface.datasets.corpus import Corpus
    from voiceface.datasets.layouts import read_identities
    from voiceface.datasets.layouts import find_voice_root
    from voiceface.datasets.trials.reading import read_trial_list

    from cmpc2.evaluation import MediaPaths, evaluate_trial_lists, training_overlap_warning
    from cmpc2.published import get_training_identities, identify_published_model

    try:
        people = read_identities(args.data, args.split)
    except FileNotFoundError:
        people = read_identities(args.lists or args.data, args.split)
    places = MediaPaths(
        args.voice_root or find_voice_root(args.data), args.face_root or args.data / "unzippedFaces"
    )
    if args.weights:
        training_identities = training_identities | set(
            get_training_identities(identify_published_model(args.weights), people)
        )
    lists = [read_trial_list(path, people) for path in paths]
    results, voices, faces = evaluate_trial_lists(
        model,
        lists,
        people,
        places,
        name=f"CMPC lists on {args.data.name}",
        cache=args.cache or args.out / "cache",
        workers=args.workers,
        on_error=args.missing,
        training_identities=training_identities,
        replicates=args.bootstrap_samples,
    )
    if told := training_overlap_warning(results):
        print_disclaimers(told)
    from voiceface.datasets.corpus import IdentityRecord

    listed = tuple(IdentityRecord(person, row, (), ()) for row, person in enumerate(people))
    corpus = Corpus(listed, places.voice_root, places.face_root)
    return corpus, Evaluation(results, voices, faces)


def _evaluate_corpus_lists(
    model: "Embedder", args: argparse.Namespace, training_identities: set[str]
) -> "tuple[Corpus, Evaluation]":
    """Figures on a corpus's lists, as the other systems are measured; ceilings on the population."""
    from voiceface.association.data import load_split, load_trial_lists, rename_for_split
    from voiceface.association.evaluation import evaluate
    from voiceface.datasets.disclaimers import is_synthetic

    split, absent = args.split or "test", args.missing
    corpus = load_split(
        args.data,
        split,
        voice_root=args.voice_root,
        face_root=args.face_root,
        skip_missing=args.missing == "skip",
    )
    lists = load_trial_lists(
        args.data,
        args.names or rename_for_split(model.config.evaluation.lists, split),
        corpus,
        list_folder=args.lists,
        generation_seed=args.generate_lists,
        on_missing=absent,
        skip_ungeneratable=not args.names,
    )
    model.identity_names = tuple(dict.fromkeys([*(model.identity_names or ()), *sorted(training_identities)]))
    return corpus, evaluate(
        model,
        corpus,
        lists,
        name=f"{args.data.name} {split}",
        tie_breaking=model.config.evaluation.tie_breaking,
        cache=args.cache or args.out / "cache",
        workers=args.workers,
        on_error=absent,
        population=args.data if is_synthetic(args.data) else None,
    )


def _write_results(
    model: "Embedder",
    corpus: "Corpus",
    evaluation: "Evaluation",
    args: argparse.Namespace,
    lists: Sequence[Path],
) -> Path:
    """Results, tables and report; gives the report's path."""
    from voiceface.association.evaluation import write_evaluation

    from cmpc2.evaluation import training_overlap_warning

    folder = args.weights if args.weights is None or args.weights.is_dir() else args.weights.parent
    runs = {"main": folder} if folder and (folder / "log.jsonl").is_file() else {}
    words = ["cmpc2 test", f"--data {args.data}", f"--out {args.out}"]
    words += [f"--weights {args.weights}"] if args.weights else []
    return write_evaluation(
        args.out,
        model,
        corpus,
        evaluation,
        system="cmpc2",
        title=f"cmpc2 on {args.data.name}" + (" (CMPC lists)" if lists else ""),
        subtitle=SUBTITLE,
        runs=runs,
        commands=[" ".join(words)],
        disclaimers=[training_overlap_warning(evaluation.results)],
    )


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("cmpc2.test", None))
