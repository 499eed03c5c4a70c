"""`voicestyle generate`: generate faces from voices by the images of a face bank."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from voiceface.commandline.arguments import (
    add_crop_arguments,
    add_long_recordings_argument,
    add_strict_argument,
    split_overrides,
)
from voiceface.io.decoding_worker import decoding_in_workers

from voicestyle.arguments import (
    add_bank_arguments,
    add_config_arguments,
    add_model_arguments,
    bank_options,
    model_options,
    require_inputs,
)

__all__ = ["main"]


@decoding_in_workers(1)
def main(argv: Sequence[str] | None = None) -> int:
    """Run the pipeline on all voices; recordings and bank images that cannot be used are listed."""
    args = build_parser().parse_intermixed_args(argv)
    require_inputs(args)
    paths, overrides = split_overrides(args.voices)
    from voiceface.commandline.messages import print_disclaimers, report_left_out, report_notes
    from voiceface.faces.own_pictures import PictureReader
    from voiceface.io.file_kinds import printable
    from voiceface.io.input_files import find_input_files, make_writable_directory
    from voiceface.io.own_files import LeftOut, write_file_records

    left_out: list[LeftOut] = []
    voices = find_input_files(paths, left_out=left_out)
    pictures = PictureReader.from_arguments(args)
    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory
    from voiceface.runtime.progress import write_line

    from voicestyle.bank_builders import BUNDLED_PRESET, load_bank
    from voicestyle.config import VoiceStyleConfig
    from voicestyle.models import load_models
    from voicestyle.pipeline_runner import run_pipeline_on_files
    from voicestyle.report import write_generation_report
    from voicestyle.result_store import BANK_FILE, check_output_directory

    keep_freed_memory()
    config = load_config(args.cfg, VoiceStyleConfig, "voicestyle", overrides)
    check_output_directory(args.out, args.resume)
    models = load_models(config, **model_options(args))
    models.embedder.long_recordings = args.long_recordings
    print_disclaimers(models.disclaimer)
    out = make_writable_directory(args.out)
    bank = load_bank(
        models,
        config,
        args.bank,
        population=args.population or BUNDLED_PRESET,
        cache_file=out / BANK_FILE,
        pictures=pictures,
        **bank_options(args),
    )
    try:
        results, unusable = run_pipeline_on_files(
            voices,
            bank,
            models,
            config,
            out,
            exclude=args.exclude,
            resume=args.resume,
            on_progress=write_line,
        )
    except KeyboardInterrupt:
        print(f"interrupted; finished steps are kept in {out}, give --resume to continue", file=sys.stderr)
        raise
    left_out += dict.fromkeys([*unusable, *bank.left_out])
    for result in results:
        image = (out / "faces" / result.name).as_posix() + ".png"
        scores = f"{result.initial_similarity:.3f} -> {result.similarity:.3f}"
        print(f"{printable(result.name)}: similarity {scores}  {printable(image)}")
    disclaimers = list(dict.fromkeys(text for text in (models.disclaimer, bank.disclaimer) if text))
    report = write_generation_report(
        out / "index.html",
        results,
        bank,
        config,
        disclaimers=disclaimers,
        left_out=left_out,
    )
    print(f"report: {report}")
    known = {result.name: [result.facts] for result in results if result.facts is not None}
    write_file_records(out / "files.json", known, left_out)
    report_notes(each for records in known.values() for each in records)
    return report_left_out(left_out, strict=args.strict)


def build_parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    parser = argparse.ArgumentParser(
        prog="voicestyle generate",
        description="Generate a face for each voice: invert the bank images that the voice retrieves, "
        "average their latents, and optimise the result until its image matches the voice. Results are "
        "OUT/faces/NAME.png, OUT/index.html, OUT/files.json (measures and notes of the recordings) and every "
        "intermediate step; --resume continues a stopped run.",
    )
    add = parser.add_argument
    add(
        "voices",
        nargs="+",
        metavar="VOICE",
        help="recordings, and directories searched recursively; and section.key=value",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--bank",
        type=Path,
        metavar="DIR",
        help="directory of face images; <name>/1.6/<video>/ are videos; with unzippedFaces and "
        "VGG_ALL_FRONTAL in it as the published bank",
    )
    source.add_argument(
        "--population",
        nargs="?",
        const="quick",
        metavar="PRESET",
        help="synthetic identities as the bank: those that CMPC was trained on (default preset: quick)",
    )
    add("--out", type=Path, required=True, help="run directory, new or empty")
    add_config_arguments(parser, "default", "guidance.num_steps=50")
    add_bank_arguments(parser)
    add_crop_arguments(parser)
    add("--resume", action="store_true", help="continue the run in --out")
    add_long_recordings_argument(parser)
    add_strict_argument(parser)
    add_model_arguments(parser)
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.generate", None))
