"""Transfer: bodies on their way, in both directions at once, without a buffer that could grow.

A body's next run is read only when the one before has been taken by the kernel: that is the whole of backpressure.
Both directions are stepped by the one task of the exchange; when neither can move, it parks on both sockets.
Bytes travel with the framing they came with, unless the receiver cannot read it.
"""

from __future__ import annotations

from enum import Enum

import trio

from mesh.codec.events import END, ProtocolError
from mesh.codec.h1 import LAST_CHUNK, RequestParser, ResponseHead, encode_chunk
from mesh.proxy.deadlines import Deadline
from mesh.proxy.failures import (
    CONNECT_FAILED,
    PROTOCOL_ERROR,
    PROTOCOL_ERROR_MIDWAY,
    TERMINATED,
    TERMINATED_MIDWAY,
    DownstreamGone,
    UpstreamFailed,
)
from mesh.proxy.poller import BIG_READ, HANGUP, READ, SMALL_READ, WRITE, Channel, Parker, wait_either
from mesh.proxy.tls import TlsRefused
from mesh.proxy.upstream_h1 import UpstreamConnection

MAX_REPLAY = 65_536
"""Request body bytes kept so that an attempt can be repeated; Envoy and Linkerd buffer the same."""

_ROUNDS = 16


class Wants(Enum):
    """What a direction waits for after a step."""

    DONE = 0
    MORE = 1
    """It could go on at once; others are to have their turn first."""
    DOWNSTREAM = 2
    UPSTREAM = 3


class Framing(Enum):
    """How the response's body is framed for the client."""

    RAW = 0
    """As it came."""
    DATA = 1
    """Content only: the client reads until close (HTTP/1.0)."""
    CHUNKS = 2
    """Made chunked, because it came until-close and the client's connection is to live on."""


class Upload:
    """A request's body, from the downstream parser to whichever upstream the current attempt has.

    replay: what was sent so far, to begin again with; None once it is more than MAX_REPLAY bytes.
    done_at: when the last of it was sent, as far as a response waited for it. is_broken: the upstream takes no more (its answer may still be readable).
    """

    __slots__ = (
        "_down",
        "_offset",
        "_parser",
        "_pending",
        "_replay",
        "_replay_bytes",
        "_was_read",
        "done_at",
        "is_broken",
        "is_done",
        "received",
    )

    def __init__(self, down: Channel, parser: RequestParser) -> None:
        self._down = down
        self._parser = parser
        self._pending = b""
        self._offset = 0
        self._replay: list[bytes] | None = []
        self._replay_bytes = 0
        self.received = 0
        self._was_read = False
        self.done_at = 0.0
        self.is_done = False
        self.is_broken = False

    @property
    def can_replay(self) -> bool:
        return self._replay is not None

    @property
    def is_read(self) -> bool:
        """The whole body was received from the client."""
        return self._parser.is_complete

    def copy(self) -> bytes | None:
        """The whole body as it was sent, framing included; None when it is not complete or was too large to keep."""
        return b"".join(self._replay) if self._was_read and self._replay is not None else None

    def restart(self) -> None:
        """Begin again with the next attempt. Only while `can_replay`."""
        assert self._replay is not None
        self._pending = b"".join(self._replay)
        self._offset = 0
        self.is_done = not self._pending and self._parser.is_complete
        self.is_broken = False

    def take_whole(self, body: bytes, now: float) -> None:
        """The body, read to its end, went along with the head; it is kept for another attempt (a few KiB at most)."""
        self._replay = [body] if body else []
        self._replay_bytes = self.received = len(body)
        self.is_done = self._was_read = True
        self.done_at = now

    def step(self, up: Channel) -> Wants:
        """Move as much as goes without waiting. Raises: DownstreamGone; ProtocolError: the client's framing."""
        for _ in range(_ROUNDS):
            if self._pending:
                try:
                    sent = up.try_send(self._pending, self._offset)
                except OSError:
                    self.is_broken = self.is_done = True
                    self._pending = b""
                    return Wants.DONE
                if sent < 0:
                    return Wants.UPSTREAM
                self._offset += sent
                if self._offset < len(self._pending):
                    continue
                self._pending = b""
                self._offset = 0
            run = self._parser.body_raw()
            if run is END:
                self.is_done = self._was_read = True
                return Wants.DONE
            if run is None:
                if not self._receive():
                    return Wants.DOWNSTREAM
            else:
                assert isinstance(run, bytes)
                self._keep(run)
                self._pending = run
        return Wants.MORE

    def _receive(self) -> bool:
        try:
            data = self._down.try_recv(BIG_READ)
        except OSError as exc:
            raise DownstreamGone(str(exc)) from exc
        if data is None:
            return False
        if not data:
            raise DownstreamGone("closed inside the request's body")
        self._parser.feed(data)
        return True

    def _keep(self, run: bytes) -> None:
        self.received += len(run)
        if self._replay is not None:
            self._replay_bytes += len(run)
            if self._replay_bytes > MAX_REPLAY:
                self._replay = None
            else:
                self._replay.append(run)


class _NoUpload(Upload):
    """Of requests without a body: complete from the start. One object serves them all."""

    __slots__ = ()

    def __init__(self) -> None:
        self.received = 0
        self.done_at = 0.0
        self.is_done = True
        self.is_broken = False

    @property
    def can_replay(self) -> bool:
        return True

    @property
    def is_read(self) -> bool:
        return True

    def copy(self) -> bytes | None:
        return b""

    def restart(self) -> None:
        return


NO_UPLOAD = _NoUpload()


class Download:
    """A response's body, from the upstream parser to the client. `sent` counts body bytes given to the kernel."""

    __slots__ = ("_down", "_framing", "_offset", "_pending", "_up", "is_done", "sent")

    def __init__(self, up: UpstreamConnection, down: Channel, framing: Framing, head: bytes) -> None:
        self._up = up
        self._down = down
        self._framing = framing
        self._pending = head
        self._offset = 0
        self.is_done = False
        self.sent = 0

    def step(self) -> Wants:
        """Move as much as goes without waiting. Raises: DownstreamGone; UpstreamFailed: the rest will not come."""
        for _ in range(_ROUNDS):
            if self._pending:
                try:
                    sent = self._down.try_send(self._pending, self._offset)
                except OSError as exc:
                    raise DownstreamGone(str(exc)) from exc
                if sent < 0:
                    return Wants.DOWNSTREAM
                self._offset += sent
                if self._offset < len(self._pending):
                    continue
                self._pending = b""
                self._offset = 0
            if self.is_done:
                return Wants.DONE
            if not self._next_run():
                return Wants.UPSTREAM
        return Wants.MORE

    def _next_run(self) -> bool:
        parser = self._up.parser
        try:
            run = parser.body_raw() if self._framing is Framing.RAW else parser.body_data()
        except ProtocolError as exc:
            raise UpstreamFailed(PROTOCOL_ERROR_MIDWAY, exc.message) from exc
        if run is END:
            self.is_done = True
            if self._framing is Framing.CHUNKS:
                self._pending = LAST_CHUNK
            return True
        if run is None:
            return self._receive()
        assert isinstance(run, bytes)
        self.sent += len(run)
        self._pending = encode_chunk(run) if self._framing is Framing.CHUNKS else run
        return True

    def _receive(self) -> bool:
        try:
            data = self._up.channel.try_recv(BIG_READ)
        except OSError as exc:
            raise UpstreamFailed(TERMINATED_MIDWAY, str(exc)) from exc
        if data is None:
            return False
        if data:
            self._up.parser.feed(data)
            return True
        try:
            self._up.parser.eof()
        except ProtocolError as exc:
            raise UpstreamFailed(TERMINATED_MIDWAY, exc.message) from exc
        return True


async def receive_head(
    parker: Parker, upload: Upload, up: UpstreamConnection, down: Channel, method: bytes
) -> ResponseHead:
    """The next response head on `up`, interim ones included, while the request's body goes on.

    Raises: DownstreamGone; UpstreamFailed: closed or malformed; ProtocolError: the client's framing.
    """
    channel, parser = up.channel, up.parser
    while True:
        try:
            head = parser.head(method)
            if head is not None:
                return head
            data = channel.try_recv(SMALL_READ)
            if data is not None:
                if not data:
                    raise UpstreamFailed(TERMINATED)
                parser.feed(data)
                continue
        except ProtocolError as exc:
            raise UpstreamFailed(PROTOCOL_ERROR, exc.message) from exc
        except TlsRefused as exc:
            raise UpstreamFailed(CONNECT_FAILED, exc.strerror or "") from exc
        except OSError as exc:
            raise UpstreamFailed(TERMINATED, exc.strerror or "") from exc
        wants = Wants.DONE
        if not upload.is_done:
            wants = upload.step(channel)
            if upload.is_done:
                upload.done_at = trio.current_time()
        if wants is Wants.MORE:
            await trio.lowlevel.checkpoint()
            continue
        if upload.is_done and down.hung_up:
            raise DownstreamGone("closed while waiting for the response")
        down_bits = (READ | HANGUP) if wants is Wants.DOWNSTREAM else HANGUP
        up_bits = (READ | WRITE) if wants is Wants.UPSTREAM else READ
        await wait_either(parker, down, down_bits, channel, up_bits)


async def pump(
    parker: Parker, upload: Upload, download: Download, up: Channel, down: Channel, idle: Deadline, idle_seconds: float
) -> None:
    """Move both bodies until the response is complete; a request body that is left over then stays unread.

    idle: armed anew at every sign of life. Raises: DownstreamGone, UpstreamFailed, ProtocolError (the client's).
    """
    while True:
        upwards = Wants.DONE if upload.is_done else upload.step(up)
        downwards = download.step()
        if downwards is Wants.DONE:
            return
        if upwards is Wants.MORE or downwards is Wants.MORE:
            await trio.lowlevel.checkpoint()
            continue
        if down.hung_up and upload.is_done:
            raise DownstreamGone("closed inside the response")
        down_bits, up_bits = HANGUP, 0
        if upwards is Wants.DOWNSTREAM:
            down_bits |= READ
        elif upwards is Wants.UPSTREAM:
            up_bits |= WRITE
        if downwards is Wants.DOWNSTREAM:
            down_bits |= WRITE
        else:
            up_bits |= READ
        idle.arm(trio.current_time() + idle_seconds)
        await wait_either(parker, down, down_bits, up, up_bits)
