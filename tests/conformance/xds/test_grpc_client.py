"""A stock gRPC client on `xds:///` finds its endpoints through our ADS server and spreads its calls."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from concurrent import futures
from dataclasses import replace

import grpc
import pytest

from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery, LbPolicy
from mesh.model.endpoint import Endpoint, LoadAssignment, LocalityEndpoints
from mesh.model.listener import HttpFilter, HttpManager, Listener
from mesh.model.match import PathKind, PathMatch, RouteMatch
from mesh.model.route import ForwardAction, Route, RouteConfig, VirtualHost, WeightedCluster
from mesh.model.snapshot import Snapshot
from tests.support.xds_server import RunningServer, environment

TARGET = "reviews.default.svc.cluster.local:9080"
CALLS = 300
CLIENT = f"""
import grpc, sys
with grpc.insecure_channel("xds:///{TARGET}") as channel:
    call = channel.unary_unary("/echo.Echo/Name")
    for _ in range({CALLS}):
        print(call(b"", timeout=20, wait_for_ready=True).decode())
    if sys.argv[1] == "inline":
        try:
            channel.unary_unary("/echo.Echo/Slow")(b"", timeout=20)
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED, error
        else:
            raise SystemExit("the route's timeout did nothing")
"""


def backend(name: str) -> tuple[grpc.Server, int]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: name.encode())
    # Answers when its client is gone: never in time.
    never = threading.Event()

    def hang(request, context):
        context.add_callback(never.set)
        never.wait(30)
        return b""

    methods = {"Name": handler, "Slow": grpc.unary_unary_rpc_method_handler(hang)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo.Echo", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


@pytest.fixture
def backends():
    servers = {name: backend(name) for name in ("v1-a", "v1-b", "v2")}
    yield {name: port for name, (_, port) in servers.items()}
    for server, _ in servers.values():
        server.stop(None)


def projection(backends: dict[str, int], *, inline: bool) -> Snapshot:
    def eds(name: str) -> Cluster:
        return Cluster(name, Discovery.EDS, LbPolicy.ROUND_ROBIN)

    def assignment(name: str, *ports: int) -> LoadAssignment:
        return LoadAssignment(
            name, (LocalityEndpoints(tuple(Endpoint(Address("127.0.0.1", port)) for port in ports), weight=1),)
        )

    v1, v2 = "outbound|9080|v1|reviews", "outbound|9080|v2|reviews"
    split = ForwardAction((WeightedCluster(v1, 80), WeightedCluster(v2, 20)))
    slow = Route(RouteMatch(PathMatch(PathKind.EXACT, "/echo.Echo/Slow")), replace(split, timeout_seconds=0.2))
    host = VirtualHost("reviews", ("*",), (slow, Route(RouteMatch(PathMatch(value="")), split)))
    routes = RouteConfig("9080", (host,))
    filters = (HttpFilter.PEER_METADATA, HttpFilter.FAULT, HttpFilter.ROUTER)
    where = {"route_config": routes} if inline else {"route_config_name": "9080"}
    return Snapshot(
        clusters={v1: eds(v1), v2: eds(v2)},
        endpoints={v1: assignment(v1, backends["v1-a"], backends["v1-b"]), v2: assignment(v2, backends["v2"])},
        listeners={TARGET: Listener(TARGET, api=HttpManager("reviews", filters=filters, **where))},
        routes={} if inline else {"9080": routes},
    )


@pytest.mark.parametrize("routes", ["rds", "inline"])
def test_grpc_client_resolves_and_balances(backends, tmp_path, routes):
    with RunningServer() as server:
        server.source.targets[TARGET] = projection(backends, inline=routes == "inline")
        bootstrap = tmp_path / "bootstrap.json"
        uri = f"127.0.0.1:{server.port}"
        ads = {"server_uri": uri, "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}
        node = {"id": "client-1", "metadata": {"GENERATOR": "grpc", "NAMESPACE": "default"}}
        bootstrap.write_text(json.dumps({"xds_servers": [ads], "node": node}))
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, routes],
            env=environment() | {"GRPC_XDS_BOOTSTRAP": str(bootstrap), "GRPC_ENABLE_FORK_SUPPORT": "0"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        counts = Counter(done.stdout.split())
        assert server.nacks == []
        assert server.source.asked[0].namespace == "default"
    assert counts.total() == CALLS
    # 20 % of 300 is 60 with a standard deviation of 7: five of them.
    assert 25 <= counts["v2"] <= 95
    # Round robin within v1.
    assert abs(counts["v1-a"] - counts["v1-b"]) <= 2
