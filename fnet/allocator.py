"""How the C library of this process treats large blocks of memory.

A training step frees and allocates the same hundreds of megabytes over and over. By default glibc
gives every large block back to the system, which maps it anew, page by page, at the next step. To
keep them is quicker, but begun too early it costs half as much memory again: compiling and the
first step leave many small blocks for good, and kept large ones would lie between them, where
later ones do not fit. So a program (the recipes do it) calls `map_large_blocks` when it begins, and
`keep_freed_memory` after its first step.

Both hold for the whole process, change no result, and return whether they can be had here: only
glibc knows them. Source: mallopt(3).
"""

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_LARGE = 2**20


def map_large_blocks() -> bool:
    """Have malloc map each block of a megabyte or more by itself, and give it back when freed."""
    return _set((_MMAP_THRESHOLD, _LARGE))


def keep_freed_memory() -> bool:
    """Have malloc keep what is freed from now on for its next call."""
    return _set((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1))


def _set(*options: tuple[int, int]) -> bool:
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return all(libc.mallopt(option, value) for option, value in options)
