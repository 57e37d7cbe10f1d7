from mesh.model.cluster import Cluster, Discovery, TlsMatch
from mesh.model.listener import FilterChain, Listener, TcpProxy
from mesh.model.route import WeightedCluster
from mesh.model.secret import WORKLOAD_CERTIFICATE, WORKLOAD_ROOTS, DownstreamTls, Secret, UpstreamTls
from mesh.xds.kind import Kind
from mesh.xds.references import assignment_name, references
from tests.support.xds_samples import CLUSTERS, LISTENERS, ROUTE_CONFIG


def test_eds_cluster_asks_for_endpoints_and_secrets():
    eds = CLUSTERS[0]
    assert references(eds) == {(Kind.ENDPOINT, eds.name), (Kind.SECRET, "cert"), (Kind.SECRET, "roots")}


def test_the_proxys_own_secrets_are_asked_of_nobody():
    upstream = UpstreamTls(WORKLOAD_CERTIFICATE, WORKLOAD_ROOTS)
    assert references(Cluster("a", Discovery.ORIGINAL_DST, tls=upstream)) == set()
    matched = Cluster("a", Discovery.ORIGINAL_DST, tls_matches=(TlsMatch("m", "istio", upstream),))
    assert references(matched) == set()
    downstream = DownstreamTls((WORKLOAD_CERTIFICATE,), WORKLOAD_ROOTS, True)
    chain = FilterChain(TcpProxy("t", (WeightedCluster("robin"),)), tls=downstream)
    assert references(Listener("l", chains=(chain,))) == {(Kind.CLUSTER, "robin")}


def test_service_name_replaces_the_clusters_own():
    assert assignment_name(Cluster("a", Discovery.EDS, eds_service_name="b")) == "b"


def test_static_cluster_refers_to_nothing():
    assert references(CLUSTERS[3]) == set()


def test_listener_refers_to_routes_clusters_tracer_and_secrets():
    assert references(LISTENERS[0]) == {
        (Kind.ROUTE, "9080"),
        (Kind.CLUSTER, "robin"),
        (Kind.CLUSTER, "random"),
        (Kind.CLUSTER, "PassthroughCluster"),
    }
    assert references(LISTENERS[2]) == {(Kind.SECRET, "cert"), (Kind.SECRET, "roots")}


def test_routes_refer_to_weighted_and_mirrored_clusters():
    assert {name for _, name in references(ROUTE_CONFIG)} == {"ring", "maglev", "robin", "random", "logical"}


def test_secret_refers_to_nothing():
    assert references(Secret("s")) == set()
