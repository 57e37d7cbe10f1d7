"""Servers of gateway pods."""

from __future__ import annotations

import pytest

from mesh.control.kube.istio import ServerHost
from mesh.control.translate.gateways import Serving, common_host, intersection
from tests.support.world import INGRESS_GATEWAY, Cluster, bookinfo


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("*", "a.b", "a.b"),
        ("a.b", "*", "a.b"),
        ("*.b", "a.b", "a.b"),
        ("*.b", "*.a.b", "*.a.b"),
        ("a.b", "a.b", "a.b"),
        ("*.b", "a.c", ""),
        ("*", "*", "*"),
    ],
)
def test_common_host(one: str, other: str, expected: str) -> None:
    assert common_host(one, other) == expected


def test_a_server_may_admit_one_namespace_only() -> None:
    assert intersection(ServerHost("shop", "*"), "shop", "a.b") == "a.b"
    assert intersection(ServerHost("shop", "*"), "other", "a.b") == ""


def test_older_gateways_come_first_whatever_their_api() -> None:
    cluster = Cluster()
    cluster.apply(INGRESS_GATEWAY)
    cluster.apply(bookinfo("gateway-api/bookinfo-gateway.yaml"))
    cluster.apply(bookinfo("networking/bookinfo-gateway.yaml"))
    servers = cluster.graph().gateways.servers
    assert [(s.key, s.port, s.serving) for s in servers] == [
        ("", 80, Serving.HTTP),
        ("default/bookinfo-gateway", 8080, Serving.HTTP),
    ]


def test_dangling_gateways_and_hosts_are_reported() -> None:
    cluster = Cluster()
    cluster.apply(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\n"
        "spec: {selector: {a: b}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example]}]}"
    )
    cluster.apply(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n"
        "spec: {hosts: [b.example], gateways: [g, nope], http: [{directResponse: {status: 200}}]}"
    )
    reasons = {problem.reason for problem in cluster.graph().gateways.problems}
    assert reasons == {"VirtualServiceHostNotFoundInGateway", "ReferencedResourceNotFound"}
