from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from mesh.sandbox import pki
from mesh.sandbox.apiserver import http
from mesh.sandbox.apiserver.http import Reply, Request, Response, Send, Stream, Takeover


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> pki.Pki:
    return pki.ensure(tmp_path_factory.mktemp("pki"))


@asynccontextmanager
async def served(made: pki.Pki, respond: http.Respond, *, certificate: bool = False) -> AsyncIterator[trio.SSLStream[trio.SocketStream]]:
    """A connection to a server that answers by `respond`."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(made.ca))
    tls.load_cert_chain(made.cert("apiserver"), made.key("apiserver"))
    tls.verify_mode = ssl.CERT_OPTIONAL
    client = ssl.create_default_context(cafile=str(made.ca))
    if certificate:
        client.load_cert_chain(made.cert("admin"), made.key("admin"))
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(http.serve, listeners, tls, respond)
        stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1], ssl_context=client, https_compatible=True)
        yield stream
        await trio.aclose_forcefully(stream)
        nursery.cancel_scope.cancel()


async def until(stream: trio.abc.Stream, end: bytes) -> bytes:
    data = b""
    with trio.fail_after(10):
        while not data.endswith(end):
            piece = await stream.receive_some(65536)
            assert piece, data
            data += piece
    return data


async def echo(request: Request) -> Reply:
    subject = request.certificate["subject"][-1][0][1] if request.certificate else None
    return Response(200, f"{request.method} {request.path} {request.query} {request.body!r} {subject}".encode(), "text/plain")


async def test_pipelined_requests_are_answered_in_order(made: pki.Pki) -> None:
    async with served(made, echo, certificate=True) as stream:
        await stream.send_all(b"GET /a%20b?x=1&x=2 HTTP/1.1\r\nHost: h\r\n\r\nPOST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhiGET /end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        data = await until(stream, b"GET /end {} b'' kubernetes-admin")
        assert data.index(b"GET /a b {'x': ['1', '2']}") < data.index(b"POST /c {} b'hi'")


async def test_continue_is_answered_before_the_body(made: pki.Pki) -> None:
    async with served(made, echo) as stream:
        await stream.send_all(b"PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert (await until(stream, b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        await stream.send_all(b"3\r\nabc\r\n0\r\n\r\n")
        assert b"b'abc' None" in await until(stream, b"None")


@pytest.mark.parametrize(("sent", "code"), [(b"NONSENSE\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 70_000, b"431"), (b"\x00\x01\x02\r\n\r\n", b"400")])
async def test_malformed_requests_are_refused(made: pki.Pki, sent: bytes, code: bytes) -> None:
    async with served(made, echo) as stream:
        await stream.send_all(sent)
        assert (await stream.receive_some(65536)).startswith(b"HTTP/1.1 " + code)


async def test_too_large_body_is_413(made: pki.Pki) -> None:
    async with served(made, echo) as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4000000\r\n\r\n" + b"x" * (http.MAX_BODY_BYTES + 1))
        assert (await stream.receive_some(65536)).startswith(b"HTTP/1.1 413")


async def test_stream_is_chunked_and_the_connection_lives_on(made: pki.Pki) -> None:
    async def respond(request: Request) -> Reply:
        async def run(send: Send) -> None:
            for piece in (b"one", b"", b"two"):
                await send(piece)

        return Stream(run) if request.path == "/s" else await echo(request)

    async with served(made, respond) as stream:
        await stream.send_all(b"GET /s HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await until(stream, b"0\r\n\r\n")).endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
        await stream.send_all(b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n")
        await until(stream, b"GET /next {} b'' None")


async def test_stream_is_cancelled_when_the_client_leaves(made: pki.Pki) -> None:
    cancelled = trio.Event()

    async def respond(request: Request) -> Reply:
        async def run(send: Send) -> None:
            await send(b"first")
            try:
                await trio.sleep_forever()
            finally:
                cancelled.set()

        return Stream(run)

    async with served(made, respond) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await until(stream, b"first\r\n")
        await trio.aclose_forcefully(stream)
        with trio.fail_after(10):
            await cancelled.wait()


async def test_takeover_gets_the_bytes_that_came_too_early(made: pki.Pki) -> None:
    async def respond(request: Request) -> Reply:
        async def run(stream: trio.abc.Stream, rest: bytes) -> None:
            await stream.send_all(b"got " + rest)

        return Takeover(run)

    async with served(made, respond) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nearly")
        assert await until(stream, b"early") == b"got early"


async def test_failing_handler_ends_its_connection_only(made: pki.Pki, caplog: pytest.LogCaptureFixture) -> None:
    async def respond(request: Request) -> Reply:
        raise RuntimeError("boom")

    async with served(made, respond) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        try:
            assert await stream.receive_some(1) == b""
        except trio.BrokenResourceError:
            pass
    assert "boom" in caplog.text


def test_arguments_and_flags() -> None:
    request = partial(Request, "GET", "/", "/", headers={}, raw_headers=[], body=b"")
    assert request({"a": ["1", "2"]}).arg("a") == "2" and request({}).arg("a", "x") == "x"
    assert request({"a": ["true"]}).flag("a") and not request({"a": ["0"]}).flag("a") and not request({}).flag("a")

