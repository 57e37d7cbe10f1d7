from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery, OutlierDetection
from mesh.model.endpoint import Endpoint, Health, LoadAssignment, Locality, LocalityEndpoints
from mesh.model.listener import Listener
from mesh.model.secret import Secret, TlsCertificate, TrustBundle
from mesh.proxy.clusters import ClusterRuntime
from mesh.proxy.control_plane import ControlPlane
from mesh.proxy.deadlines import Deadlines
from mesh.proxy.identity import Identity
from mesh.proxy.identity_keeper import IdentityKeeper, IdentitySettings
from mesh.proxy.introspect import (
    certificates,
    cluster_families,
    clusters_json,
    clusters_text,
    health_flags,
    identity_families,
    listeners_json,
    listeners_text,
    memory_bytes,
    proxy_families,
)
from mesh.proxy.observe.telemetry import Telemetry, TelemetrySettings
from mesh.proxy.pipeline import Proxy
from mesh.proxy.poller import Poller
from tests.support.observe import host

CLUSTER = Cluster("outbound|80||a", Discovery.EDS, outlier=OutlierDetection())
ASSIGNMENT = LoadAssignment(
    "a",
    (LocalityEndpoints((Endpoint(Address("10.0.0.1", 80), 3), Endpoint(Address("10.0.0.2", 80), health=Health.DRAINING)), Locality("r", "z")),),
)


@asynccontextmanager
async def runtime() -> AsyncIterator[ClusterRuntime]:
    """A cluster with some history; nothing is connected."""
    found = ClusterRuntime(CLUSTER, ASSIGNMENT, Poller(), Deadlines())
    first = found.balancer.hosts[0]
    first.active, first.requests_total, first.requests_success, first.requests_error = 1, 5, 4, 1
    found.is_used = True
    yield found


async def test_clusters_in_envoys_text() -> None:
    async with runtime() as found:
        lines = clusters_text([found]).splitlines()
    assert lines[0] == "outbound|80||a::observability_name::outbound|80||a"
    for line in (
        "outbound|80||a::default_priority::max_connections::4294967295",
        "outbound|80||a::10.0.0.1:80::rq_total::5",
        "outbound|80||a::10.0.0.1:80::weight::3",
        "outbound|80||a::10.0.0.1:80::health_flags::healthy",
        "outbound|80||a::10.0.0.1:80::zone::z",
        "outbound|80||a::10.0.0.2:80::health_flags::/eds_status_draining",
    ):
        assert line in lines


async def test_clusters_in_envoys_json() -> None:
    async with runtime() as found:
        status = clusters_json([found])["cluster_statuses"][0]
    assert (status["name"], len(status["host_statuses"])) == ("outbound|80||a", 2)
    first = status["host_statuses"][0]
    assert first["address"] == {"socket_address": {"address": "10.0.0.1", "port_value": 80}}
    assert {"name": "rq_error", "value": "1"} in first["stats"]
    assert first["health_status"] == {"eds_health_status": "HEALTHY"}


async def test_metrics_of_clusters_in_use() -> None:
    async with runtime() as found:
        idle = ClusterRuntime(Cluster("idle", Discovery.EDS), ASSIGNMENT, Poller(), Deadlines())
        families = {family.metric.name: family.samples for family in cluster_families([found, idle])}
    values = {name: [(sample.labels, sample.value) for sample in samples] for name, samples in families.items()}
    label = 'cluster_name="outbound|80||a"'
    assert values["envoy_cluster_upstream_rq_total"] == [(label, 5)]
    assert values["envoy_cluster_upstream_rq_error_total"] == [(label, 1)]
    assert (values["envoy_cluster_membership_healthy"], values["triomesh_cluster_hosts"]) == ([(label, 1)], [(label, 2)])
    assert values["envoy_cluster_outlier_detection_ejections_enforced_total"] == [(label, 0)]


def test_nothing_is_empty_text() -> None:
    assert (clusters_text([]), listeners_text([]), clusters_json([])) == ("", "", {"cluster_statuses": []})


def test_words_of_health() -> None:
    ejected, ill = host(health=Health.UNHEALTHY), host(health=Health.UNHEALTHY)
    ejected.ejected = True
    assert [health_flags(item) for item in (ejected, ill, host())] == [
        "/failed_outlier_check/failed_eds_health",
        "/failed_eds_health",
        "healthy",
    ]


def test_listeners() -> None:
    listeners = [Listener("outbound", Address("0.0.0.0", 15001)), Listener("virtual", Address("10.0.0.1", 80), bind_to_port=False)]
    assert listeners_text(listeners) == "outbound::0.0.0.0:15001\nvirtual::10.0.0.1:80 (not bound)\n"
    assert listeners_json(listeners)["listener_statuses"][0] == {
        "name": "outbound",
        "local_address": {"socket_address": {"address": "0.0.0.0", "port_value": 15001}},
    }


def certificate() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://td/ns/a/sa/b"), x509.DNSName("b.a")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(0xABC)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=40_000))
        .add_extension(names, False)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(serialization.Encoding.PEM), key_pem


def test_certificates_are_described_and_keys_are_not() -> None:
    chain, key = certificate()
    found = certificates([Secret("default", TlsCertificate(chain, key)), Secret("ROOTCA", trust=TrustBundle(chain))])
    described = found[0]["cert_chain"][0]
    assert (described["serial_number"], described["valid_from"]) == ("abc", "2026-01-01T00:00:00Z")
    assert described["subject_alt_names"] == [{"uri": "spiffe://td/ns/a/sa/b"}, {"dns": "b.a"}]
    assert int(described["days_until_expiration"]) > 30_000
    assert len(found[1]["ca_cert"]) == 1 and found[1]["cert_chain"] == []
    assert "PRIVATE" not in str(found)


async def test_metrics_of_the_process() -> None:
    proxy = Proxy(Telemetry("sidecar~1~a~b", {}, TelemetrySettings(), "t"))
    proxy.protocol_errors = 2
    proxy.drain.opened(False)
    found = {(family.metric.name, sample.labels): sample.value for family in proxy_families(proxy) for sample in family.samples}
    assert found["triomesh_downstream_protocol_errors_total", ""] == 2
    assert found["triomesh_downstream_connections", 'direction="inbound"'] == 1
    assert found["triomesh_connection_crashes_total", ""] == 0
    assert found["process_resident_memory_bytes", ""] == pytest.approx(memory_bytes()[0], rel=0.2)
    assert 0 <= time.time() - found["process_start_time_seconds", ""] < 3_600
    assert 0 < found["process_cpu_seconds_total", ""] <= time.process_time()


def test_metrics_of_the_identity(tmp_path: Path) -> None:
    settings = IdentitySettings(ControlPlane(Address("127.0.0.1", 1), tmp_path / "r", tmp_path / "t"), "shop", "web")
    keeper = IdentityKeeper(settings, lambda _: None)
    keeper.requests, keeper.failures = 3, 2
    names = ("requests_total", "failures_total")
    found = {family.metric.name: family.samples[0].value for family in identity_families(keeper)}
    assert found == dict(zip((f"triomesh_workload_certificate_{name}" for name in names), (3, 2), strict=True))
    chain, key = certificate()
    keeper.identity = Identity(TlsCertificate(chain, key), chain, "spiffe://td/ns/a/sa/b", 1.0, 1234.5)
    assert identity_families(keeper)[0].samples[0].value == 1234.5
