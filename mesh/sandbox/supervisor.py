"""Bring a sandbox up, take it down, say how it is.

`up` starts one process (`supervision`) that stays in the host's network namespace, owns the listening sockets that the
host reaches, and keeps the daemons running in the node's namespace. Should it die, the kernel takes the daemons and every
container with it; what is left in /run/netns and on disk is removed by `down`, or taken up by `up`.

    from mesh.sandbox import forwardclient, supervisor
    sandbox = supervisor.up("demo", progress=print)     # sandbox.kubeconfig, sandbox.api_url
    forwardclient.wait_forward("demo", "triomesh-system/triomesh-ingressgateway", 80)   # "127.0.0.1:40123"
    supervisor.down("demo")
"""

import json
import logging
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.sandbox import leftovers, linux, netns
from mesh.sandbox.daemons import checkout, environment
from mesh.sandbox.failure import SandboxError
from mesh.sandbox.forwardclient import forwards
from mesh.sandbox.layout import Layout, locate

_UP_SECONDS = 60.0
_log = logging.getLogger("supervisor")

Progress = Callable[[str], None]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running sandbox."""

    name: str
    state: Path
    kubeconfig: Path
    api_url: str


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """One daemon. `pid` 0 = not running now."""

    name: str
    pid: int
    ready: bool
    restarts: int
    last_exit: str | None
    started_at: float


@dataclass(frozen=True, slots=True)
class Status:
    """How a sandbox is. `state` is "up", "degraded" (a daemon is down), "crashed" (`up` or `down` helps) or "absent"."""

    state: str
    daemons: tuple[DaemonStatus, ...] = ()
    kubeconfig: Path | None = None
    api_url: str = ""
    forwards: dict[str, dict[str, str]] | None = None


def up(name: str = "default", *, progress: Progress = lambda _text: None, timeout_seconds: float = _UP_SECONDS) -> Sandbox:
    """Start the sandbox, or find it running. State of an earlier one that crashed is taken up again.

    Where the state directory has an attachment (see `attachment`), there is no API server of its own.

    Raises: SandboxError: this machine lacks something, or a daemon did not become ready (the message names its log).
    BadName.
    """
    layout = locate(name)
    if (lacking := netns.missing_prerequisites()) is not None:
        raise SandboxError(f"the sandbox {lacking}")
    _refuse_foreign(layout)
    layout.logs.mkdir(parents=True, exist_ok=True)
    layout.root.chmod(0o755)
    read, write = os.pipe()
    with open(layout.logs / "supervisor.log", "ab") as log:
        done = subprocess.run(
            [sys.executable, "-m", "mesh.sandbox.supervision", "--state", str(layout.root), "--report-fd", str(write)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(write,),
            env=environment(layout.root, checkout(), os.environ),
            cwd="/",
            check=False,
        )
    os.close(write)
    if done.returncode:
        os.close(read)
        raise SandboxError(f"the supervisor did not start; see {layout.logs / 'supervisor.log'}")
    with open(read, "rb", buffering=0) as report:
        return _follow(layout, report.fileno(), progress, timeout_seconds)


def down(name: str = "default", *, progress: Progress = lambda _text: None) -> bool:
    """Stop and remove everything; returns whether there was anything.

    Raises: SandboxError: something could not be removed. BadName.
    """
    layout = locate(name)
    present = layout.root.exists() or bool(leftovers.namespaces(layout))
    if not present:
        _refuse_foreign(layout)
        return False
    if os.geteuid() != 0:
        raise SandboxError("removing a sandbox needs root; run it with sudo")
    _refuse_foreign(layout)
    if _is_alive(layout):
        progress("stopping pods and daemons")
        _ask_to_stop(layout)
    progress("removing namespaces and files")
    try:
        leftovers.remove(layout, keep_state=False)
    except (leftovers.StillThere, OSError) as exc:
        raise SandboxError(f"sandbox {name} is not fully removed: {exc}") from exc
    return True


def status(name: str = "default") -> Status:
    """How the sandbox is."""
    layout = locate(name)
    if not layout.root.exists() and not leftovers.namespaces(layout):
        return Status("absent")
    if not _is_alive(layout):
        return Status("crashed", kubeconfig=layout.kubeconfig)
    answer = ask(layout, "status")
    daemons = tuple(
        DaemonStatus(d["name"], d["pid"], d["ready"], d["restarts"], d["last_exit"], d["started_at"]) for d in answer["daemons"]
    )
    state = "up" if all(daemon.ready for daemon in daemons) else "degraded"
    return Status(state, daemons, layout.kubeconfig, answer["api_url"], forwards(name))


def ask(layout: Layout, request: str) -> Json:
    """The supervisor's description of itself and its daemons. request: "status" or "stop".

    Raises: SandboxError.
    """
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(str(layout.supervisor_socket))
            sock.sendall(request.encode() + b"\n")
            with sock.makefile() as lines:
                answer: Json = json.loads(lines.readline())
                return answer
    except (OSError, ValueError) as exc:
        raise SandboxError(f"sandbox {layout.name}: its supervisor does not answer: {exc}") from exc


def _follow(layout: Layout, fd: int, progress: Progress, timeout_seconds: float) -> Sandbox:
    """Read the supervisor's report until it is ready."""
    deadline, buffer = time.monotonic() + timeout_seconds, b""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while True:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise SandboxError(f"the sandbox was not ready after {timeout_seconds:g} s; see {layout.logs}")
        data = os.read(fd, 65536)
        if not data:
            raise SandboxError(f"the supervisor ended; see {layout.logs / 'supervisor.log'}")
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "error" in message:
                raise SandboxError(message["error"])
            if "ready" in message:
                return Sandbox(layout.name, layout.root, layout.kubeconfig, message["ready"])
            progress(message["step"])


def _refuse_foreign(layout: Layout) -> None:
    """Namespaces are named machine-wide: one name cannot be used with two state directories at once."""
    if (other := leftovers.kept_elsewhere(layout)) is not None:
        raise SandboxError(f"sandbox {layout.name} runs with its state in {other}: set TRIOMESH_STATE={other.parent}, or use another name")


def _is_alive(layout: Layout) -> bool:
    recorded = _read_record(layout)
    return recorded is not None and linux.start_time(recorded["pid"]) == recorded["start_time"]


def _read_record(layout: Layout) -> Json | None:
    try:
        record: Json = json.loads(layout.supervisor_file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record


def _ask_to_stop(layout: Layout) -> None:
    record = _read_record(layout)
    assert record is not None
    try:
        pidfd = os.pidfd_open(record["pid"])
    except ProcessLookupError:
        return
    try:
        ask(layout, "stop")
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(20_000)
    except SandboxError as exc:
        _log.warning("%s", exc)  # it is removed by force next
    finally:
        os.close(pidfd)
