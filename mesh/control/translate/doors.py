"""Doors: the filter chains by which a port of a pod is entered, by what PeerAuthentication demands of it.

                    declared HTTP or opaque      not declared: HTTP by its protocol names, anything else opaque
    no identity     as it comes                  as it comes; under STRICT nobody gets in, in either case
    DISABLE         as it comes                  as it comes
    PERMISSIVE      mesh TLS by its ALPN; plaintext; the app's own TLS goes through to the app
    STRICT          TLS with a certificate of the mesh, and nothing else

Envoy narrows by port, then by transport protocol, then by protocol names, and never goes back: so what a port's
chains do not take falls to no other port's chains, and the app's own TLS needs a chain of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mesh.control.kube.parse_peer_authentication import PeerMode
from mesh.control.translate.clusters import BLACK_HOLE
from mesh.control.translate.filters import HTTP_PROTOCOLS
from mesh.model.listener import ChainMatch, FilterChain, HttpManager, TcpProxy
from mesh.model.origin import Origin
from mesh.model.route import WeightedCluster
from mesh.model.secret import WORKLOAD_CERTIFICATE, WORKLOAD_ROOTS, DownstreamTls

# Istio's names of what is inside mesh TLS; a client that does not know offers the latter ones only.
MESH_HTTP = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
MESH_OPAQUE = ("istio-peer-exchange", "istio")
_RAW, _TLS = "raw_buffer", "tls"
# Never `istio-peer-exchange`: a peer that got it would begin with a preamble that only Istio's proxies understand.
_HTTP_TLS = DownstreamTls(
    (WORKLOAD_CERTIFICATE,), WORKLOAD_ROOTS, True, ("istio-http/1.1", "istio-http/1.0", "istio-h2", "istio")
)
_OPAQUE_TLS = DownstreamTls((WORKLOAD_CERTIFICATE,), WORKLOAD_ROOTS, True, ("istio",))


@dataclass(frozen=True, slots=True)
class App:
    """What is behind a door. http: None = opaque whatever the bytes are; is_declared: HTTP whatever they are."""

    name: str
    http_name: str
    http: HttpManager | None
    opaque: TcpProxy
    is_declared: bool = False
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Doors:
    """What a workload demands. ports: where single ports differ, by number. has_identity: its proxy has a certificate."""

    mode: PeerMode = PeerMode.PERMISSIVE
    ports: tuple[tuple[int, PeerMode], ...] = ()
    has_identity: bool = False

    def chains(self, app: App, port: int | None) -> Iterator[FilterChain]:
        """The chains of a port; None = of all that have none of their own."""
        mode = next((mode for number, mode in self.ports if number == port), self.mode)
        if mode is PeerMode.STRICT:
            yield from _strict(app, port) if self.has_identity else _closed(app, port)
        elif mode is PeerMode.PERMISSIVE and self.has_identity:
            yield from _permissive(app, port)
        else:
            yield from _plain(app, port, "")


def _strict(app: App, port: int | None) -> Iterator[FilterChain]:
    if app.http is None:
        yield _opaque(app, ChainMatch(port, transport_protocol=_TLS), _OPAQUE_TLS)
    elif app.is_declared:
        yield _http(app, ChainMatch(port, transport_protocol=_TLS), _HTTP_TLS)
    else:
        yield _http(app, ChainMatch(port, transport_protocol=_TLS, application_protocols=MESH_HTTP), _HTTP_TLS)
        yield _opaque(app, ChainMatch(port, transport_protocol=_TLS), _OPAQUE_TLS)


def _permissive(app: App, port: int | None) -> Iterator[FilterChain]:
    every = ChainMatch(port, transport_protocol=_TLS, application_protocols=(*MESH_OPAQUE, *MESH_HTTP))
    if app.http is None:
        yield _opaque(app, every, _OPAQUE_TLS)
    elif app.is_declared:
        yield _http(app, every, _HTTP_TLS)
    else:
        yield _http(app, ChainMatch(port, transport_protocol=_TLS, application_protocols=MESH_HTTP), _HTTP_TLS)
        yield _opaque(app, ChainMatch(port, transport_protocol=_TLS, application_protocols=MESH_OPAQUE), _OPAQUE_TLS)
    yield from _plain(app, port, _RAW)
    yield _opaque(app, ChainMatch(port, transport_protocol=_TLS), None)


def _plain(app: App, port: int | None, transport: str) -> Iterator[FilterChain]:
    any_bytes = ChainMatch(port, transport_protocol=transport)
    if app.http is None:
        yield _opaque(app, any_bytes, None)
    elif app.is_declared:
        yield _http(app, any_bytes, None)
    else:
        yield _http(app, ChainMatch(port, transport_protocol=transport, application_protocols=HTTP_PROTOCOLS), None)
        yield _opaque(app, any_bytes, None)


def _closed(app: App, port: int | None) -> Iterator[FilterChain]:
    """STRICT where the proxy cannot do TLS: better nobody than everybody."""
    nowhere = TcpProxy(BLACK_HOLE, (WeightedCluster(BLACK_HOLE),), access_logs=app.opaque.access_logs)
    yield FilterChain(nowhere, ChainMatch(port), app.name, origin=app.origin)


def _http(app: App, match: ChainMatch, tls: DownstreamTls | None) -> FilterChain:
    assert app.http is not None
    return FilterChain(app.http, match, app.http_name, tls, app.origin)


def _opaque(app: App, match: ChainMatch, tls: DownstreamTls | None) -> FilterChain:
    return FilterChain(app.opaque, match, app.name, tls, app.origin)
