"""`voicestyle invert`: codes whose pictures look like given ones."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from voicestyle.arguments import add_model_arguments, models_from_args


def main(argv: Sequence[str] | None = None) -> int:
    """Invert pictures; the exit code is 1 where one could not be read."""
    args = build_parser().parse_args(argv)
    from voiceface.commandline.messages import print_disclaimers, print_skipped
    from voiceface.io.input_files import make_writable_directory
    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import DeferredSignals, keep_freed_memory

    from voicestyle.config import VoiceStyleConfig
    from voicestyle.face_bank import ImageFile
    from voicestyle.pipeline_runner import (
        InvertedImage,
        check_output_directory,
        collect_provenance,
        invert_or_load,
        prepare_output_directory,
    )
    from voicestyle.report import write_inversion_report

    keep_freed_memory()
    config = load_config(args.cfg, VoiceStyleConfig, "voicestyle", args.set)
    found, left_out = find_images(args.pictures), []
    check_output_directory(args.out, args.resume)
    tools = models_from_args(args, config)
    print_disclaimers(tools.disclaimer)
    out = make_writable_directory(args.out)
    readable = []
    for path, label in found:
        picture = ImageFile(path, label)
        try:
            picture.read()
            readable.append((path, picture))
        except (ValueError, OSError) as error:
            left_out.append(str(error))
    if not readable:
        raise ValueError(f"none of the {len(found)} pictures can be read: {left_out[0]}")
    voices = [(path, Path(picture.label)) for path, picture in readable]
    prepare_output_directory(out, collect_provenance(voices, None, tools), config, args.resume)
    size, results = config.inversion.batch_size, dict[str, InvertedImage]()
    try:
        with DeferredSignals() as interrupts:
            for at in range(0, len(readable), size):
                group = [(picture.label, picture.read) for _, picture in readable[at : at + size]]
                results |= invert_or_load(group, tools, config, out, interrupts)
                print(f"inverted {min(at + size, len(readable))} of {len(readable)}", flush=True)
    except KeyboardInterrupt:
        print(f"what is done lies in {out}; give --resume to go on", file=sys.stderr)
        raise
    print_skipped(left_out)
    page = write_inversion_report(out / "index.html", list(results.values()), config, tools.disclaimer)
    print(f"pictures and codes: {out / 'inversions'}\nreport: {page}")
    return 1 if left_out else 0


def find_images(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Pictures among files and, to any depth, folders: (file, label).

    Raises:
        FileNotFoundError: a path is not there, or nothing was found.
    """
    from voicestyle.stylegan2.dataset import IMAGE_SUFFIXES

    found: dict[Path, str] = {}
    for given in paths:
        if given.is_dir():
            files = [
                p for p in sorted(given.rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()
            ]
            files = [p for p in files if not p.name.startswith(".")]
            found |= {path: path.relative_to(given).as_posix() for path in files}
        elif given.is_file():
            found[given] = given.name
        else:
            raise FileNotFoundError(f"no file or folder at {given}")
    if not found:
        raise FileNotFoundError(
            f"no pictures ({', '.join(sorted(IMAGE_SUFFIXES))}) in {', '.join(map(str, paths))}"
        )
    if len(set(found.values())) < len(found):
        raise ValueError("two of the pictures have one name: give the folder above them")
    return list(found.items())


def build_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(
        prog="voicestyle invert",
        description="Find the codes of StyleGAN2 whose pictures look like given ones. Results are "
        "OUT/inversions/NAME.png (picture and inversion), NAME.safetensors (code, noise maps, losses) and "
        "OUT/index.html; a stopped run goes on with --resume.",
    )
    add = parser.add_argument
    add("pictures", nargs="+", type=Path, metavar="PICTURE", help="files, and folders searched to any depth")
    add("--out", type=Path, required=True, help="folder for the results")
    add("--cfg", default="default", help="bundled name (default, quick, published) or a file")
    add(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="section.key=value, such as inversion.mse_weight=1",
    )
    add("--resume", action="store_true", help="go on with what lies in --out")
    add_model_arguments(parser)
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.invert", None))
