"""One training run: device, seed, precision, processes, step loop, logs, checkpoints, exact resume.

    with open_run(out, cfg.training, config=to_dict(cfg), system="demo", resume=args.resume) as run:
        model = run.prepare(Model(cfg)) optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
        run.track(model=model, optimiser=optimiser) data = run.batches(dataset, 64,
        max_steps=cfg.training.max_steps) for step in run.steps(cfg.training.max_steps,
        checkpoint_interval=1000):
            set_learning_rate(optimiser, rate(step))
            with run.autocast():
                losses = model(next(data))
            run.backward_and_step(sum(losses.values()), optimiser)
            run.log(step, losses)
        run.save_final_model(model.state_dict())

A run that is killed at any moment, a save included, and started again with `resume` ends with the same bytes
as one that was never stopped (CPU, same number of threads): weights, optimisers, and `log.jsonl` without its
wall-clock fields.
"""

import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from tqdm import tqdm

from voiceface.checkpoints.native import load_into, save_model, save_state
from voiceface.checkpoints.paths import MODEL_FILE
from voiceface.runtime import distributed
from voiceface.runtime.devices import choose_device, enable_determinism, to_device
from voiceface.runtime.process import DeferredSignals
from voiceface.runtime.seeding import get_rng_states, restore_rng_states, seed_everything
from voiceface.training.lr_schedules import cosine_warmup, set_learning_rate, step_decay
from voiceface.training.metrics_log import WALL_CLOCK_FIELDS, MetricsLog
from voiceface.training.run_directory import (
    STATE_FILE,
    RunError,
    check_run_directory,
    explain_write_errors,
    load_resume_state,
    prepare_run_directory,
    to_json_values,
)
from voiceface.training.sampling import RandomAccessDataset, batches

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "WALL_CLOCK_FIELDS",
    "Run",
    "RunError",
    "batches",
    "choose_device",
    "cosine_warmup",
    "open_run",
    "set_learning_rate",
    "step_decay",
    "to_device",
    "unwrap",
]

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
logger = logging.getLogger(__name__)


class Stateful(Protocol):
    """Modules, optimisers, schedulers and whatever else can be put away and restored."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class Run:
    """A run and its folder.

    The folder holds config.yaml, log.jsonl, tensorboard/, state.safetensors (the latest resume state) and
    checkpoints/NAME.safetensors (model files).

    Args:
        out: folder of the run; new or empty unless `resume`.
        seed: drives torch, numpy, python and `generator`; the same on every process.
        config: the resolved configuration as plain values; stored, and compared on resume.
        system: name of the system, stored in checkpoints.
        device: ``cpu``, ``cuda`` or ``auto`` (a GPU if there is one).
        precision: ``float32``, or mixed precision with ``bfloat16`` or ``float16`` (with loss scaling).
        threads: CPU threads of this process; None leaves torch's choice. Bit-identity needs the same number.
        resume: go on from the latest state in `out`, which must exist.
        log_every: `log` writes iterations that are multiples of this, and the last one.
        deterministic: ask torch for deterministic algorithms (it warns where a GPU has none).

    Attributes:
        step: completed steps; after a resume known at once.
        device: where tensors go.
        rank, world_size, is_main: this process among those that torchrun started.
        generator: CPU `torch.Generator`, seeded, saved and restored.
        values: JSON values of the package, such as the best accuracy so far; saved and restored.
        extra: JSON values that are stored in every model file, such as class names.

    Raises:
        RunError: the folder is in use or not empty, there is nothing to resume, or the configuration differs.
    """

    def __init__(
        self,
        out: str | Path,
        *,
        seed: int,
        config: Mapping[str, Any],
        system: str,
        device: Literal["cpu", "cuda", "auto"] | str = "auto",
        precision: Literal["float32", "bfloat16", "float16"] | str = "float32",
        threads: int | None = None,
        resume: bool = False,
        log_interval: int = 1,
        deterministic: bool = True,
    ) -> None:
        if precision not in PRECISIONS:
            raise RunError(f"precision {precision!r} is unknown; choose {', '.join(PRECISIONS)}")
        self.out, self.seed, self.system, self.precision = Path(out), seed, system, precision
        self.config = to_json_values(config)
        self.device = choose_device(device)
        self.rank, self.world_size, local = distributed.initialise(self.device.type)
        if self.device.type == "cuda" and self.world_size > 1:
            self.device = torch.device("cuda", local)
        self.is_main = self.rank == 0
        if threads:
            torch.set_num_threads(threads)
        if deterministic:
            enable_determinism()
        self.generator = seed_everything(seed)
        self.values: dict[str, Any] = {}
        self.extra: dict[str, Any] = {}
        self.step = 0
        self._tracked: dict[str, Stateful] = {}
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "float16")
        self._interrupts = DeferredSignals()
        self._last_step = 0
        self._progress_bar: tqdm | None = None
        self._resume_state: dict[str, Any] | None = None
        if self.is_main:
            check_run_directory(self.out, resume)
        self._log = MetricsLog(self.out, log_interval, enabled=self.is_main)
        try:
            if resume and (state := load_resume_state(self.out, self._run_key())):
                self._resume_state, self.step = state, state["step"]
                self.values.update(state["values"])
            distributed.all_gather_objects(None)  # nobody writes before everybody has looked
            if self.is_main:
                prepare_run_directory(self.out, self.config)
            self._log.truncate_to(self.step, self._resume_state["log_bytes"] if self._resume_state else 0)
        except BaseException:
            self._log.close()
            raise

    @property
    def resume_path(self) -> Path:
        """The latest resume state; absent until the first save."""
        return self.out / STATE_FILE

    def track(self, **stateful: Stateful) -> None:
        """Name what the resume state holds; call before `steps`, with the same names on resume.

        Modules that `prepare` wrapped are unwrapped. Each tracked module is also written as a model file when
        `steps` saves.
        """
        for name, item in stateful.items():
            if not (hasattr(item, "state_dict") and hasattr(item, "load_state_dict")):
                raise RunError(f"cannot track {name}: {type(item).__name__} has no state_dict")
            self._tracked[name] = unwrap(item) if isinstance(item, nn.Module) else item

    def prepare(self, model: nn.Module, *, find_unused_parameters: bool = False) -> nn.Module:
        """Move a model to the device; with several processes make its layers global and wrap it.

        Dropout always becomes `distributed.GlobalDropout`, so that results do not depend on the number of
        processes. Keys stay as they are; `unwrap` gives the inner module.

        Args:
            model: any module.
            find_unused_parameters: some parameters get no gradient in some iterations.
        """
        model = distributed.convert_to_global_layers(model).to(self.device)
        if self.world_size == 1 or not any(item.requires_grad for item in model.parameters()):
            return model
        devices = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(
            model, device_ids=devices, broadcast_buffers=False, find_unused_parameters=find_unused_parameters
        )

    def batches(
        self,
        dataset: RandomAccessDataset,
        batch_size: int,
        *,
        max_steps: int,
        num_workers: int = 0,
        **options: Any,
    ) -> Iterator[Any]:
        """Batches from the present step on, on the device; see `voiceface.training.sampling.batches`."""
        found = batches(
            dataset,
            batch_size,
            seed=self.seed,
            start_step=self.step,
            max_steps=max_steps,
            num_workers=num_workers,
            rank=self.rank,
            world_size=self.world_size,
            pin_memory=self.device.type == "cuda",
            **options,
        )
        return (to_device(batch, self.device) for batch in found)

    def autocast(self) -> AbstractContextManager:
        """Context in which a forward pass uses the run's precision."""
        mixed = self.precision != "float32"
        return torch.autocast(self.device.type, PRECISIONS[self.precision] if mixed else None, enabled=mixed)

    def backward_and_step(
        self, loss: Tensor, *optimisers: Optimizer, clip_norm: float | None = None, retain_graph: bool = False
    ) -> None:
        """Clear the gradients of the optimisers' parameters, go back through `loss`, step each optimiser.

        Args:
            loss: scalar.
            optimisers: one or more; parameters of others receive gradients too but are not stepped (their own
                call clears them).
            clip_norm: bound on the length of each optimiser's gradient.
            retain_graph: the graph is used again in this iteration.
        """
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward(retain_graph=retain_graph)
        for optimiser in optimisers:
            if clip_norm is not None:
                self._scaler.unscale_(optimiser)
                weights = [weight for group in optimiser.param_groups for weight in group["params"]]
                nn.utils.clip_grad_norm_(weights, clip_norm)
            self._scaler.step(optimiser)
        self._scaler.update()

    def steps(
        self,
        max_steps: int,
        *,
        checkpoint_interval: int = 0,
        state_interval: int = 0,
        continue_after: Callable[[int], bool] | None = None,
    ) -> Iterator[int]:
        """Iterations that are still to do, from 0; a step counts as done when the next one is asked for.

        Restores everything tracked first, if the run was resumed. Saves (tracked modules as
        ``checkpoints/step_NNNNNN.safetensors``, then the resume state) after step 1, every
        `checkpoint_interval` steps and at the end. On SIGINT or SIGTERM the step is finished and the
        state saved, then `SystemExit` is raised with code 128 + signal number; a second SIGINT
        interrupts at once.

        Args:
            max_steps: steps of the whole run.
            checkpoint_interval: steps between saves; 0 saves after the first and the last only.
            state_interval: steps between further saves of the resume state alone.
            continue_after: asked from `max_steps` completed steps on whether another one follows; None:
                never. Its answer must follow from the completed steps and `values` alone.

        Yields:
            The iteration, from `step` to ``max_steps - 1``, or as far as `continue_after` allows.
        """
        self._restore_tracked()
        self._last_step = max_steps - 1
        due = lambda every: every > 0 and self.step % every == 0  # noqa: E731
        another = lambda: self.step < max_steps or (continue_after is not None and continue_after(self.step))  # noqa: E731
        bar = tqdm(total=max_steps, initial=self.step, unit="step", disable=not self.is_main)
        with self._interrupts, bar as self._progress_bar:
            while another():
                yield self.step
                self.step += 1
                self._progress_bar.update()
                if (
                    self.step in (1, max_steps)
                    or due(checkpoint_interval)
                    or (self.step > max_steps and not another())
                ):
                    self.save_all(f"step_{self.step:06d}")
                elif due(state_interval):
                    self.save_state()
                self._stop_if_signalled()

    def log(self, step: int, metrics: Mapping[str, Any], *, always: bool = False, prefix: str = "") -> None:
        """Write figures to log.jsonl and tensorboard if the iteration is due; call it on every process.

        Args:
            step: the iteration.
            metrics: name -> number or scalar tensor. Tensors are averaged over the processes, numbers are
                taken from the main one.
            always: write whatever the iteration, as for a validation.
            prefix: put before each name, such as ``val/``.
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
        if self._progress_bar is not None and not always:
            self._progress_bar.set_postfix(shown, refresh=False)

    def log_image(self, name: str, image: "NDArray[np.uint8]", step: int) -> None:
        """Put a picture (H, W, 3), R G B, into tensorboard (main process only)."""
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
            module: the tracked one named by `kind` if None.
            kind: which of the system's models this is.
            dtype: store floating tensors in this type.

        Raises:
            RunError: no module is given and none is tracked under that name.
            OSError: the disk is full; nothing that was there before is lost.
        """
        path = self.out / "checkpoints" / f"{name}.safetensors"
        source = self._tracked.get(kind) if module is None else unwrap(module)
        if source is None:
            raise RunError(f"cannot save {name}: nothing is tracked as {kind!r}; give the module")
        if self.is_main:
            extra = {**self.extra, "step": self.step}
            with explain_write_errors(path, self.step, self.resume_path):
                save_model(
                    path,
                    source.state_dict(),
                    system=self.system,
                    kind=kind,
                    config=self.config,
                    extra=extra,
                    dtype=dtype,
                )
        return path

    def save_final_model(
        self, state: Mapping[str, Tensor], *, kind: str = "model", name: str = MODEL_FILE
    ) -> Path:
        """Write what a whole run leaves, ``out/model.safetensors`` (main process only).

        Args:
            state: the weights.
            kind: which of the system's models they are.
            name: of the file, where a run leaves several.

        Returns:
            The file.
        """
        path = self.out / name
        if self.is_main:
            extra = {**self.extra, "step": self.step}
            save_model(path, state, system=self.system, kind=kind, config=self.config, extra=extra)
        return path

    def save_all(self, name: str) -> None:
        """Write every tracked module as a model file, then the resume state."""
        modules = [key for key, item in self._tracked.items() if isinstance(item, nn.Module)]
        for key in modules:
            self.save(name if len(modules) == 1 else f"{name}_{key}", kind=key)
        self.save_state()

    def save_state(self) -> None:
        """Write the resume state, atomically: the older one stays until the new one is whole."""
        random = distributed.all_gather_objects(get_rng_states(self.generator, self.device))
        if self.is_main:
            state = {
                **self._run_key(),
                "step": self.step,
                "values": self.values,
                "scaler": self._scaler.state_dict(),
                "random": random,
                "tracked": {name: item.state_dict() for name, item in self._tracked.items()},
            }
            with explain_write_errors(self.resume_path, self.step, self.resume_path):
                state["log_bytes"] = self._log.sync()
                save_state(self.resume_path, state)
        distributed.all_gather_objects(None)

    def close(self) -> None:
        """Close the logs and leave the process group."""
        self._log.close()
        distributed.shutdown()

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run_key(self) -> dict[str, Any]:
        """What makes a run this run; compared on resume."""
        return {"config": self.config, "system": self.system, "seed": self.seed}

    def _restore_tracked(self) -> None:
        """Put back everything tracked, once."""
        state, self._resume_state = self._resume_state, None
        if state is None:
            return
        tracked = state["tracked"]
        if tracked.keys() != self._tracked.keys():
            before, now = ", ".join(tracked), ", ".join(self._tracked)
            raise RunError(f"{self.resume_path} holds {before}, but now {now} is tracked")
        for name, item in self._tracked.items():
            if isinstance(item, nn.Module):
                load_into(item, tracked[name], source=f"{self.resume_path} ({name})")
            else:
                item.load_state_dict(tracked[name])
                if isinstance(item, Optimizer):
                    _match_memory_formats(item)
        self._scaler.load_state_dict(state["scaler"])
        restore_rng_states(state["random"][self.rank % len(state["random"])], self.generator, self.device)
        logger.info("%s: going on after step %d", self.out, self.step)

    def _stop_if_signalled(self) -> None:
        """Save and leave if any process was asked to stop; all processes decide alike."""
        number = distributed.all_reduce_max(self._interrupts.received_signal, self.device)
        if not number:
            return
        self.save_state()
        if self.is_main:
            logger.warning(
                "stopped by %s after step %d, everything is saved in %s; start again with --resume to go on",
                signal.Signals(number).name,
                self.step,
                self.out,
            )
        self.close()
        raise SystemExit(128 + number)


class TrainingSettings(Protocol):
    """What every system's `training` section says."""

    @property
    def seed(self) -> int: ...

    @property
    def precision(self) -> str: ...

    @property
    def log_interval(self) -> int: ...


def open_run(
    out: str | Path,
    settings: TrainingSettings,
    *,
    config: Mapping[str, Any],
    system: str,
    device: str = "auto",
    threads: int | None = None,
    resume: bool = False,
    single_process: bool = False,
) -> Run:
    """A run as a configuration plans it; arguments as those of `Run`.

    Args:
        out: folder of the run.
        settings: the configuration's `training` section.
        config: the whole configuration as plain values.
        system: name of the system.
        device: ``cpu``, ``cuda`` or ``auto``.
        threads: CPU threads.
        resume: go on.
        single_process: the system cannot train in several processes.

    Raises:
        RunError: as `Run`.
        ValueError: several processes, and `single_process`.
    """
    run = Run(
        out,
        seed=settings.seed,
        config=config,
        system=system,
        device=device,
        precision=settings.precision,
        threads=threads,
        resume=resume,
        log_interval=settings.log_interval,
    )
    if single_process and run.world_size > 1:
        run.close()
        raise ValueError(f"{system} trains in one process, found {run.world_size}: start it without torchrun")
    return run


def _match_memory_formats(optimiser: Optimizer) -> None:
    """Give restored moments the memory order of their parameters, such as channels last.

    Files hold plain order; fused steps pass through parameter and moments side by side in memory.
    """
    for parameter, kept in optimiser.state.items():
        for key, value in kept.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                kept[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def unwrap(module: nn.Module) -> nn.Module:
    """The module inside what `Run.prepare` returned."""
    return module.module if isinstance(module, DistributedDataParallel) else module
