from dataclasses import replace

import pytest

from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery, OutlierDetection, Protocol, TlsMatch
from mesh.model.endpoint import Endpoint, LoadAssignment, LocalityEndpoints
from mesh.model.secret import UpstreamTls
from mesh.proxy.clusters import ClusterRuntime
from mesh.proxy.deadlines import Deadlines
from mesh.proxy.failures import HTTP2_UNSUPPORTED, TLS_NOT_READY, UpstreamFailed
from mesh.proxy.poller import Parker, Poller

EDS = Cluster("a", Discovery.EDS)


def assignment(*ports: int) -> LoadAssignment:
    return LoadAssignment("a", (LocalityEndpoints(tuple(Endpoint(Address("10.0.0.1", port)) for port in ports)),))


def runtime(model: Cluster = EDS, hosts: LoadAssignment | None = None) -> ClusterRuntime:
    deadlines = Deadlines()
    deadlines.now = lambda: 0.0
    return ClusterRuntime(model, hosts, Poller(), deadlines)


def test_hosts_survive_updates_with_what_is_known_of_them() -> None:
    cluster = runtime(hosts=assignment(1, 2))
    before = {host.name: host for host in cluster.balancer.hosts}
    before["10.0.0.1:2"].active = 7
    cluster.update(EDS, assignment(2, 3))
    after = {host.name: host for host in cluster.balancer.hosts}
    assert set(after) == {"10.0.0.1:2", "10.0.0.1:3"}
    assert after["10.0.0.1:2"] is before["10.0.0.1:2"] and after["10.0.0.1:2"].active == 7


def test_an_update_that_changes_nothing_keeps_the_balancer() -> None:
    cluster = runtime(hosts=assignment(1))
    balancer = cluster.balancer
    cluster.update(replace(EDS), assignment(1))
    assert cluster.balancer is balancer


def test_original_destinations_are_hosts_of_their_own() -> None:
    cluster = runtime(Cluster("p", Discovery.ORIGINAL_DST))
    assert cluster.pick(0.0) is None
    host = cluster.pick(0.0, destination=Address("10.9.9.9", 80))
    assert host is not None and host.endpoint.address == Address("10.9.9.9", 80)
    assert cluster.pick(0.0, destination=Address("10.9.9.9", 80)) is host
    moved = runtime(Cluster("p", Discovery.ORIGINAL_DST, connect_to_port=15008))
    picked = moved.pick(0.0, destination=Address("10.9.9.9", 80))
    assert picked is not None and picked.endpoint.address.port == 15008


def test_ejection_and_return_are_told_to_the_balancer() -> None:
    model = replace(EDS, outlier=OutlierDetection(consecutive_5xx=1, max_ejection_percent=50))
    cluster = runtime(model, assignment(1, 2))
    bad = cluster.balancer.hosts[0]
    cluster.on_response(bad, 500, 0.0)
    assert bad.ejected and {cluster.pick(0.0) for _ in range(20)} == {cluster.balancer.hosts[1]}
    cluster._deadlines.now = lambda: 1000.0
    cluster._deadlines.sweep(1000.0)
    assert not bad.ejected and {cluster.pick(1000.0) for _ in range(50)} == set(cluster.balancer.hosts)


@pytest.mark.parametrize(
    ("model", "failure"),
    [
        (replace(EDS, protocol=Protocol.HTTP2), HTTP2_UNSUPPORTED),
        (replace(EDS, tls=UpstreamTls(system_roots=True)), TLS_NOT_READY),
        (replace(EDS, tls_matches=(TlsMatch("all", "", UpstreamTls()),)), TLS_NOT_READY),
    ],
)
async def test_what_cannot_be_spoken_is_refused_and_never_sent_in_plaintext(model: Cluster, failure: object) -> None:
    cluster = runtime(model, assignment(1))
    with pytest.raises(UpstreamFailed) as caught:
        await cluster.acquire(Parker(), cluster.balancer.hosts[0], 0.0, None, False)
    assert caught.value.failure is failure
    assert cluster.breaker.pending == cluster.breaker.connections == 0
