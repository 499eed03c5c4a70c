"""Asking an sf2f command for its help imports nothing heavy."""

import json
import subprocess
import sys

import pytest
from sf2f.__main__ import COMMANDS

PROBE = """
import json, sys
from sf2f.__main__ import main
try:
    code = main([{command!r}, "--help"])
except SystemExit as stop:
    code = stop.code or 0
heavy = "av cv2 easydict librosa matplotlib numba numpy onnx onnxruntime pandas PIL pyarrow pydantic "
heavy += "safetensors scipy sklearn soundfile tensorboardX torch torchaudio torchvision trimesh webrtcvad"
print(json.dumps([code, sorted(set(sys.modules) & set(heavy.split()))]))
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_is_light(command: str) -> None:
    code = PROBE.format(command=command)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    text, _, last = done.stdout.rstrip().rpartition("\n")
    exit_code, heavy = json.loads(last)
    assert exit_code == 0
    assert command in text.partition("\n")[0]
    assert not heavy, f"sf2f {command} --help imports {', '.join(heavy)}"


def test_the_package_itself_is_light() -> None:
    code = "import sys, sf2f; assert not {'torch', 'numpy'} & set(sys.modules); print(sf2f.face.__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "sf2f.results"
