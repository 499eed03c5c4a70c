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
from voiceface.runtime.process import Interrupts

from voicestyle.descent import Descent
from voicestyle.descent import Path as Found
from voicestyle.stylegan2.pictures import grid, to_bytes, write_png

SAVE_EVERY = 25  # steps between states
STATE, PREVIEW = "state.safetensors", "preview.png"


def file_name(label: str) -> str:
    """A name for files, readable and different for different labels."""
    words = "".join(c if c.isalnum() or c in "-_." else "_" for c in Path(label).stem)[-40:]
    return f"{words}-{hashlib.sha256(label.encode()).hexdigest()[:10]}"


def watch(
    out: Path, step: str, keys: Sequence[str], interrupts: Interrupts, targets: NDArray[np.uint8] | None
) -> Callable[[Descent], None]:
    """What happens after each step of a descent: states, previews, stopping."""

    def after(descent: Descent) -> None:
        due = descent.step % SAVE_EVERY == 0
        if due or interrupts.number:
            save_state(out / STATE, {"step": step, "keys": list(keys), "descent": descent.state_dict()})
        if descent.step % descent.config.keep_every == 0:
            write_png(out / PREVIEW, preview(descent, targets))
        if interrupts.number:
            raise KeyboardInterrupt

    return after


@torch.no_grad()
def preview(descent: Descent, targets: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Pictures of a descent as it stands, below what they shall look like."""
    codes = descent.codes
    layers = codes if codes.ndim == 3 else codes[:, None].expand(-1, descent.generator.config.codes, -1)
    pictures = to_bytes(descent.generator.synthesise(layers, descent.noise))
    if targets is None:
        return grid(pictures, len(pictures))
    fitted = np.stack([at_side(each, pictures.shape[1]) for each in targets])
    return grid(np.concatenate([fitted, pictures]), len(pictures))


def kept_state(out: Path, step: str, keys: Sequence[str]) -> dict[str, Any] | None:
    """The state of exactly this part of the work, if there is one."""
    if not (out / STATE).is_file():
        return None
    state = load_state(out / STATE)
    return state["descent"] if (state["step"], state["keys"]) == (step, list(keys)) else None


def forget_state(out: Path) -> None:
    """Remove what lay there of a part that is done."""
    (out / STATE).unlink(missing_ok=True)


def as_content(found: Found) -> dict[str, Any]:
    """What a descent found, for a file."""
    tensors = {
        "codes": found.codes.cpu(),
        "noise": [each.cpu() for each in found.noise],
        "kept": found.kept.cpu(),
        "steps": found.steps,
    }
    return {**tensors, "kept_steps": found.kept_steps, "history": found.history}


def from_content(content: dict[str, Any], device: torch.device) -> Found:
    """What a file has of a descent."""
    return Found(
        content["codes"].to(device),
        [each.to(device) for each in content["noise"]],
        content["kept"].to(device),
        content["kept_steps"],
        content["history"],
        content["steps"],
    )


def last_number(values: Tensor) -> Tensor:
    """Last number that is one."""
    known = values[~values.isnan()]
    return known[-1] if len(known) else values.new_tensor(float("nan"))


def at_side(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A square picture at another side."""
    from PIL import Image

    if picture.shape[0] == side:
        return picture
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))
