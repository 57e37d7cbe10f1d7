"""KITCHEN_SINK: one snapshot with every feature that the encoder knows, valid for a real Envoy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mesh.model.addr import Address, Cidr
from mesh.model.cluster import (
    CircuitBreaker,
    Cluster,
    Discovery,
    LbPolicy,
    OutlierDetection,
    Protocol,
    RetryBudget,
    ServiceRef,
    TcpKeepalive,
    TlsMatch,
)
from mesh.model.endpoint import Endpoint, Health, LoadAssignment, Locality, LocalityEndpoints, Workload
from mesh.model.listener import (
    AccessLog,
    ChainMatch,
    Direction,
    FilterChain,
    HttpFilter,
    HttpManager,
    Listener,
    ListenerFilter,
    TcpProxy,
    Tracing,
)
from mesh.model.match import HeaderMatch, PathKind, PathMatch, QueryMatch, RouteMatch, StringKind, StringMatch
from mesh.model.origin import Origin
from mesh.model.route import (
    CorsPolicy,
    DirectResponse,
    Fault,
    FaultAbort,
    FaultDelay,
    ForwardAction,
    FullRewrite,
    HashKind,
    HashPolicy,
    HeaderMutation,
    Mirror,
    NonForwarding,
    PrefixRewrite,
    RedirectAction,
    RegexRewrite,
    RetryPolicy,
    Route,
    RouteConfig,
    VirtualHost,
    WeightedCluster,
)
from mesh.model.secret import DownstreamTls, Secret, TlsCertificate, TrustBundle, UpstreamTls
from mesh.model.snapshot import Snapshot


def self_signed() -> tuple[bytes, bytes]:
    """(certificate, key) as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    start = datetime(2020, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=36500))
    certificate = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem), private


CERTIFICATE_PEM, KEY_PEM = self_signed()
ORIGIN = Origin("VirtualService", "default", "reviews", "http[0]")
SAN = StringMatch(StringKind.EXACT, "spiffe://cluster.local/ns/default/sa/reviews")
SERVICE_TLS = UpstreamTls("cert", "roots", sni="outbound_.9080_._.reviews", alpn=("istio",), subject_alt_names=(SAN,))
WORKLOAD = Workload("reviews-v1", "default", "reviews", "v1", "Kubernetes")
ENDPOINTS = (
    Endpoint(Address("127.0.0.1", 9080), 3, Health.HEALTHY, WORKLOAD, True, "istio", "reviews.example"),
    Endpoint(Address("127.0.0.2", 9080), 1, Health.DRAINING, WORKLOAD, True),
)
LOCALITIES = (
    LocalityEndpoints(ENDPOINTS, Locality("r1", "z1", "s1"), 0, 30),
    LocalityEndpoints(ENDPOINTS[:1], Locality("r2"), 1, 10),
)


def inline(name: str, host: str = "127.0.0.1") -> LoadAssignment:
    return LoadAssignment(name, (LocalityEndpoints((Endpoint(Address(host, 80)),)),))


CLUSTERS = (
    Cluster(
        "outbound|9080|v1|reviews.default.svc.cluster.local",
        Discovery.EDS,
        circuit_breaker=CircuitBreaker(10, 20, 30, 40, RetryBudget(25.0, 5)),
        outlier=OutlierDetection(7, 3, 2, True, 1.5, 2.5, 60.0, 50, 30),
        tls_matches=(TlsMatch("mtls", "istio", SERVICE_TLS), TlsMatch("plain", "", None)),
        protocol=Protocol.DOWNSTREAM,
        max_requests_per_connection=100,
        max_connection_duration_seconds=600,
        tcp_keepalive=TcpKeepalive(3, 30, 10),
        slow_start_seconds=30,
        locality_weighted=True,
        service=ServiceRef("reviews.default.svc.cluster.local", "reviews", "default"),
        subset="v1",
        origin=ORIGIN,
    ),
    Cluster("ring", Discovery.EDS, LbPolicy.RING_HASH, eds_service_name="shared", ring_min_size=16, ring_max_size=64),
    Cluster("maglev", Discovery.EDS, LbPolicy.MAGLEV, eds_service_name="shared", maglev_table_size=251),
    Cluster("robin", Discovery.STATIC, LbPolicy.ROUND_ROBIN, assignment=inline("robin"), protocol=Protocol.HTTP2),
    Cluster("random", Discovery.STATIC, LbPolicy.RANDOM, assignment=inline("random")),
    Cluster("strict", Discovery.STRICT_DNS, assignment=inline("strict", "localhost"), dns_refresh_seconds=60),
    Cluster("logical", Discovery.LOGICAL_DNS, assignment=inline("logical", "localhost")),
    Cluster("PassthroughCluster", Discovery.ORIGINAL_DST, LbPolicy.CLUSTER_PROVIDED, bind_host="127.0.0.6"),
    Cluster("override", Discovery.ORIGINAL_DST, LbPolicy.CLUSTER_PROVIDED, connect_to_port=8080),
    Cluster(
        "external",
        Discovery.STATIC,
        assignment=inline("external"),
        tls=UpstreamTls(system_roots=True, auto_sni=True, alpn=("h2", "http/1.1")),
    ),
    Cluster("unverified", Discovery.STATIC, assignment=inline("unverified"), tls=UpstreamTls(insecure=True, sni="x")),
)

RETRY = RetryPolicy(frozenset({"5xx", "reset"}), 3, 2.5, (503, 504), 0.05, 0.5, True)
EDIT = HeaderMutation((("x-set", "%REQ(x-a)%"), ("x-empty", "")), (("x-add", "50%%"),), ("x-gone",))
FORWARDS = (
    ForwardAction(
        (WeightedCluster("ring", 90, EDIT, EDIT), WeightedCluster("maglev", 10), WeightedCluster("robin", 0)),
        timeout_seconds=3.5,
        idle_timeout_seconds=60,
        retry=RETRY,
        path_rewrite=PrefixRewrite("/v2"),
        host_rewrite="other.example",
        mirrors=(Mirror("random", 12.5),),
        hash_policies=(
            HashPolicy(HashKind.HEADER, "x-user", terminal=True),
            HashPolicy(HashKind.COOKIE, "session", 0.0, "/"),
            HashPolicy(HashKind.SOURCE_IP),
            HashPolicy(HashKind.QUERY, "q"),
        ),
        missing_cluster_status=500,
    ),
    ForwardAction((WeightedCluster("logical"),), path_rewrite=FullRewrite("/whole"), auto_host_rewrite=True),
    ForwardAction((WeightedCluster("robin"),), path_rewrite=RegexRewrite("^/a/(b+)", r"/\1")),
)
EXACT_X = StringMatch(StringKind.EXACT, "x", True)
MATCHES = (
    RouteMatch(
        PathMatch(PathKind.PREFIX, "/p", True),
        (
            HeaderMatch(":method", StringMatch(StringKind.EXACT, "GET")),
            HeaderMatch("present"),
            HeaderMatch("absent", None, True),
            HeaderMatch("some", StringMatch(StringKind.REGEX, "a.*b")),
        ),
        (QueryMatch("q", EXACT_X), QueryMatch("any")),
    ),
    RouteMatch(PathMatch(PathKind.SEGMENT_PREFIX, "/seg")),
    RouteMatch(PathMatch(PathKind.EXACT, "/exact")),
    RouteMatch(PathMatch(PathKind.REGEX, "/re.*x")),
)
CORS = CorsPolicy((EXACT_X, StringMatch(StringKind.SUFFIX, ".example")), "GET,PUT", "x-a", "x-b", "600", True, False)
ROUTES = (
    Route(MATCHES[0], FORWARDS[0], "first", EDIT, EDIT, origin=ORIGIN, operation="reviews:9080/*"),
    Route(MATCHES[1], FORWARDS[1], fault=Fault(FaultDelay(1.5, 12.25), FaultAbort(0.0001, http_status=599))),
    Route(MATCHES[2], FORWARDS[2], fault=Fault(abort=FaultAbort(50, grpc_status=14)), cors=CORS),
    Route(MATCHES[3], RedirectAction(308, "https", "h.example", 8443, PrefixRewrite("/n"), True)),
    Route(MATCHES[1], RedirectAction(302, port=0, path=FullRewrite("/moved"))),
    Route(MATCHES[1], RedirectAction(303, path=RegexRewrite("^/a(.*)", r"/b\1"))),
    Route(MATCHES[2], DirectResponse(503, b"nothing here")),
    Route(RouteMatch(), NonForwarding()),
)
ROUTE_CONFIG = RouteConfig(
    "9080",
    (
        VirtualHost("reviews", ("reviews", "reviews:9080", "*.example"), ROUTES, ORIGIN),
        VirtualHost("secure", ("secure.example",), ROUTES[:1], require_tls=True),
        VirtualHost("rest", ("*",)),
    ),
    ignore_port_in_host=True,
)
MANAGER = HttpManager(
    "outbound_9080",
    route_config_name="9080",
    filters=(HttpFilter.PEER_METADATA, HttpFilter.CORS, HttpFilter.FAULT, HttpFilter.ROUTER),
    tracing=Tracing(12.5, 100, 90, "robin", "web.default", (("mesh", "triomesh"),)),
    access_logs=(AccessLog("/dev/null", json=(("a", "%PROTOCOL%"), ("b", "%RESPONSE_FLAGS%"))), AccessLog("/dev/null")),
    upgrades=("websocket",),
    use_remote_address=True,
    xff_trusted_hops=1,
    request_timeout_seconds=30,
    request_headers_timeout_seconds=10,
    strip_port=True,
    merge_slashes=True,
    preserve_request_id=True,
)
INLINE = HttpManager("inline", route_config=RouteConfig("inline", (VirtualHost("all", ("*",), ROUTES[-1:]),)))
PASS = TcpProxy("pass", (WeightedCluster("PassthroughCluster"),), 0.0, (AccessLog("/dev/null", "%BYTES_SENT%\n"),), 3)
SHARED = TcpProxy("shared", (WeightedCluster("robin", 80), WeightedCluster("random", 20)))
LISTENERS = (
    Listener(
        "virtualOutbound",
        Address("127.0.0.1", 0),
        (
            FilterChain(
                MANAGER,
                ChainMatch(9080, (Cidr.parse("198.19.0.0/16"),), (), "raw_buffer", ("http/1.1", "h2c")),
                "http",
                origin=ORIGIN,
            ),
            FilterChain(SHARED, ChainMatch(3306, source_prefix_ranges=(Cidr.parse("10.0.0.0/8"),), source_ports=(7,))),
        ),
        FilterChain(PASS, name="default"),
        direction=Direction.OUTBOUND,
        use_original_dst=True,
        filters=frozenset(ListenerFilter),
        uninspected_ports=(3306, 5432),
        access_logs=(AccessLog("/dev/null"),),
        origin=ORIGIN,
    ),
    Listener("0.0.0.0_9081", Address("0.0.0.0", 9081), (FilterChain(INLINE),), bind_to_port=False),
    Listener(
        "gateway",
        Address("127.0.0.1", 0),
        (
            FilterChain(
                INLINE,
                ChainMatch(server_names=("a.example", "*.b.example"), transport_protocol="tls"),
                tls=DownstreamTls(("cert",), "roots", True, ("h2", "http/1.1"), "1.3"),
            ),
        ),
        direction=Direction.INBOUND,
        filters=frozenset({ListenerFilter.TLS_INSPECTOR}),
        filters_timeout_seconds=5,
        continue_on_filters_timeout=False,
        additional_addresses=(Address("127.0.0.1", 0),),
    ),
)
SECRETS = (
    Secret("cert", TlsCertificate(CERTIFICATE_PEM, KEY_PEM)),
    Secret("roots", trust=TrustBundle(CERTIFICATE_PEM, (SAN,))),
)
ASSIGNMENTS = (LoadAssignment(CLUSTERS[0].name, LOCALITIES), LoadAssignment("shared", LOCALITIES))

KITCHEN_SINK = Snapshot(
    {value.name: value for value in CLUSTERS},
    {value.cluster_name: value for value in ASSIGNMENTS},
    {value.name: value for value in LISTENERS},
    {ROUTE_CONFIG.name: ROUTE_CONFIG},
    {value.name: value for value in SECRETS},
)
