"""Asking a cmpc2 command for its help imports nothing heavy."""

import json
import subprocess
import sys

import pytest
from cmpc2.__main__ import COMMANDS

PROBE = """
import json, sys
from cmpc2.__main__ import main
try:
    code = main([{command!r}, "--help"])
except SystemExit as stop:
    code = stop.code or 0
heavy = "av cv2 easydict faiss librosa matplotlib numba numpy pandas PIL pyarrow pydantic safetensors scipy "
heavy += "sklearn soundfile tensorboardX torch torchaudio torchvision trimesh webrtcvad"
print(json.dumps([code, sorted(set(sys.modules) & set(heavy.split()))]))
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_is_light(command: str) -> None:
    code = PROBE.format(command=command)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    text, _, last = done.stdout.rstrip().rpartition("\n")
    exit_code, heavy = json.loads(last)
    assert exit_code == 0
    assert f"cmpc2 {command}" in text.partition("\n")[0]
    assert not heavy, f"cmpc2 {command} --help imports {', '.join(heavy)}"


def test_help_names_the_commands() -> None:
    from cmpc2.__main__ import main

    assert main(["--help"]) == 0
