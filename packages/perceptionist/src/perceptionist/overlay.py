"""`perceptionist overlay`: draw the mesh of a face over its photograph."""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.commandline.messages import print_disclaimers, report_left_out
from voiceface.export.arguments import add_onnx_argument, check_onnx_arguments

if TYPE_CHECKING:
    from perceptionist.face_models.linear import FaceParameters, LinearFaceModel
    from perceptionist.image_expert_model import ImageExpert

__all__ = [
    "OVERLAY_ENDING",
    "ImageFile",
    "build_parser",
    "find_coefficient_file",
    "find_image_files",
    "main",
]


OVERLAY_ENDING = "_b"  # of the published files: NAME.jpg and NAME_b.jpg


@dataclass(frozen=True)
class ImageFile:
    """An image to draw on, and the path of its results below the output folder, without suffix."""

    path: Path
    relative_path: Path


def main(argv: Sequence[str] | None = None) -> int:
    """Write the overlays; images that cannot be used are left out and listed."""
    args = build_parser().parse_args(argv)
    if args.alpha is not None and not 0 <= args.alpha <= 1:
        raise ValueError(f"--alpha is {args.alpha:g}, expected 0 (invisible) to 1 (opaque)")
    if args.whitened and args.coefficients is None:
        raise ValueError("--whitened describes stored coefficients; pass them as --coefficients")
    if args.onnx is not None:
        check_onnx_arguments(args, replaces="expert")
    for flag in ("coefficients", "expert"):
        path = getattr(args, flag)
        if path is not None and not path.exists():
            raise FileNotFoundError(f"--{flag}: nothing at {path}")
    files = find_image_files(args.images)
    folders = {path.resolve() if path.is_dir() else path.resolve().parent for path in args.images}
    if args.save_coefficients and args.out.resolve() in folders:
        raise ValueError(
            f"--save-coefficients could replace stored coefficients in {args.out}; choose another --out"
        )
    if args.coefficients is not None and args.coefficients.is_file() and len(files) > 1:
        raise ValueError(
            f"--coefficients is one file and there are {len(files)} images; pass a folder with a file "
            "for each"
        )
    from voiceface.faces.own_pictures import PictureReader
    from voiceface.images.loading import load_image
    from voiceface.images.photographs import load_photograph
    from voiceface.io.atomic import atomic_path, write_bytes
    from voiceface.io.input_files import make_writable_directory
    from voiceface.io.own_files import LeftOut
    from voiceface.runtime.progress import progress_bar

    from perceptionist.face_models.io import resolve_face_model
    from perceptionist.face_models.pose import PUBLISHED_Y_FLIP, Y_FLIP
    from perceptionist.image_expert import CropBox, find_face_box, load_image_expert
    from perceptionist.image_overlay import ALPHA, overlay_photograph, read_coefficients

    pictures = PictureReader.from_arguments(args)
    model: LinearFaceModel | None = None
    expert: ImageExpert | None = None
    if args.face_model is not None or args.coefficients is not None:
        model = resolve_face_model(args.face_model)
    if args.onnx is not None:
        from perceptionist.onnx_expert import load_onnx_expert

        expert = load_onnx_expert(args.onnx, model)
    elif args.expert is not None or args.coefficients is None:
        expert = load_image_expert(args.expert, model, device=args.device)
    if expert is not None:
        model = expert.face_model
        pictures = pictures.with_convention(expert.face_crop)
    assert model is not None
    model.triangles_to_draw()
    out = make_writable_directory(args.out)
    print_disclaimers(*([expert.disclaimer] if expert else []), model.disclaimer)
    options: dict[str, Any] = {"box": CropBox(*args.box) if args.box else None, "alpha": args.alpha}
    if args.alpha is None:
        options["alpha"] = 1.0 if args.published else ALPHA
    options["y_flip"] = PUBLISHED_Y_FLIP if args.published else Y_FLIP
    options["coverage"] = "inclusive" if args.published else "top_left"
    left_out: list[LeftOut] = []
    for file in progress_bar(files, "overlays", "image"):
        try:
            stored = None
            if args.coefficients is not None:  # of data folders; they are stated for all of a picture
                photograph = load_image(file.path)
                place = find_coefficient_file(args.coefficients, file)
                stored = read_coefficients(place, model, whitened=args.whitened)
            else:
                photograph = load_photograph(file.path)
                if not args.box:
                    options["box"] = find_face_box(file.path, pictures)
            result = overlay_photograph(photograph, model, stored, expert, **options)
        except (ValueError, OSError) as error:
            left_out.append(LeftOut.from_error(file.path, error))
            continue
        target = out / file.relative_path
        with atomic_path(target.with_name(f"{target.name}{OVERLAY_ENDING}.{args.format}")) as part:
            _save_image(part, result.image)
        if args.save_coefficients:
            write_bytes(target.with_name(f"{target.name}.npy"), _npy_bytes(result.parameters))
    status = report_left_out(left_out, strict=args.strict)
    if len(left_out) == len(files):
        raise ValueError("None of the images could be used; see the messages above.")
    print(f"{out}: {len(files) - len(left_out)} overlays")
    return status


def find_image_files(paths: Sequence[Path]) -> list[ImageFile]:
    """Find images among files and, recursively, in folders; hidden files and overlays (`_b`) are skipped.

    Results of files of a folder that differ only in their ending are called `a_jpg` and `a_png`.

    Raises:
        FileNotFoundError: a path is missing, or there are no images.
        ValueError: a file of another kind, or two images whose overlays would have one name.
    """
    from voiceface.datasets.layouts import IMAGE_SUFFIXES, find_files, is_face_file

    endings = (*IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES))
    found: list[ImageFile] = []
    for given in paths:
        if given.is_dir():
            names = [Path(item) for item in find_files(given, "", endings) or ()]
            names = [name for name in names if not name.stem.endswith(OVERLAY_ENDING)]
            count = Counter(name.with_suffix("") for name in names)
            for name in names:
                place = name.with_suffix("")
                several = count[place] > 1
                found.append(
                    ImageFile(
                        given / name, place.with_name(f"{place.name}_{name.suffix[1:]}") if several else place
                    )
                )
        elif not given.is_file():
            raise FileNotFoundError(f"no file or folder at {given}")
        elif not is_face_file(given.name):
            raise ValueError(
                f"{given}: suffix {given.suffix or 'none'}, expected an image ({', '.join(IMAGE_SUFFIXES)})"
            )
        else:
            found.append(ImageFile(given, Path(given.stem)))
    if not found:
        raise FileNotFoundError(f"no images ({', '.join(IMAGE_SUFFIXES)}) in {', '.join(map(str, paths))}")
    taken: dict[Path, Path] = {}
    for file in found:
        if file.relative_path in taken:
            raise ValueError(
                f"{taken[file.relative_path]} and {file.path} would both be written as "
                f"{file.relative_path}{OVERLAY_ENDING}; give the folder above them"
            )
        taken[file.relative_path] = file.path
    return found


def find_coefficient_file(place: Path, image: ImageFile) -> Path:
    """The coefficients of an image: `place` if it is a file, else FOLDER/<path of the image>.npy.

    A folder with one .npy file, such as `A2E_val/<Name>`, has those of its image whatever its name is.

    Raises:
        FileNotFoundError: there are none.
    """
    if not place.is_dir():
        return place
    named = (place / image.relative_path).with_name(f"{image.relative_path.name}.npy")
    if named.is_file():
        return named
    alone = sorted(named.parent.glob("*.npy")) if len(image.relative_path.parts) > 1 else []
    if len(alone) == 1:
        return alone[0]
    raise FileNotFoundError(f"{image.path}: no coefficients at {named}; expected a file of this name")


def build_parser() -> argparse.ArgumentParser:
    """The command line of `perceptionist overlay`."""
    from voiceface.commandline.arguments import (
        add_crop_arguments,
        add_device_argument,
        add_strict_argument,
    )

    from perceptionist.arguments import EXPERT_GRAPH, add_expert_argument, add_face_model_argument

    parser = argparse.ArgumentParser(
        prog="perceptionist overlay",
        description="Draw the mesh of a face over its photograph: OUT/NAME_b.jpg. Pose, shape and expression "
        "come from stored coefficients, or from an image-to-3D expert.",
    )
    parser.add_argument("images", nargs="+", type=Path, help="images, and folders searched recursively")
    parser.add_argument("--out", type=Path, required=True, help="folder for the overlays")
    parser.add_argument(
        "--coefficients",
        type=Path,
        metavar="FILE_OR_FOLDER",
        help=".npy of 62 or 102 numbers (pose 3 x 4, shape, expression), or 199 + 29 fitted coefficients, "
        "whose pose --expert predicts; a folder has NAME.npy for each image",
    )
    parser.add_argument("--whitened", action="store_true", help="the stored numbers are whitened")
    add_expert_argument(parser)
    add_onnx_argument(parser, [EXPERT_GRAPH], replaces="expert")
    add_face_model_argument(parser)
    parser.add_argument(
        "--box",
        nargs=3,
        type=float,
        metavar=("LEFT", "TOP", "SIDE"),
        help="square part of the images that shows the face, as in an aligned face crop, pixels (default: "
        "around the largest face, where faces are looked for; else the largest square in the centre)",
    )
    add_crop_arguments(parser)
    parser.add_argument(
        "--alpha", type=float, help="opacity of the mesh, 0 to 1 (default: 0.6; with --published 1)"
    )
    parser.add_argument("--format", choices=("jpg", "png"), default="jpg", help="of the overlays")
    parser.add_argument(
        "--save-coefficients", action="store_true", help="also write NAME.npy: pose, shape and expression"
    )
    parser.add_argument(
        "--published", action="store_true", help="draw as the published demo: opaque, six pixels of 120 low"
    )
    add_strict_argument(parser)
    add_device_argument(parser)
    return parser


def _save_image(path: Path, image: Any) -> None:
    from PIL import Image

    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if path.suffix == ".jpg" else {}
    Image.fromarray(image).save(path, **options)


def _npy_bytes(parameters: "FaceParameters") -> bytes:
    """Pose, shape and expression as one vector, in .npy format."""
    import io

    import numpy as np
    import torch

    whole = torch.cat([parameters.pose, parameters.shape, parameters.expression], dim=1)[0]
    buffer = io.BytesIO()
    np.save(buffer, whole.float().cpu().numpy())
    return buffer.getvalue()


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("perceptionist.overlay", None))
