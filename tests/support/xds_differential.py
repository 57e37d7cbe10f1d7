"""One RouteConfig behind the real Envoy and behind our proxy, the same requests to both, and what became of them."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trio
from google.protobuf.json_format import MessageToDict

from mesh.model.addr import Address
from mesh.model.listener import FilterChain, HttpFilter, HttpManager, Listener
from mesh.model.route import RouteConfig
from mesh.proxy.pipeline import Proxy
from mesh.xds.decode import decode_message
from mesh.xds.dump import load_types
from mesh.xds.encode import encode_message
from mesh.xds.kind import Kind
from tests.support.proxy import cluster, port_of, read_response, running, snapshot
from tests.support.xds_server import Envoy

CLUSTERS = ("one", "two", "three")
_FILTERS = (HttpFilter.CORS, HttpFilter.FAULT, HttpFilter.ROUTER)
# Each proxy's own affair, not the routes'.
_OWN = {
    "connection",
    # A message without a body: Envoy writes "content-length: 0" to servers and chunks its answers to HEAD.
    "content-length",
    "date",
    "server",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    # An answer to one origin is not for another; Envoy leaves saying so to the app.
    "vary",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-internal",
    # Ours never tells an app about rewrites.
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-envoy-upstream-service-time",
    "x-forwarded-proto",
    "x-request-id",
}
_DEFAULT_PORT = re.compile(r"^(http://[^/]*):80(?=/)|^(https://[^/]*):443(?=/)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """status, headers and body as the client saw them; upstream: what the server got (cluster, request line, headers)."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str
    upstream: tuple[str, str, tuple[tuple[str, str], ...]] | None


class Echo:
    """A server per cluster on a port of its own; each answers with what it got, as JSON."""

    def __init__(self) -> None:
        self._listening = {name: socket.create_server(("127.0.0.1", 0), backlog=256) for name in CLUSTERS}
        self.ports = {name: each.getsockname()[1] for name, each in self._listening.items()}
        for name, each in self._listening.items():
            threading.Thread(target=self._accept, args=(name, each), daemon=True).start()

    def close(self) -> None:
        for each in self._listening.values():
            each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, name: str, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(name, connection), daemon=True).start()

    def _serve(self, name: str, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while request := lines.readline():
                headers = []
                while (line := lines.readline().rstrip(b"\r\n")) != b"":
                    key, _, value = line.partition(b":")
                    headers.append((key.decode().lower(), value.strip().decode("latin-1")))
                body = json.dumps([name, request.decode("latin-1").rstrip(), headers]).encode()
                head = b"HTTP/1.1 200 OK\r\nx-echo: %b\r\nx-old: 1\r\nx-old: 2\r\ncontent-length: %d\r\n\r\n"
                connection.sendall(head % (name.encode(), len(body)) + body)


def listener_of(config: RouteConfig) -> Listener:
    """A plain listener on a port of the kernel's choice that serves `config`."""
    manager = HttpManager("test", route_config=config, filters=_FILTERS)
    return Listener("test", Address("127.0.0.1", 0), (FilterChain(manager),))


@contextmanager
def real_envoy(directory: Path, config: RouteConfig, ports: dict[str, int]) -> Iterator[int]:
    """The real Envoy with a static configuration; the port it listens on."""
    load_types()
    resources = {
        "listeners": [_document(encode_message(listener_of(config)))],
        "clusters": [_document(encode_message(cluster(name, port))) for name, port in ports.items()],
    }
    with Envoy(directory, 0, False, "", {"static_resources": resources}) as envoy:
        text = envoy.wait_for("/listeners?format=json", lambda text: '"test"' in text)
        envoy.wait_for("/stats?filter=workers_started", lambda text: "workers_started: 1" in text)
        yield json.loads(text)["listener_statuses"][0]["local_address"]["socket_address"]["port_value"]


@asynccontextmanager
async def our_proxy(config: RouteConfig, ports: dict[str, int]) -> AsyncIterator[Proxy]:
    """Our proxy with what it understands of the same messages."""
    decoded = decode_message(Kind.LISTENER, encode_message(listener_of(config)))
    assert isinstance(decoded, Listener)
    listener = replace(decoded, address=Address("127.0.0.1", 0))
    async with running(snapshot(listener, *(cluster(name, port) for name, port in ports.items()))) as proxy:
        yield proxy


async def outcomes(proxy: Proxy, envoy_port: int, requests: list[bytes]) -> list[tuple[bytes, Outcome, Outcome]]:
    """(request, what Envoy made of it, what we made of it) of each request, which has no body."""
    envoys = await _converse(envoy_port, requests)
    ours = await _converse(port_of(proxy), requests)
    return list(zip(requests, envoys, ours))


async def _converse(port: int, requests: list[bytes]) -> list[Outcome]:
    found = []
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    rest = b""
    for request in requests:
        await stream.send_all(request)
        status, head, body, rest = await read_response(stream, rest, request.split(b" ", 1)[0])
        found.append(_outcome(status, head, body))
        if b"\r\nconnection: close\r\n" in head.lower():
            await stream.aclose()
            stream, rest = await trio.open_tcp_stream("127.0.0.1", port), b""
    await stream.aclose()
    return found


def _outcome(status: int, head: bytes, body: bytes) -> Outcome:
    lines = [line.partition(b":") for line in head.split(b"\r\n")[1:] if line]
    headers = _comparable([(name.decode().lower(), value.strip().decode("latin-1")) for name, _, value in lines])
    if status == 400:
        return Outcome(status, (), "", None)  # in the words of whoever refused it
    if not any(name == "x-echo" for name, _ in headers) or not body:
        return Outcome(status, headers, body.decode("latin-1"), None)
    cluster_name, request_line, received = json.loads(body)
    return Outcome(status, headers, "", (cluster_name, request_line, _comparable(received)))


def _comparable(pairs: Any) -> tuple[tuple[str, str], ...]:
    """Without each proxy's own; the values of one name in their order, the names sorted, as their order means nothing."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        if name == "location":  # the default port said or not said: the same URL
            value = _DEFAULT_PORT.sub(r"\1\2", value)
        if name not in _OWN:
            values.setdefault(name, []).append(value)
    return tuple((name, ",".join(each)) for name, each in sorted(values.items()))


def _document(message: Any) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)
