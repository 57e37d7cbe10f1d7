"""PROXY headers of both versions, whole, cut and broken."""

import struct

import pytest

from mesh.codec.events import ProtocolError
from mesh.codec.proxy_protocol import SIGNATURE_V2, ProxyHeader, decode_proxy_header, encode_v1, encode_v2

V4 = (("198.18.0.1", 4000), ("198.18.0.2", 80))
V6 = (("2001:db8::1", 4000), ("2001:db8::2", 80))


@pytest.mark.parametrize(
    ("data", "header"),
    [
        (b"PROXY TCP4 198.18.0.1 198.18.0.2 4000 80\r\n", ProxyHeader(*V4)),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 4000 80\r\n", ProxyHeader(*V6)),
        (b"PROXY UNKNOWN\r\n", ProxyHeader(None, None)),
        (b"PROXY UNKNOWN ffff::1 x 1 2\r\n", ProxyHeader(None, None)),
        (encode_v2(*V4), ProxyHeader(*V4)),
        (encode_v2(*V6, ((2, b"a.example"), (0xEA, b""))), ProxyHeader(*V6, ((2, b"a.example"), (0xEA, b"")))),
        (encode_v2(None, None), ProxyHeader(None, None)),
        (SIGNATURE_V2 + b"\x20\x11\x00\x02xx", ProxyHeader(None, None)),
    ],
)
def test_decode(data: bytes, header: ProxyHeader) -> None:
    assert [decode_proxy_header(data[:size]) for size in range(len(data))] == [None] * len(data)
    assert decode_proxy_header(data) == (header, len(data))
    assert decode_proxy_header(data + b"GET /") == (header, len(data))


def test_encode_v1() -> None:
    assert encode_v1(*V4) == b"PROXY TCP4 198.18.0.1 198.18.0.2 4000 80\r\n"
    assert encode_v1(*V6) == b"PROXY TCP6 2001:db8::1 2001:db8::2 4000 80\r\n"


def test_encode_v2_is_the_published_layout() -> None:
    expected = (
        SIGNATURE_V2 + b"\x21\x11\x00\x0c" + b"\xc6\x12\x00\x01" + b"\xc6\x12\x00\x02" + struct.pack("!HH", 4000, 80)
    )
    assert encode_v2(*V4) == expected


def test_encode_refuses_mixed_families_and_overlong_tlvs() -> None:
    with pytest.raises(ValueError, match="different families"):
        encode_v1(V4[0], V6[1])
    with pytest.raises(ValueError, match="different families"):
        encode_v2(V4[0], V6[1])
    with pytest.raises(ValueError, match="more than 4096"):
        encode_v2(*V4, ((1, b"x" * 4096),))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GET / HTTP/1.1\r\n", "byte 0"),
        (b"PROXY TCP4 198.18.0.1 198.18.0.2 4000\r\n", "bad version 1 line"),
        (b"PROXY TCP4  198.18.0.1 198.18.0.2 1 2\r\n", "bad version 1 line"),
        (b"PROXY UDP4 198.18.0.1 198.18.0.2 1 2\r\n", "bad version 1 line"),
        (b"PROXY TCP4 198.18.0.1 2001:db8::2 1 2\r\n", "another family"),
        (b"PROXY TCP4 198.18.0.1 198.18.0.256 1 2\r\n", "bad address"),
        (b"PROXY TCP4 198.18.0.1 198.18.0.2 65536 2\r\n", "bad port"),
        (b"PROXY TCP4 198.18.0.1 198.18.0.2 01 2\r\n", "bad port"),
        (b"PROXY TCP4 198.18.0.1 198.18.0.2 -1 2\r\n", "bad port"),
        (b"PROXY TCP4 198.18.0.1 198.18.0.2 1 2\n", "no CRLF"),
        (b"PROXY " + b"x" * 101, "no CRLF"),
        (SIGNATURE_V2 + b"\x31\x11\x00\x0c" + b"x" * 12, "byte 12"),
        (SIGNATURE_V2 + b"\x22\x11\x00\x0c" + b"x" * 12, "byte 12"),
        (SIGNATURE_V2 + b"\x21\x12\x00\x0c" + b"x" * 12, "byte 13"),
        (SIGNATURE_V2 + b"\x21\x31\x00\x0c" + b"x" * 12, "byte 13"),
        (SIGNATURE_V2 + b"\x21\x11\x00\x0b" + b"x" * 11, "addresses cut short"),
        (SIGNATURE_V2 + b"\x21\x11\x00\x0e" + b"x" * 14, "TLV cut short"),
        (SIGNATURE_V2 + b"\x21\x11\x00\x0f" + b"x" * 12 + b"\x01\x00\x01", "TLV 0x01 cut short"),
        (SIGNATURE_V2 + b"\x21\x11\xff\xff", "more than 4096"),
    ],
)
def test_refused(data: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message) as caught:
        decode_proxy_header(data)
    assert caught.value.status == 400
