"""Finding what is left, without a sandbox."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mesh.sandbox import leftovers
from mesh.sandbox.daemons import STATE_VARIABLE
from mesh.sandbox.layout import Layout


def marked(state: Path) -> "subprocess.Popen[bytes]":
    child = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={STATE_VARIABLE: str(state)})
    assert child.stdout is not None
    child.stdout.readline()
    return child


@pytest.mark.skipif(os.geteuid() != 0, reason="reads the environments of other processes")
def test_a_marked_process_is_found_and_killed_and_others_are_not(tmp_path: Path) -> None:
    with marked(tmp_path / "lone") as ours, marked(tmp_path / "lone-2") as other:
        layout = Layout("lone", tmp_path / "lone")
        assert list(leftovers.processes(layout)) == [ours.pid]
        assert leftovers.kill_all(layout) == 1
        assert other.poll() is None
        other.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="reads the environments of other processes")
def test_a_sandbox_kept_elsewhere_is_named(tmp_path: Path) -> None:
    with marked(tmp_path / "else" / "twice") as child:
        assert leftovers.kept_elsewhere(Layout("twice", tmp_path / "twice")) == tmp_path / "else" / "twice"
        assert leftovers.kept_elsewhere(Layout("other", tmp_path / "other")) is None
        child.kill()
