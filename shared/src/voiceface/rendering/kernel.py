"""Access to the compiled kernel; without it, the first use says how to get it."""

from typing import TYPE_CHECKING, Any, NoReturn

__all__ = ["REMEDY", "kernel"]


REMEDY = (
    "the renderer was installed without its compiled part (voiceface.rendering._raster): install a C "
    "compiler and then voiceface-shared again (pip install --force-reinstall --no-deps ./shared)"
)


class _Missing:
    """Stands for the kernel where it was not built, so that everything that draws nothing can be imported."""

    def __init__(self, reason: ImportError) -> None:
        self._reason = reason

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ModuleNotFoundError(REMEDY) from self._reason


def _find_kernel() -> Any:
    try:
        from voiceface.rendering import _raster
    except ImportError as error:
        return _Missing(error)
    return _raster


if TYPE_CHECKING:
    from voiceface.rendering import _raster as kernel
else:
    kernel = _find_kernel()
