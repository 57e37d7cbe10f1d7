"""Heads, records and hosts for tests of decisions and observation: values, no sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mesh.codec.h1 import RequestHead, RequestParser
from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery, LbPolicy, ServiceRef
from mesh.model.endpoint import Endpoint, LoadAssignment, Locality, LocalityEndpoints, Workload
from mesh.proxy.balance.host import Host
from mesh.proxy.observe.record import Connection, Record


def head(method: str = "GET", target: str = "/", host: str = "reviews:9080", /, **headers: str) -> RequestHead:
    """A request's head. Underscores in header names stand for hyphens."""
    return head_of(method, target, host, [(name.replace("_", "-"), value) for name, value in headers.items()])


def head_of(method: str, target: str, host: str, headers: Iterable[tuple[str, str]]) -> RequestHead:
    """The same with headers that may repeat."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    parser = RequestParser()
    parser.feed(f"{method} {target} HTTP/1.1\r\nhost: {host}\r\n{lines}\r\n".encode())
    found = parser.head()
    assert found is not None
    return found


def record(request: RequestHead | None = None, started_at: float = 100.0) -> Record:
    connection = Connection(remote="10.0.0.9:40000", local="10.0.0.1:9080", direct_remote="10.0.0.9:40000")
    return Record(request or head(), connection, started_at)


class Answer:
    """A response's head or trailers."""

    def __init__(self, **headers: str) -> None:
        self._headers = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}

    def get(self, name: bytes, /) -> bytes | None:
        return self._headers.get(name)


def endpoint(address: str, weight: int = 1, **fields: object) -> Endpoint:
    """address: `ip:port`."""
    name, _, port = address.rpartition(":")
    return Endpoint(Address(name, int(port)), weight, **fields)  # type: ignore[arg-type]


def host(address: str = "10.0.0.2:9080", weight: int = 1, **fields: object) -> Host:
    return Host(endpoint(address, weight, **fields), Locality(), 0, 0.0)


def hosts(*weights: int) -> list[Host]:
    return [host(f"10.0.0.{index + 1}:9080", weight) for index, weight in enumerate(weights)]


def assignment(*groups: LocalityEndpoints) -> LoadAssignment:
    return LoadAssignment("c", groups)


REVIEWS = Cluster(
    "outbound|9080|v1|reviews.default.svc.cluster.local",
    Discovery.EDS,
    service=ServiceRef("reviews.default.svc.cluster.local", "reviews", "default"),
    subset="v1",
)
REVIEWS_V1 = Workload("reviews-v1", "default", "reviews", "v1")


def cluster(lb: LbPolicy = LbPolicy.LEAST_REQUEST, **fields: object) -> Cluster:
    return Cluster("c", Discovery.EDS, lb, **fields)  # type: ignore[arg-type]


def sequence(*values: float) -> Callable[[], float]:
    """An rng that gives these numbers, and fails when asked for more."""
    iterator = iter(values)
    return lambda: next(iterator)
