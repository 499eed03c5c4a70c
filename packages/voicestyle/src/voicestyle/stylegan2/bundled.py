"""The bundled generator of synthetic faces, and export of small weights for distribution.

The bundled weights were made by

    voicestyle train-stylegan --cfg population --population --threads 1 --device cpu --out runs/population
    python -m voicestyle.stylegan2.bundled runs/population --out src/voicestyle/weights/NAME

where NAME is `BUNDLED_FILE`. The Fréchet distance of the attribute reader's features is .12 (`voicestyle fid
--population --features attributes`, 2,000 images). Faster operators give other weights of the same quality:
training amplifies rounding errors.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voicestyle.stylegan2.generator import Generator

__all__ = [
    "LoadedGenerator",
    "bundled_checkpoint",
    "ensure_latent_avg",
    "export_compact",
    "load_bundled_generator",
    "main",
    "open_generator",
]

BUNDLED_FILE = "stylegan2_population.safetensors"
LATENT_AVG_SAMPLES = 4096


def bundled_checkpoint() -> Path:
    """Path of the bundled checkpoint."""
    return Path(str(resources.files("voicestyle") / "weights" / BUNDLED_FILE))


def load_bundled_generator() -> "Generator":
    """Load the bundled generator: synthetic faces of 64 pixels, frozen, with its `latent_avg`."""
    from voicestyle.stylegan2.checkpoints import load_generator

    return load_generator(bundled_checkpoint())


@dataclass(frozen=True)
class LoadedGenerator:
    """A generator and the metadata of its checkpoint.

    Attributes:
        generator: frozen, in evaluation mode.
        name: file name.
        disclaimer: text to show with every result, or empty.
        data_config: section `data` of its training configuration; empty for published files.
    """

    generator: "Generator"
    name: str
    disclaimer: str = ""
    data_config: dict[str, Any] = field(default_factory=dict)


def open_generator(weights: str | Path | None = None, device: str = "cpu") -> LoadedGenerator:
    """Load a generator with its metadata.

    Args:
        weights: run directory, native, published or converted checkpoint; None for the bundled one.
        device: device of the generator.

    Raises:
        CheckpointError, FileNotFoundError: as `checkpoints.load_generator`.
    """
    from voiceface.checkpoints.native import load_model

    from voicestyle.stylegan2.checkpoints import SYSTEM, load_generator

    path = bundled_checkpoint() if weights is None else Path(weights)
    if path.is_dir():
        path = path / "model.safetensors"
    generator = load_generator(path).to(device)
    if path.suffix != ".safetensors":
        return LoadedGenerator(generator, path.name)
    stored = load_model(path, system=SYSTEM, kind="generator")
    return LoadedGenerator(
        generator, path.name, str(stored.extra.get("disclaimer", "")), stored.config.get("data", {})
    )


def ensure_latent_avg(generator: "Generator", seed: int = 0, num_samples: int = LATENT_AVG_SAMPLES) -> None:
    """Set a missing `latent_avg` to the mean of `num_samples` latents."""
    import torch

    if generator.latent_avg is None:
        generator.latent_avg = generator.mean_latent(num_samples, torch.Generator().manual_seed(seed))


def export_compact(run: str | Path, out: str | Path) -> Path:
    """Write a native generator checkpoint in half precision.

    Args:
        run: run directory or checkpoint.
        out: name ending in .safetensors.

    Raises:
        CheckpointError: `run` is not a native generator checkpoint.
    """
    import torch
    from voiceface.checkpoints.native import load_model, save_model

    from voicestyle.stylegan2.checkpoints import SYSTEM

    source, out = Path(run), Path(out)
    loaded = load_model(source / "model.safetensors" if source.is_dir() else source, system=SYSTEM)
    save_model(
        out,
        loaded.state,
        system=SYSTEM,
        kind="generator",
        config=loaded.config,
        extra=loaded.extra,
        dtype=torch.float16,
    )
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Export a generator in half precision."""
    parser = argparse.ArgumentParser(
        prog="python -m voicestyle.stylegan2.bundled", description="Write a generator in half precision."
    )
    parser.add_argument("run", type=Path, help="run directory or checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="file to write, .safetensors")
    args = parser.parse_args(argv)
    out = export_compact(args.run, args.out)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.stylegan2.bundled", None))
