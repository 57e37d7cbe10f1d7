"""The node agent's side of the runtime's socket (see `runtime` for the protocol)."""

import json
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from mesh.sandbox.node.peer import MAX_PACKET

Json = dict[str, Any]


class RuntimeFailure(Exception):
    """The runtime refused; the message is for people."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended. `code` is 128+n when signal n killed it."""

    code: int
    signal: int
    finished_at: float


@dataclass(slots=True)
class Known:
    """What the runtime said about a container."""

    pid: int
    started_at: float
    exit: Exit | None


@dataclass(frozen=True, slots=True)
class Execution:
    """A command started in a container. `master` is its terminal, for the caller to close."""

    number: int
    master: int | None


class RuntimeClient:
    """Concurrency: any number of tasks, while `run` runs in one."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self._sock = sock
        self._send_lock = trio.Lock()
        self._next = 1
        self._is_over = False
        self._waiting: dict[int, trio.MemorySendChannel[tuple[Json, list[int]]]] = {}
        self._exits: dict[str | int, Exit] = {}
        self._watchers: dict[str | int, trio.Event] = {}

    @classmethod
    async def connect(cls, path: Path) -> "RuntimeClient":
        sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            await sock.connect(str(path))
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    def close(self) -> None:
        """Leave the runtime to itself; its containers go on."""
        self._sock.close()

    async def run(self) -> None:
        """Receive answers and events.

        Raises: RuntimeFailure: the runtime is gone, and every container with it.
        """
        try:
            while True:
                data, ancillary, _flags, _address = await self._sock.recvmsg(MAX_PACKET, socket.CMSG_SPACE(16))
                if not data:
                    raise RuntimeFailure("the container runtime has gone away")
                self._receive(json.loads(data), _descriptors(ancillary))
        except OSError as exc:
            raise RuntimeFailure(f"the container runtime has gone away: {exc}") from exc
        finally:
            self._is_over = True
            for waiting in self._waiting.values():
                waiting.close()  # nobody will receive their answers any more

    async def containers(self) -> dict[str, Known]:
        """Every container the runtime knows."""
        answer, _ = await self._call({"op": "list"})
        found = {}
        for item in answer["containers"]:
            end = item["exit"]
            ended = Exit(end["code"], end["signal"], end["finished_at"]) if end else None
            found[item["container"]] = Known(item["pid"], item["started_at"], ended)
            if ended is not None:
                self._ended(item["container"], ended)
        return found

    async def start(self, spec: Path) -> Known:
        """Start the container described by the Launch in `spec`."""
        answer, _ = await self._call({"op": "start", "spec": str(spec)})
        return Known(answer["pid"], answer["started_at"], None)

    async def execute(self, container: str, argv: list[str], fds: tuple[int, int, int] | None) -> Execution:
        """Run a command in a container with the given stdin, stdout, stderr; None = on a new terminal."""
        number = secrets.randbits(48)
        request = {"op": "exec", "exec": number, "container": container, "argv": argv, "tty": fds is None}
        _, received = await self._call(request, fds or ())
        return Execution(number, received[0] if received else None)

    async def attach(self, container: str, *, stdin: bool, outputs: dict[str, int]) -> int | None:
        """Copy `outputs` ({"stdout": fd, "stderr": fd}) from now on; returns the container's stdin if asked for."""
        fds = [outputs[name] for name in ("stdout", "stderr") if name in outputs]
        request = {"op": "attach", "container": container, "input": stdin, "output": "stdout" in outputs, "error": "stderr" in outputs}
        _, received = await self._call(request, fds)
        return received[0] if received else None

    async def signal(self, target: str | int, number: int) -> None:
        """Send a signal to a container (by id) or an exec (by number); one that has ended is left alone."""
        kind = "container" if isinstance(target, str) else "exec"
        await self._call({"op": "signal", kind: target, "signal": number})

    async def forget(self, container: str) -> None:
        """Let the runtime drop an ended container."""
        await self._call({"op": "forget", "container": container})
        self._exits.pop(container, None)
        self._watchers.pop(container, None)

    async def wait(self, target: str | int) -> Exit:
        """Wait until a container or exec has ended."""
        if target not in self._exits:
            await self._watchers.setdefault(target, trio.Event()).wait()
        return self._exits[target]

    def exit_of(self, target: str | int) -> Exit | None:
        """How it ended, if it has."""
        return self._exits.get(target)

    async def _call(self, request: Json, fds: tuple[int, ...] | list[int] = ()) -> tuple[Json, list[int]]:
        if self._is_over:
            raise RuntimeFailure("the container runtime has gone away")
        number, self._next = self._next, self._next + 1
        send, receive = trio.open_memory_channel[tuple[Json, list[int]]](1)
        self._waiting[number] = send
        data = json.dumps({"id": number, **request}).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, b"".join(fd.to_bytes(4, "little") for fd in fds))] if fds else []
        # Shielded: an answer may carry descriptors that must not be lost, and a start must not be forgotten half-way.
        try:
            with trio.CancelScope(shield=True):
                async with self._send_lock:
                    await self._sock.sendmsg([data], rights)
                answer, received = await receive.receive()
        except (trio.EndOfChannel, OSError) as exc:
            await trio.lowlevel.checkpoint_if_cancelled()  # everything ends: that is no failure
            raise RuntimeFailure("the container runtime has gone away") from exc
        if "error" in answer:
            raise RuntimeFailure(answer["error"])
        ok: Json = answer["ok"]
        return ok, received

    def _receive(self, message: Json, fds: list[int]) -> None:
        if message.get("event") == "exited":
            end = Exit(message["code"], message["signal"], message["finished_at"])
            self._ended(message["container"] if "container" in message else message["exec"], end)
        else:
            self._waiting.pop(message["id"]).send_nowait((message, fds))

    def _ended(self, target: str | int, end: Exit) -> None:
        self._exits[target] = end
        if (watcher := self._watchers.pop(target, None)) is not None:
            watcher.set()


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            for index in range(0, len(data) - len(data) % 4, 4):
                fd = int.from_bytes(data[index : index + 4], "little")
                os.set_inheritable(fd, False)
                found.append(fd)
    return found
