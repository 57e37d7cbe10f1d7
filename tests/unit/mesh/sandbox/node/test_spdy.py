"""SPDY/3.1 frames."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.sandbox.node.spdy import (
    DICTIONARY,
    MAX_FRAME_BYTES,
    Codec,
    Data,
    GoAway,
    Ping,
    Reset,
    SpdyError,
    SynReply,
    SynStream,
)


def test_the_dictionary_is_the_drafts() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


def conversation() -> tuple[bytes, list[object]]:
    peer = Codec()
    data = (
        peer.syn_stream(1, {"streamtype": "error"})
        + peer.syn_stream(3, {"StreamType": "data", "port": "80"}, fin=True)
        + peer.syn_reply(1, {})
        + peer.data(1, b"hello")
        + peer.data(1, b"", fin=True)
        + peer.ping(1)
        + peer.reset(3, 5)
        + peer.goaway(3)
    )
    events = [
        SynStream(1, {"streamtype": "error"}, False),
        SynStream(3, {"streamtype": "data", "port": "80"}, True),
        SynReply(1, {}, False),
        Data(1, b"hello", False),
        Data(1, b"", True),
        Ping(1),
        Reset(3, 5),
        GoAway(3),
    ]
    return data, events


@given(st.lists(st.integers(1, 40), max_size=20))
def test_events_do_not_depend_on_how_bytes_arrive(cuts: list[int]) -> None:
    data, events = conversation()
    codec, seen = Codec(), []
    for size in cuts:
        seen += codec.receive(data[:size])
        data = data[size:]
    assert seen + list(codec.receive(data)) == events


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (struct.pack("!II", 0x80020001, 0), "version 2"),
        (struct.pack("!II", 0x80030063, 0), "unknown control frame type 99"),
        (struct.pack("!II", 1, MAX_FRAME_BYTES + 1), "more than"),
        (struct.pack("!II", 0x80030006, 2) + b"xx", "control frame type 6 of 2 bytes"),
        (struct.pack("!II", 0x80030001, 12) + b"\0" * 12, "header block"),
    ],
)
def test_a_broken_frame_is_named(data: bytes, message: str) -> None:
    with pytest.raises(SpdyError, match=message):
        list(Codec().receive(data))


@given(st.binary(max_size=64))
def test_no_bytes_do_more_than_end_the_connection(data: bytes) -> None:
    try:
        list(Codec().receive(data))
    except SpdyError:
        pass
