"""The kernel of the renderer: bounds checks, AddressSanitizer, and an installation without it."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from voiceface import rendering
from voiceface.rendering.kernel import REMEDY

NAME = "voiceface.rendering._raster"
HERE = Path(__file__).resolve().parent
SHARED = HERE.parent
SOURCE = Path(rendering.__file__).with_name("_raster.pyx")
FUZZ = ["test_rendering_fuzz.py", "test_rendering_rasterization.py"]


WITHOUT_KERNEL = """
import sys
sys.modules["voiceface.rendering._raster"] = None
import numpy as np
from voiceface import rendering
from voiceface.rendering.kernel import REMEDY

assert rendering.Lighting().moved((0, 0, 1)).light_pos == (0, 0, 1)
draw = [
    lambda: rendering.rasterize(np.eye(3), [[0, 1, 2]], np.eye(3), height=4, width=4),
    lambda: rendering.rasterize_triangles(np.eye(3), [[0, 1, 2]], 4, 4),
    lambda: rendering.get_normals(np.eye(3), [[0, 1, 2]]),
]
for call in draw:
    try:
        call()
    except ModuleNotFoundError as error:
        print(error)
"""


def compiled(folder: Path, flags: list[str], checked: bool = False) -> Path:
    """Build the kernel from its source with these compiler flags; `checked`: with checks of indices."""
    build = pytest.importorskip("Cython.Build")
    tools = pytest.importorskip("setuptools")
    if not shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0]):
        pytest.skip("no C compiler")
    source, text = folder / SOURCE.name, SOURCE.read_text("utf-8")
    assert text.count("boundscheck=False") == 1
    source.write_text(text.replace("boundscheck=False", f"boundscheck={checked}"), "utf-8")
    shutil.copy(SOURCE.with_suffix(".h"), folder)
    macros = [("RASTER_CHECKED", "1")] if checked else []
    extension = tools.Extension(
        NAME, [str(source)], define_macros=macros, extra_compile_args=flags, extra_link_args=flags
    )
    modules = build.cythonize([extension], quiet=True)
    command = tools.Distribution({"ext_modules": modules}).get_command_obj("build_ext")
    command.build_lib = command.build_temp = str(folder)
    command.ensure_finalized()
    command.run()
    return Path(command.get_ext_fullpath(NAME))


def run_tests(kernel: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The renderer's tests in a process of their own, on this kernel."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *FUZZ]
    surroundings = {**os.environ, "VOICEFACE_RENDERING_KERNEL": str(kernel), **environment}
    return subprocess.run(words, cwd=HERE, env=surroundings, capture_output=True, text=True, timeout=900)


def test_without_its_compiled_part_drawing_says_how_to_get_it():
    done = subprocess.run([sys.executable, "-c", WITHOUT_KERNEL], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [REMEDY] * 3
    assert "C compiler" in REMEDY and "pip install" in REMEDY


def test_without_a_compiler_the_package_is_built_and_says_so(tmp_path, monkeypatch):
    hook = SHARED / "build_extension.py"
    if not hook.is_file():
        pytest.skip("not a checkout")
    for needed in ("hatchling", "Cython", "setuptools"):
        pytest.importorskip(needed)
    spec = importlib.util.spec_from_file_location("build_extension", hook)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("CC", "no-such-compiler")
    warnings, build_data = [], {"force_include": {}}
    app = SimpleNamespace(display_warning=warnings.append)
    extensions = module.Extensions(str(SHARED), {}, None, None, str(tmp_path), "wheel", app)
    extensions.initialize("standard", build_data)
    extensions.finalize("standard", build_data, "")
    assert build_data == {"force_include": {}}  # a wheel for any platform
    assert len(warnings) == 1 and "no-such-compiler" in warnings[0] and "Install a C compiler" in warnings[0]


def test_the_kernel_stays_within_array_bounds(tmp_path):
    flags = ["-O0", "-fwrapv", "-ffp-contract=off"] if os.name != "nt" else ["/Od", "/fp:strict"]
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
    flags = ["-O1", "-g", "-fwrapv", "-ffp-contract=off", "-fsanitize=address"]
    kernel = compiled(tmp_path, flags)
    environment = {"LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0"}
    wild_call = (
        "import conftest, numpy as np, sys; normals = sys.modules[conftest.KERNEL].triangle_normals; "
        "normals(np.zeros((2, 3), 'f4'), np.full((1, 3), 20, 'i4'), np.zeros((1, 3), 'f4'), False)"
    )
    surroundings = {**os.environ, "VOICEFACE_RENDERING_KERNEL": str(kernel), **environment}
    caught = subprocess.run(
        [sys.executable, "-c", wild_call], cwd=HERE, env=surroundings, capture_output=True, text=True
    )
    assert caught.returncode != 0 and "AddressSanitizer" in caught.stderr, caught.stderr[-2000:]  # it watches
    done = run_tests(kernel, environment)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
