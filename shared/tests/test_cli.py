"""The `voiceface` command: its help, its exit codes, and that asking for help imports nothing heavy."""

import json
import subprocess
import sys

import pytest
from voiceface.__main__ import COMMANDS, main
from voiceface.commandline.arguments import split_overrides

HEAVY = (
    "av cv2 easydict librosa matplotlib numba numpy pandas PIL pyarrow pydantic safetensors scipy sklearn "
    "soundfile tensorboardX torch torchaudio torchvision trimesh"
)
PROBE = """
import json, sys
from {package}.{module} import main
try:
    code = main([{command!r}, "--help"])
except SystemExit as stop:
    code = stop.code or 0
print(json.dumps([code, sorted(set(sys.modules) & set({heavy!r}.split()))]))
"""


def heavy_modules_of_help(package, module, command):
    """Exit code of COMMAND --help in a fresh process, its text, and the heavy modules it imported."""
    code = PROBE.format(package=package, module=module, command=command, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    text, _, last = done.stdout.rstrip().rpartition("\n")
    return *json.loads(last), text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_printed_before_anything_heavy_is_imported(command):
    code, heavy, text = heavy_modules_of_help("voiceface", "__main__", command)
    assert code == 0
    assert f"usage: voiceface {command}" in text
    assert not heavy, f"voiceface {command} --help imports {', '.join(heavy)}"


def test_the_probe_sees_what_a_help_imports(tmp_path, monkeypatch):
    (tmp_path / "slow_program").mkdir()
    (tmp_path / "slow_program" / "cli.py").write_text("import numpy\n\ndef main(argv):\n    return 0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    code = PROBE.format(package="slow_program", module="cli", command="any", heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [0, ["numpy"]]


def test_help_names_every_command_with_its_line(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown and line in shown for command, (_, line) in COMMANDS.items())


def test_words_that_are_no_command_line_give_exit_code_2(capsys):
    assert main([]) == 2
    assert main(["chek"]) == 2
    assert "no command 'chek'" in capsys.readouterr().err
    assert main(["check"]) == 2


def test_bad_input_ends_in_one_line_and_exit_code_1(tmp_path, capsys):
    assert main(["lists", "show", str(tmp_path / "absent.txt")]) == 1
    shown = capsys.readouterr().err
    assert "absent.txt" in shown and "Traceback" not in shown


def test_overrides_are_told_from_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seed=1").touch()
    words = ["a.wav", "guidance.num_steps=3", "seed=4", "seed=1", "dir/x=y.wav", "a.b.c=[1, 2]"]
    paths, overrides = split_overrides(words)
    assert overrides == ["guidance.num_steps=3", "seed=4", "a.b.c=[1, 2]"]
    assert [str(path) for path in paths] == ["a.wav", "seed=1", "dir/x=y.wav"]
