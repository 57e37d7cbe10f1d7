"""DestinationRule."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.control.kube import istio
from mesh.control.kube.parse_destination_rule import destination_rule
from mesh.model.cluster import LbPolicy, OutlierDetection, TcpKeepalive
from mesh.model.route import HashKind, HashPolicy


def parse(**spec: Any) -> istio.DestinationRule:
    return destination_rule({"metadata": {"name": "r", "namespace": "default"}, "spec": {"host": "reviews", **spec}})


def test_bookinfos_rule() -> None:
    parsed = parse(
        trafficPolicy={"loadBalancer": {"simple": "RANDOM"}}, subsets=[{"name": "v1", "labels": {"version": "v1"}}]
    )
    assert parsed.host == "reviews.default.svc.cluster.local"
    assert parsed.policy == istio.TrafficPolicy(balancer=istio.LoadBalancer(LbPolicy.RANDOM))
    assert parsed.subsets == (istio.Subset("v1", {"version": "v1"}, path="spec.subsets[0]"),)
    assert parsed.problems == ()


@pytest.mark.parametrize(
    ("hashing", "expected"),
    [
        ({"httpHeaderName": "X-User"}, HashPolicy(HashKind.HEADER, "x-user")),
        ({"httpQueryParameterName": "q"}, HashPolicy(HashKind.QUERY, "q")),
        ({"useSourceIp": True}, HashPolicy(HashKind.SOURCE_IP)),
        ({"httpCookie": {"name": "c", "ttl": "0s", "path": "/p"}}, HashPolicy(HashKind.COOKIE, "c", 0.0, "/p")),
    ],
)
def test_consistent_hash_keys(hashing: dict[str, Any], expected: HashPolicy) -> None:
    balancer = parse(trafficPolicy={"loadBalancer": {"consistentHash": hashing}}).policy.balancer
    assert balancer is not None
    assert (balancer.policy, balancer.hash, balancer.ring_min_size) == (LbPolicy.RING_HASH, expected, 1024)


def test_maglev() -> None:
    hashing = {"useSourceIp": True, "maglev": {"tableSize": 101}}
    balancer = parse(trafficPolicy={"loadBalancer": {"consistentHash": hashing}}).policy.balancer
    assert balancer is not None
    assert (balancer.policy, balancer.maglev_table_size) == (LbPolicy.MAGLEV, 101)


def test_connection_pool() -> None:
    pool = parse(
        trafficPolicy={
            "connectionPool": {
                "tcp": {
                    "maxConnections": 100,
                    "connectTimeout": "30ms",
                    "tcpKeepalive": {"time": "7200s", "probes": 3},
                },
                "http": {
                    "http1MaxPendingRequests": 1,
                    "http2MaxRequests": 10,
                    "maxRetries": 2,
                    "h2UpgradePolicy": "UPGRADE",
                },
            }
        }
    ).policy.pool
    assert pool == istio.ConnectionPool(
        max_connections=100,
        connect_timeout_seconds=0.03,
        tcp_keepalive=TcpKeepalive(3, 7200),
        max_pending_requests=1,
        max_requests=10,
        max_retries=2,
        use_h2=True,
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, OutlierDetection()),
        ({"consecutive5xxErrors": 1, "interval": "1s"}, OutlierDetection(consecutive_5xx=1, interval_seconds=1.0)),
        (
            {"baseEjectionTime": "10m", "maxEjectionPercent": 100},
            OutlierDetection(base_ejection_seconds=600, max_ejection_seconds=600, max_ejection_percent=100),
        ),
        (
            {"splitExternalLocalOriginErrors": True},
            OutlierDetection(consecutive_local_origin_failure=5, split_external_local_origin_errors=True),
        ),
    ],
)
def test_outlier_detection(given: dict[str, Any], expected: OutlierDetection) -> None:
    assert parse(trafficPolicy={"outlierDetection": given}).policy.outlier == expected


def test_port_level_settings() -> None:
    settings = [{"port": {"number": 443}, "tls": {"mode": "SIMPLE"}}]
    ports = parse(trafficPolicy={"portLevelSettings": settings}).policy.ports
    tls = ports[443].tls
    assert tls is not None and tls.mode is istio.TlsMode.SIMPLE


def test_one_bad_part_costs_itself_only() -> None:
    parsed = parse(
        trafficPolicy={"loadBalancer": {"simple": "BEST"}, "outlierDetection": {"consecutive5xxErrors": 1}},
        subsets=[{"labels": {}}, {"name": "v1", "labels": {"version": "v1"}}],
    )
    assert parsed.policy.balancer is None
    assert parsed.policy.outlier is not None
    assert [subset.name for subset in parsed.subsets] == ["v1"]
    assert {problem.field for problem in parsed.problems} == {
        "spec.trafficPolicy.loadBalancer.simple",
        "spec.subsets[0].name",
    }


def test_settings_we_do_not_have_are_reported() -> None:
    parsed = parse(
        trafficPolicy={
            "loadBalancer": {"simple": "RANDOM", "localityLbSetting": {"failoverPriority": ["a"]}},
            "tunnel": {},
        }
    )
    assert {problem.field for problem in parsed.problems} == {
        "spec.trafficPolicy.loadBalancer.localityLbSetting.failoverPriority",
        "spec.trafficPolicy.tunnel",
    }


def test_localities() -> None:
    def read(setting: dict[str, Any]) -> istio.DestinationRule:
        return parse(trafficPolicy={"loadBalancer": {"localityLbSetting": setting}})

    balancer = read({"distribute": [{"from": "r/z1/*", "to": {"r/z1/*": 80, "r/z2/*": 20}}]}).policy.balancer
    assert balancer is not None
    assert balancer.locality.distribute == (("r/z1/*", (("r/z1/*", 80), ("r/z2/*", 20))),)
    balancer = read({"failover": [{"from": "r1", "to": "r2"}], "enabled": False}).policy.balancer
    assert balancer is not None
    assert balancer.locality == istio.LocalityLb(False, (), (("r1", "r2"),))
    bad = read({"distribute": [{"from": "*", "to": {"r": 80}}]})
    assert [problem.message for problem in bad.problems] == ["must sum to 100, is 80"]


@pytest.mark.parametrize(
    ("tls", "field"),
    [
        ({"mode": "SIMPLE", "credentialName": "c"}, "tls.credentialName"),
        ({"mode": "MUTUAL", "credentialName": "c"}, "tls.credentialName"),
        ({"mode": "MUTUAL", "privateKey": "/k"}, "tls.clientCertificate"),
        ({"mode": "MUTUAL", "clientCertificate": "/c"}, "tls.privateKey"),
        ({"mode": "SIMPLE", "clientCertificate": "/c"}, "tls.clientCertificate"),
        ({"mode": "SIMPEL"}, "tls.mode"),
    ],
)
def test_tls_that_cannot_be_done_never_becomes_plaintext(tls: dict[str, Any], field: str) -> None:
    parsed = parse(trafficPolicy={"tls": tls})
    assert parsed.policy.tls is not None and parsed.policy.tls.mode is istio.TlsMode.BROKEN
    assert [problem.field for problem in parsed.problems] == [f"spec.trafficPolicy.{field}"]


def test_istio_mutual_brings_certificates_of_its_own() -> None:
    parsed = parse(trafficPolicy={"tls": {"mode": "ISTIO_MUTUAL", "sni": "s", "caCertificates": "/ca.pem", "insecureSkipVerify": True}})
    assert parsed.policy.tls is not None and parsed.policy.tls.mode is istio.TlsMode.ISTIO_MUTUAL
    assert [(problem.field, problem.severity.value) for problem in parsed.problems] == [
        ("spec.trafficPolicy.tls.caCertificates", "warning"),
        ("spec.trafficPolicy.tls.insecureSkipVerify", "warning"),
    ]


@pytest.mark.parametrize(
    ("keepalive", "field"),
    [({"time": "32768s"}, "time"), ({"interval": "500ms"}, "interval"), ({"probes": 128}, "probes")],
)
def test_keepalive_that_linux_refuses_is_a_problem(keepalive: dict[str, Any], field: str) -> None:
    parsed = parse(trafficPolicy={"connectionPool": {"tcp": {"tcpKeepalive": keepalive}}})
    assert [problem.field for problem in parsed.problems] == [f"spec.trafficPolicy.connectionPool.tcp.tcpKeepalive.{field}"]


def test_keepalive_of_zero_is_the_systems_own() -> None:
    parsed = parse(trafficPolicy={"connectionPool": {"tcp": {"tcpKeepalive": {"time": "0s", "interval": "75s", "probes": 0}}}})
    assert parsed.policy.pool is not None and parsed.policy.pool.tcp_keepalive == TcpKeepalive(None, None, 75)
