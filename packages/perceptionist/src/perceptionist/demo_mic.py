"""`perceptionist demo_mic`: five seconds of a voice to a mesh, described in words."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.commandline.messages import print_disclaimers

if TYPE_CHECKING:
    from perceptionist.inference import GeneratedFace
    from perceptionist.models import VoiceToMesh
    from perceptionist.proportions import Description

LIKENESS_DISCLAIMER = (
    "A mean over people who sound alike, not a likeness: nobody's face, sex or identity can be told from "
    "this, and no decision about a person may rest on it."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Record or read a voice, print what its mesh says, write mesh, pictures and page; the exit code is 0."""
    args = build_parser().parse_args(argv)
    from voiceface.io.input_files import make_writable_directory

    from perceptionist.face_models.synthetic_head import classify_gender
    from perceptionist.inference import extract_speech_features, generate_from_features, load
    from perceptionist.microphone import countdown, record, require_microphone
    from perceptionist.proportions import describe_face
    from perceptionist.speech import SAMPLE_RATE, read_recording

    if args.wav is None:
        require_microphone(args.microphone)
    elif not args.wav.is_file():
        raise FileNotFoundError(f"no file at {args.wav}")
    model = load(args.weights, args.face_model, references=args.references, device=args.device)
    out = make_writable_directory(args.out)
    if args.wav is None:
        countdown(args.count_down)
        samples, name, rate = record(args.seconds, args.microphone), "microphone", SAMPLE_RATE
    else:
        (samples, rate), name = read_recording(args.wav), args.wav.stem
    features = extract_speech_features(samples, rate, source=str(args.wav or "the recording"))
    face = generate_from_features(model, features, name)
    own = model.face_model
    sex = classify_gender(face.shape) if own.name == "population" else None
    found = describe_face(face.vertices, own.references, own.pairs, sex)
    notice = model.disclaimer or model.face_model.disclaimer
    written = write_results(out, name, face, found, model, notice, samples)
    print(format_description(found, model.kind))
    print_disclaimers(notice, LIKENESS_DISCLAIMER)
    for what, path in zip(("mesh", "picture", "report"), written, strict=True):
        print(f"{what}: {path}")
    return 0


def format_description(description: "Description", kind: str = "") -> str:
    """What is said of a mesh: sex, face type, differences in per cent."""
    lines = [
        f"sex:        {description.gender} (distance {description.errors['male']:.4f} to the mean male face, "
        f"{description.errors['female']:.4f} to the female)",
        f"face type:  {description.face_type.capitalize()}",
        f"compared with the mean {description.gender} face:",
    ]
    for name, share in description.differences.items():
        word = "wider" if share >= 0 else "narrower"
        lines.append(f"  {name:<9} {100 * share:+7.2f} %  ({abs(100 * share):.2f} % {word})")
    return "\n".join(([f"{kind} model"] if kind else []) + lines)


def write_results(
    out: Path,
    name: str,
    face: "GeneratedFace",
    description: "Description",
    model: "VoiceToMesh",
    disclaimer: str,
    samples: Any = None,
) -> list[Path]:
    """Write NAME.obj, the pictures and NAME.html.

    Args:
        out: folder.
        name: stem of the files.
        face: from `perceptionist.inference.generate_from_features`.
        description: from `perceptionist.facial_proportions.describe`.
        model: that made it.
        disclaimer: of its weights.
        samples: (T,) int16, the recording, heard on the page; None: it is left out.

    Returns:
        The files written.
    """
    from voiceface.io.atomic import write_png

    from perceptionist.meshio.obj import write_obj
    from perceptionist.visualisation import render_portrait, side_by_side

    face_model = model.face_model
    mesh, picture, page = (out / f"{name}{end}" for end in (".obj", ".png", ".html"))
    write_obj(mesh, face.vertices, face_model.outward_triangles)
    views = [render_portrait(face.vertices, face_model, yaw=turn) for turn in (0, 35)]
    made = [each for each in (face.image, face.overlay) if each is not None]
    write_png(picture, side_by_side([*made, *views]))
    write_report(page, name, face, description, model, disclaimer, samples)
    return [mesh, picture, page]


def write_report(
    path: Path,
    name: str,
    face: "GeneratedFace",
    description: "Description",
    model: "VoiceToMesh",
    disclaimer: str,
    samples: Any = None,
) -> None:
    """The page: the mesh beside the mean face of its sex, to be turned; voice, picture, measurements."""
    from voiceface.report import AudioSource, IdentityCard, IdentityGroup, MeshView, Table, build_report

    from perceptionist.proportions import MEASURES, distances
    from perceptionist.visualisation import render_portrait

    face_model = model.face_model
    usual = face_model.references[description.gender]
    ours, theirs = (distances(v, face_model.pairs)[1:] for v in (face.vertices, usual))
    rows = [
        [measure, float(a), float(b), f"{100 * description.differences[measure]:+.2f} %"]
        for measure, a, b in zip(MEASURES, ours, theirs)
    ]
    order = sorted(description.errors.items(), key=lambda item: item[1])
    people = []
    if face.image is not None or samples is not None:
        people.append(
            IdentityCard("voice", image=face.image, audio=None if samples is None else AudioSource(samples))
        )
    if face.overlay is not None:
        people.append(IdentityCard("mesh over the picture", image=face.overlay))
    views = [
        MeshView(
            title,
            vertices,
            face_model.outward_triangles,
            still_image=render_portrait(vertices, face_model, 360, -24),
            note=note,
        )
        for title, vertices, note in (
            ("From the voice", face.vertices, f"{description.gender}, {description.face_type}"),
            (f"Mean {description.gender} face", usual, "what the differences are measured from"),
        )
    ]
    build_report(
        path,
        title=f"A face from a voice: {name}",
        kicker="perceptionist",
        facts={
            "sex": description.gender,
            "face type": description.face_type.capitalize(),
            "model": model.kind,
        },
        disclaimers=[text for text in (disclaimer, LIKENESS_DISCLAIMER) if text],
        meshes=views,
        identity_groups=[IdentityGroup("Heard and made", people)] if people else [],
        tables=[
            Table(
                "Widths",
                [
                    "width",
                    "from the voice (pixels)",
                    f"mean {description.gender} face (pixels)",
                    "difference",
                ],
                rows,
                "Pixels of a face in a picture of 120.",
            ),
            Table("Distance to reference shapes", ["shape", "distance"], [[w, e] for w, e in order]),
        ],
        max_bytes=12_000_000,
    )


def build_parser() -> argparse.ArgumentParser:
    """The command line of `perceptionist demo_mic`."""
    from perceptionist.arguments import add_model_arguments

    parser = argparse.ArgumentParser(
        prog="perceptionist demo_mic",
        description="Record five seconds of a voice, or read a file, and describe the face that the model "
        "makes of it: sex and face type by the nearest reference shape, widths beside the mean face. Writes "
        "a mesh (.obj), a picture (.png) and a page with the mesh to be turned (.html).",
    )
    parser.add_argument("--wav", type=Path, help="a recording instead of the microphone")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of the recording")
    parser.add_argument("--microphone", help="name or number of the device (default: the system's)")
    parser.add_argument("--count-down", type=int, default=3, help="seconds before the recording")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the results")
    add_model_arguments(parser)
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("perceptionist.demo_mic", None))
