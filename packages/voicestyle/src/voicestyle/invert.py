"""`voicestyle invert`: find latents of StyleGAN2 that reproduce given images."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from voiceface.commandline.arguments import add_crop_arguments, add_strict_argument, split_overrides
from voiceface.io.decoding_worker import decoding_in_workers

from voicestyle.arguments import add_config_arguments, add_model_arguments, model_options, require_inputs

__all__ = ["find_images", "main"]


@decoding_in_workers(1)
def main(argv: Sequence[str] | None = None) -> int:
    """Invert images; those that cannot be read are left out and listed."""
    args = build_parser().parse_intermixed_args(argv)
    require_inputs(args)
    paths, overrides = split_overrides(args.images)
    from voiceface.commandline.messages import print_disclaimers, report_left_out
    from voiceface.faces.own_pictures import PictureReader
    from voiceface.io.input_files import make_writable_directory
    from voiceface.io.own_files import LeftOut

    files = find_images(paths)
    pictures = PictureReader.from_arguments(args)
    left_out: list[LeftOut] = []
    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory
    from voiceface.runtime.progress import progress_bar, write_line

    from voicestyle.config import VoiceStyleConfig
    from voicestyle.face_bank import ImageFile
    from voicestyle.models import load_models
    from voicestyle.pipeline_records import InversionItem
    from voicestyle.pipeline_runner import collect_provenance, invert_in_batches
    from voicestyle.report import write_inversion_report
    from voicestyle.result_store import DirectoryStore, check_output_directory

    keep_freed_memory()
    config = load_config(args.cfg, VoiceStyleConfig, "voicestyle", overrides)
    check_output_directory(args.out, args.resume)
    models = load_models(config, **model_options(args))
    pictures = pictures.with_convention(models.face_crop)
    print_disclaimers(models.disclaimer)
    out = make_writable_directory(args.out)
    readable: list[ImageFile] = []
    for path, label in progress_bar(files, "images", "image"):
        image = ImageFile(path, label, pictures)
        try:
            image.read()
            readable.append(image)
        except (ValueError, OSError) as error:
            left_out.append(LeftOut.from_error(path, error))
    if not readable:
        report_left_out(left_out)
        raise ValueError(f"none of the {len(files)} images can be read")
    provenance = collect_provenance([(image.path, Path(image.label)) for image in readable], None, models)
    if pictures.identity:
        provenance["crop"] = pictures.identity
    store = DirectoryStore(out=out, config=config, provenance=provenance, resume=args.resume)
    store.prepare()
    items = [InversionItem(image.label, image.label, image.label, image.read) for image in readable]
    size = config.inversion.batch_size
    batches = [items[start : start + size] for start in range(0, len(items), size)]
    try:
        with store.defer_signals():
            invert_in_batches(batches, models, config, store, write_line)
    except KeyboardInterrupt:
        print(f"interrupted; finished batches are kept in {out}, give --resume to continue", file=sys.stderr)
        raise
    inverted = list(store.inverted.values())
    report = write_inversion_report(out / "index.html", inverted, config, models.disclaimer)
    print(f"images and latents: {out / 'inversions'}\nreport: {report}")
    return report_left_out(left_out, strict=args.strict)


def find_images(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Find images among files and, to any depth, in directories: (file, label).

    Raises:
        FileNotFoundError: a path is missing, or there are no images.
        ValueError: two images have the same label.
    """
    from voicestyle.stylegan2.dataset import IMAGE_SUFFIXES

    labels: dict[Path, str] = {}
    for path in paths:
        if path.is_dir():
            files = [
                file
                for file in sorted(path.rglob("*"))
                if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file() and not file.name.startswith(".")
            ]
            labels |= {file: file.relative_to(path).as_posix() for file in files}
        elif path.is_file():
            labels[path] = path.name
        else:
            raise FileNotFoundError(f"no file or directory at {path}")
    if not labels:
        raise FileNotFoundError(
            f"no images ({', '.join(sorted(IMAGE_SUFFIXES))}) in {', '.join(map(str, paths))}"
        )
    if len(set(labels.values())) < len(labels):
        raise ValueError("two of the images have the same name: give the directory above them")
    return list(labels.items())


def build_parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    parser = argparse.ArgumentParser(
        prog="voicestyle invert",
        description="Find latents of StyleGAN2 that reproduce given images. Results are "
        "OUT/inversions/NAME.png (image and inversion), NAME.safetensors (latent, noise maps, losses) and "
        "OUT/index.html; --resume continues a stopped run.",
    )
    add = parser.add_argument
    add(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="files, and directories searched recursively; and section.key=value",
    )
    add("--out", type=Path, required=True, help="run directory, new or empty")
    add_config_arguments(parser, "default", "inversion.mse_weight=1")
    add_crop_arguments(parser)
    add("--resume", action="store_true", help="continue the run in --out")
    add_strict_argument(parser)
    add_model_arguments(parser)
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.invert", None))
