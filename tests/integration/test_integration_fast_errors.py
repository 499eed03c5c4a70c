"""Configuration and path errors are reported before any network library is imported, in all seven systems."""

import json
import subprocess
import sys

import pytest

CONFIGURATIONS = {
    "seeking_shape": "quick",
    "archetype_agnostic": "quick",
    "cmpc2": "quick",
    "fop": "quick",
    "sf2f": "quick_1st_stage",
    "perceptionist": "quick_expert",
    "voicestyle": "quick",
}
HEAVY = ("cv2", "numba", "scipy", "torch", "torchaudio", "torchvision")
PROBE = """
import importlib, json, sys
code = importlib.import_module({module!r}).main({words!r})
print(json.dumps([code, sorted(set(sys.modules) & set({heavy!r}))]))
"""


def run_train(system, data, *overrides):
    """Exit code, heavy modules imported, and error text of `SYSTEM train` in a fresh process."""
    words = [
        "train",
        "--cfg",
        CONFIGURATIONS[system],
        "--data",
        str(data),
        "--out",
        str(data / "run"),
        *overrides,
    ]
    code = PROBE.format(module=f"{system}.__main__", words=words, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return *json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("system", CONFIGURATIONS)
def test_missing_data_folder(system, tmp_path):
    code, heavy, error = run_train(system, tmp_path / "missing")
    assert (code, heavy) == (1, []) and f"--data: nothing at {tmp_path / 'missing'}" in error


@pytest.mark.parametrize("system", CONFIGURATIONS)
def test_misspelt_configuration_key(system, tmp_path):
    key = "guidance.num_stepz" if system == "voicestyle" else "training.max_stepz"
    code, heavy, error = run_train(system, tmp_path, f"{key}=3")
    assert (code, heavy) == (1, []) and f"{key}: unknown key; did you mean {key[:-1]}s" in error


@pytest.mark.parametrize("system", CONFIGURATIONS)
@pytest.mark.parametrize("word", ["lr", "learning_rate"])
def test_learning_rate_without_its_section(system, word, tmp_path):
    code, heavy, error = run_train(system, tmp_path, f"{word}=0.1")
    assert (code, heavy) == (1, []) and f"{word}: unknown key; did you mean " in error and len(error) < 300
