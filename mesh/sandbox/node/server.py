"""The kubelet's HTTPS API: /pods, /containerLogs, /exec, /attach, /portForward, /healthz, /metrics (trio, h11).

Only clients with a certificate of the cluster's CA are served. Paths and answers are the real kubelet's, so that any API server can use it.
"""

import json
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import h11
import trio
from wsproto.utilities import generate_accept_token

from mesh.sandbox.network import KUBELET_PORT, NODE_IP
from mesh.sandbox.node import sessions, spdy
from mesh.sandbox.node.channels import (
    ByteStream,
    Channel,
    ChannelSocket,
    SpdyConnection,
    SpdyStream,
    TransportBytes,
    WebSocket,
)
from mesh.sandbox.node.container import container_key
from mesh.sandbox.node.context import NodeContext
from mesh.sandbox.node.logs import LogOptions, read_log
from mesh.sandbox.node.podstatus import Running, Waiting
from mesh.sandbox.node.podworker import PodWorker

_log = logging.getLogger("kubelet")
_HANDSHAKE_SECONDS = 10.0
_STREAM_SECONDS = 30.0
_CHANNELS = {"stdin": 0, "stdout": 1, "stderr": 2, "error": 3, "resize": 4}
_SPDY_PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io")
_SOCKET_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
PORT_FORWARD = "portforward.k8s.io"
TUNNEL = "SPDY/3.1+portforward.k8s.io"

Json = dict[str, Any]
Query = dict[str, list[str]]


class HttpError(Exception):
    """Answer with this status and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


@dataclass(slots=True)
class Exchange:
    """One request and the connection that it came on."""

    stream: trio.abc.Stream
    connection: h11.Connection
    method: str
    path: list[str]
    query: Query
    headers: dict[str, str]

    async def respond(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        """A whole answer."""
        headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        data = self.connection.send(h11.Response(status_code=status, headers=headers)) or b""
        data += self.connection.send(h11.Data(data=body)) or b""
        await self.stream.send_all(data + (self.connection.send(h11.EndOfMessage()) or b""))

    async def respond_stream(self, pieces: AsyncIterator[bytes]) -> None:
        """An answer in chunks."""
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Transfer-Encoding", "chunked")]
        await self.stream.send_all(self.connection.send(h11.Response(status_code=200, headers=headers)) or b"")
        async for piece in pieces:
            await self.stream.send_all(self.connection.send(h11.Data(data=piece)) or b"")
        await self.stream.send_all(self.connection.send(h11.EndOfMessage()) or b"")

    async def switch(self, headers: list[tuple[str, str]]) -> TransportBytes:
        """Answer 101 and hand over the bytes."""
        response = h11.InformationalResponse(status_code=101, headers=[("Connection", "Upgrade"), *headers])
        await self.stream.send_all(self.connection.send(response) or b"")
        return TransportBytes(self.stream, bytes(self.connection.trailing_data[0]))

    def flag(self, name: str) -> bool:
        return self.query.get(name, [""])[0] in ("1", "true")

    def offered(self) -> list[str]:
        """WebSocket subprotocols or SPDY stream protocols that the client offers."""
        name = "sec-websocket-protocol" if self.is_web_socket() else "x-stream-protocol-version"
        return [item.strip() for item in self.headers.get(name, "").split(",") if item.strip()]

    def is_web_socket(self) -> bool:
        return self.headers.get("upgrade", "").lower() == "websocket"

    def is_spdy(self) -> bool:
        return self.headers.get("upgrade", "").lower() == "spdy/3.1"


class KubeletServer:
    """Concurrency: one task per connection."""

    def __init__(self, context: NodeContext, workers: dict[str, PodWorker]) -> None:
        self._context, self._workers = context, workers

    async def run(self, pki: Path, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "kubelet.crt", pki / "kubelet.key")
        context.verify_mode = ssl.CERT_REQUIRED
        listeners = await trio.open_ssl_over_tcp_listeners(KUBELET_PORT, context, host=NODE_IP, https_compatible=True)
        task_status.started()
        await trio.serve_listeners(self._serve, listeners)

    async def _serve(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            with trio.fail_after(_HANDSHAKE_SECONDS):
                await stream.do_handshake()
            async with stream:
                await self._requests(stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, h11.RemoteProtocolError, spdy.SpdyError) as group:
            _log.info("connection ended: %s", group.exceptions)
        except* Exception:  # the boundary of one connection
            _log.exception("connection")

    async def _requests(self, stream: trio.abc.Stream) -> None:
        connection = h11.Connection(h11.SERVER)
        while True:
            exchange = await _read_request(stream, connection)
            if exchange is None:
                return
            try:
                taken_over = await self._dispatch(exchange)
            except HttpError as exc:
                await exchange.respond(exc.status, exc.text.encode())
                taken_over = False
            if taken_over or connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    async def _dispatch(self, exchange: Exchange) -> bool:
        """Answer; True = the connection was upgraded and is over."""
        match exchange.path:
            case ["healthz"]:
                await exchange.respond(200, b"ok")
            case ["pods"]:
                items = [worker.pod for worker in self._workers.values()]
                body = json.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}).encode()
                await exchange.respond(200, body, "application/json")
            case ["metrics"]:
                await exchange.respond(200, self._metrics(), "text/plain; version=0.0.4")
            case ["containerLogs", namespace, pod, container]:
                await self._logs(exchange, self._worker(namespace, pod), container)
            case ["exec", namespace, pod, container]:
                await self._command(exchange, self._worker(namespace, pod), container, exchange.query.get("command", []))
                return True
            case ["attach", namespace, pod, container]:
                await self._command(exchange, self._worker(namespace, pod), container, None)
                return True
            case ["portForward", namespace, pod]:
                await self._port_forward(exchange, self._worker(namespace, pod))
                return True
            case _:
                raise HttpError(404, "404 page not found\n")
        return False

    def _worker(self, namespace: str, name: str) -> PodWorker:
        for worker in self._workers.values():
            meta = worker.pod["metadata"]
            if (meta["namespace"], meta["name"]) == (namespace, name):
                return worker
        raise HttpError(404, f'pod "{name}_{namespace}" does not exist on this node\n')

    def _metrics(self) -> bytes:
        running = sum(isinstance(r.state, Running) for w in self._workers.values() for r in w.records.values())
        restarts = sum(r.restarts for w in self._workers.values() for r in w.records.values())
        lines = [
            "# HELP kubelet_running_pods Pods on this node.",
            "# TYPE kubelet_running_pods gauge",
            f"kubelet_running_pods {len(self._workers)}",
            "# HELP kubelet_running_containers Running containers.",
            "# TYPE kubelet_running_containers gauge",
            f'kubelet_running_containers{{container_state="running"}} {running}',
            "# HELP triomesh_node_container_restarts_total Restarts of the containers that exist now.",
            "# TYPE triomesh_node_container_restarts_total counter",
            f"triomesh_node_container_restarts_total {restarts}",
        ]
        return "\n".join([*lines, ""]).encode()

    # -- logs -----------------------------------------------------------------------------------------------------------

    async def _logs(self, exchange: Exchange, worker: PodWorker, container: str) -> None:
        record = worker.records.get(container)
        name = worker.pod["metadata"]["name"]
        if record is None:
            raise HttpError(404, f"container {container} is not valid for pod {name}\n")
        attempt = record.restarts
        if isinstance(record.state, Waiting) and record.last is None:
            raise HttpError(400, f'container "{container}" in pod "{name}" is waiting to start: {record.state.message or record.state.reason}\n')
        previous = exchange.flag("previous")
        if previous:
            attempt -= 1
        path = worker.files.log(container, attempt)
        if attempt < 0 or not path.exists():
            raise HttpError(400, f'previous terminated container "{container}" in pod "{name}" not found\n')
        options = _log_options(exchange.query, follow=exchange.flag("follow") and not previous)
        ended = trio.Event()
        async with trio.open_nursery() as nursery:
            if options.follow and isinstance(record.state, Running):
                nursery.start_soon(self._notice_end, container_key(worker.uid, container, attempt), ended)
                nursery.start_soon(_notice_hang_up, exchange.stream, nursery.cancel_scope)
            else:
                ended.set()
            async with aclosing(read_log(path, options, ended)) as pieces:
                await exchange.respond_stream(pieces)
            nursery.cancel_scope.cancel()

    async def _notice_end(self, key: str, ended: trio.Event) -> None:
        await self._context.runtime.wait(key)
        ended.set()

    # -- exec and attach -------------------------------------------------------------------------------------------------

    async def _command(self, exchange: Exchange, worker: PodWorker, container: str, argv: list[str] | None) -> None:
        minder = worker.minders.get(container)
        if container not in worker.records:
            raise HttpError(404, f"container {container} is not valid for pod {worker.pod['metadata']['name']}\n")
        if minder is None or not minder.is_running():
            raise HttpError(500, f'unable to upgrade connection: container not found ("{container}")\n')
        tty = exchange.flag("tty")
        names = [name for name, flag in (("stdin", "input"), ("stdout", "output"), ("stderr", "error")) if exchange.flag(flag)]
        if tty and "stderr" in names:
            names.remove("stderr")
        names += ["error", *(["resize"] if tty else [])]
        runtime = self._context.runtime

        async def work(channels: dict[str, Channel]) -> None:
            if argv is None:
                await sessions.attach(runtime, minder.key, channels)
            else:
                await sessions.execute(runtime, minder.key, argv, tty, channels)

        if exchange.is_web_socket():
            await _over_web_socket(exchange, names, work)
        elif exchange.is_spdy():
            await _over_spdy(exchange, names, work)
        else:
            raise HttpError(400, "Upgrade request required\n")

    # -- port-forward ------------------------------------------------------------------------------------------------------

    async def _port_forward(self, exchange: Exchange, worker: PodWorker) -> None:
        netns = ""
        if not worker.pod["spec"].get("hostNetwork"):
            netns = f"/run/netns/{self._context.layout.pod_netns(worker.uid)}"
        offered = exchange.offered()
        if exchange.is_web_socket() and TUNNEL in offered:
            raw: ByteStream = WebSocket(await exchange.switch(_web_socket_headers(exchange, TUNNEL)))
            await _forward_spdy(raw, netns)
        elif exchange.is_web_socket():
            await _forward_channels(exchange, netns)
        elif exchange.is_spdy():
            headers = [("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", PORT_FORWARD)]
            if offered and PORT_FORWARD not in offered:
                raise HttpError(403, f"unable to upgrade: none of {offered} is spoken here\n")
            await _forward_spdy(await exchange.switch(headers), netns)
        else:
            raise HttpError(400, "Upgrade request required\n")


async def _read_request(stream: trio.abc.Stream, connection: h11.Connection) -> Exchange | None:
    exchange: Exchange | None = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = await stream.receive_some(65536)
            if not data and exchange is None and connection.their_state is h11.IDLE:
                return None
            connection.receive_data(bytes(data))
        elif isinstance(event, h11.Request):
            url = urlsplit(event.target.decode("latin-1"))
            path = [unquote(part) for part in url.path.split("/") if part]
            headers: dict[str, str] = {}
            for name, value in event.headers:
                key, text = name.decode("latin-1"), value.decode("latin-1")
                headers[key] = f"{headers[key]},{text}" if key in headers else text
            exchange = Exchange(stream, connection, event.method.decode(), path, parse_qs(url.query, keep_blank_values=True), headers)
        elif isinstance(event, h11.EndOfMessage) or event is h11.PAUSED:
            return exchange
        elif isinstance(event, h11.ConnectionClosed):
            return None


def _log_options(query: Query, *, follow: bool) -> LogOptions:
    def number(name: str) -> int | None:
        text = query.get(name, [""])[0]
        if not text:
            return None
        if not text.lstrip("-").isdecimal():
            raise HttpError(400, f"{name}={text!r} is not a number\n")
        return int(text)

    since = None
    if (seconds := number("sinceSeconds")) is not None:
        since = datetime.now(UTC) - timedelta(seconds=seconds)
    elif text := query.get("sinceTime", [""])[0]:
        try:
            since = datetime.fromisoformat(text)
        except ValueError as exc:
            raise HttpError(400, f"sinceTime={text!r}: {exc}\n") from exc
    tail = number("tailLines")
    timestamps = query.get("timestamps", [""])[0] in ("1", "true")
    return LogOptions(follow, None if tail is None or tail < 0 else tail, since, timestamps, number("limitBytes"))


async def _notice_hang_up(stream: trio.abc.Stream, scope: trio.CancelScope) -> None:
    try:
        while await stream.receive_some(4096):
            pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the same as an end
    scope.cancel()


def _web_socket_headers(exchange: Exchange, protocol: str) -> list[tuple[str, str]]:
    key = exchange.headers.get("sec-websocket-key", "")
    accept = generate_accept_token(key.encode()).decode()
    return [("Upgrade", "websocket"), ("Sec-WebSocket-Accept", accept), ("Sec-WebSocket-Protocol", protocol)]


async def _over_web_socket(exchange: Exchange, names: list[str], work: Any) -> None:
    protocol = next((item for item in _SOCKET_PROTOCOLS if item in exchange.offered()), None)
    if protocol is None:
        raise HttpError(400, f"none of the subprotocols {exchange.offered()} is spoken here (known: {', '.join(_SOCKET_PROTOCOLS)})\n")
    web = WebSocket(await exchange.switch(_web_socket_headers(exchange, protocol)))
    multiplex = ChannelSocket(web, half_close=protocol.startswith("v5"))
    channels: dict[str, Channel] = {name: multiplex.channel(_CHANNELS[name]) for name in names}
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            await multiplex.run()
            nursery.cancel_scope.cancel()  # the client is gone

        nursery.start_soon(read)
        # An empty message tells the client that the streams are there (kubelet does so on the lowest one it writes).
        await channels["stdout" if "stdout" in channels else "error"].send(b"")
        await work(channels)
        nursery.cancel_scope.cancel()
    with trio.move_on_after(1) as scope:
        scope.shield = True
        await web.finish()


async def _over_spdy(exchange: Exchange, names: list[str], work: Any) -> None:
    offered = exchange.offered()
    protocol = next((item for item in _SPDY_PROTOCOLS if item in offered), None)
    if protocol is None:
        raise HttpError(403, f"unable to upgrade: none of {offered} is spoken here (known: {', '.join(_SPDY_PROTOCOLS)})\n")
    raw = await exchange.switch([("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", protocol)])
    channels: dict[str, Channel] = {}
    complete = trio.Event()

    def on_stream(stream: SpdyStream) -> None:
        channels[stream.headers.get("streamtype", "")] = stream
        if set(names) <= channels.keys():
            complete.set()

    connection = SpdyConnection(raw, on_stream)
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            await connection.run()
            nursery.cancel_scope.cancel()

        nursery.start_soon(read)
        with trio.fail_after(_STREAM_SECONDS):
            await complete.wait()
        await work(channels)
        for channel in channels.values():
            await channel.close()
        await connection.write(connection.codec.goaway(0))
        nursery.cancel_scope.cancel()


async def _forward_spdy(raw: ByteStream, netns: str) -> None:
    """Pairs of streams, error and data, joined by their requestID."""
    waiting: dict[str, dict[str, SpdyStream]] = {}
    async with trio.open_nursery() as nursery:

        def on_stream(stream: SpdyStream) -> None:
            number = stream.headers.get("requestid", str(stream.number - stream.number % 4))
            pair = waiting.setdefault(number, {})
            pair[stream.headers.get("streamtype", "")] = stream
            if {"data", "error"} <= pair.keys():
                del waiting[number]
                nursery.start_soon(_forward_pair, netns, pair["data"], pair["error"])

        await SpdyConnection(raw, on_stream).run()
        nursery.cancel_scope.cancel()


async def _forward_pair(netns: str, data: SpdyStream, error: SpdyStream) -> None:
    port = data.headers.get("port", "")
    if not port.isdecimal():
        await error.send(f"port {port!r} is not a number".encode())
        await error.close()
        return
    await sessions.forward_one(netns, int(port), data, error)


async def _forward_channels(exchange: Exchange, netns: str) -> None:
    """Two channels per port, data and error; each begins with the port in two bytes (kubelet portforward/websocket.go)."""
    protocol = next((item for item in ("v4.channel.k8s.io", PORT_FORWARD) if item in exchange.offered()), None)
    ports = [int(port) for value in exchange.query.get("port", []) for port in value.split(",") if port.isdecimal()]
    if protocol is None or not ports:
        raise HttpError(400, f'query parameter "port" and subprotocol v4.channel.k8s.io are required (offered: {exchange.offered()})\n')
    web = WebSocket(await exchange.switch(_web_socket_headers(exchange, protocol)))
    multiplex = ChannelSocket(web, half_close=False)
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            await multiplex.run()
            nursery.cancel_scope.cancel()  # the client is gone

        async with trio.open_nursery() as ports_nursery:
            for index, port in enumerate(ports):
                data, error = multiplex.channel(2 * index), multiplex.channel(2 * index + 1)
                for channel in (data, error):
                    await channel.send(port.to_bytes(2, "little"))
                ports_nursery.start_soon(sessions.forward_one, netns, port, data, error)
            nursery.start_soon(read)
        nursery.cancel_scope.cancel()
    with trio.move_on_after(1) as scope:  # there is one connection per port: when all are over, so is the socket
        scope.shield = True
        await web.finish()
