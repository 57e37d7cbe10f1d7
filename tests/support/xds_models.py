"""Hypothesis strategies for model values that are valid on the wire, and snapshots whose references hold."""

from __future__ import annotations

from hypothesis import strategies as st

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
    CertificateDetail,
    ChainMatch,
    ClientCertificate,
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
from mesh.model.secret import (
    WORKLOAD_CERTIFICATE,
    WORKLOAD_ROOTS,
    DownstreamTls,
    Secret,
    TlsCertificate,
    TrustBundle,
    UpstreamTls,
)

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.|_", min_size=1, max_size=12)
words = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=8)
seconds = st.integers(0, 10_000_000).map(lambda ms: ms / 1000)
positive_seconds = st.integers(1, 10_000_000).map(lambda ms: ms / 1000)
percents = st.integers(0, 1_000_000).map(lambda n: n / 10_000)
bits32 = st.integers(0, (1 << 32) - 1)
ports = st.integers(1, 65535)
hosts = st.sampled_from(["127.0.0.1", "198.18.0.7", "::1", "198.19.4.2"])
addresses = st.builds(Address, hosts, ports)
cidrs = st.sampled_from(["10.0.0.0/8", "198.18.0.0/15", "::1/128", "0.0.0.0/0"]).map(Cidr.parse)
origins = st.none() | st.builds(Origin, words, words, words, st.sampled_from(["", "http[0]", "rules[1]"]))


def unique(items: st.SearchStrategy, most: int = 2) -> st.SearchStrategy:
    return st.lists(items, max_size=most, unique=True).map(tuple)


def tuples(items: st.SearchStrategy, most: int = 2, least: int = 0) -> st.SearchStrategy:
    return st.lists(items, min_size=least, max_size=most).map(tuple)


@st.composite
def string_matches(draw: st.DrawFn) -> StringMatch:
    kind = draw(st.sampled_from(StringKind))
    ignore_case = kind is not StringKind.REGEX and draw(st.booleans())
    return StringMatch(kind, draw(words), ignore_case)


@st.composite
def path_matches(draw: st.DrawFn) -> PathMatch:
    kind = draw(st.sampled_from(PathKind))
    value = "/" + draw(words)
    return PathMatch(kind, value, kind is not PathKind.REGEX and draw(st.booleans()))


route_matches = st.builds(
    RouteMatch,
    path_matches(),
    tuples(st.builds(HeaderMatch, words, st.none(), st.booleans())
        | st.builds(HeaderMatch, words, string_matches(), st.booleans(), st.booleans())),
    tuples(st.builds(QueryMatch, words, st.none() | string_matches())),
)


@st.composite
def mutations(draw: st.DrawFn) -> HeaderMutation:
    values = st.sampled_from(["", "a b", "100%%", "%REQ(x-a)%", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%-x"])
    overwrites = draw(st.dictionaries(words, values, max_size=2))
    return HeaderMutation(tuple(overwrites.items()), draw(tuples(st.tuples(words, values))), draw(tuples(words)))


weighted_clusters = st.builds(WeightedCluster, names, st.integers(1, 100), mutations(), mutations())
rewrites = st.one_of(
    st.builds(PrefixRewrite, st.sampled_from(["/", "/p"]) | words),
    st.builds(FullRewrite, words.map(lambda word: f"/{word}\\x")),
    st.builds(RegexRewrite, st.just("^/(a+)"), st.just(r"/\1/b")),
)


@st.composite
def retries(draw: st.DrawFn) -> RetryPolicy:
    base = draw(positive_seconds)
    return RetryPolicy(
        on=draw(st.frozensets(st.sampled_from(["5xx", "reset", "connect-failure", "unavailable"]))),
        attempts=draw(st.integers(0, 9)),
        per_try_timeout_seconds=draw(st.none() | positive_seconds),
        status_codes=draw(tuples(st.integers(100, 599))),
        backoff_base_seconds=base,
        backoff_max_seconds=round(base + draw(st.integers(0, 9)), 3),
        previous_hosts=draw(st.booleans()),
    )


@st.composite
def hash_policies(draw: st.DrawFn) -> HashPolicy:
    kind = draw(st.sampled_from(HashKind))
    name = "" if kind is HashKind.SOURCE_IP else draw(words)
    if kind is not HashKind.COOKIE:
        return HashPolicy(kind, name, terminal=draw(st.booleans()))
    return HashPolicy(kind, name, draw(st.none() | seconds), draw(st.sampled_from(["", "/"])), draw(st.booleans()))


@st.composite
def forwards(draw: st.DrawFn, clusters: st.SearchStrategy = tuples(weighted_clusters, 3, 1)) -> ForwardAction:
    host = draw(st.sampled_from([(None, False), ("h.example", False), (None, True)]))
    return ForwardAction(
        clusters=draw(clusters),
        timeout_seconds=draw(seconds),
        idle_timeout_seconds=draw(st.none() | seconds),
        retry=draw(st.none() | retries()),
        path_rewrite=draw(st.none() | rewrites),
        host_rewrite=host[0],
        auto_host_rewrite=host[1],
        mirrors=draw(tuples(st.builds(Mirror, names, percents))),
        hash_policies=draw(tuples(hash_policies())),
        missing_cluster_status=draw(st.sampled_from([503, 404, 500])),
    )


redirect_rewrites = st.one_of(
    st.builds(PrefixRewrite, st.just("/p")),
    st.builds(FullRewrite, words.map(lambda word: f"/{word}")),
    st.builds(RegexRewrite, st.just("^/(a+)"), st.just(r"/\1/b")),
)
redirects = st.builds(
    RedirectAction,
    st.sampled_from([301, 302, 303, 307, 308]),
    st.sampled_from([None, "http", "https"]),
    st.none() | words,
    st.none() | st.integers(0, 65535),
    st.none() | redirect_rewrites,
    st.booleans(),
)
actions = st.one_of(
    forwards(),
    redirects,
    st.builds(DirectResponse, st.integers(200, 599), st.binary(max_size=8)),
    st.just(NonForwarding()),
)
aborts = st.one_of(
    st.builds(FaultAbort, percents, st.integers(200, 599), st.none()),
    st.builds(FaultAbort, percents, st.none(), st.integers(0, 16)),
)
faults = st.builds(Fault, st.none() | st.builds(FaultDelay, positive_seconds, percents), st.none() | aborts)
cors = st.builds(
    CorsPolicy, tuples(string_matches()), words, words, words, st.just("600"), st.booleans(), st.booleans()
)
routes = st.builds(
    Route,
    match=route_matches,
    action=actions,
    name=words,
    request_headers=mutations(),
    response_headers=mutations(),
    fault=st.none() | faults,
    cors=st.none() | cors,
    origin=origins,
    operation=st.just("") | words,
)
virtual_hosts = st.builds(VirtualHost, names, tuples(names, 2, 1), tuples(routes), origins, st.booleans())
route_configs = st.builds(RouteConfig, names, tuples(virtual_hosts), st.booleans(), st.integers(8, (1 << 32) - 1))


@st.composite
def endpoints(draw: st.DrawFn) -> Endpoint:
    tls_mode = draw(st.sampled_from(["", "istio", "disabled"]))
    return Endpoint(
        address=draw(addresses),
        weight=draw(st.integers(1, 1000)),
        health=draw(st.sampled_from(Health)),
        workload=draw(st.none() | st.builds(Workload, words, words, words, words, words)),
        is_meshed=tls_mode == "istio" or draw(st.booleans()),
        tls_mode=tls_mode,
        host_name=draw(st.just("") | words),
    )


@st.composite
def localities(draw: st.DrawFn) -> LocalityEndpoints:
    group = draw(tuples(endpoints()))
    where = st.builds(Locality, st.just("") | words, st.just("") | words, st.just("") | words)
    # A weight equal to the sum means the same as none.
    weight = draw(st.integers(0, 100).filter(lambda weight: weight != sum(one.weight for one in group)))
    return LocalityEndpoints(group, draw(where), draw(st.integers(0, 5)), weight)


single = st.builds(
    LoadAssignment, names, st.tuples(st.builds(LocalityEndpoints, st.tuples(endpoints()), priority=st.just(0)))
)
assignments = st.builds(LoadAssignment, names, tuples(localities()))


@st.composite
def upstream_tls(draw: st.DrawFn, auto_sni: bool) -> UpstreamTls:
    way = draw(st.sampled_from(["secret", "system", "insecure"]))
    return UpstreamTls(
        certificate_name=draw(st.just("") | names | st.sampled_from(["file-cert:/c.pem~/k.pem", WORKLOAD_CERTIFICATE])),
        trust_name=draw(names | st.sampled_from(["file-root:/ca.pem", WORKLOAD_ROOTS])) if way == "secret" else "",
        sni=draw(st.just("") | words),
        auto_sni=auto_sni,
        alpn=draw(tuples(st.sampled_from(["h2", "http/1.1"]))),
        subject_alt_names=() if way == "insecure" else tuple(dict.fromkeys(draw(tuples(string_matches())))),
        system_roots=way == "system",
        insecure=way == "insecure",
    )


@st.composite
def outliers(draw: st.DrawFn) -> OutlierDetection:
    split = draw(st.booleans())
    base = draw(positive_seconds)
    return OutlierDetection(
        consecutive_5xx=draw(st.integers(0, 100)),
        consecutive_gateway_failure=draw(st.integers(0, 100)),
        consecutive_local_origin_failure=draw(st.integers(0, 100)) if split else 0,
        split_external_local_origin_errors=split,
        interval_seconds=draw(positive_seconds),
        base_ejection_seconds=base,
        max_ejection_seconds=round(base + draw(st.integers(0, 100)), 3),
        max_ejection_percent=draw(st.integers(0, 100)),
        min_health_percent=draw(st.integers(0, 100)),
    )


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    discovery = draw(st.sampled_from(Discovery))
    is_original, is_eds = discovery is Discovery.ORIGINAL_DST, discovery is Discovery.EDS
    policies = [policy for policy in LbPolicy if (policy is LbPolicy.CLUSTER_PROVIDED) == is_original]
    lb = draw(st.sampled_from(policies))
    is_logical = discovery is Discovery.LOGICAL_DNS
    auto_sni = draw(st.booleans())
    tls = draw(st.none() | upstream_tls(auto_sni))
    matches = draw(tuples(st.builds(TlsMatch, words, st.just("") | words, st.none() | upstream_tls(auto_sni))))
    is_slow = lb in (LbPolicy.LEAST_REQUEST, LbPolicy.ROUND_ROBIN)
    is_dns = discovery in (Discovery.STRICT_DNS, Discovery.LOGICAL_DNS)
    ring = draw(st.integers(1, 1000))
    keepalives = st.builds(TcpKeepalive, *[st.none() | st.integers(0, 100)] * 3)
    return Cluster(
        name=draw(names),
        discovery=discovery,
        lb=lb,
        eds_service_name=draw(st.just("") | names) if is_eds else "",
        assignment=None if is_original or is_eds else draw(single if is_logical else assignments),
        connect_timeout_seconds=draw(positive_seconds),
        protocol=draw(st.sampled_from(Protocol)),
        circuit_breaker=draw(
            st.builds(
                CircuitBreaker,
                *[bits32] * 4,
                st.none() | st.builds(RetryBudget, percents, st.integers(0, 100)),
            )
        ),
        outlier=draw(st.none() | outliers()),
        tls=tls,
        tls_matches=matches,
        idle_timeout_seconds=draw(seconds),
        max_requests_per_connection=draw(st.integers(0, 100)),
        max_connection_duration_seconds=draw(seconds),
        tcp_keepalive=draw(st.none() | keepalives),
        bind_host=draw(st.sampled_from(["", "127.0.0.6", "::6"])),
        connect_to_port=draw(st.integers(0, 65535)) if is_original else 0,
        ring_min_size=ring if lb is LbPolicy.RING_HASH else 1024,
        ring_max_size=ring + draw(st.integers(0, 1000)) if lb is LbPolicy.RING_HASH else 8 << 20,
        maglev_table_size=draw(st.sampled_from([7, 65537])) if lb is LbPolicy.MAGLEV else 65537,
        least_request_choices=draw(st.integers(2, 9)) if lb is LbPolicy.LEAST_REQUEST else 2,
        slow_start_seconds=draw(seconds) if is_slow else 0.0,
        dns_refresh_seconds=draw(st.just(5.0) | st.just(60.25)) if is_dns else 5.0,
        locality_weighted=not is_original and draw(st.booleans()),
        service=draw(st.none() | st.builds(ServiceRef, words, words, words)),
        subset=draw(st.just("") | words),
        origin=draw(origins),
    )


@st.composite
def access_logs(draw: st.DrawFn) -> AccessLog:
    if draw(st.booleans()):
        fields = draw(st.dictionaries(words, words, max_size=3))
        return AccessLog("/dev/stdout", json=tuple(sorted(fields.items())))
    return AccessLog("/dev/stdout", text=draw(st.sampled_from(["", "%PROTOCOL%\n"])))


@st.composite
def tracings(draw: st.DrawFn) -> Tracing:
    cluster = draw(st.just("") | names)
    tags = draw(tuples(st.tuples(words, words)))
    return Tracing(*[draw(percents) for _ in range(3)], cluster, draw(words) if cluster else "", tags)


@st.composite
def managers(draw: st.DrawFn) -> HttpManager:
    by_name = draw(st.booleans())
    client_certificate = draw(st.sampled_from(ClientCertificate))
    is_written = client_certificate in (ClientCertificate.APPEND, ClientCertificate.REPLACE)
    optional = [HttpFilter.PEER_METADATA, HttpFilter.CORS, HttpFilter.FAULT]
    return HttpManager(
        stat_prefix=draw(words),
        route_config_name=draw(names) if by_name else "",
        route_config=None if by_name else draw(route_configs),
        filters=(*[kind for kind in optional if draw(st.booleans())], HttpFilter.ROUTER),
        tracing=draw(st.none() | tracings()),
        access_logs=draw(tuples(access_logs())),
        upgrades=draw(st.sampled_from([(), ("websocket",)])),
        use_remote_address=draw(st.booleans()),
        xff_trusted_hops=draw(st.integers(0, 9)),
        generate_request_id=draw(st.booleans()),
        preserve_request_id=draw(st.booleans()),
        normalize_path=draw(st.booleans()),
        merge_slashes=draw(st.booleans()),
        accept_http_10=draw(st.booleans()),
        max_request_headers_kb=draw(st.integers(1, 8192)),
        max_headers=draw(st.integers(1, 1000)),
        stream_idle_timeout_seconds=draw(seconds),
        request_timeout_seconds=draw(seconds),
        request_headers_timeout_seconds=draw(seconds),
        idle_timeout_seconds=draw(seconds),
        drain_timeout_seconds=draw(seconds),
        server_name=draw(words),
        strip_port=draw(st.booleans()),
        client_certificate=client_certificate,
        certificate_details=draw(st.frozensets(st.sampled_from(CertificateDetail))) if is_written else frozenset(),
    )


tcp_clusters = tuples(st.builds(WeightedCluster, names, st.integers(1, 100)), 3, 1)
tcp_proxies = st.builds(TcpProxy, words, tcp_clusters, seconds, tuples(access_logs()), st.integers(1, 9))


@st.composite
def downstream_tls(draw: st.DrawFn) -> DownstreamTls:
    trust = draw(st.just("") | names | st.just(WORKLOAD_ROOTS))
    return DownstreamTls(
        certificate_names=draw(tuples(names | st.just(WORKLOAD_CERTIFICATE), 2, 1)),
        trust_name=trust,
        require_client_certificate=bool(trust) and draw(st.booleans()),
        alpn=draw(tuples(st.sampled_from(["h2", "http/1.1"]))),
        min_version=draw(st.sampled_from(["1.0", "1.1", "1.2", "1.3"])),
    )


chain_matches = st.builds(
    ChainMatch,
    st.none() | ports,
    unique(cidrs),
    unique(words),
    st.sampled_from(["", "raw_buffer", "tls"]),
    unique(st.sampled_from(["http/1.1", "h2c"])),
    unique(cidrs),
    unique(ports),
)


def chains(matches: st.SearchStrategy) -> st.SearchStrategy:
    terminal = managers() | tcp_proxies
    return st.builds(FilterChain, terminal, matches, st.just("") | words, st.none() | downstream_tls(), origins)


@st.composite
def ordinary_listeners(draw: st.DrawFn) -> Listener:
    filters = draw(st.frozensets(st.sampled_from(ListenerFilter)))
    inspects = filters & {ListenerFilter.TLS_INSPECTOR, ListenerFilter.HTTP_INSPECTOR}
    return Listener(
        name=draw(names),
        address=draw(addresses),
        chains=draw(tuples(chains(chain_matches), 2, 1)),
        default_chain=draw(st.none() | chains(st.just(ChainMatch()))),
        bind_to_port=draw(st.booleans()),
        direction=draw(st.sampled_from(Direction)),
        use_original_dst=draw(st.booleans()),
        filters=filters,
        uninspected_ports=draw(tuples(ports)) if inspects else (),
        filters_timeout_seconds=draw(seconds),
        continue_on_filters_timeout=draw(st.booleans()),
        additional_addresses=draw(tuples(addresses)),
        access_logs=draw(tuples(access_logs())),
        origin=draw(origins),
    )


api_listeners = st.builds(Listener, name=names, api=managers(), origin=origins)
listeners = ordinary_listeners() | api_listeners
trusts = st.builds(TrustBundle, st.binary(max_size=8), tuples(string_matches()).map(lambda x: tuple(dict.fromkeys(x))))
secrets = st.one_of(
    st.builds(Secret, names, st.builds(TlsCertificate, st.binary(max_size=8), st.binary(max_size=8))),
    st.builds(Secret, names, st.none(), trusts),
)
