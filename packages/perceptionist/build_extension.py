"""Compiles the renderer's kernel beside its source and takes it into the wheel."""

import os
import sysconfig
import tempfile
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Published images are matched bit by bit: no fused multiply-add, no reordering of sums.
EXACT = {"msvc": ["/O2", "/fp:strict"], "unix": ["-O3", "-g0", "-fno-fast-math", "-ffp-contract=off"]}


class Extensions(BuildHookInterface):
    """Runs before the wheel (or the editable install) is put together."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        from Cython.Build import cythonize
        from setuptools import Distribution, Extension
        from setuptools.command.build_ext import build_ext

        class BuildExact(build_ext):
            def build_extensions(self) -> None:
                flags = EXACT.get(self.compiler.compiler_type, EXACT["unix"])
                for extension in self.extensions:
                    extension.extra_compile_args = flags
                super().build_extensions()

        os.chdir(self.root)
        raster = Extension("perceptionist.sim3dr._raster", ["src/perceptionist/sim3dr/_raster.pyx"])
        with tempfile.TemporaryDirectory() as scratch:
            modules = cythonize([raster], build_dir=scratch, quiet=True, force=True)
            dist = Distribution({"ext_modules": modules, "package_dir": {"": "src"}})
            command = BuildExact(dist)
            command.inplace, command.force = True, True
            command.build_temp = command.build_lib = scratch
            command.ensure_finalized()
            command.run()
        build_data["artifacts"].append("*" + sysconfig.get_config_var("EXT_SUFFIX"))
        build_data.update(pure_python=False, infer_tag=True)
