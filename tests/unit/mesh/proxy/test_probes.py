from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

import grpc
import pytest
import trio

from mesh.proxy.local_http import Answer, Request, serve
from mesh.proxy.probes import BadProber, GrpcProber, HttpProber, Prober, TcpProber, connect, execute, parse_probers


def test_probers_are_read() -> None:
    document = {
        "/app-health/a/readyz": {
            "httpGet": {"path": "healthz", "port": 80, "scheme": "HTTPS", "httpHeaders": [{"name": "Host", "value": "b"}, {"name": "X", "value": "y"}]},
            "timeoutSeconds": 3,
        },
        "/app-health/a/livez": {"tcpSocket": {"port": 81}},
        "/app-health/a/startupz": {"grpc": {"port": 82, "service": "s"}},
    }
    lines = b"user-agent: kube-probe/triomesh\r\naccept: */*\r\nX: y\r\n"
    assert parse_probers(json.dumps(document)) == {
        "/app-health/a/readyz": Prober(HttpProber(80, "/healthz", True, "b", lines), 3.0),
        "/app-health/a/livez": Prober(TcpProber(81)),
        "/app-health/a/startupz": Prober(GrpcProber(82, "s")),
    }


def test_no_document_is_no_probers() -> None:
    assert parse_probers("") == {}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nope", "not an object"),
        ({}, "exactly one of httpGet, tcpSocket and grpc"),
        ({"tcpSocket": {"port": 1}, "grpc": {"port": 1}}, "exactly one"),
        ({"tcpSocket": {"port": "http"}}, "tcpSocket.port 'http' is not a port number"),
        ({"tcpSocket": {"port": 0}}, "port 0"),
        ({"httpGet": {"port": 80, "scheme": "FTP"}}, "neither HTTP nor HTTPS"),
        ({"httpGet": {"port": 80, "path": "/a b"}}, "percent-encoded"),
        ({"httpGet": {"port": 80, "httpHeaders": [{"name": "a b", "value": "c"}]}}, "'a b' is not a header"),
        ({"httpGet": {"port": 80, "httpHeaders": [{"name": "a", "value": "c\r\nd: e"}]}}, "is not a header"),
        ({"tcpSocket": {"port": 1}, "timeoutSeconds": 0}, "timeoutSeconds 0"),
    ],
)
def test_mistakes_name_path_and_field(spec: object, words: str) -> None:
    with pytest.raises(BadProber, match=f"^/p: .*{words}"):
        parse_probers(json.dumps({"/p": spec}))


def test_what_is_not_json_is_refused() -> None:
    for document in ("{", "[]"):
        with pytest.raises(BadProber):
            parse_probers(document)


@asynccontextmanager
async def application(status: int, host: str = "127.0.0.1") -> AsyncIterator[int]:
    async def handle(request: Request) -> Answer:
        seen = f"{request.path} {(request.head.get(b'x') or b'-').decode()} {request.head.authority.decode().split(':')[0]}"
        return Answer(status, seen.encode(), headers=b"location: /elsewhere\r\n" if 300 <= status < 400 else b"")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(serve, await trio.open_tcp_listeners(0, host=host), handle))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("status", "expected"), [(200, 200), (302, 200), (404, 404), (500, 500)])
async def test_http_probes_pass_the_answer_on(status: int, expected: int) -> None:
    async with application(status) as port:
        answer = await execute(Prober(HttpProber(port, "/ready", False, "", b"x: y\r\n")), "127.0.0.1")
    assert (answer.status, answer.body) == (expected, b"/ready y 127.0.0.1")


async def test_a_host_header_is_kept() -> None:
    async with application(200) as port:
        answer = await execute(Prober(HttpProber(port, "/", False, "app.local", b"")), "127.0.0.1")
    assert answer.body == b"/ - app.local"


async def test_tcp_probes_connect() -> None:
    async with application(200) as port:
        assert (await execute(Prober(TcpProber(port)), "127.0.0.1")).status == 200


@pytest.mark.parametrize("kind", ["http", "tcp", "grpc"])
async def test_a_closed_port_fails_with_a_reason(kind: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        action = {"http": HttpProber(port, "/", False, "", b""), "tcp": TcpProber(port), "grpc": GrpcProber(port, "")}[kind]
        answer = await execute(Prober(action, 0.3), "127.0.0.1")
    assert answer.status == 503
    assert str(port).encode() in answer.body


async def test_an_application_that_does_not_answer_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        answer = await execute(Prober(HttpProber(port, "/", False, "", b""), 0.05), "127.0.0.1")
    assert (answer.status, answer.body) == (503, f"probe of port {port}: no answer within 0.05 s\n".encode())


async def test_the_source_address_is_the_one_interception_lets_through() -> None:
    # Any loopback address but 127.0.0.1 stands for the pod's own.
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.2"))[0]
    async with listener, await connect("127.0.0.2", listener.socket.getsockname()[1]):
        accepted = await listener.accept()
        async with accepted:
            assert accepted.socket.getpeername()[0] == "127.0.0.6"


@pytest.fixture
def health_server() -> Iterator[int]:
    def check(request: bytes, context: grpc.ServicerContext) -> bytes:
        if request == b"\x0a\x07unknown":
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return b"\x08\x01" if request in (b"", b"\x0a\x02ok") else b"\x08\x02"

    server = grpc.server(ThreadPoolExecutor(1))
    handler = grpc.unary_unary_rpc_method_handler(check, None, None)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


@pytest.mark.parametrize(("service", "status", "words"), [("", 200, b"SERVING"), ("ok", 200, b"SERVING"), ("bad", 503, b"not SERVING"), ("unknown", 503, b"NOT_FOUND")])
async def test_grpc_probes_ask_the_health_service(health_server: int, service: str, status: int, words: bytes) -> None:
    answer = await execute(Prober(GrpcProber(health_server, service), 5.0), "127.0.0.1")
    assert answer.status == status and words in answer.body
