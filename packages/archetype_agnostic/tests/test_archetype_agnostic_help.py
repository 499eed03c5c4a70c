"""Asking an archetype_agnostic command for its help imports nothing heavy."""

import json
import subprocess
import sys

import pytest
from archetype_agnostic.__main__ import COMMANDS

PROBE = """
import json, sys
from {module} import main
try:
    code = main({words!r})
except SystemExit as stop:
    code = stop.code or 0
heavy = "av cv2 easydict librosa matplotlib numba numpy pandas PIL pyarrow pydantic safetensors scipy "
heavy += "sklearn soundfile tensorboardX torch torchaudio torchvision trimesh"
print(json.dumps([code, sorted(set(sys.modules) & set(heavy.split()))]))
"""


def help_of(module: str, words: list[str]) -> str:
    """First line of the help; nothing heavy may have been imported."""
    code = PROBE.format(module=module, words=words)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    text, _, last = done.stdout.rstrip().rpartition("\n")
    exit_code, heavy = json.loads(last)
    assert exit_code == 0
    assert not heavy, f"{module} {' '.join(words)} imports {', '.join(heavy)}"
    return text.partition("\n")[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_is_light(command: str) -> None:
    assert command in help_of("archetype_agnostic.__main__", [command, "--help"])


@pytest.mark.parametrize("module", ["bundle", "published_config"])
def test_help_of_a_module_without_a_command_is_light(module: str) -> None:
    assert module in help_of(f"archetype_agnostic.{module}", ["--help"])
