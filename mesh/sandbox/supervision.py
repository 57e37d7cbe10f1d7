"""The process behind `sandbox up`: it keeps the daemons of one sandbox running until it is asked to stop."""

import argparse
import fcntl
import json
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import trio

from mesh.sandbox import leftovers, linux, netns
from mesh.sandbox.apisockets import open_sockets
from mesh.sandbox.attachment import SCHEDULER, Attachment
from mesh.sandbox.daemons import Daemon, Program, checkout
from mesh.sandbox.layout import Layout
from mesh.sandbox.node.runtimeclient import RuntimeClient, RuntimeFailure
from mesh.sandbox.supervisor import ask

_CONTAINER_GRACE_SECONDS = 2.0
_log = logging.getLogger("supervisor")

Json = dict[str, Any]


class Supervisor:
    """One sandbox's daemons, what asks about them, and the record that outlives the process (`supervisor.json`)."""

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
            sockets = open_sockets(layout)
            self._api_url = "https://{}:{}".format(*sockets[0].getsockname())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._on_signals)
            await nursery.start(self._serve_control)
            self._record()
            async with trio.open_nursery() as daemons:
                for program in self._programs([sock.fileno() for sock in sockets]):
                    self.daemon(program)
                daemons.start_soon(self._start_all, daemons)
                await self._stop.wait()
                await self._stop_all()
                daemons.cancel_scope.cancel()
            nursery.cancel_scope.cancel()

    def daemon(self, program: Program) -> Daemon:
        """One more daemon, not started yet; the record follows it."""
        made = self._daemons[program.name] = Daemon(program, self._layout.root, checkout(), self._record)
        return made

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


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()] if path.exists() else []
    return lines[-1] if lines else "it said nothing"


def main() -> None:
    """`python -m mesh.sandbox.supervision --state DIR --report-fd N`: go to the background, then supervise."""
    parser = argparse.ArgumentParser(prog="mesh.sandbox.supervision")
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
        answer = ask(layout, "status")
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
