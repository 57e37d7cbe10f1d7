"""Port-forward: connections of a client, relayed to ports inside a pod (trio).

Source: kubelet portforward/httpstream.go and websocket.go: SPDY streams in pairs (plain, or tunnelled in a WebSocket), or two numbered channels per port.
"""

import socket

import trio

from mesh.sandbox import linux
from mesh.sandbox.netns import in_thread
from mesh.sandbox.node.channels import ByteStream, Channel, ChannelSocket, SpdyConnection, SpdyStream
from mesh.sandbox.node.exchange import Exchange, HttpError

PROTOCOL = "portforward.k8s.io"
TUNNEL = "SPDY/3.1+portforward.k8s.io"
_CHUNK_BYTES = 32 * 1024


async def serve(exchange: Exchange, netns: str) -> None:
    """Forward until the client leaves. `netns` is the file of the pod's network namespace, "" the node's own.

    Raises: HttpError: no upgrade, or to a protocol that is not spoken here.
    """
    offered = exchange.offered()
    if exchange.is_web_socket() and TUNNEL in offered:
        await _forward_spdy(await exchange.switch_to_web_socket(TUNNEL), netns)
    elif exchange.is_web_socket():
        await _forward_channels(exchange, netns)
    elif exchange.is_spdy():
        if offered and PROTOCOL not in offered:
            raise HttpError(403, f"unable to upgrade: none of {offered} is spoken here\n")
        await _forward_spdy(await exchange.switch_to_spdy(PROTOCOL), netns)
    else:
        raise HttpError(400, "Upgrade request required\n")


async def forward_one(netns: str, port: int, data: Channel, error: Channel) -> None:
    """Relay one connection to 127.0.0.1:`port` inside a pod's network namespace ("" = the node's)."""
    try:
        stream = await trio.to_thread.run_sync(_connect, netns, port)
    except OSError as exc:
        await error.send(f"an error occurred forwarding to port {port} inside the pod: dial 127.0.0.1:{port}: {exc.strerror}".encode())
        await error.close()
        if isinstance(data, SpdyStream):
            await data.reset()
        return
    async with trio.SocketStream(trio.socket.from_stdlib_socket(stream)) as pod, trio.open_nursery() as nursery:
        nursery.start_soon(_copy_up, data, pod)
        await _copy_down(pod, data)
        # The pod has said all: what the client may still send is read by nobody.
        nursery.cancel_scope.cancel()
    await data.close()
    await error.close()


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
    await forward_one(netns, int(port), data, error)


async def _forward_channels(exchange: Exchange, netns: str) -> None:
    """Two channels per port, data and error; each begins with the port in two bytes (kubelet portforward/websocket.go)."""
    protocol = next((item for item in ("v4.channel.k8s.io", PROTOCOL) if item in exchange.offered()), None)
    ports = [int(port) for value in exchange.query.get("port", []) for port in value.split(",") if port.isdecimal()]
    if protocol is None or not ports:
        raise HttpError(400, f'query parameter "port" and subprotocol v4.channel.k8s.io are required (offered: {exchange.offered()})\n')
    web = await exchange.switch_to_web_socket(protocol)
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
                ports_nursery.start_soon(forward_one, netns, port, data, error)
            nursery.start_soon(read)
        nursery.cancel_scope.cancel()
    with trio.move_on_after(1) as scope:  # there is one connection per port: when all are over, so is the socket
        scope.shield = True
        await web.finish()


def _connect(netns: str, port: int) -> socket.socket:
    """In a worker thread of its own namespace: sockets belong to the namespace they are made in."""

    def dial() -> socket.socket:
        if netns:
            linux.enter(netns, linux.CLONE_NEWNET)
        sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        sock.setblocking(False)
        return sock

    return in_thread(dial)


async def _copy_up(data: Channel, pod: trio.SocketStream) -> None:
    try:
        while chunk := await data.receive():
            await pod.send_all(chunk)
        await pod.send_eof()
    except trio.BrokenResourceError:
        pass  # the pod has closed; the other direction sees it


async def _copy_down(pod: trio.SocketStream, data: Channel) -> None:
    try:
        while chunk := await pod.receive_some(_CHUNK_BYTES):
            await data.send(bytes(chunk))
    except trio.BrokenResourceError:
        pass  # reset by the pod: the end for the client too
