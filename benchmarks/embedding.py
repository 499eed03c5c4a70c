"""Embedding throughput of seeking_shape: items a second on one core, small and full networks.

    python benchmarks/embedding.py

The weights are random: they do not change the time. Clips last 10 s for the full networks, as published, and
as long as the configuration says for the small ones. Loading is not part of it (see data_loading.py).
"""

import argparse
import time
from collections.abc import Callable, Sequence


def items_per_second(work: Callable[[], object], items: int, seconds: float) -> float:
    """Items per second of processor time, after one call to warm up."""
    work()
    calls, begin = 0, time.process_time()
    while time.process_time() - begin < seconds:
        work()
        calls += 1
    return calls * items / (time.process_time() - begin)


def main(argv: Sequence[str] | None = None) -> int:
    """Print one row per configuration and modality."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="processor time per row")
    parser.add_argument("--cfg", nargs="+", default=["quick", "standard", "main"], help="configurations")
    args = parser.parse_args(argv)

    import torch
    from seeking_shape.config import SeekingShapeConfig
    from seeking_shape.embedder import Embedder
    from seeking_shape.model import Voice2Face
    from voiceface.config import load_config

    torch.set_num_threads(1)
    heads = ("voices/s", "of seconds", "times real time", "faces/s", "side")
    print(f"{'configuration':16}" + "".join(f"{head:>16}" for head in heads))
    for name in args.cfg:
        config = load_config(name, SeekingShapeConfig, "seeking_shape")
        model = Embedder(Voice2Face(config.model, 924), config)
        batch, samples, side = 8, config.data.clip_samples, config.model.face.side
        waves, pictures = 3000 * torch.randn(batch, samples), 255 * torch.rand(batch, 3, side, side)
        voices = items_per_second(lambda: model.encode_voices(waves), batch, args.seconds)  # noqa: B023
        faces = items_per_second(lambda: model.encode_faces(pictures), batch, args.seconds)  # noqa: B023
        length = samples / 16_000
        print(f"{name:16}{voices:16.1f}{length:16.1f}{voices * length:16.0f}{faces:16.1f}{side:16d}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
