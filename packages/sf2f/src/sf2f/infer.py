"""`sf2f infer`: faces from recordings or stored features."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments
from voiceface.commandline.messages import tell_left_out, tell_notices

from sf2f.arguments import WEIGHTS

if TYPE_CHECKING:
    import torch

    from sf2f.inference import Face, Model, Voice
    from sf2f.inference_report import Named

MOST_COMPARED = 100
"""Voices whose halves are compared; of more, evenly spaced ones."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the faces of all voices; the exit code is 1 where a file could not be used, else 0."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.stride is not None and args.stride < 1:
        parser.error("--stride must be at least 1 frame")
    if args.wen and args.device == "cuda":
        parser.error("--wen runs on the cpu only")
    if args.wen and (args.windows or args.whole or args.stride or args.noise is not None):
        parser.error("--wen names other networks, which hear each recording as a whole and without noise")
    from voiceface.io.atomic import write_png
    from voiceface.io.input_files import find_inputs, writable_folder

    from sf2f.contact_sheets import named_sheet
    from sf2f.inference import face_of, read_voice
    from sf2f.inference_report import Named, comparison, described, write_page
    from sf2f.split_half_consistency import distances

    model, suffixes = _model_of(args)
    groups = grouped(find_inputs(args.voices, suffixes), args.face_per, args.together)
    out = writable_folder(args.out)
    tell_notices(model.notice)
    noise = _noise(args.noise)
    faces: dict[Path, tuple[Named, Face]] = {}
    compared: list[tuple[str, list[Voice]]] = []
    left_out = []
    chosen = {len(groups) * at // MOST_COMPARED for at in range(MOST_COMPARED)}
    for number, group in enumerate(groups):
        voices = []
        for path in group.paths:
            try:
                voices.append(read_voice(model, path))
            except (ValueError, OSError) as error:
                left_out.append(str(error))
        if not voices:
            continue
        face = face_of(
            model,
            voices,
            stride=args.stride,
            windows=args.windows or (args.published and not args.wen),
            whole=args.whole or args.published,
            noise=noise,
            published=args.published,
        )
        faces[group.place] = group, face
        if number in chosen:
            compared.append((group.speaker, voices))
        written = write_face(out, group.place, face, args.published, model.fuses)
        print(f"{group.place.as_posix()}: {described(face)}; {_listed(written, out)}", flush=True)
    tell_left_out(left_out)
    if not faces:
        raise ValueError(f"none of the {len(left_out)} files could be used")
    same, other = distances(
        model, [voices for _, voices in compared], [who for who, _ in compared], stride=args.stride
    )
    said = comparison(same, other)
    for measure, near, far, ratio in said:
        print(f"{measure}: same voice's halves {near}, different voices {far}, ratio {ratio}")
    names = [place.as_posix() for place in faces]
    write_png(out / "sheet.png", named_sheet([face.picture for _, face in faces.values()], names))
    print(f"all faces: {out / 'sheet.png'}")
    if not args.no_page:
        print(f"report: {write_page(out / 'index.html', model, list(faces.values()), said, args.stride)}")
    return 1 if left_out else 0


def grouped(
    inputs: Sequence[tuple[Path, Path]], face_per: str = "file", together: bool = False
) -> "list[Named]":
    """Which recordings make one face.

    Args:
        inputs: (file, place of its results), from `voiceface.io.input_files.find_inputs`.
        face_per: "file", or "person": the first folder below the one that was given; files beside it stand
            for themselves.
        together: all are of one person.
    """
    from sf2f.inference_report import Named

    if together:
        return [Named(Path("together"), "together", tuple(path for path, _ in inputs))]
    groups: dict[Path, Named] = {}
    for path, place in inputs:
        where = Path(place.parts[0]) if face_per == "person" else place
        known = groups.get(where, Named(where, place.parts[0], ()))
        groups[where] = Named(where, known.speaker, (*known.paths, path))
    return list(groups.values())


def write_face(
    out: Path, place: Path, face: "Face", published: bool = False, fuses: bool = True
) -> list[Path]:
    """Write the pictures of one face.

    Args:
        out: folder.
        place: of the face below it, without suffix.
        face: from `sf2f.inference.face_of`.
        published: names as the published program gives them, `PLACE/d_fed_0.png` (the recording as one long
            window; one for each recording), `PLACE/seg_0.png` ... (windows) and `PLACE/fused_0.png`; else
            `faces/PLACE.png`, `windows/PLACE/000.png` ... and `whole/PLACE/000.png` ..., as far as made.
        fuses: whether the model has a fuser; without one there is no published picture of all windows.

    Returns:
        The files written.
    """
    from voiceface.io.atomic import write_png

    windows, whole = ([] if each is None else list(each) for each in (face.windows, face.whole))
    if published:
        pictures = {f"d_fed_{k}": picture for k, picture in enumerate(whole)}
        pictures |= {f"seg_{k}": picture for k, picture in enumerate(windows)}
        pictures |= {"fused_0": face.picture} if fuses else {}
        files = {out / place / f"{name}.png": picture for name, picture in pictures.items()}
    else:
        files = {out / "faces" / place.with_name(f"{place.name}.png"): face.picture}
        for word, several in (("windows", windows), ("whole", whole)):
            files |= {out / word / place / f"{k:03d}.png": picture for k, picture in enumerate(several)}
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
    arguments.add_weights_flag(source, WEIGHTS)
    source.add_argument(
        "--wen", type=Path, help="published networks of voice2face instead: a folder or one file"
    )
    add(
        "--face-per",
        choices=("file", "person"),
        default="file",
        help="person: the recordings below one folder of those given make one face (default: %(default)s)",
    )
    add("--together", action="store_true", help="all recordings are of one person and make one face")
    add("--windows", action="store_true", help="also a picture of each window")
    add("--whole", action="store_true", help="also a picture of each recording as one long window")
    add("--stride", type=int, help="frames (10 ms) between windows (default: half a window, 63 of 125)")
    add(
        "--noise",
        type=int,
        metavar="SEED",
        help="add the noise of training to embeddings, as the published program does for v2f",
    )
    add(
        "--published",
        action="store_true",
        help="the published program's names (NAME/d_fed_0.png, "
        "NAME/seg_0.png ..., NAME/fused_0.png) and its cutting to bytes; with --wen each picture is spread "
        "from 0 to 255",
    )
    add("--no-page", action="store_true", help="write no index.html")
    arguments.add_device_flag(parser, note="; --wen: cpu only")
    return parser


def _model_of(args: argparse.Namespace) -> "tuple[Model, tuple[str, ...]]":
    """The model that the flags name, and the suffixes of stored features that it reads."""
    if args.wen:
        from sf2f.voice2face_inference import FEATURE_SUFFIXES as WEN_SUFFIXES
        from sf2f.voice2face_inference import load_wen_to_face

        return load_wen_to_face(args.wen, "per_picture" if args.published else "fixed"), WEN_SUFFIXES
    from sf2f.inference import load
    from sf2f.speech import FEATURE_SUFFIXES

    return load(args.weights, device=args.device), FEATURE_SUFFIXES


def _noise(seed: int | None) -> "torch.Generator | None":
    if seed is None:
        return None
    import torch

    return torch.Generator().manual_seed(seed)


def _listed(written: Sequence[Path], out: Path) -> str:
    """Files below a folder: the first, and how many more."""
    more = f" and {len(written) - 1} more" if len(written) > 1 else ""
    return f"{written[0].relative_to(out).as_posix()}{more}"


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("sf2f.infer", None))
