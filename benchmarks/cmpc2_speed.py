"""Speed of cmpc2 on one thread: voice front end, training step, retrieval of 20,000 by 20,000.

    python benchmarks/cmpc2_speed.py                      synthetic recordings and lists
    python benchmarks/cmpc2_speed.py --lists FOLDER       CMPC's published lists (retrieval/, vox1_meta.csv)
    python benchmarks/cmpc2_speed.py --voices FOLDER      recordings for the front end

"CPU" is the processor time of this one-thread process: what the clock shows on an idle machine. Published
figures are those of the published code, measured on one thread. `--only audio|step|retrieval|kmeans`.
"""

import argparse
import functools
import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before the numerical libraries load

import numpy as np
import torch
from timing import min_times

PUBLISHED = {"audio": 240.0, "step": 3.24, "retrieval": 275.0}  # times real time; seconds
GOALS = {"audio": 1000.0, "step": 2.5, "retrieval": 10.0}
SUBJECTS = ("audio", "step", "retrieval", "kmeans")


def synthetic_speech(seconds: float, seed: int = 0) -> np.ndarray:
    """Harmonics that waver, with pauses, int16 at 16 kHz."""
    rng = np.random.default_rng(seed)
    time_axis = np.arange(round(16_000 * seconds)) / 16_000
    pitch = 2 * np.pi * np.cumsum(140 + 25 * np.sin(5 * time_axis)) / 16_000
    sound = sum(np.sin(k * pitch) / k for k in range(1, 25)) * (np.sin(2.5 * time_axis) > -0.6)
    sound = sound + rng.normal(0, 0.003, len(time_axis))
    return (9000 * sound / np.abs(sound).max()).astype(np.int16)


def time_audio(args: argparse.Namespace) -> None:
    """From a WAV file to network input, by both front ends."""
    import tempfile

    from cmpc2.audio_frontend import load_log_mel
    from cmpc2.model_config import VoiceFrontendConfig
    from voiceface.association.embedding import find_files
    from voiceface.audio.loading import read_audio_info, write_wav
    from voiceface.runtime.process import keep_freed_memory

    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        if args.voices:
            paths, _ = find_files([args.voices])
        else:
            paths = [Path(folder) / f"{n}.wav" for n in range(3)]
            for n, path in enumerate(paths):
                write_wav(path, synthetic_speech(9.0, n))
        seconds = sum(read_audio_info(path).duration for path in paths)
        for front_end in ("sphinx", "decibels"):
            config = VoiceFrontendConfig(frontend=front_end)  # type: ignore[arg-type]
            spent = min_times(
                lambda config=config: [load_log_mel(p, config) for p in paths], args.repeats, warm_up=False
            ).cpu
            note = (
                f"published {PUBLISHED['audio']:.0f}, goal {GOALS['audio']:.0f}"
                if front_end == "sphinx"
                else ""
            )
            print(f"audio, {front_end:9} {seconds / spent:7.0f} times real time ({seconds:.1f} s)   {note}")


def time_step(args: argparse.Namespace) -> None:
    """One step on 8 videos with the full networks, clusterings at hand."""
    from cmpc2.config import Cmpc2Config
    from cmpc2.memory import MemoryBank
    from cmpc2.train import InitialWeights, build_model, build_optimiser, compute_losses
    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory

    keep_freed_memory()
    config = load_config("main", Cmpc2Config, "cmpc2")
    model = build_model(config, InitialWeights()).train()
    optimiser = build_optimiser(config, model)
    memory = MemoryBank(2000, 512, generator=torch.Generator().manual_seed(0))
    memory.recluster((100, 200, 300), iterations=2)
    generator = torch.Generator().manual_seed(1)
    voice = torch.randn(8, 1, 64, 500, generator=generator)
    face = torch.rand(8, 3, 224, 224, generator=generator) * 2 - 1
    face = face.to(memory_format=torch.channels_last)
    index = torch.arange(8)

    def work() -> None:
        left, right = model(voice, face)
        memory.update(index, left, right)
        total = compute_losses(config, index, left, right, memory.clusterings).total
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        optimiser.step()

    work()
    spent = min_times(work, args.repeats, warm_up=False).cpu
    print(f"training step, B = 8   {spent:6.2f} CPU s   published {PUBLISHED['step']}, goal {GOALS['step']}")


def time_retrieval(args: argparse.Namespace) -> None:
    """All voices against all faces and back, figures included."""
    from voiceface.metrics.retrieval import compute_retrieval as ranked

    voice_ids, face_ids = read_published_ids(args.lists) if args.lists else synthetic_ids()
    rng = np.random.default_rng(0)
    people = torch.from_numpy(
        rng.standard_normal((int(max(voice_ids.max(), face_ids.max())) + 1, 512), np.float32)
    )

    def vectors(ids: torch.Tensor, seed: int) -> torch.Tensor:
        noise = torch.randn(len(ids), 512, generator=torch.Generator().manual_seed(seed))
        return noise + 0.3 * people[ids]

    voices, faces = vectors(voice_ids, 1), vectors(face_ids, 2)
    few = torch.arange(50)
    ranked(voices[:50], faces[:50], few, few, tie_breaking="grouped")  # compiles
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin, clock = time.process_time(), time.perf_counter()
    there = ranked(voices, faces, voice_ids, face_ids, tie_breaking="grouped").mean_average_precision
    back = ranked(faces, voices, face_ids, voice_ids, tie_breaking="grouped").mean_average_precision
    spent, waited = time.process_time() - begin, time.perf_counter() - clock
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"mAP {there:.4f}, {back:.4f}; {waited:.1f} s by the clock")
    print(
        f"retrieval {len(voices):,} x {len(faces):,} both ways   {spent:5.1f} CPU s, "
        f"{grown:.0f} MB more   published {PUBLISHED['retrieval']:.0f} s, goal {GOALS['retrieval']:.0f} s"
    )


def read_published_ids(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Identity of every item of the published tables."""
    from voiceface.datasets.identities import read_vox1_meta
    from voiceface.datasets.trials.reading import read_trial_list
    from voiceface.datasets.trials.trial_list import identity_indices

    people = read_vox1_meta(folder / "vox1_meta.csv")
    begin = time.process_time()
    path = next(folder.rglob("wav_20k.csv*"))
    found = read_trial_list(path, people)
    ids = [torch.from_numpy(identity_indices(items, people)) for items in (found.probes, found.gallery)]
    print(f"retrieval tables read in {time.process_time() - begin:.1f} CPU s")
    return ids[0], ids[1]


def synthetic_ids() -> tuple[torch.Tensor, torch.Tensor]:
    """20,000 voices and faces of 250 people."""
    generator = torch.Generator().manual_seed(3)
    return torch.randint(250, (20_000,), generator=generator), torch.randint(
        250, (20_000,), generator=generator
    )


def time_kmeans(args: argparse.Namespace) -> None:
    """One clustering of a bank of the published size into 1,000."""
    from cmpc2.prototypes import cluster

    bank = torch.nn.functional.normalize(
        torch.randn(18_057, 512, generator=torch.Generator().manual_seed(0)), dim=1
    )
    for backend in ("torch", "faiss"):
        try:
            work = functools.partial(cluster, bank, 1000, backend=backend)
            spent = min_times(work, 1, warm_up=False).cpu
        except ModuleNotFoundError:
            print(f"k-means, {backend}: not installed")
        else:
            print(f"k-means 18,057 x 512 into 1,000, 20 iterations, {backend}: {spent:.1f} CPU s")


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line a measurement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lists", type=Path, help="folder of CMPC's published lists")
    parser.add_argument("--voices", type=Path, help="folder of recordings")
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--repeats", type=int, default=5, help="the best counts")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    for subject in args.only:
        {"audio": time_audio, "step": time_step, "retrieval": time_retrieval, "kmeans": time_kmeans}[subject](
            args
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
