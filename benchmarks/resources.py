"""The configuration under test, as xDS v3 JSON: the same listener, routes and clusters for Envoy and for ours.

The request of the benchmark fails the match of two routes (a header, a prefix) and takes the third: weights 90/10, a timeout, a
retry policy. Circuit breakers are out of the way, as Envoy's benchmarking guide asks.
"""

from typing import Any

_TYPE = "type.googleapis.com/"
_MANAGER = _TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = _TYPE + "envoy.extensions.filters.http.router.v3.Router"
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


def listener(port: int, *, traced: bool) -> dict[str, Any]:
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
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": "bench", "address": _address(port), "filter_chains": [chain]}


def clusters(backend_ports: list[int], otlp_port: int) -> list[dict[str, Any]]:
    """Two services of the same three endpoints each, and where the spans go."""
    found = [_cluster(name, backend_ports) for name in ("items-v1", "items-v2")]
    otlp = _cluster(OTLP_CLUSTER, [otlp_port])
    otlp["typed_extension_protocol_options"] = {
        _HTTP_OPTIONS: {"@type": _TYPE + _HTTP_OPTIONS, "explicit_http_config": {"http2_protocol_options": {}}}
    }
    return [*found, otlp]


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
