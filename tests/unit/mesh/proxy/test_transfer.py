import pytest

from mesh.codec.events import ProtocolError
from mesh.codec.h1 import RequestParser
from mesh.proxy.failures import DownstreamGone, UpstreamFailed
from mesh.proxy.transfer import MAX_REPLAY, NO_UPLOAD, Download, Framing, Upload, Wants
from mesh.proxy.upstream_h1 import UpstreamConnection


class FakeChannel:
    """A socket of scripted bytes: what is received, and how much may be sent."""

    class socket:
        @staticmethod
        def getsockname() -> tuple[str, int]:
            return "10.0.0.1", 4711

    def __init__(self, *incoming: bytes, room: int = 1 << 30) -> None:
        self.incoming = list(incoming)
        self.sent = b""
        self.room = room

    def try_recv(self, size: int) -> bytes | None:
        return self.incoming.pop(0) if self.incoming else None

    def try_send(self, data: bytes, offset: int = 0) -> int:
        taken = min(self.room, len(data) - offset)
        if taken <= 0:
            return -1
        self.room -= taken
        self.sent += data[offset : offset + taken]
        return taken


def upload(head: bytes, *incoming: bytes) -> Upload:
    parser = RequestParser()
    parser.feed(head)
    assert parser.head() is not None
    return Upload(FakeChannel(*incoming), parser)  # type: ignore[arg-type]


def response(head: bytes, *incoming: bytes) -> UpstreamConnection:
    connection = UpstreamConnection(FakeChannel(*incoming), 0.0)  # type: ignore[arg-type]
    connection.parser.feed(head)
    assert connection.parser.head(b"GET") is not None
    return connection


def test_a_body_goes_up_as_it_comes() -> None:
    body = upload(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nab", b"cdef")
    up = FakeChannel()
    assert body.step(up) is Wants.DONE  # type: ignore[arg-type]
    assert up.sent == b"abcdef" and body.is_done and body.is_read and body.received == 6
    assert body.copy() == b"abcdef"


def test_nothing_is_read_while_the_upstream_is_full() -> None:
    body = upload(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc", b"def")
    up = FakeChannel(room=2)
    assert body.step(up) is Wants.UPSTREAM  # type: ignore[arg-type]
    assert up.sent == b"ab" and body._down.incoming == [b"def"]  # type: ignore[attr-defined]
    up.room = 100
    assert body.step(up) is Wants.DONE and up.sent == b"abcdef"  # type: ignore[arg-type]


def test_a_second_attempt_gets_everything_again() -> None:
    body = upload(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
    first, second = FakeChannel(), FakeChannel()
    assert body.step(first) is Wants.DOWNSTREAM  # type: ignore[arg-type]
    body.restart()
    body._down.incoming.append(b"0\r\n\r\n")  # type: ignore[attr-defined]
    assert body.step(second) is Wants.DONE  # type: ignore[arg-type]
    assert first.sent == b"2\r\nab\r\n" and second.sent == b"2\r\nab\r\n0\r\n\r\n"


def test_what_is_too_large_to_keep_cannot_be_repeated() -> None:
    size = MAX_REPLAY + 1
    body = upload(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size, bytes(size))
    assert body.can_replay
    assert body.step(FakeChannel()) is Wants.DONE  # type: ignore[arg-type]
    assert not body.can_replay and body.copy() is None


def test_a_client_that_leaves_inside_its_body_is_gone() -> None:
    with pytest.raises(DownstreamGone):
        upload(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n", b"").step(FakeChannel())  # type: ignore[arg-type]


def test_bad_framing_of_the_client_is_its_error() -> None:
    with pytest.raises(ProtocolError):
        upload(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n").step(FakeChannel())  # type: ignore[arg-type]


def test_a_request_without_body_is_complete_from_the_start() -> None:
    NO_UPLOAD.restart()
    assert NO_UPLOAD.is_done and NO_UPLOAD.is_read and NO_UPLOAD.can_replay and NO_UPLOAD.copy() == b""


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("framing", "head", "wire", "sent"),
    [
        (Framing.RAW, CHUNKED, b"2\r\nab\r\n0\r\n\r\n", b"2\r\nab\r\n0\r\n\r\n"),
        (Framing.DATA, CHUNKED, b"2\r\nab\r\n0\r\n\r\n", b"ab"),
        (Framing.CHUNKS, b"HTTP/1.1 200 OK\r\n\r\n", b"ab", b"2\r\nab\r\n0\r\n\r\n"),
    ],
)
def test_the_answer_is_framed_as_the_client_can_read_it(
    framing: Framing, head: bytes, wire: bytes, sent: bytes
) -> None:
    down = FakeChannel()
    download = Download(response(head, wire, b""), down, framing, b"HEAD")  # type: ignore[arg-type]
    assert download.step() is Wants.DONE
    assert down.sent == b"HEAD" + sent


def test_the_end_in_the_middle_is_the_upstreams_failure() -> None:
    download = Download(
        response(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"abc", b""),
        FakeChannel(),
        Framing.RAW,
        b"",  # type: ignore[arg-type]
    )
    with pytest.raises(UpstreamFailed, match="connection_termination"):
        download.step()
    assert download.sent == 3


def test_a_slow_client_stops_the_reading() -> None:
    down = FakeChannel(room=1)
    connection = response(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", b"abc", b"def")
    download = Download(connection, down, Framing.RAW, b"")  # type: ignore[arg-type]
    assert download.step() is Wants.DOWNSTREAM
    assert down.sent == b"a" and connection.channel.incoming == [b"def"]  # type: ignore[attr-defined]


def test_a_body_that_went_along_whole_can_be_sent_again() -> None:
    body = upload(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
    whole = body._parser.whole_body()
    assert whole == b"body"
    body.take_whole(whole, 5.0)
    assert (body.is_done, body.is_read, body.received, body.copy(), body.done_at) == (True, True, 4, b"body", 5.0)
    up = FakeChannel()
    body.restart()
    assert not body.is_done and body.step(up) is Wants.DONE  # type: ignore[arg-type]
    assert up.sent == b"body" and body.received == 4
