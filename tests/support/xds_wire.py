"""Wire: an AdsStream and an AdsClient with two queues between them, delivered one message at a time."""

from __future__ import annotations

from collections import deque

from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery
from mesh.model.endpoint import Endpoint, LoadAssignment, LocalityEndpoints
from mesh.model.listener import FilterChain, HttpManager, Listener, TcpProxy
from mesh.model.match import RouteMatch
from mesh.model.node import Node, Role
from mesh.model.route import ForwardAction, Route, RouteConfig, VirtualHost, WeightedCluster
from mesh.model.snapshot import Snapshot
from mesh.xds.ads_client import AdsClient
from mesh.xds.ads_stream import AdsStream
from mesh.xds.kind import Variant
from mesh.xds.resource import Bundle

NODE = Node(
    "sidecar~198.18.0.5~web-1.default~default.svc.cluster.local", Role.SIDECAR, "198.18.0.5", "web-1", "default"
)


class Wire:
    """The server's clock stands still unless a test moves `now`, so no hold ever ends by itself."""

    def __init__(self, variant: Variant, hold_seconds: float = 5.0) -> None:
        self.variant = variant
        self.client = AdsClient(NODE, variant)
        self.bundle: Bundle | None = None
        self.now = 0.0
        self.streams = 0
        self.hold_seconds = hold_seconds
        self.refusals = []
        self.connect()

    def connect(self) -> None:
        self.streams += 1
        self.client.on_close()
        self.stream = AdsStream(self.variant, f"s{self.streams}", hold_seconds=self.hold_seconds)
        self.to_client: deque[bytes] = deque()
        self.to_server: deque[bytes] = deque(self.client.on_open())
        if self.bundle is not None:
            self._send(self.stream.on_snapshot(self.bundle, self.now))

    def publish(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._send(self.stream.on_snapshot(bundle, self.now))

    def deliver_to_server(self) -> bool:
        if not self.to_server:
            return False
        reaction = self.stream.on_request(self.to_server.popleft(), self.now)
        self.refusals.extend(reaction.refusals)
        self._send(reaction.responses)
        return True

    def deliver_to_client(self) -> bool:
        if not self.to_client:
            return False
        self.to_server.extend(self.client.on_response(self.to_client.popleft()).requests)
        return True

    def drain(self, most: int = 1000) -> None:
        """Deliver until both are quiet. Fails when they never are."""
        for _ in range(most):
            if not (self.deliver_to_client() or self.deliver_to_server()):
                return
        raise AssertionError(f"still talking after {most} messages")

    def _send(self, responses) -> None:
        self.to_client.extend(response.body for response in responses)


def cluster(name: str, timeout: float = 1.0, discovery: Discovery = Discovery.EDS) -> Cluster:
    assignment = LoadAssignment(name) if discovery is Discovery.STATIC else None
    return Cluster(name, discovery, assignment=assignment, connect_timeout_seconds=timeout)


def assignment(name: str, port: int = 80) -> LoadAssignment:
    return LoadAssignment(name, (LocalityEndpoints((Endpoint(Address("127.0.0.1", port)),)),))


def route_config(name: str, *clusters: str, domain: str = "*") -> RouteConfig:
    route = Route(RouteMatch(), ForwardAction(tuple(WeightedCluster(name) for name in clusters)))
    return RouteConfig(name, (VirtualHost("all", (domain,), (route,) if clusters else ()),))


def http_listener(name: str, route_name: str, port: int = 0) -> Listener:
    chain = FilterChain(HttpManager(stat_prefix="http", route_config_name=route_name))
    return Listener(name, Address("127.0.0.1", port), (chain,))


def tcp_listener(name: str, *clusters: str, port: int = 0) -> Listener:
    chain = FilterChain(TcpProxy("tcp", tuple(WeightedCluster(name) for name in clusters)))
    return Listener(name, Address("127.0.0.1", port), (chain,))


def snapshot(*resources) -> Snapshot:
    """A snapshot of the given values; EDS clusters without assignment get an empty one."""
    groups = {Cluster: {}, LoadAssignment: {}, Listener: {}, RouteConfig: {}}
    for value in resources:
        name = value.cluster_name if isinstance(value, LoadAssignment) else value.name
        groups[type(value)][name] = value
    for value in groups[Cluster].values():
        if value.discovery is Discovery.EDS:
            name = value.eds_service_name or value.name
            groups[LoadAssignment].setdefault(name, LoadAssignment(name))
    return Snapshot(groups[Cluster], groups[LoadAssignment], groups[Listener], groups[RouteConfig])
