"""Two data planes that speak mutual TLS with each other: a client's sidecar and a server's, each with an identity."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import trio

from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery, TlsMatch
from mesh.model.endpoint import Endpoint, LoadAssignment, LocalityEndpoints
from mesh.model.listener import (
    CertificateDetail,
    ChainMatch,
    ClientCertificate,
    Direction,
    FilterChain,
    HttpManager,
    Listener,
    ListenerFilter,
    TcpProxy,
)
from mesh.model.match import StringKind, StringMatch
from mesh.model.route import WeightedCluster
from mesh.model.secret import WORKLOAD_CERTIFICATE, WORKLOAD_ROOTS, DownstreamTls, UpstreamTls
from mesh.model.snapshot import Snapshot
from mesh.proxy.identity import Identity, Workload, verify
from mesh.proxy.observe.telemetry import Telemetry, TelemetrySettings
from mesh.proxy.pipeline import Proxy
from mesh.proxy.snapshots import OwnSecrets
from tests.support.proxy import cluster, forward, manager, routes
from tests.support.proxy_tls import Authority

CLIENT = "spiffe://cluster.local/ns/shop/sa/client"
SERVER = "spiffe://cluster.local/ns/shop/sa/server"
HTTP_ALPN = ("istio-http/1.1", "istio-http/1.0")
TCP_ALPN = ("istio", "istio-peer-exchange")
INSPECTORS = frozenset((ListenerFilter.TLS_INSPECTOR, ListenerFilter.HTTP_INSPECTOR))


def identity(root: Authority, account: str, lifetime: timedelta = timedelta(days=1)) -> Identity:
    """A fresh one of namespace shop."""
    issued = root.issue(f"spiffe://cluster.local/ns/shop/sa/{account}", lifetime=lifetime)
    return verify(issued, root.pem, Workload("shop", account))


def take(proxy: Proxy, new: Identity) -> None:
    proxy.adopt(OwnSecrets(new.secrets(), new.principal))


@asynccontextmanager
async def running_as(me: Identity, config: Snapshot) -> AsyncIterator[Proxy]:
    """A proxy with an identity."""
    telemetry = Telemetry("sidecar~127.0.0.1~test.shop~shop.svc.cluster.local", {}, TelemetrySettings(), "test")
    proxy = Proxy(telemetry)
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.run)
        take(proxy, me)
        assert proxy.apply(config) == {}
        try:
            yield proxy
        finally:
            nursery.cancel_scope.cancel()
    assert proxy.crashes == 0


def server_tls(alpn: tuple[str, ...]) -> DownstreamTls:
    return DownstreamTls((WORKLOAD_CERTIFICATE,), WORKLOAD_ROOTS, require_client_certificate=True, alpn=alpn)


def server_manager() -> HttpManager:
    details = frozenset((CertificateDetail.SUBJECT, CertificateDetail.URI))
    return manager(
        routes(forward("app")), client_certificate=ClientCertificate.APPEND, certificate_details=details
    )


def inbound(app_port: int, mode: str = "PERMISSIVE", protocol: str = "") -> Snapshot:
    """What a sidecar has for a port of its application. protocol: "http", "tcp", or "" = not declared."""
    http, tcp = server_manager(), TcpProxy("test", (WeightedCluster("app"),))
    mutual: list[FilterChain] = []
    plain: list[FilterChain] = []
    if protocol in ("", "http"):
        alpn = HTTP_ALPN if not protocol else (*TCP_ALPN, *HTTP_ALPN)
        mutual.append(FilterChain(http, ChainMatch(transport_protocol="tls", application_protocols=alpn), tls=server_tls(alpn)))
        if protocol:
            plain.append(FilterChain(http, ChainMatch(transport_protocol="raw_buffer")))
        else:
            match = ChainMatch(transport_protocol="raw_buffer", application_protocols=("http/1.1", "http/1.0"))
            plain.append(FilterChain(http, match))
    if protocol in ("", "tcp"):
        alpn = TCP_ALPN if not protocol else (*TCP_ALPN, *HTTP_ALPN)
        mutual.append(FilterChain(tcp, ChainMatch(transport_protocol="tls", application_protocols=alpn), tls=server_tls(alpn)))
        plain.append(FilterChain(tcp, ChainMatch(transport_protocol="raw_buffer")))
    plain.append(FilterChain(tcp, ChainMatch(transport_protocol="tls")))
    chains = {"PERMISSIVE": (*mutual, *plain), "STRICT": tuple(mutual), "DISABLE": tuple(plain)}[mode]
    made = Listener("test", Address("127.0.0.1", 0), chains, direction=Direction.INBOUND, filters=INSPECTORS)
    return Snapshot({"app": cluster("app", app_port)}, {}, {"test": made}, {}, {})


def mesh_cluster(port: int, *names: str, tls_mode: str = "istio", **changes: object) -> Cluster:
    """What a client has for a service of the mesh. names: the servers' SPIFFE ids."""
    tls = UpstreamTls(
        WORKLOAD_CERTIFICATE,
        WORKLOAD_ROOTS,
        sni="outbound_.80_._.server.shop.svc.cluster.local",
        alpn=("istio-http/1.1", "istio"),
        subject_alt_names=tuple(StringMatch(StringKind.EXACT, name) for name in names or (SERVER,)),
    )
    endpoint = Endpoint(Address("127.0.0.1", port), tls_mode=tls_mode, is_meshed=True)
    assignment = LoadAssignment("server", (LocalityEndpoints((endpoint,)),))
    matches = (TlsMatch("mutual", "istio", tls), TlsMatch("plain", "", None))
    made = Cluster("server", Discovery.STATIC, assignment=assignment, tls_matches=matches)
    return replace(made, **changes)  # type: ignore[arg-type]


def outbound(to: Cluster, protocol: str = "") -> Snapshot:
    """What a client's sidecar has for that cluster: HTTP and everything else, or one of them declared."""
    http = manager(routes(forward(to.name)))
    tcp = TcpProxy("test", (WeightedCluster(to.name),))
    detected = (
        FilterChain(http, ChainMatch(transport_protocol="raw_buffer", application_protocols=("http/1.1", "http/1.0"))),
        FilterChain(tcp, ChainMatch(transport_protocol="raw_buffer")),
        FilterChain(tcp, ChainMatch(transport_protocol="tls")),
    )
    chains = {"": detected, "http": (FilterChain(http),), "tcp": (FilterChain(tcp),)}[protocol]
    made = Listener("test", Address("127.0.0.1", 0), chains, direction=Direction.OUTBOUND, filters=INSPECTORS)
    return Snapshot({to.name: to}, {}, {"test": made}, {}, {})
