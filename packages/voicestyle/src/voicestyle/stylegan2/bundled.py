"""Small weights for distribution, and the bundled generator of invented faces.

The bundled weights were made by

    voicestyle train-stylegan --cfg population --population --threads 1 --device cpu --out runs/population
    python -m voicestyle.stylegan2.bundled runs/population --out src/voicestyle/weights/NAME

where NAME is `BUNDLED`. Made again they become other numbers of the same quality (Fréchet distance of the
judge's features .24 against .25): the operators have been made faster since, and training amplifies rounding.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voicestyle.stylegan2.generator import Generator

BUNDLED_FILE = "stylegan2_population.safetensors"
LATENT_AVG_SAMPLES = 4096


def bundled_checkpoint() -> Path:
    """The bundled file."""
    return Path(str(resources.files("voicestyle") / "weights" / BUNDLED_FILE))


def load_bundled_generator() -> "Generator":
    """The bundled generator: invented faces of 64 pixels, frozen, with its `latent_avg`."""
    from voicestyle.stylegan2.checkpoints import load_generator

    return load_generator(bundled_checkpoint())


@dataclass(frozen=True)
class LoadedGenerator:
    """A generator and what its file says of it.

    Attributes:
        generator: in evaluation and frozen.
        name: of the file.
        disclaimer: what must be said beside everything that it makes, or empty.
        data_config: the section `data_config` of the configuration of its training; empty for published files.
    """

    generator: "Generator"
    name: str
    disclaimer: str = ""
    data_config: dict[str, Any] = field(default_factory=dict)


def open_generator(weights: str | Path | None = None, device: str = "cpu") -> LoadedGenerator:
    """The generator to draw with.

    Args:
        weights: a run folder, a file of ours, a published or converted one; None for the bundled one.
        device: where it draws.

    Raises:
        CheckpointError, FileNotFoundError: as `readers.load_generator`.
    """
    from voiceface.checkpoints.native import load_model

    from voicestyle.stylegan2.checkpoints import SYSTEM, load_generator

    path = bundled_checkpoint() if weights is None else Path(weights)
    if path.is_dir():
        path = path / "model.safetensors"
    generator = load_generator(path).to(device)
    if path.suffix != ".safetensors":
        return LoadedGenerator(generator, path.name)
    found = load_model(path, system=SYSTEM, kind="generator")
    return LoadedGenerator(
        generator, path.name, str(found.extra.get("disclaimer", "")), found.config.get("data", {})
    )


def ensure_latent_avg(generator: "Generator", seed: int = 0, num_samples: int = LATENT_AVG_SAMPLES) -> None:
    """Give a generator its `latent_avg` where its file had none: the mean of `num_samples` codes."""
    import torch

    if generator.latent_avg is None:
        generator.latent_avg = generator.mean_latent(num_samples, torch.Generator().manual_seed(seed))


def export_compact(run: str | Path, out: str | Path) -> Path:
    """Write a generator of ours in half precision.

    Args:
        run: run folder or weights file.
        out: a name that ends in .safetensors.

    Raises:
        CheckpointError: no generator of ours at `run`.
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
    """`python -m voicestyle.stylegan2.bundled`."""
    parser = argparse.ArgumentParser(
        prog="python -m voicestyle.stylegan2.bundled", description="Write a generator in half precision."
    )
    parser.add_argument("run", type=Path, help="run folder or weights file")
    parser.add_argument("--out", type=Path, required=True, help="file to write, .safetensors")
    args = parser.parse_args(argv)
    out = export_compact(args.run, args.out)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.stylegan2.bundled", None))
