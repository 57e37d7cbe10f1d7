"""ClientHello as real clients send it, fragmented at will, and broken."""

import ssl

import pytest

from mesh.codec.client_hello import ClientHello, parse_client_hello
from mesh.codec.events import ProtocolError


def _real(server_name: str | None, protocols: list[str]) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=server_name).do_handshake()
    return outgoing.read()


def _records(message: bytes, size: int) -> bytes:
    parts = [message[i : i + size] for i in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part for part in parts)


def _hello(extensions: bytes | None) -> bytes:
    body = b"\x03\x03" + b"r" * 32 + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    if extensions is not None:
        body += len(extensions).to_bytes(2, "big") + extensions
    return b"\x01" + len(body).to_bytes(3, "big") + body


@pytest.mark.parametrize(
    ("server_name", "protocols"),
    [("Reviews.default.svc", ["istio", "h2"]), ("a.example", []), (None, ["h2", "http/1.1"]), (None, [])],
)
def test_a_real_hello(server_name: str | None, protocols: list[str]) -> None:
    expected = ClientHello((server_name or "").lower(), tuple(protocols))
    data = _real(server_name, protocols)
    assert parse_client_hello(data) == expected
    assert [parse_client_hello(data[:size]) for size in range(len(data))] == [None] * len(data)
    for size in (1, 3, 100):
        assert parse_client_hello(_records(data[5:], size)) == expected
    assert parse_client_hello(data + b"what follows") == expected


def test_no_extensions() -> None:
    assert parse_client_hello(_records(_hello(None), 1000)) == ClientHello("", ())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GET / HTTP/1.1\r\n", "byte 0"),
        (b"\x16\x02", "byte 0"),
        (b"\x16\x03\x01\x00\x00", "of 0 bytes"),
        (b"\x16\x03\x01\x40\x01", "of 16385 bytes"),
        (_records(b"\x02\x00\x00\x00", 9), "type 2"),
        (_records(b"\x01\x01\x00\x01", 9), "more than 65536"),
        (_records(b"\x01\x00\x00\x02\x03\x03", 9), "version and random cut short"),
        (_records(_hello(b"\x00"), 1000), "extension type cut short"),
        (_records(_hello(b"\x00\x10\x00\x03\x00\x01\x00"), 1000), "empty protocol"),
        (_records(_hello(b"\x00\x10\x00\x04\x00\x09\x01a"), 1000), "protocol list cut short"),
        (_records(_hello(b"\x00\x17\x00\x00" * 2), 1000), "extension 23 twice"),
        (_records(_hello(b"\x00\x00\x00\x07\x00\x05\x00\x00\x02\xffa"), 1000), "host name"),
        (_records(_hello(b"\x00\x00\x00\x05\x00\x03\x00\x00\x00"), 1000), "host name"),
        (
            _records(b"\x01\x00\x00" + bytes((len(_hello(b"")) - 3,)) + _hello(b"")[4:] + b"x", 1000),
            "after the extensions",
        ),
    ],
)
def test_refused(data: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message) as caught:
        parse_client_hello(data)
    assert caught.value.status == 400


def test_second_record_of_another_kind() -> None:
    data = _records(_hello(None), 20)
    with pytest.raises(ProtocolError, match="byte 25"):
        parse_client_hello(data[:25] + b"\x17" + data[26:])
