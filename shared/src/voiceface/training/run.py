"""Training run: device, seed, precision, processes, step loop, logs, checkpoints, exact resume.

    with open_run(out, cfg.training, config=to_dict(cfg), schema=cfg, system="demo", resume=True) as run:
        model = run.prepare(Model(cfg))
        optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
        run.track(model=model, optimiser=optimiser)
        data = run.batches(dataset, 64, max_steps=cfg.training.max_steps)
        for step in run.steps(cfg.training.max_steps, checkpoint_interval=1000):
            with run.autocast():
                losses = model(next(data))
            run.backward_and_step(sum(losses.values()), optimiser)
            run.log(step, losses)
        run.save_final_model(model.state_dict())

A run that is killed at any moment, even while it saves, and restarted with `resume` ends with the same bytes
as an uninterrupted one (CPU, same number of threads): weights, optimisers, and `log.jsonl` without its
wall-clock fields.
"""

import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from voiceface.checkpoints.resume_state import save_state
from voiceface.runtime import distributed
from voiceface.runtime.devices import choose_device, enable_determinism, to_device
from voiceface.runtime.process import DeferredSignals
from voiceface.runtime.progress import progress_bar
from voiceface.runtime.seeding import get_rng_states, restore_rng_states, seed_everything
from voiceface.training.run_directory import (
    RunError,
    explain_write_errors,
    load_resume_state,
    prepare_run_directory,
)
from voiceface.training.run_output import RunOutput, restore_tracked, unwrap
from voiceface.training.sampling import RandomAccessDataset, batches

if TYPE_CHECKING:
    from voiceface.runtime.config import Config
    from voiceface.training.settings import TrainingSettings

__all__ = ["Run", "open_run", "unwrap"]

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
logger = logging.getLogger(__name__)


class Run(RunOutput):
    """Training run and its directory.

    The directory holds config.yaml, log.jsonl, tensorboard/, state.safetensors (the latest resume state) and
    checkpoints/NAME.safetensors.

    Args:
        out: run directory; new or empty unless `resume`.
        seed: seeds torch, numpy, python and `generator`; the same on every process.
        config: the resolved configuration as plain values; stored, and compared on resume.
        schema: the typed configuration; states the values of keys that are newer than the run.
        system: name of the system, stored in checkpoints.
        device: ``cpu``, ``cuda`` or ``auto`` (a GPU if there is one).
        precision: ``float32``, or mixed precision with ``bfloat16`` or ``float16`` (with loss scaling).
        threads: CPU threads of this process (default: torch's choice). Bit-identity needs the same number.
        resume: continue from the latest state in `out`, which must exist.
        log_interval: `log` writes iterations that are multiples of this, and the last one.
        deterministic: use torch's deterministic algorithms (torch warns where a GPU has none).

    Attributes:
        step: completed steps; set as soon as a resumed run is created.
        device: device of the models and batches.
        rank, world_size, is_main: this process among those that torchrun started.
        generator: CPU `torch.Generator`, seeded, saved and restored.
        values: JSON values of the package, such as the best accuracy so far; saved and restored.

    Raises:
        RunError: the directory is not empty, there is nothing to resume, or the configuration differs.
        ValueError: another process writes to the directory, or the device is not available.
    """

    def __init__(
        self,
        out: str | Path,
        *,
        seed: int,
        config: Mapping[str, Any],
        schema: "Config | None" = None,
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
        self.precision = precision
        self.device = choose_device(device)
        self.rank, self.world_size, local = distributed.initialise(self.device.type)
        if self.device.type == "cuda" and self.world_size > 1:
            self.device = torch.device("cuda", local)
        if threads:
            torch.set_num_threads(threads)
        if deterministic:
            enable_determinism()
        self.generator = seed_everything(seed)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "float16")
        self._interrupts = DeferredSignals()
        self._resume_state: dict[str, Any] | None = None
        self._averaged: set[int] = set()
        super().__init__(
            out,
            seed=seed,
            config=config,
            schema=schema,
            system=system,
            resume=resume,
            log_interval=log_interval,
            is_main=self.rank == 0,
        )
        try:
            if resume and (state := load_resume_state(self.out, self.run_key(), schema)):
                self._resume_state, self.step = state, state["step"]
                self.values.update(state["values"])
            distributed.all_gather_objects(None)  # no process writes before all have checked
            if self.is_main:
                prepare_run_directory(self.out, self.config)
            self._log.truncate_to(self.step, self._resume_state["log_bytes"] if self._resume_state else 0)
        except BaseException:
            self._log.close()
            raise

    def prepare(
        self, model: nn.Module, *, find_unused_parameters: bool = False, wrap: bool = True
    ) -> nn.Module:
        """Move a model to the device; for several processes convert its layers to global ones and wrap it.

        Dropout always becomes `distributed.GlobalDropout`: the number of processes does not matter.
        State-dict keys do not change; `unwrap` returns the inner module.

        Args:
            model: any module.
            find_unused_parameters: set it if some parameters get no gradient in some iterations.
            wrap: False for a model whose parts are called by themselves, or several times in an iteration:
                `backward_and_step` averages its gradients over the processes.
        """
        model = distributed.convert_to_global_layers(model).to(self.device)
        if not wrap:
            self._averaged.update(map(id, model.parameters()))
            return model
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
        """Batches from the current step on, on the device; see `voiceface.training.sampling.batches`."""
        loader = batches(
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
        return (to_device(batch, self.device) for batch in loader)

    def autocast(self) -> AbstractContextManager:
        """Context in which a forward pass uses the run's precision."""
        mixed = self.precision != "float32"
        return torch.autocast(self.device.type, PRECISIONS[self.precision] if mixed else None, enabled=mixed)

    def backward_and_step(
        self, loss: Tensor, *optimisers: Optimizer, clip_norm: float | None = None, retain_graph: bool = False
    ) -> None:
        """Zero the gradients of the optimisers' parameters, backpropagate `loss`, step each optimiser.

        Args:
            loss: scalar.
            optimisers: one or more. Parameters of other optimisers receive gradients, but no step.
            clip_norm: maximum norm of each optimiser's gradient.
            retain_graph: keep the graph for another backward pass of this iteration.
        """
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward(retain_graph=retain_graph)
        weights = (weight for each in optimisers for group in each.param_groups for weight in group["params"])
        distributed.average_gradients(weight for weight in weights if id(weight) in self._averaged)
        self.step_optimisers(*optimisers, clip_norm=clip_norm)

    def step_optimisers(self, *optimisers: Optimizer, clip_norm: float | None = None) -> None:
        """Step each optimiser with the gradients that its parameters have; see `backward_and_step`."""
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
        """Iterate over the remaining steps; a step is complete when the next one is requested.

        A resumed run restores all tracked objects first. Saves (tracked modules as
        ``checkpoints/step_NNNNNN.safetensors``, then the resume state) after step 1, every
        `checkpoint_interval` steps and at the end. On SIGINT or SIGTERM the step is finished and the state
        saved, then `SystemExit` is raised with code 128 + signal number; a second SIGINT interrupts at once.

        Args:
            max_steps: steps of the whole run.
            checkpoint_interval: steps between saves; 0 saves after the first and the last step only.
            state_interval: steps between additional saves of the resume state alone.
            continue_after: called with the number of completed steps, from `max_steps` on; returns whether
                another step follows (default: never). It must depend on completed steps and `values` only.

        Yields:
            The iteration, from `step` to ``max_steps - 1``, or as far as `continue_after` allows.
        """
        self._restore_tracked()
        self._last_step = max_steps - 1
        due = lambda interval: interval > 0 and self.step % interval == 0  # noqa: E731
        another = lambda: self.step < max_steps or (continue_after is not None and continue_after(self.step))  # noqa: E731
        bar = progress_bar(total=max_steps, initial=self.step, unit="step", enabled=self.is_main)
        with self._interrupts, bar as self._progress_bar:
            while another():
                yield self.step
                self.step += 1
                self._progress_bar.update()
                ends = self.step > max_steps and not another()
                if self.step in (1, max_steps) or due(checkpoint_interval) or ends:
                    self.save_tracked_modules(f"step_{self.step:06d}")
                    self.save_state()
                elif due(state_interval):
                    self.save_state()
                self._stop_if_signalled()

    def save_state(self) -> None:
        """Write the resume state atomically: the earlier one remains until the new one is complete."""
        random = distributed.all_gather_objects(get_rng_states(self.generator, self.device))
        if self.is_main:
            state = {
                **self.run_key(),
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

    def __exit__(self, *_: object) -> None:
        self.close()

    def _restore_tracked(self) -> None:
        """Restore all tracked objects, scaler and random states of a resumed run, once."""
        state, self._resume_state = self._resume_state, None
        if state is None:
            return
        restore_tracked(self._tracked, state["tracked"], self.resume_path)
        self._scaler.load_state_dict(state["scaler"])
        restore_rng_states(state["random"][self.rank % len(state["random"])], self.generator, self.device)
        logger.info("%s: resuming after step %d", self.out, self.step)

    def _stop_if_signalled(self) -> None:
        """Save and exit if any process received a signal; all processes decide alike."""
        number = distributed.all_reduce_max(self._interrupts.received_signal, self.device)
        if not number:
            return
        self.save_state()
        if self.is_main:
            text = "stopped by %s after step %d; the state is saved in %s. Restart with --resume to continue."
            logger.warning(text, signal.Signals(number).name, self.step, self.out)
        self.close()
        raise SystemExit(128 + number)


def open_run(
    out: str | Path,
    settings: "TrainingSettings",
    *,
    config: Mapping[str, Any],
    schema: "Config | None" = None,
    system: str,
    device: str = "auto",
    threads: int | None = None,
    resume: bool = False,
) -> Run:
    """Open the run that a configuration describes.

    Args:
        out, config, schema, system, device, threads, resume: see `Run`.
        settings: the configuration's `training` section.

    Raises:
        RunError, ValueError: see `Run`.
    """
    return Run(
        out,
        seed=settings.seed,
        config=config,
        schema=schema,
        system=system,
        device=device,
        precision=settings.precision,
        threads=threads,
        resume=resume,
        log_interval=settings.log_interval,
    )
