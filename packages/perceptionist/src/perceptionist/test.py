"""`perceptionist test`: generate meshes from the recordings of unseen identities (published as eval_sup)."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from voiceface.commandline import arguments
from voiceface.commandline.messages import print_disclaimers, print_skipped, warn_training_overlap
from voiceface.datasets import dataset_arguments
from voiceface.io.packed_folders import file_exists

__all__ = [
    "build_parser",
    "main",
]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the meshes; the exit status is 1 if a file was skipped, else 0."""
    args = build_parser().parse_args(argv)
    if args.utterances < 1:
        raise ValueError(f"--utterances is {args.utterances}, expected at least 1")
    arguments.require_existing_paths(
        {name: getattr(args, name) for name in ("data", "weights", "references")}
    )
    from perceptionist.utterance_lists import (
        find_corpus_utterances,
        find_published_utterances,
        iterate_utterances,
    )

    published = any((args.data / folder).is_dir() for folder in ("fbank", "A2E_val"))
    if published:
        identities = find_published_utterances(args.data, args.utterances)
    else:
        identities = find_corpus_utterances(args.data, args.split, args.utterances)
    utterances = list(iterate_utterances(identities))
    absent = [f"{path}: no such file" for _, path, _ in utterances if not file_exists(path)]
    if len(absent) == len(utterances):
        raise FileNotFoundError(f"none of {len(absent)} recordings of {args.data} exists; {absent[0]}")
    print_skipped(absent)  # before the network is loaded
    from voiceface.io.input_files import make_writable_directory
    from voiceface.runtime.progress import progress_bar

    from perceptionist.inference import load
    from perceptionist.meshio.io import write_mesh
    from perceptionist.meshio.mesh import Mesh
    from perceptionist.visualisation import missing_triangles

    model = load(args.weights, args.face_model, references=args.references, device=args.device)
    out = make_writable_directory(args.out)
    print_disclaimers(model.disclaimer or model.face_model.disclaimer, missing_triangles(model.face_model))
    warn_training_overlap([each.identity for each in identities], model.identity_names)
    triangles = model.face_model.triangles if published else model.face_model.outward_triangles
    skipped, num_meshes = [], 0
    present = [each for each in utterances if file_exists(each[1])]
    for identity, path, stem in progress_bar(present, "meshes"):
        target = out / identity.identity / f"{stem}.{args.mesh}"
        if target.is_file() and not args.overwrite:
            num_meshes += 1
            continue
        try:
            face = model.generate_from_data(path)
        except (ValueError, OSError) as error:
            skipped.append(str(error))
            continue
        write_mesh(target, Mesh(face.vertices, triangles))
        num_meshes += 1
    print_skipped(skipped)
    if not num_meshes:
        raise ValueError("None of the recordings could be used; see the messages above.")
    print(f"{out}: {num_meshes} meshes of {len(identities)} identities")
    return 1 if skipped or absent else 0


def build_parser() -> argparse.ArgumentParser:
    """The command line of `perceptionist test`."""
    from perceptionist.arguments import add_model_arguments

    parser = argparse.ArgumentParser(
        prog="perceptionist test",
        description="Generate a mesh from each recording of unseen identities: OUT/NAME/VIDEO_UTTERANCE.obj. "
        "Existing meshes are kept, so that an interrupted run can be repeated. To compute the errors of the "
        "meshes: perceptionist evaluate.",
    )
    parser.add_argument(
        "--data",
        type=arguments.data_folder,
        required=True,
        help="corpus folder or manifest: see docs/data.md; or the published layout (vox1_meta.csv, fbank, "
        "A2E_val), with the identities up to id10309",
    )
    dataset_arguments.add_split_argument(parser)
    parser.add_argument(
        "--utterances", type=int, default=3, help="utterances of each identity (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the meshes")
    parser.add_argument("--mesh", default="obj", choices=["obj", "ply", "xyz"], help="mesh format")
    parser.add_argument("--overwrite", action="store_true", help="generate existing meshes again")
    add_model_arguments(parser)
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("perceptionist.test", None))
