"""Probes against real sockets."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from mesh.sandbox.node.probes import parse_probe
from mesh.sandbox.node.probing import Prober, Target

Handler = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handler, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def replying(status: str) -> Handler:
    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(65536)
            await stream.send_all(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

    return handle


async def probe(port: int, action: dict[str, Any], **more: Any) -> str | None:
    container = {"name": "c", "ports": [{"name": "web", "containerPort": port}]}
    prober = Prober(None)  # type: ignore[arg-type]  (no exec probe here)
    return await prober.probe(parse_probe({**action, **more}), Target(container, "id", "127.0.0.1"))


async def test_http_statuses() -> None:
    for status, why in (("200 OK", None), ("399 Odd", None), ("503 No", "HTTP probe failed with statuscode: 503"), ("404 No", "HTTP probe failed with statuscode: 404")):
        async with server(replying(status)) as port:
            assert await probe(port, {"httpGet": {"port": "web", "path": "healthz"}}) == why


async def test_a_server_that_is_silent_times_out() -> None:
    async def silent(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with server(silent) as port:
        why = await probe(port, {"httpGet": {"port": port}}, timeoutSeconds=0.05)
        assert why is not None and "deadline exceeded" in why


async def test_ports_that_open_and_that_refuse() -> None:
    async with server(replying("200 OK")) as port:
        assert await probe(port, {"tcpSocket": {"port": port}}) is None
    why = await probe(port, {"tcpSocket": {"port": port}})
    assert why is not None and why.startswith("dial tcp 127.0.0.1")


async def test_a_named_port_that_is_not_there_is_said() -> None:
    assert "couldn't find port" in (await probe(1, {"httpGet": {"port": "none"}}) or "")
