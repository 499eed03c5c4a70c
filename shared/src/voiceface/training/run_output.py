"""Output of a training run: metrics log, images, checkpoints, and restoring the objects of a resume state."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from tqdm import tqdm

from voiceface.checkpoints.native import load_into, save_model
from voiceface.checkpoints.paths import MODEL_FILE
from voiceface.runtime import distributed
from voiceface.runtime.progress import write_line
from voiceface.training.metrics_log import MetricsLog
from voiceface.training.run_directory import (
    STATE_FILE,
    RunError,
    check_run_directory,
    explain_write_errors,
    to_json_values,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from voiceface.runtime.config import Config

__all__ = ["RunOutput", "Stateful", "restore_tracked", "unwrap"]


class Stateful(Protocol):
    """Object with a state that can be saved and restored: module, optimiser, scheduler."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class RunOutput:
    """Run directory with logs and checkpoints; `voiceface.training.run.Run` adds device and training loop.

    Args:
        out: run directory; new or empty unless `resume`.
        seed, config, schema, system, resume, log_interval: see `voiceface.training.run.Run`.
        is_main: False writes nothing (all processes but the first).

    Attributes:
        extra: JSON values that are stored in every checkpoint, such as class names.

    Raises:
        RunError: the directory is not empty, or there is nothing to resume.
        ValueError: another process writes to the directory.
    """

    def __init__(
        self,
        out: str | Path,
        *,
        seed: int,
        config: Mapping[str, Any],
        schema: "Config | None",
        system: str,
        resume: bool,
        log_interval: int,
        is_main: bool,
    ) -> None:
        self.out, self.seed, self.system, self.is_main = Path(out), seed, system, is_main
        self.config, self.schema = to_json_values(config), schema
        self.values: dict[str, Any] = {}
        self.extra: dict[str, Any] = {}
        self.step = 0
        self._tracked: dict[str, Stateful] = {}
        self._last_step = 0
        self._progress_bar: tqdm | None = None
        if is_main:
            check_run_directory(self.out, resume)
        self._log = MetricsLog(self.out, log_interval, enabled=is_main)

    @property
    def resume_path(self) -> Path:
        """The latest resume state; missing until the first save."""
        return self.out / STATE_FILE

    def run_key(self) -> dict[str, Any]:
        """Values that identify a run; compared on resume."""
        return {"config": self.config, "system": self.system, "seed": self.seed}

    def track(self, **stateful: Stateful) -> None:
        """Name the objects of the resume state; call before `steps`, with the same names on resume.

        Modules that `prepare` wrapped are unwrapped. Each tracked module is also written as a checkpoint
        whenever `steps` saves.
        """
        for name, item in stateful.items():
            if not (hasattr(item, "state_dict") and hasattr(item, "load_state_dict")):
                raise RunError(f"cannot track {name}: {type(item).__name__} has no state_dict")
            self._tracked[name] = unwrap(item) if isinstance(item, nn.Module) else item

    def log(self, step: int, metrics: Mapping[str, Any], *, always: bool = False, prefix: str = "") -> None:
        """Write metrics to log.jsonl and TensorBoard if the iteration is due; call it on every process.

        Args:
            step: the iteration.
            metrics: name -> number or scalar tensor. Tensors are averaged over the processes, numbers are
                taken from the main one.
            always: write at any iteration, as for a validation.
            prefix: prepended to each name, such as ``val/``.
        """
        if not (always or step == self._last_step or self._log.is_due(step)):
            return
        numbers = {
            prefix + name: distributed.all_reduce_mean(value.detach().float()).item()
            if isinstance(value, Tensor)
            else value
            for name, value in metrics.items()
        }
        with explain_write_errors(self._log.path, step, self.resume_path):
            shown = self._log.write(step, numbers)
        if self._progress_bar is None or always or not self.is_main:
            return
        if self._progress_bar.disable:  # no terminal: one line for each entry of the log
            values = ", ".join(f"{name}={value}" for name, value in shown.items())
            write_line(f"step {step + 1} of {self._last_step + 1}: {values}", sys.stderr)
        else:
            self._progress_bar.set_postfix(shown, refresh=False)

    def log_image(self, name: str, image: "NDArray[np.uint8]", step: int) -> None:
        """Write an RGB image (H, W, 3) to TensorBoard (main process only)."""
        with explain_write_errors(self._log.path, step, self.resume_path):
            self._log.add_image(name, image, step)

    def save(
        self,
        name: str,
        module: nn.Module | None = None,
        *,
        kind: str = "model",
        dtype: torch.dtype | None = None,
    ) -> Path:
        """Write ``checkpoints/NAME.safetensors`` (main process only).

        Args:
            name: file name without suffix.
            module: defaults to the module tracked as `kind`.
            kind: which of the system's models this is.
            dtype: store floating-point tensors in this type.

        Raises:
            RunError: no module is given and none is tracked under that name.
            OSError: the disk is full; earlier files are intact.
        """
        path = self.out / "checkpoints" / f"{name}.safetensors"
        source = self._tracked.get(kind) if module is None else unwrap(module)
        if source is None:
            raise RunError(f"cannot save {name}: nothing is tracked as {kind!r}; pass the module")
        if self.is_main:
            with explain_write_errors(path, self.step, self.resume_path):
                self._save_model(path, source.state_dict(), kind, dtype)
        return path

    def save_final_model(
        self, state: Mapping[str, Tensor], *, kind: str = "model", name: str = MODEL_FILE
    ) -> Path:
        """Write the checkpoint of a finished run, ``out/model.safetensors`` (main process only).

        Args:
            state: the weights.
            kind: which of the system's models they are.
            name: file name, for systems with several models.

        Returns:
            Path of the file.
        """
        path = self.out / name
        if self.is_main:
            self._save_model(path, state, kind)
        return path

    def save_tracked_modules(self, name: str) -> None:
        """Write every tracked module as a checkpoint NAME, or NAME_KIND if there are several."""
        modules = [key for key, item in self._tracked.items() if isinstance(item, nn.Module)]
        for key in modules:
            self.save(name if len(modules) == 1 else f"{name}_{key}", kind=key)

    def _save_model(
        self, path: Path, state: Mapping[str, Tensor], kind: str, dtype: torch.dtype | None = None
    ) -> None:
        extra = {**self.extra, "step": self.step}
        save_model(path, state, system=self.system, kind=kind, config=self.config, extra=extra, dtype=dtype)


def restore_tracked(tracked: Mapping[str, Stateful], states: Mapping[str, Any], path: Path) -> None:
    """Load the states of a resume file into the tracked objects.

    Args:
        tracked: name -> object, as `RunOutput.track` got them.
        states: name -> stored state.
        path: the resume file, for messages.

    Raises:
        RunError: the names differ.
    """
    if states.keys() != tracked.keys():
        raise RunError(f"{path} holds {', '.join(states)}, but now {', '.join(tracked)} is tracked")
    for name, item in tracked.items():
        if isinstance(item, nn.Module):
            load_into(item, states[name], source=f"{path} ({name})")
        else:
            item.load_state_dict(states[name])
            if isinstance(item, Optimizer):
                _match_memory_formats(item)


def unwrap(module: nn.Module) -> nn.Module:
    """The module inside the wrapper that `Run.prepare` returned."""
    return module.module if isinstance(module, DistributedDataParallel) else module


def _match_memory_formats(optimiser: Optimizer) -> None:
    """Give restored moments the memory format of their parameters, such as channels last.

    Files hold contiguous tensors; fused optimiser steps pass through parameter and moments side by side in
    memory.
    """
    for parameter, state in optimiser.state.items():
        for key, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
