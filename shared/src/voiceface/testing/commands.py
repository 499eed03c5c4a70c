"""Commands in tests: run in this process, and their help in a new one."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from voiceface.commandline.dispatch import dispatch

__all__ = ["CommandRunner", "assert_light_help", "command_runner"]

CommandRunner = Callable[..., int]
HEAVY_MODULES = [
    *("av", "cv2", "easydict", "faiss", "librosa", "matplotlib", "numba", "numpy", "onnx", "onnxruntime"),
    *("pandas", "PIL", "pyarrow", "pydantic", "safetensors", "scipy", "sklearn", "soundfile"),
    *("tensorboardX", "torch", "torchaudio", "torchvision", "trimesh", "webrtcvad"),
]
HELP_SCRIPT = """
import json, sys
from {program}.__main__ import main
try:
    code = main([{command!r}, "--help"])
except SystemExit as stop:
    code = stop.code or 0
print(json.dumps([code, sorted(set(sys.modules) & set({heavy!r}))]))
"""


def command_runner(program: str, commands: Mapping[str, tuple[str, str]]) -> CommandRunner:
    """Build a function that runs a command here: ``call("train", "--out", out)`` returns its exit code."""

    def run(*words: str | Path) -> int:
        return dispatch(program, commands, [str(word) for word in words])

    return run


def assert_light_help(program: str, command: str) -> None:
    """Print the help of a command in a new process.

    Raises:
        AssertionError: the command fails, its help starts with another name, or it imports a heavy library.
    """
    code = HELP_SCRIPT.format(program=program, command=command, heavy=HEAVY_MODULES)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    text, _, last = done.stdout.rstrip().rpartition("\n")
    exit_code, heavy = json.loads(last)
    assert exit_code == 0, done.stderr
    assert f"{program} {command}" in text.partition("\n")[0]
    assert not heavy, f"{program} {command} --help imports {', '.join(heavy)}"
