"""Commands in processes of their own: working directory, output in a file."""

import os
import runpy
import sys


def run_command(module: str, argv: list[str], log_path: str, folder: str | None = None) -> None:
    """`main` of a module or script as the main program of this process; its output goes to a file."""
    from voiceface.commandline.dispatch import run_main

    if folder:
        os.chdir(folder)
    place = os.open(log_path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(place, stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    if module.endswith(".py"):
        sys.argv = [module, *argv]
        runpy.run_path(module, run_name="__main__")
        raise SystemExit(0)
    raise SystemExit(run_main(module, argv))
