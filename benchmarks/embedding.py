"""Embedding throughput of a system: items per second on one core, small and full networks.

    python benchmarks/embedding.py --system archetype_agnostic

The weights are random, which does not change the time. Clips last 10 s for the full networks, as published,
and as long as configured for the small ones. Loading is not included (see data_loading.py).
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder

SYSTEMS = {
    "seeking_shape": ("SeekingShapeConfig", "Voice2Face"),
    "archetype_agnostic": ("ArchetypeAgnosticConfig", "Aasm"),
}
"""Names of a system's configuration and its model."""


def items_per_second(work: Callable[[], object], items: int, seconds: float) -> float:
    """Return items per second of processor time, after one untimed call."""
    work()
    calls, begin = 0, time.process_time()
    while time.process_time() - begin < seconds:
        work()
        calls += 1
    return calls * items / (time.process_time() - begin)


def build_model(system: str, name: str) -> "Embedder":
    """Build the networks of a bundled configuration with random weights."""
    import importlib

    from voiceface.association.embedder import Embedder
    from voiceface.runtime.config import load_config

    config_name, model_name = SYSTEMS[system]
    kind = getattr(importlib.import_module(f"{system}.config"), config_name)
    network = getattr(importlib.import_module(f"{system}.model"), model_name)
    config = load_config(name, kind, system)
    return Embedder(network(config.model, 924), config)


def main(argv: Sequence[str] | None = None) -> int:
    """Print one row per configuration."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--system", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="default: all")
    parser.add_argument("--seconds", type=float, default=4.0, help="processor time per figure")
    parser.add_argument("--cfg", nargs="+", default=["quick", "standard", "main"], help="configurations")
    args = parser.parse_args(argv)

    import torch

    torch.set_num_threads(1)
    heads = ("voices/s", "of seconds", "times real time", "faces/s", "side")
    print(f"{'configuration':30}" + "".join(f"{head:>16}" for head in heads))
    for system, name in ((system, name) for system in args.system for name in args.cfg):
        model = build_model(system, name)
        config, batch = model.config, 8
        samples, side = config.data.clip_samples, config.model.face.image_size
        waves, pictures = 3000 * torch.randn(batch, samples), 255 * torch.rand(batch, 3, side, side)
        voices = items_per_second(lambda: model.encode_voices(waves), batch, args.seconds)  # noqa: B023
        faces = items_per_second(lambda: model.encode_faces(pictures), batch, args.seconds)  # noqa: B023
        length, row = samples / 16_000, f"{system} {name}"
        print(f"{row:30}{voices:16.1f}{length:16.1f}{voices * length:16.0f}{faces:16.1f}{side:16d}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
