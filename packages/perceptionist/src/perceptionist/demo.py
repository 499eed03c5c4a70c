"""`perceptionist demo`: feature files or recordings to picture, mesh and overlay."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline.messages import print_disclaimers, print_skipped

if TYPE_CHECKING:
    import numpy as np

    from perceptionist.face_models.linear import LinearFaceModel
    from perceptionist.inference import GeneratedFace


def main(argv: Sequence[str] | None = None) -> int:
    """Write the faces of all files; the exit code is 1 where a file could not be used, else 0."""
    args = build_parser().parse_args(argv)
    if len(set(args.mesh)) != len(args.mesh):
        raise ValueError(f"--mesh names a format twice: {' '.join(args.mesh)}")
    from voiceface.io.input_files import find_input_files, make_writable_directory

    from perceptionist.inference import FEATURE_SUFFIX, generate_from_features, load, load_features

    inputs = find_input_files(args.paths, (FEATURE_SUFFIX,), on_same_stem="refuse")
    model = load(args.weights, args.face_model, references=args.references, device=args.device)
    out = make_writable_directory(args.out)
    notice = model.disclaimer or model.face_model.disclaimer
    print_disclaimers(notice)
    faces: dict[Path, GeneratedFace] = {}
    left_out = []
    for path, place in inputs:
        try:
            features = load_features(path, n_mels=model.voice.config.n_mels)
            face = generate_from_features(model, features, str(path), published=args.published)
        except (ValueError, OSError) as error:
            left_out.append(str(error))
            continue
        faces[place] = face
        written = write_face(out, place, face, model.face_model, args.mesh, args.published)
        print(f"{path}: {', '.join(p.name for p in written)}", flush=True)
    print_skipped(left_out)
    if not faces:
        raise ValueError("none of the files could be used")
    same, other = mesh_distances(list(faces.values()), [_identity_from_path(place) for place in faces])
    if same is not None and other is not None:
        print(
            f"meshes of one speaker lie {same:.3g} pixels a vertex apart, of different speakers {other:.3g} "
            f"(ratio {other / max(same, 1e-12):.2f})"
        )
    if not args.no_page:
        page = write_report(out / "index.html", faces, model.face_model, model.kind, notice)
        print(f"report: {page}")
    return 1 if left_out else 0


def write_face(
    out: Path,
    relative_path: Path,
    face: "GeneratedFace",
    model: "LinearFaceModel",
    formats: Sequence[str] = ("obj",),
    published: bool = False,
) -> list[Path]:
    """Write what is made of one recording: SPEAKER/VIDEO_UTTERANCE_image.png and so on.

    Args:
        out: folder.
        relative_path: path of the recording below the folder it was found in, without suffix.
        face: from `perceptionist.inference.generate_from_features`.
        model: its face model.
        formats: mesh formats, suffixes without the dot.
        published: the pictures alone, as the published program writes them.

    Returns:
        The files written.
    """
    from voiceface.io.atomic import write_png

    from perceptionist.meshio.io import write_mesh
    from perceptionist.meshio.mesh import Mesh
    from perceptionist.visualisation import render_portrait

    stem = output_stem(out, relative_path)
    written = []
    pictures = {"image": face.image, "overlap": face.overlay}
    if not published:
        pictures["mesh"] = render_portrait(face.vertices, model)
    for word, picture in pictures.items():
        if picture is not None:
            written.append(stem.with_name(f"{stem.name}_{word}.png"))
            write_png(written[-1], picture)
    for suffix in () if published else formats:
        written.append(stem.with_name(f"{stem.name}.{suffix}"))
        write_mesh(written[-1], Mesh(face.vertices, model.outward_triangles))
    return written


def output_stem(out: Path, relative_path: Path) -> Path:
    """Where results of SPEAKER/VIDEO/UTTERANCE go: `OUT/SPEAKER/VIDEO_UTTERANCE`, as published."""
    head, *rest = relative_path.parts
    return out / head / "_".join(rest) if rest else out / head


def mesh_distances(
    faces: Sequence["GeneratedFace"], identities: Sequence[str]
) -> tuple[float | None, float | None]:
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
            found[identities[i] == identities[j]].append(float(gap))
    same, other = (float(np.mean(found[key])) if found[key] else None for key in (True, False))
    return same, other


def write_report(
    path: Path,
    faces: "dict[Path, GeneratedFace]",
    model: "LinearFaceModel",
    kind: str,
    disclaimer: str,
    max_meshes: int = 6,
) -> Path:
    """One page with the pictures of all faces and the meshes of the first of every speaker, to be turned."""
    from voiceface.report import IdentityCard, IdentityGroup, MeshView, build_report

    from perceptionist.visualisation import render_portrait

    groups: dict[str, list[IdentityCard]] = {}
    for place, face in faces.items():
        picture = face.image if face.image is not None else render_portrait(face.vertices, model, 240)
        pictures: dict[str, np.ndarray] = {"": picture}
        if face.overlay is not None:
            pictures[" over the picture"] = face.overlay
        pictures[" mesh"] = render_portrait(face.vertices, model, 240, -24)
        for word, each in pictures.items():
            person = IdentityCard("/".join(place.parts[1:] or place.parts) + word, image=each)
            groups.setdefault(_identity_from_path(place), []).append(person)
    firsts: dict[str, GeneratedFace] = {}
    for place, face in faces.items():
        firsts.setdefault(_identity_from_path(place), face)
    views = [
        MeshView(
            name,
            f.vertices,
            model.outward_triangles,
            still_image=render_portrait(f.vertices, model, 360, -24),
        )
        for name, f in list(firsts.items())[:max_meshes]
    ]
    return build_report(
        path,
        title="Faces from voices",
        kicker="perceptionist demo",
        subtitle=f"What the {kind} model makes of {len(faces)} recordings of {len(firsts)} speakers.",
        disclaimers=disclaimer,
        meshes=views,
        identity_groups=[IdentityGroup(name, people) for name, people in groups.items()],
        max_bytes=12_000_000,
    )


def build_parser() -> argparse.ArgumentParser:
    """The command line of `perceptionist demo`."""
    from perceptionist.arguments import add_model_arguments

    parser = argparse.ArgumentParser(
        prog="perceptionist demo",
        description="Make picture, mesh and overlay of recordings or stored features (.npy). Results go to "
        "OUT/SPEAKER/VIDEO_UTTERANCE_image.png (unsupervised weights), _overlap.png (with an expert), "
        "_mesh.png and .obj, and to OUT/index.html.",
    )
    parser.add_argument("paths", nargs="+", type=Path, help="files, and folders searched to any depth")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    add_model_arguments(parser)
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


def _identity_from_path(relative_path: Path) -> str:
    return relative_path.parts[0]


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("perceptionist.demo", None))
