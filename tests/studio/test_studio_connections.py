"""Connections that do nothing: they end, and others are served meanwhile."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("uvicorn", reason='the extra "web" is not installed')
import uvicorn
from voiceface.studio.connections import BoundedConnection

CONNECTIONS = 8
LARGE = 32 * 2**20  # bytes, more than sockets hold


class Hasty(BoundedConnection):
    """Times for tests."""

    request_seconds = 0.4
    stalled_seconds = 0.4


async def application(scope, receive, send):
    """Answers much to /large, and slowly to /slow."""
    if scope["type"] != "http":
        return
    import asyncio

    await asyncio.sleep(1.0 if scope["path"] == "/slow" else 0)
    size = LARGE if scope["path"] == "/large" else 2
    headers = [(b"content-length", str(size).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"0" * size})


@pytest.fixture
def port() -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        application,
        http=Hasty,
        ws="none",
        lifespan="off",
        log_level="critical",
        limit_concurrency=CONNECTIONS,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(10)
    listener.close()


def get(port: int, path: str = "/") -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(2**16), b""))


def is_served_within(port: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if get(port).startswith(b"HTTP/1.1 200"):
            return True
        time.sleep(0.05)
    return False


BEGINNINGS = {
    "silent": b"",
    "half a request": b"GET / HTTP/1.1\r\nHost: a\r\n",
    "answered before": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "does not read": b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("name", BEGINNINGS)
def test_idle_connections_shut_nobody_out(port: int, name: str):
    assert is_served_within(port, 60)
    idle = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(CONNECTIONS)]
    for connection in idle:
        connection.sendall(BEGINNINGS[name])
    time.sleep(0.1)
    assert is_served_within(port, 60)
    for connection in idle:
        connection.close()


def test_slow_beginnings_end_in_spite_of_single_bytes(port: int):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        begin = time.monotonic()
        try:
            while time.monotonic() - begin < 60:
                connection.sendall(b"G")
                time.sleep(0.05)
        except OSError:
            pass
        assert time.monotonic() - begin < 50


def test_who_waits_for_an_answer_is_not_cut_off(port: int):
    assert get(port, "/slow").startswith(b"HTTP/1.1 200")
