"""HTTP/1 or HTTP/2, by first bytes that come at once, late, piece by piece, or never."""

from dataclasses import replace

import pytest
import trio
import trio.testing

from mesh.model.match import HeaderMatch, RouteMatch
from mesh.proxy.http2 import refusal
from tests.support.proxy import client, cluster, forward, listener, manager, read_all, routes, running, snapshot

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
# A choice: HTTP/2 cannot be relayed as it is.
TWO = manager(routes(replace(forward("b"), match=RouteMatch(headers=(HeaderMatch("end-user"),))), forward("a")))


async def said(*pieces: bytes, **changes: object) -> bytes:
    """What a client gets that sends these pieces one after the other."""
    config = snapshot(listener(replace(TWO, **changes)), cluster("a", 1), cluster("b", 1))  # type: ignore[arg-type]
    async with running(config) as proxy, client(proxy) as stream:
        for piece in pieces:
            await trio.testing.wait_all_tasks_blocked()
            await stream.send_all(piece)
        with trio.fail_after(5):
            try:
                return await read_all(stream)
            except trio.BrokenResourceError:
                return b""


@pytest.mark.parametrize("pieces", [(PREFACE,), (PREFACE[:3], PREFACE[3:9], PREFACE[9:])])
async def test_the_preface_is_recognised_however_it_arrives(pieces: tuple[bytes, ...]) -> None:
    assert await said(*pieces) == refusal()


@pytest.mark.parametrize("pieces", [(GET,), (b"P", b"OST" + GET[3:])])
async def test_anything_else_is_http1_also_what_begins_alike(pieces: tuple[bytes, ...]) -> None:
    assert (await said(*pieces)).startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("pieces", [(), (PREFACE[:5],)])
async def test_who_does_not_go_on_is_closed_in_time(pieces: tuple[bytes, ...]) -> None:
    assert await said(*pieces, request_headers_timeout_seconds=0.05) == b""
