"""Detect: what a connection speaks when its destination does not say, without ever waiting for a timer.

The client's first bytes decide between the chains of a listener. A server-first protocol (MySQL, SMTP) would wait
for ever for them, so the upstream that an opaque connection would have is dialled at once and both sides are
watched: if the server speaks first, the connection is opaque from that moment on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mesh.codec.client_hello import parse_client_hello
from mesh.codec.events import ProtocolError
from mesh.codec.sniff import Verdict, sniff
from mesh.proxy.chains import NOTHING, Inspected
from mesh.proxy.connect import connect_error, is_connected
from mesh.proxy.poller import READ, SMALL_READ, WRITE, Channel, Parker, wait_either

_APPLICATION_PROTOCOLS = {
    Verdict.HTTP1: ("http/1.1", "http/1.0"),
    Verdict.HTTP2: ("h2c",),
}
_TLS_HANDSHAKE = 0x16
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


async def detect(
    parker: Parker,
    down: Channel,
    dial: Callable[[], Channel | None] | None,
    inspector: Callable[[bytes], Inspected | None] = inspect,
) -> tuple[Detected, Channel | None]:
    """Watch both sides until one has said what the connection is.

    Args: dial: begins to connect to where opaque bytes would go, None when that is nowhere; called only when the
        client is not heard at once. inspector: `inspect`, or `inspect_tls` where HTTP does not matter.
    Returns: the verdict, and the channel that `dial` made (perhaps still connecting): the caller's to use or close.
    Closes: that channel on any exception. Raises: OSError: the client is gone.
    """
    data = b""
    up: Channel | None = None
    connected = False
    try:
        while True:
            more = down.try_recv(SMALL_READ)
            if more:
                data += more
            inspected = inspector(data) if data else None
            if inspected is not None or more == b"" or len(data) > MAX_SNIFFED:
                return Detected(inspected or NOTHING, data), up
            if up is None and dial is not None and not data:
                up, dial = dial(), None
            if up is None or data:
                # Nobody to race against, or the client speaks, only slowly: the server cannot be first any more.
                await down.wait(READ)
                continue
            if connected and up.is_readable:
                return Detected(NOTHING, b"", server_first=True), up
            await wait_either(parker, down, READ, up, READ if connected else WRITE)
            if not connected:
                connected = is_connected(up)
                if not connected and connect_error(up) is not None:
                    up.close()
                    up = None
    except BaseException:
        if up is not None:
            up.close()
        raise
