"""Studios with quick systems that need no weights, for the tests of the server."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason='the extra "web" is not installed')
pytest.importorskip("httpx")

from fake_systems import SlowModel, fake_systems
from voiceface.studio.app import build_app
from voiceface.studio.service import Studio
from voiceface.studio.settings import Limits, StudioSettings

BASE = "http://127.0.0.1:8000"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NUM_PICTURES = 200


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Invented people, made once."""
    return tmp_path_factory.mktemp("studio cache")


@pytest.fixture(scope="session")
def browser_path() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium: apt-get install chromium")
    return found


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording, and a flat folder of many pictures of a few invented people."""
    from PIL import Image
    from voiceface.synthetic.writer import write_population

    root = tmp_path_factory.mktemp("people")
    sizes = {"train": 0, "val": 0, "test": 4, "clips": 1, "images": 2}
    population = write_population(
        root / "population", "quick", **sizes, workers=1, lists=False, progress=False
    )
    (root / "pictures").mkdir()
    faces = [Image.open(path).convert("RGB") for path in sorted((population / "faces").rglob("*.jpg"))]
    for number in range(NUM_PICTURES):
        tinted = faces[number % len(faces)].point(lambda value, number=number: value * (1 - number / 500))
        tinted.save(root / "pictures" / f"{number:03d}.png")
    shutil.copy(next((population / "wav").rglob("*.wav")), root / "voice.wav")
    (root / "pictures" / "notes <b>.txt").write_text("no picture")
    return root


@pytest.fixture(scope="session")
def browser(people: Path, browser_path: str) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as program:
        running = program.chromium.launch(
            executable_path=browser_path,
            args=[
                "--no-sandbox",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={people / 'voice.wav'}",
                "--enable-unsafe-swiftshader",
            ],
        )
        yield running
        running.close()


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
    """Run a coroutine, in a thread: playwright leaves a loop in that of the tests."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
