import socket
from dataclasses import replace

import pytest

from mesh.codec.proxy_protocol import ProxyHeader
from mesh.model.addr import Address
from mesh.model.listener import ListenerFilter
from mesh.proxy import destination
from mesh.proxy.destination import Loop, address_of, destination_of, told_by
from tests.support.proxy import forward, listener, manager, routes

PLAIN = listener(manager(routes(forward("a"))))
VIRTUAL = replace(PLAIN, use_original_dst=True)
REMOTE = Address("10.0.0.9", 40000)


class Accepted(socket.socket):
    """A socket that was dialled at 10.0.0.1:15001."""

    def getsockname(self) -> tuple[str, int]:
        return ("10.0.0.1", 15001)


def found(monkeypatch: pytest.MonkeyPatch, original: tuple[str, int] | None, port: int = 15001) -> Address:
    monkeypatch.setattr(destination, "original_dst", lambda _fd, _family: original)
    with Accepted() as sock:
        return destination_of(sock, VIRTUAL, Address("0.0.0.0", port), REMOTE)


def test_a_plain_listener_serves_what_was_dialled() -> None:
    with Accepted() as sock:
        assert destination_of(sock, PLAIN, Address("0.0.0.0", 15001), REMOTE) == Address("10.0.0.1", 15001)


def test_the_kernel_is_asked_where_the_configuration_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    meant = ("10.1.1.1", 80)
    assert found(monkeypatch, meant) == Address(*meant)
    filtered = replace(PLAIN, filters=frozenset((ListenerFilter.ORIGINAL_DST,)))
    with Accepted() as sock:
        assert destination_of(sock, filtered, Address("0.0.0.0", 15001), REMOTE) == Address(*meant)


def test_dialled_directly_is_fine_but_on_the_virtual_port(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch, None, port=8080) == Address("10.0.0.1", 15001)
    with pytest.raises(Loop):
        found(monkeypatch, None)


@pytest.mark.parametrize("host", ["10.0.0.1", REMOTE.host])
def test_redirected_to_ourselves_is_a_loop(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    with pytest.raises(Loop):
        found(monkeypatch, (host, 15001))
    assert found(monkeypatch, ("10.1.1.1", 15001)) == Address("10.1.1.1", 15001)


def test_a_load_balancer_tells_both_ends_or_speaks_for_itself() -> None:
    header = ProxyHeader(("::ffff:203.0.113.7", 4711), ("198.51.100.1", 443))
    assert told_by(header) == (Address("203.0.113.7", 4711), Address("198.51.100.1", 443))
    assert told_by(ProxyHeader(None, None)) is None


def test_mapped_addresses_are_told_as_ipv4() -> None:
    assert address_of("::ffff:10.0.0.1", 80, 0, 0) == Address("10.0.0.1", 80)
    assert address_of("::ffff:1", 80) == Address("::ffff:1", 80)
