"""`perceptionist demo`: generate image, mesh and overlay from recordings or stored features."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline.arguments import (
    add_long_recordings_argument,
    add_on_corrupt_argument,
    add_strict_argument,
    require_existing_paths,
)
from voiceface.commandline.messages import print_disclaimers, report_left_out, report_notes
from voiceface.io.decoding_worker import decoding_in_workers
from voiceface.io.file_kinds import printable

if TYPE_CHECKING:
    import numpy as np

    from perceptionist.face_models.linear import LinearFaceModel
    from perceptionist.voice_to_mesh import GeneratedFace

__all__ = [
    "build_parser",
    "main",
    "mesh_distances",
    "output_stem",
    "write_face",
    "write_report",
]


@decoding_in_workers(1)
def main(argv: Sequence[str] | None = None) -> int:
    """Write the faces of all files; files that cannot be used are left out and listed."""
    args = build_parser().parse_args(argv)
    if len(set(args.mesh)) != len(args.mesh):
        raise ValueError(f"--mesh has a format twice: {' '.join(args.mesh)}; expected each once")
    from voiceface.faces.own_pictures import PictureReader
    from voiceface.io.input_files import find_input_files, make_writable_directory
    from voiceface.io.own_files import LeftOut, write_file_records
    from voiceface.runtime.progress import progress_bar, write_line

    from perceptionist.features import FEATURE_SUFFIX, load_voice
    from perceptionist.inference import load_from_arguments

    require_existing_paths({"image": args.image, "expert": args.expert})
    pictures = PictureReader.from_arguments(args)
    left_out: list[LeftOut] = []
    inputs = find_input_files(args.paths, (FEATURE_SUFFIX,), on_same_stem="refuse", left_out=left_out)

    model = load_from_arguments(args)
    from perceptionist.pictures import PicturePainter
    from perceptionist.visualisation import missing_triangles

    painter = PicturePainter(
        model,
        args.image,
        args.expert,
        published=args.published,
        device=args.device,
        pictures=pictures,
    )
    out = make_writable_directory(args.out)
    disclaimer = model.disclaimer or model.face_model.disclaimer
    print_disclaimers(disclaimer, missing_triangles(model.face_model))
    faces: dict[Path, GeneratedFace] = {}
    options = {"long": args.long_recordings, "on_corrupt": args.on_corrupt or "error"}
    for path, relative_path in progress_bar(inputs, "faces", "utterance"):
        try:
            features, facts = load_voice(path, model.n_mels, model.front_end, **options)
            face = model.generate_from_features(features, str(path), published=args.published)
            face = dataclasses.replace(painter.complete(face, path), facts=facts)
        except (ValueError, OSError) as error:
            left_out.append(LeftOut.from_error(path, error))
            continue
        faces[relative_path] = face
        files = write_face(out, relative_path, face, model.face_model, args.mesh, args.published)
        write_line(printable(f"{path}: {', '.join(file.name for file in files)}"))
    if not faces:
        report_left_out(left_out)
        raise ValueError("None of the files could be used; see the messages above.")
    same, other = mesh_distances(list(faces.values()), [_identity_from_path(each) for each in faces])
    if same is not None and other is not None:
        print(
            f"RMS vertex distance of meshes: same speaker {same:.3g} pixels, different speakers {other:.3g} "
            f"(ratio {other / max(same, 1e-12):.2f})"
        )
    if not args.no_report and len(model.face_model.triangles):
        report = write_report(out / "index.html", faces, model.face_model, model.kind, disclaimer)
        print(f"report: {report}")
    known = {place.as_posix(): [face.facts] for place, face in faces.items() if face.facts is not None}
    if not args.published:
        write_file_records(out / "files.json", known, left_out)
    report_notes(each for facts in known.values() for each in facts)
    return report_left_out(left_out, strict=args.strict)


def write_face(
    out: Path,
    relative_path: Path,
    face: "GeneratedFace",
    model: "LinearFaceModel",
    formats: Sequence[str] = ("obj",),
    published: bool = False,
) -> list[Path]:
    """Write the face of one utterance: SPEAKER/VIDEO_UTTERANCE_image.png and so on.

    Args:
        out: folder.
        relative_path: path of the utterance below its input folder, without suffix.
        face: from `VoiceToMesh.generate`.
        model: its face model.
        formats: mesh formats, suffixes without the dot.
        published: write images only, as the published program.

    Returns:
        The files written.
    """
    from voiceface.io.atomic import write_png

    from perceptionist.meshio.io import write_mesh
    from perceptionist.meshio.mesh import Mesh
    from perceptionist.visualisation import render_portrait

    stem = output_stem(out, relative_path)
    files = []
    images = {"image": face.image, "overlap": face.overlay}
    if not published and len(model.triangles):
        images["mesh"] = render_portrait(face.vertices, model)
    for name, image in images.items():
        if image is not None:
            files.append(stem.with_name(f"{stem.name}_{name}.png"))
            write_png(files[-1], image)
    for suffix in () if published else formats:
        files.append(stem.with_name(f"{stem.name}.{suffix}"))
        write_mesh(files[-1], Mesh(face.vertices, model.outward_triangles))
    return files


def output_stem(out: Path, relative_path: Path) -> Path:
    """Output path of SPEAKER/VIDEO/UTTERANCE without suffix: `OUT/SPEAKER/VIDEO_UTTERANCE`, as published."""
    speaker, *rest = relative_path.parts
    return out / speaker / "_".join(rest) if rest else out / speaker


def mesh_distances(
    faces: Sequence["GeneratedFace"], identities: Sequence[str]
) -> tuple[float | None, float | None]:
    """Mean RMS vertex distance between meshes of the same identity, and of different identities.

    Returns:
        (same, different), pixels; None if there are no such pairs.
    """
    import numpy as np

    meshes = [face.vertices.astype(float) for face in faces]
    distances: dict[bool, list[float]] = {True: [], False: []}
    for i, first in enumerate(meshes):
        for j in range(i):
            distance = np.sqrt(((first - meshes[j]) ** 2).sum(axis=1).mean())
            distances[identities[i] == identities[j]].append(float(distance))
    same, other = (float(np.mean(distances[key])) if distances[key] else None for key in (True, False))
    return same, other


def write_report(
    path: Path,
    faces: "dict[Path, GeneratedFace]",
    model: "LinearFaceModel",
    kind: str,
    disclaimer: str,
    max_meshes: int = 6,
) -> Path:
    """Write a report with the images of all faces and an interactive mesh of every speaker's first face."""
    from voiceface.report import IdentityCard, IdentityGroup, MeshView, build_report

    from perceptionist.visualisation import render_portrait

    groups: dict[str, list[IdentityCard]] = {}
    first_faces: dict[str, GeneratedFace] = {}
    for relative_path, face in faces.items():
        identity = _identity_from_path(relative_path)
        first_faces.setdefault(identity, face)
        image = face.image if face.image is not None else render_portrait(face.vertices, model, 240)
        images: dict[str, np.ndarray] = {"": image}
        if face.overlay is not None:
            images[", mesh over the image"] = face.overlay
        images[", mesh"] = render_portrait(face.vertices, model, 240, -24)
        utterance = "/".join(relative_path.parts[1:] or relative_path.parts)
        notes = "; ".join(face.facts.notes) if face.facts is not None else ""
        for suffix, each in images.items():
            card = IdentityCard(utterance + suffix, image=each, note="" if suffix else notes)
            groups.setdefault(identity, []).append(card)
    origins = sorted({face.picture_origin for face in faces.values() if face.picture_origin})
    note = f" The images are not generated from the voice: {'; '.join(origins)}." if origins else ""
    views = [
        MeshView(
            name,
            f.vertices,
            model.outward_triangles,
            still_image=render_portrait(f.vertices, model, 360, -24),
        )
        for name, f in list(first_faces.items())[:max_meshes]
    ]
    return build_report(
        path,
        title="Faces generated from voices",
        kicker="perceptionist demo",
        subtitle=f"{len(faces)} utterances of {len(first_faces)} speakers, {kind} model.{note}",
        disclaimers=disclaimer,
        meshes=views,
        identity_groups=[IdentityGroup(name, cards) for name, cards in groups.items()],
        max_bytes=12_000_000,
    )


def build_parser() -> argparse.ArgumentParser:
    """The command line of `perceptionist demo`."""
    from perceptionist.arguments import add_model_arguments, add_picture_arguments

    parser = argparse.ArgumentParser(
        prog="perceptionist demo",
        description="Generate image, mesh and overlay from recordings or stored features (.npy). Results are "
        "written to OUT/SPEAKER/VIDEO_UTTERANCE_image.png (picture), _overlap.png (the mesh over it), "
        "_mesh.png and .obj; OUT/index.html is a report, OUT/files.json holds measures and notes of every "
        "recording. Unsupervised weights generate the picture; else it "
        "is --image, the speaker's in a population, or a drawing of the generated head.",
    )
    parser.add_argument("paths", nargs="+", type=Path, help="files, and folders searched recursively")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    add_model_arguments(parser, onnx=True)
    add_picture_arguments(parser)
    parser.add_argument(
        "--mesh", nargs="*", default=["obj"], choices=["obj", "ply", "xyz", "glb"], help="mesh formats"
    )
    parser.add_argument("--no-report", action="store_true", help="write no index.html")
    add_on_corrupt_argument(parser)
    add_long_recordings_argument(parser)
    add_strict_argument(parser)
    parser.add_argument(
        "--published",
        action="store_true",
        help="write only the two images of the published program, with its overlay six pixels low",
    )
    return parser


def _identity_from_path(relative_path: Path) -> str:
    return relative_path.parts[0]


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("perceptionist.demo", None))
