"""Forwarded: what a proxy adds to, and keeps from, the request heads it passes on. Pure.

Vendor headers travel between meshed proxies only: an endpoint outside the mesh never sees one, whoever set it.
"""

from __future__ import annotations

from mesh.model.listener import HttpManager
from mesh.proxy.head import Head
from mesh.proxy.observe.record import Record

_FORWARDED_FOR = b"x-forwarded-for"
_FORWARDED_PROTO = b"x-forwarded-proto"
_EDGE_REMOVALS = (_FORWARDED_FOR, _FORWARDED_PROTO)
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


def forwarded_lines(record: Record, manager: HttpManager) -> tuple[tuple[bytes, ...], bytes]:
    """x-forwarded-for and -proto: names to leave out, and the lines to append."""
    head = record.head
    if not manager.use_remote_address:
        if head.get(_FORWARDED_PROTO) is not None:
            return (), b""
        return (), b"x-forwarded-proto: %b\r\n" % record.scheme
    client = record.connection.remote.rpartition(":")[0].strip("[]").encode()
    chain = head.get(_FORWARDED_FOR)
    line = b"x-forwarded-for: %b\r\n" % (client if chain is None else chain + b"," + client)
    if manager.xff_trusted_hops and head.get(_FORWARDED_PROTO) is not None:
        return (_FORWARDED_FOR,), line
    return _EDGE_REMOVALS, line + b"x-forwarded-proto: %b\r\n" % record.scheme


def scheme_of(head: Head, is_tls: bool, is_edge: bool) -> bytes:
    """b"http" or b"https": the edge knows by its own TLS, everybody else by what the edge said."""
    if is_tls:
        return b"https"
    if is_edge:
        return b"http"
    return b"https" if head.get(_FORWARDED_PROTO) == b"https" else b"http"
