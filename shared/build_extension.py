"""Compiles the rendering kernel and takes it into the wheel; without a C compiler the wheel has none."""

import contextlib
import os
import shutil
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Published images are matched bit by bit: no fused multiply-add, no reordering of sums.
EXACT = {
    "msvc": ["/O2", "/fp:strict"],
    "unix": ["-O3", "-g0", "-fwrapv", "-fno-fast-math", "-ffp-contract=off"],
}
MODULE = "voiceface.rendering._raster"
SOURCE = "src/voiceface/rendering/_raster.pyx"
WITHOUT = (
    "voiceface-shared is built without its renderer: no C compiler works here ({}); everything that draws "
    "meshes will say so. Install a C compiler and then voiceface-shared again."
)


class Extensions(BuildHookInterface):
    """Runs before the wheel (or the editable install) is put together."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        from setuptools.errors import CompileError, LinkError, PlatformError

        self.scratch = tempfile.mkdtemp()
        try:
            compiled = compile_kernel(Path(self.root), Path(self.scratch))
        except (CompileError, LinkError, PlatformError) as error:
            self.app.display_warning(WITHOUT.format(error))
            return
        name = Path(SOURCE).with_name("_raster" + sysconfig.get_config_var("EXT_SUFFIX"))
        if version == "editable":  # beside its source; a process that has the former one open keeps it
            beside = Path(self.root, name)
            part = beside.with_name(f".{beside.name}.{os.getpid()}")
            shutil.copyfile(compiled, part)
            part.replace(beside)
        else:
            build_data["force_include"][str(compiled)] = str(name.relative_to("src"))
        build_data.update(pure_python=False, infer_tag=True)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self.target_name == "wheel":
            shutil.rmtree(self.scratch, ignore_errors=True)


def compile_kernel(root: Path, scratch: Path) -> Path:
    """Compile the kernel below `scratch`; returns the compiled module.

    Raises:
        CompileError, LinkError, PlatformError: (setuptools.errors) no C compiler, or it fails.
    """
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    class BuildExact(build_ext):
        def build_extensions(self) -> None:
            flags = EXACT.get(self.compiler.compiler_type, EXACT["unix"])
            for extension in self.extensions:
                extension.extra_compile_args = flags
            super().build_extensions()

    with contextlib.chdir(root):
        raster = Extension(MODULE, [SOURCE])
        modules = cythonize([raster], build_dir=str(scratch), quiet=True, force=True)
        command = BuildExact(Distribution({"ext_modules": modules, "package_dir": {"": "src"}}))
        command.force = True
        command.build_temp = command.build_lib = str(scratch)
        command.ensure_finalized()
        command.run()
        return Path(command.get_ext_fullpath(MODULE)).resolve()
