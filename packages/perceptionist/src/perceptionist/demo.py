"""`perceptionist demo`: feature files or recordings to picture, mesh and overlay."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline.messages import tell_left_out, tell_notices

if TYPE_CHECKING:
    import numpy as np

    from perceptionist.face_models.linear import LinearFaceModel
    from perceptionist.inference import Face


def main(argv: Sequence[str] | None = None) -> int:
    """Write the faces of all files; the exit code is 1 where a file could not be used, else 0."""
    args = build_parser().parse_args(argv)
    if len(set(args.mesh)) != len(args.mesh):
        raise ValueError(f"--mesh names a format twice: {' '.join(args.mesh)}")
    from voiceface.io.input_files import find_inputs, writable_folder

    from perceptionist.inference import FEATURES, face_of, load, read_input

    inputs = find_inputs(args.paths, (FEATURES,), twins="refuse")
    model = load(args.weights, args.face_model, references=args.references, device=args.device)
    out = writable_folder(args.out)
    notice = model.notice or model.face_model.notice
    tell_notices(notice)
    faces: dict[Path, Face] = {}
    left_out = []
    for path, place in inputs:
        try:
            features = read_input(path, bands=model.voice.config.bands)
            face = face_of(model, features, str(path), published=args.published)
        except (ValueError, OSError) as error:
            left_out.append(str(error))
            continue
        faces[place] = face
        written = write_face(out, place, face, model.face_model, args.mesh, args.published)
        print(f"{path}: {', '.join(p.name for p in written)}", flush=True)
    tell_left_out(left_out)
    if not faces:
        raise ValueError("none of the files could be used")
    same, other = mesh_distances(list(faces.values()), [_speaker(place) for place in faces])
    if same is not None and other is not None:
        print(
            f"meshes of one speaker lie {same:.3g} pixels a vertex apart, of different speakers {other:.3g} "
            f"(ratio {other / max(same, 1e-12):.2f})"
        )
    if not args.no_page:
        page = write_page(out / "index.html", faces, model.face_model, model.kind, notice)
        print(f"report: {page}")
    return 1 if left_out else 0


def write_face(
    out: Path,
    place: Path,
    face: "Face",
    model: "LinearFaceModel",
    formats: Sequence[str] = ("obj",),
    published: bool = False,
) -> list[Path]:
    """Write what is made of one recording: SPEAKER/VIDEO_UTTERANCE_image.png and so on.

    Args:
        out: folder.
        place: path of the recording below the folder it was found in, without suffix.
        face: from `perceptionist.inference.face_of`.
        model: its face model.
        formats: mesh formats, suffixes without the dot.
        published: the pictures alone, as the published program writes them.

    Returns:
        The files written.
    """
    from voiceface.io.atomic import write_png

    from perceptionist.meshio.io import write_mesh
    from perceptionist.meshio.mesh import Mesh
    from perceptionist.visualisation import portrait

    stem = result_stem(out, place)
    written = []
    pictures = {"image": face.picture, "overlap": face.overlay}
    if not published:
        pictures["mesh"] = portrait(face.vertices, model)
    for word, picture in pictures.items():
        if picture is not None:
            written.append(stem.with_name(f"{stem.name}_{word}.png"))
            write_png(written[-1], picture)
    for suffix in () if published else formats:
        written.append(stem.with_name(f"{stem.name}.{suffix}"))
        write_mesh(written[-1], Mesh(face.vertices, model.outward_triangles))
    return written


def result_stem(out: Path, place: Path) -> Path:
    """Where results of SPEAKER/VIDEO/UTTERANCE go: `OUT/SPEAKER/VIDEO_UTTERANCE`, as published."""
    head, *rest = place.parts
    return out / head / "_".join(rest) if rest else out / head


def mesh_distances(faces: Sequence["Face"], speakers: Sequence[str]) -> tuple[float | None, float | None]:
    """Mean root mean square distance of vertices between meshes of one speaker, and of different ones.

    Returns:
        (same, different), pixels; None where there are no such pairs.
    """
    import numpy as np

    meshes = [face.vertices.astype(float) for face in faces]
    found: dict[bool, list[float]] = {True: [], False: []}
    for i, first in enumerate(meshes):
        for j in range(i):
            gap = np.sqrt(((first - meshes[j]) ** 2).sum(axis=1).mean())
            found[speakers[i] == speakers[j]].append(float(gap))
    same, other = (float(np.mean(found[key])) if found[key] else None for key in (True, False))
    return same, other


def write_page(
    path: Path,
    faces: "dict[Path, Face]",
    model: "LinearFaceModel",
    kind: str,
    notice: str,
    most: int = 6,
) -> Path:
    """One page with the pictures of all faces and the meshes of the first of every speaker, to be turned."""
    from voiceface.report import MeshView, PeopleGroup, Person, build_report

    from perceptionist.visualisation import portrait

    groups: dict[str, list[Person]] = {}
    for place, face in faces.items():
        picture = face.picture if face.picture is not None else portrait(face.vertices, model, 240)
        pictures: dict[str, np.ndarray] = {"": picture}
        if face.overlay is not None:
            pictures[" over the picture"] = face.overlay
        pictures[" mesh"] = portrait(face.vertices, model, 240, -24)
        for word, each in pictures.items():
            person = Person("/".join(place.parts[1:] or place.parts) + word, picture=each)
            groups.setdefault(_speaker(place), []).append(person)
    firsts: dict[str, Face] = {}
    for place, face in faces.items():
        firsts.setdefault(_speaker(place), face)
    views = [
        MeshView(name, f.vertices, model.outward_triangles, still=portrait(f.vertices, model, 360, -24))
        for name, f in list(firsts.items())[:most]
    ]
    return build_report(
        path,
        title="Faces from voices",
        kicker="perceptionist demo",
        subtitle=f"What the {kind} model makes of {len(faces)} recordings of {len(firsts)} speakers.",
        notice=notice,
        meshes=views,
        people=[PeopleGroup(name, people) for name, people in groups.items()],
        max_bytes=12_000_000,
    )


def build_parser() -> argparse.ArgumentParser:
    """The command line of `perceptionist demo`."""
    from perceptionist.arguments import add_model_flags

    parser = argparse.ArgumentParser(
        prog="perceptionist demo",
        description="Make picture, mesh and overlay of recordings or stored features (.npy). Results go to "
        "OUT/SPEAKER/VIDEO_UTTERANCE_image.png (unsupervised weights), _overlap.png (with an expert), "
        "_mesh.png and .obj, and to OUT/index.html.",
    )
    parser.add_argument("paths", nargs="+", type=Path, help="files, and folders searched to any depth")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    add_model_flags(parser)
    parser.add_argument(
        "--mesh", nargs="*", default=["obj"], choices=["obj", "ply", "xyz", "glb"], help="mesh formats"
    )
    parser.add_argument("--no-page", action="store_true", help="write no index.html")
    parser.add_argument(
        "--published",
        action="store_true",
        help="the published program's two pictures alone, overlay six pixels low as there",
    )
    return parser


def _speaker(place: Path) -> str:
    return place.parts[0]


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("perceptionist.demo", None))
