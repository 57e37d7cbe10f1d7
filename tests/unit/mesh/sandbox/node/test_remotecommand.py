"""The channels of exec and attach, as clients see them."""

from collections.abc import Awaitable, Callable

import pytest
import trio

from mesh.sandbox.node.channels import Channel
from mesh.sandbox.node.exchange import Exchange
from mesh.sandbox.node.remotecommand import carry
from tests.support.kubelet_peers import SPDY, WEB_SOCKET, Client, SocketClient, SpdyClient

NAMES = ["stdin", "stdout", "error"]
Work = Callable[[dict[str, Channel]], Awaitable[None]]


async def shout(channels: dict[str, Channel]) -> None:
    """What the client says, in capitals; and a word on the error channel when it has said all."""
    while data := await channels["stdin"].receive():
        await channels["stdout"].send(data.upper())
    await channels["error"].send(b"done")


def served(work: Work) -> Callable[[Exchange], Awaitable[None]]:
    return lambda exchange: carry(exchange, NAMES, work)


async def test_channels_of_a_web_socket_have_fixed_numbers(nursery: trio.Nursery) -> None:
    client = SocketClient(nursery)
    head = await client.ask(served(shout), "/exec", {**WEB_SOCKET, "sec-websocket-protocol": "v5.channel.k8s.io, v4.channel.k8s.io"})
    assert "sec-websocket-protocol: v5.channel.k8s.io" in head
    await client.until(lambda messages: messages == [b"\x01"])  # says that the streams are there
    await client.say(0, b"hello")
    await client.until(lambda _: client.on(1) == b"HELLO")
    await client.say(255, b"\x00")
    await client.until(lambda _: False)
    assert (client.on(1), client.on(3)) == (b"HELLO", b"done")
    await client.served.wait()


async def test_the_version_before_knows_no_half_close(nursery: trio.Nursery) -> None:
    client = SocketClient(nursery)
    head = await client.ask(served(shout), "/exec", {**WEB_SOCKET, "sec-websocket-protocol": "v4.channel.k8s.io"})
    assert "sec-websocket-protocol: v4.channel.k8s.io" in head
    await client.say(255, b"\x00")
    await client.say(0, b"still open")
    await client.until(lambda _: client.on(1) == b"STILL OPEN")
    await client.stream.aclose()
    await client.served.wait()


@pytest.mark.parametrize("kind", ["websocket", "spdy"])
async def test_a_client_that_leaves_cancels_the_work(nursery: trio.Nursery, kind: str) -> None:
    begun, cancelled = trio.Event(), trio.Event()

    async def work(_: dict[str, Channel]) -> None:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    if kind == "websocket":
        client: Client = SocketClient(nursery)
        await client.ask(served(work), "/exec", {**WEB_SOCKET, "sec-websocket-protocol": "v4.channel.k8s.io"})
    else:
        client = spdy = SpdyClient(nursery)
        await spdy.ask(served(work), "/exec", {**SPDY, "x-stream-protocol-version": "v4.channel.k8s.io"})
        for number, name in ((1, "error"), (3, "stdin"), (5, "stdout")):
            await spdy.open(number, streamtype=name)
    with trio.fail_after(5):
        await begun.wait()
        await client.stream.aclose()
        await cancelled.wait()


async def test_spdy_streams_are_found_by_their_type_in_any_order(nursery: trio.Nursery) -> None:
    client = SpdyClient(nursery)
    head = await client.ask(served(shout), "/exec", {**SPDY, "x-stream-protocol-version": "v4.channel.k8s.io"})
    assert "x-stream-protocol-version: v4.channel.k8s.io" in head
    for number, name in ((1, "stdout"), (3, "error"), (5, "stdin")):
        await client.open(number, streamtype=name)
    await client.say(5, b"a")
    await client.say(5, b"b", fin=True)
    await client.until(lambda: client.is_over(1) and client.is_over(3))
    assert (client.on(1), client.on(3)) == (b"AB", b"done")


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({}, 400, "Upgrade request required"),
        ({**WEB_SOCKET, "sec-websocket-protocol": "other"}, 400, "none of the subprotocols ['other']"),
        ({**SPDY, "x-stream-protocol-version": "other"}, 403, "none of ['other']"),
    ],
)
async def test_what_is_not_spoken_is_refused(nursery: trio.Nursery, headers: dict[str, str], status: int, words: str) -> None:
    client = Client(nursery)
    assert await client.ask(served(shout), "/exec", headers) == ""
    assert client.refusal is not None and client.refusal[0] == status and words in client.refusal[1]
