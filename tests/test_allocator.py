"""What malloc does with large blocks, seen from the memory that the process holds."""

import platform
import subprocess
import sys

import pytest

# By how many megabytes the process grows with a block, and how many of them it keeps after it.
SCRIPT = """
import ctypes
from pathlib import Path
from fnet.allocator import keep_freed_memory, map_large_blocks

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

def block(megabytes):
    before = resident()
    place = libc.malloc(megabytes * 2**20)
    ctypes.memset(place, 1, megabytes * 2**20)
    during = resident()
    libc.free(place)
    return f"{during - before:.0f},{resident() - before:.0f}"

print(map_large_blocks(), block(64), block(2), keep_freed_memory(), block(64), block(64))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_large_blocks_are_given_back_and_then_kept():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "64,0", "2,0", "True", "64,64", "0,0"], done.stderr


def test_elsewhere_nothing_is_set(monkeypatch):
    from fnet import allocator

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not allocator.map_large_blocks()
    assert not allocator.keep_freed_memory()
