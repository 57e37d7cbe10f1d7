"""One sandbox from `up` to `down`, and a crash between."""

import os
import select
import signal
import socket
import urllib.request
from pathlib import Path

import pytest

from mesh.sandbox import forwardclient, leftovers, linux, supervisor
from mesh.sandbox.failure import SandboxError
from mesh.sandbox.layout import locate
from tests.support.sandbox import start_sandbox

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root (namespaces, mounts)")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIOMESH_STATE", str(tmp_path))
    return tmp_path


def test_a_sandbox_that_is_not_there(state: Path) -> None:
    assert supervisor.status("none").state == "absent"
    assert supervisor.down("none") is False


def test_a_record_of_a_process_that_is_gone_is_a_crash(state: Path) -> None:
    layout = locate("left")
    layout.root.mkdir()
    layout.supervisor_file.write_text(f'{{"pid": {os.getpid()}, "start_time": 1}}')  # this pid is another process's now
    assert supervisor.status("left").state == "crashed"
    layout.supervisor_file.write_text("{")
    assert supervisor.status("left").state == "crashed"


@root
@pytest.mark.root
def test_a_sandbox_survives_its_supervisor_and_leaves_nothing() -> None:
    with start_sandbox() as made:
        layout = locate(made.name)
        found = supervisor.status(made.name)
        assert found.state == "up" and {d.name for d in found.daemons} == {"apiserver", "runtime", "forward", "controllers", "node"}
        again = supervisor.up(made.name)  # it is there: nothing is started
        assert again.api_url == found.api_url and supervisor.status(made.name).daemons == found.daemons
        with socket.create_server(("127.0.0.1", 0)) as outside:
            target = f"127.0.0.1:{outside.getsockname()[1]}"
            assert forwardclient.reach(made.name, target).startswith("198.18.0.1:")
        with pytest.raises(SandboxError, match="cannot be made reachable"):
            forwardclient.reach(made.name, "nonsense")
        # The kernel takes every daemon with a supervisor that is killed, and `up` takes the state up again.
        pids = [daemon.pid for daemon in found.daemons]
        ends = [os.pidfd_open(pid) for pid in pids]
        os.kill(supervisor._read_record(layout)["pid"], signal.SIGKILL)  # type: ignore[index]
        for fd in ends:
            assert select.select([fd], [], [], 20)[0]
            os.close(fd)
        assert supervisor.status(made.name).state == "crashed"
        assert [linux.start_time(pid) for pid in pids] == [None] * len(pids)
        assert supervisor.up(made.name).api_url == found.api_url
        assert supervisor.status(made.name).state == "up"
        assert supervisor.down(made.name) is True
        assert not layout.root.exists() and leftovers.namespaces(layout) == []
        with pytest.raises(OSError):
            urllib.request.urlopen(found.api_url, timeout=1)
