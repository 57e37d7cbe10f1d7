"""Start, watch and restart the daemons of a sandbox. Concurrency: one trio task per daemon."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

import mesh
from mesh.sandbox import linux

_log = logging.getLogger("supervisor")
_CALM_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 5.0
STATE_VARIABLE = "TRIOMESH_SANDBOX_STATE"
"""In every daemon's environment: by it `down` finds them when nothing else is left. Its last part is the sandbox's name."""


@dataclass(frozen=True, slots=True)
class Program:
    """What one daemon runs. `netns` "" = the host's; `fds` are inherited."""

    name: str
    arguments: tuple[str, ...]
    netns: str
    fds: tuple[int, ...] = ()


class Daemon:
    """One daemon, through all its restarts."""

    def __init__(self, program: Program, state: Path, source: Path, on_change: Callable[[], None] = lambda: None) -> None:
        """on_change: called when it has started, is ready, or has ended."""
        self.program = program
        self.ready = trio.Event()
        self.pid = 0
        self.start_time: int | None = None
        self.started_at = 0.0
        self.restarts = 0
        self.last_exit: str | None = None
        self.stopping = False
        self._state, self._source, self._on_change = state, source, on_change
        self._process: subprocess.Popen[bytes] | None = None

    async def run(self) -> None:
        """Keep it running until `stop`."""
        pause = 0.1
        while True:
            begun = time.monotonic()
            await self._run_once()
            if self.stopping:
                return
            _log.error("%s ended (%s); starting it again in %.1f s", self.program.name, self.last_exit, pause)
            if time.monotonic() - begun > _CALM_SECONDS:
                pause = 0.1
            await trio.sleep(pause)  # nothing announces that it would work now
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            self.restarts += 1

    async def stop(self, seconds: float) -> None:
        """SIGTERM, then SIGKILL after `seconds`."""
        self.stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        pidfd = os.pidfd_open(process.pid)
        try:
            process.send_signal(signal.SIGTERM)
            with trio.move_on_after(seconds):
                await trio.lowlevel.wait_readable(pidfd)
                return
            process.kill()
            await trio.lowlevel.wait_readable(pidfd)
        finally:
            os.close(pidfd)

    def describe(self) -> dict[str, Any]:
        """For status and supervisor.json."""
        alive = self._process is not None and self._process.returncode is None
        return {
            "name": self.program.name,
            "pid": self.pid if alive else 0,
            "start_time": self.start_time if alive else None,
            "started_at": self.started_at,
            "ready": alive and self.ready.is_set(),
            "restarts": self.restarts,
            "last_exit": self.last_exit,
        }

    async def _run_once(self) -> None:
        self.ready = trio.Event()
        with open(self._state / "logs" / f"{self.program.name}.log", "ab") as log:
            # Popen here and not in a helper thread: the kernel ties the child to the *thread* that made it.
            process = subprocess.Popen(
                command(self.program),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=self.program.fds,
                env=environment(self._state, self._source, os.environ),
                cwd="/",
                start_new_session=True,
            )
        self._process, self.pid, self.started_at = process, process.pid, time.time()
        self.start_time = linux.start_time(process.pid)
        self._on_change()
        assert process.stdout is not None
        pidfd = os.pidfd_open(process.pid)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_output, os.dup(process.stdout.fileno()))
                await trio.lowlevel.wait_readable(pidfd)
                nursery.cancel_scope.cancel()
        finally:
            os.close(pidfd)
            process.stdout.close()
            code = process.wait() if process.poll() is not None else None
        self.last_exit = "killed" if code is None else f"signal {-code}" if code < 0 else f"exit code {code}"
        self._on_change()

    async def _read_output(self, fd: int) -> None:
        """The one line `ready`; anything else goes to our own log."""
        buffer = b""
        async with trio.lowlevel.FdStream(fd) as stream:
            async for chunk in stream:
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    if line == b"ready":
                        self.ready.set()
                        self._on_change()
                    else:
                        _log.info("%s: %s", self.program.name, line.decode(errors="replace"))


def command(program: Program) -> Sequence[str]:
    """The argv that starts a daemon in its namespace."""
    place = ("--netns", program.netns) if program.netns else ()
    enter = (sys.executable, "-m", "mesh.sandbox.enter", "--parent", str(os.getpid()), *place, "--")
    return (*enter, sys.executable, "-m", *program.arguments)


def checkout() -> Path:
    """The directory that `mesh` is imported from: the daemons' PYTHONPATH."""
    return Path(mesh.__path__[0]).resolve().parent


def environment(state: Path, source: Path, base: Mapping[str, str]) -> dict[str, str]:
    """The environment of every daemon."""
    kept = {name: base[name] for name in ("PATH", "LANG", "TZ", "TRIOMESH_STATE") if name in base}
    kept["PATH"] = "/usr/sbin:/sbin:" + kept.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    return {**kept, "PYTHONPATH": str(source), "PYTHONUNBUFFERED": "1", "HOME": "/root", STATE_VARIABLE: str(state)}
