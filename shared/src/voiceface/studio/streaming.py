"""Work of other threads in the event loop: one result, or a stream of answers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from fastapi.responses import StreamingResponse

from voiceface.studio import answers
from voiceface.studio.people import InventedPerson
from voiceface.studio.queues import BusyError, Worker
from voiceface.studio.schemas import Answer, Scope
from voiceface.studio.service import Studio
from voiceface.studio.storage import MediaItem

__all__ = ["find_person", "run", "stream_answers"]

Result = TypeVar("Result")
KEEP_ALIVE_SECONDS = 10.0
MAX_UNREAD = 64  # events; steps that nobody has read by then are left out


async def run(worker: Worker, work: Callable[[], Result]) -> Result:
    """Do work in a worker's thread."""
    job = worker.submit(lambda _: work())
    try:
        result: Result = await asyncio.wrap_future(job.future)
    except asyncio.CancelledError:
        job.cancel()
        raise
    return result


async def find_person(studio: Studio, identifier: str) -> InventedPerson:
    """One of the invented people, who are made by the first call; errors as of `Studio.person`."""
    if not studio.has_people:
        await run(studio.inventing, studio.people)
    return studio.person(identifier)


async def stream_answers(
    studio: Studio,
    item: MediaItem,
    scope: Scope,
    systems: list[str] | None,
    top: int,
    number: int = 1,
) -> StreamingResponse:
    """Ask systems, and send their answers until all are done or the visitor leaves."""
    runners = [
        runner
        for name, runner in studio.runners.items()
        if (systems is None or name in systems) and (item.kind == "voice" or runner.kind == "ranking")
    ]
    if systems and (unknown := set(systems) - {runner.system.name for runner in runners}):
        raise ValueError(f"no such system here: {', '.join(sorted(unknown))[:200]}")
    if scope == "people" and not studio.has_people:
        await run(studio.inventing, studio.people)
    collections = studio.collections(scope)
    query = answers.Query(item.kind, item.path, item.name, item.identity, collections, top=top, number=number)
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[Answer] = asyncio.Queue()

    def keep(answer: Answer) -> None:
        if answer.state != "step" or events.qsize() < MAX_UNREAD:
            events.put_nowait(answer)

    def emit(answer: Answer) -> None:
        loop.call_soon_threadsafe(keep, answer)

    async def stream() -> AsyncIterator[str]:
        jobs = []
        try:
            waiting = set()
            for runner in runners:
                try:
                    jobs.append(runner.ask(query, emit, studio.remember))
                    waiting.add(runner.system.name)
                except BusyError as error:
                    emit(Answer(system=runner.system.name, state="failed", problem=str(error)))
                    waiting.add(runner.system.name)
            while waiting:
                try:
                    answer = await asyncio.wait_for(events.get(), KEEP_ALIVE_SECONDS)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                if answer.state in ("done", "failed"):
                    waiting.discard(answer.system)
                yield f"data: {answer.model_dump_json()}\n\n"
            yield "event: end\ndata: {}\n\n"
        finally:  # also when the visitor leaves
            for job in jobs:
                job.cancel()

    return StreamingResponse(stream(), media_type="text/event-stream")
