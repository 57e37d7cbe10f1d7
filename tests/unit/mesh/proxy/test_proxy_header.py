"""Exactly the header leaves the socket, however it arrives."""

from __future__ import annotations

import socket

import pytest
import trio

from mesh.codec.events import ProtocolError
from mesh.codec.proxy_protocol import encode_v1, encode_v2
from mesh.proxy.poller import Channel, Parker, Poller
from mesh.proxy.proxy_header import receive_proxy_header

WHO, WHERE = ("203.0.113.7", 4711), ("198.51.100.1", 443)


async def received(data: bytes, step: int, ends: bool = False) -> tuple[object, bytes | None]:
    """(the source that the header names, what the channel reads next)."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    poller = Poller()
    channel: Channel = poller.open(ours, Parker())

    async def send() -> None:
        for at in range(0, len(data), step):
            theirs.sendall(data[at : at + step])
            await trio.testing.wait_all_tasks_blocked()
        if ends:
            theirs.shutdown(socket.SHUT_WR)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            nursery.start_soon(send)
            with trio.fail_after(5):
                header = await receive_proxy_header(channel)
            nursery.cancel_scope.cancel()
        return header.source, channel.try_recv(100)
    finally:
        channel.close()
        theirs.close()
        poller.close()


@pytest.mark.parametrize("header", [encode_v1(WHO, WHERE), encode_v2(WHO, WHERE)])
async def test_what_follows_the_header_is_left(header: bytes) -> None:
    assert await received(header + b"GET /", 1000) == (WHO, b"GET /")


@pytest.mark.parametrize("header", [encode_v1(WHO, WHERE), encode_v2(WHO, WHERE)])
async def test_it_may_come_byte_by_byte(header: bytes) -> None:
    assert await received(header, 1) == (WHO, None)


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"GET / HTTP/1.1\r\n\r\n", "neither"), (b"PROXY TC", "inside"), (b"", "before")],
)
async def test_no_header_is_an_error(data: bytes, why: str) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ProtocolError, match=why)):
        await received(data, 100, ends=True)


async def test_silence_ends(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    poller = Poller()
    channel = poller.open(ours, Parker())
    with pytest.raises(ProtocolError, match="within 15 s"):
        await receive_proxy_header(channel)
    channel.close()
    theirs.close()
    poller.close()
