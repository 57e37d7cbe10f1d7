"""Both forms of the data plane, compiled and uncompiled, under the same bytes: what each sent, and what it recorded.

`python -m tests.support.proxy_forms compiled|pure FIRST COUNT` prints one JSON line per scenario. A scenario is drawn
from its number: what clients send in which pieces, what the server answers in which pieces, malformed bytes included.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
# The server goes on when nothing has moved for a moment, a client only when the server did not go on either.
_QUIET_SECONDS = 0.002
_SETTLED_SECONDS = 0.012


def compiled_modules() -> list[str]:
    """Names of setup.py's COMPILED."""
    return [path.replace("/", ".") for path in re.findall(r'^    "(mesh/\S+)\.py",$', (ROOT / "setup.py").read_text(), re.M)]


class SourceFinder(MetaPathFinder):
    """Finds the .py of every compiled module although an extension lies beside it."""

    def __init__(self) -> None:
        self._names = frozenset(compiled_modules())

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._names:
            return None
        file = ROOT.joinpath(*fullname.split(".")).with_suffix(".py")
        return spec_from_file_location(fullname, file, loader=SourceFileLoader(fullname, str(file)))


_METHODS = (b"GET", b"GET", b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"get", b"B AD")
_TARGETS = (b"/", b"/a/b?c=d", b"/a/../b", b"/%41", b"/%zz", b"/../x", b"http://other/x", b"*", b"/\x01", b"", b"/no-such-host")
_LINES = (
    b"Accept: */*",
    b"Cookie: a=b",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: x-secret",
    b"X-Secret: 1",
    b"X-Forwarded-For: 9.9.9.9",
    b"x-request-id: mine",
    b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    b"b3: 0",
    b"x-envoy-attempt-count: 7",
    b"TE: trailers",
    b"Upgrade: websocket",
    b"Expect: 100-continue",
    b"Bad Name: 1",
    b" folded",
    b"NoColon",
    b"Nul: \x00",
    b"Content-Length: 3",
    b"Content-Length: x",
    b"Transfer-Encoding: gzip",
)
_BODIES = (
    (b"Content-Length: 5\r\n", b"hello"),
    (b"Content-Length: 5\r\n", b"hel"),
    (b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"z\r\nabc\r\n"),
    (b"Content-Length: 0\r\n", b""),
)
_ANSWERS = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Envoy-Upstream-Service-Time: 7\r\nKeep-Alive: timeout=5\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-t: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\ncontent-length: 100\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy",
    b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.0 200 OK\r\n\r\nuntil close",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokEXTRA",
    b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
    b"HTTP/1.1 200 OK\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n",
    b"SMTP ready\r\n",
    b"HTTP/1.1 2x0 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
    b"",
)
# After these nothing more can come on the connection, whatever the proxy thinks of it.
_LAST = (b"HTTP/1.0", b"SMTP", b"HTTP/1.1 2x0")


def _request(rng: random.Random) -> bytes:
    lines = b"".join(rng.choice(_LINES) + b"\r\n" for _ in range(rng.choice((0, 0, 1, 2, 4))))
    method = rng.choice(_METHODS) if rng.random() < 0.4 else b"GET"
    target = rng.choice(_TARGETS) if rng.random() < 0.3 else b"/x"
    body = b""
    if method in (b"POST", b"PUT") or rng.random() < 0.05:
        framing, body = rng.choice(_BODIES)
        lines += framing
    version = rng.choice((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1"))
    host = b"Host: a\r\n" if rng.random() < 0.95 else b""
    return b"%b %b %b\r\n%b%b\r\n%b" % (method, target, version, host, lines, body)


def _pieces(rng: random.Random, data: bytes) -> list[bytes]:
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 0, 0, 1, 2))))
    return [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)]) if start < stop]


def scenario(number: int) -> tuple[list[list[bytes]], list[list[bytes]]]:
    """(per client connection: the pieces it sends, each after everything has come to rest; per request: the answer's)."""
    rng = random.Random(number)
    connections = []
    for _ in range(rng.choice((1, 2, 2, 3))):
        requests = [_request(rng) for _ in range(rng.choice((1, 2, 3, 3)))]
        if rng.random() < 0.3:  # pipelined
            connections.append(_pieces(rng, b"".join(requests)))
        else:
            connections.append([piece for request in requests for piece in _pieces(rng, request)])
    return connections, [_pieces(rng, rng.choice(_ANSWERS)) for _ in range(12)]


async def play(number: int) -> dict[str, Any]:
    """What happened: bytes to every server connection, bytes to every client connection, records."""
    import trio
    import trio.testing

    from mesh.model.match import PathKind, PathMatch, RouteMatch
    from mesh.model.route import DirectResponse, ForwardAction, HeaderMutation, RetryPolicy, Route, WeightedCluster
    from mesh.proxy.observe.record import Record
    from tests.support.proxy import Upstream, client, cluster, listener, manager, routes, running, serving, snapshot

    random.seed(number)
    connections, answers = scenario(number)
    to_server: list[bytearray] = []
    to_clients: list[bytes] = []
    records: list[Record] = []

    async def serve(stream: trio.SocketStream, upstream: Upstream) -> None:
        got = bytearray()
        to_server.append(got)
        answered = 0
        while True:
            while got.count(b"\r\n\r\n") > answered and answers:
                answered = got.count(b"\r\n\r\n")
                answer = answers.pop(0)
                for piece in answer:
                    await stream.send_all(piece)
                    await trio.testing.wait_all_tasks_blocked(_QUIET_SECONDS)
                if not answer or answer[0].startswith(_LAST):
                    return
            more = await stream.receive_some(65536)
            if not more:
                return
            got += more

    retry = RetryPolicy(on=("connect-failure", "503"), attempts=1, backoff_base_seconds=1e-6, backoff_max_seconds=1e-6)
    edits = HeaderMutation(set=(("x-set", "%PROTOCOL%"),), remove=("accept",))
    async with serving(serve) as upstream:
        items = (
            Route(RouteMatch(PathMatch(PathKind.PREFIX, "/a")), ForwardAction((WeightedCluster("a"),)), request_headers=edits),
            Route(RouteMatch(PathMatch(PathKind.PREFIX, "/b")), DirectResponse(418, b"teapot")),
            Route(RouteMatch(), ForwardAction((WeightedCluster("a", 1), WeightedCluster("a2", 1)), retry=retry)),
        )
        clusters = (cluster("a", upstream.port), cluster("a2", upstream.port))
        terminal = manager(routes(*items), use_remote_address=bool(number % 2), request_timeout_seconds=30.0)
        async with running(snapshot(listener(terminal), *clusters)) as proxy:
            runtime = proxy.current.listeners["test"]

            class Logger:
                log = records.append

            runtime.terminal(runtime.model.chains[0]).observer.loggers = (Logger,)  # type: ignore[assignment]
            for pieces in connections:
                async with client(proxy) as stream:
                    to_clients.append(await _converse(stream, pieces))
                await trio.testing.wait_all_tasks_blocked(_SETTLED_SECONDS)
            protocol_errors = proxy.protocol_errors
    return {
        "number": number,
        "server": [_stable(bytes(each)) for each in to_server],
        "clients": [_stable(each) for each in to_clients],
        "records": [_facts(record) for record in records],
        "protocol_errors": protocol_errors,
    }


async def _converse(stream: Any, pieces: list[bytes]) -> bytes:
    import trio
    import trio.testing

    got = bytearray()

    async def receive() -> None:
        try:
            while more := await stream.receive_some(65536):
                got.extend(more)
        except trio.BrokenResourceError:
            got.extend(b"<reset>")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        for piece in pieces:
            try:
                await stream.send_all(piece)
            except trio.BrokenResourceError:
                break
            await trio.testing.wait_all_tasks_blocked(_SETTLED_SECONDS)
        nursery.cancel_scope.cancel()
    return bytes(got)


_CHANGING = (
    (re.compile(rb"(?i)date: [^\r]*"), b"date: *"),
    (re.compile(rb"x-envoy-upstream-service-time: \d+"), b"x-envoy-upstream-service-time: *"),
)


def _stable(data: bytes) -> str:
    for pattern, text in _CHANGING:
        data = pattern.sub(text, data)
    return data.decode("latin-1")


def _facts(record: Any) -> list[Any]:
    return [
        record.status,
        [flag.value for flag in record.flags],
        record.details,
        record.termination_details,
        record.transport_failure,
        record.attempts,
        record.bytes_received,
        record.bytes_sent,
        record.grpc_status,
        record.protocol,
        record.request_id.decode("latin-1"),
        record.trace.trace_id.decode() if record.trace is not None else "",
        record.cluster.name if record.cluster is not None else "",
        record.route.order if record.route is not None else None,
        record.head.method.decode("latin-1"),
        record.head.target.decode("latin-1"),
    ]


def main(form: str, first: int, count: int) -> None:
    if form == "pure":
        sys.meta_path.insert(0, SourceFinder())
    import trio

    import mesh.proxy.forwarding

    assert mesh.proxy.forwarding.__file__.endswith(".py") == (form == "pure"), mesh.proxy.forwarding.__file__
    for number in range(first, first + count):
        print(json.dumps(trio.run(play, number)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
