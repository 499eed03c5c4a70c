"""Decoding in a process of its own: a library that crashes on a damaged file ends that process alone.

One worker per process is started at the first call and again after a crash or a time-out. Values come back as
JSON and raw arrays, nothing is unpickled. `python -m voiceface.io.decoding_worker` is the worker.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from pkgutil import resolve_name
from typing import Any

import numpy as np

from voiceface.io.foreign_files import first_line

__all__ = ["DecodingError", "decode_isolated"]

DEFAULT_SECONDS = 120.0


class DecodingError(ValueError):
    """A file cannot be decoded: the decoder refused it, crashed on it or did not end."""


def decode_isolated(function: str, *arguments: Any, seconds: float = DEFAULT_SECONDS) -> dict[str, Any]:
    """Call a decoder in the worker process.

    Args:
        function: "module:name" of a function that returns a dict of JSON values and numpy arrays.
        arguments: JSON values, such as the path of the file.
        seconds: longest time without an answer.

    Returns:
        The dict of the function; arrays are new and writeable.

    Raises:
        DecodingError: the function raised an error, ended its process, or took too long.
    """
    with _lock:
        if _workers.get("pid") != os.getpid():  # the worker of a parent process answers the parent
            _workers.clear()
            _workers["pid"] = os.getpid()
        process = _workers.get("process")
        if process is None or process.poll() is not None:
            process = _workers["process"] = _start()
        try:
            process.stdin.write(json.dumps([function, arguments]).encode() + b"\n")
            process.stdin.flush()
            if not select.select([process.stdout], [], [], seconds)[0]:
                raise DecodingError(f"the decoder did not end within {seconds:g} s")
            return _receive(process.stdout)
        except (EOFError, BrokenPipeError):
            status = process.wait()
            name = signal.Signals(-status).name if status < 0 else f"exit status {status}"
            raise DecodingError(f"the decoding library crashed on it ({name})") from None
        except BaseException as error:
            if not getattr(error, "answered", False):  # what the worker still sends belongs to nobody
                process.kill()
                process.wait()
            raise


_lock = threading.Lock()
_workers: dict[str, Any] = {}


def _start() -> Any:
    """Start a worker; it ends when this process closes its input."""
    return subprocess.Popen(
        [sys.executable, "-m", "voiceface.io.decoding_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def _receive(stream: Any) -> dict[str, Any]:
    """Read one answer."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    answer = json.loads(line)
    if "error" in answer:
        error = DecodingError(answer["error"])
        error.answered = True  # type: ignore[attr-defined]
        raise error
    values: dict[str, Any] = answer["values"]
    for name, (kind, shape) in answer["arrays"].items():
        array = np.empty(shape, kind)
        content = array.reshape(-1).view(np.uint8)
        if array.nbytes and stream.readinto(content) != array.nbytes:
            raise EOFError
        values[name] = array
    return values


def _answer(stream: Any, result: dict[str, Any]) -> None:
    """Write one answer."""
    arrays = {
        name: np.ascontiguousarray(each) for name, each in result.items() if isinstance(each, np.ndarray)
    }
    values = {name: each for name, each in result.items() if name not in arrays}
    kinds = {name: (array.dtype.str, array.shape) for name, array in arrays.items()}
    stream.write(json.dumps({"values": values, "arrays": kinds}).encode() + b"\n")
    for array in arrays.values():
        stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def _serve() -> None:
    """Answer requests until the input ends."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries may print
    for request in sys.stdin.buffer:
        function, arguments = json.loads(request)
        try:
            _answer(output, resolve_name(function)(*arguments))
        except Exception as error:
            output.write(json.dumps({"error": first_line(error)}).encode() + b"\n")
            output.flush()


if __name__ == "__main__":
    _serve()
