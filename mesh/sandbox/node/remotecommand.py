"""The channels of exec and attach over an upgraded request: WebSocket or SPDY (trio).

Source: kubelet remotecommand: channels.go and websocket.go (numbers of the channels), SPDY streams named by `streamType`.
"""

from collections.abc import Awaitable, Callable

import trio

from mesh.sandbox.node.channels import Channel, ChannelSocket, SpdyConnection, SpdyStream
from mesh.sandbox.node.exchange import Exchange, HttpError

_STREAM_SECONDS = 30.0
_CHANNELS = {"stdin": 0, "stdout": 1, "stderr": 2, "error": 3, "resize": 4}
_SPDY_PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io")
_SOCKET_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")

Work = Callable[[dict[str, Channel]], Awaitable[None]]


async def carry(exchange: Exchange, names: list[str], work: Work) -> None:
    """Upgrade, call `work` with the channels called `names`, and end the connection. A client that leaves first cancels the work.

    Raises: HttpError: no upgrade, or to a protocol that is not spoken here.
    """
    if exchange.is_web_socket():
        await _over_web_socket(exchange, names, work)
    elif exchange.is_spdy():
        await _over_spdy(exchange, names, work)
    else:
        raise HttpError(400, "Upgrade request required\n")


async def _over_web_socket(exchange: Exchange, names: list[str], work: Work) -> None:
    protocol = next((item for item in _SOCKET_PROTOCOLS if item in exchange.offered()), None)
    if protocol is None:
        raise HttpError(400, f"none of the subprotocols {exchange.offered()} is spoken here (known: {', '.join(_SOCKET_PROTOCOLS)})\n")
    web = await exchange.switch_to_web_socket(protocol)
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


async def _over_spdy(exchange: Exchange, names: list[str], work: Work) -> None:
    offered = exchange.offered()
    protocol = next((item for item in _SPDY_PROTOCOLS if item in offered), None)
    if protocol is None:
        raise HttpError(403, f"unable to upgrade: none of {offered} is spoken here (known: {', '.join(_SPDY_PROTOCOLS)})\n")
    raw = await exchange.switch_to_spdy(protocol)
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
