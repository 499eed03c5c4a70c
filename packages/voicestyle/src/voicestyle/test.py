"""`voicestyle test`: faces of people who took no part in the training, and how near they come."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments
from voiceface.datasets import dataset_arguments

from voicestyle.arguments import add_model_arguments, models_from_args

if TYPE_CHECKING:
    import numpy as np
    from voiceface.synthetic.face.geometry_truth import FaceGroundTruth

    from voicestyle.config import VoiceStyleConfig
    from voicestyle.evaluation import EvaluationResult
    from voicestyle.image_losses import IdentityEncoder
    from voicestyle.pipeline import PipelineModels
    from voicestyle.pipeline_runner import PipelineResult

MAX_TRUE_IMAGES = 8
"""True pictures of a person that faces are held against."""


@dataclass(frozen=True)
class EvaluationSet:
    """People whose voices are tried.

    Attributes:
        identity_names: of the N people.
        voice_paths: a recording of each.
        true_images: true pictures (P, S, S, 3) uint8 of each.
        genders: where they are known.
        ground_truth: of invented people.
        disclaimer: what must be said of them, or empty.
    """

    identity_names: "tuple[str, ...]"
    voice_paths: "tuple[Path, ...]"
    true_images: "list[np.ndarray]"
    genders: "np.ndarray | None"
    ground_truth: "FaceGroundTruth | None"
    disclaimer: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Write OUT/results.json, report.html and everything that `generate` writes."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.people is not None and args.people < 2:
        parser.error("--people must be at least 2: pictures are held against those of others")
    from voiceface.commandline.messages import print_disclaimers, print_skipped
    from voiceface.io.atomic import write_json
    from voiceface.io.input_files import make_writable_directory
    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory

    from voicestyle.config import VoiceStyleConfig
    from voicestyle.evaluation import write_evaluation_report
    from voicestyle.face_bank import BUNDLED_PRESET
    from voicestyle.generate import load_bank
    from voicestyle.image_losses import load_identity_encoder
    from voicestyle.pipeline_runner import check_output_directory, run_pipeline

    keep_freed_memory()
    config = load_config(args.cfg, VoiceStyleConfig, "voicestyle", args.set)
    check_output_directory(args.out / "ways", args.resume)
    tools = models_from_args(args, config)
    print_disclaimers(tools.disclaimer)
    out = make_writable_directory(args.out)
    subjects = (
        build_synthetic_evaluation_set(args.population, args.split, args.people, out / "clips")
        if args.population
        else build_corpus_evaluation_set(args.data, args.split, args.people)
    )
    own = args.weights or args.cmpc  # the bank is of those people that the networks were trained on
    args.population = args.population if own and args.population else BUNDLED_PRESET
    bank = load_bank(args, tools, config, out)
    known = {video.identity for video in bank.videos} & set(subjects.identity_names)
    exclude = [*args.exclude, *(() if args.keep_known else sorted(known))]
    if known:
        done = (
            "their own pictures may be found"
            if args.keep_known
            else "left out of it (--keep-known keeps them)"
        )
        print(
            f"{len(known)} of {len(subjects.identity_names)} people are in the bank: {done}", file=sys.stderr
        )
    voices = [(path, Path(name)) for path, name in zip(subjects.voice_paths, subjects.identity_names)]
    journeys, left_out = run_pipeline(
        voices, bank, tools, config, out / "ways", exclude=exclude, resume=args.resume, on_progress=print
    )
    print_skipped(left_out)
    reader = (
        load_identity_encoder(args.reader, str(tools.device))
        if args.reader
        else load_bundled_identity_encoder(subjects)
    )
    name = args.reader.name if args.reader else "judge"
    found, pictures = evaluate_results(
        journeys, subjects, tools, config, reader, name, args.bootstrap_samples
    )
    write_json(
        out / "results.json",
        {
            **found.to_dict(),
            "notice": tools.disclaimer,
            "left_out": left_out,
            "in_bank": sorted(known) if args.keep_known else [],
        },
    )
    print(found.format_table())
    notices = list(
        dict.fromkeys(text for text in (tools.disclaimer, bank.disclaimer, subjects.disclaimer) if text)
    )
    page = write_evaluation_report(
        out / "report.html",
        found,
        *pictures,
        disclaimers=notices,
        voices=[j.voice_path for j in journeys],
        subtitle=f"{len(journeys)} people of the split {args.split}; bank: {bank.name}, "
        f"{len(known) if args.keep_known else 0} of them in it.",
    )
    print(f"report: {page}")
    return 0


def evaluate_results(
    results: "Sequence[PipelineResult]",
    evaluation_set: EvaluationSet,
    models: "PipelineModels",
    config: "VoiceStyleConfig",
    identity_encoder: "IdentityEncoder | None",
    identity_encoder_name: str,
    replicates: int = 1000,
) -> "tuple[EvaluationResult, tuple[np.ndarray, np.ndarray, list[np.ndarray]]]":
    """Figures of ways that were gone, and the pictures behind them: final, start, true ones."""
    import numpy as np
    import torch

    from voicestyle import pipeline as steps
    from voicestyle.evaluation import evaluate, mean_of_others
    from voicestyle.stylegan2.images import from_uint8

    rows = [evaluation_set.identity_names.index(j.relative_path.as_posix()) for j in results]
    final, start = (np.stack([getattr(j, word) for j in results]) for word in ("picture", "start"))
    voices = torch.nn.functional.normalize(steps.embed_voices([j.voice_path for j in results], models), dim=1)
    faces = steps.build_face_encoder(models, config)
    with torch.no_grad():
        seen = torch.cat([faces(part.to(models.device)) for part in from_uint8(final).split(16)]).cpu()
    sexes = None if evaluation_set.genders is None else evaluation_set.genders[rows]
    others = mean_of_others((seen @ voices.T).double().numpy(), sexes)
    fit = np.array([j.similarity for j in results]), np.array([j.initial_similarity for j in results]), others
    real = [evaluation_set.true_images[row] for row in rows]
    found = evaluate(
        [evaluation_set.identity_names[row] for row in rows],
        final,
        start,
        real,
        fit,
        identity_encoder=identity_encoder,
        identity_encoder_name=identity_encoder_name,
        identity_encoder_device=models.device if evaluation_set.ground_truth is None else "cpu",
        groups=sexes,
        ground_truth=None
        if evaluation_set.ground_truth is None
        else select_ground_truth(evaluation_set.ground_truth, rows),
        replicates=replicates,
    )
    return found, (final, start, real)


def select_ground_truth(ground_truth: "FaceGroundTruth", rows: Sequence[int]) -> "FaceGroundTruth":
    """The truth of some people."""
    from dataclasses import replace

    at = list(rows)
    words = ("k", "sex", "factors", "shape", "skin")
    return replace(ground_truth, **{word: getattr(ground_truth, word)[at] for word in words})


def load_bundled_identity_encoder(evaluation_set: EvaluationSet) -> "IdentityEncoder | None":
    """The judge network as a recogniser of invented people; None for others."""
    if evaluation_set.ground_truth is None:
        return None
    from voiceface.synthetic.readers.attribute_reader import load_reader

    from voicestyle.image_losses import BundledIdentityEncoder

    return BundledIdentityEncoder(load_reader("judge"))


def build_synthetic_evaluation_set(
    preset: str, split: str, num_identities: int | None, folder: Path
) -> EvaluationSet:
    """People of a preset; a clip of each is written to `folder`."""
    import numpy as np
    from voiceface.audio.loading import write_wav
    from voiceface.datasets.disclaimers import SYNTHETIC_DATA_DISCLAIMER
    from voiceface.synthetic.dataset import PopulationDataset
    from voiceface.synthetic.face.geometry_truth import build_face_ground_truth

    found = PopulationDataset(preset, split)
    count = min(num_identities or len(found), len(found))
    at = list(range(count)) if num_identities is None else alternate_genders(found.identities.sex, count)
    chosen = found.identities.take(at)
    folder.mkdir(parents=True, exist_ok=True)
    voices = [folder / f"{name}.wav" for name in chosen.face_names]
    for path, row in zip(voices, at):
        write_wav(path, found.clips[row, 0])
    pictures = [np.asarray(found.images[row, :MAX_TRUE_IMAGES]) for row in at]
    return EvaluationSet(
        tuple(chosen.face_names),
        tuple(voices),
        pictures,
        chosen.sex,
        build_face_ground_truth(chosen),
        SYNTHETIC_DATA_DISCLAIMER,
    )


def alternate_genders(genders: "np.ndarray", count: int) -> list[int]:
    """The first rows of both sexes in turn, ascending."""
    import numpy as np

    turns = [list(np.flatnonzero(genders == sex)) for sex in np.unique(genders)]
    found: list[int] = []
    while len(found) < count:
        for rows in turns:
            if rows and len(found) < count:
                found.append(int(rows.pop(0)))
    return sorted(found)


def build_corpus_evaluation_set(data: Path, split: str, num_identities: int | None) -> EvaluationSet:
    """People of a corpus: the first clip of each, and its first pictures, cut square.

    Raises:
        CorpusError, FileNotFoundError: no such corpus.
        ValueError: nobody has both a clip and a picture.
    """
    import numpy as np
    from voiceface.datasets.corpus import open_corpus

    from voicestyle.stylegan2.dataset import load_square_image

    corpus = open_corpus(data, split)
    chosen = [person for person in corpus.records if person.voices and person.faces][:num_identities]
    if not chosen:
        raise ValueError(f"nobody of the split {split} in {data} has a clip and a picture")
    pictures = [
        np.stack([load_square_image(corpus.face_path(item), 256) for item in person.faces[:MAX_TRUE_IMAGES]])
        for person in chosen
    ]
    genders = np.array([person.identity.gender or "" for person in chosen])
    return EvaluationSet(
        tuple(person.identity.name for person in chosen),
        tuple(corpus.voice_path(person.voices[0]) for person in chosen),
        pictures,
        genders if (genders != "").all() else None,
        None,
    )


def build_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(
        prog="voicestyle test",
        description="Make faces of unseen people from their voices and hold the final pictures against the "
        "true faces, against their own starts and against other people's. Results are results.json, "
        "report.html, and the ways themselves below OUT/ways.",
    )
    arguments.add_data_source_arguments(parser)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for the results")
    add("--cfg", default="quick", help="bundled name (default, quick, published) or a file (default quick)")
    add("--set", nargs="+", default=[], metavar="KEY=VALUE", help="section.key=value")
    dataset_arguments.add_split_argument(parser)
    add("--people", type=int, metavar="N", help="the first N, both sexes in turn (default all)")
    add("--bank", type=Path, metavar="DIR", help="bank of faces (default: invented people)")
    add("--frontal", type=Path, metavar="DIR", help="frontal pictures <name>/<picture>")
    add("--memory", type=Path, help="given prototypes, with --table")
    add("--table", type=Path, help="training.csv of the memory")
    add("--exclude", nargs="+", default=[], metavar="NAME", help="people of the bank to leave out")
    add("--keep-known", action="store_true", help="leave tested people in the bank, if they are in it")
    add(
        "--reader", type=Path, help="IR-SE50 that measures likeness (default: the judge, for invented people)"
    )
    add("--bootstrap-samples", type=int, default=1000, help="of the bootstrap (default: %(default)s)")
    add("--resume", action="store_true", help="go on with what lies in --out")
    add_model_arguments(parser)
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.test", None))
