"""What malloc does with large blocks, seen from the memory that the process holds."""

import platform
import subprocess
import sys

import pytest

# By how many megabytes the process grows with a block, and how many of them it keeps after it.
SCRIPT = """
import ctypes
from pathlib import Path
from fnet.run.process import (
    first_call_without_fragmentation, map_large_blocks, without_fragmentation
)

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

def small_blocks_that_stay():
    for _ in range(5000):
        libc.malloc(1000)

map_large_blocks()
print(block(64), block(2))
later = first_call_without_fragmentation(block)
print(later(64), later(64), later(64))
with without_fragmentation():
    print(block(2))
    small_blocks_that_stay()
print(block(64))
small_blocks_that_stay()
print(block(64))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_large_blocks_are_given_back_and_then_kept_apart():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    mapped, kept, within, after, without = done.stdout.splitlines()
    assert mapped == "64,0 2,0"
    assert kept == "64,0 64,64 0,0"
    assert within == "2,0"
    assert after == "0,0"
    assert without != "0,0"


def test_elsewhere_nothing_is_set(monkeypatch):
    from fnet.run import process

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    process._glibc.cache_clear()
    assert process._glibc() is None
    with process.without_fragmentation():
        process.map_large_blocks()
    monkeypatch.undo()
    process._glibc.cache_clear()
