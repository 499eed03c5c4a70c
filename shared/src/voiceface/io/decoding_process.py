"""Decoding in processes of its own: a library that crashes on a damaged file ends such a process alone.

`DecodingWorker` is one process. Requests are JSON; answers are JSON and raw arrays, nothing is unpickled.
Large arrays come in memory that both processes share, where the system has it (Linux), else through the pipe.
`python -m voiceface.io.decoding_process` is the process; it imports neither the running script nor PyTorch.
"""

import ctypes
import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceface.io.decoding_errors import DecodingError
from voiceface.io.foreign_files import first_line
from voiceface.io.shared_arrays import CAN_SHARE, SHARED_BYTES, ArrayReceiver, ArraySender

__all__ = ["DEFAULT_SECONDS", "DecodingWorker"]

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
DEFAULT_SECONDS = 600.0
"""Longest time that a decoder may take for one file."""


class DecodingWorker:
    """A process that decodes one file after another; not for several threads at once.

    Attributes:
        is_alive: whether it can take a request; False after a crash, a time-out or `stop`.
    """

    def __init__(self) -> None:
        command = [sys.executable, "-m", "voiceface.io.decoding_process"]
        self._channel: socket.socket | None = None
        self._arrays: ArrayReceiver | None = None
        other: socket.socket | None = None
        if CAN_SHARE:
            self._channel, other = socket.socketpair()
            self._arrays = ArrayReceiver(self._channel)
            command.append(str(other.fileno()))
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=() if other is None else (other.fileno(),),
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                },
            )
        finally:
            if other is not None:
                other.close()
        self.is_alive = True

    def has_ended(self) -> bool:
        """Whether the process ended by itself."""
        return self._process.poll() is not None

    def stop(self) -> None:
        """End the process; a request that waits for it ends with an error."""
        self.is_alive = False
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Stop, and close the pipes."""
        self.stop()
        for each in (self._process.stdin, self._process.stdout, self._channel):
            with suppress(OSError):  # a request that the process never read
                if each is not None:
                    each.close()

    def request(self, function: str, arguments: Any, seconds: float = DEFAULT_SECONDS) -> dict[str, Any]:
        """Call a function in the process; what it logs is logged here.

        Args:
            function: "module:name" of a function that returns JSON values and numpy arrays, as a dict or as
                a data class.
            arguments: JSON values, a list, or a dict of keyword arguments.
            seconds: longest time without an answer.

        Returns:
            What the function returns, by name; arrays are new and writeable.

        Raises:
            DecodingError: the function raised an error, ended its process, or took too long.
        """
        return self._exchange({"call": [function, arguments, _working_folder()]}, seconds)

    def iterate(
        self, function: str, arguments: Any, seconds: float = DEFAULT_SECONDS
    ) -> Generator[dict[str, Any], None, None]:
        """Call a function that yields such values; otherwise as `request`. The next is made when asked for.

        A generator that is closed early leaves the process ready for other requests.
        """
        item = self.request(function, arguments, seconds)
        try:
            while item.pop("more"):
                yield item
                item = self._exchange({"next": True}, seconds)
        except GeneratorExit:
            if self.is_alive:
                with suppress(DecodingError):
                    self._exchange({"next": False}, seconds)
            raise

    def _exchange(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send a message and receive the answer."""
        output: Any = self._process.stdout
        answered = False
        try:
            stream: Any = self._process.stdin
            message["released"] = self._arrays.take_released() if self._arrays else []
            stream.write(json.dumps(message, default=_to_plain).encode() + b"\n")
            stream.flush()
            if not _wait_for(output, seconds):
                raise DecodingError(f"the decoder did not end within {seconds:g} s")
            line = output.readline()
            if not line.endswith(b"\n"):
                raise EOFError
            answer = json.loads(line)
            for name, level, text in answer["log"]:
                logging.getLogger(name).log(level, "%s", text)
            if self._arrays:
                self._arrays.drop(answer["dropped"])
            if "error" in answer:
                answered = True
                raise DecodingError(answer["error"], answer["kind"])
            values: dict[str, Any] = answer["values"]
            for name, (kind, shape, number) in answer["arrays"].items():
                values[name] = self._receive_array(np.dtype(kind), shape, number)
            return values
        except (EOFError, OSError, json.JSONDecodeError):
            raise DecodingError(f"the decoding library crashed on it ({self._describe_end()})") from None
        except BaseException:
            if not answered:  # what the process still sends belongs to nobody
                self.stop()
            raise

    def _receive_array(self, kind: np.dtype[Any], shape: list[int], number: int | None) -> NDArray[Any]:
        """Receive one array, from shared memory or from the pipe."""
        if number is not None and self._arrays is not None:
            return self._arrays.receive(number, kind, shape)
        array = np.empty(shape, kind)
        stream: Any = self._process.stdout
        if array.nbytes and stream.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:
            raise EOFError
        return array

    def _describe_end(self) -> str:
        """How the process ended."""
        try:
            status = self._process.wait(5)
        except subprocess.TimeoutExpired:  # it wrote nonsense and lives
            status = 0
        self.stop()
        if status >= 0:
            return f"exit status {status}"
        hint = ", perhaps for lack of memory" if -status == signal.SIGKILL else ""
        return signal.Signals(-status).name + hint


def _wait_for(stream: Any, seconds: float) -> bool:
    """Whether a pipe has something to read, or has ended, within some seconds."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return bool(selector.select(seconds))


def _working_folder() -> str | None:
    """Folder that relative paths start from."""
    try:
        return str(Path.cwd())
    except OSError:
        return None


class _Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.kept: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record."""
        self.kept.append((record.name, record.levelno, record.getMessage()))


def _to_plain(value: Any) -> Any:
    """JSON value of a numpy number or a path."""
    return value.item() if isinstance(value, np.generic) else os.fspath(value)


def _by_name(result: Any) -> dict[str, Any]:
    """Values of a result by name."""
    if isinstance(result, np.ndarray):
        return {"array": result}
    return dict(result) if isinstance(result, dict) else vars(result)


class _Answers:
    """What the process writes."""

    def __init__(self, channel: socket.socket | None) -> None:
        self._stream = os.fdopen(os.dup(1), "wb")
        self._arrays = ArraySender(channel) if channel else None
        self._records = _Records()
        self._dropped: list[int] = []
        logging.basicConfig(level=logging.INFO, handlers=[self._records])

    def release(self, numbers: list[int]) -> None:
        """Take memory back."""
        self._dropped += self._arrays.release(numbers) if self._arrays else []

    def write(self, result: Any) -> None:
        """Write a result."""
        named = _by_name(result)
        arrays = {name: each for name, each in named.items() if isinstance(each, np.ndarray)}
        values = {name: each for name, each in named.items() if name not in arrays}
        kinds: dict[str, Any] = {}
        for name, array in arrays.items():
            shared = self._arrays and array.nbytes >= SHARED_BYTES
            kinds[name] = (
                array.dtype.str,
                array.shape,
                self._arrays.put(array) if self._arrays and shared else None,
            )
        self._write_line({"values": values, "arrays": kinds})
        for name, array in arrays.items():
            if kinds[name][2] is None:
                self._stream.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        self._stream.flush()
        if self._arrays:
            self._arrays.send_new()

    def write_error(self, error: Exception) -> None:
        """Write an error."""
        text = str(error) if _is_own(error) else first_line(error)
        self._write_line({"error": text, "kind": type(error).__name__})
        self._stream.flush()

    def _write_line(self, answer: dict[str, Any]) -> None:
        line = json.dumps({**answer, "log": self._records.kept, "dropped": self._dropped}, default=_to_plain)
        self._stream.write(line.encode() + b"\n")
        self._records.kept, self._dropped = [], []


def _prepare_process() -> None:
    """Leave Ctrl-C to the parent process, write no core files, be the first to go when memory ends.

    Freed memory, up to 128 MiB, is used again: the system clears fresh memory, which takes a third of the
    time of decoding a photograph.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):  # not Linux
        Path("/proc/self/oom_score_adj").write_text("1000")
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(AttributeError, OSError, TypeError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 1 << 27)


def _serve(channel: socket.socket | None) -> None:
    """Answer requests until the input ends."""
    _prepare_process()
    answers = _Answers(channel)
    os.dup2(2, 1)  # libraries may print
    while message := _next_message(answers):
        try:
            result = _call(*message["call"]) if "call" in message else {"more": False}
            if hasattr(result, "__next__"):
                for item in result:
                    answers.write({**_by_name(item), "more": True})
                    if not _next_message(answers).get("next"):
                        result.close()  # type: ignore[union-attr]
                        break
                result = {"more": False}
            answers.write(result)
        except Exception as error:
            answers.write_error(error)


def _next_message(answers: _Answers) -> dict[str, Any]:
    """Wait for a message; {} at the end."""
    line = sys.stdin.buffer.readline()
    message: dict[str, Any] = json.loads(line) if line else {}
    answers.release(message.get("released", []))
    return message


def _call(function: str, arguments: Any, folder: str | None) -> Any:
    """Call a function in a working folder."""
    if folder is not None and folder != _working_folder():
        os.chdir(folder)
    call = resolve_name(function)
    return call(**arguments) if isinstance(arguments, dict) else call(*arguments)


def _is_own(error: Exception) -> bool:
    """Whether an error is one that a reader of the project documents."""
    return isinstance(error, FileNotFoundError) or type(error).__module__.startswith("voiceface.")


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])) if len(sys.argv) > 1 else None)
