"""Hypothesis strategies for HTTP/1 messages: valid ones, damaged ones and noise."""

from collections.abc import Callable

from hypothesis import strategies as st

_TOKEN = st.text("abcXYZ019-_.!", min_size=1, max_size=8).map(str.encode)
_VALUE = st.text('ab ,;="\t\xe9', max_size=12).map(lambda text: text.strip(" \t").encode("latin-1"))
_PATH = st.text("ab/%2e?&=._-", max_size=12).map(lambda text: b"/" + text.encode())
_ORDINARY = st.tuples(_TOKEN.map(lambda name: b"x-" + name), _VALUE)
_CONNECTION = st.sampled_from(
    [
        (b"Connection", b"close"),
        (b"connection", b"Keep-Alive, x-named"),
        (b"Connection", b"upgrade"),
        (b"Upgrade", b"websocket"),
        (b"TE", b"trailers"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Proxy-Connection", b"keep-alive"),
        (b"X-Named", b"1"),
        (b"Expect", b"100-continue"),
    ]
)
_FIELDS = st.lists(st.one_of(_ORDINARY, _CONNECTION), max_size=6)
_BLANKS = st.sampled_from([b" ", b"", b"\t", b"  "])


@st.composite
def _lines(draw: st.DrawFn, fields: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(name + b":" + draw(_BLANKS) + value + draw(_BLANKS) + b"\r\n" for name, value in fields)


@st.composite
def _body(draw: st.DrawFn) -> tuple[list[tuple[bytes, bytes]], bytes]:
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    if kind == "none":
        return [], b""
    content = draw(st.binary(max_size=40))
    if kind == "length":
        repeated = draw(st.booleans())
        return [(b"Content-Length", b"%d" % len(content))] * (2 if repeated else 1), content
    chunks = draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4))
    extension = draw(st.sampled_from([b"", b";a", b' ; a="b c"']))
    raw = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks) + b"0\r\n"
    raw += draw(_lines(draw(st.lists(_ORDINARY, max_size=2)))) + b"\r\n"
    return [(b"Transfer-Encoding", draw(st.sampled_from([b"chunked", b"Chunked"])))], raw


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One valid request with its body."""
    method = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"OPTIONS", b"X-ODD"]))
    target = draw(st.one_of(_PATH, _PATH.map(lambda path: b"http://other:81" + path)))
    framing, body = draw(_body())
    fields = [(b"Host", draw(st.sampled_from([b"a", b"b.c:80", b"[::1]:8", b""]))), *draw(_FIELDS), *framing]
    return method + b" " + target + b" HTTP/1.1\r\n" + draw(_lines(draw(st.permutations(fields)))) + b"\r\n" + body


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """One valid response; read until close when it has a body and no framing."""
    status = draw(st.sampled_from([100, 200, 204, 304, 404, 503]))
    reason = draw(st.sampled_from([b" OK", b" ", b" Not \xe9 Found"]))
    framing, body = draw(_body())
    if status < 200 or status in (204, 304):
        body = b""
    return b"HTTP/1.1 %d%b\r\n%b\r\n%b" % (status, reason, draw(_lines([*draw(_FIELDS), *framing])), body)


def _damage(data: bytes, at: int, how: str, byte: int) -> bytes:
    at %= max(1, len(data))
    changes: dict[str, Callable[[], bytes]] = {
        "keep": lambda: data,
        "flip": lambda: data[:at] + bytes((byte,)) + data[at + 1 :],
        "insert": lambda: data[:at] + bytes((byte,)) + data[at:],
        "delete": lambda: data[:at] + data[at + 1 :],
        "cut": lambda: data[:at],
        "repeat": lambda: data[:at] + data[at // 2 :],
    }
    return changes[how]()


def messages(one: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """A few messages in a row, often damaged somewhere."""
    hows = st.sampled_from(["keep", "flip", "insert", "delete", "cut", "repeat"])
    odd = st.sampled_from(list(b"\x00\r\n \t:;,0f\x7f\xff"))
    return st.builds(_damage, st.lists(one, min_size=1, max_size=3).map(b"".join), st.integers(0, 500), hows, odd)


def noise() -> st.SearchStrategy[bytes]:
    """Bytes out of the pieces that parsers trip over."""
    pieces = [
        b"GET ",
        b"/",
        b" HTTP/1.1",
        b"HTTP/1.1 200 ",
        b"\r\n",
        b"\n",
        b"\r",
        b":",
        b" ",
        b"\t",
        b"Host: a\r\n",
        b"\x00",
        b"\xff",
    ]
    pieces += [
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n",
        b"fffffffffffffff\r\n",
        b";",
        b",",
    ]
    return st.lists(st.one_of(st.sampled_from(pieces), st.binary(max_size=3)), max_size=25).map(b"".join)
