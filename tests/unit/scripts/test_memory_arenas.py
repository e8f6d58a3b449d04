"""Threads begun after the start share one heap, where the C library can be told so."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import ctypes, sys, threading
from scripts.memory_arenas import share_one_heap

if sys.argv[1] == "shared":
    assert share_one_heap()
barrier = threading.Barrier(4)

def work():
    barrier.wait()
    kept = [bytearray(5000) for _ in range(200)]
    barrier.wait()
    return len(kept)

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
libc.fclose.argtypes = [ctypes.c_void_p]
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
file = libc.fopen(sys.argv[2].encode(), b"w")
libc.malloc_info(0, file)
libc.fclose(file)
"""


def heaps(folder: Path, mode: str) -> int:
    told = folder / f"{mode}.xml"
    subprocess.run([sys.executable, "-c", PROGRAM, mode, str(told)], cwd=ROOT, check=True, timeout=30)
    return told.read_text(encoding="utf-8").count("<heap nr=")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps its heaps otherwise")
def test_threads_share_one_heap_once_told_so(tmp_path: Path) -> None:
    assert heaps(tmp_path, "apart") > 1
    assert heaps(tmp_path, "shared") == 1
