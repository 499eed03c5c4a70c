"""Quick systems without weights; as a program: a studio of them, `fake_systems.py CACHE`."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from voiceface.suite.plugins import GenerationStep, ImageSystem, MeshSystem, SystemSet


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
    pause: float = 0.02
    begun: threading.Event = field(default_factory=threading.Event)
    ended: list[str] = field(default_factory=list)

    def generate_in_steps(self, utterances: Sequence[Path], on_step: Callable[[GenerationStep], None]) -> Any:
        self.begun.set()
        try:
            for step in range(self.steps):
                on_step(GenerationStep("drawing", step / self.steps, np.zeros((4, 4, 3), np.uint8)))
                time.sleep(self.pause)
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


if __name__ == "__main__":
    from voiceface.studio import serve
    from voiceface.studio.service import Studio
    from voiceface.studio.settings import StudioSettings

    studio_settings = StudioSettings(port=0, cache=Path(sys.argv[1]), num_people=4)
    raise SystemExit(serve.serve_studio(Studio(studio_settings, fake_systems(SlowModel(steps=2000)))))
