import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from mesh.proxy.chains import NOTHING, Inspected
from mesh.proxy.connect import Opening
from mesh.proxy.deadlines import Deadlines
from mesh.proxy.detect import Detected, Patience, detect, hello_seconds, inspect, inspect_tls
from mesh.proxy.poller import Channel, Parker, Poller


def hello(name: str, protocols: list[str]) -> bytes:
    """A real ClientHello."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(protocols)
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (b"GE", None),
        (b"GET / HT", Inspected(protocols=("http/1.1", "http/1.0"))),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Inspected(protocols=("h2c",))),
        (b"\x00\x01", NOTHING),
        (b"\x16\x03\x01", None),
        (b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff", Inspected("tls")),
    ],
)
def test_first_bytes(data: bytes, verdict: Inspected | None) -> None:
    assert inspect(data) == verdict


def test_a_client_hello_tells_name_and_protocols() -> None:
    data = hello("reviews.example", ["h2", "http/1.1"])
    assert inspect(data) == Inspected("tls", "reviews.example", ("h2", "http/1.1"))
    assert inspect(data[:-1]) is None


def test_where_only_tls_matters_the_first_byte_decides() -> None:
    assert inspect_tls(b"h") == NOTHING and inspect_tls(b"\x16\x03") is None


@asynccontextmanager
async def sides() -> AsyncIterator[tuple[Parker, Channel, socket.socket, Channel, socket.socket]]:
    poller, parker = Poller(), Parker()
    ours, client = socket.socketpair()
    server = socket.create_server(("127.0.0.1", 0))
    upstream = socket.create_connection(server.getsockname())
    peer, _ = server.accept()
    for sock in (ours, upstream):
        sock.setblocking(False)
    down, up = poller.open(ours, parker), poller.open(upstream, parker, is_readable=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poller.run)
        yield parker, down, client, up, peer
        nursery.cancel_scope.cancel()
    for end in (down, client, up, peer, server, poller):
        end.close()


async def race(parker: Parker, down: Channel, up: Channel | None) -> tuple[Detected, Opening | None]:
    with trio.fail_after(2):
        return await detect(parker, down, lambda failed: Opening(up) if up is not None and failed is None else None)


async def test_bytes_that_are_there_spare_the_dialling() -> None:
    async with sides() as (parker, down, client, _, _):
        client.sendall(b"GET / HTTP/1.1\r\n")
        with trio.fail_after(2):
            detected, up = await detect(parker, down, lambda _: pytest.fail("dialled"))
        assert detected.data == b"GET / HTTP/1.1\r\n" and up is None and not detected.server_first


async def test_the_server_is_first_when_it_speaks_or_closes_first() -> None:
    for act in (lambda peer: peer.sendall(b"220 hello"), lambda peer: peer.shutdown(socket.SHUT_WR)):
        async with sides() as (parker, down, _, up, peer):
            act(peer)
            detected, opening = await race(parker, down, up)
            assert detected == Detected(NOTHING, b"", server_first=True)
            assert opening is not None and opening.channel is up


async def test_the_client_is_first_even_if_it_only_leaves() -> None:
    async with sides() as (parker, down, client, up, _):
        client.shutdown(socket.SHUT_WR)
        assert await race(parker, down, up) == (Detected(NOTHING), None)


async def test_half_a_hello_and_the_end_at_once_are_the_end() -> None:
    async with sides() as (parker, down, client, _, _):
        client.sendall(b"\x16\x03\x01\x02\x00\x01")
        client.shutdown(socket.SHUT_WR)
        while not down.hung_up:  # one edge tells of both
            await trio.testing.wait_all_tasks_blocked()
        assert await race(parker, down, None) == (Detected(NOTHING, b"\x16\x03\x01\x02\x00\x01"), None)


async def test_an_upstream_that_cannot_be_dialled_leaves_the_client_to_decide() -> None:
    async with sides() as (parker, down, client, _, _):
        async with trio.open_nursery() as nursery:

            async def check() -> None:
                detected, up = await race(parker, down, None)
                assert up is None and "http/1.1" in detected.inspected.protocols

            nursery.start_soon(check)
            await trio.testing.wait_all_tasks_blocked()
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")


async def test_a_greeting_waits_for_a_client_that_may_speak_tls() -> None:
    data = hello("reviews.example", ["istio"])
    async with sides() as (parker, down, client, up, peer), trio.open_nursery() as nursery:
        deadlines = Deadlines()
        nursery.start_soon(deadlines.run)
        patience = Patience(deadlines, parker, 60.0)
        peer.sendall(b"220 hello")
        seen: list[Detected] = []

        async def check() -> None:
            seen.append((await detect(parker, down, lambda _: Opening(up), inspect, patience))[0])
            nursery.cancel_scope.cancel()

        nursery.start_soon(check)
        await trio.testing.wait_all_tasks_blocked()
        assert not seen
        client.sendall(data)
        await trio.sleep(5)
    assert seen == [Detected(Inspected("tls", "reviews.example", ("istio",)), data)]


async def test_the_patience_with_a_silent_client_ends() -> None:
    async with sides() as (parker, down, _, up, peer), trio.open_nursery() as nursery:
        deadlines = Deadlines()
        nursery.start_soon(deadlines.run)
        peer.sendall(b"220 hello")
        patience = Patience(deadlines, parker, hello_seconds(peer))
        began_at = trio.current_time()
        with trio.fail_after(5):
            detected, _ = await detect(parker, down, lambda _: Opening(up), inspect, patience)
        assert detected.server_first and trio.current_time() - began_at >= 0.05
        patience.close()
        nursery.cancel_scope.cancel()


async def test_a_connection_that_fails_may_be_made_again() -> None:
    async with sides() as (parker, down, _, up, peer):
        with socket.create_server(("127.0.0.1", 0)) as gone:
            address = gone.getsockname()
        refused = socket.socket()
        refused.setblocking(False)
        refused.connect_ex(address)
        first = down._poller.open(refused, parker, is_readable=False)
        failures: list[OSError | None] = []

        def dial(failed: OSError | None) -> Opening | None:
            failures.append(failed)
            return Opening(first if failed is None else up)

        peer.sendall(b"220 hello")
        with trio.fail_after(5):
            detected, opening = await detect(parker, down, dial)
        assert detected.server_first and opening is not None and opening.channel is up
        assert failures[0] is None and isinstance(failures[1], ConnectionRefusedError) and len(failures) == 2
