"""Commands killed at random moments and started again: the same bytes as if nothing had happened."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from voiceface.commands.population import main as population
from voiceface.synthetic.writer import write_population

PRESET_OVERRIDES = {"train": 6, "val": 2, "test": 3, "render_size": 32, "clip_seconds": 0.6}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A population that was written in one go."""
    out = tmp_path_factory.mktemp("whole") / "people"
    write_population(out, "tiny", workers=1, progress=False, **PRESET_OVERRIDES)  # type: ignore[arg-type]
    return out


def test_population(killed_again_and_again: Any, tmp_path: Path, content: Any) -> None:
    words = ["--preset", "tiny", "--identities", "9", "--clip-seconds", "0.6", "--image-size", "32"]
    assert population([str(tmp_path / "whole" / "people"), *words, "--workers", "1"]) == 0
    out = tmp_path / "killed" / "people"
    child = killed_again_and_again(
        "voiceface.commands.population",
        out,
        *words,
        "--workers",
        "1",
        made=lambda: sum(1 for _ in out.rglob("*.*")),
        forget=lambda: shutil.rmtree(out),
    )
    assert child.exitcode == 0, child.said()
    assert content(out) == content(tmp_path / "whole" / "people")


def test_workers_end_with_the_process_that_started_them(start: Any, tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("looks into /proc")
    out = tmp_path / "people"
    child = start("voiceface.commands.population", out, "--preset", "tiny", "--workers", "2")

    def workers() -> list[int]:
        return [pid for pid in _child_pids(child.pid) if b"spawn_main" in _command_line(pid)]

    deadline = time.monotonic() + 120
    while not any(out.rglob("*.wav")) and child.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    running = workers()
    child.kill()
    child.join()
    assert running, child.said()
    deadline = time.monotonic() + 30
    while any(b"spawn_main" in _command_line(pid) for pid in running) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in running if b"spawn_main" in _command_line(pid)]


def test_embed(
    killed_again_and_again: Any, start: Any, people: Path, weights: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    words = [people / "wav", people / "faces", "--weights", weights, "--workers", "1", "--out"]
    whole, out = (
        start("seeking_shape.__main__", "embed", *words, tmp_path / "whole.npz"),
        tmp_path / "killed.npz",
    )
    whole.join(120)
    assert whole.exitcode == 0, whole.said()
    cache = tmp_path / "killed.npz.cache"
    child = killed_again_and_again(
        "seeking_shape.__main__", "embed", *words, out,
        made=lambda: sum(1 for _ in cache.rglob("*")) + out.exists(),
        forget=lambda: (shutil.rmtree(cache), out.unlink()), patience=0.1,
    )  # fmt: skip
    assert child.exitcode == 0, child.said()
    assert out.read_bytes() == (tmp_path / "whole.npz").read_bytes()


@pytest.mark.parametrize("deep", [[], ["--decode"]])
def test_check(
    killed_again_and_again: Any, start: Any, people: Path, tmp_path: Path, deep: list[str]
) -> None:
    def words(name: str) -> list[str | Path]:
        place = ["--cache", tmp_path / f"{name}.cache", "--json", tmp_path / f"{name}.json"]
        return [people, *deep, *place, "--workers", "1"]

    whole = start("voiceface.commands.check", *words("whole"))
    whole.join(120)
    cache = tmp_path / "killed.cache"

    def made() -> int:
        return sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())

    def forget() -> None:
        shutil.rmtree(cache)
        (tmp_path / "killed.json").unlink(missing_ok=True)

    child = killed_again_and_again(
        "voiceface.commands.check", *words("killed"), made=made, forget=forget, patience=0.02
    )
    assert child.exitcode == whole.exitcode, child.said()
    found = (tmp_path / "killed.json").read_bytes()
    assert found == (tmp_path / "whole.json").read_bytes()
    assert json.loads(found)["splits"]["train"]["voices"] == 12


def test_population_is_fit_for_training(start: Any, people: Path, tmp_path: Path) -> None:
    child = start(
        "voiceface.commands.check",
        people,
        "--workers",
        "1",
        "--quiet",
        "--cache",
        tmp_path / "cache",
    )
    child.join(120)
    assert child.exitcode == 0 and "Training can start." in child.said()


def _child_pids(parent: int) -> list[int]:
    """Process ids whose parent is `parent`."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            found.append(int(place.name))
    return found


def _command_line(pid: int) -> bytes:
    """Command line of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
