"""The container runtime: one small single-threaded process that forks containers, keeps their logs and reaps them.

It outlives the node agent, which can be killed and restarted without a container noticing. When the runtime itself
dies, the kernel kills its containers (PR_SET_PDEATHSIG), so none is ever left without an owner.

Protocol: SOCK_SEQPACKET at DIR/runtime.sock, one JSON object per packet. A request has "id" and "op"; its answer has
the same "id" and either "ok" or "error". File descriptors travel as SCM_RIGHTS.

    start  {spec: path of a Launch}                       → {pid, started_at}
    exec   {exec: the caller's number for it, container, argv, tty} + [stdin, stdout, stderr] unless tty
                                                          → {pid}  + [pty master] if tty
    attach {container, input, output, error} + write ends in that order → {}  + [stdin of the container] if input
    signal {container | exec, signal}                     → {}
    list   {}                                             → {containers: [...]}
    forget {container}                                    → {}
    event: {"event": "exited", "container" | "exec": id, "code", "signal", "finished_at"}
"""

import argparse
import fcntl
import json
import logging
import os
import select
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass
from typing import Any

from mesh.sandbox import linux
from mesh.sandbox.node.containerlog import ContainerLog, LogStream
from mesh.sandbox.node.fork import Forker
from mesh.sandbox.node.launch import Launch, become_container, join_container
from mesh.sandbox.node.peer import Peer
from mesh.sandbox.node.poller import Poller

Json = dict[str, Any]


@dataclass(slots=True)
class Container:
    """One container, from its start until it is forgotten."""

    spec: Launch
    pid: int
    started_at: float
    log: ContainerLog
    stdin: int | None = None
    master: int | None = None
    exit: Json | None = None


class Runtime:
    """The containers and execs, and the node agents that ask for them."""

    def __init__(self, listener: socket.socket) -> None:
        self._poller = Poller()
        self._forker = Forker(self._poller)
        self._containers: dict[str, Container] = {}
        self._by_pid: dict[int, str] = {}
        self._execs: dict[int, int] = {}
        self._peers: set[Peer] = set()
        self._listener = listener
        self._poller.register(listener.fileno(), select.EPOLLIN, self._accept)

    def run(self, wakeup: int) -> None:
        """Serve until killed. `wakeup` becomes readable when a child ends."""
        self._poller.register(wakeup, select.EPOLLIN, lambda _: self._reap(wakeup))
        while True:
            self._poller.poll()

    def _accept(self, _: int) -> None:
        sock, _address = self._listener.accept()
        self._peers.add(Peer(self._poller, sock, self._request, self._peers.discard))

    def _request(self, peer: Peer, message: Json, fds: list[int]) -> None:
        number = message["id"]
        try:
            match message["op"]:
                case "start":
                    self._start(peer, number, message["spec"])
                case "exec":
                    self._exec(peer, number, message, fds)
                    fds = []
                case "attach":
                    self._attach(peer, number, message, fds)
                    fds = []
                case "signal":
                    self._signal(message)
                    peer.send({"id": number, "ok": {}})
                case "list":
                    peer.send({"id": number, "ok": {"containers": [_describe(c) for c in self._containers.values()]}})
                case "forget":
                    self._forget(message["container"])
                    peer.send({"id": number, "ok": {}})
                case other:
                    raise ValueError(f"unknown operation {other!r}")
        except (OSError, KeyError, ValueError) as exc:
            peer.send({"id": number, "error": str(exc) or type(exc).__name__})
        finally:
            for fd in fds:
                os.close(fd)

    # -- start and exec ---------------------------------------------------------------------------------------------

    def _start(self, peer: Peer, number: int, path: str) -> None:
        with open(path, encoding="utf-8") as file:
            spec = Launch.from_json(json.load(file))
        if (old := self._containers.get(spec.id)) is not None and old.exit is None:
            raise ValueError(f"container {spec.id} is already running")
        target = self._running(spec.target).pid if spec.target else None
        log = ContainerLog(spec.log)
        stdio, ours, master = self._container_stdio(spec)
        if target is None:
            linux.unshare(linux.CLONE_NEWPID)  # for children only; undone by the forker
        else:
            linux.enter(f"/proc/{target}/ns/pid", linux.CLONE_NEWPID)

        def on_exec(why_not: str) -> None:
            if why_not:
                self._drop(spec.id)
                peer.send({"id": number, "error": why_not})
            else:
                peer.send({"id": number, "ok": {"pid": pid, "started_at": container.started_at}})

        pid = self._forker.fork(lambda: become_container(spec), stdio, spec.tty, on_exec)
        container = Container(spec, pid, time.time(), log, stdin=ours.pop("stdin", None), master=master)
        self._containers[spec.id] = container
        self._by_pid[pid] = spec.id
        for name, fd in ours.items():
            stream = LogStream(self._poller, fd, name, log)
            self._poller.register(fd, select.EPOLLIN, stream.on_readable)

    def _container_stdio(self, spec: Launch) -> tuple[list[int], dict[str, int], int | None]:
        """The child's three descriptors, our ends by stream name, and the pty master if there is one."""
        if spec.tty:
            master, slave = os.openpty()
            os.fchown(slave, spec.uid, spec.gid)
            os.set_blocking(master, False)
            return [slave, slave, slave], {"stdout": master}, master
        ours: dict[str, int] = {}
        if spec.stdin:
            stdin, ours["stdin"] = os.pipe()
        else:
            stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        stdio = [stdin]
        for name in ("stdout", "stderr"):
            ours[name], theirs = os.pipe()
            os.fchown(theirs, spec.uid, spec.gid)  # so that the container's user may open /dev/stdout
            os.set_blocking(ours[name], False)
            stdio.append(theirs)
        return stdio, ours, None

    def _exec(self, peer: Peer, number: int, message: Json, fds: list[int]) -> None:
        container = self._running(message["container"])
        master, send = None, []
        if message["tty"]:
            flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
            master = os.open(f"/proc/{container.pid}/root/dev/pts/ptmx", flags)
            _unlock_pty(master)
            slave = linux.open_pty_peer(master)
            os.fchown(slave, container.spec.uid, container.spec.gid)
            fds, send = [slave, slave, slave], [master]
        argv, target = message["argv"], container.pid

        def on_exec(why_not: str) -> None:
            if why_not:
                self._execs.pop(pid, None)
                for fd in send:
                    os.close(fd)
                peer.send({"id": number, "error": why_not})
            else:
                peer.send({"id": number, "ok": {"pid": pid}}, send)

        linux.enter(f"/proc/{target}/ns/pid", linux.CLONE_NEWPID)  # for children only; undone by the forker
        stdio = list(fds)
        fds.clear()  # the forker closes them even when it fails, as it does when the container has just ended
        pid = self._forker.fork(lambda: join_container(container.spec, target, argv), stdio, message["tty"], on_exec)
        self._execs[pid] = message["exec"]

    def _attach(self, peer: Peer, number: int, message: Json, fds: list[int]) -> None:
        container = self._running(message["container"])
        send: list[int] = []
        if message["input"]:
            source = container.master if container.master is not None else container.stdin
            if source is None:
                raise ValueError(f"container {container.spec.id} was not started with stdin: true")
            send = [os.dup(source)]
            if container.spec.stdin_once and container.stdin is not None:
                os.close(container.stdin)
                container.stdin = None
        for name, wanted in (("stdout", message["output"]), ("stderr", message["error"])):
            if wanted and fds:
                container.log.attach(name, fds.pop(0))
        for fd in fds:
            os.close(fd)
        peer.send({"id": number, "ok": {"tty": container.spec.tty}}, send)

    # -- ends ---------------------------------------------------------------------------------------------------------

    def _signal(self, message: Json) -> None:
        if "exec" in message:
            pids = [pid for pid, number in self._execs.items() if number == message["exec"]]
        else:
            container = self._containers.get(message["container"])
            pids = [container.pid] if container is not None and container.exit is None else []
        for pid in pids:
            os.kill(pid, message["signal"])

    def _forget(self, name: str) -> None:
        container = self._containers.get(name)
        if container is not None and container.exit is None:
            raise ValueError(f"container {name} is still running")
        self._drop(name)

    def _drop(self, name: str) -> None:
        container = self._containers.pop(name, None)
        if container is not None:
            self._by_pid.pop(container.pid, None)
            container.log.close()
            if container.stdin is not None:
                os.close(container.stdin)

    def _reap(self, wakeup: int) -> None:
        os.read(wakeup, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._on_exit(pid, status)

    def _on_exit(self, pid: int, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        end: Json = {"code": code if code >= 0 else 128 - code, "signal": max(0, -code), "finished_at": time.time()}
        if (name := self._by_pid.pop(pid, None)) is not None:
            container = self._containers[name]
            container.exit = end
            container.log.drain()
            end = {"event": "exited", "container": name, **end}
        elif (number := self._execs.pop(pid, None)) is not None:
            end = {"event": "exited", "exec": number, **end}
        else:
            return  # a child that failed before exec and was answered through its status pipe
        for peer in list(self._peers):
            peer.send(end)

    def _running(self, name: str) -> Container:
        container = self._containers.get(name)
        if container is None or container.exit is not None:
            raise ValueError(f"container {name} is not running")
        return container


def _unlock_pty(master: int) -> None:
    """Allow the slave of a freshly opened /dev/ptmx to be opened (ioctl TIOCSPTLCK)."""
    fcntl.ioctl(master, 0x40045431, struct.pack("i", 0))


def _describe(container: Container) -> Json:
    return {
        "container": container.spec.id,
        "pid": container.pid,
        "started_at": container.started_at,
        "exit": container.exit,
    }


def main() -> None:
    """`python -m mesh.sandbox.node.runtime --socket PATH`"""
    parser = argparse.ArgumentParser(prog="mesh.sandbox.node.runtime")
    parser.add_argument("--socket", required=True)
    path = parser.parse_args().socket
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    os.chmod(path, 0o600)
    listener.listen(8)
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    wake_read, wake_write = os.pipe()
    for fd in (wake_read, wake_write):
        os.set_blocking(fd, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    print("ready", flush=True)
    Runtime(listener).run(wake_read)


if __name__ == "__main__":
    main()
