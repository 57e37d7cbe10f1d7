"""WebSocket channels and SPDY streams over an in-memory connection."""

import trio
from trio.testing import memory_stream_pair
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage

from mesh.sandbox.node.channels import ChannelSocket, SpdyConnection, SpdyStream, TransportBytes, WebSocket
from mesh.sandbox.node.spdy import Codec, Data, SynReply


async def test_channels_share_a_web_socket(nursery: trio.Nursery) -> None:
    client, server = memory_stream_pair()
    peer = Connection(ConnectionType.CLIENT)
    multiplex = ChannelSocket(WebSocket(TransportBytes(server, b"")), half_close=True)
    stdin, stdout = multiplex.channel(0), multiplex.channel(1)
    nursery.start_soon(multiplex.run)
    await client.send_all(peer.send(BytesMessage(data=b"\x00in")) + peer.send(BytesMessage(data=b"\x09other")) + peer.send(BytesMessage(data=b"\xff\x00")))
    assert [await stdin.receive(), await stdin.receive()] == [b"in", b""]
    await stdout.send(b"out")
    peer.receive_data(bytes(await client.receive_some(100)))
    assert [bytes(event.data) for event in peer.events() if isinstance(event, BytesMessage)] == [b"\x01out"]
    nursery.cancel_scope.cancel()


async def test_bytes_behind_the_request_head_come_first() -> None:
    client, server = memory_stream_pair()
    raw = TransportBytes(server, b"first")
    await client.send_all(b"second")
    assert [await raw.receive(), await raw.receive()] == [b"first", b"second"]


async def test_spdy_streams_are_accepted_and_closed(nursery: trio.Nursery) -> None:
    client, server = memory_stream_pair()
    peer, opened = Codec(), []
    arrived = trio.Event()

    def on_stream(stream: SpdyStream) -> None:
        opened.append(stream)
        arrived.set()

    nursery.start_soon(SpdyConnection(TransportBytes(server, b""), on_stream).run)
    await client.send_all(peer.syn_stream(1, {"streamtype": "data"}) + peer.data(1, b"up", fin=True))
    await arrived.wait()
    stream: SpdyStream = opened[0]
    assert [await stream.receive(), await stream.receive()] == [b"up", b""]
    await stream.send(b"down")
    await stream.close()
    await stream.close()
    await trio.testing.wait_all_tasks_blocked()
    assert list(peer.receive(bytes(await client.receive_some(1000)))) == [SynReply(1, {}, False), Data(1, b"down", False), Data(1, b"", True)]
    nursery.cancel_scope.cancel()
