"""`perceptionist test`: meshes from the recordings of people (formerly eval_sup)."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from voiceface.commandline.messages import print_disclaimers, print_skipped, warn_training_overlap
from voiceface.datasets import dataset_arguments

LAST_VALIDATION_ID = "id10309"  # of VoxCeleb1: names from A to E


@dataclass(frozen=True)
class IdentityUtterances:
    """A person and what is heard of them.

    Attributes:
        identity: folder of the meshes.
        files: recordings or feature files.
        stems: name of each one's mesh, without suffix.
    """

    identity: str
    files: tuple[Path, ...]
    stems: tuple[str, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the meshes; the exit code is 1 where a file could not be used, else 0."""
    args = build_parser().parse_args(argv)
    if args.files < 1:
        raise ValueError(f"--files is {args.files}, expected at least 1")
    published = (args.data / "fbank").is_dir()
    people = (
        find_published_utterances(args.data, args.files)
        if published
        else find_corpus_utterances(args.data, args.split, args.files)
    )
    from tqdm import tqdm
    from voiceface.io.input_files import make_writable_directory

    from perceptionist.inference import generate_from_features, load, load_features
    from perceptionist.meshio.io import write_mesh
    from perceptionist.meshio.mesh import Mesh

    model = load(args.weights, args.face_model, references=args.references, device=args.device)
    out = make_writable_directory(args.out)
    notice = model.disclaimer or model.face_model.disclaimer
    print_disclaimers(notice)
    warn_training_overlap([person.identity for person in people], model.identity_names)
    left_out, written = [], 0
    for person, path, stem in tqdm(list(_iterate_utterances(people)), "meshes", disable=None):
        target = out / person.identity / f"{stem}.{args.mesh}"
        if target.is_file() and not args.again:
            written += 1
            continue
        try:
            face = generate_from_features(
                model, load_features(path, n_mels=model.voice.config.n_mels), str(path)
            )
        except (ValueError, OSError) as error:
            left_out.append(str(error))
            continue
        triangles = model.face_model.triangles if published else model.face_model.outward_triangles
        write_mesh(target, Mesh(face.vertices, triangles))
        written += 1
    print_skipped(left_out)
    if not written:
        raise ValueError("none of the recordings could be used")
    print(f"{out}: {written} meshes of {len(people)} people")
    return 1 if left_out else 0


def find_published_utterances(root: Path, utterances_per_identity: int = 3) -> list[IdentityUtterances]:
    """People and feature files as the published program takes them (specification, section 8).

    Ids in order up to id10309, named by the metadata, where `A2E_val/NAME` is there; the first files by
    video, then utterance.

    Args:
        root: folder with `vox1_meta.csv`, `fbank/` and `A2E_val/`.
        utterances_per_identity: of each person.

    Raises:
        FileNotFoundError: a part is absent, or nobody is left.
    """
    from perceptionist.dataset.published_lists import read_identity_names

    for part in ("vox1_meta.csv", "fbank", "A2E_val"):
        if not (root / part).exists():
            raise FileNotFoundError(f"{root} holds no {part}; expected vox1_meta.csv, fbank and A2E_val")
    names = read_identity_names(root / "vox1_meta.csv")
    people = []
    for folder in sorted(path for path in (root / "fbank").iterdir() if path.is_dir()):
        if folder.name > LAST_VALIDATION_ID:
            break
        name = names.get(folder.name)
        found = sorted(folder.glob("*/*.npy"))[:utterances_per_identity]
        if name and found and (root / "A2E_val" / name).is_dir():
            stems = tuple(f"{path.parent.name}_{path.stem}" for path in found)
            people.append(IdentityUtterances(name, tuple(found), stems))
    if not people:
        raise FileNotFoundError(
            f"nobody in {root / 'fbank'} up to {LAST_VALIDATION_ID} has a folder in {root / 'A2E_val'}"
        )
    return people


def find_corpus_utterances(
    root: Path, split: str, utterances_per_identity: int = 3
) -> list[IdentityUtterances]:
    """The people of a split of a corpus folder and the first recordings of each, spread over videos.

    Raises:
        FileNotFoundError, voiceface.datasets.corpus.CorpusError: no such corpus, or nobody is in the split.
    """
    from voiceface.datasets.corpus import open_corpus

    corpus = open_corpus(root, split, on_missing="skip")
    people = []
    for person in corpus.records:
        chosen = _select_evenly(person.voices, utterances_per_identity)
        stems = tuple("_".join(Path(item).with_suffix("").parts[1:]) for item in chosen)
        paths = tuple(Path(corpus.voice_path(item)) for item in chosen)
        if chosen:
            people.append(IdentityUtterances(person.identity.face_id, paths, stems))
    if not people:
        raise FileNotFoundError(f"nobody in split {split} of {root} has recordings")
    return people


def build_parser() -> argparse.ArgumentParser:
    """The command line of `perceptionist test`."""
    from perceptionist.arguments import add_model_arguments

    parser = argparse.ArgumentParser(
        prog="perceptionist test",
        description="Make a mesh of each recording of unseen people: OUT/NAME/VIDEO_UTTERANCE.obj. What is "
        "there already is kept, so that a stopped run goes on. Then: perceptionist evaluate.",
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="corpus folder or manifest: see docs/data.md; or the published layout (vox1_meta.csv, fbank, "
        "A2E_val), whose people are those up to id10309",
    )
    dataset_arguments.add_split_argument(parser)
    parser.add_argument("--files", type=int, default=3, help="recordings of each person")
    parser.add_argument("--out", type=Path, required=True, help="folder for the meshes")
    parser.add_argument("--mesh", default="obj", choices=["obj", "ply", "xyz"], help="mesh format")
    parser.add_argument("--again", action="store_true", help="make meshes anew that are there")
    add_model_arguments(parser)
    return parser


def _iterate_utterances(
    people: Sequence[IdentityUtterances],
) -> Iterator[tuple[IdentityUtterances, Path, str]]:
    for person in people:
        for path, stem in zip(person.files, person.stems):
            yield person, path, stem


def _select_evenly(items: Sequence[str], count: int) -> list[str]:
    """`count` items evenly out of all, so that more than one video is heard."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("perceptionist.test", None))
