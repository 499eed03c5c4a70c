"""Lets the tests of the renderer run on another build of its kernel: SIM3DR_KERNEL names the file."""

import importlib.util
import os
import sys

NAME = "perceptionist.sim3dr._raster"

if "SIM3DR_KERNEL" in os.environ:
    spec = importlib.util.spec_from_file_location(NAME, os.environ["SIM3DR_KERNEL"])
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[NAME])
