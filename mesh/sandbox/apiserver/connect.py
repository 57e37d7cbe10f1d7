"""Connections through the API server: logs, exec, attach and port-forward to kubelets; proxy to pods, services and nodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any
from urllib.parse import urlencode

import trio

from mesh.sandbox.apiserver import relay, status
from mesh.sandbox.apiserver.client import Answer, ExchangeError, connect, exchange
from mesh.sandbox.apiserver.cluster import Call, Cluster
from mesh.sandbox.apiserver.http import Reply, Request, Response, Send, Stream, Takeover
from mesh.sandbox.apiserver.network import Address
from mesh.sandbox.apiserver.storage import Key

Obj = dict[str, Any]
Handler = Callable[[Cluster, Call], Awaitable[Reply]]

CONNECT_SECONDS = 10.0
# Hop by hop (RFC 9110 7.6.1), or about us rather than about the pod.
NOT_FORWARDED = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade", "host", "content-length",
                 "authorization", "expect", "impersonate-user", "impersonate-group", "impersonate-uid"}  # fmt: skip
LOG_OPTIONS = ("follow", "tailLines", "sinceSeconds", "sinceTime", "timestamps", "previous", "limitBytes")
STREAM_OPTIONS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}


def _pod(cluster: Cluster, call: Call) -> Obj:
    found = cluster.store.get(call.key)
    if found is None:
        raise call.not_found()
    return found.obj


def _container(pod: Obj, asked: str) -> str:
    """The container meant. Raises: ApiError 400: unknown, or one of several must be named."""
    spec, name = pod["spec"], pod["metadata"]["name"]
    names = [c["name"] for group in ("containers", "initContainers", "ephemeralContainers") for c in spec.get(group) or ()]
    if asked:
        if asked not in names:
            raise status.bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    main = [c["name"] for c in spec["containers"]]
    chosen = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if len(main) == 1 or chosen in main:
        return str(chosen if chosen in main else main[0])
    raise status.bad_request(f"a container name must be specified for pod {name}, choose one of: [{' '.join(main)}]")


def _kubelet(cluster: Cluster, pod: Obj) -> Address:
    node = pod["spec"].get("nodeName")
    if not node:
        raise status.bad_request(f"pod {pod['metadata']['name']} does not have a host assigned")
    return cluster.network.kubelet(node)


async def log(cluster: Cluster, call: Call) -> Reply:
    """GET of `pods/{name}/log`."""
    if call.verb != "get":
        raise status.method_not_allowed(call.verb)
    pod = _pod(cluster, call)
    container = _container(pod, call.request.arg("container"))
    query = urlencode([(name, call.request.arg(name)) for name in LOG_OPTIONS if call.request.arg(name)])
    address = _kubelet(cluster, pod)
    target = f"/containerLogs/{call.target.namespace}/{call.target.name}/{container}" + (f"?{query}" if query else "")
    return await _forward(await _dial(address, cluster, True), "GET", target, [("host", f"{address.host}:{address.port}"), ("accept", "*/*")], b"", kubelet=True)


async def streams(cluster: Cluster, call: Call) -> Reply:
    """`pods/{name}/exec` and `/attach`: the rest of the connection is between client and kubelet."""
    pod = _pod(cluster, call)
    container = _container(pod, call.request.arg("container"))
    if call.target.subresource == "exec" and not call.request.arg("command"):
        raise status.bad_request("you must specify at least 1 command for the container")
    query = [("command", word) for word in call.request.query.get("command", ())]
    query += [(kubelet_name, "1") for name, kubelet_name in STREAM_OPTIONS.items() if call.request.flag(name)]
    path = f"/{call.target.subresource}/{call.target.namespace}/{call.target.name}/{container}"
    return await _upgrade(cluster, call.request, _kubelet(cluster, pod), f"{path}?{urlencode(query)}")


async def port_forward(cluster: Cluster, call: Call) -> Reply:
    """`pods/{name}/portforward`."""
    pod = _pod(cluster, call)
    query = urlencode([("port", p) for value in call.request.query.get("ports", ()) for p in value.split(",")])
    path = f"/portForward/{call.target.namespace}/{call.target.name}" + (f"?{query}" if query else "")
    return await _upgrade(cluster, call.request, _kubelet(cluster, pod), path)


async def _upgrade(cluster: Cluster, request: Request, address: Address, target: str) -> Reply:
    if "upgrade" not in request.headers.get("connection", "").lower() or not request.headers.get("upgrade"):
        raise status.bad_request("Upgrade request required")
    upstream = await _dial(address, cluster, True)
    head = relay.request_head(request.method, target, _forwarded(request.raw_headers, {"host", "authorization"}), f"{address.host}:{address.port}")

    async def run(client: trio.abc.Stream, rest: bytes) -> None:
        await relay.run(client, upstream, head + request.body + rest)

    return Takeover(run)


async def proxy(cluster: Cluster, call: Call) -> Reply:
    """`pods|services|nodes/{[scheme:]name[:port]}/proxy/{path}`: plain HTTP (or HTTPS, unverified by name) to the port."""
    scheme, name, port = _proxy_name(call.target.name)
    if call.resource.key == "pods":
        found = cluster.store.get(Key("pods", call.target.namespace, name))
        if found is None:
            raise status.not_found("", "pods", name)
        address = Address(cluster.network.pod(found.obj), int(port) if port else _first_port(found.obj))
    elif call.resource.key == "services":
        address = cluster.network.service(call.target.namespace, name, int(port) if port.isdecimal() else port or _service_port(cluster, call, name))
    else:
        address, scheme = cluster.network.kubelet(name), "kubelet"
    query = call.request.target.partition("?")[2]
    after = call.request.target.partition("?")[0].partition("/proxy/")[2]
    target = f"/{after}" + (f"?{query}" if query else "")
    if scheme == "https":
        raise status.not_implemented("proxy to an HTTPS port: the API server has no trust for the pod's certificate")
    if call.request.headers.get("upgrade"):
        upstream = await _dial(address, cluster, scheme == "kubelet")
        head = relay.request_head(call.request.method, target, _forwarded(call.request.raw_headers, {"host", "authorization"}), f"{address.host}:{address.port}")

        async def run(client: trio.abc.Stream, rest: bytes) -> None:
            await relay.run(client, upstream, head + call.request.body + rest)

        return Takeover(run)
    headers = [("host", f"{address.host}:{address.port}"), *((k.decode("latin-1"), v.decode("latin-1")) for k, v in _forwarded(call.request.raw_headers, NOT_FORWARDED))]
    return await _forward(await _dial(address, cluster, scheme == "kubelet"), call.request.method, target, headers, call.request.body, kubelet=False)


def _proxy_name(text: str) -> tuple[str, str, str]:
    """`[http:|https:]name[:port]` → (scheme, name, port)."""
    parts = text.split(":")
    if len(parts) == 1:
        return "http", parts[0], ""
    if len(parts) == 2:
        return "http", parts[0], parts[1]
    if len(parts) == 3 and parts[0] in ("", "http", "https"):
        return parts[0] or "http", parts[1], parts[2]
    raise status.bad_request(f"invalid proxy name {text!r}: want [scheme:]name[:port]")


def _first_port(pod: Obj) -> int:
    ports = [p["containerPort"] for c in pod["spec"]["containers"] for p in c.get("ports") or ()]
    return int(ports[0]) if ports else 80


def _service_port(cluster: Cluster, call: Call, name: str) -> int:
    found = cluster.store.get(Key("services", call.target.namespace, name))
    if found is None:
        raise status.not_found("", "services", name)
    ports: list[Obj] = found.obj["spec"].get("ports") or []
    if len(ports) != 1:
        raise status.unavailable(f'service "{name}" has {len(ports)} ports: name one, as {name}:port')
    return int(ports[0]["port"])


def _forwarded(headers: Iterable[tuple[bytes, bytes]], without: set[str]) -> list[tuple[bytes, bytes]]:
    return [(k, v) for k, v in headers if k.decode("latin-1").lower() not in without]


async def _dial(address: Address, cluster: Cluster, is_kubelet: bool) -> trio.abc.Stream:
    try:
        with trio.fail_after(CONNECT_SECONDS):
            return await connect(address.host, address.port, cluster.network.kubelet_tls if is_kubelet else None)
    except (OSError, trio.BrokenResourceError, trio.TooSlowError) as exc:
        why = exc.__cause__ if isinstance(exc, trio.BrokenResourceError) and exc.__cause__ else exc
        what = "the kubelet" if is_kubelet else "the pod"
        raise status.unavailable(f"error dialing {what} at {address.host}:{address.port}: {why or type(exc).__name__}") from exc


async def _forward(stream: trio.abc.Stream, method: str, target: str, headers: list[tuple[str, str]], body: bytes, *, kubelet: bool) -> Reply:
    """One HTTP exchange whose answer is streamed to the client. Closes: `stream`."""
    try:
        answer = await exchange(stream, method, target, headers, body)
        if kubelet and answer.status >= 400:
            text = (await answer.read(65536)).decode("utf-8", "replace").strip()
            raise status.ApiError(answer.status, "NotFound" if answer.status == 404 else "BadRequest" if answer.status == 400 else "InternalError", text)
    except ExchangeError as exc:
        await trio.aclose_forcefully(stream)
        raise status.unavailable(f"error trying to reach service: {exc}") from exc
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return _stream(stream, answer, method)


def _stream(stream: trio.abc.Stream, answer: Answer, method: str) -> Reply:
    async def run(send: Send) -> None:
        try:
            async with aclosing(answer.body()) as pieces:
                async for piece in pieces:
                    await send(piece)
        finally:
            await trio.aclose_forcefully(stream)

    kept = [(k, v) for k, v in answer.headers if k not in NOT_FORWARDED and k != "content-type"]
    if method == "HEAD" or answer.status in (204, 304):
        return Response(answer.status, b"", answer.header("content-type") or "text/plain", kept)
    return Stream(run, answer.status, answer.header("content-type") or "text/plain", kept)


HANDLERS: dict[str, Handler] = {"log": log, "exec": streams, "attach": streams, "portforward": port_forward, "proxy": proxy}
