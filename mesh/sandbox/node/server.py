"""The kubelet's HTTPS API: /pods, /containerLogs, /exec, /attach, /portForward, /healthz, /metrics (trio, h11).

Only clients with a certificate of the cluster's CA are served. Paths and answers are the real kubelet's, so that any API server can use it.
"""

import json
import logging
import ssl
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h11
import trio

from mesh.sandbox.network import KUBELET_PORT, NODE_IP
from mesh.sandbox.node import portforward, remotecommand, sessions, spdy
from mesh.sandbox.node.channels import Channel
from mesh.sandbox.node.container import container_key
from mesh.sandbox.node.context import NodeContext
from mesh.sandbox.node.exchange import Exchange, HttpError, Query, read_request
from mesh.sandbox.node.logs import LogOptions, read_log
from mesh.sandbox.node.podstatus import Running, Waiting
from mesh.sandbox.node.podworker import PodWorker

_log = logging.getLogger("kubelet")
_HANDSHAKE_SECONDS = 10.0


class KubeletServer:
    """Concurrency: one task per connection."""

    def __init__(self, context: NodeContext, workers: dict[str, PodWorker]) -> None:
        self._context, self._workers = context, workers

    async def run(
        self, pki: Path, host: str = NODE_IP, port: int = KUBELET_PORT, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled. Reports the port (0 = any free one) when it listens."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "kubelet.crt", pki / "kubelet.key")
        context.verify_mode = ssl.CERT_REQUIRED
        listeners = await trio.open_tcp_listeners(port, host=host)
        task_status.started(listeners[0].socket.getsockname()[1])
        await trio.serve_listeners(self._serve, [trio.SSLListener(listener, context, https_compatible=True) for listener in listeners])

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
            exchange = await read_request(stream, connection)
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
                await portforward.serve(exchange, self._netns(self._worker(namespace, pod)))
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

        await remotecommand.carry(exchange, names, work)

    def _netns(self, worker: PodWorker) -> str:
        if worker.pod["spec"].get("hostNetwork"):
            return ""
        return f"/run/netns/{self._context.layout.pod_netns(worker.uid)}"


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
