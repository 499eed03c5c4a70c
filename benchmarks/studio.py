"""Times of the studio: from the end of a recording to the answer of each system, through HTTP.

    python benchmarks/studio.py                       every installed system, a gallery of 1,000 faces
    python benchmarks/studio.py --faces 200 --systems sf2f voicestyle

A server of its own, `voiceface serve`, answers one client. Models are loaded and the gallery is embedded
before anything is timed. "sent" is the time from the end of a recording of five seconds until the server has
read, measured and drawn it; "first" and "answer" are the times from the question to the first picture of a
slow system and to the answer; "goal" is for the sum of "sent" and "answer", or of "sent" and "first". Systems
are asked one at a time, as by somebody who waits, every time about a person whom they have not heard before.
Times are the smallest of some runs, on a machine that may have other work: the load is printed. "CPU" is the
processor time of the server and its decoders for the recording and the answer, which is little affected by
others (Linux).
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SECONDS = 5.0
GOALS = {"ranking": 0.3, "picture": 0.3, "head": 0.3}  # s
SLOW_GOALS = (2.0, 60.0)  # first picture, answer
PATIENCE = 900.0


class Server(NamedTuple):
    """A running studio."""

    address: str
    process: int


class Answered(NamedTuple):
    """Times of one answer, seconds.

    Attributes:
        cpu: of the server, for the recording and the answer.
        first: until the first picture on the way; NaN: there was none.
        answer: until the answer.
    """

    cpu: float
    first: float
    answer: float


def main(argv: Sequence[str] | None = None) -> int:
    """Print the times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faces", type=int, default=1000, help="in the gallery (default: %(default)s)")
    parser.add_argument("--systems", nargs="+", help="default: all installed ones")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cache", type=Path, help="kept for later runs; default: a temporary folder")
    parser.add_argument("--strict", action="store_true", help="fail when a goal is missed")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        cache = options.cache or Path(folder) / "cache"
        voices, gallery = write_files(Path(folder), options.faces, options.repeats + 1)
        arguments = ["--cache", str(cache), "--people", "8", "--gallery", str(gallery)]
        arguments += ["--systems", *options.systems] if options.systems else []
        with running_studio(*arguments) as server:
            return measure(server, voices, options)


@contextmanager
def running_studio(*arguments: str) -> Iterator[Server]:
    """A server in a process of its own: `voiceface serve --port 0 ARGUMENTS`."""
    command = [sys.executable, "-m", "voiceface", "serve", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            found = re.search(r"http://\S+", process.stdout.readline())
            if found is None:
                raise RuntimeError("the studio did not start; its message is above")
            yield Server(found[0].rstrip("/"), process.pid)
        finally:
            process.terminate()


def write_files(folder: Path, count: int, num_voices: int) -> tuple[list[bytes], Path]:
    """Recordings of five seconds, and a folder of faces: invented people in different light."""
    import soundfile
    from PIL import Image
    from voiceface.synthetic.writer import write_population

    sizes = {"train": 0, "val": 0, "test": max(10, num_voices), "clips": 2, "images": 2}
    population = write_population(folder / "people", "quick", **sizes, lists=False, progress=False)
    voices = []
    for person in sorted((population / "wav").iterdir())[:num_voices]:
        clips = [soundfile.read(path) for path in sorted(person.rglob("*.wav"))]
        rate = clips[0][1]
        path = folder / "voice.wav"
        soundfile.write(
            path, np.resize(np.concatenate([wave for wave, _ in clips]), int(SECONDS * rate)), rate
        )
        voices.append(path.read_bytes())
    (folder / "gallery").mkdir()
    faces = [Image.open(path).convert("RGB") for path in sorted((population / "faces").rglob("*.jpg"))]
    for number in range(count):
        shade = 1 - 0.5 * number / count
        faces[number % len(faces)].point([int(shade * value) for value in range(256)] * 3).save(
            folder / "gallery" / f"{number:05d}.png"
        )
    return voices, folder / "gallery"


def cpu_seconds(process: int) -> float:
    """Processor time of a process and its children so far, seconds; NaN where /proc does not tell it."""
    total = 0.0
    try:
        for path in Path("/proc").glob("[0-9]*/stat"):
            fields = path.read_text().rpartition(")")[2].split()
            if int(path.parent.name) == process or int(fields[1]) == process:
                total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return float("nan")
    return total or float("nan")


def measure(server: Server, voices: Sequence[bytes], options: argparse.Namespace) -> int:
    """Ask every system and print a table; 1 if `options.strict` and a goal is missed."""
    import httpx

    with httpx.Client(base_url=server.address, timeout=PATIENCE) as client:
        systems = client.get("/api/state").raise_for_status().json()["systems"]
        begin = time.perf_counter()
        identifier = send(client, voices[0])[0]
        for system in systems:
            ask(client, identifier, system)
        print(f"models loaded and gallery embedded after {time.perf_counter() - begin:.1f} s", flush=True)
        print(f"{options.faces} faces, load {os.getloadavg()[0]:.1f}; seconds\n")
        print(f"{'system':20}{'CPU':>8}{'sent':>8}{'first':>8}{'answer':>8}{'in all':>8}   goal")
        is_missed = False
        for system in systems:
            repeats = options.repeats if system["is_fast"] else min(2, options.repeats)
            sent, answers = [], []
            for voice in voices[1 : repeats + 1]:
                before = cpu_seconds(server.process)
                identifier, seconds = send(client, voice)
                sent.append(seconds)
                answered = ask(client, identifier, system)
                answers.append(answered._replace(cpu=cpu_seconds(server.process) - before))
                client.delete(f"/api/voices/{identifier}")
            is_missed |= show(system, min(sent), answers)
    return int(options.strict and is_missed)


def send(client: Any, voice: bytes) -> tuple[str, float]:
    """Name of the recording on the server, and the seconds until it was read."""
    begin = time.perf_counter()
    record = client.post("/api/voices", files={"file": ("voice.wav", voice)}).raise_for_status().json()
    return record["id"], time.perf_counter() - begin


def ask(client: Any, identifier: str, system: dict[str, Any]) -> Answered:
    """Wait for the answer of one system about the gallery."""
    parameters = {"systems": system["name"], "scope": "own"}
    first, begin = float("nan"), time.perf_counter()
    with client.stream("GET", f"/api/voices/{identifier}/answers", params=parameters) as events:
        for line in events.iter_lines():
            if not line.startswith('data: {"system"'):
                continue
            answer = json.loads(line.removeprefix("data: "))
            now = time.perf_counter() - begin
            if answer["picture"] and np.isnan(first) and answer["state"] == "step":
                first = now
            if answer["state"] == "failed":
                raise RuntimeError(f"{system['name']}: {answer['problem']}")
            if answer["state"] == "done":
                return Answered(float("nan"), first, now)
    raise RuntimeError(f"{system['name']}: the stream ended without an answer")


def show(system: dict[str, Any], sent: float, answers: Sequence[Answered]) -> bool:
    """Print the smallest times of one system; whether it missed a goal."""
    first, answer = min(each.first for each in answers), min(each.answer for each in answers)
    if system["is_fast"]:
        goal = GOALS[system["kind"]]
        verdict, missed = f"{goal:g}", sent + answer > goal
    else:
        early, late = SLOW_GOALS
        verdict, missed = f"{early:g}, {late:g}", not (sent + first <= early and sent + answer <= late)
    cpu = min(each.cpu for each in answers)
    shown = "" if np.isnan(first) else f"{first:.2f}"
    print(
        f"{system['name']:20}{cpu:8.2f}{sent:8.2f}{shown:>8}{answer:8.2f}{sent + answer:8.2f}"
        f"   {verdict}{'   MISSED' if missed else ''}",
        flush=True,
    )
    return missed


if __name__ == "__main__":
    raise SystemExit(main())
