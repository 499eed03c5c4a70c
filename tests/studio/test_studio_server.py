"""The server as a process of its own, called through a socket."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from test_studio_uploads import make_wav

from conftest import run

LOAD_SECONDS = float(os.environ.get("VOICEFACE_STUDIO_LOAD_SECONDS", "6"))
NUM_CLIENTS = 50
MAX_GROWTH_MB = 150


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen
    address: str
    temporary: Path

    @property
    def folders(self) -> list[Path]:
        """Temporary folders of studios."""
        return list(self.temporary.glob("voiceface-studio-*"))

    def memory_mb(self) -> float:
        """Resident memory."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0]) / 1024


@pytest.fixture
def server(tmp_path: Path, cache: Path) -> Iterator[Server]:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    program = Path(__file__).with_name("fake_systems.py")
    process = subprocess.Popen(
        [sys.executable, str(program), str(cache)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert process.stdout is not None
    address = process.stdout.readline().partition(": ")[2].strip()
    assert address.startswith("http://127.0.0.1:"), address
    yield Server(process, address, temporary)
    process.kill()
    process.wait(10)
    process.stdout.close()


def wait_for(condition, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def send_voice(client: httpx.Client) -> str:
    return client.post("/api/voices", files={"file": ("a.wav", make_wav())}).raise_for_status().json()["id"]


def begin_slow_answer(client: httpx.Client, voice: str) -> httpx.Response:
    """Open a stream and read until the slow system draws."""
    request = client.build_request("GET", f"/api/voices/{voice}/answers", params={"systems": "slow"})
    response = client.send(request, stream=True)
    for line in response.iter_lines():
        if '"step"' in line:
            return response
    raise AssertionError("no step came")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_stays_of_a_server_that_ends_while_it_answers(server: Server, number: int):
    with httpx.Client(base_url=server.address, timeout=30) as client:
        response = begin_slow_answer(client, send_voice(client))
        (folder,) = server.folders
        assert any(path.is_file() for path in folder.iterdir())
        server.process.send_signal(number)
        server.process.wait(20)
        response.close()
    assert wait_for(lambda: not server.folders), list(folder.rglob("*"))


def test_an_answer_is_cancelled_when_its_visitor_leaves(server: Server):
    with httpx.Client(base_url=server.address, timeout=30) as client:
        voice = send_voice(client)
        begin_slow_answer(client, voice).close()
        # The slow system takes 40 s for an answer: the next one begins now only if the first was cancelled.
        begin = time.monotonic()
        begin_slow_answer(client, voice).close()
        assert time.monotonic() - begin < 10


def test_answers_come_one_by_one(server: Server):
    """A quick system's answer arrives while a slow one still works."""
    with httpx.Client(base_url=server.address, timeout=30) as client:
        voice = send_voice(client)
        done = set()
        with client.stream("GET", f"/api/voices/{voice}/answers") as response:
            for line in response.iter_lines():
                if line.startswith('data: {"system"'):
                    answer = json.loads(line[6:])
                    done |= {answer["system"]} if answer["state"] == "done" else set()
                if done == {"painter", "sculptor"}:
                    break
        assert done == {"painter", "sculptor"}


def test_an_endless_upload_is_cut_off(server: Server):
    host, port = server.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        head = (
            f"POST /api/voices HTTP/1.1\r\nHost: {host}:{port}\r\nTransfer-Encoding: chunked\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        )
        part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        connection.sendall(head.encode() + b"%x\r\n" % len(part) + part + b"\r\n")
        block = b"0" * 2**20
        sent = 0
        try:
            for _ in range(400):
                connection.sendall(b"%x\r\n" % len(block) + block + b"\r\n")
                sent += len(block)
        except OSError:  # closed by the server
            pass
    assert sent < 100 * 2**20
    assert httpx.get(f"{server.address}/api/state").status_code == 200
    assert server.memory_mb() < 2000


def test_garbage_on_the_socket_harms_nobody(server: Server):
    host, port = server.address.removeprefix("http://").split(":")
    me = f"Host: {host}:{port}\r\n".encode()
    form = b"POST /api/voices HTTP/1.1\r\n" + me + b"Content-Type: multipart/form-data; boundary=b\r\n"
    for content in (
        b"\x00" * 100,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"GET /" + b"a" * 2**20 + b" HTTP/1.1\r\n" + me,
        b"POST \xff\xff HTTP/9",
        b"PRI * HTTP/2.0\r\n\r\nSM",
        b"GET http://evil.example/ HTTP/1.1\r\n" + me,
        b"GET /api/state HTTP/1.1\r\n" + me + b"Host: evil.example",
        b"CONNECT evil.example:80 HTTP/1.1\r\n" + me,
        b"GET / HTTP/1.1\r\n" + me + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
        form + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n",
        form + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40,
        form + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nab",
        form + b"Content-Length: -1",
        (b"GET /api/state HTTP/1.1\r\n" + me + b"\r\n") * 500,
    ):
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            try:
                connection.sendall(content + b"\r\n\r\n")
                connection.recv(1000)
            except OSError:
                pass
    assert httpx.get(f"{server.address}/api/state").status_code == 200


def test_many_clients_at_once(server: Server, capsys: pytest.CaptureFixture[str]):
    """50 clients send, ask and delete; `VOICEFACE_STUDIO_LOAD_SECONDS=60` for a minute."""
    latencies: list[float] = []
    problems: list[str] = []

    async def visit(client: httpx.AsyncClient, end: float) -> None:
        while time.monotonic() < end:
            begin = time.monotonic()
            response = await client.post("/api/voices", files={"file": ("a.wav", make_wav())})
            if response.status_code != 200:
                problems.append(response.text)
                continue
            voice = response.json()["id"]
            params = {"systems": ["painter", "sculptor"]}
            answers = await client.get(f"/api/voices/{voice}/answers", params=params)
            if answers.text.count('"done"') != 2:
                problems.append(answers.text[:300])
            await client.delete(f"/api/voices/{voice}")
            latencies.append(time.monotonic() - begin)

    async def visit_all() -> None:
        limits = httpx.Limits(max_connections=NUM_CLIENTS)
        async with httpx.AsyncClient(base_url=server.address, timeout=120, limits=limits) as client:
            end = time.monotonic() + LOAD_SECONDS
            await asyncio.gather(*(visit(client, end) for _ in range(NUM_CLIENTS)))

    with httpx.Client(base_url=server.address, timeout=60) as client:
        for _ in range(3):
            voice = send_voice(client)
            client.get(f"/api/voices/{voice}/answers", params={"systems": ["painter", "sculptor"]})
            client.delete(f"/api/voices/{voice}")
    before = server.memory_mb()
    run(visit_all())
    after = server.memory_mb()
    latencies.sort()
    middle, late = latencies[len(latencies) // 2], latencies[int(0.95 * len(latencies))]
    with capsys.disabled():
        print(
            f"\n{len(latencies)} visits of {NUM_CLIENTS} clients: median {middle:.2f} s, 95 % {late:.2f} s, "
            f"memory {before:.0f} to {after:.0f} MB"
        )
    assert not problems, problems[:3]
    assert len(latencies) >= NUM_CLIENTS
    assert after - before < MAX_GROWTH_MB
    (folder,) = server.folders
    assert not [path for path in folder.iterdir() if path.is_file()]
