"""`sf2f infer`: faces from recordings or stored features."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments
from voiceface.commandline.messages import print_disclaimers, print_skipped

from sf2f.arguments import CHECKPOINT_HELP

if TYPE_CHECKING:
    import torch

    from sf2f.inference import GeneratedFace, Model, VoiceFeatures
    from sf2f.inference_report import RecordingGroup

MAX_VOICES_COMPARED = 100
"""Voices whose halves are compared; of more, evenly spaced ones."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the faces of all voices; the exit code is 1 where a file could not be used, else 0."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.stride is not None and args.stride < 1:
        parser.error("--stride must be at least 1 frame")
    if args.voice2face and args.device == "cuda":
        parser.error("--voice2face runs on the cpu only")
    if args.voice2face and (
        args.per_window or args.per_recording or args.stride or args.noise_seed is not None
    ):
        parser.error(
            "--voice2face names other networks, which hear each recording as a whole and without noise"
        )
    from voiceface.io.atomic import write_png
    from voiceface.io.input_files import find_input_files, make_writable_directory

    from sf2f.contact_sheets import labelled_contact_sheet
    from sf2f.inference import generate_from_features, load_voice_features
    from sf2f.inference_report import RecordingGroup, describe_face, format_comparison, write_report
    from sf2f.split_half_consistency import split_half_distances

    model, suffixes = _load_model(args)
    groups = group_recordings(find_input_files(args.voices, suffixes), args.group_by, args.single_identity)
    out = make_writable_directory(args.out)
    print_disclaimers(model.disclaimer)
    noise = _build_noise_generator(args.noise_seed)
    faces: dict[Path, tuple[RecordingGroup, GeneratedFace]] = {}
    compared: list[tuple[str, list[VoiceFeatures]]] = []
    left_out = []
    chosen = {len(groups) * at // MAX_VOICES_COMPARED for at in range(MAX_VOICES_COMPARED)}
    for number, group in enumerate(groups):
        voices = []
        for path in group.paths:
            try:
                voices.append(load_voice_features(model, path))
            except (ValueError, OSError) as error:
                left_out.append(str(error))
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
        if number in chosen:
            compared.append((group.identity, voices))
        written = save_face(out, group.relative_path, face, args.published, model.has_fuser)
        print(
            f"{group.relative_path.as_posix()}: {describe_face(face)}; {_format_written(written, out)}",
            flush=True,
        )
    print_skipped(left_out)
    if not faces:
        raise ValueError(f"none of the {len(left_out)} files could be used")
    same, other = split_half_distances(
        model, [voices for _, voices in compared], [who for who, _ in compared], stride=args.stride
    )
    said = format_comparison(same, other)
    for measure, near, far, ratio in said:
        print(f"{measure}: same voice's halves {near}, different voices {far}, ratio {ratio}")
    names = [place.as_posix() for place in faces]
    write_png(out / "sheet.png", labelled_contact_sheet([face.image for _, face in faces.values()], names))
    print(f"all faces: {out / 'sheet.png'}")
    if not args.no_report:
        print(f"report: {write_report(out / 'index.html', model, list(faces.values()), said, args.stride)}")
    return 1 if left_out else 0


def group_recordings(
    inputs: Sequence[tuple[Path, Path]], group_by: str = "file", single_identity: bool = False
) -> "list[RecordingGroup]":
    """Which recordings make one face.

    Args:
        inputs: (file, place of its results), from `voiceface.io.input_files.find_input_files`.
        group_by: "file", or "identity": the first folder below the one that was given; files beside it stand
            for themselves.
        single_identity: all are of one person.
    """
    from sf2f.inference_report import RecordingGroup

    if single_identity:
        return [RecordingGroup(Path("all_recordings"), "all_recordings", tuple(path for path, _ in inputs))]
    groups: dict[Path, RecordingGroup] = {}
    for path, place in inputs:
        where = Path(place.parts[0]) if group_by == "identity" else place
        known = groups.get(where, RecordingGroup(where, place.parts[0], ()))
        groups[where] = RecordingGroup(where, known.identity, (*known.paths, path))
    return list(groups.values())


def save_face(
    out: Path, relative_path: Path, face: "GeneratedFace", published: bool = False, has_fuser: bool = True
) -> list[Path]:
    """Write the pictures of one face.

    Args:
        out: folder.
        relative_path: of the face below it, without suffix.
        face: from `sf2f.inference.generate_from_features`.
        published: names as the published program gives them, `PLACE/d_fed_0.png` (the recording as one long
            window; one for each recording), `PLACE/seg_0.png` ... (windows) and `PLACE/fused_0.png`; else
            `faces/PLACE.png`, `windows/PLACE/000.png` ... and `recordings/PLACE/000.png` ..., as far as made.
        has_fuser: whether the model has a fuser; without one there is no published picture of all windows.

    Returns:
        The files written.
    """
    from voiceface.io.atomic import write_png

    windows, recordings = (
        [] if each is None else list(each) for each in (face.window_images, face.recording_images)
    )
    if published:
        pictures = {f"d_fed_{k}": picture for k, picture in enumerate(recordings)}
        pictures |= {f"seg_{k}": picture for k, picture in enumerate(windows)}
        pictures |= {"fused_0": face.image} if has_fuser else {}
        files = {out / relative_path / f"{name}.png": picture for name, picture in pictures.items()}
    else:
        files = {out / "faces" / relative_path.with_name(f"{relative_path.name}.png"): face.image}
        for word, several in (("windows", windows), ("recordings", recordings)):
            files |= {
                out / word / relative_path / f"{k:03d}.png": picture for k, picture in enumerate(several)
            }
    for path, picture in files.items():
        write_png(path, picture)
    return list(files)


def build_parser() -> argparse.ArgumentParser:
    """The command line of `sf2f infer`."""
    parser = argparse.ArgumentParser(
        prog="sf2f infer",
        description="Make faces of recordings or stored features (.npz, .npy, .pickle). Results are "
        "OUT/faces/NAME.png, OUT/sheet.png with all of them, and OUT/index.html with the sounds.",
    )
    add = parser.add_argument
    add("voices", nargs="+", type=Path, metavar="VOICE", help="files, and folders searched to any depth")
    add("--out", type=Path, required=True, help="folder for the results")
    source = parser.add_mutually_exclusive_group()
    arguments.add_weights_argument(source, CHECKPOINT_HELP)
    source.add_argument(
        "--voice2face", type=Path, help="published networks of voice2face instead: a folder or one file"
    )
    add(
        "--group-by",
        choices=("file", "identity"),
        default="file",
        help="identity: the recordings below one folder of those given make one face (default: %(default)s)",
    )
    add("--single-identity", action="store_true", help="all recordings are of one person and make one face")
    add("--per-window", action="store_true", help="also a picture of each window")
    add("--per-recording", action="store_true", help="also a picture of each recording as one long window")
    add("--stride", type=int, help="frames (10 ms) between windows (default: half a window, 63 of 125)")
    add(
        "--noise-seed",
        type=int,
        metavar="SEED",
        help="add the noise of training to embeddings, as the published program does for v2f",
    )
    add(
        "--published",
        action="store_true",
        help="the published program's names (NAME/d_fed_0.png, "
        "NAME/seg_0.png ..., NAME/fused_0.png) and its cutting to bytes; with --voice2face each picture is spread "
        "from 0 to 255",
    )
    add("--no-report", action="store_true", help="write no index.html")
    arguments.add_device_argument(parser, note="; --voice2face: cpu only")
    return parser


def _load_model(args: argparse.Namespace) -> "tuple[Model, tuple[str, ...]]":
    """The model that the flags name, and the suffixes of stored features that it reads."""
    if args.voice2face:
        from sf2f.voice2face_inference import FEATURE_SUFFIXES as VOICE2FACE_SUFFIXES
        from sf2f.voice2face_inference import load_voice2face_model

        return load_voice2face_model(
            args.voice2face, "per_image" if args.published else "fixed"
        ), VOICE2FACE_SUFFIXES
    from sf2f.inference import load
    from sf2f.speech import FEATURE_SUFFIXES

    return load(args.weights, device=args.device), FEATURE_SUFFIXES


def _build_noise_generator(seed: int | None) -> "torch.Generator | None":
    if seed is None:
        return None
    import torch

    return torch.Generator().manual_seed(seed)


def _format_written(written: Sequence[Path], out: Path) -> str:
    """Files below a folder: the first, and how many more."""
    more = f" and {len(written) - 1} more" if len(written) > 1 else ""
    return f"{written[0].relative_to(out).as_posix()}{more}"


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("sf2f.infer", None))
