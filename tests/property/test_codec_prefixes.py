"""Sniffing, ClientHello and PROXY headers: verdicts do not change with more bytes, and any bytes are answered."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.codec.client_hello import parse_client_hello
from mesh.codec.events import ProtocolError
from mesh.codec.proxy_protocol import SIGNATURE_V2, decode_proxy_header, encode_v1, encode_v2
from mesh.codec.sniff import PREFACE, Verdict, sniff
from tests.support.codec_strategies import noise

PROFILE = settings(max_examples=300, deadline=None)
STARTS = st.sampled_from(
    [
        b"",
        b"\x16\x03\x01",
        b"PRI * ",
        PREFACE,
        b"PROXY TCP4 ",
        SIGNATURE_V2,
        b"GET /",
        b"\r\n",
        b"\x16\x03\x01\x00\x30\x01\x00\x00\x2c",
    ]
)
BYTES = st.builds(lambda start, rest: start + rest, STARTS, st.one_of(noise(), st.binary(max_size=80)))


@PROFILE
@given(data=BYTES)
def test_a_verdict_stays(data: bytes) -> None:
    verdicts = [sniff(data[:size]) for size in range(len(data) + 1)]
    decided = [verdict for verdict in verdicts if verdict is not Verdict.NEED_DATA]
    assert len(set(decided)) <= 1
    assert verdicts == [Verdict.NEED_DATA] * (len(verdicts) - len(decided)) + decided


@PROFILE
@given(data=BYTES)
def test_readers_of_prefixes_are_total_and_stable(data: bytes) -> None:
    for read in (parse_client_hello, decode_proxy_header):
        answers = [_answer(read, data[:size]) for size in range(len(data) + 1)]
        decided = [answer for answer in answers if answer is not None]
        assert answers[: len(answers) - len(decided)] == [None] * (len(answers) - len(decided))
        assert all(type(answer) is type(decided[0]) for answer in decided)


def _answer(read: object, data: bytes) -> object:
    try:
        return read(data)  # type: ignore[operator]
    except ProtocolError as error:
        return error


@PROFILE
@given(
    addresses=st.one_of(
        st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)), st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6))
    ),
    ports=st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
    tlvs=st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=30)), max_size=4).map(tuple),
)
def test_proxy_headers_round_trip(
    addresses: tuple[object, object], ports: tuple[int, int], tlvs: tuple[tuple[int, bytes], ...]
) -> None:
    source, destination = ((str(address), port) for address, port in zip(addresses, ports, strict=True))
    for data, carried in ((encode_v1(source, destination), ()), (encode_v2(source, destination, tlvs), tlvs)):
        decoded = decode_proxy_header(data + b"rest")
        assert decoded is not None
        header, size = decoded
        assert size == len(data)
        assert header.tlvs == carried
        for said, meant in ((header.source, source), (header.destination, destination)):
            assert said is not None and said[1] == meant[1]
            assert _same_address(said[0], meant[0])


def _same_address(said: str, meant: str) -> bool:
    import ipaddress

    return ipaddress.ip_address(said) == ipaddress.ip_address(meant)
