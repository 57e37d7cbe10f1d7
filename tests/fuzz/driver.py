"""Seeded mutation fuzzing of the compiled codec: bounded, reproducible, and every failure prints its input.

Run longer: `python -m tests.fuzz.driver SECONDS [SEED]`.
"""

import itertools
import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from mesh.codec.client_hello import parse_client_hello
from mesh.codec.events import ProtocolError
from mesh.codec.proxy_protocol import decode_proxy_header, encode_v2
from mesh.codec.sniff import sniff
from tests.support.codec import load, request_events, response_events

CORPUS = [
    b"GET /a?b HTTP/1.1\r\nHost: a\r\nUser-Agent: u\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close, x\r\nX: y\r\n\r\nhello",
    b"PUT http://h:1/p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;e=v\r\nhello\r\n0\r\nT: 1\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    b"HTTP/1.0 301 Moved\r\nLocation: /\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\nbody",
    b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    b"PROXY TCP4 198.18.0.1 198.18.0.2 4000 80\r\n",
    encode_v2(("2001:db8::1", 1), ("2001:db8::2", 2), ((1, b"h2"),)),
    b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03" + b"r" * 32 + b"\x00\x00\x02\x13\x01\x01\x00\x00\x00",
]
SPICE = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b":",
    b" ",
    b"\t",
    b",",
    b";",
    b"0",
    b"f" * 16,
    b"\xff",
    b"chunked",
    b"close",
    b"9" * 20,
]


def mutations(rng: random.Random) -> Iterator[bytes]:
    """Endless damaged messages."""
    while True:
        data = bytearray(rng.choice(CORPUS) + (rng.choice(CORPUS) if rng.random() < 0.4 else b""))
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(data) + 1)
            change = rng.randrange(5)
            if change == 0:
                data[at : at + 1] = bytes((rng.randrange(256),))
            elif change == 1:
                data[at:at] = rng.choice(SPICE)
            elif change == 2:
                del data[at : at + rng.randrange(1, 12)]
            elif change == 3:
                data[at:at] = data[max(0, at - rng.randrange(1, 30)) : at]
            else:
                other = rng.choice(CORPUS)
                data[at:] = other[rng.randrange(len(other)) :]
        yield bytes(data)


def check(h1: Any, data: bytes, rng: random.Random) -> None:
    """Raises AssertionError, or whatever is not a ProtocolError, when the codec misbehaves on these bytes."""
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(4)))
    edges = [0, *cuts, len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    for data_only in (False, True):
        assert request_events(h1, pieces, eof=True, data_only=data_only) == request_events(
            h1, [data], eof=True, data_only=data_only
        )
        assert response_events(h1, pieces, eof=True, data_only=data_only) == response_events(
            h1, [data], eof=True, data_only=data_only
        )
    _encode(h1, data)
    readers: tuple[Callable[[bytes], object], ...] = (sniff, parse_client_hello, decode_proxy_header)
    for read in readers:
        try:
            read(data)
        except ProtocolError:
            pass


def _encode(h1: Any, data: bytes) -> None:
    # Whatever is accepted must come out as exactly one message that is accepted again.
    parser = h1.RequestParser()
    parser.feed(data)
    try:
        head = parser.head()
    except ProtocolError:
        return
    if head is None or head.method == b"CONNECT":
        return
    again = h1.RequestParser()
    again.feed(h1.encode_request(head, remove=(b"x",), extra=b"X-Added: 1\r\n"))
    second = again.head()
    assert second is not None and again.buffered == 0
    assert (second.content_length, second.is_chunked) == (head.content_length, head.is_chunked)


def run(h1: Any, seed: int, rounds: int, deadline: float = float("inf")) -> int:
    """Check that many mutations (or until the deadline on time.monotonic). Returns how many were checked."""
    rng = random.Random(seed)
    for done, data in enumerate(mutations(rng)):
        if done == rounds or time.monotonic() >= deadline:
            return done
        try:
            check(h1, data, rng)
        except Exception as error:
            raise AssertionError(f"seed {seed}, round {done}: {data!r}") from error
    raise AssertionError("mutations ended")


if __name__ == "__main__":
    until = time.monotonic() + float(sys.argv[1])
    start = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 32)
    form = "compiled" if load("h1", "compiled") is not None else "pure"
    print(f"seed {start}, {form}: {run(load('h1', form), start, sys.maxsize, until)} inputs, none misbehaved")
