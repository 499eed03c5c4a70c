"""`fop fame train|score|evaluate|check|run`: the FAME protocol from features to a checked submission."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.commandline import arguments
from voiceface.commandline.exit_status import ERROR, SUCCESS, completeness_status
from voiceface.commandline.messages import print_disclaimers

if TYPE_CHECKING:
    from fop.config import FopConfig
    from fop.fame.sources import FameSource

__all__ = ["build_parser", "run_command"]

VERSIONS = ("v1", "v2", "v3")
DATA_HELP = "folder in the layout of MAV-Celeb (docs/data.md); its files are encoded first"
FEATURES_HELP = "folder with feature files of the published programs (CSV), in place of --data; needs --lists"
CONFIGURATIONS = "main, quick, published_fame"


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `fop fame`."""
    parser = argparse.ArgumentParser(
        prog="fop fame",
        description="Face-voice association across languages: train on one language, test on the same "
        "(heard) and on the other (unheard).",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train on one language; the test is never trained on")
    _add_source_arguments(train)
    train.add_argument("--heard", required=True, metavar="LANGUAGE", help="language to train on")
    arguments.add_run_arguments(train, configurations=CONFIGURATIONS)

    score = commands.add_parser("score", help="write and check the submissions of a model, heard and unheard")
    _add_source_arguments(score)
    score.add_argument("--weights", type=Path, required=True, help=arguments.CHECKPOINT_HELP)
    score.add_argument(
        "--heard", metavar="LANGUAGE", help="language that it was trained on (default: as its run states)"
    )
    score.add_argument("--out", type=Path, required=True, help="folder of the submissions")
    _add_name_argument(score)
    arguments.add_device_argument(score)

    evaluate = commands.add_parser("evaluate", help="equal error rates of submissions whose labels are known")
    evaluate.add_argument("submissions", type=Path, help="folder of the submissions")
    place = evaluate.add_mutually_exclusive_group(required=True)
    place.add_argument(
        "--data", type=arguments.data_folder, help="folder in the layout of MAV-Celeb (docs/data.md)"
    )
    place.add_argument("--lists", type=Path, help="folder that holds lists/ and truth/")
    _add_version_argument(evaluate)
    _add_name_argument(evaluate)
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")

    check = commands.add_parser("check", help="check a submission before it is sent; status 1 if it is wrong")
    check.add_argument("submission", type=Path, help="the file")
    check.add_argument("--list", action="append", required=True, help="test list that it belongs to")
    _add_name_argument(check)

    run = commands.add_parser("run", help="train on both languages, score, check, evaluate, write a page")
    _add_source_arguments(run)
    arguments.add_run_arguments(run, configurations=CONFIGURATIONS)
    _add_name_argument(run)
    return parser


def run_command(argv: Sequence[str] | None = None) -> int:
    """`fop fame COMMAND`; see `build_parser`."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    args = parser.parse_args(words)
    if getattr(args, "features", None) and not args.lists:
        parser.error("--features needs --lists: the folder that holds the test lists")
    if getattr(args, "features", None) and not args.version:
        parser.error("--features needs --version")
    if args.command == "check" and len(args.list) != 1:
        parser.error("--list: expected one test list")
    _require_paths(args)
    functions = {
        "train": _train,
        "score": _score,
        "evaluate": _evaluate,
        "check": _check,
    }
    if args.command == "run":
        return _run(args, words)
    return functions[args.command](args)


def _train(args: argparse.Namespace) -> int:
    config = _load_config(args)
    source = _open_source(args, config, args.out / _features_folder())
    from fop.fame.protocol import train_language

    options: dict[str, Any] = {"device": args.device, "threads": args.threads, "resume": args.resume}
    print(f"weights: {train_language(source, args.heard, config, args.out, **options)}")
    return SUCCESS


def _score(args: argparse.Namespace) -> int:
    from voiceface.association.loading import load_embedder
    from voiceface.datasets.mavceleb.lists import MavCelebError

    from fop.fame.protocol import TrainedOn, score_language
    from fop.system import SPEC

    model = load_embedder(SPEC, args.weights, device=args.device)
    stated = TrainedOn.load(args.weights)
    source = _open_source(args, model.config, args.cache or args.out / _features_folder())
    heard = args.heard or (stated.language if stated else "")
    if not heard:
        raise MavCelebError(f"{args.weights} does not state its language of training: name it with --heard")
    if stated and (stated.language, stated.version) != (heard, source.version):
        raise MavCelebError(
            f"{args.weights} was trained on {stated.language} of {stated.version}, found --heard {heard} of "
            f"{source.version}; leave --heard and --version out"
        )
    print_disclaimers(model.disclaimer)
    for path in score_language(source, heard, model, args.out, named_by=args.named_by):  # type: ignore[arg-type]
        print(path)
    return SUCCESS


def _evaluate(args: argparse.Namespace) -> int:
    from voiceface.io.atomic import write_json

    from fop.fame.protocol import evaluate_folder

    scores, lacking = evaluate_folder(_open_lists(args), args.submissions, named_by=args.named_by)
    for sentence in lacking:
        print(f"not evaluated: {sentence}", file=sys.stderr)
    if not scores.results:
        print("error: no submission could be evaluated", file=sys.stderr)
        return ERROR
    print(scores.format())
    if args.json:
        write_json(args.json, {**scores.to_values(), "not_evaluated": lacking})
    return completeness_status(lacking)


def _check(args: argparse.Namespace) -> int:
    from voiceface.datasets.mavceleb.lists import read_pair_list

    from fop.fame.submissions import check_submission, format_problems

    pairs = read_pair_list(args.list[0])
    problems = check_submission(args.submission, pairs, named_by=args.named_by)
    if problems:
        print(format_problems(problems))
        return ERROR
    print(f"{args.submission}: {len(pairs)} distances, in form")
    return SUCCESS


def _run(args: argparse.Namespace, words: Sequence[str]) -> int:
    config = _load_config(args)
    source = _open_source(args, config, args.cache or args.out / _features_folder())
    from voiceface.association.loading import load_embedder
    from voiceface.runtime.process import keep_freed_memory

    from fop.fame.page import write_fame_results
    from fop.fame.protocol import evaluate_folder, score_language, train_language
    from fop.fame.sources import require_no_leak
    from fop.system import SPEC

    keep_freed_memory()
    lists = {language: source.read_test_list(language) for language in source.languages}
    require_no_leak(source, source.languages)
    folder = args.out / "submissions"
    submissions, disclaimers, encoders = {}, [source.disclaimer], []
    for language in source.languages:
        out = args.out / "runs" / language
        options: dict[str, Any] = {"device": args.device, "threads": args.threads}
        checkpoint = train_language(
            source, language, config, out, resume=args.resume and out.is_dir(), **options
        )
        model: Any = load_embedder(SPEC, checkpoint, device=args.device)
        paths = score_language(source, language, model, folder, named_by=args.named_by)
        submissions[language, language], submissions[language, source.other(language)] = paths
        disclaimers.append(model.disclaimer)
        encoders = [info.name for info in model.encoder_infos]
    scores, lacking = evaluate_folder(source, folder, named_by=args.named_by)
    notices = list(dict.fromkeys(text for text in disclaimers if text))
    written = write_fame_results(
        args.out,
        scores,
        submissions,
        lists,
        disclaimers=notices,
        lacking=lacking,
        encoders=encoders,
        config=config.model_dump(mode="json"),
        commands=[shlex.join(["fop", "fame", *words])],
    )
    for text in notices:
        print_disclaimers(text)
    print(scores.format() if scores.results else "the labels are hidden: no figures")
    print("\n".join(map(str, (*submissions.values(), *written))))
    for sentence in lacking if scores.results else ():
        print(f"not evaluated: {sentence}", file=sys.stderr)
    return completeness_status(lacking) if scores.results else SUCCESS


def _add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --data or --features, --lists, --version and --cache."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=arguments.data_folder, help=DATA_HELP)
    source.add_argument("--features", type=Path, help=FEATURES_HELP)
    parser.add_argument("--lists", type=Path, help="with --features: folder that holds lists/ and truth/")
    _add_version_argument(parser)
    parser.add_argument("--cache", type=Path, help="folder of finished features (default: OUT/features)")


def _add_version_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--version", choices=VERSIONS, help="of MAV-Celeb (default: the one that the data fit)"
    )


def _add_name_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--named-by",
        choices=("train", "test"),
        default="train",
        help="language in the name of a submission: of the training, or of the test (default: %(default)s)",
    )


def _require_paths(args: argparse.Namespace) -> None:
    """Check that the files and folders given by flags exist, before anything is imported."""
    given = {name: getattr(args, name, None) for name in ("data", "features", "lists", "weights")}
    given["list"] = Path(args.list[0]) if args.command == "check" else None
    arguments.require_existing_paths(given)
    for name, what in (("submission", "a file"), ("submissions", "the folder of the files")):
        path = getattr(args, name, None)
        if path is not None and not path.exists():
            raise FileNotFoundError(
                f"nothing at {path}, expected {what} that `fop fame score` or `fop fame run` wrote "
                "(OUT/submissions); check the path"
            )


def _features_folder() -> str:
    from voiceface.training.run_directory import FEATURES_FOLDER

    return FEATURES_FOLDER


def _load_config(args: argparse.Namespace) -> "FopConfig":
    from voiceface.runtime.config import load_config

    from fop.config import FopConfig

    return load_config(args.cfg, FopConfig, "fop", args.override)


def _open_source(args: argparse.Namespace, config: "FopConfig", cache: Path) -> "FameSource":
    """Features that the arguments name."""
    from voiceface.datasets.mavceleb.layout import find_version, find_version_root

    from fop.fame.sources import CsvSource, TreeSource

    if args.data:
        version = args.version or find_version(args.data)
        root = find_version_root(args.data, version)
        return TreeSource(root, version, config, args.cache or cache, args.device)
    return CsvSource(_list_root(args.lists, args.version), args.version, args.features)


def _open_lists(args: argparse.Namespace) -> "FameSource":
    """Test lists that the arguments name."""
    from voiceface.datasets.mavceleb.layout import find_version, find_version_root

    from fop.fame.sources import ListSource

    place = args.data or args.lists
    version = args.version or find_version(place)
    return ListSource(find_version_root(place, version) if args.data else _list_root(place, version), version)


def _list_root(folder: Path, version: str) -> Path:
    """Folder of a version below a folder of lists, or that folder."""
    return folder / version if (folder / version).is_dir() else folder
