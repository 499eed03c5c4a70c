"""`sf2f infer`: faces from recordings or stored features."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface import flags
from voiceface.telling import tell_left_out, tell_notices

from sf2f.flags import WEIGHTS

if TYPE_CHECKING:
    import numpy as np
    import torch
    from voiceface.report import Sound

    from sf2f.results import Distances, Face, Model, Voice

MOST_COMPARED = 100
"""Voices whose halves are compared; of more, evenly spaced ones."""
MOST_SHOWN = 24
"""Windows of a voice on the page."""
COLUMNS = ("mean distance", "same voice's halves", "different voices", "ratio")
COMPARED = (
    "Every voice is cut in the middle and each half heard by itself: what a model makes of one voice should "
    "lie closer than what it makes of different ones."
)
MEASURES = {"embeddings, L2": "l2", "embeddings, 1 - cosine": "cosine", "pictures, mean of 255": "pixel"}


@dataclass(frozen=True)
class Named:
    """The recordings that one face is made of.

    Attributes:
        place: where results go, below the folder for results.
        speaker: whose they are, as far as the folders tell.
        paths: the files.
    """

    place: Path
    speaker: str
    paths: tuple[Path, ...]


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
    from voiceface.inputs import find_inputs, writable_folder

    from sf2f.results import distances, face_of, read_voice

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
    names = [_spoken(place) for place in faces]
    write_array(out / "sheet.png", named_sheet([face.picture for _, face in faces.values()], names))
    print(f"all faces: {out / 'sheet.png'}")
    if not args.no_page:
        print(f"report: {write_page(out / 'index.html', model, list(faces.values()), said, args.stride)}")
    return 1 if left_out else 0


def grouped(
    inputs: Sequence[tuple[Path, Path]], face_per: str = "file", together: bool = False
) -> list[Named]:
    """Which recordings make one face.

    Args:
        inputs: (file, place of its results), from `voiceface.inputs.find_inputs`.
        face_per: "file", or "person": the first folder below the one that was given; files beside it stand
            for themselves.
        together: all are of one person.
    """
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
        face: from `sf2f.results.face_of`.
        published: names as the published program gives them, `PLACE/d_fed_0.png` (the recording as one long
            window; one for each recording), `PLACE/seg_0.png` ... (windows) and `PLACE/fused_0.png`; else
            `faces/PLACE.png`, `windows/PLACE/000.png` ... and `whole/PLACE/000.png` ..., as far as made.
        fuses: whether the model has a fuser; without one there is no published picture of all windows.

    Returns:
        The files written.
    """
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
        write_array(path, picture)
    return list(files)


def write_array(path: Path, picture: "np.ndarray") -> None:
    """Write a picture (H, W, 3) uint8 RGB as PNG, atomically."""
    import io

    from PIL import Image
    from voiceface.files import write_bytes

    data = io.BytesIO()
    Image.fromarray(picture).save(data, "PNG")
    write_bytes(path, data.getvalue())


def enlarged(picture: "np.ndarray", least: int = 160) -> "np.ndarray":
    """A picture (H, W, 3) at a multiple of its size that is `least` pixels high or more."""
    import numpy as np
    from PIL import Image

    factor = max(1, -(-least // picture.shape[0]))
    size = picture.shape[1] * factor, picture.shape[0] * factor
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def named_sheet(
    pictures: Sequence["np.ndarray"], names: Sequence[str], columns: int = 6, gap: int = 8
) -> "np.ndarray":
    """Pictures (H, W, 3) of one size side by side on white, a name under each.

    Returns:
        (rows, columns, 3) uint8.
    """
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    large = [enlarged(picture) for picture in pictures]
    height, width = large[0].shape[:2]
    columns = max(1, min(columns, len(large)))
    rows, line = -(-len(large) // columns), 20
    size = columns * (width + gap) + gap, rows * (height + line + gap) + gap
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for at, (picture, name) in enumerate(zip(large, names, strict=True)):
        row, column = divmod(at, columns)
        left, top = gap + column * (width + gap), gap + row * (height + line + gap)
        sheet.paste(Image.fromarray(picture), (left, top))
        plain = name.encode("latin-1", "replace").decode("latin-1")
        shown = plain
        while draw.textlength(shown, font=font) > width - 2 and len(plain) > 1:
            plain = plain[1:]
            shown = f"...{plain}"
        draw.text((left + 1, top + height + 4), shown, fill="black", font=font)
    return np.asarray(sheet)


def described(face: "Face") -> str:
    """Seconds, recordings and windows of a face in words."""
    several = f" in {len(face.sources)} recordings" if len(face.sources) > 1 else ""
    count = sum(face.counts)
    return f"{face.seconds:.1f} s of speech{several}, {count} window{'s' if count != 1 else ''}"


def comparison(same: "Distances | None", other: "Distances | None") -> list[tuple[str, str, str, str]]:
    """Distances of halves: (measure, of the same voice's, of different speakers', their ratio), as text.

    Empty where there is neither; "-" where there is no such pair.
    """
    rows = []
    for word, name in MEASURES.items():
        a, b = (None if each is None else float(getattr(each, name)) for each in (same, other))
        near, far = ("-" if value is None else f"{value:.3g}" for value in (a, b))
        rows.append((word, near, far, f"{b / a:.2f}" if a and b is not None else "-"))
    return rows if same or other else []


def joined_by(model: "Model") -> str:
    """How a model makes one vector of several windows, in words."""
    from sf2f.wen_voices import WenToFace

    if isinstance(model, WenToFace):
        return "each recording is heard as a whole; several are averaged"
    if model.fuses:
        return "windows are joined by the fuser (attention)"
    return "stage-1 model without a fuser: embeddings of windows are averaged"


def write_page(
    path: Path,
    model: "Model",
    faces: Sequence[tuple[Named, "Face"]],
    said: Sequence[tuple[str, str, str, str]],
    stride: int | None = None,
) -> Path:
    """One page: every face beside its voice, and what each recording and window gives by itself."""
    from voiceface.report import PeopleGroup, Person, Table, build_report

    from sf2f.models import VoiceToFace
    from sf2f.results import stride_of

    one = [
        Person(_spoken(g.place), picture=enlarged(f.picture), sound=_sound(f.sources[0]), note=described(f))
        for g, f in faces
    ]
    groups = [PeopleGroup("Faces", one, "Each from everything that was heard of the voice.")]
    for group, face in faces:
        alone = list(recordings_alone(model, face)) if len(face.sources) > 1 else []
        people = [
            Person(Path(source).name, picture=enlarged(picture), sound=_sound(source))
            for source, picture in zip(face.sources, alone)
        ]
        if people:
            groups.append(PeopleGroup(f"{_spoken(group.place)}: each recording by itself", people))
        for words, pictures in (("each window by itself", face.windows), ("as one long window", face.whole)):
            if pictures is not None:
                shown = [Person(str(k), picture=enlarged(p)) for k, p in enumerate(pictures[:MOST_SHOWN])]
                note = f"The first {MOST_SHOWN} of {len(pictures)}." if len(pictures) > MOST_SHOWN else ""
                groups.append(PeopleGroup(f"{_spoken(group.place)}: {words}", shown, note))
    facts = {"model": model.name or "unnamed", "faces": len(faces)}
    if isinstance(model, VoiceToFace):
        width = model.data.windows.width
        facts["windows"] = f"{width} frames of 10 ms, every {stride or stride_of(width)}"
    return build_report(
        path,
        title="Faces from voices",
        kicker="sf2f infer",
        subtitle=f"Made by {model.name or 'a model'}; {joined_by(model)}.",
        facts=facts,
        notice=model.notice,
        tables=[Table("Halves of speech", COLUMNS, said, COMPARED)] if said else [],
        people=groups,
        max_bytes=20_000_000,
    )


def recordings_alone(model: "Model", face: "Face") -> "np.ndarray":
    """Pictures (R, H, W, 3) of each recording of a face by itself."""
    import torch

    from sf2f.results import pictures_of_embeddings

    with torch.inference_mode():
        own = torch.from_numpy(face.window_embeddings).split(list(face.counts))
        device = "cpu" if not hasattr(model, "generator") else next(model.generator.parameters()).device
        return pictures_of_embeddings(model, torch.cat([model.join(each.to(device)) for each in own]))


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
    flags.add_weights_flag(source, WEIGHTS)
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
    flags.add_device_flag(parser, note="; --wen: cpu only")
    return parser


def _model_of(args: argparse.Namespace) -> "tuple[Model, tuple[str, ...]]":
    """The model that the flags name, and the suffixes of stored features that it reads."""
    if args.wen:
        from sf2f.wen_voices import FEATURE_SUFFIXES as WEN_SUFFIXES
        from sf2f.wen_voices import load_wen_to_face

        return load_wen_to_face(args.wen, "per_picture" if args.published else "fixed"), WEN_SUFFIXES
    from sf2f.results import load
    from sf2f.speech import FEATURE_SUFFIXES

    return load(args.weights, device=args.device), FEATURE_SUFFIXES


def _noise(seed: int | None) -> "torch.Generator | None":
    if seed is None:
        return None
    import torch

    return torch.Generator().manual_seed(seed)


def _sound(source: str) -> "Sound | None":
    """A recording for the page; None for stored features."""
    from voiceface.inputs import SOUNDS
    from voiceface.report import Sound

    return Sound(source) if Path(source).suffix.lower() in SOUNDS else None


def _listed(written: Sequence[Path], out: Path) -> str:
    """Files below a folder: the first, and how many more."""
    more = f" and {len(written) - 1} more" if len(written) > 1 else ""
    return f"{written[0].relative_to(out).as_posix()}{more}"


def _spoken(place: Path) -> str:
    return place.as_posix()


if __name__ == "__main__":
    from voiceface.cli import run_main

    raise SystemExit(run_main("sf2f.infer", None))
