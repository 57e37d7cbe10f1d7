"""The ways into a port."""

from __future__ import annotations

from mesh.control.kube.parse_peer_authentication import PeerMode
from mesh.control.translate.doors import App, Doors
from mesh.control.translate.filters import HTTP_PROTOCOLS
from mesh.model.listener import FilterChain, HttpManager, TcpProxy
from mesh.model.route import WeightedCluster

MANAGER = HttpManager("http", route_config_name="r")
OPAQUE = TcpProxy("tcp", (WeightedCluster("app"),))
HTTP = App("0.0.0.0_80", "0.0.0.0_80", MANAGER, OPAQUE, is_declared=True)
TCP = App("0.0.0.0_80", "0.0.0.0_80", None, OPAQUE)
AUTO = App("0.0.0.0_80", "0.0.0.0_80-http", MANAGER, OPAQUE)
MESH_HTTP = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
MESH_TCP = ("istio-peer-exchange", "istio")

Row = tuple[str, tuple[str, ...], bool, str]


def rows(app: App, mode: PeerMode, has_identity: bool = True, port: int | None = 80) -> list[Row]:
    """(transport, protocol names, is TLS terminated, what serves it)."""
    return [row(chain) for chain in Doors(mode, (), has_identity).chains(app, port)]


def row(chain: FilterChain) -> Row:
    match = chain.match
    return (match.transport_protocol, match.application_protocols, chain.tls is not None, chain.filter.stat_prefix)


def test_declared_http() -> None:
    assert rows(HTTP, PeerMode.PERMISSIVE) == [
        ("tls", MESH_TCP + MESH_HTTP, True, "http"),
        ("raw_buffer", (), False, "http"),
        ("tls", (), False, "tcp"),
    ]
    assert rows(HTTP, PeerMode.STRICT) == [("tls", (), True, "http")]
    assert rows(HTTP, PeerMode.DISABLE) == rows(HTTP, PeerMode.PERMISSIVE, has_identity=False) == [("", (), False, "http")]


def test_declared_opaque() -> None:
    assert rows(TCP, PeerMode.PERMISSIVE) == [
        ("tls", MESH_TCP + MESH_HTTP, True, "tcp"),
        ("raw_buffer", (), False, "tcp"),
        ("tls", (), False, "tcp"),
    ]
    assert rows(TCP, PeerMode.STRICT) == [("tls", (), True, "tcp")]
    assert rows(TCP, PeerMode.DISABLE) == [("", (), False, "tcp")]


def test_not_declared() -> None:
    assert rows(AUTO, PeerMode.PERMISSIVE) == [
        ("tls", MESH_HTTP, True, "http"),
        ("tls", MESH_TCP, True, "tcp"),
        ("raw_buffer", HTTP_PROTOCOLS, False, "http"),
        ("raw_buffer", (), False, "tcp"),
        ("tls", (), False, "tcp"),
    ]
    assert rows(AUTO, PeerMode.STRICT) == [("tls", MESH_HTTP, True, "http"), ("tls", (), True, "tcp")]
    assert rows(AUTO, PeerMode.DISABLE) == [("", HTTP_PROTOCOLS, False, "http"), ("", (), False, "tcp")]


def test_a_client_must_show_a_certificate_of_the_mesh() -> None:
    for mode in (PeerMode.PERMISSIVE, PeerMode.STRICT):
        for app in (HTTP, TCP, AUTO):
            for chain in Doors(mode, (), True).chains(app, None):
                if chain.tls is not None:
                    assert (chain.tls.certificate_names, chain.tls.trust_name) == (("default",), "ROOTCA")
                    assert chain.tls.require_client_certificate
                    assert "istio-peer-exchange" not in chain.tls.alpn


def test_strict_without_a_certificate_is_closed() -> None:
    for app in (HTTP, TCP, AUTO):
        assert rows(app, PeerMode.STRICT, has_identity=False) == [("", (), False, "BlackHoleCluster")]


def test_a_ports_own_mode_wins() -> None:
    doors = Doors(PeerMode.STRICT, ((80, PeerMode.DISABLE),), True)
    assert [row(chain) for chain in doors.chains(HTTP, 80)] == [("", (), False, "http")]
    assert [row(chain) for chain in doors.chains(HTTP, 81)] == [("tls", (), True, "http")]


def test_names_are_istios() -> None:
    assert {chain.name for chain in Doors(has_identity=True).chains(HTTP, 80)} == {"0.0.0.0_80"}
    assert {chain.name for chain in Doors(has_identity=True).chains(AUTO, 80)} == {"0.0.0.0_80", "0.0.0.0_80-http"}
