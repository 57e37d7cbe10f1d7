"""DestinationRule → `istio.DestinationRule`. A bad part of a policy is left out; the other parts and subsets work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mesh.control.kube import istio
from mesh.control.kube.fields import FieldError, Fields, Reader
from mesh.control.kube.parse_core import meta
from mesh.control.kube.parse_match import fqdn
from mesh.control.kube.parse_virtual_service import exported
from mesh.model.cluster import LbPolicy, OutlierDetection, TcpKeepalive
from mesh.model.match import StringKind, StringMatch
from mesh.model.route import HashKind, HashPolicy

_MAX_PROBES, _MAX_KEEPALIVE_SECONDS = 127, 32767  # tcp(7): MAX_TCP_KEEPCNT, MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL
_UINT32 = (1 << 32) - 1
_SIMPLE = {
    "UNSPECIFIED": LbPolicy.LEAST_REQUEST,
    "LEAST_REQUEST": LbPolicy.LEAST_REQUEST,
    "LEAST_CONN": LbPolicy.LEAST_REQUEST,
    "ROUND_ROBIN": LbPolicy.ROUND_ROBIN,
    "RANDOM": LbPolicy.RANDOM,
    "PASSTHROUGH": LbPolicy.CLUSTER_PROVIDED,
}
_TLS_MODES = {mode.value: mode for mode in istio.TlsMode if mode is not istio.TlsMode.BROKEN}
_UPGRADES = {"DEFAULT": None, "UPGRADE": True, "DO_NOT_UPGRADE": False}


def destination_rule(item: Mapping[str, Any]) -> istio.DestinationRule:
    head = meta(item, "DestinationRule", istio.GROUP)
    reader = Reader(head.ref)
    spec = reader.attempt(lambda: Fields(item.get("spec") or {}, "spec", reader))
    if spec is None:
        return istio.DestinationRule(head, "", problems=tuple(reader.problems))
    host = reader.attempt(lambda: fqdn(spec.required_text("host"), head.namespace)) or ""
    policy = reader.attempt(lambda: _policy(spec.object("trafficPolicy")))
    subsets = reader.attempt(lambda: reader.collect(spec.objects("subsets"), _subset)) or ()
    export_to = reader.attempt(lambda: exported(spec.texts("exportTo"), head.namespace))
    spec.close()
    return istio.DestinationRule(
        meta=head,
        host=host,
        policy=policy or istio.NO_POLICY,
        subsets=subsets,
        export_to=frozenset({head.namespace}) if export_to is None else export_to,
        problems=tuple(reader.problems),
    )


def _subset(item: Fields) -> istio.Subset:
    name = item.required_text("name")
    labels = item.text_map("labels")
    policy = item.reader.attempt(lambda: _policy(item.object("trafficPolicy")))
    item.close()
    return istio.Subset(name, labels, policy or istio.NO_POLICY, item.path)


def _policy(item: Fields | None) -> istio.TrafficPolicy:
    if item is None:
        return istio.NO_POLICY
    reader = item.reader
    parts = istio.TrafficPolicy(
        balancer=reader.attempt(lambda: _balancer(item.object("loadBalancer"))),
        pool=reader.attempt(lambda: _pool(item.object("connectionPool"))),
        outlier=reader.attempt(lambda: _outlier(item.object("outlierDetection"))),
        tls=reader.attempt(lambda: _tls(item.object("tls"))),
    )
    if parts.tls is None and item.has("tls"):
        parts = replace(parts, tls=istio.ClientTls(istio.TlsMode.BROKEN, path=item.at("tls")))
    ports = {}
    for entry in item.objects("portLevelSettings"):
        port = entry.object("port")
        number = reader.attempt(lambda port=port: port.port("number")) if port is not None else None  # type: ignore[misc]
        if number is None:
            reader.error(entry.at("port.number"), "is required", "Required")
            continue
        ports[number] = _policy(Fields({k: v for k, v in entry.value.items() if k != "port"}, entry.path, reader))
    item.close()
    return replace(parts, ports=ports)


def _balancer(item: Fields | None) -> istio.LoadBalancer | None:
    if item is None:
        return None
    simple = item.one_of("simple", _SIMPLE, LbPolicy.LEAST_REQUEST)
    warmup = item.object("warmup")
    slow_start = item.seconds("warmupDurationSecs") or 0.0
    if warmup is not None:
        slow_start = warmup.seconds("duration") or slow_start
        warmup.close()
    hashing = item.object("consistentHash")
    places = item.object("localityLbSetting")
    locality = item.reader.attempt(lambda: _locality(places)) if places is not None else None
    item.close()
    balancer = istio.LoadBalancer(
        policy=simple, slow_start_seconds=slow_start, locality=locality or istio.DEFAULT_LOCALITY
    )
    return balancer if hashing is None else _consistent_hash(hashing, balancer)


def _locality(item: Fields) -> istio.LocalityLb:
    enabled = item.boolean("enabled", default=True)
    distribute = []
    for entry in item.objects("distribute"):
        shares = entry.raw("to") or {}
        if not isinstance(shares, Mapping) or not all(_is_share(weight) for weight in shares.values()):
            raise FieldError(entry.at("to"), "must be an object of weights within 1..100")
        if sum(shares.values()) != 100:
            raise FieldError(entry.at("to"), f"must sum to 100, is {sum(shares.values())}")
        distribute.append((entry.required_text("from"), tuple(sorted(shares.items()))))
        entry.close()
    failover = []
    for entry in item.objects("failover"):
        failover.append((entry.required_text("from"), entry.required_text("to")))
        entry.close()
    if distribute and failover:
        raise FieldError(item.path, "has distribute and failover; at most one is allowed")
    item.close()
    return istio.LocalityLb(enabled, tuple(distribute), tuple(failover))


def _is_share(weight: Any) -> bool:
    return isinstance(weight, int) and not isinstance(weight, bool) and 1 <= weight <= 100


def _consistent_hash(item: Fields, base: istio.LoadBalancer) -> istio.LoadBalancer:
    header, query = item.text("httpHeaderName"), item.text("httpQueryParameterName")
    cookie, by_ip = item.object("httpCookie"), item.boolean("useSourceIp")
    if sum((bool(header), bool(query), cookie is not None, by_ip)) != 1:
        raise FieldError(
            item.path, "needs exactly one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName"
        )
    if header:
        policy = HashPolicy(HashKind.HEADER, header.lower())
    elif query:
        policy = HashPolicy(HashKind.QUERY, query)
    elif cookie is not None:
        policy = HashPolicy(HashKind.COOKIE, cookie.required_text("name"), cookie.seconds("ttl"), cookie.text("path"))
        cookie.close()
    else:
        policy = HashPolicy(HashKind.SOURCE_IP)
    ring, maglev = item.object("ringHash"), item.object("maglev")
    legacy_ring = item.integer("minimumRingSize", 1, 8 << 20)
    item.close()
    if maglev is not None:
        size = maglev.integer("tableSize", 1, 5_000_011) or 65537
        maglev.close()
        return replace(base, policy=LbPolicy.MAGLEV, hash=policy, maglev_table_size=size)
    minimum = legacy_ring or 1024
    if ring is not None:
        minimum = ring.integer("minimumRingSize", 1, 8 << 20) or minimum
        ring.close()
    return replace(base, policy=LbPolicy.RING_HASH, hash=policy, ring_min_size=minimum)


def _pool(item: Fields | None) -> istio.ConnectionPool | None:
    if item is None:
        return None
    pool = istio.ConnectionPool()
    tcp, http = item.object("tcp"), item.object("http")
    item.close()
    if tcp is not None:
        keepalive = tcp.object("tcpKeepalive")
        pool = replace(
            pool,
            max_connections=tcp.integer("maxConnections", 0, _UINT32),
            connect_timeout_seconds=tcp.seconds("connectTimeout"),
            max_connection_duration_seconds=tcp.seconds("maxConnectionDuration"),
            idle_timeout_seconds=tcp.seconds("idleTimeout"),
            tcp_keepalive=_keepalive(keepalive) if keepalive is not None else None,
        )
        tcp.close()
    if http is not None:
        # HTTP's own idle timeout wins over TCP's for HTTP connections; one number serves both of our uses.
        idle = http.seconds("idleTimeout")
        pool = replace(
            pool,
            max_pending_requests=http.integer("http1MaxPendingRequests", 0, _UINT32),
            max_requests=http.integer("http2MaxRequests", 0, _UINT32),
            max_requests_per_connection=http.integer("maxRequestsPerConnection", 0, (1 << 29) - 1),
            max_retries=http.integer("maxRetries", 0, _UINT32),
            idle_timeout_seconds=pool.idle_timeout_seconds if idle is None else idle,
            use_h2=http.one_of("h2UpgradePolicy", _UPGRADES, None),
            use_client_protocol=http.boolean("useClientProtocol"),
        )
        http.close()
    return pool


def _keepalive(item: Fields) -> TcpKeepalive:
    keepalive = TcpKeepalive(
        probes=item.integer("probes", 0, _MAX_PROBES) or None,
        time_seconds=_keepalive_seconds(item, "time"),
        interval_seconds=_keepalive_seconds(item, "interval"),
    )
    item.close()
    return keepalive


def _keepalive_seconds(item: Fields, name: str) -> int | None:
    """Whole seconds as Linux takes them: with any other number no connection would open. None (also for 0): the system's own."""
    seconds = item.seconds(name)
    if not seconds:
        return None
    if not 1 <= seconds <= _MAX_KEEPALIVE_SECONDS:
        raise FieldError(item.at(name), f"must be within 1s..{_MAX_KEEPALIVE_SECONDS}s, is {seconds:g} s", "OutOfRange")
    return int(seconds)


def _outlier(item: Fields | None) -> OutlierDetection | None:
    """Istio's defaults, which are Envoy's but for the fields named here (0 = off)."""
    if item is None:
        return None
    legacy = item.integer("consecutiveErrors", 0, _UINT32)
    server_errors = item.integer("consecutive5xxErrors", 0, _UINT32)
    gateway_errors = item.integer("consecutiveGatewayErrors", 0, _UINT32)
    local_failures = item.integer("consecutiveLocalOriginFailures", 0, _UINT32)
    split = item.boolean("splitExternalLocalOriginErrors")
    interval, base = item.seconds("interval"), item.seconds("baseEjectionTime")
    percent = item.integer("maxEjectionPercent", 0, 100)
    health = item.integer("minHealthPercent", 0, 100)
    item.close()
    base = 30.0 if base is None else base
    return OutlierDetection(
        consecutive_5xx=5 if server_errors is None else server_errors,
        consecutive_gateway_failure=gateway_errors if gateway_errors is not None else (legacy or 0),
        consecutive_local_origin_failure=(5 if local_failures is None else local_failures) if split else 0,
        split_external_local_origin_errors=split,
        interval_seconds=10.0 if interval is None else interval,
        base_ejection_seconds=base,
        max_ejection_seconds=max(300.0, base),
        max_ejection_percent=10 if percent is None else percent,
        min_health_percent=health or 0,
    )


def _tls(item: Fields | None) -> istio.ClientTls | None:
    if item is None:
        return None
    mode = item.one_of("mode", _TLS_MODES, istio.TlsMode.DISABLE)
    names = tuple(StringMatch(StringKind.EXACT, name) for name in item.texts("subjectAltNames"))
    tls = istio.ClientTls(
        mode,
        item.text("sni"),
        names,
        item.boolean("insecureSkipVerify"),
        item.path,
        item.text("caCertificates"),
        item.text("clientCertificate"),
        item.text("privateKey"),
    )
    if item.text("credentialName") and mode in (istio.TlsMode.SIMPLE, istio.TlsMode.MUTUAL):
        # It would replace roots and certificates: obeying half of it would be insecure.
        raise FieldError(item.at("credentialName"), "is not supported; files in the proxy are", "UnsupportedField")
    if mode is istio.TlsMode.MUTUAL and not (tls.certificate_file and tls.key_file):
        missing = "privateKey" if tls.certificate_file else "clientCertificate"
        raise FieldError(item.at(missing), "is required in mode MUTUAL", "Required")
    if mode is istio.TlsMode.ISTIO_MUTUAL:
        for name in ("clientCertificate", "privateKey", "caCertificates", "credentialName", "insecureSkipVerify"):
            if item.raw(name):
                message = "has no effect in mode ISTIO_MUTUAL: certificates and roots are the mesh's"
                item.reader.warn(item.at(name), message, "UnsupportedField")
    if mode is istio.TlsMode.SIMPLE and (tls.certificate_file or tls.key_file):
        raise FieldError(item.at("clientCertificate"), "needs mode MUTUAL", "Invalid")
    item.ignore("credentialName")
    item.close()
    return tls
