"""Requests of the kubelet's API as they come, and its answers as they go."""

from collections.abc import AsyncIterator

import h11
from trio.testing import memory_stream_pair

from mesh.sandbox.node.exchange import Exchange, read_request


async def request(text: bytes, step: int = 65536) -> tuple[Exchange | None, object]:
    client, server = memory_stream_pair()
    for start in range(0, len(text), step):
        await client.send_all(text[start : start + step])
    await client.send_eof()
    return await read_request(server, h11.Connection(h11.SERVER)), client


async def test_a_request_is_the_same_whole_and_byte_by_byte() -> None:
    text = b"GET /exec/ns/my%20pod/c?command=ls&command=%2F&tty=1&x= HTTP/1.1\r\nHost: n\r\nX-A: 1\r\nX-A: 2\r\n\r\n"
    for step in (65536, 1):
        found, _ = await request(text, step)
        assert found is not None
        assert (found.method, found.path, found.query) == ("GET", ["exec", "ns", "my pod", "c"], {"command": ["ls", "/"], "tty": ["1"], "x": [""]})
        assert found.headers["x-a"] == "1,2"
        assert [found.flag(name) for name in ("tty", "x", "none")] == [True, False, False]


async def test_a_body_is_read_over_and_the_end_of_a_connection_is_none() -> None:
    found, _ = await request(b"POST /a HTTP/1.1\r\nHost: n\r\nContent-Length: 4\r\n\r\nbody")
    assert found is not None and found.method == "POST"
    assert (await request(b""))[0] is None


async def test_what_an_upgrade_offers() -> None:
    head = b"GET /a HTTP/1.1\r\nHost: n\r\nConnection: Upgrade\r\n"
    plain, _ = await request(b"GET /a HTTP/1.1\r\nHost: n\r\n\r\n")
    web, _ = await request(head + b"Upgrade: WebSocket\r\nSec-WebSocket-Protocol: v5.channel.k8s.io, v4.channel.k8s.io\r\n\r\n")
    spdy, _ = await request(head + b"Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\nX-Stream-Protocol-Version: x\r\n\r\n")
    assert plain is not None and web is not None and spdy is not None
    assert [(e.is_web_socket(), e.is_spdy(), e.offered()) for e in (plain, web, spdy)] == [
        (False, False, []),
        (True, False, ["v5.channel.k8s.io", "v4.channel.k8s.io"]),
        (False, True, ["v4.channel.k8s.io", "x"]),
    ]


async def test_answers_are_whole_or_in_chunks() -> None:
    client, server = memory_stream_pair()
    connection = h11.Connection(h11.SERVER)
    await client.send_all(b"GET /a HTTP/1.1\r\nHost: n\r\n\r\n")
    found = await read_request(server, connection)
    assert found is not None
    await found.respond(404, b"no", "text/x")
    data = bytes(await client.receive_some(1000))
    assert data.startswith(b"HTTP/1.1 404 ") and b"Content-Type: text/x\r\n" in data and data.endswith(b"\r\n\r\nno")
    connection.start_next_cycle()
    await client.send_all(b"GET /b HTTP/1.1\r\nHost: n\r\n\r\n")
    again = await read_request(server, connection)
    assert again is not None and again.path == ["b"]

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"one", b"two"):
            yield piece

    await again.respond_stream(pieces())
    data = bytes(await client.receive_some(1000))
    assert data.split(b"\r\n\r\n", 1)[1] == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


async def test_bytes_behind_an_upgrade_are_not_lost() -> None:
    client, server = memory_stream_pair()
    text = b"GET /a HTTP/1.1\r\nHost: n\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nframes"
    await client.send_all(text)
    found = await read_request(server, h11.Connection(h11.SERVER))
    assert found is not None
    raw = await found.switch_to_spdy("v4.channel.k8s.io")
    assert await raw.receive() == b"frames"
    head = bytes(await client.receive_some(1000)).lower()
    assert head.startswith(b"http/1.1 101 ") and b"x-stream-protocol-version: v4.channel.k8s.io" in head


async def test_a_web_socket_handshake_is_answered_with_its_key() -> None:
    client, server = memory_stream_pair()
    # RFC 6455, 1.3: this key has this answer.
    text = b"GET /a HTTP/1.1\r\nHost: n\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    await client.send_all(text)
    found = await read_request(server, h11.Connection(h11.SERVER))
    assert found is not None
    await found.switch_to_web_socket("v4.channel.k8s.io")
    head = bytes(await client.receive_some(1000)).decode().lower()
    assert "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in head and "sec-websocket-protocol: v4.channel.k8s.io" in head
