from dataclasses import replace

import trio
import trio.lowlevel

from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery
from mesh.model.endpoint import Endpoint, LoadAssignment, LocalityEndpoints
from mesh.model.listener import TcpProxy
from mesh.model.route import WeightedCluster
from tests.support.proxy import client, cluster, forward, listener, manager, routes, running, snapshot

NAMED = Cluster(
    "n",
    Discovery.STRICT_DNS,
    assignment=LoadAssignment("n", (LocalityEndpoints((Endpoint(Address("localhost", 80)),)),)),
)
CONFIG = snapshot(listener(manager(routes(forward("a")))), cluster("a", 1))


async def test_names_are_resolved_while_their_cluster_lives() -> None:
    async with running(replace(CONFIG, clusters={"n": NAMED})) as proxy:
        runtime = proxy.current.clusters["n"]
        with trio.fail_after(5):
            while not runtime.balancer.hosts:
                await trio.lowlevel.checkpoint()
        host = runtime.balancer.hosts[0]
        assert host.endpoint.host_name == "localhost" and host.endpoint.address.host in ("127.0.0.1", "::1")
        proxy.apply(replace(CONFIG, clusters={}))
        assert proxy._resolvers == {}


async def test_every_snapshot_counts_and_problems_are_returned() -> None:
    async with running(CONFIG) as proxy:
        assert proxy.version == 1
        broken = replace(CONFIG.listeners["test"], name="broken", address=Address("192.0.2.1", 1))
        problems = proxy.apply(replace(CONFIG, listeners={**CONFIG.listeners, "broken": broken}))
        assert list(problems) == ["broken"] and proxy.version == 2


async def test_idle_inbound_connections_can_be_ended() -> None:
    async with running(CONFIG) as proxy, client(proxy) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await stream.receive_some(1000)
        proxy.close_idle_inbound()
        await trio.testing.wait_all_tasks_blocked()
        assert len(proxy.downstreams) == 1  # outbound ones belong to the application
        for down in proxy.downstreams:
            down.close_if_idle()
        with trio.fail_after(2):
            assert await stream.receive_some(10) == b""


async def test_a_terminal_for_a_relayed_connection_keeps_the_direction() -> None:
    async with running(CONFIG) as proxy:
        runtime = proxy.current.listeners["test"]
        http = runtime.terminal(runtime.model.chains[0])
        opaque = proxy.opaque(TcpProxy("t", (WeightedCluster("a"),)), http)  # type: ignore[arg-type]
        assert opaque.is_outbound and not opaque.is_inbound


async def test_its_counters_are_metrics() -> None:
    async with running(CONFIG) as proxy:
        proxy.loops = 3
        text = proxy.telemetry.expose(0.0)
        assert b"triomesh_proxy_loops_total 3\n" in text
        assert b'triomesh_proxy_connections{direction="outbound"} 0\n' in text
