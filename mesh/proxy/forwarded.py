# cython: language_level=3
"""Forwarded: what a proxy adds to, and keeps from, the request heads it passes on. Pure.

Vendor headers travel between meshed proxies only: an endpoint outside the mesh never sees one, whoever set it.
"""

from __future__ import annotations

import cython

from mesh.model.listener import HttpManager
from mesh.proxy.head import Head
from mesh.proxy.observe.record import CertificateRule

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
_EDGE = (*INTERNAL, _FORWARDED_FOR, _FORWARDED_PROTO, _FORCE_TRACE)
_EDGE_WITH_PROTO = (*INTERNAL, _FORWARDED_FOR, _FORCE_TRACE)
# The same with the client's own x-forwarded-client-cert, whether something takes its place or not.
_INTERNAL_ALL = (*INTERNAL, _CLIENT_CERTIFICATE)
_EDGE_ALL = (*_EDGE, _CLIENT_CERTIFICATE)
_EDGE_WITH_PROTO_ALL = (*_EDGE_WITH_PROTO, _CLIENT_CERTIFICATE)
_KEEP, _REMOVE, _APPEND = CertificateRule.KEEP, CertificateRule.REMOVE, CertificateRule.APPEND


def forwarded_lines(record: Record, manager: HttpManager) -> tuple[tuple[bytes, ...], bytes]:
    """Names to leave out of the forwarded head, Envoy's own included, and x-forwarded-for, -proto and -client-cert to append."""
    head = record.head
    connection = record.connection
    rule = connection.certificate_rule
    keeps: cython.bint = rule is _KEEP
    line: bytes = b""
    if not keeps and rule is not _REMOVE:
        told: bytes | None = head.get(_CLIENT_CERTIFICATE) if rule is _APPEND else None
        mine: bytes = connection.client_certificate
        line = b"x-forwarded-client-cert: " + (mine if told is None else told + b"," + mine) + b"\r\n"
    if not manager.use_remote_address:
        if head.get(_FORWARDED_PROTO) is None:
            line += _PROTO_LINES[record.scheme]
        return INTERNAL if keeps else _INTERNAL_ALL, line
    client: bytes = connection.ip
    chain: bytes | None = head.get(_FORWARDED_FOR)
    line += b"x-forwarded-for: " + (client if chain is None else chain + b"," + client) + b"\r\n"
    if manager.xff_trusted_hops and head.get(_FORWARDED_PROTO) is not None:
        return _EDGE_WITH_PROTO if keeps else _EDGE_WITH_PROTO_ALL, line
    return _EDGE if keeps else _EDGE_ALL, line + _PROTO_LINES[record.scheme]


def scheme_of(head: Head, is_tls: bool) -> bytes:
    """b"http" or b"https", inside the mesh: what the connection is, or else what the edge said."""
    return b"https" if is_tls or head.get(_FORWARDED_PROTO) == b"https" else b"http"
