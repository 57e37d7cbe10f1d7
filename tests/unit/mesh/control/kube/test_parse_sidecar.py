"""Sidecar objects, parsed."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.control.kube.parse_sidecar import EgressHost, Sidecar, sidecar
from mesh.model.origin import Severity


def parse(spec: Any) -> Sidecar:
    return sidecar({"metadata": {"name": "default", "namespace": "shop"}, "spec": spec})


def test_everything_that_has_an_effect() -> None:
    found = parse(
        {
            "workloadSelector": {"labels": {"app": "web"}},
            "egress": [{"hosts": ["./*", "istio-system/*"]}, {"hosts": ["~/*", "*/*.Example.com"]}],
            "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
        }
    )
    assert found.problems == ()
    assert found.selector == {"app": "web"} and found.registry_only is True
    assert found.egress == (
        EgressHost(".", "*"),
        EgressHost("istio-system", "*"),
        EgressHost("~", "*"),
        EgressHost("*", "*.example.com"),
    )


def test_without_egress_everything_is_visible() -> None:
    found = parse({"outboundTrafficPolicy": {}})
    assert (found.egress, found.registry_only, found.problems) == (None, None, ())


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"ingress": [{"port": {"number": 80}}]}, "spec.ingress"),
        ({"inboundConnectionPool": {"tcp": {}}}, "spec.inboundConnectionPool"),
        ({"egress": [{"hosts": ["./*"], "port": {"number": 80}}]}, "spec.egress[0].port"),
        ({"egress": [{"hosts": ["./*"], "bind": "127.0.0.1"}]}, "spec.egress[0].bind"),
        ({"outboundTrafficPolicy": {"egressProxy": {"host": "x"}}}, "spec.outboundTrafficPolicy.egressProxy"),
    ],
)
def test_what_has_no_effect_is_a_warning_by_field(spec: Any, field: str) -> None:
    ((problem),) = parse(spec).problems
    assert (problem.field, problem.severity) == (field, Severity.WARNING)


@pytest.mark.parametrize("host", ["reviews", "/x", "a/", "a/r*.example.com", "a/*.*"])
def test_a_bad_host_costs_itself_only(host: str) -> None:
    found = parse({"egress": [{"hosts": [host, "./*"]}]})
    assert [(p.field, p.severity) for p in found.problems] == [("spec.egress[0].hosts[0]", Severity.ERROR)]
    assert found.egress == (EgressHost(".", "*"),)
    # Nothing readable is left: then nobody is cut off from everything.
    assert parse({"egress": [{"hosts": [host]}]}).egress is None


def test_what_is_no_object_limits_nobody() -> None:
    found = parse("text")
    assert found.egress is None and found.problems
