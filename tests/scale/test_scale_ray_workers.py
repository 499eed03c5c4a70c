"""Workers of Ray that end, without a cluster: others take their places, whatever Ray calls the end."""

from dataclasses import dataclass

import pytest
import scale_extras

scale_extras.require("ray")

import ray  # noqa: E402
from voiceface.engines.ray_engine import MAX_FAILED_STARTS, _Crew  # noqa: E402
from voiceface.engines.units import EngineError, WorkQueue  # noqa: E402

LOST = "The actor died because its node has died. Node Id: 0"  # as Ray says it


@dataclass(frozen=True)
class Letters:
    """A unit of one text."""

    key: str

    def split(self):
        return []


class ScriptedActor:
    """An actor whose calls are answered by `ScriptedRay`."""

    def __init__(self):
        self.start = self.run = self

    def remote(self, *_):
        return object()


class ScriptedRay:
    """Ray whose calls have the given outcomes, one after the other."""

    exceptions = ray.exceptions

    def __init__(self, *outcomes):
        self.outcomes, self.hired, self.killed = list(outcomes), [], []

    def remote(self, _):
        return self

    def options(self):
        return self

    def wait(self, references):
        return references[:1], references[1:]

    def kill(self, actor):
        self.killed.append(actor)

    def get(self, _):
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class ScriptedCrew(_Crew):
    def _hire(self, running):
        actor = ScriptedActor()
        self.actors.append(actor)
        self.ray.hired.append(actor)
        running[actor.start.remote()] = actor, None


@pytest.mark.parametrize("moment", ["start", "work"])
@pytest.mark.parametrize("error", [ray.exceptions.OutOfMemoryError(""), ray.exceptions.RayActorError()])
def test_a_worker_that_ends_is_replaced(error, moment):
    before = [error] if moment == "start" else ["", error]
    script = ScriptedRay(*before, "", ("done", 1))
    found = list(work(script))
    assert [result for _, result in found] == [1]
    assert len(script.hired) == 2 and script.killed == script.hired[:1], "its cores are free again"


def test_machines_that_leave_are_no_failed_starts():
    lost = [ray.exceptions.RayActorError(None, LOST) for _ in range(2 * MAX_FAILED_STARTS)]
    script = ScriptedRay(*lost, "", ("done", 1))
    assert len(list(work(script))) == 1


def test_failed_starts_end_the_work_when_none_between_them_succeeds():
    died = [ray.exceptions.RayActorError() for _ in range(MAX_FAILED_STARTS)]
    with pytest.raises(EngineError, match="workers of Ray ended while they started"):
        list(work(ScriptedRay(*died)))
    script = ScriptedRay(*died[:-1], "", died[0], *died[:-1], "", ("done", 1))
    assert len(list(work(script))) == 1, "they are counted anew"


def work(script):
    return ScriptedCrew(script, None, "cpu", {}).work(WorkQueue([Letters("a")]), 1)
