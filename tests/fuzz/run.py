"""Fuzz session: mutated files for every reader of foreign files, in worker processes (`nox -s fuzz`).

Classes of an input: `error` (the documented one, naming the file), `equal` (accepted with equal content),
`accepted` (other content, in a format without checksums), and the wrong ones: `silent` (other content in a
format with checksums), `foreign` (another exception), `crash`, `hang`. Inputs follow from their numbers.
"""

import argparse
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

__all__ = ["main"]

FOLDER = Path(__file__).parent
CLASSES = ("error", "equal", "accepted", "silent", "foreign", "crash", "hang")
WRONG = CLASSES[3:]
START_SECONDS = 300


class Worker:
    """One worker process; it is started again after a crash or a hang.

    Args:
        program: the worker.
    """

    def __init__(self, program: Path = FOLDER / "worker.py") -> None:
        self.program = program
        self.start()

    def start(self) -> None:
        """Start the process."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(FOLDER)}
        command = [sys.executable, str(self.program)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0
        )
        self.rest = b""
        if next(self.lines(START_SECONDS), None) != "ready":
            raise RuntimeError(f"{self.program} did not start")

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()

    def lines(self, seconds: float) -> Iterator[Any]:
        """Answers; None after `seconds` without one, the end after a crash."""
        output = self.process.stdout
        assert output is not None
        while True:
            while b"\n" in self.rest:
                line, _, self.rest = self.rest.partition(b"\n")
                yield json.loads(line)
            if not select.select([output], [], [], seconds)[0]:
                yield None
                return
            more = output.read(65536)
            if not more:
                return
            self.rest += more


def fuzz_reader(worker: Worker, name: str, count: int, seconds: float) -> tuple[Counter[str], list[str]]:
    """Classes of the inputs 0 to `count` of a reader, and words about the wrong ones."""
    classes: Counter[str] = Counter()
    words: list[str] = []
    number = 0
    while number < count:
        request = json.dumps([name, number, count]) + "\n"
        assert worker.process.stdin is not None
        worker.process.stdin.write(request.encode())
        found = "crash"
        for answer in worker.lines(seconds):
            if answer is None:
                found = "hang"
                break
            number = answer[0] + 1
            classes[answer[1]] += 1
            if answer[1] in WRONG:
                words.append(f"{name}, input {answer[0]}: {answer[1]}: {answer[2]}")
            if number == count:
                break
        if number < count:
            classes[found] += 1
            worker.stop()
            words.append(f"{name}, input {number}: {found} (status {worker.process.returncode})")
            number += 1
            worker.start()
    return classes, words


def main() -> int:
    """Run the session; exit status 1 if an input is in a wrong class."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--inputs", type=int, default=5000, help="for each reader (default 5000; .ci/run: 300)"
    )
    parser.add_argument("--seconds", type=float, default=10, help="without an answer: a hang (default 10)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--reader", action="append", help="only readers whose name contains this")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    names = subprocess.run(
        [sys.executable, "-c", "from readers import READERS; print('\\n'.join(READERS))"],
        env={**os.environ, "PYTHONPATH": str(FOLDER)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\n")
    chosen = [name for name in names if name and any(word in name for word in options.reader or [""])]
    begin = time.monotonic()
    print(f"{'reader':<32}" + "".join(f"{each:>9}" for each in CLASSES), flush=True)
    total: Counter[str] = Counter()
    problems: list[str] = []
    figures: dict[str, Any] = {}
    held = threading.local()
    started: list[Worker] = []

    def work(name: str) -> tuple[Counter[str], list[str]]:
        if not hasattr(held, "worker"):
            held.worker = Worker()
            started.append(held.worker)
        return fuzz_reader(held.worker, name, options.inputs, options.seconds)

    with ThreadPoolExecutor(max(1, options.workers)) as pool:
        for name, (classes, words) in zip(chosen, pool.map(work, chosen)):
            print(f"{name:<32}" + "".join(f"{classes[each]:>9}" for each in CLASSES), flush=True)
            figures[name] = dict(classes)
            total += classes
            problems += words
    for worker in started:
        worker.stop()
    print(f"{'all':<32}" + "".join(f"{total[each]:>9}" for each in CLASSES))
    print(f"{sum(total.values()):,} inputs, {len(chosen)} readers, {time.monotonic() - begin:.0f} s")
    for line in problems[:200]:
        print(line)
    if options.out:
        options.out.write_text(json.dumps({"readers": figures, "problems": problems}, indent=2) + "\n")
    return int(bool(problems))


if __name__ == "__main__":
    raise SystemExit(main())
