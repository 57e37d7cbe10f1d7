"""One sandbox from `up` to `down`, a crash between, and what is refused."""

import os
import select
import signal
import socket
import urllib.request
from pathlib import Path

import pytest

from mesh.sandbox import leftovers, linux, supervisor
from mesh.sandbox.attachment import SCHEDULER, Attachment
from mesh.sandbox.layout import Layout, locate
from mesh.sandbox.supervisor import SandboxError, Supervisor
from tests.support.sandbox import start_sandbox

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root (namespaces, mounts)")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIOMESH_STATE", str(tmp_path))
    return tmp_path


def test_a_sandbox_that_is_not_there(state: Path) -> None:
    assert supervisor.status("none").state == "absent"
    assert supervisor.down("none") is False and supervisor.forwards("none") == {}
    with pytest.raises(SandboxError, match="no host address for Service ns/web port 80"):
        supervisor.wait_forward("none", "ns/web", 80, 1)
    with pytest.raises(SandboxError, match="forwarder does not answer"):
        supervisor.reach("none", "127.0.0.1:1")


def test_a_record_of_a_process_that_is_gone_is_a_crash(state: Path) -> None:
    layout = locate("left")
    layout.root.mkdir()
    layout.supervisor_file.write_text(f'{{"pid": {os.getpid()}, "start_time": 1}}')  # this pid is another process's now
    assert supervisor.status("left").state == "crashed"
    layout.supervisor_file.write_text("{")
    assert supervisor.status("left").state == "crashed"


def test_the_port_of_an_earlier_run_is_kept_when_it_is_free(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    assert supervisor._read_port(file) == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for text in (f"clusters:\n- cluster:\n    server: https://127.0.0.1:{port}\n", f'{{"clusters": [{{"cluster": {{"server": "https://127.0.0.1:{port}", "x": 1}}}}]}}'):
            file.write_text(text)
            assert supervisor._read_port(file) == port
        with supervisor._bind_host(port) as other:
            assert other.getsockname()[1] not in (0, port)
    with supervisor._bind_host(port) as again:
        assert again.getsockname() == ("127.0.0.1", port)


def test_the_last_words_of_a_daemon(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert supervisor._last_line(log) == "it said nothing"
    log.write_text("one\nthe reason\n \n")
    assert supervisor._last_line(log) == "the reason"


@pytest.mark.parametrize(
    ("controllers", "programs", "only"),
    [
        (None, ["apiserver", "runtime", "forward", "controllers", "node"], None),
        (("workloads", "garbage", SCHEDULER), ["runtime", "forward", "controllers", "node"], "workloads,garbage"),
        ((), ["runtime", "forward", "node"], None),
    ],
)
def test_an_attached_sandbox_runs_what_its_cluster_lacks(tmp_path: Path, controllers: tuple[str, ...] | None, programs: list[str], only: str | None) -> None:
    layout = Layout("a", tmp_path)
    if controllers is not None:
        Attachment("https://127.0.0.1:1", controllers).write(layout.attachment_file)
    made = {program.name: program for program in Supervisor(layout, -1)._programs([7, 8])}
    assert list(made) == programs
    words = " ".join(word for program in made.values() for word in program.arguments)
    assert (f"--only {only}" in words) is (only is not None)
    assert ("--no-scheduler" in words) is (controllers is not None and SCHEDULER not in controllers)
    assert ("--listen-fd 7 --listen-fd 8" in words) is (controllers is None)


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
            assert supervisor.reach(made.name, target).startswith("198.18.0.1:")
        with pytest.raises(SandboxError, match="cannot be made reachable"):
            supervisor.reach(made.name, "nonsense")
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
