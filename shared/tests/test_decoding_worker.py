"""Decoding in a process of its own: values come back; errors, crashes and hangs cost one file each."""

import os
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest
from voiceface.io.decoding_worker import DecodingError, decode_isolated


def decode(kind: str) -> dict[str, Any]:
    """Decoder of this test."""
    if kind == "error":
        raise KeyError("line one\nline two")
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "end":
        os._exit(3)
    if kind == "hang":
        time.sleep(60)
    print("noise of a library")
    return {
        "name": kind,
        "vectors": np.arange(6.0).reshape(2, 3),
        "empty": np.zeros((0, 3), "f4"),
        "pid": os.getpid(),
    }


def call(kind: str, **options: Any) -> dict[str, Any]:
    return decode_isolated(f"{__name__}:decode", kind, **options)


def test_values_come_back_from_another_process() -> None:
    found = call("Zo\u00eb\n")
    assert found["name"] == "Zo\u00eb\n" and found["pid"] != os.getpid()
    np.testing.assert_array_equal(found["vectors"], np.arange(6.0).reshape(2, 3))
    found["vectors"][0, 0] = 5  # writeable
    assert found["empty"].shape == (0, 3) and found["empty"].dtype == np.float32
    assert call("b")["pid"] == found["pid"]


@pytest.mark.parametrize(
    "kind, reason",
    [
        ("error", "'line one"),
        ("crash", "crashed on it .SIGSEGV"),
        ("end", "exit status 3"),
        ("hang", "within 0.5 s"),
    ],
)
def test_a_bad_file_costs_one_file(kind: str, reason: str) -> None:
    before = call("good")["pid"]
    with pytest.raises(DecodingError, match=reason):
        call(kind, seconds=0.5 if kind == "hang" else 60)
    after = call("good")
    assert after["name"] == "good" and (after["pid"] == before) == (kind == "error")


def test_threads_and_child_processes_get_their_own_answers() -> None:
    found: dict[str, str] = {}
    threads = [
        threading.Thread(target=lambda name=str(n): found.update({name: call(name)["name"]}))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {str(n): str(n) for n in range(8)}
    worker = call("parent")["pid"]
    child = os.fork()
    if child == 0:
        try:
            os._exit(int(call("child")["pid"] == worker))
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert call("parent")["pid"] == worker
