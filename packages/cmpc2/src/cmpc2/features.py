"""Store log-mel features of utterances, so that training reads small files: `cmpc2 features WAV --out DIR`.

The tree of the output folder mirrors that of the utterances, with files `<utterance>.npy`: (64, T) in
decibels, or (T, 64) by the sphinx front end. CMPC's pickles (`data_transform.py --wav_dir --logmel_dir`) can
be used in their place.
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from voiceface.commandline import arguments
from voiceface.commandline.messages import print_skipped
from voiceface.io.decoding_worker import decoding_in_workers

__all__ = ["main", "save_features"]


def save_features(
    source: Path,
    out: Path,
    *,
    frontend: Literal["decibels", "sphinx"] = "decibels",
    workers: int = 2,
    progress: bool = True,
) -> dict[str, str]:
    """Write features of all utterances below a folder; existing files are kept.

    Args:
        source: folder of utterances, searched recursively.
        out: folder of the features; its tree mirrors that of `source`.
        frontend: see `cmpc2.audio_frontend`. Sphinx features keep their length, without repetition.
        workers: threads.
        progress: show a progress bar.

    Returns:
        Unreadable utterance -> reason.
    """
    import numpy as np
    from voiceface.association.embedding import find_files
    from voiceface.io.atomic import atomic_path
    from voiceface.runtime.progress import progress_bar

    from cmpc2.audio_frontend import load_log_mel
    from cmpc2.model_config import VoiceFrontendConfig

    voices, _ = find_files([source])
    config = VoiceFrontendConfig(frontend=frontend, min_frames=1)
    failed: dict[str, str] = {}

    def store(path: Path) -> None:
        target = (out / path.relative_to(source)).with_suffix(".npy")
        if target.is_file():
            return
        try:
            log_mel = load_log_mel(path, config)
        except (ValueError, OSError) as error:
            failed[str(path)] = str(error)
            return
        with atomic_path(target) as temporary, temporary.open("wb") as file:
            np.save(file, log_mel.T if frontend == "sphinx" else log_mel)

    with (
        decoding_in_workers(workers),
        ThreadPoolExecutor(workers) as pool,
        progress_bar(total=len(voices), enabled=progress) as bar,
    ):
        for _ in pool.map(store, voices):
            bar.update()
    return failed


def main(argv: Sequence[str] | None = None) -> int:
    """`cmpc2 features`."""
    parser = argparse.ArgumentParser(
        prog="cmpc2 features", description="Store log-mel features of all utterances below a folder as .npy."
    )
    parser.add_argument("source", type=Path, help="folder of utterances")
    parser.add_argument("--out", type=Path, required=True, help="folder of the features")
    parser.add_argument(
        "--frontend",
        choices=["decibels", "sphinx"],
        default="decibels",
        help="(64, T) in decibels, or (T, 64) as published models expect (default: %(default)s)",
    )
    arguments.add_workers_argument(parser)
    args = parser.parse_args(argv)
    failed = save_features(args.source, args.out, frontend=args.frontend, workers=args.workers)
    print_skipped(failed)
    return 1 if failed else 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("cmpc2.features", None))
