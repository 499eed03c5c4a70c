"""Streams of answers: many at once, abandoned, or never read."""

import asyncio
import threading

import pytest
from fake_systems import SlowModel
from test_studio_uploads import make_wav
from voiceface.studio.queues import BusyError, Worker
from voiceface.studio.settings import Limits
from voiceface.studio.streaming import MAX_UNREAD

from conftest import read_answers, run


async def send_voice(client) -> str:
    response = await client.post("/api/voices", files={"file": ("a.wav", make_wav())})
    return response.raise_for_status().json()["id"]


async def wait_for(condition, seconds: float = 120.0) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.01)


def test_steps_that_nobody_reads_are_left_out(open_studio):
    """A visitor who does not read holds some events, not all pictures of a slow system."""
    slow = SlowModel(steps=300, pause=0)

    async def work():
        async with open_studio(slow=slow) as (client, _):
            voice, events, reads = await send_voice(client), [], asyncio.Event()

            async def send(message):
                events.append(bytes(message.get("body", b"")))
                if b'"step"' in events[-1]:
                    await reads.wait()

            async def receive():
                await asyncio.sleep(60)

            scope = {
                "type": "http",
                "method": "GET",
                "path": f"/api/voices/{voice}/answers",
                "query_string": b"systems=slow",
                "headers": [(b"host", b"127.0.0.1:8000")],
                "http_version": "1.1",
                "scheme": "http",
                "server": ("127.0.0.1", 8000),
                "client": ("127.0.0.1", 1),
            }
            stream = asyncio.create_task(client._transport.app(scope, receive, send))
            await wait_for(lambda: slow.ended)
            await asyncio.sleep(0.1)
            reads.set()
            await stream
            text = b"".join(events).decode()
            assert text.count('"state":"step"') <= MAX_UNREAD + 2
            assert text.count('"state":"done"') == 1 and "event: end" in text

    run(work())


def test_more_questions_than_may_wait_are_refused(open_studio):
    slow = SlowModel(steps=2000)

    async def work():
        async with open_studio(slow=slow, limits=Limits(waiting_jobs=2)) as (client, studio):
            address = f"/api/voices/{await send_voice(client)}/answers?systems=slow"
            running = [asyncio.create_task(read_answers(client, address))]
            await wait_for(slow.begun.is_set)
            running += [asyncio.create_task(read_answers(client, address)) for _ in range(2)]
            await wait_for(lambda: studio.runners["slow"].worker.num_waiting == 2)
            refused = await read_answers(client, address)
            assert refused[-1]["state"] == "failed" and "others wait" in refused[-1]["problem"]
            for task in running:
                task.cancel()

    run(work())


def test_who_has_left_refuses_nobody():
    """Abandoned questions make room, though the system still works on another one."""
    worker, ends = Worker("slow", max_waiting=3), threading.Event()
    first = worker.submit(lambda _: ends.wait(300))
    while worker.num_waiting:
        pass
    for _ in range(5):
        left = [worker.submit(lambda _: None) for _ in range(3)]
        assert worker.num_waiting == 3
        with pytest.raises(BusyError, match="3 others wait"):
            worker.submit(lambda _: None)
        for job in left:
            job.cancel()
        assert worker.num_waiting == 0
    last = worker.submit(lambda _: "answer")
    ends.set()
    assert first.future.result(120) and last.future.result(120) == "answer"
    worker.close()


def test_work_of_visitors_who_have_left_is_not_begun(open_studio):
    """Not only streams: a person who is drawn, a recording that is read."""
    ends = threading.Event()

    async def work():
        async with open_studio() as (client, studio):
            blocking = studio.inventing.submit(lambda _: ends.wait(300))
            await wait_for(lambda: studio.inventing.num_waiting == 0)
            left, sent = asyncio.Event(), []
            bodies = [{"type": "http.request", "body": b"{}", "more_body": False}]

            async def receive():
                if bodies:
                    return bodies.pop()
                await left.wait()
                return {"type": "http.disconnect"}

            async def send(message):
                sent.append(message)

            scope = {
                "type": "http",
                "method": "POST",
                "path": "/api/inventions",
                "query_string": b"",
                "headers": [(b"host", b"127.0.0.1:8000"), (b"content-type", b"application/json")],
                "http_version": "1.1",
                "scheme": "http",
                "server": ("127.0.0.1", 8000),
                "client": ("127.0.0.1", 1),
            }
            visit = asyncio.create_task(client._transport.app(scope, receive, send))
            await wait_for(lambda: studio.inventing.num_waiting == 1)
            left.set()
            await asyncio.wait_for(visit, 10)
            assert studio.inventing.num_waiting == 0 and not sent
            ends.set()
            assert blocking.future.result(120)
            assert (await client.post("/api/inventions", json={"seconds": 1})).status_code == 200

    run(work())
