import resource
from dataclasses import replace

import pytest
import trio
import trio.testing

from mesh.model.addr import Address
from mesh.model.listener import Direction
from mesh.proxy.intercept import is_outbound
from tests.support.proxy import cluster, forward, listener, manager, port_of, routes, running, snapshot

MODEL = listener(manager(routes(forward("a"))))
CONFIG = snapshot(MODEL, cluster("a", 1))


def test_outbound_listeners_are_the_applications_own() -> None:
    assert is_outbound(MODEL) and not is_outbound(replace(MODEL, direction=Direction.INBOUND))


async def test_sockets_follow_the_configuration() -> None:
    async with running(CONFIG) as proxy:
        port = port_of(proxy)
        changed = replace(MODEL, chains=(replace(MODEL.chains[0], name="other"),))
        assert proxy.apply(replace(CONFIG, listeners={"test": changed})) == {}
        assert port_of(proxy) == port  # other chains, same socket
        moved = replace(MODEL, additional_addresses=(Address("127.0.0.2", 0),))
        assert proxy.apply(replace(CONFIG, listeners={"test": moved})) == {}
        assert {address.host for address in proxy.listeners.addresses("test")} == {"127.0.0.1", "127.0.0.2"}
        assert proxy.apply(replace(CONFIG, listeners={})) == {}
        assert proxy.listeners.addresses("test") == []


async def test_connections_are_counted_by_listener() -> None:
    async with running(CONFIG) as proxy:
        for _ in range(3):
            stream = await trio.open_tcp_stream("127.0.0.1", port_of(proxy))
            await stream.aclose()
        with trio.fail_after(2):
            while proxy.listeners.accepted.get("test", 0) < 3:
                await trio.testing.wait_all_tasks_blocked()
            await proxy.drain.wait_idle()


async def test_a_drain_closes_what_others_connect_to() -> None:
    inbound = replace(MODEL, name="in", direction=Direction.INBOUND)
    async with running(replace(CONFIG, listeners={"test": MODEL, "in": inbound})) as proxy:
        proxy.listeners.close_inbound()
        assert proxy.listeners.addresses("in") == [] and proxy.listeners.addresses("test")


async def test_without_descriptors_accepting_pauses_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async with running(CONFIG) as proxy:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        stream = trio.socket.socket()
        # One descriptor less than there are: the client's socket is made, the proxy's cannot be.
        resource.setrlimit(resource.RLIMIT_NOFILE, (stream.fileno() + 1, hard))
        try:
            await stream.connect(("127.0.0.1", port_of(proxy)))
            with trio.fail_after(2):
                while not caplog.records:
                    await trio.testing.wait_all_tasks_blocked()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert "listener test cannot accept: Too many open files" in caplog.records[0].getMessage()
        await stream.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with trio.fail_after(2):
            assert (await stream.recv(12)) == b"HTTP/1.1 503"
        stream.close()
