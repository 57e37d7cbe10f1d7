"""ServiceEntry."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.control.kube import istio
from mesh.control.kube.istio import EntryPort
from mesh.control.kube.objects import PortProtocol
from mesh.control.kube.parse_service_entry import service_entry
from mesh.model.addr import Address, Cidr


def parse(**spec: Any) -> istio.ServiceEntry:
    spec = {"hosts": ["www.googleapis.com"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}], **spec}
    return service_entry({"metadata": {"name": "e", "namespace": "default"}, "spec": spec})


def test_bookinfos_entry() -> None:
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}, {"number": 443, "name": "https", "protocol": "HTTPS"}]
    parsed = parse(ports=ports, resolution="DNS")
    assert parsed.ports == (
        EntryPort(80, "http", PortProtocol.HTTP, 80),
        EntryPort(443, "https", PortProtocol.TLS, 443),
    )
    assert (parsed.resolution, parsed.is_external, parsed.problems) == (istio.Resolution.DNS, True, ())


def test_static_endpoints() -> None:
    endpoint = {"address": "198.18.9.9", "ports": {"http": 8080}, "labels": {"a": "b"}, "weight": 3, "locality": "r/z"}
    parsed = parse(resolution="STATIC", endpoints=[endpoint, {"address": "name"}], addresses=["198.19.1.0/24", "x"])
    assert [e.address("http", 80) for e in parsed.endpoints] == [Address("198.18.9.9", 8080)]
    assert parsed.addresses == (Cidr("198.19.1.0", 24),)
    assert [problem.field for problem in parsed.problems] == ["spec.endpoints[1].address", "spec.addresses[1]"]


def test_endpoints_say_who_they_are() -> None:
    endpoints = [{"address": "198.18.9.9", "serviceAccount": "vm"}, {"address": "198.18.9.8", "serviceAccount": "a/b"}]
    parsed = parse(resolution="STATIC", endpoints=endpoints)
    assert [endpoint.service_account for endpoint in parsed.endpoints] == ["vm"]
    assert [problem.field for problem in parsed.problems] == ["spec.endpoints[1].serviceAccount"]


def test_a_wildcard_cannot_be_resolved() -> None:
    parsed = parse(hosts=["*.example", "a.example"], resolution="DNS")
    assert parsed.hosts == ("a.example",)
    assert [problem.reason for problem in parsed.problems] == ["InvalidHost"]


@pytest.mark.parametrize(
    ("names", "expected"), [([], set()), (["*"], set()), (["."], {"default"}), (["a", "."], {"a", "default"})]
)
def test_export_to(names: list[str], expected: set[str]) -> None:
    assert parse(exportTo=names).export_to == expected


def test_no_hosts() -> None:
    parsed = parse(hosts=[])
    assert (parsed.hosts, [problem.field for problem in parsed.problems]) == ((), ["spec.hosts"])
