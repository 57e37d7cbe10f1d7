"""Bring a sandbox up, take it down, say how it is.

`up` starts one supervisor process (this module as a program) that stays in the host's network namespace, owns the
listening sockets that the host reaches, and keeps the daemons running in the node's namespace. Should it die, the kernel
takes the daemons and every container with it; what is left in /run/netns and on disk is removed by `down`, or taken up by `up`.

    from mesh.sandbox import supervisor
    sandbox = supervisor.up("demo", progress=print)     # sandbox.kubeconfig, sandbox.api_url
    supervisor.wait_forward("demo", "triomesh-system/triomesh-ingressgateway", 80)   # "127.0.0.1:40123"
    supervisor.down("demo")
"""

import argparse
import fcntl
import json
import logging
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

import mesh
from mesh.sandbox import leftovers, linux, netns
from mesh.sandbox.attachment import SCHEDULER, Attachment
from mesh.sandbox.daemons import Daemon, Program, environment
from mesh.sandbox.layout import Layout, locate
from mesh.sandbox.network import NODE_IP
from mesh.sandbox.node.runtimeclient import RuntimeClient, RuntimeFailure

API_PORT = 6443
_UP_SECONDS = 60.0
_CONTAINER_GRACE_SECONDS = 2.0
_log = logging.getLogger("supervisor")

Progress = Callable[[str], None]
Json = dict[str, Any]


class SandboxError(Exception):
    """The sandbox cannot be brought up, reached or removed; one line for people."""


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
            [sys.executable, "-m", "mesh.sandbox.supervisor", "--state", str(layout.root), "--report-fd", str(write)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(write,),
            env=environment(layout.root, _source(), os.environ),
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
    answer = _ask(layout, "status")
    daemons = tuple(
        DaemonStatus(d["name"], d["pid"], d["ready"], d["restarts"], d["last_exit"], d["started_at"]) for d in answer["daemons"]
    )
    state = "up" if all(daemon.ready for daemon in daemons) else "degraded"
    return Status(state, daemons, layout.kubeconfig, answer["api_url"], forwards(name))


def forwards(name: str = "default") -> dict[str, dict[str, str]]:
    """{"<namespace>/<service>": {"<port>": "127.0.0.1:<port>"}} of the LoadBalancer Services reachable from the host."""
    file = locate(name).forwards_file
    result: dict[str, dict[str, str]] = json.loads(file.read_text()) if file.exists() else {}
    return result


def wait_forward(name: str, service: str, port: int, timeout_seconds: float = 30.0) -> str:
    """The host's address of a LoadBalancer Service's port, as soon as there is one.

    Raises: SandboxError: none in time.
    """
    layout = locate(name)
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(timeout_seconds)
            sock.connect(str(layout.forward_socket))
            sock.sendall(json.dumps({"wait": [service, str(port)]}).encode() + b"\n")
            with sock.makefile() as lines:
                return str(json.loads(lines.readline())["address"])
    except (OSError, ValueError) as exc:
        raise SandboxError(f"no host address for Service {service} port {port} after {timeout_seconds:g} s: {exc}") from exc


def reach(name: str, target: str) -> str:
    """Where pods find `target` ("<ip>:<port>" as the host reaches it): an address of the node, "198.18.0.1:<port>".

    Raises: SandboxError: the sandbox is not up, or the target is no address.
    """
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(str(locate(name).forward_socket))
            sock.sendall(json.dumps({"reach": target}).encode() + b"\n")
            with sock.makefile() as lines:
                answer = json.loads(lines.readline())
    except (OSError, ValueError) as exc:
        raise SandboxError(f"the sandbox's forwarder does not answer: {exc}") from exc
    if "error" in answer:
        raise SandboxError(f"{target} cannot be made reachable in the sandbox: {answer['error']}")
    return str(answer["address"])


# -- towards the supervisor ---------------------------------------------------------------------------------------------


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


def _ask(layout: Layout, request: str) -> Json:
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


def _ask_to_stop(layout: Layout) -> None:
    record = _read_record(layout)
    assert record is not None
    try:
        pidfd = os.pidfd_open(record["pid"])
    except ProcessLookupError:
        return
    try:
        _ask(layout, "stop")
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(20_000)
    except SandboxError as exc:
        _log.warning("%s", exc)  # it is removed by force next
    finally:
        os.close(pidfd)


def _source() -> Path:
    return Path(mesh.__path__[0]).resolve().parent


# -- the supervisor process ---------------------------------------------------------------------------------------------


class Supervisor:
    """The process behind `up`."""

    def __init__(self, layout: Layout, report_fd: int) -> None:
        self._layout = layout
        self._report = report_fd
        self._daemons: dict[str, Daemon] = {}
        self._stop = trio.Event()
        self._attachment = Attachment.read(layout.attachment_file)
        self._api_url = self._attachment.server if self._attachment else ""

    async def run(self) -> None:
        """Until `stop` is asked for or SIGTERM comes."""
        layout = self._layout
        self._say(step="making the node's network")
        leftovers.remove(layout, keep_state=True)
        layout.pods.mkdir(exist_ok=True)
        netns.set_up_node(layout.node_netns)
        sockets: list[socket.socket] = []
        if self._attachment is None:
            sockets = self._sockets()
            self._api_url = "https://{}:{}".format(*sockets[0].getsockname())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._on_signals)
            await nursery.start(self._serve_control)
            self._record()
            async with trio.open_nursery() as daemons:
                for program in self._programs([sock.fileno() for sock in sockets]):
                    self._daemons[program.name] = Daemon(program, layout.root, _source())
                daemons.start_soon(self._start_all, daemons)
                await self._stop.wait()
                await self._stop_all()
                daemons.cancel_scope.cancel()
            nursery.cancel_scope.cancel()

    def _programs(self, fds: list[int]) -> list[Program]:
        layout, inside = self._layout, str(self._layout.node_netns_path)
        state, attached = ("--state", str(layout.root)), self._attachment
        forward = ("--netns", inside, "--socket", str(layout.forward_socket), "--publish", str(layout.forwards_file),
                   "--reach", str(layout.reach_file), "--egress", str(layout.egress_socket))  # fmt: skip
        programs = [
            Program("runtime", ("mesh.sandbox.node.runtime", "--socket", str(layout.runtime_socket)), inside),
            Program("forward", ("mesh.sandbox.forward", *forward), ""),
        ]
        if attached is None:
            listen = tuple(part for fd in fds for part in ("--listen-fd", str(fd)))
            programs.insert(0, Program("apiserver", ("mesh.sandbox.apiserver", *state, *listen), inside, tuple(fds)))
            programs.append(Program("controllers", ("mesh.sandbox.controllers", *state), inside))
            programs.append(Program("node", ("mesh.sandbox.node", *state), inside))
            return programs
        if only := attached.managers:
            credentials = ("--kubeconfig", str(layout.controllers_kubeconfig), "--only", ",".join(only))
            programs.append(Program("controllers", ("mesh.sandbox.controllers", *state, *credentials), inside))
        scheduling = () if SCHEDULER in attached.controllers else ("--no-scheduler",)
        programs.append(Program("node", ("mesh.sandbox.node", *state, *scheduling), inside))
        return programs

    def _sockets(self) -> list[socket.socket]:
        """The API server's two listening sockets: 127.0.0.1 of the host, and the node's address. They outlive the API server."""
        old = _read_port(self._layout.kubeconfig)
        host = _bind_host(old)
        made: list[socket.socket] = []

        def inside() -> None:
            linux.enter(str(self._layout.node_netns_path), linux.CLONE_NEWNET)
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.bind((NODE_IP, API_PORT))
            sock.listen(1024)
            made.append(sock)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        return [host, *made]

    async def _start_all(self, nursery: trio.Nursery) -> None:
        # The node needs the runtime; on an API server elsewhere node and controllers need the way to it that the forwarder is.
        steps = (("apiserver",), "starting the API server"), (("runtime", "forward"), "starting node and controllers"), (("controllers", "node"), "")
        for names, text in steps:
            daemons = [self._daemons[name] for name in names if name in self._daemons]
            if daemons and text:
                self._say(step=text)
            for daemon in daemons:
                nursery.start_soon(daemon.run)
            for daemon in daemons:
                if not await self._wait_ready(daemon):
                    return
        self._record()
        self._say(ready=self._api_url)
        self._close_report()

    async def _wait_ready(self, daemon: Daemon) -> bool:
        """Whether a daemon came up; after its third crash `up` is told and everything is stopped."""
        while not daemon.ready.is_set():
            with trio.move_on_after(0.5):
                await daemon.ready.wait()
            if daemon.restarts >= 3:
                log = self._layout.logs / f"{daemon.program.name}.log"
                self._say(error=f"{daemon.program.name} does not start ({daemon.last_exit}): {_last_line(log)} (see {log})")
                self._close_report()
                self._stop.set()
                return False
        return True

    async def _stop_all(self) -> None:
        """Controllers and node first, so that nothing is started again; then the containers; then the rest."""
        for name in ("controllers", "node"):
            if name in self._daemons:
                await self._daemons[name].stop(1.0)
        with trio.move_on_after(_CONTAINER_GRACE_SECONDS + 1.0):
            await self._stop_containers()
        async with trio.open_nursery() as nursery:
            for name in ("runtime", "forward", "apiserver"):
                if name in self._daemons:
                    nursery.start_soon(self._daemons[name].stop, 2.0)

    async def _stop_containers(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                client = await RuntimeClient.connect(self._layout.runtime_socket)
                nursery.start_soon(client.run)
                running = [name for name, known in (await client.containers()).items() if known.exit is None]
                for name in running:
                    await client.signal(name, signal.SIGTERM)
                with trio.move_on_after(_CONTAINER_GRACE_SECONDS):
                    for name in running:
                        await client.wait(name)
                nursery.cancel_scope.cancel()
            client.close()
        except* (OSError, RuntimeFailure) as group:
            _log.info("containers are ended by force: %s", group.exceptions)

    async def _serve_control(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._layout.supervisor_socket.unlink(missing_ok=True)
        sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        await sock.bind(str(self._layout.supervisor_socket))
        sock.listen(8)
        await trio.serve_listeners(self._serve_one, [trio.SocketListener(sock)], task_status=_Started(task_status))

    async def _serve_one(self, stream: trio.SocketStream) -> None:
        try:
            request = (await stream.receive_some(64)).strip()
            if request == b"stop":
                self._stop.set()
            await stream.send_all(json.dumps(self._describe()).encode() + b"\n")
        except trio.BrokenResourceError:
            pass  # whoever asked has gone away

    def _describe(self) -> Json:
        return {
            "pid": os.getpid(),
            "start_time": linux.start_time(os.getpid()),
            "api_url": self._api_url,
            "daemons": [daemon.describe() for daemon in self._daemons.values()],
        }

    def _record(self) -> None:
        fresh = self._layout.supervisor_file.with_suffix(".new")
        fresh.write_text(json.dumps(self._describe(), indent=1))
        fresh.rename(self._layout.supervisor_file)

    async def _on_signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                self._stop.set()

    def _say(self, **message: str) -> None:
        if self._report >= 0:
            try:
                os.write(self._report, json.dumps(message).encode() + b"\n")
            except BrokenPipeError:  # `up` was interrupted: the sandbox comes up all the same
                self._close_report()

    def _close_report(self) -> None:
        if self._report >= 0:
            os.close(self._report)
            self._report = -1


class _Started:
    """serve_listeners reports its listeners; our starter wants nothing."""

    def __init__(self, outer: trio.TaskStatus[None]) -> None:
        self._outer = outer

    def started(self, _value: object = None) -> None:
        self._outer.started()


def _read_port(kubeconfig: Path) -> int:
    """The port of an earlier run: clients that kept its kubeconfig go on working."""
    found = re.search(r'\bserver"?: "?https://[^\s"]+:(\d+)', kubeconfig.read_text()) if kubeconfig.exists() else None
    return int(found[1]) if found else 0


def _bind_host(port: int) -> socket.socket:
    for candidate in dict.fromkeys((port, 0)):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", candidate))
        except OSError:
            sock.close()
            continue
        sock.listen(1024)
        return sock
    raise SandboxError("no free port on 127.0.0.1")


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()] if path.exists() else []
    return lines[-1] if lines else "it said nothing"


def main() -> None:
    """`python -m mesh.sandbox.supervisor --state DIR --report-fd N`: go to the background, then supervise."""
    parser = argparse.ArgumentParser(prog="mesh.sandbox.supervisor")
    parser.add_argument("--state", required=True, type=Path)
    parser.add_argument("--report-fd", required=True, type=int)
    options = parser.parse_args()
    layout = Layout(options.state.name, options.state)
    if os.fork():
        os._exit(0)  # a daemon: whoever called `up` is not its parent
    os.setsid()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    os.set_inheritable(options.report_fd, False)
    lock = os.open(layout.root / "supervisor.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        answer = _ask(layout, "status")
        os.write(options.report_fd, json.dumps({"ready": answer["api_url"]}).encode() + b"\n")
        return
    try:
        trio.run(Supervisor(layout, options.report_fd).run)
    except* Exception as group:  # the boundary of the process: `up` shows the words
        _log.exception("supervisor")
        try:
            os.write(options.report_fd, json.dumps({"error": str(group.exceptions[0])}).encode() + b"\n")
        except OSError:
            pass
        raise


if __name__ == "__main__":
    main()
