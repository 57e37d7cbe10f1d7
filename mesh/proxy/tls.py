"""TLS: a channel that encrypts, with the interface of the plain one, so that whoever forwards bytes does not know.

An `ssl.SSLObject` between two memory BIOs on the shared poller: twice as fast as `trio.SSLStream`, and nothing waits
inside OpenSSL. What the plain channel gets from the kernel is kept exactly:

* `try_recv` says None only when OpenSSL wants more *and* the socket is empty. A record boundary at the end of a read
  proves nothing, and what OpenSSL has already decrypted never shows as an edge.
* `try_send` says that bytes were taken only when their ciphertext was: otherwise it holds back the last byte, which
  makes the caller wait for room and come again. So a connection owns at most one chunk that the kernel has not.
* Session tickets and key updates make a socket readable and yield nothing: they are read, and mean nothing.
* The end of the stream is close_notify. A FIN without one may be an attacker's: `TlsTruncated`.
"""

from __future__ import annotations

import errno
import ssl
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final

from mesh.codec.sock import try_recv, try_send
from mesh.proxy.poller import READ, WRITE, Channel

_RECORD: Final = 16_384
_SMALL_RAW: Final = _RECORD + 512
"""One record with its overhead (RFC 8446 5.2: at most 256 octets and a header)."""
_CHUNK: Final = 65_536
"""Plaintext encrypted at once, and so what the kernel's refusal can leave with us."""


NO_TLS: Final = "WRONG_VERSION_NUMBER"
"""OpenSSL's reason when what should be a handshake record is none."""


class TlsError(OSError):
    """Handshake or record layer. strerror: Envoy's shape, `TLS_error:|REASON:detail:TLS_error_end`."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EPROTO, f"TLS_error:|{reason}:TLS_error_end")


class TlsRefused(TlsError):
    """The server will not have us. In TLS 1.3 that comes after our side of the handshake is over, and before anything was read."""


_REFUSALS: Final = frozenset(
    (
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "TLSV1_ALERT_ACCESS_DENIED",
        "TLSV1_ALERT_DECRYPT_ERROR",
        "TLSV1_ALERT_UNKNOWN_CA",
    )
)
"""Alerts that end a handshake, and only that (RFC 8446 6.2), as OpenSSL calls them."""


class TlsTruncated(TlsError):
    """The peer's bytes ended without close_notify: more may have been meant (RFC 8446 6.1)."""

    def __init__(self) -> None:
        super().__init__("UNEXPECTED_EOF:closed without close_notify")


def reason_of(error: ssl.SSLError) -> str:
    """What OpenSSL says, without its source lines."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"CERTIFICATE_VERIFY_FAILED:{error.verify_message}"
    return error.reason or str(error)


@dataclass(frozen=True, slots=True, eq=False)
class Security:
    """What a handshake proved. SPIFFE ids, "" where there is none. Compared by identity: part of the key of every request's series."""

    peer_principal: str
    local_principal: str
    version: str

    @property
    def is_mutual(self) -> bool:
        """Both sides know who the other is."""
        return bool(self.peer_principal and self.local_principal)


@lru_cache(maxsize=1024)
def security_of(peer_principal: str, local_principal: str, version: str) -> Security:
    """The same object for the same facts: a mesh has few workloads, and many connections."""
    return Security(peer_principal, local_principal, version)


def security_at(channel: Channel) -> Security | None:
    """Who is at the other end, once verified; None: plaintext."""
    return channel.security if isinstance(channel, TlsChannel) else None


class TlsChannel(Channel):
    """Takes the plain channel over: that one is not to be used, nor closed, any more.

    tls: for what was negotiated (`version`, `getpeercert`, `selected_alpn_protocol`). security: set once the peer is verified.
    """

    __slots__ = (
        "_error",
        "_has_more",
        "_has_read",
        "_incoming",
        "_outgoing",
        "_owed",
        "_plain",
        "_sent",
        "_unsent",
        "is_established",
        "security",
        "tls",
    )

    can_splice: ClassVar[bool] = False

    def __init__(self, plain: Channel, context: ssl.SSLContext, *, server_side: bool, server_name: str = "") -> None:
        """Raises: ValueError: server_name is not one (too long, empty label)."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_name or None
        )
        super().__init__(plain._poller, plain.socket, plain.parker, plain.is_readable)
        self.hung_up = plain.hung_up
        self.is_established = False
        self.security: Security | None = None
        self._plain = b""
        self._has_more = False
        self._error: TlsError | None = None
        self._has_read = False
        self._unsent = b""
        self._sent = 0
        self._owed = 0
        plain.hand_over(self)

    async def handshake(self, first: bytes = b"") -> None:
        """Until both sides are sure. Args: first: the peer's bytes so far. Raises: TlsError; OSError: gone."""
        if first:
            self._incoming.write(first)
        while interest := self.try_handshake():
            await self.wait(interest)

    def try_handshake(self) -> int:
        """As far as it goes. Returns: what it waits for (READ or WRITE), 0: both sides are sure. Raises as `handshake`."""
        while True:
            if not self._flush():
                return WRITE
            if self.is_established:
                return 0
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                if not self._flush():
                    return WRITE
                raw = try_recv(self.fd, _SMALL_RAW) if self.is_readable else None
                if raw is None:
                    self.is_readable = self.hung_up
                    return READ
                if not raw:
                    raise TlsError("UNEXPECTED_EOF:closed during the handshake") from None
                self._incoming.write(raw)
            except ssl.SSLError as exc:
                self._flush_alert()
                raise TlsError(reason_of(exc)) from exc
            else:
                # The peer's first bytes may have come together with its last handshake message.
                self.is_established = self._has_more = self.is_readable = True

    def peek(self) -> bool:
        """There is something to receive, if only the end: what was decrypted for that is kept."""
        try:
            data = self.try_recv(_RECORD)
        except OSError:
            self.is_readable = True
            return True  # whoever receives meets it again
        if data is None:
            return False
        self._plain = data + self._plain
        self.is_readable = True
        return True

    def try_recv(self, size: int) -> bytes | None:
        """Raises: TlsTruncated; TlsError; OSError: as the plain channel."""
        if not self.is_readable:
            return None
        if self._plain:
            kept, self._plain = self._plain[:size], self._plain[size:]
            return kept
        is_drained = False
        while True:
            if self._has_more:
                data = self._read(size)
                if data is not None:
                    if is_drained and not self._has_more:
                        self.is_readable = self.hung_up
                    return data
                self._has_more = False
                if is_drained and not self.hung_up:
                    self.is_readable = False
                    return None
            want = _SMALL_RAW if size <= _RECORD else size
            raw = try_recv(self.fd, want)
            if raw is None:
                self.is_readable = self.hung_up
                return None
            if not raw:
                raise TlsTruncated
            self._incoming.write(raw)
            self._has_more = True
            is_drained = len(raw) < want

    def try_send(self, data: bytes, offset: int = 0) -> int:
        """After -1, or less than all, the next call must go on with the very next byte of `data`."""
        if self._unsent and not self._flush():
            return -1
        end = len(data)
        done = offset + self._owed
        self._owed = 0
        view = memoryview(data)
        while done < end:
            try:
                done += self.tls.write(view[done : done + _CHUNK])
            except ssl.SSLError as exc:
                raise TlsError(reason_of(exc)) from exc
            if not self._flush():
                self._owed = 1
                done -= 1
                break
        taken = done - offset
        return taken if taken or end == offset else -1

    async def send_all(self, data: bytes) -> None:
        done = 0
        while done < len(data):
            sent = self.try_send(data, done)
            if sent < 0:
                await self.wait(WRITE)
            else:
                done += sent

    def is_quiet(self) -> bool:
        """Tickets and key updates are read on the way: they are not bytes nobody asked for."""
        self.is_readable = True
        try:
            return self.try_recv(1) is None
        except OSError:
            return False

    def shutdown_send(self) -> None:
        """close_notify, then FIN. What the peer still sends can be read."""
        self._say_goodbye()
        super().shutdown_send()

    def close(self) -> None:
        if self.fd >= 0:
            self._say_goodbye()
        super().close()

    def abort(self) -> None:
        self.is_established = False  # no close_notify: what was sent is not all
        super().abort()

    def _read(self, size: int) -> bytes | None:
        # Records that are there, up to `size` bytes; None: OpenSSL wants more. Keeps `_has_more`.
        if self._error is not None:
            raise self._error
        parts: list[bytes] = []
        taken = 0
        while True:
            try:
                data = self.tls.read(min(size - taken, _RECORD))
            except ssl.SSLWantReadError:
                self._has_more = False
                break
            except ssl.SSLZeroReturnError:
                data = b""  # how close_notify shows once we have sent ours
            except ssl.SSLError as exc:
                self._flush_alert()
                # OpenSSL says it once, and afterwards that the stream has ended.
                reason = reason_of(exc)
                self._error = TlsRefused(reason) if reason in _REFUSALS and not self._has_read else TlsError(reason)
                self._has_more = True
                if parts:
                    break  # first what came before it
                raise self._error from exc
            if not data:
                # close_notify; OpenSSL goes on saying so.
                self.hung_up = self._has_more = True
                break
            self._has_read = True
            parts.append(data)
            taken += len(data)
            self._has_more = bool(self._incoming.pending or self.tls.pending())
            if taken >= size or not self._has_more:
                break
        if self._outgoing.pending:
            self._flush()  # the answer to a key update
        if parts:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        return b"" if self._has_more else None

    def _flush(self) -> bool:
        # Ciphertext to the kernel. Returns: all of it went.
        if self._outgoing.pending:
            self._unsent = self._unsent[self._sent :] + self._outgoing.read()
            self._sent = 0
        while self._sent < len(self._unsent):
            sent = try_send(self.fd, self._unsent, self._sent)
            if sent < 0:
                return False
            self._sent += sent
        self._unsent = b""
        self._sent = 0
        return True

    def _flush_alert(self) -> None:
        try:
            self._flush()
        except OSError:
            pass  # the peer is gone: nobody is left to be told what was wrong

    def _say_goodbye(self) -> None:
        # Best effort: a close_notify that finds no room is lost, and the peer sees a truncated stream, not a wrong one.
        if not self.is_established:
            return
        self.is_established = False
        # SSL_shutdown looks for the peer's close_notify and throws application data away that it finds instead.
        while self.tls.pending():
            self._plain += self.tls.read(_RECORD)
        unread = self._incoming.read()
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass  # WANT_READ: ours is out, the peer's has not come
        self._incoming.write(unread)
        self._has_more = self.is_readable = True
        self._flush_alert()
