"""Body of the interception tests, run as `unshare -n python -m tests.support.proxy_netns CASE`: own network, own rules."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import trio

from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery, LbPolicy
from mesh.model.listener import ChainMatch, Direction, FilterChain, Listener, ListenerFilter, TcpProxy
from mesh.model.route import WeightedCluster
from mesh.model.snapshot import Snapshot
from tests.support.proxy import cluster, forward, manager, read_all, read_response, replying, routes, running, serving

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
VIP, POD, VIP6 = "198.18.9.9", "198.18.0.5", "fd00::9"


def run(command: str) -> None:
    subprocess.run(command.split(), check=True)


def set_up() -> None:
    run("ip link set lo up")
    run(f"ip addr add {POD}/32 dev lo")
    run("ip route add default dev lo")
    run(f"ip -6 addr add {VIP6}/128 dev lo nodad")
    for tables, local, source in (("iptables", "127.0.0.1/32", "127.0.0.6/32"), ("ip6tables", "::1/128", "::6/128")):
        run(f"{tables} -t nat -A OUTPUT -s {source} -j RETURN")
        run(f"{tables} -t nat -A OUTPUT -d {local} -j RETURN")
        run(f"{tables} -t nat -A OUTPUT -p tcp --dport 15001 -j RETURN")
        run(f"{tables} -t nat -A OUTPUT -p tcp -j REDIRECT --to-ports 15001")


def tcp(name: str) -> TcpProxy:
    return TcpProxy(name, (WeightedCluster(name),))


def config(http_port: int, **more: Listener) -> Snapshot:
    passthrough = Cluster(
        "PassthroughCluster", Discovery.ORIGINAL_DST, LbPolicy.CLUSTER_PROVIDED, bind_host="127.0.0.6"
    )
    listeners = {
        "virtualOutbound": Listener(
            "virtualOutbound",
            Address("0.0.0.0", 15001),
            (FilterChain(tcp("PassthroughCluster")),),
            direction=Direction.OUTBOUND,
            use_original_dst=True,
            additional_addresses=(Address("::", 15001),),
        ),
        "http": Listener(
            "http",
            Address("0.0.0.0", 80),
            (FilterChain(manager(routes(forward("http")))),),
            direction=Direction.OUTBOUND,
            bind_to_port=False,
            additional_addresses=(Address("::", 80),),
        ),
        **more,
    }
    clusters = {"PassthroughCluster": passthrough, "http": cluster("http", http_port)}
    return Snapshot(clusters, {}, listeners, {}, {})


async def by_port() -> None:
    """A wildcard listener takes every address on its port; the exact one wins over it."""
    async with serving(replying(OK)) as upstream:
        exact = Listener(
            "exact",
            Address(VIP, 80),
            (FilterChain(manager(routes(forward("none")))),),
            direction=Direction.OUTBOUND,
            bind_to_port=False,
        )
        before = config(upstream.port)
        async with running(before) as proxy:
            for host in (VIP, "198.18.1.1", VIP6):
                async with await trio.open_tcp_stream(host, 80) as stream:
                    await stream.send_all(GET)
                    assert (await read_response(stream))[2] == b"ok", host
            assert proxy.apply(replace(before, listeners={**before.listeners, "exact": exact})) == {}
            async with await trio.open_tcp_stream(VIP, 80) as stream:
                await stream.send_all(GET)
                assert (await read_response(stream))[0] == 503
            async with await trio.open_tcp_stream("198.18.1.1", 80) as stream:
                await stream.send_all(GET)
                assert (await read_response(stream))[0] == 200


async def passthrough() -> None:
    """What no listener knows goes where the client wanted it, from 127.0.0.6."""
    peers = []

    async def serve(stream: trio.SocketStream) -> None:
        peers.append(stream.socket.getpeername()[0])
        await stream.send_all(await read_all(stream))

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        async with running(config(1)):
            async with await trio.open_tcp_stream(POD, port) as stream:
                await stream.send_all(b"hello")
                await stream.send_eof()
                assert await read_all(stream) == b"hello"
        assert peers[-1].endswith("127.0.0.6"), peers
        nursery.cancel_scope.cancel()


async def loop() -> None:
    """Dialling the capture port itself ends at once instead of going round for ever."""
    async with running(config(1)) as proxy:
        async with await trio.open_tcp_stream(POD, 15001) as stream:
            with trio.fail_after(5):
                assert await read_all(stream) == b""
        assert proxy.loops == 1


async def inbound_by_port() -> None:
    """The inbound listener's own chains are chosen by destination port, and by what is spoken.

    It restores the destination but hands nothing over: an outbound listener on that port must never see it.
    """
    http = FilterChain(
        manager(routes(forward("http"))),
        ChainMatch(destination_port=8080, application_protocols=("http/1.0", "http/1.1")),
    )
    opaque = FilterChain(tcp("PassthroughCluster"), ChainMatch(destination_port=8080))
    async with serving(replying(OK)) as upstream:
        base = config(upstream.port)
        virtual = replace(
            base.listeners["virtualOutbound"],
            chains=(http, opaque, *base.listeners["virtualOutbound"].chains),
            direction=Direction.INBOUND,
            use_original_dst=False,
            filters=frozenset((ListenerFilter.HTTP_INSPECTOR, ListenerFilter.ORIGINAL_DST)),
        )
        decoy = replace(base.listeners["http"], address=Address("0.0.0.0", 8080))
        async with running(replace(base, listeners={"virtualInbound": virtual, "decoy": decoy})):
            async with await trio.open_tcp_stream(POD, 8080) as stream:
                await stream.send_all(GET)
                assert (await read_response(stream))[2] == b"ok"


if __name__ == "__main__":
    set_up()
    trio.run(
        {"by_port": by_port, "passthrough": passthrough, "loop": loop, "inbound_by_port": inbound_by_port}[sys.argv[1]]
    )
