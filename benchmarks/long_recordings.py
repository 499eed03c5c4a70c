"""Memory of commands that read an hour of sound, against five seconds and a minute of it.

    python benchmarks/long_recordings.py [--systems sf2f ...] [--suffix .mp3]

Peaks of the command and of the process that decodes for it, taken 100 times a second: "private" is memory of
their own (RssAnon), which nothing can share or take back; "resident" counts pages of libraries as well, which
are shared by all processes that load them. Linux only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

COMMANDS = {
    "seeking_shape": ("embed", "{sound}", "--out", "{out}/table.npz"),
    "archetype_agnostic": ("embed", "{sound}", "--out", "{out}/table.npz"),
    "cmpc2": ("embed", "{sound}", "--out", "{out}/table.npz"),
    "fop": ("embed", "{sound}", "--out", "{out}/table.npz"),
    "sf2f": ("infer", "{sound}", "--out", "{out}/faces", "--no-report"),
    "perceptionist": ("demo", "{sound}", "--out", "{out}/demo", "--no-report"),
}
RATE, GOAL_MB = 44100, 500


def write_sounds(folder: Path, suffix: str) -> dict[str, Path]:
    """Write 5 s, a minute and an hour of a synthetic speaker, two channels at 44.1 kHz."""
    import soundfile
    import soxr
    from voiceface.audio.loading import load_audio
    from voiceface.synthetic.writer import write_population

    changes = {"train": 1, "val": 1, "test": 1, "clips": 9, "images": 1, "clip_seconds": 8.0}
    population = write_population(folder / "people", "tiny", lists=False, progress=False, **changes)
    speaker = min(population.glob("wav/*"))
    minute = np.concatenate([load_audio(each, scale="unit") for each in sorted(speaker.rglob("*.wav"))])
    block = np.repeat(soxr.resample(minute, 16000, RATE)[: 60 * RATE, None], 2, axis=1)
    paths = {length: folder / f"{number}{suffix}" for number, length in enumerate(("5 s", "60 s", "1 h"))}
    soundfile.write(paths["5 s"], block[: 5 * RATE], RATE)
    soundfile.write(paths["60 s"], block, RATE)
    with soundfile.SoundFile(paths["1 h"], "w", RATE, 2) as file:
        for _ in range(-(-3600 * RATE // len(block))):
            file.write(block)
    return paths


def family(process_id: int) -> list[int]:
    """A process and those it started; copies of it that have not yet become another program are left out."""
    found = [process_id]
    try:
        program = Path(f"/proc/{process_id}/cmdline").read_text()
        for task in Path(f"/proc/{process_id}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                if Path(f"/proc/{child}/cmdline").read_text() != program:
                    found += family(child)
    except OSError:
        pass  # it has just ended
    return found


def memory_mb(process_id: int) -> dict[str, float]:
    """Private and resident memory of a process at this moment."""
    try:
        lines = dict(
            line.split(":", 1) for line in Path(f"/proc/{process_id}/status").read_text().splitlines()
        )
        return {
            "private": int(lines["RssAnon"].split()[0]) / 1024,
            "resident": int(lines["VmRSS"].split()[0]) / 1024,
        }
    except (OSError, KeyError):
        return {"private": 0.0, "resident": 0.0}


def peaks(command: list[str]) -> dict[str, float]:
    """Run a command; peaks of the sums over its processes, MB.

    Raises:
        RuntimeError: the command failed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        highest = {"private": 0.0, "resident": 0.0}
        while process.poll() is None:
            now = [memory_mb(each) for each in family(process.pid)]
            for kind in highest:
                highest[kind] = max(highest[kind], sum(each[kind] for each in now))
            time.sleep(0.01)
        if process.returncode:
            output.seek(0)
            raise RuntimeError(f"{' '.join(command)}: {output.read()[-2000:]}")
    return {kind: round(value) for kind, value in highest.items()}


def main() -> int:
    """Measure all systems."""
    parser = argparse.ArgumentParser(prog="long_recordings", description=__doc__)
    parser.add_argument("--systems", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--suffix", default=".wav", help="format: .wav, .flac, .mp3, .ogg (default .wav)")
    parser.add_argument("--long-recordings", default="best", help="of the commands (default best)")
    options = parser.parse_args()
    status = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sounds = write_sounds(folder, options.suffix)
        for system in options.systems:
            row: dict[str, object] = {"subject": f"{system} {COMMANDS[system][0]}"}
            for length, sound in sounds.items():
                words = [
                    each.format(sound=sound, out=folder / f"{system}_{sound.stem}")
                    for each in COMMANDS[system]
                ]
                (folder / f"{system}_{sound.stem}").mkdir()
                command = [sys.executable, "-m", system, *words, "--long-recordings", options.long_recordings]
                row[length] = peaks(command)
            row["goal_mb"] = GOAL_MB
            status |= int(row["1 h"]["private"] > GOAL_MB)  # type: ignore[index]
            print(json.dumps(row), flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
