# cython: language_level=3
"""Record: what is known about one exchange, filled as it proceeds and read by metrics, spans, logs and operators.

One mutable object per exchange, owned by whoever serves it. Compiled, its fields are a C structure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import cython

from mesh.model.failure import Failure, Flag
from mesh.proxy.head import Answer, Head

if TYPE_CHECKING:
    from mesh.model.cluster import Cluster
    from mesh.proxy.balance.host import Host
    from mesh.proxy.compiled_route import CompiledRoute, Share
    from mesh.proxy.observe.peer import Peer
    from mesh.proxy.observe.trace import TraceContext
    from mesh.proxy.tls import Security


class CertificateRule(Enum):
    """What becomes of a request's x-forwarded-client-cert. adds: the connection's own element goes into it."""

    REMOVE = "remove"
    KEEP = "keep"
    APPEND = "append"
    REPLACE = "replace"

    @property
    def adds(self) -> bool:
        return self in (CertificateRule.APPEND, CertificateRule.REPLACE)


@dataclass(slots=True)
class Connection:
    """The downstream connection an exchange came on. Addresses as `host:port` (`[v6]:port`).

    remote: who the proxy believes it is talking to; direct_remote: the TCP peer (they differ behind the
    PROXY protocol). local: the address that was dialled. peer_principal: the peer's SPIFFE id, "" without mTLS.
    client_certificate: the client's certificate as x-forwarded-client-cert tells it, b"" when that does not; certificate_rule:
    whether it does.
    """

    remote: str = ""
    local: str = ""
    direct_remote: str = ""
    server_name: str = ""
    tls_version: str = ""
    peer_principal: str = ""
    local_principal: str = ""
    is_mutual_tls: bool = False
    client_certificate: bytes = b""
    certificate_rule: CertificateRule = CertificateRule.REMOVE
    _ip: bytes = b""

    @property
    def ip(self) -> bytes:
        """`remote` without its port."""
        if not self._ip:
            self._ip = self.remote.rpartition(":")[0].strip("[]").encode()
        return self._ip


class Record:
    """One HTTP exchange.

    Times are seconds on the proxy's monotonic clock. `authority`, `path` and `method` are those of the client;
    `head` is the request's head as decoded, before any rewrite.
    status: what the client was told; 0 when it went away before any answer.
    bytes_received, bytes_sent: body bytes from and to the downstream.
    """

    head: Head
    connection: Connection
    started_at: float

    scheme: bytes
    protocol: str
    is_grpc: bool
    request_id: bytes
    trace: TraceContext | None
    peer: Peer | None
    """Inbound: the client as its metadata headers told; outbound: None (the host's workload says it)."""

    route: CompiledRoute | None
    share: Share | None
    cluster: Cluster | None
    host: Host | None
    upstream_local: str
    upstream_path: bytes
    upstream_security: Security | None
    """Who the host has proved to be; None: plaintext, or not connected (yet)."""
    attempts: int

    status: int
    flags: tuple[Flag, ...]
    details: str
    termination_details: str
    transport_failure: str
    response: Answer | None
    trailers: Answer | None
    grpc_status: int
    """-1: not gRPC or not known."""

    bytes_received: int
    bytes_sent: int
    request_messages: int
    response_messages: int
    request_done_at: float
    upstream_started_at: float
    response_started_at: float
    finished_at: float

    def __init__(self, head: Head, connection: Connection, started_at: cython.double) -> None:
        self.head = head
        self.connection = connection
        self.started_at = started_at
        self.scheme = b"http"
        self.protocol = "HTTP/1.1"
        self.is_grpc = False
        self.upstream_security = None
        self.request_id = self.upstream_path = b""
        self.trace = self.peer = self.route = self.share = self.cluster = self.host = None
        self.response = self.trailers = None
        self.upstream_local = self.details = self.termination_details = self.transport_failure = ""
        self.attempts = self.status = self.bytes_received = self.bytes_sent = 0
        self.request_messages = self.response_messages = 0
        self.flags = ()
        self.grpc_status = -1
        self.request_done_at = self.upstream_started_at = self.response_started_at = self.finished_at = 0.0

    def service_milliseconds(self) -> int:
        """How long the upstream took from the whole request to its response's head; -1 when there was no response."""
        if not self.response_started_at or not self.upstream_started_at:
            return -1
        return int((self.response_started_at - max(self.upstream_started_at, self.request_done_at)) * 1000.0)

    def fail(self, failure: Failure) -> None:
        """Note why there is no upstream answer: its flag, its details and the status the client gets."""
        self.flags = (*self.flags, failure.flag)
        self.details = failure.details
        self.status = failure.status

    def flag(self, flag: Flag) -> None:
        """Add a response flag (for example DI for an injected delay)."""
        self.flags = (*self.flags, flag)


class _NoHead:
    """The head of what is not HTTP: nothing in it."""

    __slots__ = ()
    method = target = path = query = authority = b""
    minor = 1

    def get(self, name: bytes, /) -> bytes | None:
        return None

    def get_all(self, name: bytes, /) -> list[bytes]:
        return []


NO_HEAD: Head = _NoHead()


class TcpRecord(Record):
    """One opaque connection; a Record, so that one access-log format serves both. HTTP's fields stay empty.

    The relay adds to `bytes_received` (from downstream) and `bytes_sent` (to it) as it goes: they are read while the
    connection lives, so that a long transfer shows in the metrics before its end. `reported_…` belong to the observer.
    """

    reported_received: int
    reported_sent: int

    def __init__(self, connection: Connection, started_at: float) -> None:
        Record.__init__(self, NO_HEAD, connection, started_at)
        self.protocol = ""
        self.reported_received = self.reported_sent = 0
