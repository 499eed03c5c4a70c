"""Actors of Ray: one for each device, each with its function built once; dead ones are replaced."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from voiceface.engines.units import (
    HOW_TO_GET_RAY,
    EngineError,
    Factory,
    StoreError,
    Task,
    Unit,
    WorkQueue,
    describe_error,
)
from voiceface.runtime.process_pool import available_cpu_count
from voiceface.runtime.progress import progress_bar

__all__ = ["RayEngine"]

OBJECT_STORE_BYTES = 100_000_000  # of a cluster of this machine: results go to files, not through it
MAX_FAILED_STARTS = 3
_LOST_MACHINE = "node has died"  # in Ray's errors
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
_START_SECONDS = ("RAY_gcs_server_port_wait_time_s", "180")  # 30 are short on a busy machine


@dataclass(frozen=True)
class RayEngine:
    """Calls the function in actors, on one machine or many; see `voiceface.engines.interface.open_engine`.

    Every machine of a cluster needs this package, the weights at the same paths, and access to the places of
    inputs and results.
    """

    device: str = "cpu"
    address: str | None = None
    actors: int | None = None
    threads: int = 1
    progress: bool = True

    def map(self, factory: Factory, units: Sequence[Unit]) -> Iterator[tuple[Task, Any]]:
        """Call the function with units in any order; see `voiceface.engines.interface.Engine.map`."""
        if not units:
            return
        with _connected(self.address) as ray:
            device, count, resources = self._plan(ray, len(units))
            crew = _Crew(ray, factory, device, resources)
            try:
                bar = progress_bar(None, "shards", "shard", total=len(units), enabled=self.progress)
                with bar:
                    for task, result in crew.work(WorkQueue(units), count):
                        bar.update(0.5 ** len(task.place))
                        yield task, result
            finally:
                crew.dismiss()

    def _plan(self, ray: Any, units: int) -> tuple[str, int, dict[str, float]]:
        """Device, number of actors, and what each of them takes."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = sum(int(node.get("GPU", 0)) for node in nodes)
        device = ("cuda" if gpus else "cpu") if self.device == "auto" else self.device
        cores = max(1, min(self.threads, int(max(node.get("CPU", 1) for node in nodes))))
        if device.startswith("cuda"):
            if not gpus:
                raise EngineError("device cuda: the Ray cluster has no GPU; use --device cpu or auto")
            return "cuda", min(self.actors or gpus, units), {"num_cpus": cores, "num_gpus": 1}
        fit = sum(int(node.get("CPU", 0)) // cores for node in nodes)
        return device, min(self.actors or max(1, fit), units), {"num_cpus": cores}


class Worker:
    """What an actor runs: a function, built once."""

    def __init__(self) -> None:
        self.function: Any = None

    def start(self, factory: Factory, device: str) -> str:
        """Build the function; return why it cannot be built, "" if it is."""
        try:
            self.function = factory(device)
        except Exception as error:
            return describe_error(error)
        return ""

    def run(self, unit: Unit) -> tuple[str, Any]:
        """Call the function: ("done", result), ("failed", reason) or ("store", message)."""
        try:
            return "done", self.function(unit)
        except StoreError as error:
            return "store", str(error)
        except Exception as error:
            return "failed", describe_error(error)


@dataclass
class _Crew:
    """Actors of one call of `RayEngine.map`.

    Attributes:
        failed_starts: since an actor started.
    """

    ray: Any
    factory: Factory
    device: str
    resources: dict[str, float]
    actors: list[Any] = field(default_factory=list)
    failed_starts: int = 0

    def work(self, queue: WorkQueue, count: int) -> Iterator[tuple[Task, Any]]:
        """Yield tasks with results until nothing is left."""
        running: dict[Any, tuple[Any, Task | None]] = {}
        idle: list[Any] = []
        for _ in range(count):
            self._hire(running)
        while queue or any(task for _, task in running.values()):
            while queue and idle:
                actor, todo = idle.pop(), queue.take()
                running[actor.run.remote(todo.unit)] = actor, todo
            (reference,), _ = self.ray.wait(list(running))
            actor, task = running.pop(reference)
            try:
                answer = self.ray.get(reference)
            except _deaths(self.ray) as error:
                self._dismiss(actor)
                self._hire(running)
                finished = self._bury(queue, task, error)
            except self.ray.exceptions.RayError as error:  # such as a machine without this package
                raise EngineError(f"a worker of Ray could not start: {_tell_cause(error)}") from error
            else:
                idle.append(actor)
                finished = self._judge(queue, task, answer)
            if finished is not None:
                yield finished

    def dismiss(self) -> None:
        """End the actors."""
        for actor in list(self.actors):
            self._dismiss(actor)

    def _dismiss(self, actor: Any) -> None:
        """End an actor; one that only does not answer gives its cores back."""
        self.actors.remove(actor)
        with suppress(self.ray.exceptions.RayError):
            self.ray.kill(actor)

    def _hire(self, running: dict[Any, tuple[Any, Task | None]]) -> None:
        """Start an actor; it is idle when it answers."""
        actor = self.ray.remote(Worker).options(**self.resources).remote()
        self.actors.append(actor)
        running[actor.start.remote(self.factory, self.device)] = actor, None

    def _bury(self, queue: WorkQueue, task: Task | None, error: Exception) -> tuple[Task, Any] | None:
        """What follows from the end of an actor; a machine that leaves may take many that are starting."""
        reason = _tell_death(error)
        if task is not None:
            failure = queue.fail(task, reason, died=True)
            return (task, failure) if failure else None
        if _LOST_MACHINE in str(error):
            return None
        self.failed_starts += 1
        if self.failed_starts >= MAX_FAILED_STARTS:
            raise EngineError(f"{self.failed_starts} workers of Ray ended while they started: {reason}")
        return None

    def _judge(self, queue: WorkQueue, task: Task | None, answer: Any) -> tuple[Task, Any] | None:
        """What follows from the answer of an actor."""
        if task is None:
            if answer:
                raise EngineError(f"a worker of Ray could not start: {answer}")
            self.failed_starts = 0
            return None
        outcome, value = answer
        if outcome == "store":
            raise StoreError(value)
        if outcome == "failed":
            failure = queue.fail(task, value)
            return (task, failure) if failure else None
        queue.succeed()
        return task, value


def _deaths(ray: Any) -> tuple[type[Exception], ...]:
    """Errors that tell of the end of a process, and not of its function."""
    known = ray.exceptions
    return known.RayActorError, known.OutOfMemoryError, known.ObjectLostError


def _tell_cause(error: Exception) -> str:
    """The error behind one of Ray's, in a line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else describe_error(error)


def _tell_death(error: Exception) -> str:
    """Why an actor ended, in a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    detail = next((line for line in lines if "exit detail" in line.lower() or "OOM" in line), "")
    return "the process that read it ended" + (f" ({detail})" if detail else "")


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Connect to a cluster or start one; what was started here ends here.

    Raises:
        OSError: no cluster answers.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"the engine ray needs ray: {HOW_TO_GET_RAY}", name="ray") from None
    if ray.is_initialized():  # by the program that calls
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        os.environ.setdefault(*_START_SECONDS)
        options |= {
            "num_cpus": available_cpu_count(),
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    try:
        ray.init(address=address, **options)
    except (ConnectionError, TimeoutError, ValueError, RuntimeError) as error:
        text = describe_error(error)
        raise ConnectionError(
            f"no Ray cluster at {address} ({text}); start one (`ray start --head`), set RAY_AUTH_MODE=token "
            "if it wants a token, or leave --ray-address out"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()
