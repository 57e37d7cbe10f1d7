import platform
import subprocess
import sys

import pytest

from mesh.proxy.heap import trim_heap

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
ARENAS = """
import threading
from mesh.proxy.heap import share_heap
assert share_heap()
threads = [threading.Thread(target=lambda: bytearray(100_000)) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
import ctypes
ctypes.CDLL(None).malloc_stats()
"""


@glibc
def test_threads_share_one_arena() -> None:
    done = subprocess.run([sys.executable, "-c", ARENAS], capture_output=True, text=True, check=True)
    assert [line for line in done.stderr.splitlines() if line.startswith("Arena")] == ["Arena 0:"]


@glibc
def test_what_was_freed_is_given_back() -> None:
    # Below the size that is mapped on its own, and above what the top of the heap may keep.
    pieces = [bytes(100_000) for _ in range(200)]
    last = bytes(100_000)
    del pieces
    assert trim_heap()
    assert len(last) == 100_000
