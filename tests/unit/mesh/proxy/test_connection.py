import logging

import pytest
import trio

from mesh.model.listener import ChainMatch, FilterChain, TcpProxy
from mesh.model.route import WeightedCluster
from mesh.proxy import connection
from tests.support.proxy import client, cluster, forward, listener, manager, read_all, routes, running, snapshot


async def test_a_connection_no_chain_wants_is_closed_and_counted() -> None:
    picky = FilterChain(TcpProxy("t", (WeightedCluster("a"),)), ChainMatch(server_names=("a.example",)))
    config = snapshot(listener(TcpProxy("t", (WeightedCluster("a"),)), chains=(picky,)), cluster("a", 1))
    async with running(config) as proxy, client(proxy) as stream:
        await stream.send_all(b"hello")
        with trio.fail_after(2):
            try:
                assert await read_all(stream) == b""
            except trio.BrokenResourceError:
                pass  # closed with bytes unread
        assert proxy.no_filter_chain == 1


async def test_a_bug_ends_one_connection_and_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def explode(self: object) -> None:
        raise ExceptionGroup("two at once", [ValueError("a"), KeyError("b")])

    config = snapshot(listener(manager(routes(forward("a")))), cluster("a", 1))
    async with running(config) as proxy:
        with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
            patch.setattr(connection.Downstream, "serve", explode)
            async with client(proxy) as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\n")
                with trio.fail_after(2):
                    try:
                        await read_all(stream)
                    except trio.BrokenResourceError:
                        pass  # closed with bytes unread
        assert proxy.crashes == 1 and len(caplog.records) == 1
        assert "on listener test" in caplog.records[0].getMessage()
        async with client(proxy) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await stream.receive_some(12)) == b"HTTP/1.1 503"
        proxy.crashes = 0  # `running` wants none but this one
