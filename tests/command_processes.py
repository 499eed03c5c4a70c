"""Commands in processes of their own: working directory, output in a file, calls that are announced."""

import importlib
import os
import runpy
import signal
import sys
import time
from functools import wraps
from typing import Any


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


def run_announced(module: str, argv: list[str], log_path: str, methods: list[str]) -> None:
    """`run_command` in a process group of its own; every call of some methods writes "batch" and waits 0.1 s.

    Args:
        module, argv, log_path: see `run_command`.
        methods: "module:Class.method".
    """
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
    for place in methods:
        name, _, attribute = place.partition(":")
        owner, method = attribute.split(".")
        target = getattr(importlib.import_module(name), owner)
        setattr(target, method, _announced(getattr(target, method)))
    run_command(module, argv, log_path)


def _announced(method: Any) -> Any:
    @wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        print("batch", file=sys.stderr, flush=True)
        time.sleep(0.1)
        return method(*arguments, **options)

    return call
