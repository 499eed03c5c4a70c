"""Memory of a long computation on a processor: keep what is freed instead of giving it back each time."""

import ctypes
import logging
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
log = logging.getLogger(__name__)


def keep_freed_memory() -> bool:
    """Let the C library reuse large freed blocks within this process.

    A training step frees and takes the same large blocks again and again. By default glibc gives each back to
    the system, which clears it anew on the next use: measured 5 to 10 % of a step of the full networks. The
    process then keeps its peak of memory until it ends. Nothing happens without glibc; results never change.

    Returns:
        Whether the C library took the setting.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        library = ctypes.CDLL(None)
        took = bool(library.mallopt(M_MMAP_MAX, 0)) and bool(library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
    except (AttributeError, OSError):  # another C library
        return False
    log.debug("freed memory is %s", "kept" if took else "given back as usual")
    return took
