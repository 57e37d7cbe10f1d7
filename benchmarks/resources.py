"""The configuration under test, as xDS v3 JSON: the same listener, routes and clusters for Envoy and for ours.

The request of the benchmark fails the match of two routes (a header, a prefix) and takes the third: weights 90/10, a timeout, a
retry policy. Circuit breakers are out of the way, as Envoy's benchmarking guide asks.

With `Tls` the proxy has a sidecar's half of mutual TLS 1.3. Nobody resumes a session: ours cannot, so Envoy is told not to.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.certificates import ROOTS, TRUST_DOMAIN, identity

_TYPE = "type.googleapis.com/"
_MANAGER = _TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = _TYPE + "envoy.extensions.filters.http.router.v3.Router"
_TLS = _TYPE + "envoy.extensions.transport_sockets.tls.v3."
_ALPN = ["istio-http/1.1", "istio"]
_ADS = {"ads": {}, "resource_api_version": "V3"}
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
OTLP_CLUSTER = "otlp"
_PLENTY = 1 << 20

REQUEST = (
    b"GET /api/items?id=1 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n"
    b"Accept-Encoding: gzip, deflate\r\nAccept-Language: en-GB,en;q=0.9\r\nCookie: session=0123456789abcdef\r\n\r\n"
)
SHAPES = {
    "get": REQUEST,
    "post": REQUEST.replace(b"GET ", b"POST ").replace(b"\r\n\r\n", b"\r\nContent-Length: 1024\r\n\r\n") + 1024 * b"x",
    "connections": REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
}
"""What can be measured: GET over keep-alive connections, POST with 1 KiB, a GET on a connection of its own."""


TLS_SIDES = {"terminate": "mutual TLS from the client", "originate": "mutual TLS to the back end"}
"""What a server's and a client's sidecar does."""


@dataclass(frozen=True, slots=True)
class Tls:
    """side: of TLS_SIDES. directory: of `certificates.make`. is_brief: a connection to the back end serves one request."""

    side: str
    directory: Path
    is_brief: bool

    @property
    def terminates(self) -> bool:
        return self.side == "terminate"


def secrets(tls: Tls) -> list[dict[str, Any]]:
    """What `listener` and `clusters` name: the proxy's certificate, whom it trusts, and of those who may be its client."""
    own = {"inline_string": (tls.directory / "proxy.pem").read_text()}
    roots = {"trusted_ca": {"inline_string": (tls.directory / ROOTS).read_text()}}
    clients = {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"prefix": TRUST_DOMAIN}}]}
    return [
        {"name": "proxy", "tls_certificate": {"certificate_chain": own, "private_key": own}},
        {"name": "roots", "validation_context": roots},
        {"name": "clients", "validation_context": {**roots, **clients}},
    ]


def listener(port: int, *, traced: bool, tls: Tls | None = None) -> dict[str, Any]:
    """Args: port: 0 lets Envoy's kernel choose. traced: request ids and 1 % of spans to the OTLP cluster."""
    manager: dict[str, Any] = {
        "@type": _MANAGER,
        "stat_prefix": "bench",
        "use_remote_address": True,
        "generate_request_id": traced,
        "route_config": _routes(),
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
    }
    if traced:
        manager["tracing"] = {
            "random_sampling": {"value": 1.0},
            "provider": {
                "name": "envoy.tracers.opentelemetry",
                "typed_config": {
                    "@type": _TYPE + "envoy.config.trace.v3.OpenTelemetryConfig",
                    "grpc_service": {"envoy_grpc": {"cluster_name": OTLP_CLUSTER}, "timeout": "10s"},
                    "service_name": "bench",
                },
            },
        }
    chain: dict[str, Any] = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    }
    found = {"name": "bench", "address": _address(port), "filter_chains": [chain]}
    if tls is not None and tls.terminates:
        manager["forward_client_cert_details"] = "APPEND_FORWARD"
        manager["set_current_client_cert_details"] = {"subject": True, "uri": True}
        inspector = {"@type": _TYPE + "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}
        found["listener_filters"] = [{"name": "envoy.filters.listener.tls_inspector", "typed_config": inspector}]
        chain["filter_chain_match"] = {"transport_protocol": "tls", "application_protocols": _ALPN}
        downstream = {
            "@type": _TLS + "DownstreamTlsContext",
            "common_tls_context": {**_own(), "validation_context_sds_secret_config": _secret("clients")},
            "require_client_certificate": True,
            "disable_stateless_session_resumption": True,
            "disable_stateful_session_resumption": True,
        }
        chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": downstream}
    return found


def clusters(backend_ports: list[int], otlp_port: int, tls: Tls | None = None) -> list[dict[str, Any]]:
    """Two services of the same three endpoints each, and where the spans go."""
    found = [_cluster(name, backend_ports) for name in ("items-v1", "items-v2")]
    if tls is not None and not tls.terminates:
        for each in found:
            each |= _origination(tls)
    otlp = _cluster(OTLP_CLUSTER, [otlp_port])
    otlp["typed_extension_protocol_options"] = {
        _HTTP_OPTIONS: {"@type": _TYPE + _HTTP_OPTIONS, "explicit_http_config": {"http2_protocol_options": {}}}
    }
    return [*found, otlp]


def without_ads(resource: Any) -> Any:
    """The same with secrets that Envoy finds in its own bootstrap."""
    if isinstance(resource, dict):
        return {key: without_ads(value) for key, value in resource.items() if key != "sds_config"}
    return [without_ads(each) for each in resource] if isinstance(resource, list) else resource


def _secret(name: str) -> dict[str, Any]:
    return {"name": name, "sds_config": _ADS}


def _own() -> dict[str, Any]:
    return {
        "tls_certificate_sds_secret_configs": [_secret("proxy")],
        "alpn_protocols": _ALPN,
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
    }


def _origination(tls: Tls) -> dict[str, Any]:
    server = {"san_type": "URI", "matcher": {"exact": identity("backend")}}
    trust = {
        "default_validation_context": {"match_typed_subject_alt_names": [server]},
        "validation_context_sds_secret_config": _secret("roots"),
    }
    upstream = {
        "@type": _TLS + "UpstreamTlsContext",
        "common_tls_context": {**_own(), "combined_validation_context": trust},
        "sni": "outbound_.80_._.items.bench.svc.cluster.local",
        "max_session_keys": 0,
    }
    options = {
        "@type": _TYPE + _HTTP_OPTIONS,
        "common_http_protocol_options": {"max_requests_per_connection": 1} if tls.is_brief else {},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    return {
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": upstream},
        "typed_extension_protocol_options": {_HTTP_OPTIONS: options},
    }


def _routes() -> dict[str, Any]:
    v1 = {"cluster": "items-v1"}
    weighted = {"clusters": [{"name": "items-v1", "weight": 90}, {"name": "items-v2", "weight": 10}]}
    routes = [
        {
            "match": {"prefix": "/", "headers": [{"name": "end-user", "string_match": {"exact": "jason"}}]},
            "route": {"cluster": "items-v2"},
        },
        {"match": {"prefix": "/admin"}, "route": {"cluster": "items-v2", "timeout": "5s"}},
        {
            "match": {"prefix": "/api"},
            "route": {
                "weighted_clusters": weighted,
                "timeout": "15s",
                "retry_policy": {"retry_on": "connect-failure,refused-stream,503", "num_retries": 2},
            },
        },
        {"match": {"prefix": "/"}, "route": v1},
    ]
    host = {"name": "bench", "domains": ["*"], "routes": routes}
    return {"name": "bench", "virtual_hosts": [host]}


def _cluster(name: str, ports: list[int]) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": _address(port)}} for port in ports]
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), _PLENTY)
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
