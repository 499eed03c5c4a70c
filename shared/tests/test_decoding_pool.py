"""Bulk work decodes in worker processes: the same numbers, a crash costs one file, nothing is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from voiceface.audio.decoding import decode_audio, decode_blocks
from voiceface.audio.loading import load_audio, read_audio_info, write_wav
from voiceface.audio.samples import AudioError, DecodedAudio
from voiceface.embeddings.encoding import encode_files
from voiceface.images.loading import ImageError, load_image
from voiceface.images.photographs import load_photograph
from voiceface.io import decoding_worker
from voiceface.io.decoding_worker import decoding_in_workers, runs_in_worker, stop_decoding


@runs_in_worker(AudioError)
def read_numbers(path: str | os.PathLike[str], *, times: int = 1) -> Any:
    """Reader of this test: a file of numbers, or of an order to crash."""
    order = Path(path).read_text()
    if order == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if order == "wait":
        time.sleep(60)
    return np.array([float(order) * times, os.getpid()])


@runs_in_worker(AudioError, DecodedAudio)
def count(path: str | os.PathLike[str]) -> Any:
    """Generator of this test."""
    for number in range(int(Path(path).read_text())):
        if number == 3:
            raise AudioError(f"{path}: three")
        yield DecodedAudio(np.full((1, 2), number, np.float32), os.getpid(), notes=("a", "b"))


def write_orders(folder: Path, *orders: object) -> list[Path]:
    paths = [folder / f"{number}.txt" for number in range(len(orders))]
    for path, order in zip(paths, orders):
        path.write_text(str(order))
    return paths


def test_readers_give_the_same_in_and_outside_of_workers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wave = rng.integers(-9000, 9000, 40_000).astype(np.int16)
    write_wav(tmp_path / "a.wav", wave, 22050)
    write_wav(tmp_path / "cut.wav", wave)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "cut.wav").read_bytes()[:40_000])
    Image.fromarray(rng.integers(0, 255, (300, 400, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:90_000])
    (tmp_path / "c.png").write_bytes(b"<html>")

    def read_all() -> list[Any]:
        found: list[Any] = []
        for call in (
            lambda: decode_audio(tmp_path / "a.wav", scale="int16"),
            lambda: load_audio(tmp_path / "a.wav", scale="unit", resample=True, max_samples=10_000),
            lambda: read_audio_info(tmp_path / "a.wav"),
            lambda: decode_audio(tmp_path / "cut.wav", scale="native", on_corrupt="salvage"),
            lambda: list(decode_blocks(tmp_path / "a.wav", scale="int16", block_seconds=0.25)),
            lambda: load_image(tmp_path / "a.png"),
            lambda: load_photograph(str(tmp_path / "b.png")),
            lambda: decode_audio(tmp_path / "cut.wav", scale="int16"),
            lambda: load_audio(tmp_path / "none.wav", scale="int16"),
            lambda: load_photograph(tmp_path / "c.png"),
            lambda: load_image(b"in memory"),
        ):
            try:
                found.append(call())
            except (AudioError, ImageError, FileNotFoundError) as error:
                found.append((type(error), str(error)))
        return found

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value.dtype, value.tolist()
        if isinstance(value, list):
            return [plain(each) for each in value]
        values = vars(value) if hasattr(value, "__dict__") and not isinstance(value, type) else None
        return value if values is None else {name: plain(each) for name, each in values.items()}

    here = read_all()
    with decoding_in_workers(2):
        there = read_all()
    assert plain(here) == plain(there)
    assert [type(each) for each in here] == [type(each) for each in there]
    assert there[5].flags.writeable and there[4][0].notes == ()


def test_a_crash_costs_one_file_and_other_threads_go_on(tmp_path: Path) -> None:
    paths = write_orders(tmp_path, 1, "crash", 3, 4, "crash", *range(5, 25))

    def attempt(path: Path) -> Any:
        try:
            return read_numbers(path, times=2)
        except AudioError as error:
            return str(error)

    with decoding_in_workers(3), ThreadPoolExecutor(3) as pool:
        found = list(pool.map(attempt, paths))
    crashed = [number for number, each in enumerate(found) if isinstance(each, str)]
    assert crashed == [1, 4]
    assert "1.txt" in found[1] and "SIGSEGV" in found[1]
    assert [each[0] for each in found if not isinstance(each, str)] == [2, 6, 8, *range(10, 50, 2)]
    processes = {each[1] for each in found if not isinstance(each, str)}
    assert os.getpid() not in processes and len(processes) <= 5
    assert read_numbers(paths[0])[1] == os.getpid()  # outside of the context


def test_encode_files_names_the_file_that_ends_the_decoder(tmp_path: Path) -> None:
    write_orders(tmp_path, 1, 2, "crash", 4)

    def encode(batch: Any) -> Any:
        return torch.stack([batch[:, 0], -batch[:, 0]], 1)

    def run(workers: int, items: list[str]) -> Any:
        return encode_files(
            items,
            lambda item: tmp_path / item,
            read_numbers,
            encode,
            fingerprint="f",
            workers=workers,
            on_error="skip",
            progress=False,
        )

    table = run(2, [f"{number}.txt" for number in range(4)])
    assert table.items == ["0.txt", "1.txt", "3.txt"] and table.vectors[:, 0].tolist() == [1, 2, 4]
    assert list(table.failed) == ["2.txt"] and "2.txt: the decoding library crashed" in table.failed["2.txt"]
    assert run(0, ["0.txt", "3.txt"]).vectors[:, 0].tolist() == [1, 4]  # in this process


def test_generators_yield_as_they_are_asked_and_can_be_left(tmp_path: Path) -> None:
    (path, long) = write_orders(tmp_path, 2, 9)
    with decoding_in_workers(1):
        found = list(count(path))
        assert [each.samples[0, 0] for each in found] == [0, 1] and found[0].notes == ("a", "b")
        with closing(count(long)) as items:
            first = next(items)
            assert read_numbers(path)[1] != first.sample_rate  # another process: this one waits for us
        assert next(count(path)).sample_rate != os.getpid()
        with pytest.raises(AudioError, match="three"):
            list(count(long))
        assert len(list(count(path))) == 2


def test_arrays_keep_their_values_while_memory_is_used_again(tmp_path: Path) -> None:
    paths = []
    for number in range(12):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(np.full((200, 300, 3), number, np.uint8)).save(paths[-1])
    with decoding_in_workers(1):
        kept = []
        for _ in range(3):
            found = [load_image(path) for path in paths]
            kept += found[::5]
            assert [int(each.max()) for each in found] == list(range(12))
            del found
        assert [int(each.min()) for each in kept] == [0, 5, 10] * 3
        assert [int(each.max()) for each in kept] == [0, 5, 10] * 3
        inner = load_image(paths[7])[5:9, 3:4]
        for path in paths:
            load_image(path)
        assert (inner == 7).all()
    stop_decoding()
    assert (inner == 7).all()  # memory outlives the process


def test_many_kept_arrays_are_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voiceface.io.shared_arrays.MAX_KEPT", 3)
    path = tmp_path / "a.png"
    Image.fromarray(np.full((200, 300, 3), 5, np.uint8)).save(path)
    stop_decoding()
    with decoding_in_workers(1):
        kept = [load_image(path) for _ in range(8)]
        assert all((each == 5).all() for each in kept)
        shared = [each.base is not None for each in kept]
        assert shared == [True] * 3 + [False] * 5
        del kept
        assert load_image(path).base is not None


def test_stopping_ends_waiting_threads_and_all_processes(tmp_path: Path) -> None:
    paths = write_orders(tmp_path, "wait", "wait")
    reasons: list[str] = []

    def attempt(path: Path) -> None:
        try:
            read_numbers(path)
        except AudioError as error:
            reasons.append(str(error))

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt), decoding_in_workers(2):
        threads = [threading.Thread(target=attempt, args=(path,)) for path in paths]
        for thread in threads:
            thread.start()
        while len(decoding_worker._pool()._busy) < 2:
            time.sleep(0.01)
        raise KeyboardInterrupt
    for thread in threads:
        thread.join(20)
    assert len(reasons) == 2 and time.monotonic() - begin < 30
    assert not decoding_worker._pool()._busy and not decoding_worker._pool()._idle


def test_quick_files_share_one_process_and_slow_ones_get_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_decoding()
    quick = write_orders(tmp_path, *range(60))
    for name in ("PATIENCE_SECONDS", "START_SECONDS"):
        monkeypatch.setattr(decoding_worker, name, 60.0)
    with decoding_in_workers(2), ThreadPoolExecutor(2) as pool:
        processes = {each[1] for each in pool.map(read_numbers, quick)}
        assert len(processes) == 1
        (first,) = processes
        monkeypatch.setattr(decoding_worker, "PATIENCE_SECONDS", 0.1)
        with closing(count(quick[3])) as items:  # holds the process
            assert next(items).sample_rate == first
            assert pool.submit(read_numbers, quick[0]).result()[1] != first
            assert decoding_worker._pool()._waited == 0


SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from voiceface.embeddings.encoding import encode_files

print("begin", flush=True)
from voiceface.audio.loading import load_audio
table = encode_files(
    sorted(path.name for path in Path(sys.argv[1]).glob("*.wav")),
    lambda item: Path(sys.argv[1]) / item,
    lambda path: load_audio(path, scale="unit")[:100],
    lambda batch: batch,
    fingerprint="f",
    workers=2,
    progress=False,
)
print(len(table.items), flush=True)
"""


POOL_SCRIPT = """
print("begin", flush=True)
import math
from voiceface.runtime.process_pool import map_unordered
print(len(list(map_unordered(math.sqrt, [1, 4, 9], workers=2, progress=False))), __spec__, flush=True)
"""
OWN_FUNCTION = """
from voiceface.runtime.process_pool import map_unordered
def double(number):
    return 2 * number
if __name__ == "__main__":
    print("begin", flush=True)
    print(len(list(map_unordered(double, [1, 4, 9], workers=2, progress=False))), __spec__, flush=True)
"""


@pytest.mark.parametrize("text", [SCRIPT, POOL_SCRIPT, OWN_FUNCTION])
def test_a_script_without_a_main_guard_runs_once(tmp_path: Path, text: str) -> None:
    for number in range(3):
        write_wav(tmp_path / f"{number}.wav", np.arange(400, dtype=np.int16))
    script = tmp_path / "script.py"
    script.write_text(text)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split()[:2] == ["begin", "3"] and not done.stderr
