"""DNS over real sockets."""

import random
import socket
import struct

import trio

from mesh.sandbox.dns import A, encode_query
from mesh.sandbox.dnsserver import DnsServer

SERVICE = {"metadata": {"namespace": "ns", "name": "web"}, "spec": {"clusterIP": "198.19.1.1"}}


class Copy:
    """An informer's reading side."""

    def __init__(self, *items: dict[str, object]) -> None:
        self.items = list(items)
        self.callbacks: list[object] = []

    def subscribe(self, callback: object) -> None:
        self.callbacks.append(callback)

    def all(self) -> list[dict[str, object]]:
        return self.items


async def test_udp_and_tcp_answer_alike(nursery: trio.Nursery) -> None:
    with socket.socket() as probe:  # a port that is free for both
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = DnsServer(Copy(SERVICE), Copy(), random.Random(1))  # type: ignore[arg-type]
    nursery.start_soon(server.run, "127.0.0.1", port)
    await trio.testing.wait_all_tasks_blocked()
    query = encode_query("web.ns.svc.cluster.local", A, 5)
    with trio.fail_after(5):
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            await udp.connect(("127.0.0.1", port))
            await udp.send(query)
            one = await udp.recv(1000)
        async with await trio.open_tcp_stream("127.0.0.1", port) as tcp:
            framed = struct.pack("!H", len(query)) + query
            await tcp.send_all(framed[:5])  # a message may come in pieces
            await tcp.send_all(framed[5:])
            two = bytes(await tcp.receive_some(1000))
    assert one == two[2:] and one.endswith(bytes([198, 19, 1, 1]))
    nursery.cancel_scope.cancel()


def test_the_zone_is_made_anew_after_a_change() -> None:
    services = Copy()
    server = DnsServer(services, Copy(), random.Random(1))  # type: ignore[arg-type]
    before = server.zone()
    assert server.zone() is before
    server._on_change(None, None)
    assert server.zone() is not before
