"""The renderer's tests on instrumented kernels: Cython's bounds checks, AddressSanitizer."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from perceptionist import sim3dr

NAME = "perceptionist.sim3dr._raster"
HERE = Path(__file__).resolve().parent
SOURCE = Path(sim3dr.__file__).with_name("_raster.pyx")
FUZZ = ["test_perceptionist_renderer_fuzz.py", "test_perceptionist_renderer.py"]


def compiled(folder: Path, flags: list[str], checked: bool = False) -> Path:
    """Build the kernel from its source with these compiler flags; `checked`: with checks of every index."""
    build = pytest.importorskip("Cython.Build")
    tools = pytest.importorskip("setuptools")
    if not shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0]):
        pytest.skip("no C compiler")
    source, text = folder / SOURCE.name, SOURCE.read_text("utf-8")
    assert text.count("boundscheck=False") == 1
    source.write_text(text.replace("boundscheck=False", f"boundscheck={checked}"), "utf-8")
    extension = tools.Extension(NAME, [str(source)], extra_compile_args=flags, extra_link_args=flags)
    modules = build.cythonize([extension], quiet=True)
    command = tools.Distribution({"ext_modules": modules}).get_command_obj("build_ext")
    command.build_lib = command.build_temp = str(folder)
    command.ensure_finalized()
    command.run()
    return Path(command.get_ext_fullpath(NAME))


def run_tests(kernel: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The renderer's tests in a process of their own, on this kernel."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *FUZZ]
    surroundings = {**os.environ, "SIM3DR_KERNEL": str(kernel), **environment}
    return subprocess.run(words, cwd=HERE, env=surroundings, capture_output=True, text=True, timeout=900)


def test_the_kernel_stays_within_array_bounds(tmp_path):
    flags = ["-O0", "-ffp-contract=off"] if os.name != "nt" else ["/Od", "/fp:strict"]
    kernel = compiled(tmp_path, flags, checked=True)
    spec = importlib.util.spec_from_file_location(NAME, kernel)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(IndexError):  # the checks are on
        module.triangle_normals(
            np.zeros((2, 3), np.float32), np.full((1, 3), 2, np.int32), np.zeros((1, 3), np.float32), False
        )
    done = run_tests(kernel, {})
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the library is preloaded as on Linux")
def test_address_sanitizer_finds_nothing(tmp_path):
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc")
    find = [compiler, "-print-file-name=libasan.so"]
    library = subprocess.run(find, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(library).is_absolute():
        pytest.skip("gcc without libasan")
    flags = ["-O1", "-g", "-ffp-contract=off", "-fsanitize=address"]
    kernel = compiled(tmp_path, flags)
    environment = {"LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0"}
    wild_call = (
        "import conftest, numpy as np, sys; normals = sys.modules[conftest.NAME].triangle_normals; "
        "normals(np.zeros((2, 3), 'f4'), np.full((1, 3), 20, 'i4'), np.zeros((1, 3), 'f4'), False)"
    )
    surroundings = {**os.environ, "SIM3DR_KERNEL": str(kernel), **environment}
    caught = subprocess.run(
        [sys.executable, "-c", wild_call], cwd=HERE, env=surroundings, capture_output=True, text=True
    )
    assert caught.returncode != 0 and "AddressSanitizer" in caught.stderr, caught.stderr[-2000:]  # it watches
    done = run_tests(kernel, environment)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
