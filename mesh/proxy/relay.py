"""Relay: opaque bytes between two sockets, each direction with its own end (half-close).

Small exchanges go through user space, which costs no descriptor; a direction that turns out to be bulk moves
into the kernel (`splice`), while pipes are left: the kernel gives an ordinary user 64 MiB of pipe buffers in all.
"""

from __future__ import annotations

from typing import Final, Protocol

import trio

from mesh.codec.splice import Splice
from mesh.proxy.deadlines import Deadline
from mesh.proxy.poller import HANGUP, READ, WRITE, Channel, Parker, wait_either
from mesh.proxy.tls import TlsTruncated

_CHUNK: Final = 65_536
_BULK_READS: Final = 8
_MAX_PIPES: Final = 24
_ROUNDS: Final = 16

_DONE, _MORE, _SOURCE, _TARGET = range(4)


class Counts(Protocol):
    """What a relay counts into (`TcpRecord`, or the `Record` of an upgraded exchange)."""

    bytes_received: int
    bytes_sent: int


class RelayBroken(Exception):
    """One side was reset. is_upstream says which."""

    def __init__(self, is_upstream: bool, reason: str) -> None:
        super().__init__(reason)
        self.is_upstream = is_upstream


class _Flow:
    """One direction. moved: bytes handed to the target's kernel."""

    __slots__ = (
        "_can_splice",
        "_full_reads",
        "_offset",
        "_pending",
        "_pipe",
        "from_upstream",
        "is_done",
        "moved",
        "source",
        "target",
    )
    pipes = 0

    def __init__(self, source: Channel, target: Channel, first: bytes, from_upstream: bool) -> None:
        self.source = source
        self.target = target
        self.from_upstream = from_upstream
        self.is_done = False
        self.moved = 0
        self._pending = first
        self._offset = 0
        self._can_splice = source.can_splice and target.can_splice
        self._full_reads = 0
        self._pipe: Splice | None = None

    def step(self) -> int:
        """Move as much as goes without waiting. Returns what it waits for. Raises: RelayBroken."""
        for _ in range(_ROUNDS):
            if self._pipe is not None and not self._pending:
                wants = self._step_pipe(self._pipe)
            else:
                wants = self._step_bytes()
            if wants != _MORE:
                return wants
        return _MORE

    def close(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
            _Flow.pipes -= 1

    def _step_bytes(self) -> int:
        if self._pending:
            sent = self._send()
            if sent < 0:
                return _TARGET
            self.moved += sent
            self._offset += sent
            if self._offset == len(self._pending):
                self._pending = b""
                self._offset = 0
            return _MORE
        data = self._recv()
        if data is None:
            self._full_reads = 0
            return _SOURCE
        if not data:
            return self._finish()
        self._pending = data
        self._full_reads = self._full_reads + 1 if len(data) == _CHUNK else 0
        if self._full_reads >= _BULK_READS and _Flow.pipes < _MAX_PIPES and self._can_splice:
            self._pipe = Splice()
            _Flow.pipes += 1
        return _MORE

    def _step_pipe(self, pipe: Splice) -> int:
        if pipe.pending:
            try:
                sent = pipe.drain(self.target.fd)
            except OSError as exc:
                raise RelayBroken(not self.from_upstream, str(exc)) from exc
            if sent is None:
                return _TARGET
            self.moved += sent
            return _MORE
        if not self.source.is_readable:
            return _SOURCE
        try:
            got = pipe.fill(self.source.fd)
        except OSError as exc:
            raise RelayBroken(self.from_upstream, str(exc)) from exc
        if got is None:
            self.source.is_readable = self.source.hung_up
            return _SOURCE
        return _MORE if got else self._finish()

    def _finish(self) -> int:
        self.target.shutdown_send()
        self.is_done = True
        return _DONE

    def _recv(self) -> bytes | None:
        try:
            return self.source.try_recv(_CHUNK)
        except TlsTruncated:
            # Only what the bytes mean could tell whether some are missing; many a client never says goodbye.
            return b""
        except OSError as exc:
            raise RelayBroken(self.from_upstream, str(exc)) from exc

    def _send(self) -> int:
        try:
            return self.target.try_send(self._pending, self._offset)
        except OSError as exc:
            raise RelayBroken(not self.from_upstream, str(exc)) from exc


async def relay(
    parker: Parker,
    down: Channel,
    up: Channel,
    record: Counts,
    idle: Deadline,
    idle_seconds: float,
    from_down: bytes = b"",
    from_up: bytes = b"",
) -> None:
    """Copy both ways until both have ended; counts into `record` as it goes.

    Args: from_down, from_up: bytes already read, sent on first. idle: armed anew whenever bytes move.
    Raises: RelayBroken: one side was reset; the caller resets the other.
    """
    upwards = _Flow(down, up, from_down, False)
    downwards = _Flow(up, down, from_up, True)
    try:
        while True:
            up_wants = _DONE if upwards.is_done else upwards.step()
            down_wants = _DONE if downwards.is_done else downwards.step()
            record.bytes_received = upwards.moved
            record.bytes_sent = downwards.moved
            if up_wants == _DONE and down_wants == _DONE:
                return
            if up_wants == _MORE or down_wants == _MORE:
                await trio.lowlevel.checkpoint()
                continue
            if idle_seconds:
                idle.arm(trio.current_time() + idle_seconds)
            await wait_either(
                parker,
                down,
                (READ if up_wants == _SOURCE else 0) | (WRITE if down_wants == _TARGET else 0) or HANGUP,
                up,
                (READ if down_wants == _SOURCE else 0) | (WRITE if up_wants == _TARGET else 0) or HANGUP,
            )
    finally:
        upwards.close()
        downwards.close()
