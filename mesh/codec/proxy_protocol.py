"""PROXY protocol, versions 1 and 2: the addresses of a connection, sent ahead of it by the proxy before us.

Source: HAProxy, "The PROXY protocol", sections 2.1 (text), 2.2 (binary) and 2.2.x (TLVs).
"""

import ipaddress
import socket
import struct
from dataclasses import dataclass

from mesh.codec.events import ProtocolError

SIGNATURE_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
_PREFIX_V1 = b"PROXY "
_MAX_V1_BYTES = 107
MAX_V2_BYTES = 4096
"""Of a version 2 header with its TLVs. The protocol allows 64 KiB; nobody sends more than certificates' names."""

_FAMILIES_V2 = {1: (socket.AF_INET, 4), 2: (socket.AF_INET6, 16)}
_STREAM = 1


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """Who connected to whom.

    Attributes: source, destination: (address, port); None for LOCAL or UNKNOWN connections (health checks of the proxy
        itself): the socket's own addresses count. tlvs: (type, value) pairs of version 2.
    """

    source: tuple[str, int] | None
    destination: tuple[str, int] | None
    tlvs: tuple[tuple[int, bytes], ...] = ()


def decode_proxy_header(prefix: bytes) -> tuple[ProxyHeader, int] | None:
    """The header that all bytes received so far begin with, and its length; None: more bytes are needed.

    Raises: ProtocolError: 400; there is no such header, or it is malformed.
    """
    if SIGNATURE_V2.startswith(prefix[:12]):
        return _decode_v2(prefix) if len(prefix) >= 16 else None
    if _PREFIX_V1.startswith(prefix[:6]):
        return _decode_v1(prefix)
    raise _bad("byte 0: neither version 1 nor version 2")


def encode_v1(source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    """Text header. Raises: ValueError: an address is not one, or the two are of different families."""
    first, second = ipaddress.ip_address(source[0]), ipaddress.ip_address(destination[0])
    if first.version != second.version:
        raise ValueError(f"addresses of different families: {first} and {second}")
    return f"PROXY TCP{4 if first.version == 4 else 6} {first} {second} {source[1]} {destination[1]}\r\n".encode()


def encode_v2(
    source: tuple[str, int] | None, destination: tuple[str, int] | None, tlvs: tuple[tuple[int, bytes], ...] = ()
) -> bytes:
    """Binary header; LOCAL when there are no addresses. Raises: ValueError: as encode_v1, or too many TLV bytes."""
    body = b""
    command, family = 0x20, 0
    if source is not None and destination is not None:
        first, second = ipaddress.ip_address(source[0]), ipaddress.ip_address(destination[0])
        if first.version != second.version:
            raise ValueError(f"addresses of different families: {first} and {second}")
        command, family = 0x21, 0x11 if first.version == 4 else 0x21
        body = first.packed + second.packed + struct.pack("!HH", source[1], destination[1])
    body += b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in tlvs)
    if len(body) + 16 > MAX_V2_BYTES:
        raise ValueError(f"header of {len(body) + 16} bytes, more than {MAX_V2_BYTES}")
    return SIGNATURE_V2 + struct.pack("!BBH", command, family, len(body)) + body


def _decode_v1(prefix: bytes) -> tuple[ProxyHeader, int] | None:
    line, end, _ = prefix[:_MAX_V1_BYTES].partition(b"\r\n")
    if not end:
        if len(prefix) >= _MAX_V1_BYTES or b"\n" in line:
            raise _bad(f"no CRLF in the first {_MAX_V1_BYTES} bytes")
        return None
    words = line.split(b" ")
    if words[1:2] == [b"UNKNOWN"]:  # what follows it is to be ignored
        return ProxyHeader(None, None), len(line) + 2
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise _bad(f"bad version 1 line {line!r}")
    version = 4 if words[1] == b"TCP4" else 6
    try:
        addresses = [ipaddress.ip_address(word.decode("ascii")) for word in words[2:4]]
    except ValueError as error:
        raise _bad(f"bad address in {line!r}") from error
    if any(address.version != version for address in addresses):
        raise _bad(f"address of another family in {line!r}")
    source, destination = (str(address) for address in addresses)
    return ProxyHeader((source, _port(words[4])), (destination, _port(words[5]))), len(line) + 2


def _port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or (len(word) > 1 and word[:1] == b"0") or int(word) > 65535:
        raise _bad(f"bad port {word!r}")
    return int(word)


def _decode_v2(prefix: bytes) -> tuple[ProxyHeader, int] | None:
    command, family, length = struct.unpack_from("!BBH", prefix, 12)
    if command not in (0x20, 0x21):
        raise _bad(f"byte 12: version and command {command:#04x}")
    if 16 + length > MAX_V2_BYTES:
        raise _bad(f"header of {16 + length} bytes, more than {MAX_V2_BYTES}")
    if len(prefix) < 16 + length:
        return None
    body = prefix[16 : 16 + length]
    if command == 0x20 or family >> 4 == 0:  # LOCAL, or AF_UNSPEC: addresses are to be ignored
        return ProxyHeader(None, None), 16 + length
    if family >> 4 not in _FAMILIES_V2 or family & 15 != _STREAM:
        raise _bad(f"byte 13: address family and transport {family:#04x} are not TCP over IPv4 or IPv6")
    address_family, size = _FAMILIES_V2[family >> 4]
    if length < 2 * size + 4:
        raise _bad(f"addresses cut short: {length} bytes")
    source_port, destination_port = struct.unpack_from("!HH", body, 2 * size)
    source = socket.inet_ntop(address_family, body[:size]), source_port
    destination = socket.inet_ntop(address_family, body[size : 2 * size]), destination_port
    return ProxyHeader(source, destination, _tlvs(body[2 * size + 4 :])), 16 + length


def _tlvs(body: bytes) -> tuple[tuple[int, bytes], ...]:
    found: list[tuple[int, bytes]] = []
    while body:
        if len(body) < 3:
            raise _bad("TLV cut short")
        kind, length = struct.unpack_from("!BH", body)
        if len(body) < 3 + length:
            raise _bad(f"TLV {kind:#04x} cut short")
        found.append((kind, body[3 : 3 + length]))
        body = body[3 + length :]
    return tuple(found)


def _bad(message: str) -> ProtocolError:
    return ProtocolError(400, f"PROXY protocol: {message}")
