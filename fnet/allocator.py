"""How the C library of this process treats freed memory."""

import ctypes
import ctypes.util
import platform


def keep_freed_memory() -> bool:
    """Have malloc keep what is freed for its next call; return whether that can be set here.

    A training step frees and allocates the same hundreds of megabytes over and over. By default
    glibc gives every large block back to the system, which maps it anew, page by page, at the
    next step. This call is for programs (the recipes make it), not for libraries: it holds for
    the whole process, changes no result, and only glibc knows it. Source: mallopt(3).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    m_trim_threshold, m_mmap_max = -1, -4
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(m_mmap_max, 0) and libc.mallopt(m_trim_threshold, 2**31 - 1))
