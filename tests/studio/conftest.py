"""Studios with quick systems that need no weights, for the tests of the server."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason='the extra "web" is not installed')
pytest.importorskip("httpx")

from voiceface.studio.app import build_app
from voiceface.studio.service import Studio
from voiceface.studio.settings import Limits, StudioSettings
from voiceface.suite.plugins import GenerationStep, ImageSystem, MeshSystem, SystemSet

BASE = "http://127.0.0.1:8000"


@dataclass
class FakeModel:
    """A generator that says where it is."""

    disclaimer: str = "drawn by a test"
    source: str = "bundled"
    identity_names: Sequence[str] = ()
    triangles: Any = field(default_factory=lambda: np.array([[0, 1, 2]]))
    landmarks: None = None

    def generate_image(self, utterances: Sequence[Path]) -> Any:
        return np.full((8, 8, 3), 90, np.uint8)

    def generate_vertices(self, utterance: Path) -> Any:
        return np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)


@dataclass
class SlowModel(FakeModel):
    """A generator that takes many small steps, and notes how it ended."""

    steps: int = 200
    begun: threading.Event = field(default_factory=threading.Event)
    ended: list[str] = field(default_factory=list)

    def generate_in_steps(self, utterances: Sequence[Path], on_step: Callable[[GenerationStep], None]) -> Any:
        self.begun.set()
        try:
            for step in range(self.steps):
                on_step(GenerationStep("drawing", step / self.steps, np.zeros((4, 4, 3), np.uint8)))
                time.sleep(0.02)
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        self.ended.append("done")
        return np.zeros((8, 8, 3), np.uint8)


def fake_systems(slow: SlowModel | None = None) -> SystemSet:
    """A picture and a head, and a slow picture."""
    systems: list[Any] = [
        ImageSystem("painter", "a grey picture", lambda *_, **__: FakeModel()),
        MeshSystem("sculptor", "a triangle", lambda *_, **__: FakeModel()),
    ]
    if slow is not None:
        systems.append(ImageSystem("slow", "many steps", lambda *_, **__: slow, is_fast=False))
    return SystemSet(tuple(systems), {"absent": "not installed: pip install ./packages/absent"})


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Invented people, made once."""
    return tmp_path_factory.mktemp("studio cache")


@pytest.fixture
def open_studio(cache: Path) -> Callable[..., Any]:
    """Opens a studio and a client of its application, in one process."""
    import httpx

    @asynccontextmanager
    async def opened(
        *, slow: SlowModel | None = None, limits: Limits | None = None, **changes: Any
    ) -> AsyncIterator[tuple[Any, Studio]]:
        settings = StudioSettings(
            **{"cache": cache, "num_people": 4, "limits": limits or Limits(), **changes}
        )
        studio = Studio(settings, fake_systems(slow))
        app = build_app(studio)
        async with app.app.router.lifespan_context(app.app):
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=60) as client:
                yield client, studio

    return opened


async def read_answers(client: Any, address: str) -> list[dict[str, Any]]:
    """All events of a stream."""
    found = []
    async with client.stream("GET", address) as response:
        assert response.status_code == 200, await response.aread()
        async for line in response.aiter_lines():
            if line.startswith("data: {") and len(line) > 10:
                found.append(json.loads(line[6:]))
    return found


def run(work: Any) -> Any:
    """Run a coroutine."""
    return asyncio.run(work)
