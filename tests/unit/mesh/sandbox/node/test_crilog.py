"""CRI's log format."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from mesh.sandbox.node.crilog import MAX_LINE_BYTES, Entry, Splitter, decode, now_stamp, parse_stamp, select

STAMP = b"2026-01-02T03:04:05.000000006Z"


def test_lines_wait_for_their_end() -> None:
    splitter = Splitter("stdout")
    assert splitter.feed(b"one\ntw", STAMP) == STAMP + b" stdout F one\n"
    assert splitter.feed(b"o\n", STAMP) == STAMP + b" stdout F two\n"
    assert splitter.feed(b"rest", STAMP) == b""
    assert splitter.finish(STAMP) == STAMP + b" stdout F rest\n"
    assert splitter.finish(STAMP) == b""


@given(st.lists(st.binary(max_size=MAX_LINE_BYTES + 100), max_size=4))
def test_what_goes_in_comes_out_however_it_is_cut(chunks: list[bytes]) -> None:
    splitter = Splitter("stderr")
    log = b"".join(splitter.feed(chunk, STAMP) for chunk in chunks) + splitter.finish(STAMP)
    text = b"".join(decode(line).text for line in log.split(b"\n")[:-1])
    whole = b"".join(chunks)
    assert text == (whole if whole.endswith(b"\n") or not whole or len(whole) - whole.rfind(b"\n") - 1 == 0 else whole + b"\n") or text == whole


def test_a_long_line_comes_in_parts() -> None:
    log = Splitter("stdout").feed(b"x" * (MAX_LINE_BYTES + 1) + b"\n", STAMP)
    assert [line.split(b" ")[2] for line in log.splitlines()] == [b"P", b"F"]


def test_tail_counts_whole_lines() -> None:
    lines = [b"2026-01-02T03:04:05.000000001Z stdout F a", b"2026-01-02T03:04:06.000000001Z stdout P b", b"2026-01-02T03:04:07.000000001Z stdout F c"]
    assert [entry.text for entry in select(lines, since=None, tail=1)] == [b"b", b"c\n"]
    assert select(lines, since=None, tail=0) == []
    since = datetime(2026, 1, 2, 3, 4, 7, tzinfo=UTC)
    assert select(lines, since=since, tail=None) == [Entry("2026-01-02T03:04:07.000000001Z", "stdout", b"c\n")]


def test_stamps_are_read_back() -> None:
    assert parse_stamp(now_stamp().decode()).tzinfo is UTC
