"""Connections forwarded to a real port, in each of the protocols that clients speak."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from mesh.sandbox.node.exchange import Exchange
from mesh.sandbox.node.portforward import PROTOCOL, TUNNEL, serve
from mesh.sandbox.node.spdy import Reset
from tests.support.kubelet_peers import SPDY, WEB_SOCKET, Client, SocketClient, SpdyClient


async def here(exchange: Exchange) -> None:
    await serve(exchange, "")


@asynccontextmanager
async def upper() -> AsyncIterator[int]:
    """A server that answers in capitals and ends when its client has said all; its port."""

    async def answer(stream: trio.SocketStream) -> None:
        async for data in stream:
            await stream.send_all(bytes(data).upper())

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def test_a_pair_of_spdy_streams_is_one_connection(nursery: trio.Nursery) -> None:
    async with upper() as port:
        client = SpdyClient(nursery)
        await client.ask(here, "/portForward", {**SPDY, "x-stream-protocol-version": PROTOCOL})
        for first in (1, 5):  # two connections at once
            await client.open(first, streamtype="error", port=str(port), requestid=str(first))
            await client.open(first + 2, streamtype="data", port=str(port), requestid=str(first))
        await client.say(3, b"one")
        await client.say(7, b"two", fin=True)
        await client.until(lambda: client.is_over(7) and client.on(3) == b"ONE")
        assert client.on(7) == b"TWO" and not client.is_over(3)
        await client.say(3, b"!", fin=True)
        await client.until(lambda: client.is_over(1) and client.is_over(3))
        assert (client.on(3), client.on(1)) == (b"ONE!", b"")
        await client.stream.aclose()


async def test_a_port_that_nobody_listens_on_is_told_on_the_error_stream(nursery: trio.Nursery) -> None:
    port = closed_port()
    client = SpdyClient(nursery)
    await client.ask(here, "/portForward", {**SPDY, "x-stream-protocol-version": PROTOCOL})
    await client.open(1, streamtype="error", port=str(port), requestid="0")
    await client.open(3, streamtype="data", port=str(port), requestid="0")
    await client.until(lambda: any(isinstance(event, Reset) for event in client.events))
    assert f"forwarding to port {port} inside the pod: dial 127.0.0.1:{port}: Connection refused" in client.on(1).decode()
    await client.open(5, streamtype="error", port="x", requestid="1")
    await client.open(7, streamtype="data", port="x", requestid="1")
    await client.until(lambda: client.is_over(5))
    assert client.on(5) == b"port 'x' is not a number"
    await client.stream.aclose()


async def test_channels_of_a_web_socket_begin_with_their_port(nursery: trio.Nursery) -> None:
    async with upper() as port:
        client = SocketClient(nursery)
        await client.ask(here, f"/portForward?port={port}", {**WEB_SOCKET, "sec-websocket-protocol": "v4.channel.k8s.io"})
        await client.say(0, b"hi")
        mark = port.to_bytes(2, "little")
        await client.until(lambda _: client.on(0) == mark + b"HI")
        assert client.on(1) == mark
        await client.stream.aclose()
        await client.served.wait()


async def test_spdy_may_come_inside_a_web_socket(nursery: trio.Nursery) -> None:
    async with upper() as port:
        outer, inner = SocketClient(nursery), SpdyClient(nursery)
        head = await outer.ask(here, "/portForward", {**WEB_SOCKET, "sec-websocket-protocol": TUNNEL})
        assert f"sec-websocket-protocol: {TUNNEL.lower()}" in head
        frames = inner.codec.syn_stream(1, {"streamtype": "error", "port": str(port), "requestid": "0"})
        frames += inner.codec.syn_stream(3, {"streamtype": "data", "port": str(port), "requestid": "0"}) + inner.codec.data(3, b"in", fin=True)
        await outer.say(frames[0], frames[1:])

        def is_done(messages: list[bytes]) -> bool:
            inner.events += [event for message in messages for event in inner.codec.receive(message)]
            messages.clear()
            return inner.is_over(3)

        await outer.until(is_done)
        assert inner.on(3) == b"IN"
        await outer.stream.aclose()


@pytest.mark.parametrize(
    ("path", "headers", "status", "words"),
    [
        ("/portForward", {}, 400, "Upgrade request required"),
        ("/portForward", {**SPDY, "x-stream-protocol-version": "other"}, 403, "['other']"),
        ("/portForward", {**WEB_SOCKET, "sec-websocket-protocol": "v4.channel.k8s.io"}, 400, 'query parameter "port"'),
        ("/portForward?port=80", {**WEB_SOCKET, "sec-websocket-protocol": "other"}, 400, "['other']"),
    ],
)
async def test_what_cannot_be_is_refused(nursery: trio.Nursery, path: str, headers: dict[str, str], status: int, words: str) -> None:
    client = Client(nursery)
    assert await client.ask(here, path, headers) == ""
    assert client.refusal is not None and client.refusal[0] == status and words in client.refusal[1]
