"""`perceptionist demo_mic`: record five seconds of a voice, generate its mesh and describe it."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.commandline.arguments import (
    add_long_recordings_argument,
    add_on_corrupt_argument,
    require_existing_paths,
)
from voiceface.commandline.messages import print_disclaimers, report_notes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from voiceface.real.voice_samples import VoiceSamples

    from perceptionist.proportions import Description
    from perceptionist.voice_to_mesh import GeneratedFace, VoiceToMesh

__all__ = [
    "LIKENESS_DISCLAIMER",
    "build_parser",
    "format_description",
    "judge_microphone",
    "main",
    "write_report",
    "write_results",
]


LIKENESS_DISCLAIMER = (
    "The face is a mean over people with similar voices, not a likeness: it does not show anybody's face, "
    "gender "
    "or identity, and no decision about a person may be based on it."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Record or read a voice, print the description of its mesh, write the results; the exit status is 0."""
    args = build_parser().parse_args(argv)
    from perceptionist.microphone import SAMPLE_RATE, countdown, record, require_microphone

    # Checked before the imports and the model, which take seconds.
    if args.wav is None:
        require_microphone(args.microphone)
    elif not args.wav.is_file():
        raise FileNotFoundError(f"--wav: no file at {args.wav}")
    require_existing_paths({"image": args.image, "expert": args.expert})
    if args.out is None and (args.image or args.expert):
        raise ValueError("--image and --expert are for the overlay, which needs --out DIR")
    from voiceface.faces.own_pictures import PictureReader
    from voiceface.io.input_files import make_writable_directory
    from voiceface.real.voice_samples import read_voice_samples

    from perceptionist.face_models.synthetic_head import classify_gender, find_head
    from perceptionist.features import extract_speech_features
    from perceptionist.inference import load_from_arguments
    from perceptionist.pictures import PicturePainter
    from perceptionist.proportions import describe_face

    pictures = PictureReader.from_arguments(args)
    model = load_from_arguments(args)
    painter = None
    if args.out:
        model.face_model.triangles_to_draw()
        painter = PicturePainter(model, args.image, args.expert, device=args.device, pictures=pictures)
    out = make_writable_directory(args.out) if args.out else None
    if args.wav is None:
        countdown(args.countdown)
        voice, name = judge_microphone(record(args.seconds, args.microphone)), "microphone"
    else:
        options = {"long": args.long_recordings, "on_corrupt": args.on_corrupt or "error"}
        voice, name = read_voice_samples(args.wav, **options), args.wav.stem
    features = extract_speech_features(
        voice.samples, SAMPLE_RATE, source=voice.name, front_end=model.front_end
    )
    face = replace(model.generate_from_features(features, name), facts=voice.facts)
    face_model = model.face_model
    head = find_head(face_model.name)
    gender = None if head is None else classify_gender(face.shape, head)
    description = describe_face(face.vertices, face_model.references, face_model.pairs, gender)
    disclaimer = model.disclaimer or face_model.disclaimer
    print(format_description(description, model.kind))
    print_disclaimers(disclaimer, LIKENESS_DISCLAIMER)
    report_notes([voice.facts] if voice.facts is not None else [])
    if out is None or painter is None:
        print("mesh, image and report: not written (pass --out DIR)")
        return 0
    face = painter.complete(face, args.wav)
    files = write_results(out, name, face, description, model, disclaimer, voice.samples)
    for label, path in files.items():
        origin = f" ({face.picture_origin})" if label == "picture" and face.picture_origin else ""
        print(f"{label}: {path}{origin}")
    return 0


def judge_microphone(samples: "NDArray[np.int16]") -> "VoiceSamples":
    """Measure what a microphone delivered, refuse silence and noise, and cut off quiet beginnings and ends.

    Args:
        samples: (T,) at 16 kHz.

    Raises:
        AudioError: silence, noise or too little speech; the message says what was found.
    """
    from voiceface.audio.recordings import Recording, hear
    from voiceface.real.voice_samples import VoiceSamples, to_int16

    heard = hear(samples.astype("float32"), full_scale=32768)
    facts = Recording(heard.waveform, heard.quality, heard.notes).describe("microphone")
    return VoiceSamples(to_int16(heard.waveform), "the recording", facts)


def format_description(description: "Description", kind: str = "") -> str:
    """Description of a mesh as text: gender, face type, differences in per cent."""
    lines = [
        f"gender:     {description.gender} (distance {description.errors['male']:.4f} to the mean male face, "
        f"{description.errors['female']:.4f} to the mean female face)",
        f"face type:  {description.face_type.capitalize()}",
        f"compared with the mean {description.gender} face:",
    ]
    for name, difference in description.differences.items():
        word = "wider" if difference >= 0 else "narrower"
        lines.append(f"  {name:<9} {100 * difference:+7.2f} %  ({abs(100 * difference):.2f} % {word})")
    return "\n".join(([f"{kind} model"] if kind else []) + lines)


def write_results(
    out: Path,
    name: str,
    face: "GeneratedFace",
    description: "Description",
    model: "VoiceToMesh",
    disclaimer: str,
    samples: Any = None,
) -> dict[str, Path]:
    """Write the mesh NAME.obj, the images NAME.png and the report NAME.html.

    Where the face has them, also the picture NAME_image.png and the mesh over it, NAME_overlap.png, both
    120 x 120, as the published program.

    Args:
        out: folder.
        name: stem of the files.
        face: from `VoiceToMesh.generate_from_features`.
        description: from `perceptionist.proportions.describe_face`.
        model: that generated the face.
        disclaimer: of its weights.
        samples: (T,) int16, the recording to play in the report; None: no audio.

    Returns:
        The files written: "mesh", "image", "picture", "overlay", "report".
    """
    from voiceface.io.atomic import write_png

    from perceptionist.meshio.obj import write_obj
    from perceptionist.visualisation import render_portrait, side_by_side

    face_model = model.face_model
    mesh, image, report = (out / f"{name}{suffix}" for suffix in (".obj", ".png", ".html"))
    write_obj(mesh, face.vertices, face_model.outward_triangles)
    views = [render_portrait(face.vertices, face_model, yaw=yaw) for yaw in (0, 35)]
    generated = [each for each in (face.image, face.overlay) if each is not None]
    write_png(image, side_by_side([*generated, *views]))
    files = {"mesh": mesh, "image": image}
    for label, ending, part in (("picture", "image", face.image), ("overlay", "overlap", face.overlay)):
        if part is not None:
            files[label] = out / f"{name}_{ending}.png"
            write_png(files[label], part)
    write_report(report, name, face, description, model, disclaimer, samples)
    return files | {"report": report}


def write_report(
    path: Path,
    name: str,
    face: "GeneratedFace",
    description: "Description",
    model: "VoiceToMesh",
    disclaimer: str,
    samples: Any = None,
) -> None:
    """Write a report: interactive meshes of the face and the mean face, voice, image, measurements."""
    from voiceface.report import AudioSource, IdentityCard, IdentityGroup, MeshView, Table, build_report

    from perceptionist.proportions import MEASURES, distances
    from perceptionist.visualisation import render_portrait

    face_model = model.face_model
    mean_face = face_model.references[description.gender]
    widths, mean_widths = (distances(v, face_model.pairs)[1:] for v in (face.vertices, mean_face))
    rows = [
        [measure, float(width), float(mean), f"{100 * description.differences[measure]:+.2f} %"]
        for measure, width, mean in zip(MEASURES, widths, mean_widths, strict=True)
    ]
    by_distance = sorted(description.errors.items(), key=lambda item: item[1])
    cards = []
    if face.image is not None or samples is not None:
        cards.append(
            IdentityCard(
                f"voice; image: {face.picture_origin}" if face.picture_origin else "voice",
                image=face.image,
                audio=None if samples is None else AudioSource(samples),
                note="" if face.facts is None else "; ".join(face.facts.notes),
            )
        )
    if face.overlay is not None:
        cards.append(IdentityCard("mesh over the image", image=face.overlay))
    views = [
        MeshView(
            title,
            vertices,
            face_model.outward_triangles,
            still_image=render_portrait(vertices, face_model, 360, -24),
            note=note,
        )
        for title, vertices, note in (
            (
                "From the voice",
                face.vertices,
                f"nearer to the mean {description.gender} head, {description.face_type}",
            ),
            (f"Mean {description.gender} face", mean_face, "reference of the differences"),
        )
    ]
    title = "Voice and image" if face.picture_origin else "Voice and generated image"
    build_report(
        path,
        title=f"Face generated from a voice: {name}",
        kicker="perceptionist",
        facts={
            "nearest reference": f"nearer to the mean {description.gender} head",
            "face type": description.face_type.capitalize(),
            "model": model.kind,
        },
        disclaimers=[text for text in (disclaimer, LIKENESS_DISCLAIMER) if text],
        meshes=views,
        identity_groups=[IdentityGroup(title, cards)] if cards else [],
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
                "Pixels of a face in a 120-pixel image.",
            ),
            Table(
                "Distance to reference shapes",
                ["shape", "distance"],
                [[name, error] for name, error in by_distance],
            ),
        ],
        max_bytes=12_000_000,
    )


def build_parser() -> argparse.ArgumentParser:
    """The command line of `perceptionist demo_mic`."""
    from perceptionist.arguments import add_model_arguments, add_picture_arguments

    parser = argparse.ArgumentParser(
        prog="perceptionist demo_mic",
        description="Record five seconds of a voice or read a file, generate a face, describe it: gender and "
        "face type by the nearest reference shape, widths relative to the mean face. With --out, writes "
        "a mesh (.obj), images (.png; _overlap.png is the mesh over a picture) and a report with an "
        "interactive mesh (.html).",
    )
    parser.add_argument("--wav", type=Path, help="audio file instead of the microphone")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="length of the recording (default: %(default)s)"
    )
    parser.add_argument("--microphone", help="name or number of the input device (default: the system's)")
    parser.add_argument(
        "--countdown", type=int, default=3, help="seconds before the recording (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, help="folder for the results (default: none are written)")
    add_on_corrupt_argument(parser)
    add_long_recordings_argument(parser)
    add_model_arguments(parser, onnx=True)
    add_picture_arguments(parser)
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("perceptionist.demo_mic", None))
