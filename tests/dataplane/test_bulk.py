"""Much at once: large bodies, slow readers, many connections. Memory stays flat."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

import trio

from mesh.model.listener import Direction
from mesh.proxy.poller import raise_descriptor_limit
from tests.support.proxy import (
    Upstream,
    client,
    cluster,
    forward,
    listener,
    manager,
    port_of,
    read_head,
    read_response,
    routes,
    running,
    serving,
    snapshot,
)

MEGABYTE = 1 << 20
SIZE = 64 * MEGABYTE
BLOCK = hashlib.sha256(b"block").digest() * (MEGABYTE // 32)


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


async def echo_digest_and_pour(stream: trio.SocketStream, upstream: Upstream) -> None:
    """Takes SIZE bytes, then answers with SIZE bytes whose head carries the digest of what was taken."""
    _, rest = await read_head(stream)
    digest, left = hashlib.sha256(rest), SIZE - len(rest)
    while left:
        data = await stream.receive_some(min(left, MEGABYTE))
        digest.update(data)
        left -= len(data)
    await stream.send_all(
        b"HTTP/1.1 200 OK\r\nx-digest: %b\r\ncontent-length: %d\r\n\r\n" % (digest.hexdigest().encode(), SIZE)
    )
    for _ in range(SIZE // MEGABYTE):
        await stream.send_all(BLOCK)


async def test_large_bodies_pass_two_proxies_both_ways_in_little_memory() -> None:
    expected = hashlib.sha256(BLOCK * 64).hexdigest()
    async with serving(echo_digest_and_pour) as upstream:
        inner = snapshot(listener(manager(routes(forward("a"))), Direction.INBOUND), cluster("a", upstream.port))
        async with running(inner) as second:
            outer = snapshot(listener(manager(routes(forward("b")))), cluster("b", port_of(second)))
            async with running(outer) as first, client(first) as stream:
                reset_peak()
                before = peak_bytes()
                await stream.send_all(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE)
                for _ in range(SIZE // MEGABYTE):
                    await stream.send_all(BLOCK)
                head, rest = await read_head(stream)
                assert expected.encode() in head
                digest, left = hashlib.sha256(rest), SIZE - len(rest)
                while left:
                    data = await stream.receive_some(MEGABYTE)
                    digest.update(data)
                    left -= len(data)
                assert digest.hexdigest() == expected
                assert peak_bytes() - before < 16 * MEGABYTE


async def test_a_reader_that_stops_stops_the_sender() -> None:
    sent = 0

    async def pour(stream: trio.SocketStream, upstream: Upstream) -> None:
        nonlocal sent
        await read_head(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await stream.send_all(BLOCK)
            sent += MEGABYTE

    async with serving(pour) as upstream:
        config = snapshot(listener(manager(routes(forward("a")))), cluster("a", upstream.port))
        async with running(config) as proxy, client(proxy) as stream:
            reset_peak()
            before = peak_bytes()
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await trio.testing.wait_all_tasks_blocked(0.3)
            stopped_at = sent
            await trio.testing.wait_all_tasks_blocked(0.1)
            assert sent == stopped_at
            assert peak_bytes() - before < 16 * MEGABYTE


async def test_a_thousand_websockets_at_once() -> None:
    raise_descriptor_limit()
    count = 1000
    ready = trio.Event()
    opened = 0

    async def echo(stream: trio.SocketStream, upstream: Upstream) -> None:
        await read_head(stream)
        await stream.send_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
        while data := await stream.receive_some(100):
            await stream.send_all(data)

    async def talk(proxy_port: int, number: int) -> None:
        nonlocal opened
        async with await trio.open_tcp_stream("127.0.0.1", proxy_port) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            head, _ = await read_head(stream)
            assert head.startswith(b"HTTP/1.1 101")
            opened += 1
            if opened == count:
                ready.set()
            await ready.wait()
            await stream.send_all(b"%d" % number)
            assert await stream.receive_some(100) == b"%d" % number

    async with serving(echo) as upstream:
        config = snapshot(listener(manager(routes(forward("a")))), cluster("a", upstream.port))
        async with running(config) as proxy:
            with trio.fail_after(30):
                async with trio.open_nursery() as nursery:
                    for number in range(count):
                        nursery.start_soon(talk, port_of(proxy), number)
                await proxy.drain.wait_idle()
            assert upstream.connections == count


async def test_connections_that_come_and_go_leave_nothing() -> None:
    async def once(stream: trio.SocketStream, upstream: Upstream) -> None:
        await read_head(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")

    async with serving(once) as upstream:
        config = snapshot(listener(manager(routes(forward("a")))), cluster("a", upstream.port))
        async with running(config) as proxy:
            for _ in range(200):
                async with client(proxy) as stream:
                    await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    assert (await read_response(stream))[2] == b"ok"
            with trio.fail_after(5):
                await proxy.drain.wait_idle()
            assert proxy.downstreams == set() and not any(pool.open for pool in proxy.current.clusters["a"].pools)
            assert len(proxy.deadlines) == 0


async def test_uploads_one_after_the_other_on_one_connection() -> None:
    """More of a body arrives while the connection's task, woken by its head, has not run yet."""
    body = BLOCK[:300_000]

    async def count(stream: trio.SocketStream, _upstream: Upstream) -> None:
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                if not (more := await stream.receive_some(MEGABYTE)):
                    return
                buffer += more
            buffer = buffer.partition(b"\r\n\r\n")[2]
            while len(buffer) < len(body):
                buffer += await stream.receive_some(MEGABYTE)
            assert buffer == body
            buffer = b""
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    def upload(port: int) -> list[bytes]:
        answers = []
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            for _ in range(100):
                sock.sendall(b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body))
                sock.sendall(body)
                answers.append(sock.recv(65536)[:12])
        return answers

    async with serving(count) as upstream:
        config = snapshot(listener(manager(routes(forward("a")))), cluster("a", upstream.port))
        async with running(config) as proxy:
            assert await trio.to_thread.run_sync(upload, port_of(proxy)) == [b"HTTP/1.1 200"] * 100
            assert proxy.crashes == 0
