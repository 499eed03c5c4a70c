"""Result stores of the pipeline: in memory, or in a run directory from which a stopped run can resume.

A run directory holds

    OUT/config.yaml                                         configuration
    OUT/provenance.json                                     hashes of weights, bank and voices
    OUT/bank.safetensors                                    embeddings of the bank's images
    OUT/inversions/NAME.{png,safetensors}                   step 4: images; latent, noise maps, losses
    OUT/voices/NAME/retrieval.json                          steps 1 to 3: prototypes, videos, selected images
    OUT/voices/NAME/initial.{png,safetensors}               step 5
    OUT/voices/NAME/{trajectory.safetensors,animation.gif}  step 6: latents, losses, and their images
    OUT/faces/NAME.png                                      step 7

and, during the optimisation, OUT/state.safetensors (resume state) and OUT/preview.png.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from voiceface.checkpoints.resume_state import load_state, save_state
from voiceface.io.atomic import write_json, write_text
from voiceface.io.foreign_files import read_json
from voiceface.runtime.config import add_defaults, to_dict, to_yaml
from voiceface.runtime.process import DeferredSignals
from voiceface.training.run_directory import RunError, config_differences, to_json_values

from voicestyle.config import VoiceStyleConfig
from voicestyle.latent_optimisation import LatentOptimiser, LatentTrajectory
from voicestyle.pipeline_records import InvertedImage
from voicestyle.stylegan2.images import image_grid, to_uint8, write_png

__all__ = ["DirectoryStore", "MemoryStore", "check_output_directory", "safe_file_name"]

PROVENANCE_FILE, BANK_FILE = "provenance.json", "bank.safetensors"
STATE_FILE, PREVIEW_FILE = "state.safetensors", "preview.png"
SAVE_INTERVAL = 25  # optimisation steps between two resume states
OptimisationStep = Literal["inversion", "guidance"]


@dataclass
class MemoryStore:
    """Keeps inverted images in memory; writes nothing.

    Attributes:
        inverted: inverted images by key; the pipeline does not invert them again.
    """

    inverted: dict[str, InvertedImage] = field(default_factory=dict)

    def prepare(self) -> None:
        """Do nothing: memory needs no preparation."""

    @contextmanager
    def defer_signals(self) -> Iterator[None]:
        """Do nothing: an interrupted run keeps no state."""
        yield

    def optimiser_options(
        self, step: OptimisationStep, keys: Sequence[str], targets: NDArray[np.uint8] | None = None
    ) -> dict[str, Any]:
        """Return keyword arguments `resume_state` and `callback` of one optimisation."""
        return {}

    def load_inversions(
        self, keys: Sequence[str], targets: NDArray[np.uint8], device: torch.device
    ) -> list[LatentTrajectory] | None:
        """Return stored inversions of a batch; None if one is missing."""
        return None

    def save_inversions(
        self,
        keys: Sequence[str],
        labels: Sequence[str],
        targets: NDArray[np.uint8],
        images: NDArray[np.uint8],
        trajectories: Sequence[LatentTrajectory],
    ) -> None:
        """Store the inversions of a batch."""

    def load_guidance(self, names: Sequence[str], device: torch.device) -> list[LatentTrajectory] | None:
        """Return stored trajectories of a batch of voices; None if one is missing."""
        return None

    def save_guidance(self, names: Sequence[str], trajectories: Sequence[LatentTrajectory]) -> None:
        """Store the trajectories of a batch of voices."""

    def save_retrieval(self, name: str, retrieval: dict[str, Any]) -> None:
        """Store the prototypes, videos and selected images of a voice."""

    def save_initial_latent(self, name: str, latent: Tensor) -> None:
        """Store the initial latent of a voice."""

    def save_images(self, name: str, frames: NDArray[np.uint8]) -> None:
        """Store the images of a voice, from the initial to the final one."""


@dataclass
class DirectoryStore(MemoryStore):
    """Keeps every step in a run directory and resumes from it.

    Attributes:
        out: run directory.
        config: settings of the run.
        provenance: what the run is made with, from `pipeline_runner.collect_provenance`.
        resume: continue the run in `out`.
    """

    out: Path = Path()
    config: VoiceStyleConfig = field(default_factory=VoiceStyleConfig)
    provenance: dict[str, Any] = field(default_factory=dict)
    resume: bool = False
    _signals: DeferredSignals | None = None

    def prepare(self) -> None:
        """Create the directory, or check that its content belongs to the same run.

        Raises:
            RunError: the directory belongs to another run, or there is nothing to resume.
        """
        check_output_directory(self.out, self.resume)
        provenance = to_json_values({**self.provenance, "config": to_dict(self.config)})
        path = self.out / PROVENANCE_FILE
        if self.resume:
            stored = read_json(path, RunError, "the settings of a run")
            if isinstance(before := stored.get("config"), dict):  # keys may be newer than the run
                stored = {**stored, "config": add_defaults(before, self.config)}
            if differences := config_differences(stored, provenance):
                raise RunError(
                    f"Cannot resume {self.out}: it was made with other settings:\n  "
                    + "\n  ".join(differences[:12])
                    + "\nUse the same settings, or choose a new --out directory."
                )
        for leftover in self.out.rglob(".*.part*"):
            leftover.unlink(missing_ok=True)
        write_text(self.out / "config.yaml", to_yaml(self.config))
        write_json(path, provenance)

    @contextmanager
    def defer_signals(self) -> Iterator[None]:
        """Hold back Ctrl-C until the optimisation step in progress has ended and its state is saved."""
        with DeferredSignals() as self._signals:
            yield
        self._signals = None

    def optimiser_options(
        self, step: OptimisationStep, keys: Sequence[str], targets: NDArray[np.uint8] | None = None
    ) -> dict[str, Any]:
        """See `MemoryStore.optimiser_options`; the callback saves states and previews, and handles Ctrl-C."""
        return {
            "resume_state": self._load_matching_state(step, keys),
            "callback": self._checkpoint_callback(step, keys, targets),
        }

    def load_inversions(
        self, keys: Sequence[str], targets: NDArray[np.uint8], device: torch.device
    ) -> list[LatentTrajectory] | None:
        """See `MemoryStore.load_inversions`.

        Raises:
            RunError: an image has changed since it was inverted.
        """
        paths = [self._inversion_path(key) for key in keys]
        if not all(path.is_file() for path in paths):
            return None
        trajectories = []
        for path, target in zip(paths, targets, strict=True):
            content = load_state(path)
            if content["target"] != _image_digest(target):
                raise RunError(
                    f"Cannot resume {self.out}: the image {content['label']} has changed since it was "
                    "inverted. Choose a new --out directory."
                )
            trajectories.append(trajectory_from_dict(content, device))
        return trajectories

    def save_inversions(
        self,
        keys: Sequence[str],
        labels: Sequence[str],
        targets: NDArray[np.uint8],
        images: NDArray[np.uint8],
        trajectories: Sequence[LatentTrajectory],
    ) -> None:
        """See `MemoryStore.save_inversions`."""
        for key, label, target, image, trajectory in zip(
            keys, labels, targets, images, trajectories, strict=True
        ):
            path = self._inversion_path(key)
            content = {"label": label, "target": _image_digest(target), **trajectory_to_dict(trajectory)}
            save_state(path, content)
            write_png(
                path.with_suffix(".png"), np.concatenate([resize_square(target, image.shape[0]), image], 1)
            )
        self._remove_state()

    def load_guidance(self, names: Sequence[str], device: torch.device) -> list[LatentTrajectory] | None:
        """See `MemoryStore.load_guidance`."""
        paths = [self._voice_directory(name) / "trajectory.safetensors" for name in names]
        if not all(path.is_file() for path in paths):
            return None
        return [trajectory_from_dict(load_state(path), device) for path in paths]

    def save_guidance(self, names: Sequence[str], trajectories: Sequence[LatentTrajectory]) -> None:
        """See `MemoryStore.save_guidance`."""
        for name, trajectory in zip(names, trajectories, strict=True):
            save_state(self._voice_directory(name) / "trajectory.safetensors", trajectory_to_dict(trajectory))
        self._remove_state()

    def save_retrieval(self, name: str, retrieval: dict[str, Any]) -> None:
        """See `MemoryStore.save_retrieval`."""
        write_json(self._voice_directory(name) / "retrieval.json", retrieval)

    def save_initial_latent(self, name: str, latent: Tensor) -> None:
        """See `MemoryStore.save_initial_latent`."""
        save_state(self._voice_directory(name) / "initial.safetensors", {"latent": latent.cpu()})

    def save_images(self, name: str, frames: NDArray[np.uint8]) -> None:
        """See `MemoryStore.save_images`."""
        from voicestyle.animation import write_animation

        write_png(self._voice_directory(name) / "initial.png", frames[0])
        write_animation(self._voice_directory(name) / "animation.gif", frames)
        write_png(self.out / "faces" / f"{name}.png", frames[-1])

    def _inversion_path(self, key: str) -> Path:
        return self.out / "inversions" / f"{safe_file_name(key)}.safetensors"

    def _voice_directory(self, name: str) -> Path:
        return self.out / "voices" / name

    def _checkpoint_callback(
        self, step: OptimisationStep, keys: Sequence[str], targets: NDArray[np.uint8] | None
    ) -> Callable[[LatentOptimiser], None]:
        def callback(optimiser: LatentOptimiser) -> None:
            interrupted = self._signals is not None and bool(self._signals.received_signal)
            if interrupted or optimiser.step % SAVE_INTERVAL == 0:
                save_state(
                    self.out / STATE_FILE,
                    {"step": step, "keys": list(keys), "latent_optimiser": optimiser.state_dict()},
                )
            if optimiser.step % optimiser.config.snapshot_interval == 0:
                write_png(self.out / PREVIEW_FILE, render_preview(optimiser, targets))
            if interrupted:
                raise KeyboardInterrupt

        return callback

    def _load_matching_state(self, step: OptimisationStep, keys: Sequence[str]) -> dict[str, Any] | None:
        """Return the resume state of this batch, if the directory holds one."""
        path = self.out / STATE_FILE
        if not path.is_file():
            return None
        state = load_state(path)
        return state["latent_optimiser"] if (state["step"], state["keys"]) == (step, list(keys)) else None

    def _remove_state(self) -> None:
        (self.out / STATE_FILE).unlink(missing_ok=True)


def check_output_directory(out: Path, resume: bool) -> None:
    """Check, before any work, that a run can start in a directory or resume from it.

    Raises:
        RunError: the directory is not empty, or there is nothing to resume.
    """
    if resume:
        if not (out / PROVENANCE_FILE).is_file():
            raise RunError(f"nothing to resume in {out}: it has no {PROVENANCE_FILE}. Omit --resume.")
    elif out.is_dir() and any(item.name != BANK_FILE for item in out.iterdir()):
        raise RunError(
            f"{out} is not empty: give --resume to resume the run in it, or choose another --out directory."
        )


def safe_file_name(label: str) -> str:
    """Return a readable file name that differs for different labels."""
    words = "".join(c if c.isalnum() or c in "-_." else "_" for c in Path(label).stem)[-40:]
    return f"{words}-{hashlib.sha256(label.encode()).hexdigest()[:10]}"


@torch.no_grad()
def render_preview(optimiser: LatentOptimiser, targets: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Render the current images of an optimisation, below their targets if there are any."""
    per_layer = optimiser.generator.broadcast_latents(optimiser.latents)
    images = to_uint8(optimiser.generator.synthesise(per_layer, optimiser.noise_maps))
    if targets is None:
        return image_grid(images, len(images))
    resized = np.stack([resize_square(each, images.shape[1]) for each in targets])
    return image_grid(np.concatenate([resized, images]), len(images))


def trajectory_to_dict(trajectory: LatentTrajectory) -> dict[str, Any]:
    """Convert a trajectory to the content of a file."""
    return {
        "latents": trajectory.latents.cpu(),
        "noise_maps": [each.cpu() for each in trajectory.noise_maps],
        "snapshots": trajectory.snapshots.cpu(),
        "num_steps": trajectory.num_steps,
        "snapshot_steps": trajectory.snapshot_steps,
        "history": trajectory.history,
    }


def trajectory_from_dict(content: dict[str, Any], device: torch.device) -> LatentTrajectory:
    """Read a trajectory from the content of a file."""
    return LatentTrajectory(
        content["latents"].to(device),
        [each.to(device) for each in content["noise_maps"]],
        content["snapshots"].to(device),
        content["snapshot_steps"],
        content["history"],
        content["num_steps"],
    )


def last_finite(values: Tensor) -> Tensor:
    """Return the last value that is not NaN; NaN if there is none."""
    finite = values[~values.isnan()]
    return finite[-1] if len(finite) else values.new_tensor(float("nan"))


def resize_square(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Resize a square image (bicubic)."""
    from PIL import Image

    if image.shape[0] == side:
        return image
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def _image_digest(image: NDArray[np.uint8]) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()
