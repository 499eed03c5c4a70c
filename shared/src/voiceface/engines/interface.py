"""Interface of the engines: a factory makes a function, which is called with units, wherever it runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, Protocol

from voiceface.engines.units import HOW_TO_GET_RAY, Factory, StoreError, Task, Unit, WorkQueue, describe_error
from voiceface.runtime.progress import progress_bar

__all__ = [
    "ENGINES",
    "Engine",
    "EngineName",
    "LocalEngine",
    "open_engine",
    "require_engine",
]

EngineName = Literal["local", "ray"]
ENGINES: tuple[EngineName, ...] = ("local", "ray")


class Engine(Protocol):
    """Runs a function on units."""

    def map(self, factory: Factory, units: Sequence[Unit]) -> Iterator[tuple[Task, Any]]:
        """Call the function of a factory with every unit, in any order.

        A unit that fails is divided, see `voiceface.engines.units`.

        Args:
            factory: builds the function.
            units: distinct.

        Yields:
            Tasks with their results, or with a `voiceface.engines.units.Failure` for one item.

        Raises:
            EngineError: no worker starts, or nothing succeeds.
            StoreError: the function could not store a result.
        """


@dataclass(frozen=True)
class LocalEngine:
    """Calls the function in this process.

    Attributes:
        device: of the function.
        progress: show a progress bar.
    """

    device: str = "cpu"
    progress: bool = True

    def map(self, factory: Factory, units: Sequence[Unit]) -> Iterator[tuple[Task, Any]]:
        """Call the function with one unit after the other; see `Engine.map`."""
        if not units:
            return
        function = factory(self.device)
        queue = WorkQueue(units)
        with progress_bar(None, "shards", "shard", total=len(units), enabled=self.progress) as bar:
            while queue:
                task = queue.take()
                try:
                    result = function(task.unit)
                except StoreError:
                    raise
                except Exception as error:  # whatever a library raises is about this unit
                    failure = queue.fail(task, describe_error(error))
                    if failure is None:
                        continue
                    result = failure
                else:
                    queue.succeed()
                bar.update(0.5 ** len(task.place))
                yield task, result


def require_engine(name: EngineName) -> None:
    """Check, before any work, that an engine is installed.

    Raises:
        ModuleNotFoundError: says how to get it.
    """
    if name == "ray" and find_spec("ray") is None:
        raise ModuleNotFoundError(f"the engine ray needs ray: {HOW_TO_GET_RAY}", name="ray")


def open_engine(
    name: EngineName,
    *,
    device: str = "cpu",
    address: str | None = None,
    actors: int | None = None,
    threads: int = 1,
    progress: bool = True,
) -> Engine:
    """Make an engine.

    Args:
        name: "local" or "ray".
        device: "cpu", "cuda" or "auto".
        address: of Ray: "auto", "ray://HOST:PORT" or "HOST:PORT"; None: the environment variable
            RAY_ADDRESS, or else a cluster of this machine, which ends with the work.
        actors: of Ray: processes; None: one for each GPU, on "cpu" as many as there are cores for.
        threads: cores that an actor takes.
        progress: show a progress bar.

    Raises:
        ModuleNotFoundError: Ray is not installed; says how to get it.
    """
    require_engine(name)
    if name == "local":
        return LocalEngine(device, progress)
    from voiceface.engines.ray_engine import RayEngine

    return RayEngine(device=device, address=address, actors=actors, threads=threads, progress=progress)
