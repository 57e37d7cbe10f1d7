import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio

from mesh.proxy.deadlines import Deadlines
from mesh.proxy.poller import Channel, Parker, Poller
from mesh.proxy.relay import RelayBroken, relay


@dataclass
class Counted:
    bytes_received: int = 0
    bytes_sent: int = 0


@asynccontextmanager
async def ends() -> AsyncIterator[tuple[Parker, Channel, socket.socket, Channel, socket.socket]]:
    poller, parker = Poller(), Parker()
    channels, peers = [], []
    with socket.create_server(("127.0.0.1", 0)) as server:
        for _ in range(2):
            ours = socket.create_connection(server.getsockname())
            peer, _ = server.accept()
            ours.setblocking(False)
            peer.setblocking(False)
            channels.append(poller.open(ours, parker))
            peers.append(peer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poller.run)
        yield parker, channels[0], peers[0], channels[1], peers[1]
        nursery.cancel_scope.cancel()
    for end in (*channels, *peers, poller):
        end.close()


async def test_both_directions_end_on_their_own_and_are_counted() -> None:
    async with ends() as (parker, down, client, up, server):
        counts = Counted()
        idle = Deadlines().new(lambda: None)
        client_stream, server_stream = trio.SocketStream(trio.socket.from_stdlib_socket(client)), None
        server_stream = trio.SocketStream(trio.socket.from_stdlib_socket(server))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay, parker, down, up, counts, idle, 0.0, b"early ", b"hello ")
            await client_stream.send_all(b"late")
            await client_stream.send_eof()
            received = b""
            while more := await server_stream.receive_some(100):
                received += more
            assert received == b"early late"
            await server_stream.send_all(b"answer")
            await server_stream.send_eof()
            received = b""
            while more := await client_stream.receive_some(100):
                received += more
            assert received == b"hello answer"
        assert counts == Counted(10, 12)


@pytest.mark.parametrize("is_upstream", [False, True])
async def test_a_reset_says_whose_it_was(is_upstream: bool) -> None:
    async with ends() as (parker, down, client, up, server):
        broken = server if is_upstream else client
        broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        broken.close()
        with trio.fail_after(2), pytest.raises(RelayBroken) as caught:
            await relay(parker, down, up, Counted(), Deadlines().new(lambda: None), 0.0)
        assert caught.value.is_upstream is is_upstream


async def test_the_idle_deadline_moves_with_the_bytes() -> None:
    async with ends() as (parker, down, client, up, _):
        idle = Deadlines().new(lambda: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay, parker, down, up, Counted(), idle, 60.0)
            await trio.testing.wait_all_tasks_blocked()
            first = idle.at
            client.send(b"x")
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert idle.at > first
            nursery.cancel_scope.cancel()
