"""Hosts of the mesh."""

from __future__ import annotations

import pytest

from mesh.control.translate.registry import Reach, covers, registry, selects, wildcards_of
from tests.support.world import Cluster

ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %s}
spec:
  hosts: [api.example.com]
  addresses: [198.18.200.1, 198.18.201.0/24]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: DNS
"""


def test_services_and_entries_become_hosts() -> None:
    cluster = Cluster()
    cluster.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {selector: {app: a}, ports: [{name: http, port: 80}]}"
    )
    cluster.apply(ENTRY % "e")
    found = registry(cluster.world())
    assert {host: service.reach for host, service in found.services.items()} == {
        "a.default.svc.cluster.local": Reach.VIP,
        "api.example.com": Reach.DNS,
    }
    entry = found.services["api.example.com"]
    assert (entry.vips, [str(prefix) for prefix in entry.prefixes]) == (("198.18.200.1",), ["198.18.201.0/24"])
    assert [service.name for service in found.behind("default", {"app": "a", "x": "y"})] == ["a"]
    assert found.behind("other", {"app": "a"}) == ()


def test_the_older_entry_keeps_a_host_and_the_younger_hears_of_it() -> None:
    cluster = Cluster()
    cluster.apply(ENTRY % "z-older")
    cluster.apply(ENTRY % "a-younger")
    found = registry(cluster.world())
    assert found.services["api.example.com"].meta.name == "z-older"
    assert [(problem.ref.name, problem.reason) for problem in found.problems] == [("a-younger", "DuplicateHost")]


def test_undeclared_ports_are_named() -> None:
    cluster = Cluster()
    cluster.apply("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{name: web, port: 80}]}")
    assert [problem.reason for problem in registry(cluster.world()).problems] == ["PortNameIsNotUnderNamingConvention"]


def test_a_host_falls_back_to_the_longest_wildcard() -> None:
    assert list(wildcards_of("a.b.c")) == ["*.b.c", "*.c", "*"]
    assert list(wildcards_of("*.b.c")) == ["*.b.c", "*.c", "*"]


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("*", "a", True),
        ("a.b", "a.b", True),
        ("*.b", "a.b", True),
        ("*.b", "*.a.b", True),
        ("*.b", "b", False),
        ("*.b", "xb", False),
        ("a.b", "*.b", False),
    ],
)
def test_covers(pattern: str, host: str, expected: bool) -> None:
    assert covers(pattern, host) is expected


def test_an_empty_selector_selects_everything() -> None:
    assert selects({}, {"a": "b"})
    assert not selects({"a": "c"}, {"a": "b"})
