import socket

import pytest
import trio

from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery
from mesh.model.endpoint import Endpoint, LoadAssignment, LocalityEndpoints
from mesh.proxy.resolve import resolve


class Names(trio.abc.HostnameResolver):
    def __init__(self, names: dict[str, list[str]]) -> None:
        self.names = names

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        found = self.names.get(host.decode() if isinstance(host, bytes) else host)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


def cluster(discovery: Discovery, *hosts: str) -> Cluster:
    endpoints = tuple(Endpoint(Address(host, 80)) for host in hosts)
    return Cluster("a", discovery, assignment=LoadAssignment("a", (LocalityEndpoints(endpoints),)))


def addresses(assignment: LoadAssignment | None) -> list[tuple[str, str]]:
    assert assignment is not None
    return [(endpoint.address.host, endpoint.host_name) for endpoint in assignment.endpoints()]


@pytest.fixture
async def names() -> Names:
    known = Names({"a.example": ["10.0.0.2", "10.0.0.1"], "b.example": ["10.0.0.3"]})
    trio.socket.set_custom_hostname_resolver(known)
    return known


NOTHING = LoadAssignment("a")


async def test_strict_takes_every_address_and_keeps_the_name(names: Names) -> None:
    found = await resolve(cluster(Discovery.STRICT_DNS, "a.example", "b.example"), NOTHING)
    assert addresses(found) == [("10.0.0.1", "a.example"), ("10.0.0.2", "a.example"), ("10.0.0.3", "b.example")]


async def test_logical_takes_the_first(names: Names) -> None:
    assert addresses(await resolve(cluster(Discovery.LOGICAL_DNS, "a.example"), NOTHING)) == [("10.0.0.1", "a.example")]


async def test_literals_need_no_resolver() -> None:
    assert addresses(await resolve(cluster(Discovery.STRICT_DNS, "192.0.2.1"), NOTHING)) == [("192.0.2.1", "192.0.2.1")]


async def test_the_last_good_answer_is_kept(names: Names) -> None:
    model = cluster(Discovery.STRICT_DNS, "a.example", "b.example")
    known = await resolve(model, NOTHING)
    assert known is not None
    del names.names["a.example"]
    names.names["b.example"] = ["10.0.0.4"]
    assert addresses(await resolve(model, known)) == [
        ("10.0.0.1", "a.example"),
        ("10.0.0.2", "a.example"),
        ("10.0.0.4", "b.example"),
    ]


async def test_nothing_at_all_is_none(names: Names) -> None:
    assert await resolve(cluster(Discovery.STRICT_DNS, "nowhere.example"), NOTHING) is None
