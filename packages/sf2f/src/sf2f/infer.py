"""`sf2f infer`: generate faces from recordings or stored features."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments
from voiceface.commandline.messages import print_disclaimers, report_left_out, report_notes
from voiceface.export.arguments import add_onnx_argument, check_onnx_arguments
from voiceface.io.decoding_worker import decoding_in_workers
from voiceface.io.file_kinds import printable

from sf2f.arguments import CHECKPOINT_HELP

if TYPE_CHECKING:
    import torch

    from sf2f.inference import GeneratedFace, Model, VoiceFeatures
    from sf2f.inference_report import RecordingGroup

__all__ = [
    "MAX_VOICES_COMPARED",
    "build_parser",
    "group_recordings",
    "main",
    "save_face",
]

MAX_VOICES_COMPARED = 100
"""Maximum number of voices in the split-half comparison; of more, evenly spaced ones are taken."""


@decoding_in_workers(1)
def main(argv: Sequence[str] | None = None) -> int:
    """Generate and write the faces of all voices; files that cannot be used are left out and listed."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.stride is not None and args.stride < 1:
        parser.error("--stride must be at least 1 frame")
    if args.onnx is not None and args.noise_seed is not None:
        parser.error("--noise-seed needs --weights: exported graphs have no noise")
    if args.voice2face and args.device == "cuda":
        parser.error("--voice2face runs on the CPU only")
    if args.voice2face and (
        args.per_window or args.per_recording or args.stride or args.noise_seed is not None
    ):
        parser.error(
            "--voice2face encodes whole recordings without noise: it excludes --per-window, --per-recording, "
            "--stride and --noise-seed"
        )
    from voiceface.io.atomic import write_png
    from voiceface.io.input_files import find_input_files, make_writable_directory
    from voiceface.io.own_files import LeftOut, write_file_records
    from voiceface.runtime.progress import progress_bar, write_line

    from sf2f.speech import FEATURE_SUFFIXES, VOICE2FACE_SUFFIXES

    if args.onnx is not None:
        check_onnx_arguments(args)
    sources = {name: getattr(args, name) for name in ("weights", "onnx", "voice2face")}
    arguments.require_existing_paths(sources)
    left_out: list[LeftOut] = []
    suffixes = VOICE2FACE_SUFFIXES if args.voice2face else FEATURE_SUFFIXES
    inputs = find_input_files(args.voices, suffixes, left_out=left_out)
    groups = group_recordings(inputs, args.group_by, args.single_identity)

    from sf2f.contact_sheets import labelled_contact_sheet
    from sf2f.inference import generate_from_features, load_voice_features
    from sf2f.inference_report import RecordingGroup, describe_face, format_comparison, write_report
    from sf2f.split_half_consistency import split_half_distances

    model = _load_model(args)
    out = make_writable_directory(args.out)
    print_disclaimers(model.disclaimer)
    noise = _build_noise_generator(args.noise_seed)
    faces: dict[Path, tuple[RecordingGroup, GeneratedFace]] = {}
    compared: list[tuple[str, list[VoiceFeatures]]] = []
    options = {"long": args.long_recordings, "on_corrupt": args.on_corrupt or "error"}
    compared_indices = {len(groups) * step // MAX_VOICES_COMPARED for step in range(MAX_VOICES_COMPARED)}
    for index, group in enumerate(progress_bar(groups, "faces", "face")):
        voices = []
        for path in group.paths:
            try:
                voices.append(load_voice_features(model, path, **options))
            except (ValueError, OSError) as error:
                left_out.append(LeftOut.from_error(path, error))
        if not voices:
            continue
        face = generate_from_features(
            model,
            voices,
            stride=args.stride,
            window_images=args.per_window or (args.published and not args.voice2face),
            recording_images=args.per_recording or args.published,
            noise=noise,
            published=args.published,
        )
        faces[group.relative_path] = group, face
        if index in compared_indices:
            compared.append((group.identity, voices))
        written = save_face(out, group.relative_path, face, args.published, model.has_fuser)
        place = printable(group.relative_path.as_posix())
        write_line(f"{place}: {describe_face(face)}; {printable(_format_written(written, out))}")
    if not faces:
        report_left_out(left_out)
        raise ValueError(f"none of the {len(inputs)} files could be used")
    same, other = split_half_distances(
        model, [voices for _, voices in compared], [identity for identity, _ in compared], stride=args.stride
    )
    comparison = format_comparison(same, other)
    for measure, same_distance, other_distance, ratio in comparison:
        print(
            f"{measure}: same voice's halves {same_distance}, different voices {other_distance}, "
            f"ratio {ratio}"
        )
    names = [place.as_posix() for place in faces]
    write_png(out / "sheet.png", labelled_contact_sheet([face.image for _, face in faces.values()], names))
    print(f"all faces: {out / 'sheet.png'}")
    if not args.no_report:
        report = write_report(out / "index.html", model, list(faces.values()), comparison, args.stride)
        print(f"report: {report}")
    if not args.published:
        known = {place.as_posix(): face.facts for place, (_, face) in faces.items()}
        write_file_records(out / "files.json", known, left_out)
    report_notes(each for _, face in faces.values() for each in face.facts)
    return report_left_out(left_out, strict=args.strict)


def group_recordings(
    inputs: Sequence[tuple[Path, Path]], group_by: str = "file", single_identity: bool = False
) -> "list[RecordingGroup]":
    """Group the recordings that make one face.

    Args:
        inputs: (file, relative path of its results), from `voiceface.io.input_files.find_input_files`.
        group_by: "file", or "identity": the first folder below the one given; files directly in it form
            groups of their own.
        single_identity: all recordings are of one identity.
    """
    from sf2f.inference_report import RecordingGroup

    if single_identity:
        return [RecordingGroup(Path("all_recordings"), "all_recordings", tuple(path for path, _ in inputs))]
    groups: dict[Path, RecordingGroup] = {}
    for path, relative_path in inputs:
        key = Path(relative_path.parts[0]) if group_by == "identity" else relative_path
        group = groups.get(key, RecordingGroup(key, relative_path.parts[0], ()))
        groups[key] = RecordingGroup(key, group.identity, (*group.paths, path))
    return list(groups.values())


def save_face(
    out: Path, relative_path: Path, face: "GeneratedFace", published: bool = False, has_fuser: bool = True
) -> list[Path]:
    """Write the images of one face.

    Args:
        out: output folder.
        relative_path: path of the face below it, without suffix.
        face: from `sf2f.inference.generate_from_features`.
        published: use the file names of the published program, `PATH/d_fed_0.png` (the recording as one long
            window; one for each recording), `PATH/seg_0.png` ... (windows) and `PATH/fused_0.png`; else
            `faces/PATH.png`, `windows/PATH/000.png` ... and `recordings/PATH/000.png` ..., as far as
            generated.
        has_fuser: whether the model has a fuser; without one there is no published image of all windows.

    Returns:
        The files written.
    """
    from voiceface.io.atomic import write_png

    windows, recordings = (
        [] if each is None else list(each) for each in (face.window_images, face.recording_images)
    )
    if published:
        images = {f"d_fed_{k}": image for k, image in enumerate(recordings)}
        images |= {f"seg_{k}": image for k, image in enumerate(windows)}
        images |= {"fused_0": face.image} if has_fuser else {}
        files = {out / relative_path / f"{name}.png": image for name, image in images.items()}
    else:
        files = {out / "faces" / relative_path.with_name(f"{relative_path.name}.png"): face.image}
        for folder, numbered in (("windows", windows), ("recordings", recordings)):
            files |= {
                out / folder / relative_path / f"{k:03d}.png": image for k, image in enumerate(numbered)
            }
    for path, image in files.items():
        write_png(path, image)
    return list(files)


def build_parser() -> argparse.ArgumentParser:
    """Command line of `sf2f infer`."""
    parser = argparse.ArgumentParser(
        prog="sf2f infer",
        description="Generate faces from recordings or stored features (.npz, .npy, .pickle). Writes "
        "OUT/faces/NAME.png, the contact sheet OUT/sheet.png, the report OUT/index.html with audio, and "
        "OUT/files.json with measures and notes of every recording.",
    )
    add = parser.add_argument
    add("voices", nargs="+", type=Path, metavar="VOICE", help="files, and folders searched recursively")
    add("--out", type=Path, required=True, help="output folder")
    source = parser.add_mutually_exclusive_group()
    arguments.add_weights_argument(source, CHECKPOINT_HELP)
    add_onnx_argument(source)
    source.add_argument(
        "--voice2face", type=Path, help="use published voice2face networks instead: a folder or one file"
    )
    add(
        "--group-by",
        choices=("file", "identity"),
        default="file",
        help="one face per file, or per first folder below the one given (default: %(default)s)",
    )
    add(
        "--single-identity",
        action="store_true",
        help="treat all recordings as one identity and generate one face",
    )
    add("--per-window", action="store_true", help="also generate an image of each window")
    add(
        "--per-recording",
        action="store_true",
        help="also generate an image of each recording as one long window",
    )
    add("--stride", type=int, help="stride of windows in frames of 10 ms (default: half a window, 63 of 125)")
    add(
        "--noise-seed",
        type=int,
        metavar="SEED",
        help="add the training noise to embeddings with this seed, as the published program does for v2f",
    )
    add(
        "--published",
        action="store_true",
        help="file names (NAME/d_fed_0.png, NAME/seg_0.png ..., NAME/fused_0.png) and truncation to bytes of "
        "the published program; with --voice2face each image is rescaled to 0...255",
    )
    add("--no-report", action="store_true", help="do not write index.html")
    arguments.add_on_corrupt_argument(parser)
    arguments.add_long_recordings_argument(parser)
    arguments.add_strict_argument(parser)
    arguments.add_device_argument(parser, note="; --voice2face: CPU only")
    return parser


def _load_model(args: argparse.Namespace) -> "Model":
    """Load the model that the arguments select."""
    if args.voice2face:
        from sf2f.voice2face_inference import load_voice2face_model

        return load_voice2face_model(args.voice2face, "per_image" if args.published else "fixed")
    if args.onnx is not None:
        from sf2f.onnx_model import load_onnx_model

        return load_onnx_model(args.onnx)
    from sf2f.models import load

    return load(args.weights, device=args.device)


def _build_noise_generator(seed: int | None) -> "torch.Generator | None":
    """Generator of the embedding noise, or None."""
    if seed is None:
        return None
    import torch

    return torch.Generator().manual_seed(seed)


def _format_written(written: Sequence[Path], out: Path) -> str:
    """Text that names the first file below a folder and how many more there are."""
    more = f" and {len(written) - 1} more" if len(written) > 1 else ""
    return f"{written[0].relative_to(out).as_posix()}{more}"


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("sf2f.infer", None))
