"""Retrieve the training videos of the face prototypes nearest to a voice.

`cmpc2 nearest voice.wav`; `--faces ROOT --report page.html` shows their images.
"""

import argparse
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments
from voiceface.commandline.messages import print_disclaimers

import cmpc2

if TYPE_CHECKING:
    from voiceface.report import RetrievalExamples

    from cmpc2.prototype_retrieval import RetrievedVideo, TrainingVideo
    from cmpc2.published import PrototypeMemory

__all__ = ["RETRIEVAL_NOTE", "build_retrieval_examples", "load_prototype_memory", "main"]

RETRIEVAL_NOTE = (
    "Training videos of the face prototypes nearest to the voice, nearest first. They do not show the "
    "speaker and contain no information about the speaker's identity."
)


def load_prototype_memory(
    weights: Path | None, memory: Path | None, table: Path | None
) -> "tuple[PrototypeMemory, list[TrainingVideo]]":
    """Load prototype memory and training table: given ones, those of the run folder, or the bundled ones.

    Args:
        weights: checkpoint or run folder; None: the bundled model.
        memory: prototype memory; None: `memory.safetensors` in the folder of `weights`.
        table: training table; None: `training.csv` in the folder of `weights`.

    Raises:
        FileNotFoundError, CheckpointError: a file is missing or unreadable.
    """
    from cmpc2.embedder import BUNDLED_MEMORY, BUNDLED_TABLE
    from cmpc2.prototype_retrieval import read_training_table
    from cmpc2.published import read_prototype_memory

    if weights is None and memory is None and table is None:
        package = resources.files("cmpc2")
        with (
            resources.as_file(package / BUNDLED_MEMORY) as memory_file,
            resources.as_file(package / BUNDLED_TABLE) as table_file,
        ):
            return read_prototype_memory(memory_file), read_training_table(table_file)
    folder = weights if weights is None or weights.is_dir() else weights.parent
    if memory is None or table is None:
        if folder is None:
            raise FileNotFoundError(
                "give --memory and --table together, or --weights of a run folder that contains both"
            )
        memory, table = memory or folder / "memory.safetensors", table or folder / "training.csv"
    for path, flag in ((memory, "--memory"), (table, "--table")):
        if not path.is_file():
            raise FileNotFoundError(f"no file at {path}: give its path with {flag}")
    return read_prototype_memory(memory), read_training_table(table)


def build_retrieval_examples(
    retrieved: "Sequence[tuple[Path, Sequence[RetrievedVideo]]]", faces: Path | None, top: int
) -> "RetrievalExamples":
    """Build the report entry: voices, and images of the videos retrieved for them."""
    from voiceface.report import AudioSource, ProbeRanking, RankedCandidate, RetrievalExamples

    from cmpc2.videos import FACE_SUFFIXES

    probes = []
    for voice, hits in retrieved:
        candidates = []
        for rank, hit in enumerate(hits[:top], 1):
            folder = faces / hit.video.image_folder if faces else None
            images = sorted(folder.iterdir()) if folder and folder.is_dir() else []
            first = next((str(path) for path in images if path.suffix.lower() in FACE_SUFFIXES), None)
            label = f"{hit.video.image_folder}, prototype {hit.cluster}"
            candidates.append(RankedCandidate(label, rank, False, 1 - hit.distance / 2, image=first))
        audio = AudioSource(str(voice), is_own=True)
        probes.append(
            ProbeRanking(voice.name, candidates, gallery_size=len(hits), labels_known=False, audio=audio)
        )
    return RetrievalExamples("Nearest face prototypes", "v2f", probes, RETRIEVAL_NOTE)


def main(argv: Sequence[str] | None = None) -> int:
    """`cmpc2 nearest`."""
    parser = argparse.ArgumentParser(
        prog="cmpc2 nearest",
        description="Retrieve the training videos of the face prototypes nearest to a voice.",
    )
    parser.add_argument("voices", type=Path, nargs="+", metavar="VOICE", help="utterances")
    arguments.add_weights_argument(parser)
    parser.add_argument("--memory", type=Path, help="prototype memory (default: in the run folder)")
    parser.add_argument("--table", type=Path, help="training.csv (default: in the run folder)")
    parser.add_argument(
        "--clusters", type=int, help="number of clusters of the clustering (default: the middle one)"
    )
    parser.add_argument("-k", type=int, default=3, help="number of prototypes (default: 3)")
    parser.add_argument(
        "--order",
        choices=["nearest", "round_robin", "table"],
        default="nearest",
        help="nearest prototype first; round_robin: one video of each in turn; table: as published",
    )
    parser.add_argument(
        "--exclude", action="append", default=[], help="identity or voice id to exclude, repeatable"
    )
    parser.add_argument("--top", type=int, default=8, help="videos shown (default: 8, as published)")
    parser.add_argument(
        "--faces", type=Path, help="folder of <name>/1.6/<video>/ with the images of the report"
    )
    parser.add_argument("--report", type=Path, help="also write a page")
    parser.add_argument("--json", type=Path, help="also write all results as JSON")
    arguments.add_on_corrupt_argument(parser)
    arguments.add_device_argument(parser)
    args = parser.parse_args(argv)
    if args.top < 1:
        parser.error("--top must be at least 1")
    for voice in args.voices:
        if not voice.is_file():
            raise FileNotFoundError(f"no utterance at {voice}")

    from cmpc2.prototype_retrieval import nearest_videos

    memory, table = load_prototype_memory(args.weights, args.memory, args.table)
    model = cmpc2.load_embedder(args.weights, device=args.device, on_corrupt=args.on_corrupt)
    print_disclaimers(model.disclaimer)
    middle = len(memory.centroids[(len(memory.centroids) - 1) // 2])
    retrieved = []
    for voice in args.voices:
        hits = nearest_videos(
            model.embed_voices([voice]),
            memory,
            table,
            num_clusters=args.clusters or middle,
            k=args.k,
            order=args.order,
            exclude=args.exclude,
        )
        retrieved.append((voice, hits))
        print(f"{voice}: {min(args.top, len(hits))} of {len(hits)} videos of the {args.k} nearest prototypes")
        for rank, hit in enumerate(hits[: args.top], 1):
            details = f"prototype {hit.cluster:5d}  distance {hit.distance:.4f}"
            print(f"{rank:4d}  {details}  {hit.video.image_folder}")
    if args.json:
        from voiceface.io.atomic import write_json

        voices = [
            {
                "voice": str(voice),
                "videos": [
                    {
                        "path": hit.video.image_folder,
                        "row": hit.row,
                        "prototype": hit.cluster,
                        "distance": hit.distance,
                    }
                    for hit in hits
                ],
            }
            for voice, hits in retrieved
        ]
        write_json(args.json, {"disclaimer": model.disclaimer, "weights": model.source, "voices": voices})
    if args.report:
        from voiceface.report import build_report

        examples = build_retrieval_examples(retrieved, args.faces, args.top)
        build_report(
            args.report, title="cmpc2 nearest", disclaimers=model.disclaimer, retrieval_examples=[examples]
        )
        print(f"report: {args.report}")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("cmpc2.nearest", None))
