"""Names on the wire that encode and decode must agree on: filters, metadata keys, type URLs."""

from __future__ import annotations

import re

from mesh.model.match import PathMatch

ORIGIN_METADATA = "triomesh.io"
ISTIO_METADATA = "istio"
TLS_MATCH_METADATA = "envoy.transport_socket_match"
TLS_MODE = "tlsMode"
MESH_TLS_MODE = "istio"

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
TLS_SOCKET = "envoy.transport_sockets.tls"
RAW_SOCKET = "envoy.transport_sockets.raw_buffer"
DNS_CLUSTER = "envoy.clusters.dns"
FILE_ACCESS_LOG = "envoy.access_loggers.file"
OTLP_TRACER = "envoy.tracers.opentelemetry"
PREVIOUS_HOSTS = "envoy.retry_host_predicates.previous_hosts"

HTTP_MANAGER = "envoy.filters.network.http_connection_manager"
TCP_PROXY = "envoy.filters.network.tcp_proxy"
ROUTER = "envoy.filters.http.router"
FAULT = "envoy.filters.http.fault"
CORS = "envoy.filters.http.cors"
PEER_METADATA = "triomesh.filters.http.peer_metadata"

PEER_METADATA_URL = "type.googleapis.com/triomesh.v1.PeerMetadata"
ISTIO_PEER_METADATA_URL = "type.googleapis.com/io.istio.http.peer_metadata.Config"

SDS_CLUSTER = "sds-grpc"
"""Where Istio's proxies ask for their own certificate and roots: an agent beside them, not the control plane."""

SYSTEM_ROOTS_FILE = "/etc/ssl/certs/ca-certificates.crt"
"""Where Debian, Ubuntu and Alpine keep the CA bundle; Envoy itself knows no `system_root_certs` (gRPC does)."""

FULL_PATH_PATTERN = "^/.*$"
"""`regex_rewrite` of everything: how Envoy expresses a replaced full path that keeps the query."""

ENVOY_MAX_DIRECT_RESPONSE_BYTES = 4096
"""Envoy's `max_direct_response_body_size_bytes` when it is not set."""

REDIRECT_PORT = "redirect_port"
REDIRECT_PORT_OF_SCHEME = "scheme"
"""Route metadata for `RedirectAction.port` 0, which Envoy has no word for: it gets the scheme's port spelled out."""


def segment_removal(match: PathMatch) -> str:
    """`regex_rewrite` pattern of a SEGMENT_PREFIX and the slash after it: how it is replaced by "/", which keeps one slash."""
    return f"{'(?i)' if match.ignore_case else ''}^{re.escape(match.value)}/?"
