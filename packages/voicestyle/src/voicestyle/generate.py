"""`voicestyle generate`: faces of voices, by the faces of a bank."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voicestyle.arguments import add_model_arguments, models_from_args

if TYPE_CHECKING:
    from voicestyle.config import VoiceStyleConfig
    from voicestyle.face_bank import FaceBank
    from voicestyle.pipeline import PipelineModels


def main(argv: Sequence[str] | None = None) -> int:
    """Take all voices through the seven steps; the exit code is 1 where a recording could not be used."""
    args = build_parser().parse_args(argv)
    from voiceface.commandline.messages import print_disclaimers, print_skipped
    from voiceface.io.input_files import find_input_files, make_writable_directory
    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory

    from voicestyle.config import VoiceStyleConfig
    from voicestyle.pipeline_runner import check_output_directory, run_pipeline
    from voicestyle.report import write_generation_report

    keep_freed_memory()
    config = load_config(args.cfg, VoiceStyleConfig, "voicestyle", args.set)
    voices = find_input_files(args.voices)
    check_output_directory(args.out, args.resume)
    tools = models_from_args(args, config)
    print_disclaimers(tools.disclaimer)
    out = make_writable_directory(args.out)
    bank = load_bank(args, tools, config, out)
    try:
        journeys, left_out = run_pipeline(
            voices,
            bank,
            tools,
            config,
            out,
            exclude=args.exclude,
            resume=args.resume,
            on_progress=lambda words: print(words, flush=True),
        )
    except KeyboardInterrupt:
        print(f"what is done lies in {out}; give --resume to go on", file=sys.stderr)
        raise
    print_skipped(left_out)
    for j in journeys:
        picture = (out / "faces" / j.relative_path).as_posix() + ".png"
        print(
            f"{j.relative_path.as_posix()}: fit {j.initial_similarity:.3f} -> {j.similarity:.3f}  {picture}"
        )
    notices = list(dict.fromkeys(text for text in (tools.disclaimer, bank.disclaimer) if text))
    left_out += bank.skipped
    page = write_generation_report(
        out / "index.html", journeys, bank, config, disclaimers=notices, skipped=left_out
    )
    print(f"report: {page}")
    return 1 if len(journeys) < len(voices) else 0


def load_bank(
    args: argparse.Namespace, models: "PipelineModels", config: "VoiceStyleConfig", out: Path
) -> "FaceBank":
    """The bank that the flags name; embeddings of one's own folder are kept in `out`."""
    from cmpc2.nearest import open_memory
    from voiceface.checkpoints.native import load_state, save_state

    from voicestyle.face_bank import (
        BUNDLED_PRESET,
        FaceBankError,
        build_bank,
        build_bank_from_prototypes,
        build_synthetic_bank,
    )

    run = args.cmpc or (args.weights / "cmpc2" if args.weights else None)
    if args.bank is None or args.memory or args.table:
        memory, table = open_memory(run, args.memory, args.table)
        if args.bank is None:
            if run is None and args.memory is None and args.population != BUNDLED_PRESET:
                raise FaceBankError(
                    f"--population {args.population}: the bundled CMPC was trained on the preset "
                    f"{BUNDLED_PRESET}; leave the preset out, or give --weights or --cmpc of a run of yours"
                )
            return build_synthetic_bank(memory, table, preset=args.population)
        return build_bank_from_prototypes(args.bank, memory, table, frontal=args.frontal)
    place = out / "bank.safetensors"
    known = load_state(place) if place.is_file() else None
    bank, found = build_bank(
        args.bank,
        models.embedder,
        frontal=args.frontal,
        num_clusters=config.retrieval.num_clusters,
        min_clusters=config.retrieval.num_prototypes,
        seed=config.seed,
        cached=known,
    )
    if known is None or known.get("key") != found["key"]:
        save_state(place, found)
    return bank


def build_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(
        prog="voicestyle generate",
        description="Make a face for each voice: pictures of a bank that the voice leads to are inverted, "
        "their codes averaged, and the result is brought nearer to the voice. Results are "
        "OUT/faces/NAME.png, OUT/index.html and every step in between; a stopped run goes on with --resume.",
    )
    add = parser.add_argument
    add("voices", nargs="+", type=Path, metavar="VOICE", help="recordings, and folders searched to any depth")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--bank",
        type=Path,
        metavar="DIR",
        help="folder of face pictures; <name>/1.6/<video>/ are videos; with unzippedFaces and "
        "VGG_ALL_FRONTAL in it as the published bank",
    )
    source.add_argument(
        "--population",
        nargs="?",
        const="quick",
        metavar="PRESET",
        help="invented people as the bank: those that CMPC was trained on, of this preset (default quick)",
    )
    add("--out", type=Path, required=True, help="folder for the results")
    add("--cfg", default="default", help="bundled name (default, quick, published) or a file")
    add(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="section.key=value, such as guidance.num_steps=50",
    )
    add(
        "--frontal", type=Path, metavar="DIR", help="frontal pictures <name>/<picture> in place of the bank's"
    )
    add("--memory", type=Path, help="given prototypes, such as frame_memory_best_256.pth.tar, with --table")
    add("--table", type=Path, help="training.csv of the memory")
    add("--exclude", nargs="+", default=[], metavar="NAME", help="people of the bank to leave out")
    add("--resume", action="store_true", help="go on with what lies in --out")
    add_model_arguments(parser)
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.generate", None))
