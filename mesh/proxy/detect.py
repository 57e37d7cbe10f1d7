"""Detect: what a connection speaks when its destination does not say, without ever waiting for a timer.

The client's first bytes decide between the chains of a listener. A server-first protocol (MySQL, SMTP) would wait
for ever for them, so the upstream that an opaque connection would have is dialled at once and both sides are
watched: if the server speaks first, the connection is opaque from that moment on.

Where a client of the mesh would begin with TLS and others need not (PERMISSIVE), the server's first bytes are held back for a
moment: the ClientHello may still be on its way, and a greeting in plaintext would be the end of that connection (docs/adr/0013).
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass

from mesh.codec.client_hello import parse_client_hello
from mesh.codec.events import ProtocolError
from mesh.codec.sniff import Verdict, sniff
from mesh.proxy.chains import NOTHING, Inspected
from mesh.proxy.connect import Opening
from mesh.proxy.deadlines import Deadlines
from mesh.proxy.poller import READ, SMALL_READ, Channel, Parker, wait_either

_APPLICATION_PROTOCOLS = {
    Verdict.HTTP1: ("http/1.1", "http/1.0"),
    Verdict.HTTP2: ("h2c",),
}
_TLS_HANDSHAKE = 0x16
_LEAST_PATIENCE_SECONDS = 0.05
_PATIENCE_ROUND_TRIPS = 4.0
HEAD_START_SECONDS = 0.01
"""What a client that is not heard at once has, before a TLS handshake upstream is begun: most have only just connected.
Not where the last server was the first to speak: its clients would all wait."""
_TCP_INFO_RTT = 68  # struct tcp_info, tcpi_rtt: microseconds (linux/tcp.h)
MAX_SNIFFED = 16_640
"""One TLS record: enough for any ClientHello that is sent in one, and for every other verdict."""


@dataclass(frozen=True, slots=True)
class Detected:
    """data: the client's bytes so far. server_first: the server spoke (or closed) before the client did."""

    inspected: Inspected
    data: bytes = b""
    server_first: bool = False


def inspect(data: bytes) -> Inspected | None:
    """What the client's first bytes say; None: more are needed."""
    verdict = sniff(data)
    if verdict is Verdict.NEED_DATA:
        return None
    if verdict is Verdict.TLS:
        return _inspect_hello(data)
    return Inspected(protocols=_APPLICATION_PROTOCOLS.get(verdict, ()))


def inspect_tls(data: bytes) -> Inspected | None:
    """The same where only TLS matters: any other first byte decides at once."""
    return inspect(data) if data[0] == _TLS_HANDSHAKE else NOTHING


def _inspect_hello(data: bytes) -> Inspected | None:
    try:
        hello = parse_client_hello(data)
    except ProtocolError:
        return Inspected(transport="tls")  # TLS by its first bytes, whatever follows: without a name it is opaque
    if hello is None:
        return None
    return Inspected("tls", hello.server_name, hello.protocols)


class Patience:
    """A moment for the client to speak first. Counts from the first question."""

    __slots__ = ("_deadline", "_deadlines", "_ends_at", "_is_waived", "_seconds")

    def __init__(self, deadlines: Deadlines, parker: Parker, seconds: float) -> None:
        """Args: parker: woken at the end."""
        self._deadlines = deadlines
        self._deadline = deadlines.new(parker.wake)
        self._seconds = seconds
        self._ends_at = 0.0
        self._is_waived = False

    def is_over(self) -> bool:
        if self._is_waived:
            return True
        now = self._deadlines.now()
        if not self._ends_at:
            self._ends_at = now + self._seconds
            self._deadline.arm(self._ends_at)
        return now >= self._ends_at

    def waive(self) -> None:
        """There is no reason for it any more."""
        self._is_waived = True

    def close(self) -> None:
        self._deadline.close()


def hello_seconds(sock: socket.socket) -> float:
    """How long a ClientHello may be on its way after the connection was accepted. Args: sock: the client's."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_RTT + 4)
    round_trip = int.from_bytes(info[_TCP_INFO_RTT:], sys.byteorder) / 1e6
    return max(_LEAST_PATIENCE_SECONDS, _PATIENCE_ROUND_TRIPS * round_trip)


async def detect(
    parker: Parker,
    down: Channel,
    dial: Callable[[OSError | None], Opening | None] | None,
    inspector: Callable[[bytes], Inspected | None] = inspect,
    patience: Patience | None = None,
    head_start: Patience | None = None,
) -> tuple[Detected, Opening | None]:
    """Watch both sides until one has said what the connection is.

    Args: dial: begins to connect to where opaque bytes would go, None when that is nowhere; called only when the
        client is not heard at once, and again with what became of that connection if it fails.
        inspector: `inspect`, or `inspect_tls` where HTTP does not matter. patience: for a client that may speak TLS; None: none.
        head_start: before a TLS handshake that may have been for nothing; None: none.
    Returns: the verdict, and the connection that `dial` began (perhaps still opening): the caller's to use or close.
    Closes: that connection on any exception. Raises: OSError: the client is gone.
    """
    data = b""
    up: Opening | None = None
    failed: OSError | None = None
    try:
        while True:
            more = down.try_recv(SMALL_READ)
            if more:
                data += more
            inspected = inspector(data) if data else None
            if inspected is not None or more == b"" or len(data) > MAX_SNIFFED:
                return Detected(inspected or NOTHING, data), up
            if more and down.is_readable:
                continue  # the end may have come together with these bytes, and is told only once
            if up is None and dial is not None and not data:
                up = dial(failed)
                if up is None:
                    dial = None
            if up is None or data:
                # Nobody to race against, or the client speaks, only slowly: the server cannot be first any more.
                await down.wait(READ)
                continue
            if head_start is not None and up.is_about_to_encrypt() and not head_start.is_over():
                await down.wait(READ)
                continue
            try:
                interest = up.step()
            except OSError as exc:
                up.channel.close()
                up, failed = None, exc
                continue
            if not interest and up.has_bytes():
                if patience is None or patience.is_over():
                    return Detected(NOTHING, b"", server_first=True), up
                await down.wait(READ)
            else:
                await wait_either(parker, down, READ, up.channel, interest or READ)
    except BaseException:
        if up is not None:
            up.channel.close()
        raise
