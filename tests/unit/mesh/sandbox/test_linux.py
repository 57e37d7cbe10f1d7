"""Kernel calls."""

import os
import subprocess
import sys

from mesh.sandbox import linux


def test_a_start_time_names_a_living_process_only() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        first = linux.start_time(child.pid)
        assert first is not None and first == linux.start_time(child.pid)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie is not alive
        assert linux.start_time(child.pid) is None
    assert linux.start_time(child.pid) is None


def test_capabilities_are_in_the_kernels_order() -> None:
    assert [linux.CAPABILITIES.index(name) for name in ("CHOWN", "NET_ADMIN", "SYS_ADMIN", "SETFCAP", "CHECKPOINT_RESTORE")] == [0, 12, 21, 31, 40]


def test_an_error_names_the_target() -> None:
    try:
        linux.mount("none", "/nonexistent-target", "tmpfs")
    except OSError as exc:
        assert exc.filename == "/nonexistent-target"
    else:
        raise AssertionError("mounted on nothing")
