"""Istio's Gateway."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.control.kube import istio
from mesh.control.kube.istio import Server, ServerHost, ServerTls
from mesh.control.kube.parse_istio_gateway import istio_gateway


def parse(*servers: Any, **spec: Any) -> istio.IstioGateway:
    spec = {"selector": {"istio": "ingressgateway"}, "servers": list(servers), **spec}
    return istio_gateway({"metadata": {"name": "g", "namespace": "default"}, "spec": spec})


def server(number: int = 8080, protocol: str = "HTTP", **fields: Any) -> dict[str, Any]:
    return {"port": {"number": number, "name": "p", "protocol": protocol}, "hosts": ["*"], **fields}


def test_bookinfos_gateway() -> None:
    parsed = parse(server())
    assert parsed.selector == {"istio": "ingressgateway"}
    assert parsed.servers == (Server("spec.servers[0]", 8080, "p", "HTTP", (ServerHost("", "*"),)),)
    assert parsed.problems == ()


def test_hosts_may_name_namespaces() -> None:
    hosts = ["./a.example", "*/b.example", "other/C.example", "d.example"]
    assert parse(server(hosts=hosts)).servers[0].hosts == (
        ServerHost("default", "a.example"),
        ServerHost("", "b.example"),
        ServerHost("other", "c.example"),
        ServerHost("", "d.example"),
    )


def test_tls() -> None:
    simple = server(443, "HTTPS", tls={"mode": "SIMPLE", "credentialName": "cert", "minProtocolVersion": "TLSV1_3"})
    passthrough = server(444, "TLS", tls={"mode": "PASSTHROUGH"})
    redirect = server(80, tls={"httpsRedirect": True})
    found = parse(simple, passthrough, redirect).servers
    assert [(s.tls, s.credentials, s.https_redirect, s.min_tls) for s in found] == [
        (ServerTls.SIMPLE, ("cert",), False, "1.3"),
        (ServerTls.PASSTHROUGH, (), False, "1.2"),
        (ServerTls.NONE, (), True, "1.2"),
    ]


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (server(0), "spec.servers[0].port.number"),
        (server(80, "SPDY"), "spec.servers[0].port.protocol"),
        (server(hosts=[]), "spec.servers[0].hosts"),
        (server(443, "HTTPS"), "spec.servers[0].tls"),
        (server(443, "HTTPS", tls={"mode": "ISTIO_MUTUAL", "credentialName": "c"}), "spec.servers[0].tls.mode"),
        (server(443, "HTTPS", tls={"mode": "MUTUAL"}), "spec.servers[0].tls.credentialName"),
        (
            server(443, "HTTPS", tls={"mode": "SIMPLE", "credentialName": "c", "subjectAltNames": ["x"]}),
            "spec.servers[0].tls.subjectAltNames",
        ),
        (server(443, "HTTPS", tls={"mode": "SIMPLE", "privateKey": "/k"}), "spec.servers[0].tls.credentialName"),
    ],
)
def test_a_bad_server_costs_itself_only(bad: dict[str, Any], field: str) -> None:
    parsed = parse(bad, server(81))
    assert [s.port for s in parsed.servers] == [81]
    assert [problem.field for problem in parsed.problems] == [field]
