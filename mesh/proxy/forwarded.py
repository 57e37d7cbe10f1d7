# cython: language_level=3
"""Forwarded: what a proxy adds to, and keeps from, the request heads it passes on. Pure.

Vendor headers travel between meshed proxies only: an endpoint outside the mesh never sees one, whoever set it.
"""

from __future__ import annotations

import cython

from mesh.model.listener import HttpManager
from mesh.proxy.head import Head

if not cython.compiled:  # when compiled, forwarded.pxd cimports these names
    from mesh.proxy.observe.record import Record

_FORWARDED_FOR = b"x-forwarded-for"
_FORWARDED_PROTO = b"x-forwarded-proto"
_CLIENT_CERTIFICATE = b"x-forwarded-client-cert"
_FORCE_TRACE = b"x-envoy-force-trace"
_PROTO_LINES = {scheme: b"x-forwarded-proto: %b\r\n" % scheme for scheme in (b"http", b"https")}
INTERNAL = (
    b"x-envoy-attempt-count",
    b"x-envoy-decorator-operation",
    b"x-envoy-expected-rq-timeout-ms",
    b"x-envoy-internal",
    b"x-envoy-external-address",
    b"x-envoy-downstream-service-cluster",
    b"x-envoy-downstream-service-node",
    b"x-envoy-original-path",
    b"x-envoy-original-host",
)
"""Envoy's headers about and between its own kind (peer metadata is the observer's business)."""
_EDGE = (*INTERNAL, _FORWARDED_FOR, _FORWARDED_PROTO, _CLIENT_CERTIFICATE, _FORCE_TRACE)
_EDGE_WITH_PROTO = (*INTERNAL, _FORWARDED_FOR, _CLIENT_CERTIFICATE, _FORCE_TRACE)


def forwarded_lines(record: Record, manager: HttpManager) -> tuple[tuple[bytes, ...], bytes]:
    """Names to leave out of the forwarded head, Envoy's own included, and x-forwarded-for and -proto to append."""
    head = record.head
    if not manager.use_remote_address:
        if head.get(_FORWARDED_PROTO) is not None:
            return INTERNAL, b""
        return INTERNAL, _PROTO_LINES[record.scheme]
    client: bytes = record.connection.ip
    chain: bytes | None = head.get(_FORWARDED_FOR)
    line: bytes = b"x-forwarded-for: " + (client if chain is None else chain + b"," + client) + b"\r\n"
    certificate: bytes = record.connection.client_certificate
    if certificate:
        line += b"x-forwarded-client-cert: " + certificate + b"\r\n"
    if manager.xff_trusted_hops and head.get(_FORWARDED_PROTO) is not None:
        return _EDGE_WITH_PROTO, line
    return _EDGE, line + _PROTO_LINES[record.scheme]


def scheme_of(head: Head, is_tls: bool) -> bytes:
    """b"http" or b"https", inside the mesh: what the connection is, or else what the edge said."""
    return b"https" if is_tls or head.get(_FORWARDED_PROTO) == b"https" else b"http"
