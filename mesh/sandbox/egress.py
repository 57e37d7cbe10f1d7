"""Egress: an HTTP CONNECT proxy on a Unix socket, from which a real API server on the host reaches what lives in the sandbox.

It speaks what kube-apiserver's EgressSelectorConfiguration calls `proxyProtocol: HTTPConnect` over `transport.uds`. Names are never
resolved: the API server asks for addresses (of kubelets, ClusterIPs, pods), and only those of the sandbox are dialled.

Source: RFC 9110 9.3.6 (CONNECT); RFC 9112 3.2.3 (authority-form).
"""

import ipaddress
import logging
import select
import socket

from mesh.sandbox.relay import Loop, Relay, parse_address, stream_socket

SANDBOX_NETWORK = ipaddress.ip_network("198.18.0.0/15")
_MAX_HEAD_BYTES = 8192
_log = logging.getLogger("egress")


class Refused(Exception):
    """The request is answered with `status` ("403 Forbidden") and the message."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


def target_of(head: bytes) -> tuple[str, int]:
    """Where a whole request head (up to and with its empty line) wants to go. Pure. Raises: Refused."""
    line = head.split(b"\r\n", 1)[0].decode("latin-1")
    parts = line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise Refused("400 Bad Request", f"not a request line: {line!r}")
    if parts[0] != "CONNECT":
        raise Refused("405 Method Not Allowed", f"only CONNECT is served here, not {parts[0]}")
    try:
        host, port = parse_address(parts[1])
    except ValueError as exc:
        raise Refused("400 Bad Request", f"{exc}; names are not resolved here") from exc
    if ipaddress.ip_address(host) not in SANDBOX_NETWORK or not 0 < port < 65536:
        raise Refused("403 Forbidden", f"{parts[1]} is not an address of the sandbox ({SANDBOX_NETWORK})")
    return host, port


def answer(status: str, message: str) -> bytes:
    """A whole response that refuses."""
    body = f"{message}\n".encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


class Egress:
    """The listening proxy."""

    def __init__(self, loop: Loop, listener: socket.socket) -> None:
        self._loop, self._listener = loop, listener
        listener.setblocking(False)
        loop.watch(listener.fileno(), select.EPOLLIN, self._accept)

    def _accept(self, _events: int) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError as exc:  # the client went away before, or descriptors are used up: the next event tries again
            _log.info("accept: %s", exc)
            return
        client.setblocking(False)
        _Request(self._loop, client)


class _Request:
    """One connection until its head is whole."""

    def __init__(self, loop: Loop, client: socket.socket) -> None:
        self._loop, self._client = loop, client
        self._head = b""
        loop.watch(client.fileno(), select.EPOLLIN, self._on_readable)

    def _on_readable(self, _events: int) -> None:
        try:
            data = self._client.recv(_MAX_HEAD_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if data and end < 0 and len(self._head) < _MAX_HEAD_BYTES:
            return
        self._loop.forget(self._client.fileno())
        if not data:
            self._client.close()
            return
        try:
            if end < 0:
                raise Refused("431 Request Header Fields Too Large", f"the head is longer than {_MAX_HEAD_BYTES} bytes")
            if len(self._head) > end + 4:
                raise Refused("400 Bad Request", "bytes before the tunnel was open")
            target = target_of(self._head)
        except Refused as exc:
            self._refuse(exc)
            return
        Relay(
            self._loop,
            self._client,
            stream_socket(target),
            target,
            opening=b"HTTP/1.1 200 Connection Established\r\n\r\n",
            refusal=lambda why: answer("502 Bad Gateway", f"{target[0]}:{target[1]}: {why}"),
        )

    def _refuse(self, refused: Refused) -> None:
        _log.info("%s: %s", refused.status, refused)
        try:
            self._client.sendall(answer(refused.status, str(refused)))
        except OSError:
            pass  # the client has gone: nobody is left to be told
        self._client.close()
