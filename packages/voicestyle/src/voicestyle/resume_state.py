"""Work in progress in a folder: states to go on from, previews, findings as the content of files."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from voiceface.checkpoints.native import load_state, save_state
from voiceface.runtime.process import DeferredSignals

from voicestyle.latent_optimisation import LatentOptimiser
from voicestyle.latent_optimisation import LatentTrajectory as Found
from voicestyle.stylegan2.images import image_grid, to_uint8, write_png

SAVE_INTERVAL = 25  # steps between states
STATE_FILE, PREVIEW_FILE = "state.safetensors", "preview.png"


def safe_file_name(label: str) -> str:
    """A name for files, readable and different for different labels."""
    words = "".join(c if c.isalnum() or c in "-_." else "_" for c in Path(label).stem)[-40:]
    return f"{words}-{hashlib.sha256(label.encode()).hexdigest()[:10]}"


def build_checkpoint_callback(
    out: Path, step: str, keys: Sequence[str], interrupts: DeferredSignals, targets: NDArray[np.uint8] | None
) -> Callable[[LatentOptimiser], None]:
    """What happens after each step of a descent: states, previews, stopping."""

    def after(descent: LatentOptimiser) -> None:
        due = descent.step % SAVE_INTERVAL == 0
        if due or interrupts.received_signal:
            save_state(out / STATE_FILE, {"step": step, "keys": list(keys), "descent": descent.state_dict()})
        if descent.step % descent.config.snapshot_interval == 0:
            write_png(out / PREVIEW_FILE, render_preview(descent, targets))
        if interrupts.received_signal:
            raise KeyboardInterrupt

    return after


@torch.no_grad()
def render_preview(optimiser: LatentOptimiser, targets: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Pictures of a descent as it stands, below what they shall look like."""
    codes = optimiser.latents
    layers = codes if codes.ndim == 3 else codes[:, None].expand(-1, optimiser.generator.config.n_latent, -1)
    pictures = to_uint8(optimiser.generator.synthesise(layers, optimiser.noise_maps))
    if targets is None:
        return image_grid(pictures, len(pictures))
    fitted = np.stack([resize_square(each, pictures.shape[1]) for each in targets])
    return image_grid(np.concatenate([fitted, pictures]), len(pictures))


def load_matching_state(out: Path, step: str, keys: Sequence[str]) -> dict[str, Any] | None:
    """The state of exactly this part of the work, if there is one."""
    if not (out / STATE_FILE).is_file():
        return None
    state = load_state(out / STATE_FILE)
    return state["descent"] if (state["step"], state["keys"]) == (step, list(keys)) else None


def remove_state(out: Path) -> None:
    """Remove what lay there of a part that is done."""
    (out / STATE_FILE).unlink(missing_ok=True)


def trajectory_to_dict(trajectory: Found) -> dict[str, Any]:
    """What a descent found, for a file."""
    tensors = {
        "codes": trajectory.latents.cpu(),
        "noise": [each.cpu() for each in trajectory.noise_maps],
        "kept": trajectory.snapshots.cpu(),
        "steps": trajectory.num_steps,
    }
    return {**tensors, "kept_steps": trajectory.snapshot_steps, "history": trajectory.history}


def trajectory_from_dict(content: dict[str, Any], device: torch.device) -> Found:
    """What a file has of a descent."""
    return Found(
        content["codes"].to(device),
        [each.to(device) for each in content["noise"]],
        content["kept"].to(device),
        content["kept_steps"],
        content["history"],
        content["steps"],
    )


def last_finite(values: Tensor) -> Tensor:
    """Last number that is one."""
    known = values[~values.isnan()]
    return known[-1] if len(known) else values.new_tensor(float("nan"))


def resize_square(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A square picture at another side."""
    from PIL import Image

    if image.shape[0] == side:
        return image
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
