"""`voicestyle test`: faces of people who took no part in the training, and how near they come."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments
from voiceface.datasets import dataset_arguments

from voicestyle.flags import add_networks, tools_of_flags

if TYPE_CHECKING:
    import numpy as np
    from voiceface.synthetic.face.geometry_truth import FaceTruth

    from voicestyle.config import VoiceStyleConfig
    from voicestyle.evaluation import Evaluation
    from voicestyle.journey import Journey
    from voicestyle.perception import Identity
    from voicestyle.steps import Tools

MOST_PICTURES = 8
"""True pictures of a person that faces are held against."""


@dataclass(frozen=True)
class Subjects:
    """People whose voices are tried.

    Attributes:
        names: of the N people.
        voices: a recording of each.
        pictures: true pictures (P, S, S, 3) uint8 of each.
        sexes: where they are known.
        truth: of invented people.
        notice: what must be said of them, or empty.
    """

    names: "tuple[str, ...]"
    voices: "tuple[Path, ...]"
    pictures: "list[np.ndarray]"
    sexes: "np.ndarray | None"
    truth: "FaceTruth | None"
    notice: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Write OUT/results.json, report.html and everything that `generate` writes."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.people is not None and args.people < 2:
        parser.error("--people must be at least 2: pictures are held against those of others")
    from voiceface.commandline.messages import tell_left_out, tell_notices
    from voiceface.io.atomic import write_json
    from voiceface.io.input_files import writable_folder
    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory

    from voicestyle.bank import BUNDLED_PRESET
    from voicestyle.config import VoiceStyleConfig
    from voicestyle.evaluation import write_page
    from voicestyle.generate import open_bank
    from voicestyle.journey import require_room, travel
    from voicestyle.perception import open_identity

    keep_freed_memory()
    config = load_config(args.cfg, VoiceStyleConfig, "voicestyle", args.set)
    require_room(args.out / "ways", args.resume)
    tools = tools_of_flags(args, config)
    tell_notices(tools.notice)
    out = writable_folder(args.out)
    subjects = (
        invented_subjects(args.population, args.split, args.people, out / "clips")
        if args.population
        else corpus_subjects(args.data, args.split, args.people)
    )
    own = args.weights or args.cmpc  # the bank is of those people that the networks were trained on
    args.population = args.population if own and args.population else BUNDLED_PRESET
    bank = open_bank(args, tools, config, out)
    known = {video.identity for video in bank.table} & set(subjects.names)
    exclude = [*args.exclude, *(() if args.keep_known else sorted(known))]
    if known:
        done = (
            "their own pictures may be found"
            if args.keep_known
            else "left out of it (--keep-known keeps them)"
        )
        print(f"{len(known)} of {len(subjects.names)} people are in the bank: {done}", file=sys.stderr)
    voices = [(path, Path(name)) for path, name in zip(subjects.voices, subjects.names)]
    journeys, left_out = travel(
        voices, bank, tools, config, out / "ways", exclude=exclude, resume=args.resume, say=print
    )
    tell_left_out(left_out)
    reader = open_identity(args.reader, str(tools.device)) if args.reader else judge_reader(subjects)
    name = args.reader.name if args.reader else "judge"
    found, pictures = evaluation_of(journeys, subjects, tools, config, reader, name, args.replicates)
    write_json(
        out / "results.json",
        {
            **found.to_dict(),
            "notice": tools.notice,
            "left_out": left_out,
            "in_bank": sorted(known) if args.keep_known else [],
        },
    )
    print(found.table())
    notices = list(dict.fromkeys(text for text in (tools.notice, bank.notice, subjects.notice) if text))
    page = write_page(
        out / "report.html",
        found,
        *pictures,
        notices=notices,
        voices=[j.voice for j in journeys],
        subtitle=f"{len(journeys)} people of the split {args.split}; bank: {bank.name}, "
        f"{len(known) if args.keep_known else 0} of them in it.",
    )
    print(f"report: {page}")
    return 0


def evaluation_of(
    journeys: "Sequence[Journey]",
    subjects: Subjects,
    tools: "Tools",
    config: "VoiceStyleConfig",
    reader: "Identity | None",
    reader_name: str,
    replicates: int = 1000,
) -> "tuple[Evaluation, tuple[np.ndarray, np.ndarray, list[np.ndarray]]]":
    """Figures of ways that were gone, and the pictures behind them: final, start, true ones."""
    import numpy as np
    import torch

    from voicestyle import steps
    from voicestyle.evaluation import evaluate, of_others
    from voicestyle.stylegan2.pictures import from_bytes

    rows = [subjects.names.index(j.place.as_posix()) for j in journeys]
    final, start = (np.stack([getattr(j, word) for j in journeys]) for word in ("picture", "start"))
    voices = torch.nn.functional.normalize(steps.embed_voices([j.voice for j in journeys], tools), dim=1)
    faces = steps.face_view(tools, config)
    with torch.no_grad():
        seen = torch.cat([faces(part.to(tools.device)) for part in from_bytes(final).split(16)]).cpu()
    sexes = None if subjects.sexes is None else subjects.sexes[rows]
    others = of_others((seen @ voices.T).double().numpy(), sexes)
    fit = np.array([j.fit for j in journeys]), np.array([j.start_fit for j in journeys]), others
    real = [subjects.pictures[row] for row in rows]
    found = evaluate(
        [subjects.names[row] for row in rows],
        final,
        start,
        real,
        fit,
        reader=reader,
        reader_name=reader_name,
        reader_device=tools.device if subjects.truth is None else "cpu",
        groups=sexes,
        truth=None if subjects.truth is None else taken(subjects.truth, rows),
        replicates=replicates,
    )
    return found, (final, start, real)


def taken(truth: "FaceTruth", rows: Sequence[int]) -> "FaceTruth":
    """The truth of some people."""
    from dataclasses import replace

    at = list(rows)
    words = ("k", "sex", "factors", "shape", "skin")
    return replace(truth, **{word: getattr(truth, word)[at] for word in words})


def judge_reader(subjects: Subjects) -> "Identity | None":
    """The judge network as a recogniser of invented people; None for others."""
    if subjects.truth is None:
        return None
    from voiceface.synthetic.readers.attribute_reader import load

    from voicestyle.perception import JudgeIdentity

    return JudgeIdentity(load("judge"))


def invented_subjects(preset: str, split: str, people: int | None, folder: Path) -> Subjects:
    """People of a preset; a clip of each is written to `folder`."""
    import numpy as np
    from voiceface.audio.loading import write_wav
    from voiceface.datasets.disclaimers import SYNTHETIC_NOTICE
    from voiceface.synthetic.dataset import PopulationDataset
    from voiceface.synthetic.face.geometry_truth import face_truth

    found = PopulationDataset(preset, split)
    count = min(people or len(found), len(found))
    at = list(range(count)) if people is None else spread_by_sex(found.people.sex, count)
    chosen = found.people.take(at)
    folder.mkdir(parents=True, exist_ok=True)
    voices = [folder / f"{name}.wav" for name in chosen.names]
    for path, row in zip(voices, at):
        write_wav(path, found.clips[row, 0])
    pictures = [np.asarray(found.pictures[row, :MOST_PICTURES]) for row in at]
    return Subjects(
        tuple(chosen.names), tuple(voices), pictures, chosen.sex, face_truth(chosen), SYNTHETIC_NOTICE
    )


def spread_by_sex(sexes: "np.ndarray", count: int) -> list[int]:
    """The first rows of both sexes in turn, ascending."""
    import numpy as np

    turns = [list(np.flatnonzero(sexes == sex)) for sex in np.unique(sexes)]
    found: list[int] = []
    while len(found) < count:
        for rows in turns:
            if rows and len(found) < count:
                found.append(int(rows.pop(0)))
    return sorted(found)


def corpus_subjects(data: Path, split: str, people: int | None) -> Subjects:
    """People of a corpus: the first clip of each, and its first pictures, cut square.

    Raises:
        CorpusError, FileNotFoundError: no such corpus.
        ValueError: nobody has both a clip and a picture.
    """
    import numpy as np
    from voiceface.datasets.corpus import open_corpus

    from voicestyle.stylegan2.collection import square_picture

    corpus = open_corpus(data, split)
    chosen = [person for person in corpus.people if person.voices and person.faces][:people]
    if not chosen:
        raise ValueError(f"nobody of the split {split} in {data} has a clip and a picture")
    pictures = [
        np.stack([square_picture(corpus.face_path(item), 256) for item in person.faces[:MOST_PICTURES]])
        for person in chosen
    ]
    genders = np.array([person.identity.gender or "" for person in chosen])
    return Subjects(
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
    arguments.add_source_flags(parser)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for the results")
    add("--cfg", default="quick", help="bundled name (default, quick, published) or a file (default quick)")
    add("--set", nargs="+", default=[], metavar="KEY=VALUE", help="section.key=value")
    dataset_arguments.add_split_flag(parser)
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
    add("--replicates", type=int, default=1000, help="of the bootstrap (default: %(default)s)")
    add("--resume", action="store_true", help="go on with what lies in --out")
    add_networks(parser)
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.test", None))
